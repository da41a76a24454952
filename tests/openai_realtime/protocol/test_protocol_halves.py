"""The two halves, speaking with each other through bytes; all they say is checked against OpenAI's own types."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from openai.types.realtime import RealtimeClientEvent, RealtimeServerEvent
from pydantic import TypeAdapter
from vivavoce_openai_realtime.protocol import DIALECTS, ClientProtocol, ServerProtocol
from vivavoce_openai_realtime.protocol import client_events as wire
from vivavoce_openai_realtime.protocol import events as e

JSON = dict[str, Any]
CLIENT: TypeAdapter[Any] = TypeAdapter(RealtimeClientEvent)
SERVER: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)
BETA_NAMES = {
    "response.audio.delta",
    "response.text.delta",
    "response.audio_transcript.delta",
    "conversation.item.created",
}
HI = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]}
TOOL = {
    "type": "function",
    "name": "f",
    "description": "d",
    "parameters": {"type": "object", "properties": {}},
}


class Line:
    """A client and a server on one line. In GA every frame is checked."""

    def __init__(self, *, beta: bool = False, **server: Any) -> None:
        numbers = itertools.count(1)
        self.beta = beta
        self.client = ClientProtocol(DIALECTS["azure-preview" if beta else "ga"])
        self.server = ServerProtocol(
            model="gpt-realtime-2.1", beta=beta, new_id=lambda p: f"{p}_{next(numbers)}", **server
        )
        self.sent: list[JSON] = []
        self.told: list[JSON] = []
        self.server.session_created()
        (ready,) = self.hear()
        assert isinstance(ready, e.SessionReady)

    def ask(self, frame: bytes | None = None) -> list[wire.ClientEvent]:
        """What the client queued (or `frame`) reaches the server."""
        handed: list[wire.ClientEvent] = []
        for data in [frame] if frame is not None else self.client.data_to_send():
            event = json.loads(data)
            self.sent.append(event)
            if not self.beta:
                CLIENT.validate_python(event, strict=True)
            handed += self.server.receive_text(data)
        return handed

    def hear(self) -> list[Any]:
        """What the server queued reaches the client."""
        events: list[Any] = []
        for data in self.server.data_to_send():
            event = json.loads(data)
            self.told.append(event)
            if not self.beta:
                SERVER.validate_python(event)
                assert event["type"] not in BETA_NAMES
            events += self.client.receive_text(data)
        return events

    def round(self) -> list[Any]:
        self.ask()
        return self.hear()

    def types(self) -> list[str]:
        return [event["type"] for event in self.told]


@pytest.fixture(params=[False, True], ids=["ga", "beta"])
def line(request: pytest.FixtureRequest) -> Line:
    return Line(beta=request.param)


def names(events: list[Any]) -> list[str]:
    return [type(event).__name__ for event in events if not isinstance(event, e.ItemAdded | e.ItemDone)]


def test_session_is_configured(line: Line) -> None:
    """A configuration is acknowledged in full, and the formats follow it."""
    request = line.client.send_session(
        {
            "voice": "ash",
            "turn_detection": None,
            "tools": [TOOL],
            "audio": {"output": {"format": {"type": "audio/pcmu"}}},
        }
    )
    (event,) = line.round()
    assert (event.request_id, line.client.output_format.type, line.client.input_format.type) == (
        request,
        "audio/pcmu",
        "audio/pcm",
    )
    assert line.server.session["audio"]["output"]["voice"] == "ash"
    assert line.server.session["audio"]["input"]["turn_detection"] is None
    assert ("voice" in event.config) == line.beta


def test_spoken_turn(line: Line) -> None:
    """Speech, its item, a spoken answer with a transcript, and the end, in OpenAI's order."""
    line.told.clear()
    item = line.server.speech_started(100)
    line.ask(line.client.append(b"\0\0" * 2400))
    line.server.speech_stopped(300, item)
    line.server.commit(item)
    reply = line.server.begin_response()
    line.server.text("Hel")
    line.server.audio(b"\1\2" * 480)
    line.server.text("lo")
    line.server.transcription_delta(item, "Hi")
    line.server.transcription_completed(item, "Hi")
    line.server.finish_response(usage={"total_tokens": 5})
    events = line.hear()
    assert names(events) == [
        *("SpeechStarted", "SpeechStopped", "Committed", "ResponseStarted"),
        *("TextDelta", "Audio", "TextDelta", "TextDelta", "TextFinal"),
        *("AudioDone", "TextFinal", "ResponseFinished", "RateLimits"),
    ]
    finals = {(f.role, f.text) for f in events if isinstance(f, e.TextFinal)}
    assert finals == {("user", "Hi"), ("assistant", "Hello")}
    assert (line.client.active_response, reply.startswith("resp_")) == (None, True)
    if not line.beta:
        assert line.types() == [
            *(
                "input_audio_buffer.speech_started",
                "input_audio_buffer.speech_stopped",
                "input_audio_buffer.committed",
            ),
            *(
                "conversation.item.added",
                "conversation.item.done",
                "response.created",
                "response.output_item.added",
            ),
            *(
                "conversation.item.added",
                "response.content_part.added",
                "response.output_audio_transcript.delta",
            ),
            *("response.output_audio.delta", "response.output_audio_transcript.delta"),
            *(f"conversation.item.input_audio_transcription.{x}" for x in ("delta", "completed")),
            *(
                "response.output_audio.done",
                "response.output_audio_transcript.done",
                "response.content_part.done",
            ),
            *("conversation.item.done", "response.output_item.done", "response.done", "rate_limits.updated"),
        ]


