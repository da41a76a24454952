"""vivavoce: realtime voice over any provider. Speech in, speech out.

    async with vivavoce.Voice("local") as voice:
        voice.on("writing", lambda event: print(event.role, event.text))
        await voice.send("question.wav", pace=True)

See docs/tutorial/first-app.md.
"""

from vivavoce import errors, events
from vivavoce.audio import PCM16_24K, AudioFormat
from vivavoce.composite import CompositeVoice
from vivavoce.config import CommonConfig
from vivavoce.emitter import EventQueue
from vivavoce.errors import (
    AudioError,
    AuthenticationError,
    ConfigError,
    ConnectError,
    ConnectionLostError,
    ConnectTimeoutError,
    NotConnectedError,
    ProtocolError,
    ProviderError,
    ProviderLoadError,
    ProviderNotFoundError,
    QuotaError,
    UnsupportedError,
    VoiceError,
)
from vivavoce.hookspecs import hookimpl
from vivavoce.items import Cut, Interruption, Item
from vivavoce.provider import Context, ListenerInfo, Session, SpeakerInfo, Speech
from vivavoce.reconnect import ReconnectPolicy
from vivavoce.streams import AudioStream, Response, Sink
from vivavoce.tools import Tool, tool
from vivavoce.voice import Voice

__all__ = [
    "PCM16_24K",
    "AudioError",
    "AudioFormat",
    "AudioStream",
    "AuthenticationError",
    "CommonConfig",
    "CompositeVoice",
    "ConfigError",
    "ConnectError",
    "ConnectTimeoutError",
    "ConnectionLostError",
    "Context",
    "Cut",
    "EventQueue",
    "Interruption",
    "Item",
    "ListenerInfo",
    "NotConnectedError",
    "ProtocolError",
    "ProviderError",
    "ProviderLoadError",
    "ProviderNotFoundError",
    "QuotaError",
    "ReconnectPolicy",
    "Response",
    "Session",
    "Sink",
    "SpeakerInfo",
    "Speech",
    "Tool",
    "UnsupportedError",
    "Voice",
    "VoiceError",
    "__version__",
    "errors",
    "events",
    "hookimpl",
    "tool",
]

__version__ = "0.1.0"
