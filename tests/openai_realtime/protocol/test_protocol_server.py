"""What the server half refuses, and how."""

from __future__ import annotations

import json
from typing import Any

import pytest
from vivavoce_openai_realtime.protocol import Fault, ServerProtocol

CALL = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}


def refused(server: ServerProtocol, frame: dict[str, Any] | bytes) -> tuple[str, str | None]:
    """The code and param of the one `error` that a frame is answered with."""
    data = frame if isinstance(frame, bytes) else json.dumps({"event_id": "e", **frame}).encode()
    assert list(server.receive_text(data)) == []
    (answer,) = [json.loads(x) for x in server.data_to_send()]
    assert answer["type"] == "error"
    if not isinstance(frame, bytes):
        assert answer["error"]["event_id"] == "e"
    return answer["error"]["code"], answer["error"]["param"]


def update(**session: Any) -> dict[str, Any]:
    return {"type": "session.update", "session": {"type": "realtime", **session}}


def item(**fields: Any) -> dict[str, Any]:
    return {"type": "conversation.item.create", "item": fields}


def message(role: str, *content: Any) -> dict[str, Any]:
    return item(type="message", role=role, content=list(content))


def listen(**fields: Any) -> dict[str, Any]:
    return update(audio={"input": fields})


def speak(**fields: Any) -> dict[str, Any]:
    return update(audio={"output": fields})


TURNS = "session.audio.input.turn_detection"
REFUSALS: list[tuple[dict[str, Any] | bytes, str, str | None]] = [
    (b"nope", "invalid_json", None),
    (b"[1]", "invalid_json", None),
    (b"{}", "missing_required_parameter", "type"),
    (b'{"type":"x.y"}', "invalid_value", "type"),
    (b'{"type":7}', "invalid_value", "type"),
    ({"type": "session.update"}, "missing_required_parameter", "session"),
    ({"type": "conversation.item.truncate", "item_id": "i"}, "missing_required_parameter", "content_index"),
    ({"type": "conversation.item.delete", "item_id": 5}, "invalid_type", "item_id"),
    ({"type": "input_audio_buffer.append", "audio": "%"}, "invalid_value", "audio"),
    ({"type": "input_audio_buffer.append"}, "missing_required_parameter", "audio"),
    ({"type": "input_audio_buffer.commit"}, "input_audio_buffer_commit_empty", None),
    ({"type": "session.update", "session": {}}, "missing_required_parameter", "session.type"),
    ({"type": "session.update", "session": {"type": "transcription"}}, "invalid_parameter", "session.type"),
    (update(modalities=["text"]), "unknown_parameter", "session.modalities"),
    (update(temperature=1), "unknown_parameter", "session.temperature"),
    (update(model="other"), "invalid_value", "session.model"),
    (update(output_modalities=["video"]), "invalid_value", "session.output_modalities[0]"),
    (update(max_output_tokens=0), "invalid_value", "session.max_output_tokens"),
    (update(max_output_tokens=True), "invalid_value", "session.max_output_tokens"),
    (update(tools=[{"name": "f"}]), "missing_required_parameter", "session.tools[0].type"),
    (update(tools=[{"type": "function"}]), "missing_required_parameter", "session.tools[0].name"),
    (update(tools=[{"type": "magic"}]), "invalid_value", "session.tools[0].type"),
    (update(tools={}), "invalid_value", "session.tools"),
    (update(tool_choice={"type": "function"}), "missing_required_parameter", "session.tool_choice.name"),
    (update(audio=5), "invalid_value", "session.audio"),
    (listen(format={"type": "audio/mp3"}), "invalid_value", "session.audio.input.format.type"),
    (
        listen(format={"type": "audio/pcm", "rate": 16_000}),
        "invalid_value",
        "session.audio.input.format.rate",
    ),
    (listen(format="pcm16"), "invalid_value", "session.audio.input.format"),
    (listen(turn_detection={"type": "server_vad", "threshold": 2}), "invalid_value", f"{TURNS}.threshold"),
    (
        listen(turn_detection={"type": "semantic_vad", "threshold": 0.5}),
        "unknown_parameter",
        f"{TURNS}.threshold",
    ),
    (listen(turn_detection={"threshold": 0.5}), "missing_required_parameter", f"{TURNS}.type"),
    (
        listen(turn_detection={"type": "server_vad", "idle_timeout_ms": 10}),
        "invalid_value",
        f"{TURNS}.idle_timeout_ms",
    ),
    (speak(speed=2), "invalid_value", "session.audio.output.speed"),
    (speak(voice={}), "missing_required_parameter", "session.audio.output.voice.id"),
    ({"type": "response.cancel"}, "response_cancel_not_active", None),
    ({"type": "response.create", "response": {"x": 1}}, "unknown_parameter", "response.x"),
    (
        {"type": "response.create", "response": {"conversation": "other"}},
        "invalid_value",
        "response.conversation",
    ),
    ({"type": "conversation.item.retrieve", "item_id": "x"}, "item_retrieve_invalid_item_id", None),
    ({"type": "conversation.item.delete", "item_id": "x"}, "item_delete_invalid_item_id", None),
    (
        {"type": "conversation.item.truncate", "item_id": "x", "content_index": 0, "audio_end_ms": 0},
        "item_truncate_invalid_item_id",
        None,
    ),
    (item(), "missing_required_parameter", "item.type"),
    (item(type="magic"), "invalid_value", "item.type"),
    (item(type="message", id="x" * 33), "invalid_value", "item.id"),
    (item(type="message", role="boss", content=[]), "invalid_value", "item.role"),
    (item(type="message", role="user"), "missing_required_parameter", "item.content"),
    (message("user", {"type": "output_text", "text": "x"}), "invalid_value", "item.content[0].type"),
    (message("user", {"type": "input_audio"}), "missing_required_parameter", "item.content[0].audio"),
    (message("user", 5), "invalid_value", "item.content[0].type"),
    (
        message("assistant", {"type": "output_audio", "audio": "AAAA"}),
        "missing_required_parameter",
        "item.content[0].text",
    ),
    (item(type="function_call", name="f"), "missing_required_parameter", "item.arguments"),
    (item(type="function_call_output", call_id="none", output="x"), "invalid_value", "item.call_id"),
    ({**item(**CALL), "previous_item_id": "none"}, "invalid_value", "previous_item_id"),
    ({"type": "session.close"}, "invalid_value", "type"),
]


