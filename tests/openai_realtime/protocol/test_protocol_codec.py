"""One frame to one value and back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from vivavoce_openai_realtime.protocol import (
    Malformed,
    UnknownEvent,
    decode_client_event,
    decode_mapping,
    decode_server_event,
    encode,
    encode_append,
)
from vivavoce_openai_realtime.protocol.client_events import CLIENT_EVENTS, InputAudioBufferAppend
from vivavoce_openai_realtime.protocol.codec import MAX_FRAME
from vivavoce_openai_realtime.protocol.response_events import SERVER_EVENTS, ResponseOutputAudioDelta
from vivavoce_openai_realtime.protocol.server_events import ConversationItemAdded
from vivavoce_openai_realtime.protocol.values import UNSET, ErrorDetail, Item, Response, error_detail, view

EVENTS: dict[str, list[dict[str, Any]]] = json.loads((Path(__file__).parent / "wire_events.json").read_text())
SERVER = EVENTS["server"] + EVENTS["server_beta"] + EVENTS["server_translation"]
CLIENT = EVENTS["client"] + EVENTS["client_other"]
AUDIO = {
    "type": "response.output_audio.delta",
    "response_id": "r",
    "item_id": "i",
    "content_index": 0,
    "output_index": 0,
    "delta": "AAEC",
}


def name(event: dict[str, Any]) -> str:
    return str(event["type"])


def test_samples_are_complete() -> None:
    """There is a sample of every event that is known."""
    assert ({name(e) for e in SERVER}, {name(e) for e in CLIENT}) == (set(SERVER_EVENTS), set(CLIENT_EVENTS))


@pytest.mark.parametrize("event", SERVER, ids=name)
def test_server_event_survives_the_way_there_and_back(event: dict[str, Any]) -> None:
    """A server event decodes into its own type, and encodes into the same fields, none invented."""
    value = decode_server_event(json.dumps(event).encode())
    assert type(value) is SERVER_EVENTS[event["type"]]
    assert json.loads(encode(value)) == event


@pytest.mark.parametrize("event", CLIENT, ids=name)
def test_client_event_survives_the_way_there_and_back(event: dict[str, Any]) -> None:
    """A client event decodes into its own type, and encodes into the same fields, none invented."""
    value = decode_client_event(json.dumps(event))
    assert type(value) is CLIENT_EVENTS[event["type"]]
    assert json.loads(encode(value)) == event


@pytest.mark.parametrize("event", SERVER, ids=name)
def test_unknown_fields_do_no_harm(event: dict[str, Any]) -> None:
    """A field nobody has heard of changes nothing, and the mapping of the frame still has it."""
    frame = json.dumps({"obfuscation_2": {"a": [1]}, **event}).encode()
    assert decode_server_event(frame) == decode_server_event(json.dumps(event))
    assert decode_mapping(frame) == {"obfuscation_2": {"a": [1]}, **event}


def test_unknown_event_keeps_everything() -> None:
    """An event of a type nobody has heard of survives with all its fields."""
    event = {"type": "future.event", "a": [1, {"b": None}]}
    assert decode_server_event(json.dumps(event)) == UnknownEvent("future.event", event)


def test_fields_of_objects_survive() -> None:
    """What is unknown inside an item is kept, and written back."""
    event = {"type": "conversation.item.added", "item": {"id": "i", "type": "new", "x": {"y": 1}}}
    value = decode_server_event(json.dumps(event))
    assert isinstance(value, ConversationItemAdded)
    assert json.loads(encode(value)) == event


@pytest.mark.parametrize(
    "frame",
    [
        json.dumps(AUDIO),
        json.dumps(dict(reversed(AUDIO.items()))),
        json.dumps({"delta_of": '"type":"error"', **AUDIO}),
        json.dumps(AUDIO).replace("response.output", "\\u0072esponse\\u002eoutput"),
        json.dumps(AUDIO).replace('"delta"', '"d\\u0065lta"'),
        json.dumps(AUDIO).replace("AAEC", "AA\\u0045C"),
        json.dumps(AUDIO, indent=4),
        json.dumps(AUDIO).replace('{"type"', '{"type":"error","type"'),
        json.dumps({**AUDIO, "obfuscation": "x" * 500}),
    ],
    ids=[
        "plain",
        "reversed",
        "decoy",
        "escaped type",
        "escaped key",
        "escaped base64",
        "indented",
        "twice",
        "padded",
    ],
)
@pytest.mark.parametrize("kind", [str, bytes, bytearray, memoryview])
def test_audio_is_found_however_the_json_is_written(frame: str, kind: type) -> None:
    """Order of keys, escapes, space and doubled keys do not matter to the audio of a frame."""
    given = frame if kind is str else kind(frame.encode())
    value = decode_server_event(given)
    assert isinstance(value, ResponseOutputAudioDelta)
    assert (value.delta, value.item_id, value.response_id) == (b"\0\1\2", "i", "r")


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"response.output_audio.delta"',
        b"{}",
        b'{"type":null}',
        b'{"type":7}',
        b'{"type":"error"}',
        b'{"type":"response.created","response":[]}',
        b'{"type":"response.output_audio.delta"}',
        b'{"type":"response.output_audio.delta","item_id":"i","delta":"A"}',
        b'{"type":"response.output_audio.delta","item_id":"i","delta":"\xc3\xa9\xc3\xa9"}',
        b'{"type":"response.output_audio.delta","item_id":"i","delta":7}',
        b'{"type":"response.output_audio.delta","item_id":5,"delta":"AAEC"}',
        b'{"type":"\xff\xfe"}',
        b"\x00\x01",
        b"[" * 100_000,
        b'{"type":"x","a":' + b"[" * 100_000,
        "{\ud800",
    ],
    ids=range(20),
)
def test_bad_frames_become_a_value(frame: bytes | str) -> None:
    """Whatever is wrong with a frame, the answer is a value, from both decoders."""
    assert isinstance(decode_server_event(frame), Malformed)
    assert isinstance(decode_client_event(frame), Malformed | UnknownEvent)


def test_large_frames_are_refused_unread() -> None:
    """A frame over the limit is not parsed; one under it is, however large."""
    pad = "A" * (12 * 1024 * 1024)
    big = json.dumps({**AUDIO, "delta": pad})
    assert len(decode_server_event(big).delta) == len(pad) * 3 // 4  # type: ignore[union-attr]
    assert isinstance(decode_server_event(b" " * (MAX_FRAME + 1)), Malformed)


def test_excerpt_holds_no_payload() -> None:
    """What is reported of a bad frame tells its shape and type, never its audio, text or keys."""
    frame = json.dumps(
        {
            "type": "response.output_audio.delta",
            "delta": ["SECRET"],
            "instructions": "SECRET",
            "api_key": "SECRET",
        }
    )
    bad = decode_server_event(frame)
    assert isinstance(bad, Malformed)
    assert "SECRET" not in repr(bad)
    assert "response.output_audio.delta" in bad.excerpt


def test_append_is_what_json_would_make_of_it() -> None:
    """The fast way of an append and the slow one mean the same."""
    audio = bytes(range(256)) * 4
    for event_id in (None, 'req_"1'):
        expected = InputAudioBufferAppend(audio, event_id=event_id if event_id else UNSET)
        assert json.loads(encode_append(audio, event_id)) == json.loads(encode(expected))
        assert decode_client_event(encode_append(audio, event_id)) == expected


def test_renamed_event_is_read_as_what_it_means() -> None:
    """A service's own name for an event is read as ours, audio included."""
    frame = json.dumps({**AUDIO, "type": "voice.chunk"})
    value = decode_server_event(frame, {"voice.chunk": "response.output_audio.delta"})
    assert isinstance(value, ResponseOutputAudioDelta)
    assert value.delta == b"\0\1\2"


def test_view_leaves_out_what_does_not_fit() -> None:
    """A field of the wrong type does not cost the others, and no mapping is an empty object."""
    assert view(Item, {"id": "i", "content": 7, "name": None}) == Item(id="i", name=None)
    assert view(Response, ["x"]) == Response()


@pytest.mark.parametrize(
    ("wire", "expected"),
    [
        ("too busy", ErrorDetail(message="too busy")),
        ({"code": 429, "message": "slow"}, ErrorDetail(code="429", message="slow")),
        ({"message": ["?"], "type": "x"}, ErrorDetail(type="x")),
        (None, ErrorDetail()),
    ],
)
def test_errors_in_any_form(wire: object, expected: ErrorDetail) -> None:
    """An error may be an object, a bare text, or hold a number as its code."""
    assert error_detail(wire) == expected
