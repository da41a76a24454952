"""The OpenAI Realtime protocol without I/O: both halves, and the dialects of the services that speak it.

    client   ClientProtocol: frames in, `events` out; `send_*` verbs in, frames out
    server   ServerProtocol: client events in, verbs for everything a service says
    dialects Dialect: addresses, credentials, and the shape of a session, per service
    codec    one frame to one wire value and back, without any state

It needs msgspec and pybase64, and nothing else: no socket library, no event loop, no clock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .client import ClientProtocol
from .codec import (
    Malformed,
    UnknownEvent,
    decode_client_event,
    decode_mapping,
    decode_server_event,
    encode,
    encode_append,
)
from .dialects import DIALECTS, Dialect
from .states import ItemState, ResponseState, SessionState

if TYPE_CHECKING:
    from .faults import Fault
    from .server import ServerProtocol

__all__ = [
    "DIALECTS",
    "ClientProtocol",
    "Dialect",
    "Fault",
    "ItemState",
    "Malformed",
    "ResponseState",
    "ServerProtocol",
    "SessionState",
    "UnknownEvent",
    "decode_client_event",
    "decode_mapping",
    "decode_server_event",
    "encode",
    "encode_append",
]


def __getattr__(name: str) -> Any:
    """The server half is loaded by those who serve: gateways and tests."""
    if name == "ServerProtocol":
        from .server import ServerProtocol

        return ServerProtocol
    if name == "Fault":
        from .faults import Fault

        return Fault
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
