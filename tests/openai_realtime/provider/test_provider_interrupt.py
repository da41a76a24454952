"""Interruption: by the app and by the user's voice, at the position that was played, item by item."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from openai_realtime.provider.service import PCM_20_MS, Heard, Line, Service
from vivavoce import Voice
from vivavoce.audio import AudioFormat
from vivavoce_openai_realtime.protocol import client_events as wire

pytestmark = [pytest.mark.virtual_clock, pytest.mark.usefixtures("no_leaks")]


async def connected(service: Service, **config: Any) -> tuple[Voice, Heard, Line]:
    voice, heard = service.voice(**config)
    await voice.connect()
    return voice, heard, service.lines[-1]


async def say(line: Line, *items: int, end: bool = True) -> list[str]:
    """A reply with a message of so many milliseconds for each of `items`; returns their ids."""
    line.protocol.begin_response()
    ids = []
    for number, ms in enumerate(items):
        ids.append(line.protocol.open_message())
        line.protocol.text(f"one{number} two{number} three{number} four{number}")
        for _ in range(ms // 20):
            line.protocol.audio(PCM_20_MS)
    if end:
        line.protocol.finish_response()
    await line.flush()
    return ids


def cuts(line: Line) -> list[tuple[Any, ...]]:
    """What the service was told to forget."""
    return [
        (event["type"].split(".")[-1], event["item_id"], event.get("audio_end_ms"))
        for event in line.events
        if event["type"] in ("conversation.item.truncate", "conversation.item.delete")
    ]


class Sink:
    """Plays as far as the test says."""

    format = AudioFormat(24_000)

    def __init__(self) -> None:
        self.played_ms = 0.0
        self.flushed = 0

    def write(self, audio: bytes) -> None:
        """Take it."""

    def flush(self) -> None:
        self.flushed += 1

    async def drain(self) -> None:
        await asyncio.get_running_loop().create_future()


async def test_interrupt_a_running_reply() -> None:
    """The reply is cancelled, what was heard stays, and what still comes of it is dropped."""
    async with Service() as service:
        voice, heard, line = await connected(service)
        (item,) = await say(line, 1_000, end=False)
        stream = await heard.until("speaker")
        await heard.until("speaking", 50)
        stream.report_played(250)
        await voice.interrupt()
        await line.until("conversation.item.truncate")
        assert line.types()[1:] == ["response.cancel", "conversation.item.truncate"]
        assert line.sent("response.cancel")[0]["response_id"] == stream.id
        assert cuts(line) == [("truncate", item, 250)]
        done = await heard.until("response.done")
        assert (done.status, done.reason) == ("cancelled", "client_cancelled")
        assert stream.end_reason == "interrupted"
        assert [(e.item_id, e.played_ms) for e in heard.all("interrupted")] == [(item, 250)]
        assert [(t.text, t.interrupted) for t in heard.all("turn")] == [("one0", True)]
        assert [e.reason for e in heard.all("speaking.done")] == ["interrupted"]
        assert heard.all("error") == []


async def test_late_audio_of_a_dead_reply() -> None:
    """What the service had sent before it heard of the cancel is not played."""
    async with Service() as service:
        voice, heard, line = await connected(service)
        line.deaf.add("response.cancel")
        await say(line, 100, end=False)
        (await heard.until("speaker")).report_played(50)
        await heard.until("speaking", 5)
        await voice.interrupt()
        await line.until("response.cancel")
        line.protocol.audio(PCM_20_MS)
        line.protocol.text("late words")
        line.protocol.finish_response("cancelled", "client_cancelled")
        await line.flush()
        await heard.until("response.done")
        assert len(heard.all("speaking")) == 5
        assert len(heard.all("writing")) <= 2
        assert not any("late" in event.text for event in heard.all("writing") if not event.final)
        service.replies.append("Go on")
        assert await (await voice.answer()).text() == "Go on"


async def test_each_item_is_cut_by_itself() -> None:
    """Heard all of the first, part of the second, nothing of the third: kept, truncated, deleted."""
    async with Service() as service:
        voice, heard, line = await connected(service)
        first, second, third = await say(line, 1_000, 500, 500)
        stream = await heard.until("speaker")
        await heard.until("response.done")
        stream.report_played(1_200)
        await voice.interrupt()
        await line.until("conversation.item.delete")
        assert line.types()[1:] == ["conversation.item.truncate", "conversation.item.delete"]
        assert cuts(line) == [("truncate", second, 200), ("delete", third, None)]
        assert first not in [cut[1] for cut in cuts(line)]
        assert heard.all("error") == []


async def test_nothing_was_heard() -> None:
    """A reply of which nothing was played is deleted, as if it had never been."""
    async with Service() as service:
        voice, heard, line = await connected(service)
        (item,) = await say(line, 500, end=False)
        (await heard.until("speaker")).report_played(0)
        await heard.until("speaking", 25)
        await voice.interrupt()
        await line.until("conversation.item.delete")
        assert cuts(line) == [("delete", item, None)]
        assert voice.history == ()


async def test_position_beyond_the_end_is_clamped() -> None:
    """More than was received cannot be kept: the service would refuse it, and some fall silent then."""
    async with Service() as service:
        voice, heard, line = await connected(service)
        (item,) = await say(line, 500, end=False)
        (await heard.until("speaker")).report_played(99_999)
        await heard.until("speaking", 25)
        await voice.interrupt(item_id=item, played_ms=10_000)
        await heard.until("response.done")
        assert cuts(line) in ([], [("truncate", item, 500)])
        assert heard.all("error") == []


async def test_position_by_item() -> None:
    """`interrupt(item_id=..., played_ms=...)` counts from the beginning of that item."""
    async with Service() as service:
        voice, heard, line = await connected(service)
        _, second = await say(line, 300, 300, end=False)
        await heard.until("speaking", 30)
        await voice.interrupt(item_id=second, played_ms=100)
        await line.until("conversation.item.truncate")
        assert cuts(line) == [("truncate", second, 100)]


async def test_user_speaks_into_the_reply() -> None:
    """The service cancels by itself: the sink is silenced at once, and only the cut is told to the service."""
    async with Service() as service:
        voice, heard, line = await connected(service)
        sink = Sink()

        @voice.on("speaker")
        async def play(stream: Any) -> None:
            await stream.pipe(sink)

        (item,) = await say(line, 1_000, end=False)
        await heard.until("speaking", 50)
        await asyncio.sleep(0.1)
        sink.played_ms = 420.0
        line.protocol.speech_started(0)
        line.protocol.finish_response("cancelled", "turn_detected")
        await line.flush()
        await line.until("conversation.item.truncate")
        assert line.types()[1:] == ["conversation.item.truncate"]
        assert cuts(line) == [("truncate", item, 420)]
        assert sink.flushed >= 1
        done = await heard.until("response.done")
        assert (done.status, done.reason) == ("cancelled", "turn_detected")
        assert [(e.item_id, e.played_ms) for e in heard.all("interrupted")] == [(item, 420)]


async def test_user_speaks_while_the_rest_is_played() -> None:
    """The reply is complete at the service, its audio is not yet heard: it is cut all the same."""
    async with Service() as service:
        voice, heard, line = await connected(service)
        sink = Sink()

        @voice.on("speaker")
        async def play(stream: Any) -> None:
            await stream.pipe(sink)

        (item,) = await say(line, 1_000)
        await heard.until("response.done")
        await asyncio.sleep(0.1)
        sink.played_ms = 700.0
        line.protocol.speech_started(0)
        await line.flush()
        await line.until("conversation.item.truncate")
        assert cuts(line) == [("truncate", item, 700)]
        assert heard.all("speaker")[0].end_reason == "interrupted"
        turn = await heard.until("turn")
        assert (turn.text, turn.interrupted) == ("one0 two0", True)
        assert [(i.text, i.interrupted) for i in voice.history] == [("one0 two0", True)]


async def test_service_that_does_not_interrupt() -> None:
    """With `interrupt_response` off the user's voice cuts nothing."""
    detection = {"type": "server_vad", "interrupt_response": False}
    async with Service() as service:
        voice, heard, line = await connected(
            service, session={"audio": {"input": {"turn_detection": detection}}}
        )
        await say(line, 500, end=False)
        (await heard.until("speaker")).report_played(100)
        line.protocol.speech_started(0)
        line.protocol.finish_response()
        await line.flush()
        assert (await heard.until("response.done")).status == "completed"
        assert heard.all("interrupted") == []
        assert line.types() == ["session.update"]
        assert voice.state == "open"