@pytest.mark.parametrize(
    ("frame", "code", "param"), REFUSALS, ids=[f"{c} {p} {i}" for i, (_, c, p) in enumerate(REFUSALS)]
)
def test_refusal(frame: dict[str, Any] | bytes, code: str, param: str | None) -> None:
    """A wrong event is answered by one error with the code, the path of the field, and the event's id; nothing changes."""
    server = ServerProtocol(model="m", beta=False)
    before = json.dumps(server.session)
    assert refused(server, frame) == (code, param)
    assert (json.dumps(server.session), server.conversation.order) == (before, ())


def test_update_is_all_or_nothing() -> None:
    """One bad field discards the good ones beside it."""
    server = ServerProtocol(model="m")
    refused(server, update(instructions="new", audio={"output": {"voice": "ash", "speed": 9}}))
    assert (server.session["instructions"], server.session["audio"]["output"]["voice"]) == ("", "marin")


def test_update_changes_what_it_names() -> None:
    """Fields that are absent stay; a new kind of turn detection comes with its own defaults."""
    server = ServerProtocol(model="m")
    server.receive_text(json.dumps(listen(turn_detection={"type": "server_vad", "threshold": 0.7})))
    server.receive_text(json.dumps(update(instructions="new")))
    turns = server.session["audio"]["input"]["turn_detection"]
    assert (turns["threshold"], turns["silence_duration_ms"], server.session["instructions"]) == (
        0.7,
        500,
        "new",
    )
    server.receive_text(json.dumps(listen(turn_detection=None)))
    server.receive_text(json.dumps(listen(turn_detection={"type": "semantic_vad"})))
    assert server.session["audio"]["input"]["turn_detection"] == {
        "type": "semantic_vad",
        "eagerness": "auto",
        "create_response": True,
        "interrupt_response": True,
    }


@pytest.mark.parametrize(
    ("session", "param"),
    [
        ({"output_modalities": ["text"]}, "session.output_modalities"),
        ({"voice": 5}, "session.voice"),
        ({"turn_detection": {"type": "x"}}, "session.turn_detection.type"),
    ],
)
def test_beta_refuses_in_its_own_names(session: dict[str, Any], param: str) -> None:
    """A beta session is refused with beta's paths."""
    assert (
        refused(ServerProtocol(model="m", beta=True), {"type": "session.update", "session": session})[1]
        == param
    )


def test_voice_is_settled_once_heard() -> None:
    """The voice cannot be changed after the model has spoken; the same voice again is no change."""
    server = ServerProtocol(model="m")
    server.begin_response()
    server.audio(b"\0\0")
    server.data_to_send()
    assert refused(server, speak(voice="ash")) == ("cannot_update_voice", "session.audio.output.voice")
    server.receive_text(json.dumps(speak(voice="marin")))
    assert json.loads(server.data_to_send()[0])["type"] == "session.updated"


