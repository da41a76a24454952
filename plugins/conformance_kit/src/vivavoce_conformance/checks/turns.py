"""Turns, interruption, tools."""

from __future__ import annotations

import asyncio

import vivavoce
from vivavoce import Tool
from vivavoce.events import (
    Interrupted,
    ResponseDone,
    Speaking,
    SpeechStarted,
    SpeechStopped,
    ToolCallResult,
    ToolCallStart,
    Turn,
    Writing,
)
from vivavoce.testing import ramp

from vivavoce_conformance.bench import Bench, within
from vivavoce_conformance.ear import lasts
from vivavoce_conformance.peer.script import Plan, Reply
from vivavoce_conformance.registry import expect, family

__all__ = [
    "answers_unknown_tools",
    "asks_one_at_a_time",
    "calls_tools",
    "calls_tools_in_parallel",
    "calls_without_arguments",
    "cancels",
    "commits",
    "forgets_what_nobody_heard",
    "goes_on_after_interruption",
    "interrupts_nothing",
    "keeps_exceptions_private",
    "keeps_results",
    "offers_tools",
    "speaks_the_protocol",
    "tells_speech",
    "tells_what_the_user_said",
    "truncates",
    "yields_to_speech",
]

turns = family("turns and interruption")

LONG = Reply(audio_ms=1_000, hold=True)


async def _begun(bench: Bench, voice: vivavoce.Voice, ms: int = 1_000) -> vivavoce.Response:
    """A reply that has sent all of its audio and is still running."""
    response = await bench.ask(voice)
    size = voice.output_format.bytes_for(ms)
    await bench.settle(
        lambda: sum(len(e.audio) for e in bench.of(Speaking)) >= size, "the audio did not come"
    )
    return response


@turns("VV-CON-130", needs="realtime turns interrupt", peer=True)
async def cancels(bench: Bench) -> None:
    """`interrupt()` stops the running reply at the service."""
    async with bench.session(Plan(replies=[LONG])) as voice:
        response = await _begun(bench, voice)
        await within(voice.interrupt(played_ms=300), "interrupt()")
        await bench.peer.until("cancel", 1, "the service was not told to stop")
        done = await within(response.done(), "done()")
    expect(done.status == "cancelled", f"the reply ended as {done.status}")


@turns("VV-CON-131", needs="realtime turns interrupt truncate", peer=True)
async def truncates(bench: Bench) -> None:
    """`interrupt()` cuts the service's memory of the reply to what was heard, to the millisecond."""
    async with bench.session(Plan(replies=[LONG])) as voice:
        await _begun(bench, voice)
        item = bench.of(Speaking)[-1].item_id
        await within(voice.interrupt(played_ms=420), "interrupt()")
        cut = (await bench.peer.until("truncate", 1, "the service's memory was not cut")).of("truncate")[0]
        wrong = (await bench.peer.seen()).wrong
    expect(cut["item_id"] == item, f"item {cut['item_id']!r} was cut instead of {item!r}")
    expect(abs(cut["ms"] - 420) <= 1, f"it was cut at {cut['ms']} ms instead of 420")
    expect(not wrong, f"the service refused: {wrong}")


@turns("VV-CON-129", needs="realtime turns interrupt truncate", peer=True, over="websocket tcp")
async def forgets_what_nobody_heard(bench: Bench) -> None:
    """A reply that is interrupted before any of it was heard is taken out of the service's memory, or cut to nothing."""
    async with bench.session(Plan(replies=[LONG])) as voice:
        await _begun(bench, voice)
        item = bench.of(Speaking)[-1].item_id
        await within(voice.interrupt(played_ms=0), "interrupt()")
        seen = await bench.peer.until("cancel", 1, "the service was not told to stop")
        if not seen.of("delete") and not seen.of("truncate"):
            gone = await bench.peer.reaches("delete") or await bench.peer.reaches("truncate", timeout=0.1)
            expect(gone, "the service still remembers it")
            seen = await bench.peer.seen()
    cut = [
        one
        for one in (*seen.of("delete"), *seen.of("truncate"))
        if one["item_id"] == item and not one.get("ms")
    ]
    expect(
        cut, f"the service was asked for {seen.of('delete')}, {seen.of('truncate')} instead of item {item!r}"
    )


