from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial

import pytest
from gateways import Running, Script, start

Serve = Callable[..., Awaitable[Running]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Starts gateways: `await serve(GatewayConfig(...))`. They end with the test."""
    async with contextlib.AsyncExitStack() as stack:
        yield partial(start, stack)


@pytest.fixture
def script() -> Script:
    """Scripted providers."""
    return Script()