def test_one_reply_at_a_time() -> None:
    """A second reply is refused while one is active or about to begin; out of band it is not."""
    server = ServerProtocol(model="m")
    create = {"type": "response.create"}
    (request,) = server.receive_text(json.dumps(create))
    assert refused(server, create)[0] == "conversation_already_has_active_response"
    server.refuse(request, "server_error", "No model.")
    (request,) = server.receive_text(json.dumps(create))
    server.begin_response(request)  # type: ignore[arg-type]
    server.data_to_send()
    assert refused(server, create)[0] == "conversation_already_has_active_response"
    assert len(server.receive_text(json.dumps({**create, "response": {"conversation": "none"}}))) == 1
    with pytest.raises(ValueError, match="still active"):
        server.begin_response()


def test_truncation_is_checked() -> None:
    """Only spoken items are truncated, and only to what was said; their transcript goes."""
    server = ServerProtocol(model="m")
    server.commit("u")
    server.begin_response()
    spoken = server.open_message()
    server.text("Hello")
    server.audio(b"\0\0" * 2400)
    server.finish_response()
    server.data_to_send()
    cut = {"type": "conversation.item.truncate", "content_index": 0}
    assert refused(server, {**cut, "item_id": "u", "audio_end_ms": 0})[0] == "unsupported_content_type"
    assert refused(server, {**cut, "item_id": spoken, "audio_end_ms": 101}) == (
        "invalid_value",
        "audio_end_ms",
    )
    assert refused(server, {**cut, "item_id": spoken, "audio_end_ms": -1}) == (
        "invalid_value",
        "audio_end_ms",
    )
    assert refused(server, {**cut, "item_id": spoken, "audio_end_ms": 0, "content_index": 1}) == (
        "invalid_value",
        "content_index",
    )
    server.receive_text(json.dumps({**cut, "item_id": spoken, "audio_end_ms": 60}))
    server.data_to_send()
    assert server.conversation.get(spoken)["content"] == [{"type": "output_audio"}]  # type: ignore[index]
    assert refused(server, {**cut, "item_id": spoken, "audio_end_ms": 61}) == (
        "invalid_value",
        "audio_end_ms",
    )


def test_ids_are_used_once() -> None:
    """An item with an id that exists is refused."""
    server = ServerProtocol(model="m")
    server.receive_text(json.dumps(item(**CALL, id="x")))
    server.data_to_send()
    assert refused(server, item(**CALL, id="x")) == ("item_create_duplicate_item_id", "item.id")


def test_binary_and_huge_audio_are_refused() -> None:
    """A binary frame is no event, and an append holds at most 15 MiB."""
    server = ServerProtocol(model="m")
    server.receive_binary(b"\0")
    assert json.loads(server.data_to_send()[0])["error"]["code"] == "invalid_event"
    huge = b'{"type":"input_audio_buffer.append","audio":"' + b"A" * (21 * 1024 * 1024) + b'"}'
    assert refused(server, huge) == ("invalid_value", "audio")


@pytest.mark.parametrize("verb", ["audio", "text"])
def test_verbs_need_a_reply(verb: str) -> None:
    """A verb without a reply raises."""
    with pytest.raises(ValueError, match="active"):
        getattr(ServerProtocol(model="m"), verb)("x")


def test_transcription_session() -> None:
    """A transcription session has no model to speak, and keeps its type."""
    server = ServerProtocol(model="whisper-1", kind="transcription")
    server.session_created()
    change = {
        "type": "session.update",
        "session": {"type": "transcription", "audio": {"input": {"transcription": {"model": "whisper-1"}}}},
    }
    assert len(server.receive_text(json.dumps(change))) == 1
    kinds = [(x["type"], x["session"]["type"]) for x in map(json.loads, server.data_to_send())]
    assert kinds == [("session.created", "transcription"), ("session.updated", "transcription")]
    assert refused(server, update())[0] == "invalid_parameter"


def test_what_the_service_cannot_do_is_refused_before_it_changes_anything() -> None:
    """`check` sees an event before it is applied, and its `Fault` is the answer."""

    def check(event: object) -> None:
        raise Fault("invalid_value", "Not here.", "item")

    server = ServerProtocol(model="m", check=check)
    assert refused(server, message("user", {"type": "input_text", "text": "x"})) == ("invalid_value", "item")
    assert server.conversation.order == ()


@pytest.mark.parametrize("beta", [False, True])
def test_request_for_a_response_with_null_or_without_items(beta: bool) -> None:
    """Null is what was not given; what is no item is refused, in either shape."""
    server = ServerProtocol(model="m", beta=beta)
    frame = json.dumps({"type": "response.create", "response": {"instructions": None, "input": None}})
    (event,) = server.receive_text(frame)
    server.begin_response(event)  # type: ignore[arg-type]
    server.finish_response()
    server.data_to_send()
    assert refused(server, {"type": "response.create", "response": {"input": [7]}})[0] == "invalid_value"