@turns("VV-CON-132", needs="realtime turns interrupt", peer=True, by_ear=True)
async def goes_on_after_interruption(bench: Bench) -> None:
    """After an interruption nothing more of that reply is heard, and the next reply comes whole."""
    async with bench.session(Plan(replies=[LONG, Reply(text="Next.", audio_ms=100)])) as voice:
        response = await _begun(bench, voice)
        await within(voice.interrupt(played_ms=100), "interrupt()")
        at = len(bench.events)
        await within(response.done(), "done()")
        nxt = await bench.ask(voice)
        heard = b"".join([chunk async for chunk in nxt.audio])
        stale = [e for e in bench.events[at:] if isinstance(e, Speaking) and e.response_id == response.id]
    expect(not stale, "audio of the interrupted reply came afterwards")
    lasts(bench, heard, 100, voice.output_format)
    expect(bench.of(Interrupted), "no `interrupted` event came")


@turns("VV-CON-133", needs="realtime turns interrupt")
async def interrupts_nothing(bench: Bench) -> None:
    """`interrupt()` when nothing is said, or all was heard, is harmless, and asks the service for nothing that it forbids."""
    async with bench.session() as voice:
        await within(voice.interrupt(), "interrupt()")
        await bench.replies(voice)
        await within(voice.interrupt(played_ms=60_000), "interrupt()")
        await bench.replies(voice)
        if bench.has_peer:
            wrong = (await bench.peer.seen()).wrong
            expect(not wrong, f"the service refused: {wrong}")


@turns("VV-CON-134", needs="realtime turns", peer=True)
async def asks_one_at_a_time(bench: Bench) -> None:
    """`answer()` while a reply runs waits for its end: the service never gets two at once."""
    async with bench.session(Plan(replies=[Reply(hold=True), Reply()])) as voice:
        first = await bench.ask(voice)
        second = asyncio.ensure_future(bench.ask(voice))
        if "text" in bench.capabilities:
            await bench.peer.reaches("text", 2)
        for _ in range(20):  # turns, not time: on a busy machine it asks later
            await asyncio.sleep(0.005)
        await bench.peer.act("release")
        await within(first.done(), "done()")
        await within((await second).done(), "done()")
        wrong = (await bench.peer.seen()).wrong
    expect(not wrong, f"the service refused: {wrong}")


@turns("VV-CON-135", needs="realtime vad", peer=True)
async def tells_speech(bench: Bench) -> None:
    """The user's speech is told by `speech.started` and `speech.stopped`, with the service's times."""
    async with bench.session() as voice:
        await voice.send(ramp(200, voice.input_format))
        await bench.peer.act("speech", text=None, at_ms=40, ends_ms=160)
        await bench.settle(lambda: bench.of(SpeechStopped), "no speech.stopped came")
    times = [(e.type, e.at_ms) for e in bench.events if isinstance(e, (SpeechStarted, SpeechStopped))]
    expect(times == [("speech.started", 40), ("speech.stopped", 160)], f"told were {times}")


@turns("VV-CON-136", needs="realtime transcripts", peer=True)
async def tells_what_the_user_said(bench: Bench) -> None:
    """The transcript of the user's speech is told as `writing` and as one `turn` of the user."""
    words = "Grüße — what’s the time? 時間"
    async with bench.session() as voice:
        await voice.send(ramp(200, voice.input_format))
        await bench.peer.act("speech", text=words, at_ms=40, ends_ms=160)
        await bench.settle(
            lambda: [t for t in bench.of(Turn) if t.role == "user"], "no turn of the user came"
        )
    spoken = [event.text for event in bench.of(Turn) if event.role == "user"]
    finals = [event.text for event in bench.of(Writing) if event.role == "user" and event.final]
    expect(spoken == [words], f"the turns are {spoken}")
    expect(finals == [words], f"the final texts are {finals}")


