"""The OpenAI Realtime protocol, served: any client of it talks to any vivavoce provider.

app = vivavoce_gateway.create_app(GatewayConfig(provider="local"))   # any ASGI server hosts it
"""

from __future__ import annotations

from vivavoce_gateway.app import create_app
from vivavoce_gateway.config import GatewayConfig, Limits, Route

__all__ = ["GatewayConfig", "Limits", "Route", "create_app"]
