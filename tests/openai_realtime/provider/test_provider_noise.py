"""A service that sends what it should not: reported or ignored, and the session goes on."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import pytest
from openai_realtime.provider.service import PCM_20_MS, Heard, Line, Service, talk
from vivavoce import Voice
from vivavoce.errors import ProtocolError, ProviderError

pytestmark = [pytest.mark.virtual_clock, pytest.mark.usefixtures("no_leaks")]

RESPONSE = {"id": "resp_a", "object": "realtime.response", "status": "in_progress", "output": []}
AUDIO = base64.b64encode(PCM_20_MS).decode()


def event(type: str, **fields: Any) -> str:
    return json.dumps({"type": type, "event_id": "event_x", **fields})


def delta(audio: str = AUDIO, **other: Any) -> str:
    place = {"response_id": "resp_a", "item_id": "item_a", "output_index": 0, "content_index": 0}
    return event("response.output_audio.delta", **{**place, "delta": audio, **other})


CREATED = event("response.created", response=RESPONSE)
DONE = event("response.done", response={**RESPONSE, "status": "completed"})


async def still_works(voice: Voice, heard: Heard, service: Service) -> None:
    """The same session goes on with a turn."""
    errors = len(heard.all("error"))
    done = len(heard.all("response.done"))
    service.replies.append("Fine")
    reply = await voice.answer()
    assert await reply.text() == "Fine"
    assert len(heard.all("response.done")) == done + 1
    assert (voice.state, len(service.lines)) == ("open", 1)
    assert len(heard.all("error")) == errors


async def noise(service: Service, *frames: str | bytes, binary: bool = False) -> tuple[Voice, Heard]:
    """A session in which the service has sent `frames`."""
    voice, heard = service.voice()
    voice.on("speaking", lambda event: None)
    await voice.connect()
    line = service.lines[0]
    for frame in frames:
        if binary:
            await line.peer.send_binary(frame if isinstance(frame, bytes) else frame.encode())
        else:
            await line.peer.send(frame)
    await line.say("input_audio_buffer.speech_started", audio_start_ms=0, item_id="item_end")
    await heard.until("speech.started")  # whatever came before has been taken
    return voice, heard


MALFORMED: dict[str, str | bytes] = {
    "no JSON": "{oops",
    "empty": "",
    "no object": "[1, 2]",
    "null": "null",
    "a number": "7",
    "no UTF-8": b'{"type": "\xff\xfe"}',
    "without a type": '{"event_id": "event_1"}',
    "type of the wrong type": '{"type": 7}',
    "audio that is no base64": delta("!!!!"),
    "audio of a wrong type": delta(audio=7),  # type: ignore[arg-type]
    "delta without its item": event("response.output_audio.delta", delta=AUDIO, response_id="resp_a"),
    "nested too deep": '{"type":"session.updated","session":' + '{"a":' * 5000 + "1" + "}" * 5001,
    "item without an id": event("conversation.item.added", item={"type": "message"}),
}


@pytest.mark.parametrize("case", MALFORMED)
async def test_malformed_event(case: str) -> None:
    """What is no event is one `ProtocolError`, and nothing else."""
    async with Service() as service:
        voice, heard = await noise(service, MALFORMED[case])
        assert [type(error) for error in heard.all("error")] == [ProtocolError]
        assert str(heard.all("error")[0]).startswith("the service sent what is no event: ")
        assert len(str(heard.all("error")[0])) < 400
        assert heard.names() == ["session.created", "session.updated", "open", "error", "speech.started"]
        await still_works(voice, heard, service)


async def test_binary_frame() -> None:
    """The protocol has text frames only."""
    async with Service() as service:
        voice, heard = await noise(service, b"\x00\x01", binary=True)
        assert [type(error) for error in heard.all("error")] == [ProtocolError]
        await still_works(voice, heard, service)


SILENT = {
    "unknown event": [event("response.dreams.delta", delta="x", response_id="resp_a")],
    "unknown fields": [
        event("rate_limits.updated", rate_limits=[], obfuscation="aXd", extra={"deep": [1]}),
    ],
    "events about nothing known": [
        event("conversation.item.truncated", item_id="item_never", content_index=0, audio_end_ms=5),
        event("conversation.item.deleted", item_id="item_never"),
        event("input_audio_buffer.cleared"),
    ],
    "output buffer of a call": [event("output_audio_buffer.started", response_id="resp_a")],
    "dtmf": [json.dumps({"type": "input_audio_buffer.dtmf_event_received", "event": "5", "received_at": 1})],
}


@pytest.mark.parametrize("case", SILENT)
async def test_event_without_a_meaning(case: str) -> None:
    """What says nothing to the app is no event and no error."""
    async with Service() as service:
        voice, heard = await noise(service, *SILENT[case])
        assert heard.names() == ["session.created", "session.updated", "open", "speech.started"]
        assert heard.all("error") == []
        await still_works(voice, heard, service)


async def test_odd_length_audio() -> None:
    """Half a sample at a delta's end waits for its other half."""
    async with Service() as service:
        whole = PCM_20_MS[:10]
        frames = [
            delta(base64.b64encode(part).decode()) for part in (whole[:3], whole[3:4], whole[4:9], whole[9:])
        ]
        voice, heard = await noise(service, CREATED, *frames, DONE)
        pieces = [event.audio for event in heard.all("speaking")]
        assert b"".join(pieces) == whole
        assert all(len(piece) % 2 == 0 for piece in pieces)
        await still_works(voice, heard, service)