@turns("VV-CON-137", needs="realtime vad interrupt turns", peer=True)
async def yields_to_speech(bench: Bench) -> None:
    """When the user speaks over a reply, the reply ends as interrupted, and the app hears no more of it."""
    async with bench.session(Plan(replies=[LONG])) as voice:
        response = await _begun(bench, voice)
        await bench.peer.act("speech_started", at_ms=500)
        await bench.settle(lambda: bench.of(Interrupted), "no `interrupted` event came")
        reason = response.audio.end_reason
    expect(reason == "interrupted", f"the stream ended as {reason!r}")


@turns("VV-CON-138", needs="realtime turns", peer=True)
async def commits(bench: Bench) -> None:
    """`commit_input()` and `clear_input()` reach the service, in order with the audio."""
    async with bench.session() as voice:
        await voice.send(ramp(200, voice.input_format))
        await within(voice.clear_input(), "clear_input()")
        await voice.send(ramp(200, voice.input_format))
        await within(voice.commit_input(), "commit_input()")
        seen = await bench.peer.seen()
    kinds = [one["kind"] for one in seen.asked if one["kind"] in ("commit", "clear", "wrong")]
    expect(kinds == ["clear", "commit"], f"the service got {kinds}")


@turns("VV-CON-139", needs="realtime turns", peer=True)
async def speaks_the_protocol(bench: Bench) -> None:
    """In a whole conversation the provider asks the service for nothing that its protocol forbids."""
    async with bench.session(instructions="Be brief.") as voice:
        await voice.send(ramp(500, voice.input_format))
        await bench.replies(voice)
        await within(voice.add_instructions("Be kind."), "add_instructions()")
        await bench.replies(voice)
        wrong = (await bench.peer.seen()).wrong
    expect(not wrong, f"the service refused: {wrong}")


tools = family("tools")


def _weather(calls: list[str]) -> Tool:
    def execute(city: str = "nowhere") -> dict[str, object]:
        calls.append(city)
        return {"city": city, "degrees": 21}

    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    return Tool("weather", "The weather of a city.", schema, execute)


def _calling(*calls: tuple[str, str, str]) -> Plan:
    return Plan(replies=[Reply(text="", audio_ms=0, calls=list(calls)), Reply()])


async def _called(bench: Bench, voice: vivavoce.Voice, count: int) -> list[dict[str, object]]:
    await bench.ask(voice)
    seen = await bench.peer.until("tool_result", count, f"the service did not get {count} tool result(s)")
    await bench.peer.until("respond", 2, "no continuation was asked for")
    await bench.settle(lambda: len(bench.of(ResponseDone)) >= 2, "the continuation did not end")
    seen = await bench.peer.seen()
    expect(not seen.wrong, f"the service refused: {seen.wrong}")
    return seen.of("tool_result")


@tools("VV-CON-140", needs="realtime turns tools", peer=True)
async def offers_tools(bench: Bench) -> None:
    """The tools of the config reach the service, and those added to an open session too."""
    extra = Tool("extra", "One more.", {"type": "object", "properties": {}}, lambda: None)
    async with bench.session(tools=[_weather([])]) as voice:
        await bench.peer.until("configure")
        await within(voice.add_tools([extra]), "add_tools()")
        told = [one for one in (await bench.peer.seen()).of("configure") if one.get("has_tools")]
    expect(told and told[0]["tools"] == ["weather"], f"the service got {told[:1]}")
    expect(sorted(told[-1]["tools"]) == ["extra", "weather"], f"after add_tools() the service got {told[-1]}")


