"""Frames to values and values to frames. Nothing here raises on what a peer sent.

Audio is nearly all of the traffic, so it has a road of its own: the audio of a frame never passes a JSON encoder, and
base64 is done by pybase64 (SIMD). Every frame is first read into `Peek`, the few fields an audio delta has; msgspec
skips the rest, so for audio this is the whole parse, whatever the order of the keys. Any other frame is parsed a
second time, into its own type.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Generic, TypeAlias, TypeVar

import msgspec
import pybase64
from msgspec import Struct

from .client_events import CLIENT_EVENTS, ClientEvent, InputAudioBufferAppend
from .response_events import SERVER_EVENTS, ResponseAudioDelta, ResponseOutputAudioDelta
from .server_events import ServerEvent
from .values import JSON, UNSET, Unset

V = TypeVar("V")

__all__ = [
    "APPEND_TAIL",
    "BAD_INPUT",
    "MAX_FRAME",
    "Frame",
    "Malformed",
    "Peek",
    "UnknownEvent",
    "append_head",
    "decode_client_event",
    "decode_mapping",
    "decode_peeked",
    "decode_server_event",
    "encode",
    "encode_append",
    "encode_json",
    "malformed",
    "too_large",
]

Frame: TypeAlias = bytes | bytearray | memoryview | str

MAX_FRAME = 16 * 1024 * 1024
"""Bytes (or characters) of the largest frame that is read."""

_NO_RENAMES: Mapping[str, str] = {}
_EXCERPT = 120
_PAYLOADS = frozenset(
    (
        "audio",
        "delta",
        "transcript",
        "text",
        "arguments",
        "instructions",
        "image_url",
        "output",
        "client_secret",
    )
)

# All that decoding can raise on bytes of a stranger. RecursionError: nesting beyond the interpreter's limit;
# ValueError covers UnicodeError and binascii.Error.
BAD_INPUT = (msgspec.MsgspecError, ValueError, RecursionError, OverflowError)


class Malformed(Struct, frozen=True):
    """A frame that could not be understood: why, and what it was, without audio, text or keys."""

    reason: str
    excerpt: str = ""


class UnknownEvent(Struct, frozen=True):
    """An event of a type that this version does not know, with all its fields."""

    type: str
    raw: JSON


class Peek(Struct, frozen=True, gc=False):
    """What is read first of every frame of a server. `delta` is still base64 (or text)."""

    type: str
    delta: str = ""
    item_id: str = ""
    response_id: str = ""
    content_index: int = 0
    output_index: int = 0
    event_id: str | Unset | None = UNSET


class _ClientPeek(Struct, frozen=True, gc=False):
    type: str
    audio: str | Unset = UNSET
    event_id: str | Unset | None = UNSET


class _Typed(Struct, frozen=True):
    type: str


peek = msgspec.json.Decoder(Peek).decode
b64decode = pybase64.b64decode
b64encode = pybase64.b64encode
_client_peek = msgspec.json.Decoder(_ClientPeek).decode
_typed = msgspec.json.Decoder(_Typed).decode


def _as_dict(value: object) -> object:
    """What an application may give for a dict."""
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"an object of type {type(value).__name__!r}")


encode_json = msgspec.json.Encoder(enc_hook=_as_dict).encode


class _Decoders(Generic[V]):
    """One decoder per event, made when it is first met: 70 of them at import would cost 5 ms."""

    def __init__(self, classes: Mapping[str, type[V]]) -> None:
        self.classes = classes
        self._made: dict[str, Callable[[Frame], V]] = {}

    def of(self, name: str) -> Callable[[Frame], V] | None:
        decode = self._made.get(name)
        if decode is None and (cls := self.classes.get(name)) is not None:
            decode = self._made[name] = msgspec.json.Decoder(cls).decode
        return decode


_SERVER = _Decoders(SERVER_EVENTS)
_CLIENT = _Decoders(CLIENT_EVENTS)
_AUDIO: dict[str, type[ResponseOutputAudioDelta]] = {
    "response.output_audio.delta": ResponseOutputAudioDelta,
    "response.audio.delta": ResponseAudioDelta,
}

APPEND_TAIL = b'"}'


def append_head(type: str = "input_audio_buffer.append") -> bytes:
    """What stands before the base64 of an append."""
    return b'{"type":%b,"audio":"' % encode_json(type)


_APPEND_HEAD = append_head()


def encode(event: ServerEvent | ClientEvent) -> bytes:
    """The frame of an event. Absent fields stay absent."""
    return encode_json(event)


def encode_append(audio: bytes | bytearray | memoryview, event_id: str | None = None) -> bytes:
    """The frame of `input_audio_buffer.append`, for raw audio in the session's input format, at most 15 MiB."""
    if event_id is None:
        return b"".join((_APPEND_HEAD, b64encode(audio), APPEND_TAIL))
    return b"".join((_APPEND_HEAD, b64encode(audio), b'","event_id":', encode_json(event_id), b"}"))


