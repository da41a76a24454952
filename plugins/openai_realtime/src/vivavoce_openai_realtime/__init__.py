"""The OpenAI Realtime protocol for vivavoce: OpenAI, Azure and compatible services.

    voice = vivavoce.Voice("openai-realtime", speaker="marin")

`protocol` is the protocol without I/O (client and server half), `transports` carry it, `provider` holds the hooks.
"""

from vivavoce_openai_realtime.config import OpenAIRealtimeConfig
from vivavoce_openai_realtime.protocol.dialects import DIALECTS, Dialect
from vivavoce_openai_realtime.provider import OpenAIRealtimeProvider

__all__ = ["DIALECTS", "Dialect", "OpenAIRealtimeConfig", "OpenAIRealtimeProvider"]
