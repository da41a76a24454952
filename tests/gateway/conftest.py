from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial

import pytest
from gateways import Running, Script, start
from vivavoce.testing import no_leaks
from vivavoce_gateway import GatewayConfig
from webrtc_calls import over_loopback

Serve = Callable[..., Awaitable[Running]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Starts gateways: `await serve(GatewayConfig(...))`. They end with the test."""
    async with contextlib.AsyncExitStack() as stack:
        yield partial(start, stack)


@pytest.fixture
async def serve_calls(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Serve]:
    """The same for WebRTC over the loopback; after the test nothing of a call, or of what joined one, may be left."""
    over_loopback(monkeypatch)
    async with no_leaks(grace=2.0), contextlib.AsyncExitStack() as stack:

        async def begin(config: GatewayConfig) -> Running:
            running = await start(stack, config)
            stack.push_async_callback(running.gateway.drained, 5)
            return running

        yield begin


@pytest.fixture
def script() -> Script:
    """Scripted providers."""
    return Script()
