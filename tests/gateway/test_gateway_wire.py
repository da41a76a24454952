"""Faults below the protocol, over real sockets: a bad client ends its own session alone, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import struct
from collections.abc import AsyncIterator
from typing import Any

import pytest
import websockets
from gateways import Running, Script
from vivavoce.testing import Reply
from vivavoce_gateway import GatewayConfig, Limits
from vivavoce_gateway.serve import server_options

UPGRADE = (
    b"GET /v1/realtime?model=gpt-realtime HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def frame(payload: bytes, *, head: int = 0x81, masked: bool = True) -> bytes:
    """A WebSocket frame; a mask of zeros changes nothing."""
    size = len(payload)
    length = (
        bytes([size | masked << 7]) if size < 126 else bytes([126 | masked << 7]) + struct.pack("!H", size)
    )
    return bytes([head]) + length + (bytes(4) if masked else b"") + payload


class Raw:
    """A client that writes what it likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def ended(self) -> bytes:
        """Everything that the gateway still sends before it closes."""
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(20):
                return await self.reader.read()
        return b""

    def reset(self) -> None:
        """Break the connection: RST, not FIN."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


@contextlib.asynccontextmanager
async def raw(gateway: Running) -> AsyncIterator[Raw]:
    """An open session of a raw client."""
    client = Raw(*await asyncio.open_connection("127.0.0.1", gateway.port))
    try:
        client.writer.write(UPGRADE)
        async with asyncio.timeout(20):
            await client.reader.readuntil(b"session.created")
        yield client
    finally:
        client.writer.close()
        with contextlib.suppress(ConnectionError):
            await client.writer.wait_closed()


async def until_gone(gateway: Running, left: int = 1) -> None:
    """The session of the bad client is over, and its place is free."""
    async with asyncio.timeout(20):
        while len(gateway.gateway.sessions) > left:
            await asyncio.sleep(0.01)
    assert gateway.gateway.places.taken == left


BROKEN = {
    "no mask": frame(b'{"type":"response.create"}', masked=False),
    "reserved opcode": frame(b"x", head=0x83),
    "reserved bits": frame(b"x", head=0xF1),
    "text that is no UTF-8": frame(b"\xff\xfe"),
    "continuation of nothing": frame(b"x", head=0x80),
    "long ping": frame(bytes(126), head=0x89),
    "close with a bad code": frame(struct.pack("!H", 1005), head=0x88),
    "close with half a code": frame(b"\x03", head=0x88),
    "a frame of 2^62 bytes": b"\x81\xff" + struct.pack("!Q", 1 << 62) + bytes(4),
    "noise": os.urandom(500),
}


@pytest.mark.parametrize("bad", BROKEN.values(), ids=BROKEN.keys())
async def test_broken_frame_ends_its_own_session(serve: Any, script: Script, bad: bytes) -> None:
    """What breaks WebSocket's rules is answered by a close; another session does not notice."""
    gateway = await serve(script.config())
    other = await gateway.open()
    async with raw(gateway) as client:
        client.writer.write(bad)
        client.writer.write_eof()
        await client.ended()
    await until_gone(gateway)
    await other.send("response.create")
    assert (await other.until("response.done"))["response"]["status"] == "completed"


async def vanish(client: Raw, how: str) -> None:
    if how == "reset":
        client.reset()
    elif how == "half-closed":
        client.writer.write_eof()
        await client.ended()  # it reads on: else it is a slow client, and let go by that rule
    elif how == "in a frame":
        client.writer.write(frame(b'{"type":"response.create"}')[:9])
        client.writer.close()
    else:
        client.writer.write(frame(struct.pack("!H", int(how)), head=0x88))
        await client.ended()


@pytest.mark.parametrize(
    "how", ["reset", "half-closed", "in a frame", "1000", "1001", "1008", "1011", "4000"]
)
@pytest.mark.parametrize("when", ["idle", "mid-reply", "mid-tool"])
async def test_client_that_goes(serve: Any, script: Script, how: str, when: str) -> None:
    """However and whenever a client goes: its provider is closed, its place is free, nobody else notices."""
    calls: list[tuple[str, Any]] = [("look", {})] if when == "mid-tool" else []
    script.replies = [Reply("a long story", 60_000, tool_calls=calls, hold=not calls)]
    gateway = await serve(script.config())
    async with raw(gateway) as client:
        provider = script.last
        if when != "idle":
            tool = {"type": "function", "name": "look", "parameters": {"type": "object", "properties": {}}}
            update = {"type": "session.update", "session": {"type": "realtime", "tools": [tool]}}
            client.writer.write(frame(json.dumps(update).encode()))
            client.writer.write(frame(b'{"type":"response.create"}'))
            word = b"function_call_arguments.done" if calls else b"response.output_audio.delta"
            seen = b""
            async with asyncio.timeout(20):
                while word not in seen:
                    seen += await client.reader.read(1 << 16)
        await vanish(client, how)
        await until_gone(gateway, 0)
    assert provider.called("close")


async def test_slow_reader_is_let_go(serve: Any, script: Script) -> None:
    """A client that stops reading while a reply comes is dropped when too much waits for it; another one is served."""
    script.replies = [Reply("a long story", 120_000)]
    gateway = await serve(script.config(limits=Limits(unsent_bytes=1_000_000, send_seconds=60)))
    slow = await gateway.open()
    slow.connection.transport.pause_reading()
    await slow.send("response.create")
    await until_gone(gateway, 0)
    slow.connection.transport.abort()
    script.replies = []
    other = await gateway.open()
    await other.send("response.create")
    assert (await other.until("response.done"))["response"]["status"] == "completed"
    assert 'end="slow_client"' in gateway.gateway.metrics.text().decode()


async def test_audio_without_end_from_one_disturbs_nobody(serve: Any, script: Script) -> None:
    """A client that sends audio as fast as it can is read no faster than allowed, while another one is answered."""
    gateway = await serve(script.config(limits=Limits(audio_rate=5)))
    flooding, other = await gateway.open(), await gateway.open()
    message = json.dumps({"type": "input_audio_buffer.append", "audio": "A" * 640_000})

    async def flood() -> None:
        with contextlib.suppress(websockets.ConnectionClosed):
            while True:
                await flooding.connection.send(message)

    sending = asyncio.create_task(flood())
    for _ in range(3):
        await other.send("response.create")
        assert (await other.until("response.done"))["response"]["status"] == "completed"
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
    flooding.connection.transport.abort()


async def test_who_never_asks_holds_no_place(serve: Any, script: Script) -> None:
    """Connections on which nothing comes are no sessions: they take nobody's place, and no provider."""
    gateway = await serve(script.config(limits=Limits(sessions=1)))
    silent = [await asyncio.open_connection("127.0.0.1", gateway.port) for _ in range(20)]
    await gateway.open()
    assert len(script.made) == 1
    for _, writer in silent:
        writer.close()


async def test_pings(serve: Any, script: Script) -> None:
    """A ping every 20 s with four bytes, as the service sends them (here sooner)."""
    assert server_options(GatewayConfig())["ws_ping_interval"] == 20
    gateway = await serve(script.config(), ws_ping_interval=0.1)
    async with raw(gateway) as client:
        for _ in range(3):
            async with asyncio.timeout(20):
                ping = await client.reader.readuntil(b"\x89\x04") and await client.reader.readexactly(4)
            client.writer.write(frame(ping, head=0x8A))
