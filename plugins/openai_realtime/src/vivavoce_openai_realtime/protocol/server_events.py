"""Server events: what the service sends. One value per event; `type` is the class's tag.

Only what nothing can be done without is required; the rest may be absent, as it is on some compatible services.
Source: the server event reference of the Realtime API (GA), its beta names, and the translation guide.
"""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, Struct

from .values import JSON, RateLimit, Unset

__all__ = [
    "ConversationCreated",
    "ConversationItemAdded",
    "ConversationItemCreated",
    "ConversationItemDeleted",
    "ConversationItemDone",
    "ConversationItemRetrieved",
    "ConversationItemTruncated",
    "Error",
    "InputAudioBufferCleared",
    "InputAudioBufferCommitted",
    "InputAudioBufferDtmfEventReceived",
    "InputAudioBufferSpeechStarted",
    "InputAudioBufferSpeechStopped",
    "InputAudioBufferTimeoutTriggered",
    "InputAudioTranscriptionCompleted",
    "InputAudioTranscriptionDelta",
    "InputAudioTranscriptionFailed",
    "InputAudioTranscriptionSegment",
    "InputAudioTranscriptionUpdated",
    "McpListToolsCompleted",
    "McpListToolsFailed",
    "McpListToolsInProgress",
    "OutputAudioBufferCleared",
    "OutputAudioBufferStarted",
    "OutputAudioBufferStopped",
    "Ping",
    "RateLimitsUpdated",
    "ResponseMcpCallArgumentsDelta",
    "ResponseMcpCallArgumentsDone",
    "ResponseMcpCallCompleted",
    "ResponseMcpCallFailed",
    "ResponseMcpCallInProgress",
    "ServerEvent",
    "SessionClosed",
    "SessionCreated",
    "SessionInputTranscriptDelta",
    "SessionOutputAudioDelta",
    "SessionOutputTranscriptDelta",
    "SessionUpdated",
    "TranscriptionSessionCreated",
    "TranscriptionSessionUpdated",
]


class ServerEvent(Struct, frozen=True, tag_field="type", kw_only=True, repr_omit_defaults=True):
    """The base. Every event but DTMF carries an `event_id` at OpenAI."""

    event_id: str | Unset | None = UNSET


# --- session and conversation


class Error(ServerEvent, frozen=True, tag="error"):
    """Not fatal, unless a close follows. Some services send a bare text, or put the code beside it."""

    error: JSON | str | None
    code: str | int | Unset | None = UNSET


class SessionCreated(ServerEvent, frozen=True, tag="session.created"):
    session: JSON


class SessionUpdated(ServerEvent, frozen=True, tag="session.updated"):
    session: JSON


class TranscriptionSessionCreated(SessionCreated, frozen=True, tag="transcription_session.created"):
    """Beta only."""


class TranscriptionSessionUpdated(SessionUpdated, frozen=True, tag="transcription_session.updated"):
    """Beta only."""


class SessionClosed(ServerEvent, frozen=True, tag="session.closed"):
    """Translation only: the answer to `session.close`."""


class ConversationCreated(ServerEvent, frozen=True, tag="conversation.created"):
    conversation: JSON


class Ping(ServerEvent, frozen=True, tag="ping"):
    """xAI's application level ping; it asks for nothing."""


class _WithItem(ServerEvent, frozen=True, kw_only=True):
    item: JSON
    previous_item_id: str | Unset | None = UNSET


class ConversationItemAdded(_WithItem, frozen=True, tag="conversation.item.added"):
    pass


class ConversationItemDone(_WithItem, frozen=True, tag="conversation.item.done"):
    pass


class ConversationItemCreated(_WithItem, frozen=True, tag="conversation.item.created"):
    """Beta's name for both of the above."""


class ConversationItemRetrieved(ServerEvent, frozen=True, tag="conversation.item.retrieved"):
    item: JSON


class ConversationItemTruncated(ServerEvent, frozen=True, tag="conversation.item.truncated"):
    item_id: str
    content_index: int | Unset = UNSET
    audio_end_ms: int | Unset = UNSET


class ConversationItemDeleted(ServerEvent, frozen=True, tag="conversation.item.deleted"):
    item_id: str


# --- input audio; `audio_*_ms` count from the first audio ever appended in this session


class InputAudioBufferSpeechStarted(ServerEvent, frozen=True, tag="input_audio_buffer.speech_started"):
    audio_start_ms: int | float | Unset | None = UNSET
    item_id: str | Unset | None = UNSET


class InputAudioBufferSpeechStopped(ServerEvent, frozen=True, tag="input_audio_buffer.speech_stopped"):
    audio_end_ms: int | float | Unset | None = UNSET
    item_id: str | Unset | None = UNSET


class InputAudioBufferCommitted(ServerEvent, frozen=True, tag="input_audio_buffer.committed"):
    item_id: str
    previous_item_id: str | Unset | None = UNSET


