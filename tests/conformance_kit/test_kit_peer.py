"""The kit's peer: what it is told to do it does to the connections that are meant."""

from __future__ import annotations

import asyncio
import socket

import pytest
import wrong_run
from vivavoce_conformance.peer.client import PeerClient
from vivavoce_conformance.peer.script import Plan

DIALECT = "vivavoce_conformance.peer.realtime:RealtimeDialect"
UPGRADE = (
    "GET /v1/realtime HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


async def status(port: int) -> int:
    """The status that an upgrade is answered with."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(UPGRADE.encode())
        return int((await reader.readline()).split()[1])
    finally:
        writer.close()
        await writer.wait_closed()


@pytest.mark.timeout(120)
async def test_connection_that_was_given_up_takes_nothing_of_the_next_plan() -> None:
    """Dialled in the moment before, it waits in the kernel's queue; the plan is for those who come after it."""
    peers: dict[str, object] = {}
    port, control = wrong_run.ports(DIALECT, peers)  # type: ignore[arg-type]
    try:
        async with PeerClient(port, control) as peer:
            for _ in range(20):
                with socket.create_connection(("127.0.0.1", port)):
                    await peer.plan(Plan(accept=["http:404"]))
                assert await status(port) == 404
                assert await status(port) == 101
    finally:
        process = peers[DIALECT][0]  # type: ignore[index]
        process.kill()
        process.communicate()
