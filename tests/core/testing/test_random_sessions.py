"""Sessions of random actions: whatever app and service do, the stream of events keeps its grammar and nothing leaks."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vivavoce import Voice
from vivavoce.errors import VoiceError
from vivavoce.events import ResponseCreated, Speaking, ToolCallStart
from vivavoce.testing import (
    Reply,
    ScriptedProvider,
    Step,
    assert_valid,
    current_clock,
    no_leaks,
    virtual_run,
)


async def time(city: str) -> str:
    """Tell the time."""
    await asyncio.sleep(0.3)
    return f"noon in {city}"


def late(provider, event):
    """Let an event of the first session arrive when another has taken its place."""
    if len(provider.contexts) > 1:
        provider.emit(event, context=provider.contexts[0])


ACTIONS = {
    "connect": lambda voice, provider: voice.connect(reconnect=True),
    "connect once": lambda voice, provider: voice.connect(reconnect=False),
    "send": lambda voice, provider: voice.send(bytes(9600)),
    "send paced": lambda voice, provider: voice.send(bytes(48_000), pace=True),
    "answer": lambda voice, provider: voice.answer(),
    "interrupt": lambda voice, provider: voice.interrupt(),
    "commit": lambda voice, provider: voice.commit_input(),
    "close": lambda voice, provider: voice.close(),
    "user says": lambda voice, provider: provider.user_says("words"),
    "user noise": lambda voice, provider: provider.user_says(None),
    "reply": lambda voice, provider: provider.reply("one two three four", 400, paced=True),
    "burst": lambda voice, provider: provider.reply("a burst", 400),
    "tools": lambda voice, provider: provider.reply(
        "", 0, tool_calls=[("time", '{"city": "Rome"}'), ("no", "{}")], hold=True
    ),
    "late audio": lambda voice, provider: late(provider, Speaking(b"\0\0", "response-1", "item-1")),
    "late reply": lambda voice, provider: late(provider, ResponseCreated("response-0")),
    "late tool": lambda voice, provider: late(provider, ToolCallStart("call-0", "time", "{}", "response-0")),
    "lose": lambda voice, provider: provider.lose(),
    "lose soon": lambda voice, provider: provider.lose(after_frames=2),
    "stall": lambda voice, provider: provider.stall(),
    "resume": lambda voice, provider: provider.resume(),
    "refuse": lambda voice, provider: provider.script.add("connect", VoiceError("refused", retryable=True)),
    "slow": lambda voice, provider: provider.script.add("connect", Step(delay=3)),
    "hang": lambda voice, provider: provider.script.add("connect", Step(hangs=True)),
}


async def session(plan):
    """Run every action as a task of its own, waiting in between, and judge what was heard."""
    provider = ScriptedProvider(replies=[Reply("first", 300, paced=True)])
    voice, heard, tasks = Voice(provider, tools=[time]), [], []
    voice.on("*", heard.append)

    async def act(name):
        with contextlib.suppress(VoiceError, KeyError):
            done = ACTIONS[name](voice, provider)
            if asyncio.iscoroutine(done):
                await done

    async with no_leaks():
        for name, wait in plan:
            tasks.append(asyncio.create_task(act(name), name=name))
            await current_clock().advance(wait)
        await voice.close()
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        tasks.clear()
    assert [r for r in results if isinstance(r, Exception)] == []
    assert_valid(heard, closed=True)


PLANS = st.lists(
    st.tuples(st.sampled_from(sorted(ACTIONS)), st.sampled_from([0, 0.01, 0.2, 1, 20])), max_size=12
)


@pytest.mark.property
@settings(max_examples=settings().max_examples // 4)  # a whole session each
@given(PLANS)
def test_random_sessions_keep_the_grammar(plan):
    """Any order and timing of actions gives a right stream and leaves nothing behind."""
    virtual_run(session([("connect", 0), *plan]))
