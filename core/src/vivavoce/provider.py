"""What a provider states about itself, and what it is handed.

A provider class states:

- `api = 1`, the plugin API level;
- `capabilities`, a frozenset of `CAPABILITIES` (unknown ones are ignored);
- `config_class`, optional: any class whose constructor takes the config keys by name; usually a `CommonConfig`
  subclass. A common key that it does not take is one WARNING; without a config class all common keys pass;
- `credentials`, optional: config key -> environment variable, e.g. `{"api_key": "OPENAI_API_KEY"}`;
- `input_format`, `output_format`, optional: the formats before a session says otherwise (PCM16, 24 kHz, mono);
- `connect_options`, optional: the names of its own options of `connect()`;
- `name`, where no entry point gives one.

Its constructor takes no argument: what it needs is in the context of each call.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from vivavoce.audio import PCM16_24K, AudioFormat
from vivavoce.errors import VoiceError
from vivavoce.events import Event
from vivavoce.items import Cut, Interruption, Item

if TYPE_CHECKING:
    from vivavoce.tools import Tool

__all__ = [
    "API_LEVEL",
    "CAPABILITIES",
    "SUPPORTED_API_LEVELS",
    "Context",
    "Cut",
    "Interruption",
    "ListenerInfo",
    "Session",
    "SpeakerInfo",
    "Speech",
]

API_LEVEL = 1
SUPPORTED_API_LEVELS = frozenset({API_LEVEL})
CAPABILITIES = frozenset(
    [
        "realtime",
        "turns",
        "vad",
        "interrupt",
        "truncate",
        "tools",
        "transcripts",
        "text",
        "speak",
        "listen",
        "replay",
    ]
)


class Session(msgspec.Struct, kw_only=True):
    """One session as its provider sees it. A new one for every connection; nothing of it outlives the connection.

    The core fills in what is wanted; a provider may set `id`, the formats, `expires_at`, `manual_turns` and
    `server_interrupts` as the service tells it.
    """

    provider: str
    generation: int = 0
    id: str | None = None
    instructions: str | None = None
    tools: tuple[Tool, ...] = ()
    speaker: str | None = None
    settings: Mapping[str, Any] = msgspec.field(default_factory=dict)
    history: tuple[Item, ...] = ()
    input_format: AudioFormat = PCM16_24K
    output_format: AudioFormat = PCM16_24K
    expires_at: float | None = None
    manual_turns: bool = False
    """The app ends the user's turns: `answer()` commits pending input first."""
    server_interrupts: bool = True
    """User speech (`SpeechStarted`) interrupts the reply that is being heard."""
    reconnected: bool = False
    """This session replaces one that was lost."""


class Context(Protocol):
    """What every hook is handed. After its session ended, `emit` and `lost` of a context do nothing."""

    @property
    def config(self) -> Any:
        """The provider's own config object (or a `CommonConfig`)."""

    @property
    def session(self) -> Session:
        """The session, as it is wanted and as the service told it."""

    def emit(self, event: Event | VoiceError) -> None:
        """Tell the core what happened. Plain, cheap, in the order of the service; call it on the event loop."""

    def lost(self, cause: VoiceError | BaseException | None = None) -> None:
        """The connection is gone. `cause.retryable` decides whether the core may reconnect."""


class Speech(msgspec.Struct, frozen=True):
    """Text turned to speech: PCM16 `chunks` at `format`."""

    format: AudioFormat
    chunks: AsyncIterator[bytes]


class SpeakerInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """A voice that `speaker=` may name."""

    id: str
    name: str | None = None
    language: str | None = None
    gender: str | None = None
    description: str | None = None
    metadata: Mapping[str, Any] = msgspec.field(default_factory=dict)


class ListenerInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """Whether speech to text is there. `enabled` is false when it is not."""

    enabled: bool
    model: str | None = None
    languages: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = msgspec.field(default_factory=dict)
