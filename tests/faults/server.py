"""A WebSocket server whose every connection is a script, so that it can fail at any byte.

    async def script(peer):
        await peer.accept()
        await peer.send('{"type": "session.created"}')
        peer.drop()

    async with FaultServer(script) as server:
        ... connect to server.url ...

The script runs from the moment TCP (and TLS, where there is one) is there: it decides about the upgrade too. When it
returns, the connection stays open until the server ends; when it raises, the test that leaves the server fails.
"""

from __future__ import annotations

import asyncio
import socket
import ssl as ssl_module
import struct
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

__all__ = ["FaultServer", "Peer", "PeerGone", "Script", "refusing_port"]

_READ = 64 * 1024


class PeerGone(Exception):
    """The client ended the connection while the script waited for a message: `close` or nothing, and its code."""

    def __init__(self, code: int | None, reason: str = "") -> None:
        super().__init__(f"close code {code} {reason}")
        self.code = code
        self.reason = reason


class Peer:
    """One connection, from the server's side."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, server: FaultServer
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._protocol = ServerProtocol(
            subprotocols=[Subprotocol(name) for name in server.subprotocols] or None,
            extensions=[ServerPerMessageDeflateFactory()] if server.deflate else None,
            max_size=None,
        )
        self._pending: list[Any] = []
        self.request: Request | None = None
        """The upgrade request, after `accept`, `refuse` or `read_request`."""
        self.close_code: int | None = None
        self.one_byte_at_a_time = False
        """Every byte that is written from now on is a write, and with luck a packet, of its own."""

    # The upgrade.

    async def read_request(self) -> Request:
        """Wait for the client's upgrade request."""
        while self.request is None:
            event = await self._next_event()
            assert isinstance(event, Request)
            self.request = event
        return self.request

    async def accept(self, headers: Iterable[tuple[str, str]] = ()) -> Request:
        """Answer the upgrade with 101."""
        request = await self.read_request()
        response = self._protocol.accept(request)
        for name, value in headers:
            response.headers[name] = value
        self._protocol.send_response(response)
        await self._flush()
        return request

    async def refuse(
        self, status: int, body: str | bytes = "", headers: Iterable[tuple[str, str]] = ()
    ) -> None:
        """Answer the upgrade with an HTTP `status` and `body`, and end the connection."""
        await self.read_request()
        data = body.encode() if isinstance(body, str) else body
        lines = [
            f"HTTP/1.1 {status} Refused",
            f"Content-Length: {len(data)}",
            *(f"{name}: {value}" for name, value in headers),
        ]
        await self.raw("\r\n".join(lines).encode() + b"\r\n\r\n" + data)
        self._writer.close()

    # Messages.

    async def receive(self) -> str | bytes:
        """The next whole message: `str` for text. Pings and closes are answered on the way.

        Raises `PeerGone` when the client closes or drops.
        """
        parts: list[bytes] = []
        text = False
        while True:
            frame: Frame = await self._next_event()
            if frame.opcode is Opcode.CLOSE:
                self.close_code = self._protocol.close_rcvd.code if self._protocol.close_rcvd else None
                self._writer.close()
                raise PeerGone(
                    self.close_code, self._protocol.close_rcvd.reason if self._protocol.close_rcvd else ""
                )
            if frame.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
                text = text or frame.opcode is Opcode.TEXT
                parts.append(bytes(frame.data))
                if frame.fin:
                    whole = b"".join(parts)
                    return whole.decode() if text else whole

    async def send(self, text: str | bytes) -> None:
        """Send one text message; `bytes` may be no UTF-8."""
        self._protocol.send_text(text.encode() if isinstance(text, str) else text)
        await self._flush()

    async def send_binary(self, data: bytes) -> None:
        """Send one binary message."""
        self._protocol.send_binary(data)
        await self._flush()

    async def send_fragments(self, *parts: str | bytes, binary: bool = False) -> None:
        """Send one message as a frame for each part."""
        for place, part in enumerate(parts):
            data = part.encode() if isinstance(part, str) else part
            last = place == len(parts) - 1
            if place:
                self._protocol.send_continuation(data, fin=last)
            elif binary:
                self._protocol.send_binary(data, fin=last)
            else:
                self._protocol.send_text(data, fin=last)
            await self._flush()

    async def ping(self, data: bytes = b"") -> None:
        """Send a ping."""
        self._protocol.send_ping(data)
        await self._flush()

    # Ends and faults.

    async def close(self, code: int | None = 1000, reason: str = "") -> None:
        """Close with a close frame, wait for the client's, then end TCP."""
        await self.send_close(code, reason)
        await self.until_gone()

    async def send_close(self, code: int | None = 1000, reason: str = "") -> None:
        """Send a close frame and do nothing more."""
        self._protocol.send_close(code, reason)
        await self._flush()

    async def until_gone(self) -> int | None:
        """Read and drop messages until the client is gone; return its close code."""
        try:
            while True:
                await self.receive()
        except PeerGone as gone:
            return gone.code

    async def raw(self, data: bytes) -> None:
        """Write bytes below the protocol: garbage, half a frame, a hand-made answer."""
        try:
            if not self.one_byte_at_a_time:
                self._writer.write(data)
            else:
                for place in range(len(data)):
                    self._writer.write(data[place : place + 1])
                    await asyncio.sleep(0)
            await self._writer.drain()
        except ConnectionError:
            raise PeerGone(None) from None

    async def frame(
        self, opcode: int, data: bytes = b"", *, fin: bool = True, rsv: int = 0, length: int | None = None
    ) -> None:
        """Write one frame by hand, which may be illegal; `length` is claimed in place of the real one."""
        claimed = len(data) if length is None else length
        head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
        if claimed < 126:
            head += bytes([claimed])
        elif claimed < 65536:
            head += struct.pack("!BH", 126, claimed)
        else:
            head += struct.pack("!BQ", 127, claimed)
        await self.raw(head + data)

    def drop(self) -> None:
        """End TCP by a reset (RST)."""
        sock = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    def half_close(self) -> None:
        """Send FIN and keep reading. Not with TLS."""
        self._writer.write_eof()

    def end(self) -> None:
        """End TCP without a close frame, politely (FIN)."""
        self._writer.close()

    async def stall(self) -> None:
        """Neither read nor write any more, and keep the connection: a half-open one, as the client sees it."""
        self._writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.get_running_loop().create_future()

    # Inside.

    async def _next_event(self) -> Any:
        while not self._pending:
            if self._protocol.state is State.CLOSED:
                raise PeerGone(None)
            try:
                data = await self._reader.read(_READ)
            except (ConnectionError, ssl_module.SSLError):
                data = b""
            if data:
                self._protocol.receive_data(data)
            else:
                self._protocol.receive_eof()
            self._pending += self._protocol.events_received()
            await self._flush()
            if not data and not self._pending:
                self._writer.close()
                raise PeerGone(None)
        return self._pending.pop(0)

    async def _flush(self) -> None:
        for chunk in self._protocol.data_to_send():
            if chunk:
                await self.raw(chunk)


