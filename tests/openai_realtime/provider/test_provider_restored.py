"""Reconnecting: what is replayed, what of the audio, when, and what is said of the rest."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from openai_realtime.provider.service import PCM_20_MS, Heard, Line, Service, speak, talk
from vivavoce import Voice, tool
from vivavoce.errors import ConnectionLostError, NotConnectedError
from vivavoce.reconnect import ReconnectPolicy

pytestmark = [pytest.mark.virtual_clock, pytest.mark.usefixtures("no_leaks")]

ULAW = {"input_audio_format": "g711_ulaw"}


@tool
async def never() -> str:
    """Has no end."""
    await asyncio.sleep(100_000)
    return ""


@tool
def weather(city: str) -> str:
    """The weather of a city."""
    return "sun"


async def connected(service: Service, **config: Any) -> tuple[Voice, Heard, Line]:
    voice, heard = service.voice(**config)
    voice.on("speaking", lambda event: None)
    await voice.connect(reconnect=True)
    return voice, heard, service.lines[-1]


def replayed(line: Line) -> list[tuple[Any, ...]]:
    """The items of the history as the service got them back."""
    found: list[tuple[Any, ...]] = []
    for event in line.sent("conversation.item.create"):
        item = event["item"]
        if item["type"] == "message":
            part = item["content"][0]
            found.append((item["role"], part["type"], part["text"]))
        else:
            found.append((item["type"], item["call_id"], item.get("output") or item.get("arguments")))
    return found


async def test_conversation_is_replayed() -> None:
    """Both sides' words, calls with their outputs, in order; then audio goes on."""
    async with Service() as service:
        voice, heard, line = await connected(service, tools=[weather])
        user = line.protocol.commit()
        line.protocol.transcription_completed(user, "How is Rome?")
        line.protocol.begin_response()
        line.protocol.function_call("weather", '{"city": "Rome"}', "call_1")
        line.protocol.finish_response()
        await line.flush()
        service.replies.append("Sun in Rome.")
        await heard.until("turn", 2)
        await voice.send_text("Thanks")
        line.peer.drop()
        restored = await heard.until("reconnected")
        new = service.lines[1]
        assert replayed(new) == [
            ("user", "input_text", "How is Rome?"),
            ("function_call", "call_1", '{"city":"Rome"}'),
            ("function_call_output", "call_1", "sun"),
            ("assistant", "output_text", "Sun in Rome."),
            ("user", "input_text", "Thanks"),
        ]
        assert (restored.replayed_items, restored.lost_audio_ms, restored.attempts) == (5, 0.0, 1)
        await voice.send(PCM_20_MS)
        await new.until("input_audio_buffer.append")
        assert new.types() == ["session.update", "conversation.item.create", "input_audio_buffer.append"]
        assert [turn.text for turn in heard.all("turn")] == ["How is Rome?", "Sun in Rome.", "Thanks"]
        assert heard.all("open") == [heard.all("open")[0]]


async def test_interrupted_turn_is_replayed_as_it_was_heard() -> None:
    """What nobody heard was never said."""
    async with Service() as service:
        voice, heard = service.voice()
        await voice.connect(reconnect=True)
        line = service.lines[0]
        line.protocol.begin_response()
        line.protocol.text("one two three four")
        for _ in range(50):
            line.protocol.audio(PCM_20_MS)
        await line.flush()
        stream = await heard.until("speaker")
        await heard.until("speaking", 50)
        stream.report_played(500)
        await voice.interrupt()
        await heard.until("turn")
        line.peer.drop()
        await heard.until("reconnected")
        assert replayed(service.lines[1]) == [("assistant", "output_text", "one two")]


async def test_unanswered_call_is_answered() -> None:
    """A call whose tool was running has an output in the new session, or the service would refuse the rest."""
    async with Service() as service:
        _, heard, line = await connected(service, tools=[never])
        line.protocol.begin_response()
        line.protocol.function_call("never", "{}", "call_1")
        line.protocol.finish_response()
        await line.flush()
        await heard.until("tool-call-start")
        await heard.until("response.done")
        line.peer.drop()
        await heard.until("reconnected")
        (call, output) = replayed(service.lines[1])
        assert call == ("function_call", "call_1", "{}")
        assert output[:2] == ("function_call_output", "call_1")
        assert "lost" in output[2]


@pytest.mark.parametrize(("session", "frame"), [({}, PCM_20_MS), (ULAW, PCM_20_MS[:320])])
async def test_two_seconds_of_audio_are_kept(session: dict[str, Any], frame: bytes) -> None:
    """During an outage of five seconds the newest two are kept and sent afterwards; the rest is counted as lost."""

    async def down(line: Line) -> None:
        await line.peer.refuse(503)

    async with Service(talk, down, down, down, talk) as service:
        voice, heard, line = await connected(service, session=session)
        line.peer.drop()
        await heard.until("reconnecting")
        for number in range(250):
            await voice.send(number.to_bytes(2, "little") + frame[2:])
        restored = await heard.until("reconnected")
        assert (restored.attempts, restored.lost_audio_ms) == (4, 3000.0)
        new = service.lines[-1]
        size = len(frame) if not session else len(frame) // 2
        while sum(map(len, new.appends)) < 100 * size:
            await new.until("input_audio_buffer.append", len(new.appends) + 1)
        assert sum(map(len, new.appends)) == 100 * size
        assert new.types()[0] == "session.update"
        if not session:
            assert new.appends[0][:2] == (150).to_bytes(2, "little")


