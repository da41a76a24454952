"""Scripts that more than one test gives a `FaultServer`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from faults.server import Peer, Script

__all__ = ["after_accept", "deaf", "echo"]


async def echo(peer: Peer) -> None:
    """Accept, and send every message back as it came."""
    await peer.accept()
    while True:
        message = await peer.receive()
        await (peer.send(message) if isinstance(message, str) else peer.send_binary(message))


async def deaf(peer: Peer) -> None:
    """Accept, then neither read nor write."""
    await peer.accept()
    await peer.stall()


def after_accept(*steps: Callable[[Peer], Awaitable[None] | None]) -> Script:
    """Accept, take each of `steps`, then read until the client is gone."""

    async def script(peer: Peer) -> None:
        await peer.accept()
        for step in steps:
            if (waits := step(peer)) is not None:
                await waits
        await peer.until_gone()

    return script