async def test_interrupt_with_nothing_to_interrupt() -> None:
    """Nothing is sent, and nothing goes wrong."""
    async with Service() as service:
        voice, heard, line = await connected(service)
        await voice.interrupt()
        await voice.send_text("Hi")
        assert line.types() == ["session.update", "conversation.item.create"]
        assert heard.all("interrupted") == heard.all("error") == []


async def test_cancel_that_comes_too_late() -> None:
    """The reply ended while the cancel was on its way: `response_cancel_not_active` is nobody's error."""
    async with Service() as service:
        voice, heard, line = await connected(service)
        line.deaf.add("response.cancel")
        await say(line, 100, end=False)
        (await heard.until("speaker")).report_played(40)
        await heard.until("speaking", 5)
        await voice.interrupt()
        cancel = await line.until("response.cancel")
        line.protocol.finish_response()
        await line.flush()
        detail = {
            "type": "invalid_request_error",
            "code": "response_cancel_not_active",
            "message": "Cancellation failed: no active response found",
            "param": None,
            "event_id": cancel["event_id"],
        }
        await line.say("error", error=detail)
        service.replies.append("Go on")
        assert await (await voice.answer()).text() == "Go on"
        assert heard.all("error") == []


async def test_out_of_band_replies_are_left_alone() -> None:
    """A reply beside the conversation is not interrupted by the user's voice, runs beside another, and is no turn."""
    async with Service() as service:
        voice, heard, line = await connected(service)
        await say(line, 100, end=False)
        await heard.until("speaking", 5)
        task = asyncio.ensure_future(voice.answer(out_of_band=True, text_only=True, instructions="Classify."))
        event = await line.until("response.create")
        assert event["response"]["conversation"] == "none"
        beside = line.protocol.begin_response(wire.ResponseCreate(response=event["response"]))
        line.protocol.speech_started(0)
        line.protocol.finish_response("cancelled", "turn_detected")
        line.protocol.text("greeting", beside)
        line.protocol.finish_response(response_id=beside)
        await line.flush()
        reply = await task
        assert (reply.id, await reply.text()) == (beside, "greeting")
        created = {e.id: e.out_of_band for e in heard.all("response.created")}
        assert created[beside] is True
        assert "greeting" not in [turn.text for turn in heard.all("turn")]
        assert "greeting" not in [item.text for item in voice.history]
