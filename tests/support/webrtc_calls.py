"""What tests of WebRTC share: calls over the loopback, and an HTTP service that answers them as a test wants."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import stat
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from vivavoce import Voice

Answer = tuple[int, bytes]


def over_loopback(monkeypatch: pytest.MonkeyPatch, addresses: int = 1) -> None:
    """ICE leaves the loopback out, which is all that a test needs; `addresses`: as a machine with several has them."""
    found = ["127.0.0.1"] * addresses
    monkeypatch.setattr("aioice.ice.get_host_addresses", lambda *args, **kwargs: found)


def datagram_sockets() -> list[str]:
    """The UDP sockets of this process."""
    found = []
    for name in os.listdir("/dev/fd"):
        with contextlib.suppress(OSError):
            if not stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                continue
            with socket.socket(fileno=os.dup(int(name))) as twin:
                if twin.type == socket.SOCK_DGRAM and twin.family != socket.AF_UNIX:
                    found.append(str(twin.getsockname()))
    return sorted(found)


def library_tasks() -> list[str]:
    """The tasks of aiortc and aioice that have not ended."""
    described = [repr(task) for task in asyncio.all_tasks()]
    return [text for text in described if "aiortc" in text or "aioice" in text]


def caller(url: str, **config: Any) -> Voice:
    """A voice that calls the service at `url`."""
    options = {"api_key": "any-key", "model": "gpt-realtime", "transport": "webrtc", **config}
    return Voice("openai-realtime", url=url, **options)


@contextlib.asynccontextmanager
async def answering(respond: Callable[[str, bytes], Answer]) -> AsyncIterator[str]:
    """An HTTP service: `respond(path, body)` gives status and body. Yields its address."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(
            asyncio.IncompleteReadError, ConnectionError
        ):  # a client may leave at any time
            await take(reader, writer)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        sizes = [
            line.split(":")[1] for line in head.lower().split("\r\n") if line.startswith("content-length:")
        ]
        status, body = respond(head.split(" ")[1], await reader.readexactly(int(sizes[0]) if sizes else 0))
        answer = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        writer.write(answer.encode() + body)
        await writer.drain()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1/realtime"
    finally:
        server.close()
        await server.wait_closed()
