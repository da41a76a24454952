"""Client events: what an application sends to the service. One value per event; `type` is the class's tag.

Source: the client event reference of the Realtime API, and the transcription and translation guides.
"""

from __future__ import annotations

from msgspec import UNSET, Struct

from .values import JSON, Unset

__all__ = [
    "CLIENT_EVENTS",
    "ClientEvent",
    "ConversationItemCreate",
    "ConversationItemDelete",
    "ConversationItemRetrieve",
    "ConversationItemTruncate",
    "InputAudioBufferAppend",
    "InputAudioBufferClear",
    "InputAudioBufferCommit",
    "OutputAudioBufferClear",
    "ResponseCancel",
    "ResponseCreate",
    "SessionClose",
    "SessionInputAudioBufferAppend",
    "SessionUpdate",
    "TranscriptionSessionUpdate",
]


class ClientEvent(Struct, frozen=True, tag_field="type", kw_only=True, repr_omit_defaults=True):
    """The base. `event_id` (at most 512 characters) comes back in the `error` that this event causes."""

    event_id: str | Unset | None = UNSET


class SessionUpdate(ClientEvent, frozen=True, tag="session.update"):
    session: JSON


class TranscriptionSessionUpdate(ClientEvent, frozen=True, tag="transcription_session.update"):
    """Beta only."""

    session: JSON


class InputAudioBufferAppend(ClientEvent, frozen=True, tag="input_audio_buffer.append"):
    """`audio` is raw audio in the session's input format (base64 on the wire), at most 15 MiB."""

    audio: bytes


class InputAudioBufferCommit(ClientEvent, frozen=True, tag="input_audio_buffer.commit"):
    pass


class InputAudioBufferClear(ClientEvent, frozen=True, tag="input_audio_buffer.clear"):
    pass


class ConversationItemCreate(ClientEvent, frozen=True, tag="conversation.item.create"):
    """`previous_item_id`: absent or empty is the end, `root` the beginning."""

    item: JSON
    previous_item_id: str | Unset | None = UNSET


class ConversationItemRetrieve(ClientEvent, frozen=True, tag="conversation.item.retrieve"):
    item_id: str


class ConversationItemTruncate(ClientEvent, frozen=True, tag="conversation.item.truncate"):
    item_id: str
    content_index: int
    audio_end_ms: int


class ConversationItemDelete(ClientEvent, frozen=True, tag="conversation.item.delete"):
    item_id: str


class ResponseCreate(ClientEvent, frozen=True, tag="response.create"):
    response: JSON | Unset | None = UNSET


class ResponseCancel(ClientEvent, frozen=True, tag="response.cancel"):
    response_id: str | Unset | None = UNSET


class OutputAudioBufferClear(ClientEvent, frozen=True, tag="output_audio_buffer.clear"):
    """WebRTC and SIP only."""


class SessionInputAudioBufferAppend(ClientEvent, frozen=True, tag="session.input_audio_buffer.append"):
    """Translation sessions only."""

    audio: bytes


class SessionClose(ClientEvent, frozen=True, tag="session.close"):
    """Translation sessions only."""


CLIENT_EVENTS: dict[str, type[ClientEvent]] = {
    str(cls.__struct_config__.tag): cls for cls in ClientEvent.__subclasses__()
}