@tools("VV-CON-141", needs="realtime turns tools", peer=True)
async def calls_tools(bench: Bench) -> None:
    """A tool call is told and run once, with its arguments; its result reaches the service once, with the call's id."""
    calls: list[str] = []
    plan = _calling(("weather", '{"city": "Tromsø"}', "call_1"))
    async with bench.session(plan, tools=[_weather(calls)]) as voice:
        results = await _called(bench, voice, 1)
    expect(calls == ["Tromsø"], f"the tool ran with {calls}")
    expect([one["call_id"] for one in results] == ["call_1"], f"the results are {results}")
    expect("21" in str(results[0]["output"]), f"the output is {results[0]['output']!r}")
    starts = [(event.call_id, event.name) for event in bench.of(ToolCallStart)]
    expect(starts == [("call_1", "weather")], f"tool-call-start told {starts}")


@tools("VV-CON-142", needs="realtime turns tools", peer=True)
async def calls_tools_in_parallel(bench: Bench) -> None:
    """Several calls of one reply all get their results, and one continuation follows."""
    calls: list[str] = []
    plan = _calling(*(("weather", f'{{"city": "{city}"}}', f"call_{city}") for city in "abc"))
    async with bench.session(plan, tools=[_weather(calls)]) as voice:
        results = await _called(bench, voice, 3)
        asked = len((await bench.peer.seen()).of("respond"))
    got = sorted(str(one["call_id"]) for one in results)
    expect(got == ["call_a", "call_b", "call_c"], f"the results are of {got}")
    expect(asked == 2, f"{asked - 1} continuations were asked for")


@tools("VV-CON-143", needs="realtime turns tools", peer=True)
async def calls_without_arguments(bench: Bench) -> None:
    """Empty arguments are no error: the tool is called without any."""
    calls: list[str] = []
    async with bench.session(_calling(("weather", "", "call_1")), tools=[_weather(calls)]) as voice:
        await _called(bench, voice, 1)
    expect(calls == ["nowhere"], f"the tool ran with {calls}")


@tools("VV-CON-144", needs="realtime turns tools", peer=True)
async def answers_unknown_tools(bench: Bench) -> None:
    """A call of a tool that is not there gets an output too: the service does not wait for ever."""
    async with bench.session(_calling(("nobody", "{}", "call_1")), tools=[_weather([])]) as voice:
        results = await _called(bench, voice, 1)
    expect(len(results) == 1, f"{len(results)} outputs")


@tools("VV-CON-145", needs="realtime turns tools", peer=True)
async def keeps_exceptions_private(bench: Bench) -> None:
    """A tool that raises gets an output which holds nothing of the exception."""

    def execute() -> None:
        raise RuntimeError("password=hunter2")

    broken = Tool("broken", "Fails.", {"type": "object", "properties": {}}, execute)
    async with bench.session(_calling(("broken", "{}", "call_1")), tools=[broken]) as voice:
        results = await _called(bench, voice, 1)
        await bench.settle(lambda: bench.of(ToolCallResult), "no tool-call-result came")
    expect("hunter2" not in str(results), "the exception's text reached the service")


@tools("VV-CON-146", needs="realtime turns tools interrupt", peer=True)
async def keeps_results(bench: Bench) -> None:
    """A tool that is still running when the user interrupts gives its result all the same: the service waits for it."""
    began, ends = asyncio.Event(), asyncio.Event()

    async def execute() -> str:
        began.set()
        await ends.wait()
        return "late"

    slow = Tool("slow", "Takes its time.", {"type": "object", "properties": {}}, execute)
    plan = Plan(replies=[Reply(audio_ms=300, calls=[("slow", "{}", "call_1")]), Reply()])
    async with bench.session(plan, tools=[slow]) as voice:
        await bench.ask(voice)
        await within(began.wait(), "the call of the tool")
        await within(voice.interrupt(played_ms=100), "interrupt()")
        ends.set()
        results = (await bench.peer.until("tool_result", 1, "the result did not reach the service")).of(
            "tool_result"
        )
    expect([one["call_id"] for one in results] == ["call_1"], f"the results are {results}")