class InputAudioBufferCleared(ServerEvent, frozen=True, tag="input_audio_buffer.cleared"):
    pass


class InputAudioBufferTimeoutTriggered(ServerEvent, frozen=True, tag="input_audio_buffer.timeout_triggered"):
    audio_start_ms: int | Unset = UNSET
    audio_end_ms: int | Unset = UNSET
    item_id: str | Unset = UNSET


class InputAudioBufferDtmfEventReceived(
    ServerEvent, frozen=True, tag="input_audio_buffer.dtmf_event_received"
):
    """SIP only; `event` is one of `0-9*#A-D`, `received_at` in unix seconds."""

    event: str
    received_at: int | Unset = UNSET


_TRANSCRIPTION = "conversation.item.input_audio_transcription."


class _Transcription(ServerEvent, frozen=True, kw_only=True):
    item_id: str
    content_index: int | Unset = UNSET


class InputAudioTranscriptionDelta(_Transcription, frozen=True, tag=_TRANSCRIPTION + "delta"):
    delta: str | Unset | None = UNSET
    logprobs: list[Any] | Unset | None = UNSET


class InputAudioTranscriptionUpdated(_Transcription, frozen=True, tag=_TRANSCRIPTION + "updated"):
    """xAI's: the whole transcript so far."""

    transcript: str


class InputAudioTranscriptionCompleted(_Transcription, frozen=True, tag=_TRANSCRIPTION + "completed"):
    transcript: str
    usage: JSON | Unset | None = UNSET
    languages: list[Any] | Unset | None = UNSET
    logprobs: list[Any] | Unset | None = UNSET


class InputAudioTranscriptionFailed(_Transcription, frozen=True, tag=_TRANSCRIPTION + "failed"):
    error: JSON | str | Unset | None = UNSET


class InputAudioTranscriptionSegment(_Transcription, frozen=True, tag=_TRANSCRIPTION + "segment"):
    """Of the models that tell speakers apart; `start` and `end` in seconds."""

    id: str | Unset = UNSET
    text: str | Unset = UNSET
    speaker: str | Unset = UNSET
    start: float | Unset = UNSET
    end: float | Unset = UNSET


class RateLimitsUpdated(ServerEvent, frozen=True, tag="rate_limits.updated"):
    rate_limits: list[RateLimit]


# --- output buffer (WebRTC and SIP) and MCP


class _OutputBuffer(ServerEvent, frozen=True, kw_only=True):
    response_id: str | Unset | None = UNSET


class OutputAudioBufferStarted(_OutputBuffer, frozen=True, tag="output_audio_buffer.started"):
    pass


class OutputAudioBufferStopped(_OutputBuffer, frozen=True, tag="output_audio_buffer.stopped"):
    pass


class OutputAudioBufferCleared(_OutputBuffer, frozen=True, tag="output_audio_buffer.cleared"):
    pass


class _Mcp(ServerEvent, frozen=True, kw_only=True):
    item_id: str | Unset = UNSET


class McpListToolsInProgress(_Mcp, frozen=True, tag="mcp_list_tools.in_progress"):
    pass


class McpListToolsCompleted(_Mcp, frozen=True, tag="mcp_list_tools.completed"):
    pass


class McpListToolsFailed(_Mcp, frozen=True, tag="mcp_list_tools.failed"):
    pass


class _McpCall(_Mcp, frozen=True, kw_only=True):
    output_index: int | Unset = UNSET


class ResponseMcpCallArgumentsDelta(_McpCall, frozen=True, tag="response.mcp_call_arguments.delta"):
    delta: str
    response_id: str | Unset | None = UNSET
    obfuscation: str | Unset | None = UNSET


class ResponseMcpCallArgumentsDone(_McpCall, frozen=True, tag="response.mcp_call_arguments.done"):
    arguments: str
    response_id: str | Unset | None = UNSET


class ResponseMcpCallInProgress(_McpCall, frozen=True, tag="response.mcp_call.in_progress"):
    pass


class ResponseMcpCallCompleted(_McpCall, frozen=True, tag="response.mcp_call.completed"):
    pass


class ResponseMcpCallFailed(_McpCall, frozen=True, tag="response.mcp_call.failed"):
    pass


# --- translation


class SessionOutputAudioDelta(ServerEvent, frozen=True, tag="session.output_audio.delta"):
    delta: bytes
    sample_rate: int | Unset | None = UNSET
    channels: int | Unset | None = UNSET
    format: str | Unset | None = UNSET
    elapsed_ms: int | Unset | None = UNSET


class SessionOutputTranscriptDelta(ServerEvent, frozen=True, tag="session.output_transcript.delta"):
    delta: str
    elapsed_ms: int | Unset | None = UNSET


class SessionInputTranscriptDelta(ServerEvent, frozen=True, tag="session.input_transcript.delta"):
    delta: str
    elapsed_ms: int | Unset | None = UNSET
