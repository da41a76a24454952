"""What `ClientProtocol` tells: the meaning of the service's events, the same for every dialect.

An event that has no meaning of its own here (a conversation that was made, MCP, DTMF, the output buffer of a call, an idle timeout, a segment of a
diarized transcript, an item asked for that was not asked for by us) is handed on as its wire value from
`server_events`; one of an unknown type as `UnknownEvent`; a frame that is none as `Malformed`.

`request_id` is what the `send_*` verb returned, or `None` where the service acted by itself.
"""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct

from .codec import Malformed, UnknownEvent
from .server_events import ServerEvent
from .values import JSON, ErrorDetail, Item, RateLimit

__all__ = [
    "Audio",
    "AudioDone",
    "Cleared",
    "Closed",
    "Committed",
    "Event",
    "ItemAdded",
    "ItemDeleted",
    "ItemDone",
    "ItemRetrieved",
    "ItemTruncated",
    "RateLimits",
    "RequestFailed",
    "ResponseFinished",
    "ResponseStarted",
    "ServerError",
    "SessionReady",
    "SessionUpdated",
    "SpeechStarted",
    "SpeechStopped",
    "TextDelta",
    "TextFinal",
    "ToolCallReady",
    "TranscriptFailed",
]


class SessionReady(Struct, frozen=True):
    """The service has introduced the session: once. `config` is its session object, untouched."""

    session_id: str | None
    expires_at: float | None
    config: JSON


class SessionUpdated(Struct, frozen=True):
    """The session's whole effective configuration, as the service wrote it."""

    request_id: str | None
    config: JSON


class RequestFailed(Struct, frozen=True):
    """The service refused the request `request_id`, an event of type `request`."""

    request_id: str
    request: str
    error: ErrorDetail


class ServerError(Struct, frozen=True):
    """An error that belongs to no pending request. Not fatal by itself; `Closed` follows if it was."""

    error: ErrorDetail


class Closed(Struct, frozen=True):
    """The connection has ended: once, the last event. `code` is the WebSocket close code, `None` without a close frame.

    `error` is the service's last `error` if nothing else came between it and the end (its reason, as with a refused
    key); `pending` are the ids of the requests that nobody will answer now.
    """

    code: int | None
    reason: str
    error: ErrorDetail | None
    pending: tuple[str, ...]


class Audio(Struct, frozen=True, gc=False):
    """Audio of a reply: whole samples in `ClientProtocol.output_format`. The ids are `None` in a translation session."""

    audio: bytes
    response_id: str | None
    item_id: str | None
    content_index: int


class AudioDone(Struct, frozen=True):
    """No more audio of this part; once, also where the service does not say so until the response is done."""

    response_id: str | None
    item_id: str
    content_index: int


class TextDelta(Struct, frozen=True):
    """A piece of text. `role` is `assistant`, or `user` for the transcript of input; `spoken` if it transcribes audio."""

    text: str
    role: str
    spoken: bool
    item_id: str | None
    response_id: str | None
    content_index: int


class TextFinal(Struct, frozen=True):
    """The whole text of a part: once per part. `usage` is that of an input transcription, where it was told."""

    text: str
    role: str
    spoken: bool
    item_id: str
    response_id: str | None
    content_index: int
    usage: JSON | None = None


class TranscriptFailed(Struct, frozen=True):
    """The input of an item could not be transcribed; the conversation goes on."""

    item_id: str
    content_index: int
    error: ErrorDetail


class SpeechStarted(Struct, frozen=True):
    """The service heard speech begin. `at_ms` counts the audio ever appended in this session."""

    item_id: str | None
    at_ms: int | None


class SpeechStopped(Struct, frozen=True):
    """The service heard speech end, at `at_ms` of the audio ever appended; once per item."""

    item_id: str | None
    at_ms: int | None


class Committed(Struct, frozen=True):
    """Input audio became the user item `item_id`, after `previous_item_id` (`None`: first, or not told)."""

    request_id: str | None
    item_id: str
    previous_item_id: str | None


class Cleared(Struct, frozen=True):
    """The input buffer is empty."""

    request_id: str | None


class ItemAdded(Struct, frozen=True):
    """An item is part of the conversation: once, whichever of `added`, `done`, `created` came first."""

    request_id: str | None
    item_id: str
    item: Item
    previous_item_id: str | None


class ItemDone(Struct, frozen=True):
    """The item is as complete as it will be. Some services never say so."""

    item_id: str
    item: Item


class ItemRetrieved(Struct, frozen=True):
    """An item as the service keeps it; the audio of a user's item is base64 in its content."""

    request_id: str | None
    item_id: str
    item: Item


class ItemTruncated(Struct, frozen=True):
    """The service keeps only the first `audio_end_ms` of a part, and forgot the transcript of the rest."""

    request_id: str | None
    item_id: str
    content_index: int
    audio_end_ms: int | None


class ItemDeleted(Struct, frozen=True):
    """The item is no longer part of the conversation."""

    request_id: str | None
    item_id: str


class ResponseStarted(Struct, frozen=True):
    """A reply has begun. An `out_of_band` one is no part of the conversation and may run beside others."""

    request_id: str | None
    response_id: str
    out_of_band: bool
    metadata: JSON


class ResponseFinished(Struct, frozen=True):
    """A reply has ended: once. `status` is `completed`, `cancelled`, `incomplete` or `failed`.

    `reason` is the service's own word (`turn_detected`, `client_cancelled`, `max_output_tokens`, `content_filter`), or
    `superseded` where the service began another one without ending this. `usage` is the wire's mapping.
    """

    response_id: str
    status: str
    reason: str | None
    error: ErrorDetail | None
    usage: JSON | None
    out_of_band: bool
    metadata: JSON


class ToolCallReady(Struct, frozen=True):
    """The arguments of a function call (a JSON text) are complete: once per `call_id`."""

    response_id: str | None
    item_id: str | None
    call_id: str
    name: str
    arguments: str


class RateLimits(Struct, frozen=True):
    """What the account may still use."""

    limits: list[RateLimit]


Event: TypeAlias = (
    SessionReady
    | SessionUpdated
    | RequestFailed
    | ServerError
    | Closed
    | Audio
    | AudioDone
    | TextDelta
    | TextFinal
    | TranscriptFailed
    | SpeechStarted
    | SpeechStopped
    | Committed
    | Cleared
    | ItemAdded
    | ItemDone
    | ItemRetrieved
    | ItemTruncated
    | ItemDeleted
    | ResponseStarted
    | ResponseFinished
    | ToolCallReady
    | RateLimits
    | ServerEvent
    | UnknownEvent
    | Malformed
)
