"""Hooks that do not heed their cancellation: the core gives them up, says so, and goes on."""

from __future__ import annotations

import asyncio

import pytest
from conversation import FRAME, Stage, provider, scenario, turns
from vivavoce import tool
from vivavoce.errors import ConnectError, ConnectTimeoutError, NotConnectedError, VoiceError
from vivavoce.testing import Reply, Step, current_clock


class Stubborn:
    """Work that swallows every cancellation until it is let go."""

    def __init__(self) -> None:
        self.free = asyncio.Event()
        self.ended = asyncio.Event()

    async def __call__(self, *_: object) -> None:
        while not self.free.is_set():
            try:
                await self.free.wait()
            except asyncio.CancelledError:
                continue
        self.ended.set()

    async def let_go(self) -> None:
        self.free.set()
        await self.ended.wait()
        await turns(3)


async def works(stage: Stage) -> None:
    await stage.voice.connect()
    await stage.voice.send(FRAME)
    await stage.voice.close()
    assert stage.voice.state == "closed"


@scenario
async def test_stubborn_connect(caplog):
    """connect() gives up five seconds after its budget, with its own error, and the next attempt works."""
    hook = Stubborn()
    stage = Stage(provider(script={"connect": [Step(does=hook)]}))
    with pytest.raises(ConnectTimeoutError):
        await stage.voice.connect(timeout=1_000)
    assert (stage.voice.state, current_clock().now) == ("idle", 6)
    assert "goes on although it was cancelled" in caplog.text
    await works(stage)
    await hook.let_go()


@scenario
async def test_close_during_a_stubborn_connect():
    """close() does not wait for it longer than that, either."""
    hook = Stubborn()
    stage = Stage(provider(script={"connect": [Step(does=hook)]}))
    attempt = asyncio.create_task(stage.voice.connect())
    await turns(3)
    await stage.voice.close()
    with pytest.raises(NotConnectedError) as closed:
        await attempt
    assert (closed.value.code, stage.voice.state, current_clock().now) == ("closed", "closed", 5)
    await works(stage)
    await hook.let_go()


@scenario
async def test_cancelling_a_stubborn_connect():
    """Who cancels connect() gets it back, and an idle voice."""
    hook = Stubborn()
    stage = Stage(provider(script={"connect": [Step(does=hook)]}))
    attempt = asyncio.create_task(stage.voice.connect())
    await turns(3)
    attempt.cancel()
    with pytest.raises(asyncio.CancelledError):
        await attempt
    assert (stage.voice.state, current_clock().now) == ("idle", 5)
    await works(stage)
    await hook.let_go()


@scenario
async def test_stubborn_close(caplog):
    """close() ends ten seconds after it began, is reported, and the voice works again."""
    hook = Stubborn()
    stage = Stage(provider(script={"close": [Step(does=hook)]}))
    await stage.voice.connect()
    await stage.voice.close()
    assert (stage.voice.state, current_clock().now) == ("closed", 10)
    assert "did not end within 5" in caplog.text
    assert stage.names()[-1] == "close"
    await works(stage)
    await hook.let_go()


@scenario
async def test_stubborn_update(monkeypatch):
    """A change of the configuration that never ends does not hold up the next one."""
    hook = Stubborn()
    async with Stage(provider(script={"update_config": [Step(does=hook)]})) as stage:
        with pytest.raises(VoiceError) as late:
            await stage.voice.add_instructions("one")
        assert (late.value.code, current_clock().now) == ("timeout", 35)
        await stage.voice.add_instructions("two")
        assert stage.provider.context.session.instructions == "two"
        await hook.let_go()


@scenario
async def test_what_is_left_behind_may_fail(caplog):
    """What fails after it was left behind is logged, not lost."""

    async def fails_late(*_: object) -> None:
        await hook()
        raise ValueError("too late")

    hook = Stubborn()
    stage = Stage(provider(script={"connect": [Step(does=fails_late)]}))
    with pytest.raises(ConnectTimeoutError):
        await stage.voice.connect(timeout=1_000)
    await hook.let_go()
    assert "failed after it was cancelled" in caplog.text
    assert "too late" in caplog.text


@pytest.mark.parametrize("hook", ["connect", "answer", "send_text"])
@scenario
async def test_hook_that_cancels_itself(hook):
    """A hook that ends cancelled, when nobody cancelled it, is a bug of the provider and no cancellation of the app."""
    stage = Stage(provider(script={hook: [Step(fails=asyncio.CancelledError())]}))
    if hook != "connect":
        await stage.voice.connect()
    calls = {"connect": stage.voice.connect, "answer": stage.voice.answer}
    with pytest.raises(VoiceError) as bug:
        await (calls[hook]() if hook in calls else stage.voice.send_text("hi"))
    assert bug.value.code == "provider_bug"
    assert isinstance(bug.value, ConnectError) == (hook == "connect")
    await stage.voice.close()


@scenario
async def test_close_hook_that_cancels_itself(caplog):
    """The same in close(): it is logged, and close() ends as ever."""
    stage = Stage(provider(script={"close": [Step(fails=asyncio.CancelledError())]}))
    await stage.voice.connect()
    await stage.voice.close()
    assert stage.voice.state == "closed"
    assert "close() of provider" in caplog.text
    await works(stage)


@scenario
async def test_loop_that_ends_while_the_voice_closes(caplog):
    """When everything is cancelled, as at a second Ctrl-C, that is no failure of the provider's close()."""
    stage = Stage(provider(script={"close": [Step(delay=3)]}))
    await stage.voice.connect()
    closing = asyncio.create_task(stage.voice.close())
    await turns(5)
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    await asyncio.wait({closing})
    await turns(5)
    assert [record.message for record in caplog.records if "close()" in record.message] == []


@scenario
async def test_stubborn_tool(caplog):
    """A tool that swallows its cancellation holds up close() for five seconds, and is named."""
    hook = Stubborn()

    @tool
    async def dig() -> None:
        """Dig."""
        await hook()

    stage = Stage(provider(Reply("", tool_calls=[("dig", {})])), tools=[dig])
    async with stage:
        await (await stage.voice.answer()).done()
        began = current_clock().now
    assert current_clock().now - began == 5
    assert "goes on although it was cancelled" in caplog.text
    await hook.let_go()
