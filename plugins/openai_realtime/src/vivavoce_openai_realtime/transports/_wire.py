"""One WebSocket connection: the sans-I/O protocol of `websockets` under an `asyncio.Protocol`.

A frame goes from `data_received` straight to the receiver, a message from `write` straight to the socket: no task
and no queue lies in between. Time is kept by timers of the loop, at most three of them:

- *keepalive*: a ping every `ping_interval`; nothing at all heard within `ping_timeout` of it, and the connection is
  lost. Any byte counts: a pong may be stuck behind a long message.
- *write*: from the moment the high-water mark is passed; no byte taken by the peer within `write_deadline`, and the
  connection is lost. Meanwhile no ping is sent, as it would wait behind the same bytes.
- *linger*: once closing has begun, the peer has a moment to do its part; then the socket is aborted.

The connection has ended (`_end` is set) before it is gone (`_gone` is done): only the second frees the socket.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Generator
from typing import Any, cast

import attrs
from vivavoce.errors import ConfigError, ConnectionLostError, NotConnectedError
from websockets.client import ClientProtocol
from websockets.exceptions import ProtocolError
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import State

from vivavoce_openai_realtime.transports._dial import limit_unsent
from vivavoce_openai_realtime.transports._frames import Frames, text_frame
from vivavoce_openai_realtime.transports.base import Receiver
from vivavoce_openai_realtime.transports.errors import (
    connection_closed,
    connection_dropped,
    connection_failed,
)

__all__ = ["Timing", "Wire"]

logger = logging.getLogger("vivavoce.websocket")

# One second of base64 audio at 24 kHz: enough to keep a socket busy, little enough to stay fresh.
_HIGH_WATER = 64 * 1024
_LINGER = 2.0
_LONGEST_REASON = 123  # RFC 6455, 5.5: a control frame holds 125 bytes, two of them the code
_TEXT = Opcode.TEXT
_OPEN = State.OPEN


@attrs.define(frozen=True)
class Timing:
    """Deadlines, in seconds. `ping_interval=None`: no keepalive.

    The next ping waits until the one before was judged: a `ping_timeout` above `ping_interval` sets the pace.
    """

    ping_interval: float | None = 20.0
    ping_timeout: float = 20.0
    write_deadline: float = 20.0


class _Room:
    """What `write` returns above the high-water mark. It costs nothing until it is awaited."""

    __slots__ = ("_wire",)

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def __await__(self) -> Generator[Any, None, None]:
        return self._wire._room_again().__await__()


def _ignore(data: bytes | bytearray) -> None:
    """The end of the road for what comes after the end."""


class Wire(asyncio.Protocol):
    """A `Transport`; `opened` is done when the upgrade was accepted, or holds why it was not."""

    _transport: asyncio.Transport

    def __init__(
        self,
        protocol: ClientProtocol,
        request: Request,
        receiver: Receiver,
        timing: Timing,
        max_size: int | None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._protocol = protocol
        self._request = request
        self._receiver = receiver
        self._receive_text: Callable[[bytes | bytearray], None] = receiver.receive_text
        self._receive_binary: Callable[[bytes | bytearray], None] = receiver.receive_binary
        self._timing = timing
        self._connected = False
        self.opened: asyncio.Future[None] = self._loop.create_future()
        self._upgrading = True
        self._frames = Frames(max_size)
        self._end: ConnectionLostError | NotConnectedError | None = None
        self._gone: asyncio.Future[None] = self._loop.create_future()
        self._heard = False
        self._keepalive_timer: asyncio.TimerHandle | None = None
        self._linger_timer: asyncio.TimerHandle | None = None
        # Writing.
        self._paused = False
        self._unsent = 0
        self._write_timer: asyncio.TimerHandle | None = None
        self._waiting: set[asyncio.Future[None]] = set()
        # A message in fragments, and whether it is text.
        self._parts: bytearray | None = None
        self._parts_are_text = False
        self._answer: Response | None = None

    # The transport seam.

    @property
    def subprotocol(self) -> str | None:
        return self._protocol.subprotocol

    @property
    def response_headers(self) -> dict[str, str]:
        headers: dict[str, str] = {}
        for name, value in self._answer.headers.raw_items() if self._answer is not None else ():
            known = headers.get(name.lower())
            headers[name.lower()] = value if known is None else f"{known}, {value}"
        return headers

    def write(self, data: bytes) -> Awaitable[None] | None:
        protocol, transport = self._protocol, self._transport
        if protocol.state is not _OPEN:
            raise self._ended()
        if protocol.extensions:
            protocol.send_text(data)
            transport.write(b"".join(protocol.data_to_send()))
        else:
            transport.write(text_frame(data))
        if self._paused or transport.is_closing():
            return _Room(self)
        return None

    async def close(self, code: int = 1000, reason: str = "", *, timeout: float = 2.0) -> None:
        try:
            self._begin_close(code, reason)
            async with asyncio.timeout(timeout):
                await asyncio.shield(self._gone)
        except TimeoutError:
            pass
        finally:
            self.abort()
        await asyncio.shield(self._gone)

    def abort(self) -> None:
        """Free the socket at the next turn of the loop. Idempotent; nothing is called on the receiver any more."""
        self._finish(NotConnectedError("The connection was closed. Connect again.", code="closed"))
        if not self.opened.cancel() and not self.opened.cancelled():
            self.opened.exception()  # nobody else will ask for it
        if self._connected:
            self._transport.abort()
        elif not self._gone.done():
            self._gone.set_result(None)

    # asyncio.Protocol.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._connected = True
        self._transport.set_write_buffer_limits(high=_HIGH_WATER)
        limit_unsent(transport)
        self._protocol.send_request(self._request)
        self._flush()

    def data_received(self, data: bytes) -> None:
        self._heard = True
        if self._upgrading:
            head, data = self._frames.head(data)
            self._parse(head)
        if self._upgrading:  # not accepted, or not yet
            self._parse(data)
            data = b""
        for is_text, piece in self._frames.cut(data):
            if is_text:
                try:
                    self._receive_text(piece)
                except Exception:
                    logger.exception("A receiver raised; the message is lost, the connection goes on.")
            else:
                self._parse(piece)

    def _parse(self, data: bytes) -> None:
        protocol = self._protocol
        protocol.receive_data(data)
        events: list[Any] = protocol.events_received()
        for frame in self._upgrade(events) if self._upgrading else events:
            self._take(frame)
        self._flush()
        if protocol.state is not _OPEN and not self._upgrading:
            self._wind_up()

    def eof_received(self) -> None:
        self._protocol.receive_eof()
        if self._upgrading:
            self._upgrade(self._protocol.events_received())
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self._protocol.receive_eof()
        self._protocol.data_to_send()
        if not self.opened.done():
            self._refuse(exc)
        self._lose(connection_dropped(exc))
        if self._linger_timer is not None:
            self._linger_timer.cancel()
        if not self._gone.done():
            self._gone.set_result(None)

    def pause_writing(self) -> None:
        self._paused = True
        if self._end is None:
            self._unsent = self._transport.get_write_buffer_size()
            self._write_timer = self._loop.call_later(self._timing.write_deadline, self._check_writing)

    def resume_writing(self) -> None:
        self._paused = False
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None
        self._wake_writers()

    # Opening.

    def _upgrade(self, events: list[Any]) -> list[Frame]:
        """Take the answer to the upgrade out of `events`; return the frames after it."""
        if self._protocol.handshake_exc is not None:
            self._refuse(None)
            return []
        if not events:
            return []
        self._answer = cast(Response, events[0])
        self._upgrading = False
        if not self.opened.done():
            self.opened.set_result(None)
        if self._timing.ping_interval is not None:
            self._keepalive_timer = self._loop.call_later(self._timing.ping_interval, self._ping)
        return cast(list[Frame], events[1:])

    def _refuse(self, exc: Exception | None) -> None:
        if self.opened.done():
            return
        why = self._protocol.handshake_exc or exc or ConnectionResetError("the peer closed the connection")
        self._finish(NotConnectedError("The connection was refused."))
        self.opened.set_exception(why)

    # Reading.

    def _take(self, frame: Frame) -> None:
        """Take what the protocol object has parsed. It has answered pings and close frames."""
        opcode = frame.opcode
        if opcode is Opcode.CLOSE:
            received = self._protocol.close_rcvd
            if received is not None:
                self._lose(connection_closed(received.code, received.reason))
        elif opcode in (_TEXT, Opcode.BINARY) and frame.fin:
            self._give(bytes(frame.data), is_text=opcode is _TEXT)
        elif opcode in (_TEXT, Opcode.BINARY):
            self._parts = bytearray(frame.data)
            self._parts_are_text = opcode is _TEXT
        elif opcode is Opcode.CONT and self._parts is not None:
            # One buffer: a list would grow without bound over empty fragments, which max_size does not count.
            self._parts += frame.data
            if frame.fin:
                whole, self._parts = self._parts, None
                self._give(whole, is_text=self._parts_are_text)

    def _give(self, data: bytes | bytearray, *, is_text: bool) -> None:
        try:
            (self._receive_text if is_text else self._receive_binary)(data)
        except Exception:
            logger.exception("A receiver raised; the message is lost, the connection goes on.")

    def _flush(self) -> None:
        transport = self._transport
        for chunk in self._protocol.data_to_send():
            if chunk:
                transport.write(chunk)
            else:
                transport.close()

    # Keepalive.

    def _ping(self) -> None:
        self._heard = False
        if not self._paused:
            self._protocol.send_ping(b"")
            self._flush()
        self._keepalive_timer = self._loop.call_later(self._timing.ping_timeout, self._check_heard)

    def _check_heard(self) -> None:
        if self._heard or self._paused:
            pause = max((self._timing.ping_interval or 0) - self._timing.ping_timeout, 0)
            self._keepalive_timer = self._loop.call_later(pause, self._ping)
            return
        self._lose(
            ConnectionLostError(
                f"The peer was silent for {self._timing.ping_timeout:g} s after a ping. Check the network, then connect again.",
                code="keepalive",
                close_code=CloseCode.ABNORMAL_CLOSURE,
            )
        )
        self._transport.abort()

    # Writing.

    def _check_writing(self) -> None:
        unsent = self._transport.get_write_buffer_size()
        if unsent < self._unsent:  # slow, but reading
            self._unsent = unsent
            self._write_timer = self._loop.call_later(self._timing.write_deadline, self._check_writing)
            return
        self._lose(
            ConnectionLostError(
                f"The peer read nothing for {self._timing.write_deadline:g} s. Connect again.",
                code="write_deadline",
                close_code=CloseCode.ABNORMAL_CLOSURE,
            )
        )
        self._transport.abort()

    async def _room_again(self) -> None:
        while self._end is None and (self._paused or self._transport.is_closing()):
            waiter = self._loop.create_future()
            self._waiting.add(waiter)
            try:
                await waiter
            finally:
                self._waiting.discard(waiter)
        if self._end is not None:
            raise self._ended()

    def _wake_writers(self) -> None:
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)

    # Ending.

    def _begin_close(self, code: int, reason: str) -> None:
        if self._end is not None or self._upgrading:
            return
        if code != CloseCode.NORMAL_CLOSURE and not 3000 <= code <= 4999:
            raise ConfigError(
                f"code is {code}; a client closes with 1000 or a code from 3000 to 4999.", option="code"
            )
        reason = reason.encode()[:_LONGEST_REASON].decode("utf-8", "ignore")
        self._finish(NotConnectedError("The connection was closed. Connect again.", code="closed"))
        self._protocol.send_close(code, reason)
        self._flush()

    def _wind_up(self) -> None:
        """The protocol object stopped: the peer closed, or broke the protocol (and was told so)."""
        sent = self._protocol.close_sent
        if self._end is None and sent is not None:
            self._lose(connection_failed(self._protocol.parser_exc or ProtocolError("no reason"), sent.code))
        if self._linger_timer is None:
            self._linger_timer = self._loop.call_later(_LINGER, self._transport.abort)

    def _lose(self, cause: ConnectionLostError) -> None:
        if self._end is not None:
            return
        self._finish(cause)
        try:
            self._receiver.connection_lost(cause)
        except Exception:
            logger.exception("A receiver raised when told that the connection was lost.")

    def _finish(self, end: ConnectionLostError | NotConnectedError) -> None:
        """Stop everything but the socket. The first end counts."""
        if self._end is not None:
            return
        self._end = end
        self._receive_text = self._receive_binary = _ignore
        self._parts = None
        for timer in (self._keepalive_timer, self._write_timer):
            if timer is not None:
                timer.cancel()
        self._wake_writers()

    def _ended(self) -> ConnectionLostError | NotConnectedError:
        """A fresh error each time: one that is raised twice collects tracebacks."""
        end = self._end
        if isinstance(end, ConnectionLostError):
            return ConnectionLostError(
                end.message, code=end.code, retryable=end.retryable, close_code=end.close_code
            )
        return NotConnectedError("The connection was closed. Connect again.", code="closed")