Script = Callable[[Peer], Awaitable[None]]


async def _accept_and_read(peer: Peer) -> None:
    await peer.accept()
    await peer.until_gone()


class FaultServer:
    """A server on 127.0.0.1 that runs `script` for each connection.

    `rcvbuf` makes the kernel's receive buffer tiny, so that a script that stalls is felt by the client at once.
    `subprotocols` are those it accepts; `deflate` lets it agree to compression.
    """

    def __init__(
        self,
        script: Script = _accept_and_read,
        *,
        ssl: ssl_module.SSLContext | None = None,
        rcvbuf: int | None = None,
        subprotocols: Iterable[str] = (),
        deflate: bool = False,
    ) -> None:
        self.script = script
        self.subprotocols = tuple(subprotocols)
        self.deflate = deflate
        self.peers: list[Peer] = []
        """Every connection so far, in order."""
        self.port = 0
        self._ssl = ssl
        self._rcvbuf = rcvbuf
        self._server: asyncio.Server | None = None
        self._tasks: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._failures: list[BaseException] = []

    @property
    def url(self) -> str:
        """`ws://127.0.0.1:port/`, or `wss://localhost:port/` with TLS."""
        return f"wss://localhost:{self.port}/" if self._ssl else f"ws://127.0.0.1:{self.port}/"

    async def __aenter__(self) -> FaultServer:
        # asyncio turns Nagle's algorithm off where it sees the protocol named, and accepted sockets take it over.
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if self._rcvbuf is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._rcvbuf)
        sock.bind(("127.0.0.1", 0))
        self.port = sock.getsockname()[1]
        self._server = await asyncio.start_server(self._serve, sock=sock, ssl=self._ssl)
        return self

    async def __aexit__(self, exc_type: type[BaseException] | None, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task, writer in self._tasks.items():
            task.cancel()
            writer.transport.abort()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()
        await asyncio.sleep(0)
        if exc_type is None and self._failures:
            raise self._failures[0]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks[task] = writer
        peer = Peer(reader, writer, self)
        self.peers.append(peer)
        try:
            await self.script(peer)
            await (
                writer.wait_closed()
            ) if writer.is_closing() else await asyncio.get_running_loop().create_future()
        except (asyncio.CancelledError, PeerGone, ConnectionError, ssl_module.SSLError):
            pass  # the client's choice, or the server's end
        except Exception as failure:
            self._failures.append(failure)
            writer.transport.abort()
        finally:
            if writer.is_closing():
                del self._tasks[task]


@contextmanager
def refusing_port() -> Iterator[int]:
    """A port of 127.0.0.1 where nothing listens, and nothing else can begin to, for as long as the block runs."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]