async def test_audio_of_an_outage_that_does_not_end_is_counted() -> None:
    """The error at the end of the budget says how much was lost."""

    async def down(line: Line) -> None:
        await line.peer.refuse(503)

    async with Service(talk, down) as service:
        voice, heard = service.voice(session=ULAW)
        await voice.connect(reconnect=ReconnectPolicy(budget_ms=2_000))
        service.lines[0].peer.drop()
        await heard.until("reconnecting")
        for _ in range(50):
            await voice.send(PCM_20_MS[:320])
        closed = await heard.until("close")
        assert "1000 ms of input audio were lost" in closed.reason


async def test_calls_wait_for_the_outcome() -> None:
    """`answer()` during an outage waits, and is answered in the new session."""
    async with Service() as service:
        voice, heard, line = await connected(service)
        line.peer.drop()
        await heard.until("reconnecting")
        task = asyncio.ensure_future(voice.answer())
        service.replies.append("Here")
        assert await (await task).text() == "Here"
        assert len(service.lines) == 2


async def test_pending_calls_raise() -> None:
    """What was asked of the lost session is not asked again by itself: it raises."""
    async with Service() as service:
        voice, heard, line = await connected(service)
        line.deaf |= {"response.create", "conversation.item.create", "session.update"}
        calls = [
            asyncio.ensure_future(voice.answer()),
            asyncio.ensure_future(voice.send_text("Hi")),
            asyncio.ensure_future(voice.update_config(instructions="x")),
        ]
        for kind in ("response.create", "conversation.item.create"):
            await line.until(kind)
        await line.until("session.update", 2)
        line.peer.drop()
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(result) for result in results] == [ConnectionLostError] * 3
        await heard.until("reconnected")
        assert service.lines[1].types() == ["session.update"]


async def test_changes_are_in_the_new_session() -> None:
    """Configuration first, and the newest; a change that is asked for in the outage follows."""
    async with Service() as service:
        voice, heard, line = await connected(service, instructions="Speak.")
        await voice.update_config(instructions="Sing.", turn_detection=None)
        line.peer.drop()
        await heard.until("reconnecting")
        change = asyncio.ensure_future(voice.update_config(speaker="ash"))
        await heard.until("reconnected")
        await change
        session, changed = (event["session"] for event in service.lines[1].sent("session.update"))
        assert session["instructions"] == "Sing."
        assert session["audio"]["input"]["turn_detection"] is None
        assert changed == {"type": "realtime", "audio": {"output": {"voice": "ash"}}}


async def test_session_is_renewed_before_it_expires() -> None:
    """Shortly before the service's limit, and only while nobody speaks."""
    async with Service(expires_at=int(time.time()) + 3_600) as service:
        voice, heard, line = await connected(service, ping_interval=None)
        service.options["expires_at"] = int(time.time()) + 7_200 + 3_600
        await asyncio.sleep(3_500)
        line.protocol.begin_response()
        line.protocol.audio(PCM_20_MS)
        await line.flush()
        await heard.until("speaking")
        await asyncio.sleep(80)
        assert (heard.all("reconnecting"), len(service.lines)) == ([], 1)
        line.protocol.text("Done.")
        line.protocol.finish_response()
        await line.flush()
        event = await heard.until("reconnecting")
        assert event.cause.code == "session_expiring"
        restored = await heard.until("reconnected")
        assert restored.outage_ms < 1_000
        assert replayed(service.lines[1]) == [("assistant", "output_text", "Done.")]
        await line.until_gone()
        assert line.peer.close_code == 1000
        assert heard.all("close") == heard.all("error") == []
        assert voice.state == "open"


async def test_count_starts_anew_after_health() -> None:
    """A reply in the restored session proves it: the next outage begins with the first attempt."""
    async with Service() as service:
        voice, heard, line = await connected(service)
        for number in range(3):
            service.lines[number].peer.drop()
            await heard.until("reconnected", number + 1)
            speak(service.lines[number + 1], "Fine")
            await service.lines[number + 1].flush()
            await heard.until("response.done", number + 1)
        assert [event.attempt for event in heard.all("reconnecting")] == [1, 1, 1]
        assert voice.state == "open"
        assert line.gone


async def test_close_while_reconnecting() -> None:
    """The outage ends with the voice: one `close`, and calls that waited raise."""

    async def silent(line: Line) -> None:
        await line.peer.read_request()
        await line.peer.until_gone()

    async with Service(talk, silent) as service:
        voice, heard, line = await connected(service)
        line.peer.drop()
        await service.line(1)
        task = asyncio.ensure_future(voice.answer())
        await asyncio.sleep(0.1)
        await voice.close()
        with pytest.raises(NotConnectedError):
            await task
        assert [event.clean for event in heard.all("close")] == [True]
        assert voice.state == "closed"


async def test_reply_before_the_loss_is_not_heard_after_it() -> None:
    """Nothing of the lost session reaches the new one, though its ids come again."""
    async with Service() as service:
        voice, heard, line = await connected(service)
        line.protocol.begin_response()
        line.protocol.audio(PCM_20_MS)
        await line.flush()
        await heard.until("speaking")
        line.peer.drop()
        await heard.until("reconnected")
        speak(service.lines[1], "New", ms=40)
        await service.lines[1].flush()
        await heard.until("response.done")
        streams = heard.all("speaker")
        assert [stream.end_reason for stream in streams] == ["lost", "completed"]
        assert len(heard.all("speaking")) == 3
        assert voice.state == "open"
