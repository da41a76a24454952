"""The events of a voice: frozen typed values, the same shape for every provider.

Each class states in `type` the name it is delivered under. Listeners get the value itself:

    @voice.on("writing")
    def show(event: vivavoce.events.Writing) -> None: ...

The `speaker` event carries a `vivavoce.AudioStream`, `error` a `vivavoce.VoiceError`, and the raw messages of a
provider (`<provider>:<type>`) the decoded mapping. New optional fields may appear in any release.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import msgspec

__all__ = [
    "Closed",
    "EndReason",
    "Event",
    "Interrupted",
    "ItemAdded",
    "Opened",
    "ProviderFallback",
    "ProviderMessage",
    "Reconnected",
    "Reconnecting",
    "ResponseCreated",
    "ResponseDone",
    "Role",
    "SessionCreated",
    "SessionUpdated",
    "Speaking",
    "SpeakingDone",
    "SpeechStarted",
    "SpeechStopped",
    "ToolCallResult",
    "ToolCallStart",
    "Turn",
    "Usage",
    "Writing",
]

Role = Literal["user", "assistant", "system"]
EndReason = Literal["completed", "cancelled", "interrupted", "lost"]


class Event(msgspec.Struct, frozen=True, gc=False):
    """Base of every event. `type` is the name it is delivered under."""

    type: ClassVar[str] = "*"


class Speaking(Event, frozen=True, gc=False):
    """Reply audio as it arrives: PCM16 little-endian `bytes` at `voice.output_format`."""

    type = "speaking"
    audio: bytes
    response_id: str | None = None
    item_id: str | None = None


class SpeakingDone(Event, frozen=True, gc=False):
    """The audio of a reply has ended, and why. Emitted once per `AudioStream`."""

    type = "speaking.done"
    reason: EndReason = "completed"
    response_id: str | None = None
    item_id: str | None = None


class Writing(Event, frozen=True, gc=False):
    """Text of either side. `text` is a delta; with `final=True` it is the whole text of the item."""

    type = "writing"
    text: str
    role: Role
    item_id: str | None = None
    response_id: str | None = None
    final: bool = False


class Turn(Event, frozen=True, gc=False):
    """A finished turn, in conversation order. When `interrupted`, `text` is what is known to have been said."""

    type = "turn"
    role: Role
    text: str
    item_id: str | None = None
    interrupted: bool = False


class SpeechStarted(Event, frozen=True, gc=False):
    """The user began to speak, `at_ms` milliseconds after the first audio of the session."""

    type = "speech.started"
    item_id: str | None = None
    at_ms: float | None = None


class SpeechStopped(Event, frozen=True, gc=False):
    """The user stopped speaking, `at_ms` milliseconds after the first audio of the session."""

    type = "speech.stopped"
    item_id: str | None = None
    at_ms: float | None = None


class Usage(Event, frozen=True, kw_only=True, gc=False):
    """What was consumed: tokens by kind, and seconds of audio. `voice.usage` is the sum over the voice's life."""

    type = "usage"
    input_text_tokens: int = 0
    input_audio_tokens: int = 0
    input_image_tokens: int = 0
    cached_text_tokens: int = 0
    cached_audio_tokens: int = 0
    cached_image_tokens: int = 0
    output_text_tokens: int = 0
    output_audio_tokens: int = 0
    input_seconds: float = 0.0
    output_seconds: float = 0.0
    response_id: str | None = None

    @property
    def input_tokens(self) -> int:
        """Tokens of all kinds that went in."""
        return self.input_text_tokens + self.input_audio_tokens + self.input_image_tokens

    @property
    def output_tokens(self) -> int:
        """Tokens of all kinds that came out."""
        return self.output_text_tokens + self.output_audio_tokens

    @property
    def cached_tokens(self) -> int:
        """Input tokens that were cached, and cost less."""
        return self.cached_text_tokens + self.cached_audio_tokens + self.cached_image_tokens

    @property
    def total_tokens(self) -> int:
        """Input and output tokens."""
        return self.input_tokens + self.output_tokens

    def __add__(self, other: Usage) -> Usage:
        counts = [f for f in self.__struct_fields__ if f != "response_id"]
        return Usage(**{f: getattr(self, f) + getattr(other, f) for f in counts})


