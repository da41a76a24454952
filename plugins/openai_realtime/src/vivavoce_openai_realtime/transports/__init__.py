"""Transports: text or bytes, and nothing else.

`base` is the seam, `websocket` carries it over WebSocket, `errors` turns what a library raises into `vivavoce.errors`.
"""

from __future__ import annotations

from vivavoce_openai_realtime.transports.base import Receiver, Transport
from vivavoce_openai_realtime.transports.websocket import open_websocket

__all__ = ["Receiver", "Transport", "open_websocket"]
