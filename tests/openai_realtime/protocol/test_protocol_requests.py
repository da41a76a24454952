"""Which request an answer belongs to."""

from __future__ import annotations

import json
from types import MappingProxyType
from typing import Any

import pytest
from vivavoce_openai_realtime.protocol import DIALECTS, ClientProtocol
from vivavoce_openai_realtime.protocol import events as e
from vivavoce_openai_realtime.protocol.values import ErrorDetail

ITEM = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]}


def tell(protocol: ClientProtocol, type: str, **fields: Any) -> list[Any]:
    return list(protocol.receive_text(json.dumps({"type": type, **fields})))


def created(protocol: ClientProtocol, id: str, **fields: Any) -> e.ResponseStarted:
    (event,) = tell(protocol, "response.created", response={"id": id, "conversation_id": "c", **fields})
    assert isinstance(event, e.ResponseStarted)
    return event


ACKS: list[tuple[str, tuple[Any, ...], str, dict[str, Any]]] = [
    ("send_session", ({"voice": "ash"},), "session.updated", {"session": {}}),
    ("send_item", (ITEM,), "conversation.item.added", {"item": {"id": "x", **ITEM}}),
    ("send_item", ({**ITEM, "id": "mine"},), "conversation.item.created", {"item": {"id": "mine", **ITEM}}),
    ("send_item", ({**ITEM, "id": "mine"},), "conversation.item.done", {"item": {"id": "theirs", **ITEM}}),
    ("send_retrieve", ("i",), "conversation.item.retrieved", {"item": {"id": "i"}}),
    (
        "send_truncate",
        ("i", 5),
        "conversation.item.truncated",
        {"item_id": "i", "content_index": 0, "audio_end_ms": 0},
    ),
    ("send_delete", ("i",), "conversation.item.deleted", {"item_id": "i"}),
    ("send_commit", (), "input_audio_buffer.committed", {"item_id": "i"}),
    ("send_clear", (), "input_audio_buffer.cleared", {}),
    ("send_response", (), "response.created", {"response": {"id": "r"}}),
]


@pytest.mark.parametrize(
    ("verb", "arguments", "answer", "fields"), ACKS, ids=[f"{a[0]} {a[2]}" for a in ACKS]
)
def test_request_is_acknowledged(
    verb: str, arguments: tuple[Any, ...], answer: str, fields: dict[str, Any]
) -> None:
    """The answer to a request names it, once."""
    protocol = ClientProtocol()
    request = getattr(protocol, verb)(*arguments)
    before = protocol.pending
    assert request in [getattr(event, "request_id", None) for event in tell(protocol, answer, **fields)]
    assert (before, protocol.pending) == ((request,), ())


@pytest.mark.parametrize(("verb", "arguments"), [a[:2] for a in ACKS], ids=[a[0] for a in ACKS])
def test_request_is_refused_by_its_event_id(verb: str, arguments: tuple[Any, ...]) -> None:
    """An error that echoes the event id fails that request and no other."""
    protocol = ClientProtocol()
    other = protocol.send_clear()
    request = getattr(protocol, verb)(*arguments)
    error = {"message": "No.", "event_id": request}
    kind = json.loads(protocol.data_to_send()[-1])["type"]
    assert tell(protocol, "error", error=error) == [e.RequestFailed(request, kind, ErrorDetail(**error))]
    assert protocol.pending == (other,)


def test_acknowledgements_without_echo_come_in_order() -> None:
    """Two requests of a kind are answered in the order in which they were sent."""
    protocol = ClientProtocol()
    first, second = protocol.send_session({}), protocol.send_session({})
    answers = [tell(protocol, "session.updated", session={})[-1].request_id for _ in range(2)]
    assert answers == [first, second]


@pytest.mark.parametrize(
    ("verb", "error"),
    [
        ("send_session", {"param": "session.voice"}),
        ("send_session", {"code": "cannot_update_voice"}),
        ("send_item", {"param": "item.content[0].text"}),
        ("send_commit", {"code": "input_audio_buffer_commit_empty"}),
        ("send_response", {"code": "conversation_already_has_active_response"}),
        ("send_cancel", {"code": "response_cancel_not_active"}),
    ],
)
def test_error_without_echo_fails_what_it_is_about(verb: str, error: dict[str, Any]) -> None:
    """A service that echoes no event id still fails the right one of several requests."""
    protocol = ClientProtocol()
    arguments = {"send_session": ({},), "send_item": (ITEM,)}
    requests = {
        v: getattr(protocol, v)(*arguments.get(v, ()))
        for v in ("send_session", "send_item", "send_commit", "send_response", "send_cancel")
    }
    (failed,) = tell(protocol, "error", error=error)
    assert failed.request_id == requests[verb]


@pytest.mark.parametrize(
    "error",
    [{"event_id": "foreign"}, {"code": "invalid_api_key"}, {"param": "audio"}, {"type": "server_error"}],
    ids=["foreign", "fatal", "append", "server"],
)
def test_error_about_nothing_pending_is_the_servers(error: dict[str, Any]) -> None:
    """An error that can be about none of our requests fails none."""
    protocol = ClientProtocol()
    request = protocol.send_session({})
    assert tell(protocol, "error", error=error) == [e.ServerError(ErrorDetail(**error))]
    assert protocol.pending == (request,)


def test_single_pending_request_takes_an_error_without_a_name() -> None:
    """With one request on its way, an error that names nothing is about that."""
    protocol = ClientProtocol()
    request = protocol.send_clear()
    assert tell(protocol, "error", error={"message": "No."}) == [
        e.RequestFailed(request, "input_audio_buffer.clear", ErrorDetail(message="No."))
    ]