def test_beta_names_and_shapes() -> None:
    """In beta nothing has a GA name, and objects are flat."""
    line = Line(beta=True)
    test_spoken_turn(line)
    assert not [
        t
        for t in line.types()
        if "output_audio" in t or t in ("conversation.item.added", "conversation.item.done")
    ]
    (done,) = [x["response"] for x in line.told if x["type"] == "response.done"]
    assert (done["modalities"], done["output"][0]["content"][0]["type"]) == (["text", "audio"], "audio")


def test_first_flat_update_chooses_beta() -> None:
    """A server that was told nothing speaks beta to who speaks beta first."""
    server = ServerProtocol(model="m")
    server.receive_text(b'{"type":"session.update","session":{"modalities":["text"],"temperature":0.8}}')
    (frame,) = server.data_to_send()
    assert (server.beta, json.loads(frame)["session"]["modalities"]) == (True, ["text"])


def test_text_turn_with_call(line: Line) -> None:
    """A message, an answer that calls a function, its output, and the answer after it."""
    item = line.client.send_item(HI)
    asked = line.client.send_response({"output_modalities": ["text"]})
    _, request = line.ask()
    line.server.begin_response(request)  # type: ignore[arg-type]
    line.server.text("Let me see.")
    call = line.server.function_call("f", '{"a":1}')
    line.server.finish_response()
    events = line.hear()
    assert [
        x.request_id for x in events if isinstance(x, e.ItemAdded | e.ResponseStarted) and x.request_id
    ] == [item, asked]
    assert [(x.call_id, x.name, x.arguments) for x in events if isinstance(x, e.ToolCallReady)] == [
        (call, "f", '{"a":1}')
    ]
    output = line.client.send_item({"type": "function_call_output", "call_id": call, "output": "42"})
    assert output in [getattr(x, "request_id", None) for x in line.round()]
    line.client.send_response()
    line.server.begin_response(line.ask()[0])  # type: ignore[arg-type]
    line.server.finish_response("incomplete", "max_output_tokens")
    (finished,) = [x for x in line.hear() if isinstance(x, e.ResponseFinished)]
    assert (finished.status, finished.reason) == ("incomplete", "max_output_tokens")


def test_cancel_and_truncate(line: Line) -> None:
    """A reply is cancelled, and cut to what was heard, clamped to what was received."""
    line.server.begin_response()
    line.server.audio(b"\0\0" * 24_00)
    (audio,) = [x for x in line.hear() if isinstance(x, e.Audio)]
    line.client.send_cancel()
    line.client.send_truncate(audio.item_id or "", 9_999)
    cancel, _ = line.ask()
    assert isinstance(cancel, wire.ResponseCancel)
    line.server.finish_response("cancelled", "client_cancelled")
    events = line.hear()
    assert [x.audio_end_ms for x in events if isinstance(x, e.ItemTruncated)] == [100]
    assert [(x.status, x.reason) for x in events if isinstance(x, e.ResponseFinished)] == [
        ("cancelled", "client_cancelled")
    ]
    assert line.client.pending == ()


def test_out_of_band(line: Line) -> None:
    """A reply out of band runs beside another, and leaves the conversation alone."""
    line.server.begin_response()
    line.hear()
    asked = line.client.send_response({"conversation": "none", "metadata": {"topic": "x"}, "input": [HI]})
    (request,) = line.ask()
    before = line.server.conversation.order
    other = line.server.begin_response(request)  # type: ignore[arg-type]
    line.server.text("x", other)
    line.server.finish_response(response_id=other)
    events = line.hear()
    (started,) = [x for x in events if isinstance(x, e.ResponseStarted)]
    assert (started.request_id, started.out_of_band, started.metadata) == (asked, True, {"topic": "x"})
    assert line.server.conversation.order == before
    assert not [x for x in events if isinstance(x, e.ItemAdded)]
    assert line.client.active_response == line.server.active_response


