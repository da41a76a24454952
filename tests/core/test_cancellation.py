"""Every call, cancelled at every await: it ends, nothing is left, the state is one of the table, and the voice goes on."""

from __future__ import annotations

import asyncio
import gc
import warnings
from typing import get_args

import pytest
from conversation import FRAME, Stage, provider, scenario, turns, yields
from vivavoce.errors import VoiceError
from vivavoce.lifecycle import State
from vivavoce.tasks import Tasks
from vivavoce.testing import Reply, Step


async def frames():
    for _ in range(3):
        await asyncio.sleep(0)
        yield FRAME


async def talk(voice):
    response = await voice.answer()
    async for _ in response.audio:
        pass
    await response.text()


async def play(voice):
    stream = await voice.speak("one two")
    async for _ in stream:
        pass


async def in_context(voice):
    async with voice:
        await voice.send(FRAME)


class Sink:
    def __init__(self, format):
        self.format, self.written = format, 0

    @property
    def played_ms(self):
        return self.format.milliseconds(self.written)

    async def write(self, audio):
        await asyncio.sleep(0)
        self.written += len(audio)

    def flush(self):
        pass

    async def drain(self):
        await asyncio.sleep(0)


async def pipe(voice):
    await (await voice.answer()).audio.pipe(Sink(voice.output_format))


# What is called, and whether the voice is open before.
CALLS = {
    "connect": (lambda voice: voice.connect(), False),
    "context manager": (in_context, False),
    "close": (lambda voice: voice.close(), True),
    "close before": (lambda voice: voice.close(), False),
    "send": (lambda voice: voice.send(FRAME), True),
    "send source": (lambda voice: voice.send(frames()), True),
    "send converted": (lambda voice: voice.send(FRAME * 10, rate=48_000), True),
    "send_text": (lambda voice: voice.send_text("hi"), True),
    "answer": (lambda voice: voice.answer(), True),
    "talk": (talk, True),
    "pipe": (pipe, True),
    "interrupt": (lambda voice: voice.interrupt(), True),
    "commit_input": (lambda voice: voice.commit_input(), True),
    "clear_input": (lambda voice: voice.clear_input(), True),
    "speak": (play, True),
    "speak unconnected": (play, False),
    "listen": (lambda voice: voice.listen(frames()), True),
    "listen unconnected": (lambda voice: voice.listen(frames()), False),
    "add_tools": (lambda voice: voice.add_tools([]), True),
    "add_instructions": (lambda voice: voice.add_instructions("x"), True),
    "update_config": (lambda voice: voice.update_config(a=1), True),
    "get_speakers": (lambda voice: voice.get_speakers(), True),
    "get_listener": (lambda voice: voice.get_listener(), True),
    "send_event": (lambda voice: voice.send_event("x"), True),
}
HOOKS = [
    "connect", "close", "send", "answer", "send_text", "interrupt", "commit_input", "clear_input",
    "update_config", "speak", "listen", "get_speakers", "get_listener", "send_event",
]  # fmt: skip
MOST = 60


async def cancelled_after(count, call, opened, *, reconnecting=False):
    """Cancel `call` after `count` turns of the loop; tell whether it had ended before."""
    stage = Stage(provider(Reply("hi", 60), script={hook: yields() for hook in HOOKS}))
    if opened:
        await stage.voice.connect(reconnect=True)
    if reconnecting:
        stage.provider.lose()
    task = asyncio.create_task(call(stage.voice))
    for _ in range(count):
        if task.done():
            break
        await asyncio.sleep(0)
    ended = task.done()
    task.cancel()
    await asyncio.wait({task}, timeout=60)
    assert task.done(), f"not ended {count} turns after its begin"
    if not task.cancelled() and task.exception() is not None:
        assert isinstance(task.exception(), VoiceError), task.exception()
    await asyncio.sleep(0)
    assert stage.voice.state in get_args(State)
    assert stage.voice.state != "connecting"
    # The voice goes on: what it could do before it can do now.
    await stage.voice.connect()
    assert stage.voice.state == "open"
    await stage.voice.send(FRAME)
    response = await stage.voice.answer()
    await response.done()
    await stage.voice.close()
    assert stage.voice.state == "closed"
    stage.check()
    return ended


@pytest.mark.parametrize("name", CALLS)
@scenario
async def test_cancelled_at_every_await(name):
    """However early or late a call is cancelled, the voice is whole."""
    call, opened = CALLS[name]
    for count in range(MOST):
        if await cancelled_after(count, call, opened):
            return
    raise AssertionError(f"{name} did not end within {MOST} turns")


@pytest.mark.parametrize("name", [name for name, (_, opened) in CALLS.items() if opened and name != "close"])
@scenario
async def test_cancelled_while_reconnecting(name):
    """The same while the connection is being restored."""
    call, _ = CALLS[name]
    for count in (0, 1, 3, 10, 30):
        await cancelled_after(count, call, True, reconnecting=True)


@scenario
async def test_cancelled_connect_leaves_no_session():
    """Nobody knows of a session whose connect() was cancelled, not even in the moment of success: it is not left open.
    Unless somebody else was told that it is."""
    outcomes = set()
    for count in range(20):
        stage = Stage(provider(script={"connect": yields()}))
        task = asyncio.create_task(stage.voice.connect())
        await turns(count)
        task.cancel()
        await asyncio.wait({task})
        outcomes.add((task.cancelled(), stage.voice.state))
        await stage.voice.close()
    assert outcomes == {(True, "idle"), (True, "closed"), (False, "open")}
    for count in range(20):
        stage = Stage(provider(script={"connect": yields()}))
        task = asyncio.create_task(stage.voice.connect())
        await turns(count)
        other = asyncio.create_task(stage.voice.connect())
        await turns(1)
        task.cancel()
        await other
        await asyncio.wait({task})
        assert stage.voice.state == "open"
        await stage.voice.close()


@scenario
async def test_cancelled_by_its_deadline():
    """A call that its hook holds for ever ends by the core's own deadline, with a typed error, and the voice goes on."""
    stage = Stage(provider(script={"send_text": [Step(hangs=True)]}))
    async with stage:
        with pytest.raises(VoiceError, match=r"did not finish send_text\(\) within 30 s") as raised:
            await stage.voice.send_text("hi")
        assert (raised.value.code, raised.value.retryable) == ("timeout", True)
        await stage.voice.send_text("hi")


@scenario
async def test_outer_cancellation_beats_the_deadline():
    """Whoever cancels a call that is about to be late is obeyed."""
    stage = Stage(provider(script={"send_text": [Step(hangs=True)]}))
    async with stage:
        call = asyncio.create_task(stage.voice.send_text("hi"))
        asyncio.get_running_loop().call_later(30, call.cancel)
        await asyncio.wait({call})
        assert call.cancelled() or call.exception().code == "timeout"


@scenario
async def test_app_timeout_around_a_call():
    """An `asyncio.timeout` of the app around a call works as everywhere."""
    stage = Stage(provider(script={"answer": [Step(hangs=True)]}))
    async with stage:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await stage.voice.answer()
        await (await stage.voice.answer()).done()


@scenario
async def test_task_stopped_before_it_begins_leaves_no_warning():
    """Work that was spawned in the moment of closing never runs, and Python does not complain that nobody awaited it."""
    began = []

    async def work():
        began.append(True)

    tasks = Tasks(began.append)
    tasks.spawn(work())
    with warnings.catch_warnings(record=True) as complaints:
        warnings.simplefilter("always")
        await tasks.stop(1.0)
        gc.collect()
    assert (began, complaints) == ([], [])
