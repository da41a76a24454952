"""One connection of the peer, over WebSocket or bare TCP, and everything that can go wrong below the dialect."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from typing import Any, Protocol

from websockets.frames import Frame as WireFrame
from websockets.frames import Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol

from vivavoce_conformance.peer.dialect import Frame

__all__ = ["Connection", "Gone", "Stream", "WebSocket"]

_READ = 64 * 1024


class Gone(Exception):
    """The client has ended the connection."""


class Connection(Protocol):
    """What the service needs of a connection."""

    async def receive(self) -> Frame:
        """The next message, or bytes; raises `Gone`."""

    async def send(self, frame: Frame) -> None:
        """Send a message."""

    async def fault(self, name: str, code: int) -> None:
        """Do what a bad network or a bad service does."""


class Stream:
    """Bare TCP, and the base of the WebSocket: bytes out, one at a time if `slow`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, slow: bool) -> None:
        self._reader = reader
        self._writer = writer
        self._slow = slow
        self._writing = asyncio.Lock()

    async def receive(self) -> Frame:
        data = await self._read()
        if not data:
            raise Gone
        return data

    async def send(self, frame: Frame) -> None:
        await self.raw(frame.encode() if isinstance(frame, str) else frame)

    async def raw(self, data: bytes) -> None:
        """Write bytes; what the client no longer takes is dropped."""
        try:
            # Acknowledgements and replies are written by two tasks; their bytes may not mix.
            async with self._writing:
                if not self._slow:
                    self._writer.write(data)
                for place in range(len(data) if self._slow else 0):
                    self._writer.write(data[place : place + 1])
                    if place % 16 == 0:
                        await asyncio.sleep(0)
                await self._writer.drain()
        except (ConnectionError, RuntimeError):
            raise Gone from None

    async def fault(self, name: str, code: int) -> None:
        if name == "drop":
            self.drop()
        elif name == "half_close":
            self._writer.write_eof()
        elif name == "garbage":
            await self.raw(b"\xff" * 64 + os.urandom(64))
        elif name == "stall":
            self._writer.transport.pause_reading()  # type: ignore[attr-defined]
        else:
            self._writer.close()

    def drop(self) -> None:
        """End TCP by a reset."""
        sock = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    async def _read(self) -> bytes:
        try:
            return await self._reader.read(_READ)
        except ConnectionError:
            return b""


class WebSocket(Stream):
    """The server's side of a WebSocket, without a library between us and the socket."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, slow: bool, fragments: bool
    ) -> None:
        super().__init__(reader, writer, slow=slow)
        self._protocol = ServerProtocol(max_size=None)
        self._pending: list[Any] = []
        self._fragments = fragments

    async def upgrade(self, how: str) -> str:
        """Read the request and answer it; returns the request, for the record."""
        request = await self._event()
        if not isinstance(request, Request):
            raise Gone
        shown = f"{request.path}\n{request.headers}"
        if how.startswith("http:"):
            status = how.partition(":")[2]
            body = b'{"error": {"message": "refused by the peer", "code": "refused"}}'
            head = f"HTTP/1.1 {status} No\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            await self.raw(head.encode() + body)
            self._writer.close()
            raise Gone
        if how == "half":
            await self.raw(b"HTTP/1.1 101 Switching Pro")
            self.drop()
            raise Gone
        response = self._protocol.accept(request)
        self._protocol.send_response(response)
        await self._flush()
        return shown

    async def receive(self) -> Frame:
        parts: list[bytes] = []
        text = False
        while True:
            frame: WireFrame = await self._event()
            if frame.opcode is Opcode.CLOSE:
                self._writer.close()
                raise Gone
            if frame.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
                text = text or frame.opcode is Opcode.TEXT
                parts.append(bytes(frame.data))
                if frame.fin:
                    whole = b"".join(parts)
                    return whole.decode() if text else whole

    async def send(self, frame: Frame) -> None:
        if self._protocol.state is not State.OPEN:
            raise Gone
        data = frame.encode() if isinstance(frame, str) else frame
        send = self._protocol.send_text if isinstance(frame, str) else self._protocol.send_binary
        if self._fragments and len(data) > 3:
            third = len(data) // 3
            send(data[:third], fin=False)
            self._protocol.send_continuation(data[third : 2 * third], fin=False)
            self._protocol.send_continuation(data[2 * third :], fin=True)
        else:
            send(data)
        await self._flush()

    async def fault(self, name: str, code: int) -> None:
        if name == "close":
            self._protocol.send_close(code, "the peer goes")
            await self._flush()
        else:
            await super().fault(name, code)

    async def _event(self) -> Any:
        while not self._pending:
            if self._protocol.state is State.CLOSED:
                raise Gone
            data = await self._read()
            if data:
                self._protocol.receive_data(data)
            else:
                self._protocol.receive_eof()
            self._pending += self._protocol.events_received()
            await self._flush()
            if not data and not self._pending:
                self._writer.close()
                raise Gone
        return self._pending.pop(0)

    async def _flush(self) -> None:
        for chunk in self._protocol.data_to_send():
            if chunk:
                await self.raw(chunk)