async def test_delta_without_audio() -> None:
    """An empty delta is no audio."""
    async with Service() as service:
        voice, heard = await noise(service, CREATED, delta(""), delta(), DONE)
        assert [event.audio for event in heard.all("speaking")] == [PCM_20_MS]
        await still_works(voice, heard, service)


async def test_huge_event() -> None:
    """12 MB in one event: taken, whole."""
    audio = PCM_20_MS * 9_600
    async with Service() as service:
        voice, heard = await noise(service, CREATED, delta(base64.b64encode(audio).decode()), DONE)
        assert [len(event.audio) for event in heard.all("speaking")] == [9_216_000]
        await still_works(voice, heard, service)


async def test_event_beyond_the_limit() -> None:
    """More than `max_size` ends the session with 1009, and the next one is clean."""
    async with Service(talk) as service:
        voice, heard = service.voice(max_size=64 * 1024)
        await voice.connect()
        await service.lines[0].peer.send(delta("A" * 70_000))
        closed = await heard.until("close")
        (error,) = heard.all("error")
        assert (error.code, error.close_code, error.retryable) == ("protocol", 1009, False)
        assert "max_size" in closed.reason
        await service.check_next_session(voice, heard)


async def test_one_byte_at_a_time() -> None:
    """However the bytes are cut, the events are the same."""

    async def script(line: Line) -> None:
        line.peer.one_byte_at_a_time = True
        await talk(line)

    async with Service(script) as service:
        voice, heard = await noise(service, CREATED, delta(), DONE)
        assert [event.audio for event in heard.all("speaking")] == [PCM_20_MS]
        await still_works(voice, heard, service)


async def test_ids_that_come_twice() -> None:
    """A service that says things twice, ids and all, is heard once."""
    item = {"id": "item_a", "type": "message", "role": "assistant", "status": "in_progress", "content": []}
    added = event("conversation.item.added", item=item)
    final = event(
        "response.output_audio_transcript.done",
        response_id="resp_a",
        item_id="item_a",
        content_index=0,
        transcript="Once.",
    )
    async with Service() as service:
        voice, heard = await noise(service, CREATED, CREATED, added, added, delta(), final, final, DONE, DONE)
        counts = {
            name: len(heard.all(name)) for name in ("response.created", "speaker", "speaking", "writing")
        }
        assert counts == {"response.created": 1, "speaker": 1, "speaking": 1, "writing": 1}
        assert len(heard.all("response.done")) == 1
        assert (await heard.until("turn")).text == "Once."
        await still_works(voice, heard, service)


async def test_both_names_of_a_delta() -> None:
    """A service that sends each delta under GA's name and beta's doubles nothing."""
    old = json.dumps({**json.loads(delta()), "type": "response.audio.delta"})
    async with Service() as service:
        voice, heard = await noise(service, CREATED, delta(), old, delta(), old, DONE)
        assert len(heard.all("speaking")) == 2
        await still_works(voice, heard, service)


async def test_deltas_after_the_end() -> None:
    """What comes of a reply after its end is dropped."""
    text = event(
        "response.output_audio_transcript.delta", response_id="resp_a", item_id="item_a", delta="late"
    )
    async with Service() as service:
        voice, heard = await noise(service, CREATED, delta(), DONE, delta(), text)
        assert len(heard.all("speaking")) == 1
        assert heard.all("writing") == []
        await still_works(voice, heard, service)


async def test_error_is_not_the_end() -> None:
    """An `error` of the service that belongs to nothing is reported with its code and param, and that is all."""
    detail = {
        "type": "invalid_request_error",
        "code": "invalid_value",
        "message": "Not like this.",
        "param": "session.audio",
        "event_id": "event_of_another",
    }
    async with Service() as service:
        voice, heard = await noise(service, event("error", error=detail))
        (error,) = heard.all("error")
        assert (type(error), error.code, error.param, error.event_id, str(error)) == (
            ProviderError,
            "invalid_value",
            "session.audio",
            "event_of_another",
            "Not like this.",
        )
        assert (error.provider, error.session_id) == ("openai-realtime", "sess_1")
        await still_works(voice, heard, service)


async def test_garbage_below_the_protocol() -> None:
    """Bytes that are no WebSocket end the session as a protocol error; the next one is clean."""
    async with Service() as service:
        voice, heard = service.voice()
        await voice.connect()
        await service.lines[0].peer.raw(b"\xff\xff\xff\xff")
        await heard.until("close")
        (error,) = heard.all("error")
        assert (error.code, error.close_code, error.retryable) == ("protocol", 1002, False)
        await service.check_next_session(voice, heard)


async def test_two_sessions_at_once() -> None:
    """Two voices with one provider: nothing of one reaches the other, and one may end without the other."""
    async with Service() as service:
        voices = [service.voice() for _ in range(2)]
        await asyncio.gather(*(voice.connect() for voice, _ in voices))
        for number, line in enumerate(service.lines):
            line.protocol.begin_response()
            line.protocol.audio(bytes([number, 0]) * 480)
            line.protocol.text(f"I am {number}.")
            line.protocol.finish_response()
            await line.flush()
        for voice, heard in voices:
            await heard.until("turn")
            assert len(heard.all("speaking")) == 1
            assert voice.state == "open"
        audio = [heard.all("speaking")[0].audio for _, heard in voices]
        assert {piece[0] for piece in audio} == {0, 1}
        service.lines[0].peer.drop()
        gone = [heard.names().count("close") for _, heard in voices]
        while sum(gone) == 0:
            await asyncio.sleep(0)
            gone = [heard.names().count("close") for _, heard in voices]
        (left,) = (pair for pair, ended in zip(voices, gone, strict=True) if not ended)
        service.replies.append("Still here")
        assert await (await left[0].answer()).text() == "Still here"