def test_items_are_kept_in_order(line: Line) -> None:
    """Items go where they were asked to go; retrieved and deleted ones are answered by id."""
    for item_id, previous in (("b", None), ("a", "root"), ("c", "b"), ("d", None)):
        line.client.send_item({**HI, "id": item_id}, previous)
    added = [(x.item_id, x.previous_item_id) for x in line.round() if isinstance(x, e.ItemAdded)]
    assert (line.server.conversation.order, added) == (
        ("a", "b", "c", "d"),
        [("b", None), ("a", None), ("c", "b"), ("d", "c")],
    )
    retrieve, delete = line.client.send_retrieve("a"), line.client.send_delete("b")
    assert [(type(x), x.request_id, x.item_id) for x in line.round()] == [
        (e.ItemRetrieved, retrieve, "a"),
        (e.ItemDeleted, delete, "b"),
    ]


def test_stored_audio_is_retrieved() -> None:
    """The audio of the user's item comes back with it."""
    line = Line(stored_audio=lambda item_id: b"\0\1")
    line.server.commit("u")
    line.hear()
    line.client.send_retrieve("u")
    (event,) = line.round()
    assert event.item.content[0].audio == "AAE="


def test_manual_turn(line: Line) -> None:
    """Input is committed by hand, if there is enough of it, and cleared."""
    line.ask(line.client.append(b"\0\0" * 2_399))
    refused = line.client.send_commit()
    (event,) = line.round()
    assert (event.request_id, event.error.code) == (refused, "input_audio_buffer_commit_empty")
    line.ask(line.client.append(b"\0\0"))
    asked = line.client.send_commit()
    (commit,) = line.ask()
    assert isinstance(commit, wire.InputAudioBufferCommit)
    item = line.server.commit()
    (committed,) = [x for x in line.hear() if isinstance(x, e.Committed)]
    assert (committed.request_id, committed.item_id, line.server.buffered) == (asked, item, 0)
    cleared = line.client.send_clear()
    assert line.round() == [e.Cleared(cleared)]


def test_everything_else_a_server_says() -> None:
    """Time-outs, failed transcripts and the end of a session are as OpenAI says them."""
    line = Line(expires_at=1_800_000_000)
    line.server.timeout_triggered(0, 5_000, "u")
    line.server.transcription_failed("u", "What?")
    close = line.server.fatal("session_expired", "Your session hit the maximum duration of 60 minutes.")
    events = line.hear()
    assert names(events) == ["InputAudioBufferTimeoutTriggered", "TranscriptFailed", "ServerError"]
    assert close == (1001, "Your session hit the maximum duration of 60 minutes.")


@pytest.mark.parametrize(
    ("code", "close"),
    [("invalid_api_key", 3000), ("invalid_model", 4000), ("server_error", 1011)],
)
def test_fatal_errors_close(code: str, close: int) -> None:
    """An error that ends the session says with which code to close, in at most 123 bytes."""
    server = ServerProtocol(model="m")
    assert server.fatal(code, "é" * 200) == (close, f"invalid_request_error.{code}")
    assert len(server.fatal("session_expired", "é" * 200)[1].encode()) <= 123


def test_client_sends_ga_and_nothing_but_ga() -> None:
    """Flat names, and beta's parts of a message, leave in GA's shape; each verb's frame is one of OpenAI's events."""
    client = ClientProtocol()
    client.send_session(
        {
            **{
                "modalities": ["text", "audio"],
                "voice": "ash",
                "speed": 1.1,
                "temperature": 0.8,
                "tools": [TOOL],
            },
            **{
                "input_audio_format": "pcm16",
                "output_audio_format": "g711_ulaw",
                "max_response_output_tokens": 100,
            },
            **{
                "turn_detection": {"type": "semantic_vad"},
                "input_audio_transcription": {"model": "whisper-1"},
            },
            "input_audio_noise_reduction": {"type": "near_field"},
        }
    )
    client.send_item({"type": "message", "role": "assistant", "content": [{"type": "text", "text": "x"}]})
    client.send_response(
        {"modalities": ["text"], "voice": "ash", "instructions": "x", "max_response_output_tokens": 9}
    )
    for verb in (client.send_commit, client.send_clear, client.send_cancel):
        verb()
    client.send_retrieve("i"), client.send_delete("i"), client.send_truncate("i", 0)
    client.send_event("output_audio_buffer.clear")
    frames = [*client.data_to_send(), client.append(b"\0\0")]
    events = [json.loads(frame) for frame in frames]
    assert [CLIENT.validate_python(event, strict=True).type for event in events] == [
        event["type"] for event in events
    ]
    session = events[0]["session"]
    assert session == {
        "type": "realtime",
        "output_modalities": ["audio"],
        "tools": [TOOL],
        "max_output_tokens": 100,
        "audio": {
            "output": {"voice": "ash", "speed": 1.1, "format": {"type": "audio/pcmu"}},
            "input": {
                "format": {"type": "audio/pcm", "rate": 24_000},
                "transcription": {"model": "whisper-1"},
                "noise_reduction": {"type": "near_field"},
                "turn_detection": {"type": "semantic_vad"},
            },
        },
    }
    assert events[1]["item"]["content"] == [{"type": "output_text", "text": "x"}]