class ResponseCreated(Event, frozen=True, gc=False):
    """The service has begun a reply. `out_of_band` replies stand beside the conversation."""

    type = "response.created"
    id: str
    out_of_band: bool = False


class ResponseDone(Event, frozen=True):
    """A reply has ended: `status` is `completed`, `cancelled`, `failed` or `incomplete`; `reason` says why."""

    type = "response.done"
    id: str
    status: Literal["completed", "cancelled", "failed", "incomplete"] = "completed"
    reason: str | None = None
    usage: Usage | None = None


class Interrupted(Event, frozen=True, gc=False):
    """A reply was cut: the user heard `played_ms` milliseconds of `item_id`."""

    type = "interrupted"
    response_id: str | None = None
    item_id: str | None = None
    played_ms: float = 0.0


class ToolCallStart(Event, frozen=True):
    """The model calls a tool. A provider emits it with `arguments` as the service sent them (JSON text or mapping);
    listeners get the decoded mapping (or the text, if it was not a JSON object)."""

    type = "tool-call-start"
    call_id: str
    name: str
    arguments: Any = None
    response_id: str | None = None


class ToolCallResult(Event, frozen=True):
    """A tool call has its one output: `result`, or `error` in words that hold nothing of the exception's text."""

    type = "tool-call-result"
    call_id: str
    result: Any = None
    error: str | None = None


class Opened(Event, frozen=True, gc=False):
    """A session is ready: dialled, authenticated, configured."""

    type = "open"
    session_id: str | None = None


class Closed(Event, frozen=True, gc=False):
    """A session has ended. Emitted once per opened session."""

    type = "close"
    code: str = "closed"
    reason: str = ""
    clean: bool = True
    session_id: str | None = None


class Reconnecting(Event, frozen=True):
    """The session was lost; attempt number `attempt` begins in `delay_ms` milliseconds. `cause` is the error."""

    type = "reconnecting"
    attempt: int
    delay_ms: float
    cause: Exception | None = None


class Reconnected(Event, frozen=True, gc=False):
    """The session is back: what was replayed into it, and how much input audio was lost meanwhile."""

    type = "reconnected"
    attempts: int
    outage_ms: float
    replayed_items: int = 0
    lost_audio_ms: float = 0.0


class SessionCreated(Event, frozen=True):
    """The service has a session. `expires_at` is in unix seconds; `config` the service's own session settings."""

    type = "session.created"
    id: str | None = None
    expires_at: float | None = None
    config: Mapping[str, Any] | None = None


class SessionUpdated(Event, frozen=True):
    """The service acknowledged new session settings."""

    type = "session.updated"
    id: str | None = None
    expires_at: float | None = None
    config: Mapping[str, Any] | None = None


class ProviderFallback(Event, frozen=True):
    """A `CompositeVoice` with an order of preference goes from provider `failed` to `chosen`, because of `cause`."""

    type = "provider.fallback"
    failed: str
    chosen: str
    cause: Exception | None = None


class ProviderMessage(Event, frozen=True):
    """For providers only: a raw message of the service. Listeners of `<provider>:<kind>` and `<provider>:*` get `data`."""

    type = "*raw"
    kind: str
    data: Mapping[str, Any]


class ItemAdded(Event, frozen=True, gc=False):
    """For providers only: an item took its place in the conversation, which fixes the order of `turn` events.

    `previous_id` is the item before it (`None`: the newest one). `transcribed` says whether a final `Writing` for it
    will follow; without one its turn is not waited for.
    """

    type = "*item"
    item_id: str
    role: Role
    previous_id: str | None = None
    transcribed: bool = True