def test_reply_of_the_services_own_is_not_ours() -> None:
    """A reply begun at the end of speech does not answer our request, once the service has shown that it keeps marks."""
    protocol = ClientProtocol()
    first = protocol.send_response()
    mark = json.loads(protocol.data_to_send()[0])["response"]["metadata"]
    assert created(protocol, "r1", metadata=mark) == e.ResponseStarted(first, "r1", False, {})
    tell(protocol, "response.done", response={"id": "r1", "status": "completed"})
    second = protocol.send_response()
    assert created(protocol, "r2", metadata=None).request_id is None
    error = {"code": "conversation_already_has_active_response", "event_id": second}
    assert tell(protocol, "error", error=error) == [
        e.RequestFailed(second, "response.create", ErrorDetail(**error))
    ]


def test_reply_without_marks_answers_in_order() -> None:
    """A service that keeps no metadata answers by order, out of band apart."""
    protocol = ClientProtocol(DIALECTS["xai"])
    outside = protocol.send_response({"conversation": "none", "metadata": {"a": "b"}})
    inside = protocol.send_response()
    assert created(protocol, "r1").request_id == inside
    assert created(protocol, "r2", conversation_id=None) == e.ResponseStarted(outside, "r2", True, {})
    assert "client_event_id" not in protocol.data_to_send()[1].decode()


def test_second_reply_is_refused_here() -> None:
    """Asking for a reply while one runs, or is asked for, is refused before anything is sent."""
    protocol = ClientProtocol()
    protocol.send_response()
    with pytest.raises(ValueError, match="asked for already"):
        protocol.send_response()
    created(protocol, "r1")
    with pytest.raises(ValueError, match="still running"):
        protocol.send_response()
    protocol.send_response({"conversation": "none"})
    assert len(protocol.data_to_send()) == 2


def test_abandoned_request_is_forgotten() -> None:
    """A request that nobody waits for any more takes no answer, and no longer stands in the way."""
    protocol = ClientProtocol()
    protocol.abandon(protocol.send_response())
    assert protocol.pending == ()
    again = protocol.send_response()
    assert created(protocol, "r").request_id == again


def test_items_of_replies_and_of_speech_are_not_ours() -> None:
    """An item that the service made does not answer our own creation."""
    protocol = ClientProtocol()
    request = protocol.send_item(ITEM)
    tell(protocol, "input_audio_buffer.committed", item_id="spoken")
    (event,) = tell(protocol, "conversation.item.added", item={"id": "spoken", **ITEM})
    assert event.request_id is None
    (event,) = tell(
        protocol, "conversation.item.added", item={"id": "ours", **ITEM}, previous_item_id="spoken"
    )
    assert (event.request_id, event.previous_item_id) == (request, "spoken")


def test_unanswered_requests_are_bounded() -> None:
    """A service that never answers does not fill the memory."""
    protocol = ClientProtocol()
    for _ in range(1000):
        protocol.send_clear()
    assert len(protocol.pending) == 256


@pytest.mark.parametrize(
    "item", [{}, {"type": 5}, {"type": "message", "x": object()}], ids=["none", "wrong", "no json"]
)
def test_bad_use_sends_nothing(item: dict[str, Any]) -> None:
    """What the application does wrong raises, and changes nothing."""
    protocol = ClientProtocol()
    with pytest.raises(ValueError):
        protocol.send_item(item)
    assert (protocol.data_to_send(), protocol.pending) == ([], ())


SPEECH = {"turn_detection": {"type": "server_vad", "create_response": True}}


@pytest.mark.parametrize("session", [{"audio": {"input": SPEECH}}, SPEECH], ids=["nested", "flat"])
def test_reply_to_a_turn_overtakes_one_that_was_asked_for(session: dict[str, Any]) -> None:
    """When the service ends a turn, the next unmarked reply is its own: what was asked for before comes after it."""
    protocol = ClientProtocol()
    tell(protocol, "session.created", session=session)
    request = protocol.send_response()
    tell(protocol, "input_audio_buffer.committed", item_id="turn")
    assert created(protocol, "its own").request_id is None
    assert protocol.pending == (request,)
    tell(protocol, "response.done", response={"id": "its own", "conversation_id": "c", "status": "completed"})
    assert created(protocol, "ours").request_id == request


@pytest.mark.parametrize("detection", [None, {"type": "server_vad", "create_response": False}, {"type": "x"}])
def test_reply_is_ours_where_the_service_answers_no_turns(detection: Any) -> None:
    """A service that does not say that it replies by itself owes no reply of its own."""
    protocol = ClientProtocol()
    tell(protocol, "session.created", session={"audio": {"input": {"turn_detection": detection}}})
    request = protocol.send_response()
    tell(protocol, "input_audio_buffer.committed", item_id="turn")
    assert created(protocol, "r").request_id == request


def test_reply_asked_for_after_the_turn_is_ours() -> None:
    """What is asked for once the turn has ended is not held to be overtaken by it."""
    protocol = ClientProtocol()
    tell(protocol, "session.created", session=SPEECH)
    tell(protocol, "input_audio_buffer.committed", item_id="turn")
    request = protocol.send_response()
    assert created(protocol, "r").request_id == request


def test_any_mapping_is_sent() -> None:
    """An application's own kind of mapping, also inside of another, is a JSON object; what is none is told."""
    protocol = ClientProtocol()
    protocol.send_session(MappingProxyType({"audio": MappingProxyType({"output": {"voice": "marin"}})}))
    sent = json.loads(protocol.data_to_send()[0])
    assert sent["session"] == {"type": "realtime", "audio": {"output": {"voice": "marin"}}}
    with pytest.raises(
        ValueError, match=r"session.update holds what JSON cannot: an object of type 'object'"
    ):
        protocol.send_session({"audio": object()})
    assert protocol.data_to_send() == []
