"""The server events of a response, from `response.created` to `response.done`. GA names and beta's.

A class of beta is a subclass of GA's: the same fields under another `type`.
"""

from __future__ import annotations

from msgspec import UNSET

from .server_events import ServerEvent
from .values import JSON, Unset

__all__ = [
    "SERVER_EVENTS",
    "ResponseAudioDelta",
    "ResponseAudioDone",
    "ResponseAudioTranscriptDelta",
    "ResponseAudioTranscriptDone",
    "ResponseContentPartAdded",
    "ResponseContentPartDone",
    "ResponseCreated",
    "ResponseDone",
    "ResponseFunctionCallArgumentsDelta",
    "ResponseFunctionCallArgumentsDone",
    "ResponseOutputAudioDelta",
    "ResponseOutputAudioDone",
    "ResponseOutputAudioTranscriptDelta",
    "ResponseOutputAudioTranscriptDone",
    "ResponseOutputItemAdded",
    "ResponseOutputItemDone",
    "ResponseOutputTextDelta",
    "ResponseOutputTextDone",
    "ResponseTextDelta",
    "ResponseTextDone",
]


class ResponseCreated(ServerEvent, frozen=True, tag="response.created"):
    response: JSON


class ResponseDone(ServerEvent, frozen=True, tag="response.done"):
    """`usage` beside the response is Inworld's."""

    response: JSON
    usage: JSON | Unset | None = UNSET


class _OutputItem(ServerEvent, frozen=True, kw_only=True):
    item: JSON
    response_id: str | Unset | None = UNSET
    output_index: int | Unset = UNSET


class ResponseOutputItemAdded(_OutputItem, frozen=True, tag="response.output_item.added"):
    pass


class ResponseOutputItemDone(_OutputItem, frozen=True, tag="response.output_item.done"):
    pass


class _Part(ServerEvent, frozen=True, kw_only=True):
    """What the events about a part of an item share."""

    item_id: str
    response_id: str | Unset | None = UNSET
    output_index: int | Unset = UNSET
    content_index: int | Unset = UNSET


class ResponseContentPartAdded(_Part, frozen=True, tag="response.content_part.added"):
    part: JSON


class ResponseContentPartDone(_Part, frozen=True, tag="response.content_part.done"):
    part: JSON


class ResponseOutputTextDelta(_Part, frozen=True, tag="response.output_text.delta"):
    delta: str


class ResponseOutputTextDone(_Part, frozen=True, tag="response.output_text.done"):
    text: str | Unset = UNSET


class ResponseOutputAudioDelta(_Part, frozen=True, tag="response.output_audio.delta"):
    """`delta` is raw audio in the session's output format (base64 on the wire)."""

    delta: bytes


class ResponseOutputAudioDone(_Part, frozen=True, tag="response.output_audio.done"):
    pass


class ResponseOutputAudioTranscriptDelta(_Part, frozen=True, tag="response.output_audio_transcript.delta"):
    delta: str


class ResponseOutputAudioTranscriptDone(_Part, frozen=True, tag="response.output_audio_transcript.done"):
    transcript: str | Unset = UNSET


class ResponseTextDelta(ResponseOutputTextDelta, frozen=True, tag="response.text.delta"):
    """Beta's name."""


class ResponseTextDone(ResponseOutputTextDone, frozen=True, tag="response.text.done"):
    """Beta's name."""


class ResponseAudioDelta(ResponseOutputAudioDelta, frozen=True, tag="response.audio.delta"):
    """Beta's name."""


class ResponseAudioDone(ResponseOutputAudioDone, frozen=True, tag="response.audio.done"):
    """Beta's name."""


class ResponseAudioTranscriptDelta(
    ResponseOutputAudioTranscriptDelta, frozen=True, tag="response.audio_transcript.delta"
):
    """Beta's name."""


class ResponseAudioTranscriptDone(
    ResponseOutputAudioTranscriptDone, frozen=True, tag="response.audio_transcript.done"
):
    """Beta's name."""


class _Call(ServerEvent, frozen=True, kw_only=True):
    item_id: str | Unset = UNSET
    response_id: str | Unset | None = UNSET
    output_index: int | Unset = UNSET
    call_id: str | Unset | None = UNSET


class ResponseFunctionCallArgumentsDelta(_Call, frozen=True, tag="response.function_call_arguments.delta"):
    delta: str


class ResponseFunctionCallArgumentsDone(_Call, frozen=True, tag="response.function_call_arguments.done"):
    """`name` is often absent in beta and on compatible services."""

    arguments: str
    name: str | Unset | None = UNSET


def _tagged(base: type[ServerEvent]) -> dict[str, type[ServerEvent]]:
    found = {str(base.__struct_config__.tag): base} if not base.__name__.startswith("_") else {}
    for cls in base.__subclasses__():
        found.update(_tagged(cls))
    return found


SERVER_EVENTS: dict[str, type[ServerEvent]] = {
    tag: cls for tag, cls in _tagged(ServerEvent).items() if cls is not ServerEvent
}
