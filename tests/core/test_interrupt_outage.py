"""Interrupting what a lost session said, which a sink is still playing."""

from __future__ import annotations

import asyncio

import pytest
from conversation import FRAME, Stage, provider, scenario, turns
from sinks import Player
from vivavoce import ReconnectPolicy
from vivavoce.errors import ConnectError, ConnectionLostError
from vivavoce.events import Interrupted, ResponseCreated, Speaking, SpeechStarted, Writing
from vivavoce.testing import Step, current_clock

WORDS = " ".join(f"w{number}" for number in range(10))
POLICY = ReconnectPolicy(initial_delay_ms=400)


async def cut_off(**options):
    """Of a reply of one second, 300 ms were heard when the session was lost."""
    stage = Stage(provider(**options))
    sink, task = Player(), None

    def play(stream):
        nonlocal task
        task = asyncio.create_task(stream.pipe(sink))

    stage.voice.once("speaker", play)
    await stage.voice.connect(reconnect=POLICY)
    stage.provider.emit(ResponseCreated("r"))
    for _ in range(50):
        stage.provider.emit(Speaking(FRAME, "r", "item"))
    stage.provider.emit(Writing(WORDS, "assistant", "item", "r", final=True))
    await asyncio.sleep(0.3)
    stage.provider.lose(ConnectionLostError("gone"))
    return stage, sink, task


async def is_cut(stage, sink, task, heard_ms):
    await task
    assert sink.played_ms == pytest.approx(heard_ms, abs=25)
    (event,) = stage.of(Interrupted)
    assert (event.item_id, event.played_ms) == ("item", pytest.approx(heard_ms, abs=25))
    item = stage.voice.history[-1]  # told when the session was lost
    assert (item.text, item.interrupted) == ("w0 w1 w2", True)


@scenario
async def test_interrupt_while_reconnecting():
    """It takes effect at once: there is no service to tell, and what is replayed is what was heard."""
    stage, sink, task = await cut_off()
    await stage.voice.interrupt()
    assert (stage.voice.state, current_clock().now) == ("reconnecting", pytest.approx(0.3))
    await is_cut(stage, sink, task, 300)
    await stage.voice.interrupt()
    await asyncio.sleep(2)
    assert stage.provider.context.session.history[-1].text == "w0 w1 w2"
    assert stage.provider.called("interrupt") == []
    await stage.voice.close()


@scenario
async def test_interrupt_while_dialling_again():
    """The same when the next attempt is already under way."""
    stage, _, task = await cut_off(script={"connect": [None, Step(hangs=True)]})
    while len(stage.provider.called("connect")) < 2:
        await asyncio.sleep(0.01)
    heard_ms = (current_clock().now) * 1000
    await stage.voice.interrupt()
    assert stage.voice.state == "reconnecting"
    await task
    assert stage.of(Interrupted)[0].played_ms == pytest.approx(heard_ms, abs=25)
    await stage.voice.close()


@pytest.mark.parametrize("by", ["the app", "the user"])
@scenario
async def test_interrupt_after_the_outage(by):
    """In the session that took its place, too: by the app, and by the user who begins to speak."""
    stage, sink, task = await cut_off()
    while stage.voice.state != "open":
        await asyncio.sleep(0.01)
    heard_ms = current_clock().now * 1000
    assert heard_ms < 1_000
    if by == "the app":
        await stage.voice.interrupt()
    else:
        stage.provider.emit(SpeechStarted())
    await turns(3)
    await is_cut(stage, sink, task, heard_ms)
    assert stage.provider.called("interrupt") == []
    await stage.voice.close()


@scenario
async def test_nothing_is_cut_that_was_heard():
    """What has been played to its end is left alone."""
    stage, sink, task = await cut_off(script={"connect": [None, *[ConnectError("no")] * 3]})
    await task
    await stage.voice.interrupt()
    assert sink.played_ms == 1_000
    assert stage.of(Interrupted) == []
    await stage.voice.close()