def decode_mapping(frame: Frame) -> JSON | Malformed:
    """The whole frame, with every field, known or not."""
    try:
        value = msgspec.json.decode(frame)
    except BAD_INPUT as error:
        return malformed(frame, error)
    if not isinstance(value, dict):
        return Malformed("the frame is not a JSON object", type(value).__name__)
    return value


def decode_server_event(
    frame: Frame, renames: Mapping[str, str] = _NO_RENAMES
) -> ServerEvent | UnknownEvent | Malformed:
    """The typed value of one frame of a service, with audio as bytes. Accepts GA names and beta's.

    `renames`: a service's own event names, to ours.
    """
    if len(frame) > MAX_FRAME:
        return too_large(frame)
    try:
        head = peek(frame)
    except BAD_INPUT:
        head = None
    return decode_peeked(frame, head, renames)


def decode_peeked(
    frame: Frame, head: Peek | None, renames: Mapping[str, str]
) -> ServerEvent | UnknownEvent | Malformed:
    """`decode_server_event` for a frame that was peeked at; `head` is `None` if it did not look like that."""
    if head is None:
        return _decode(_SERVER, frame, renames)
    if head.type in _AUDIO and head.item_id and head.delta and head.type not in renames:
        try:
            return _audio_event(head)
        except BAD_INPUT as error:
            return malformed(frame, error)
    return _decode(_SERVER, frame, renames, head.type)


def _audio_event(head: Peek) -> ResponseOutputAudioDelta:
    return _AUDIO[head.type](
        item_id=head.item_id,
        delta=b64decode(head.delta, None, True),
        response_id=head.response_id or UNSET,
        content_index=head.content_index,
        output_index=head.output_index,
        event_id=head.event_id,
    )


def decode_client_event(frame: Frame) -> ClientEvent | UnknownEvent | Malformed:
    """The typed value of one frame of an application, with audio as bytes."""
    if len(frame) > MAX_FRAME * 2:  # 15 MiB of audio are 20 MiB of base64
        return too_large(frame)
    try:
        head = _client_peek(frame)
        if head.type == "input_audio_buffer.append" and head.audio is not UNSET:
            return InputAudioBufferAppend(b64decode(head.audio, None, True), event_id=head.event_id)
    except BAD_INPUT:
        pass  # the second reading says what is wrong
    return _decode(_CLIENT, frame, _NO_RENAMES)


def _decode(
    decoders: _Decoders[V], frame: Frame, renames: Mapping[str, str], name: str | None = None
) -> V | UnknownEvent | Malformed:
    try:
        if name is None:
            name = _typed(frame).type
        if name in renames:
            cls = decoders.classes.get(renames[name])
            if cls is not None:
                return msgspec.convert({**msgspec.json.decode(frame), "type": renames[name]}, cls)
        decode = decoders.of(name)
        if decode is not None:
            return decode(frame)
        return UnknownEvent(name, msgspec.json.decode(frame))
    except BAD_INPUT as error:
        return malformed(frame, error)


def too_large(frame: Frame) -> Malformed:
    """A frame over the limit, unread."""
    return Malformed(f"the frame has {len(frame)} bytes, more than {MAX_FRAME}")


def malformed(frame: Frame, error: BaseException) -> Malformed:
    """What was wrong with a frame, in words that hold nothing of its payload."""
    # A UnicodeError's text quotes the input; the others name a position or a field.
    reason = "the frame is not UTF-8" if isinstance(error, UnicodeError) else str(error)
    return Malformed(reason[:200], _excerpt(frame))


def _excerpt(frame: Frame) -> str:
    """The shape of a frame: its keys, and the values that are short, harmless words."""
    try:
        value = msgspec.json.decode(frame)
    except BAD_INPUT:
        return f"{len(frame)} bytes that are not JSON"
    if not isinstance(value, dict):
        return f"a JSON {type(value).__name__}"
    shown = {str(k)[:40]: v if _harmless(k, v) else "…" for k, v in list(value.items())[:8]}
    return str(shown)[:_EXCERPT]


def _harmless(key: str, value: object) -> bool:
    if key in _PAYLOADS:
        return False
    return (
        value is None
        or isinstance(value, bool | int)
        or (isinstance(value, str) and key in ("type", "event_id", "item_id"))
    )
