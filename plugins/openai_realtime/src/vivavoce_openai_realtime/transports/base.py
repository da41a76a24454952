"""The seam between a protocol that knows messages and a transport that knows bytes.

Neither knows the other: a protocol object is wrapped in a `Receiver`, and what it wants to say is given to
`Transport.write`. Whoever writes a provider for another service may use both with `open_websocket`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import Protocol

from vivavoce.errors import ConnectionLostError

__all__ = ["Receiver", "Transport"]


class Receiver(Protocol):
    """What a transport calls, in the event loop's thread, while it reads. Plain calls: they must not block.

    A message is whole when it is given (fragments are joined) and belongs to the receiver from then on. The first
    one may come before the call that opened the transport has returned. A receiver that raises loses that
    message: it is logged, and the connection goes on.
    """

    def receive_text(self, data: bytes | bytearray) -> None:
        """Take one text message as it came: meant to be UTF-8, but not checked, which is left to the decoder."""

    def receive_binary(self, data: bytes | bytearray) -> None:
        """Take one binary message."""

    def connection_lost(self, cause: ConnectionLostError) -> None:
        """The connection ended and `Transport.close` was not the reason. Called at most once, and last.

        `cause.close_code` is the peer's close code, 1006 when it sent none. `cause.code` is `closed_by_peer`
        (a clean close, with its reason in the text), `connection_lost`, `keepalive`, `write_deadline` or
        `protocol`. `cause.retryable` tells whether the same connect may succeed.
        """


class Transport(Protocol):
    """An open connection. Nothing is called on the `Receiver` once `close` has begun."""

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol the peer chose, if any."""

    @property
    def response_headers(self) -> Mapping[str, str]:
        """The headers the peer answered with: names in lower case; of a repeated one, the values joined by commas."""

    def write(self, data: bytes) -> Awaitable[None] | None:
        """Send one text message of UTF-8 bytes.

        `None`: it is on its way. Otherwise it was taken too, but as much as is good is now waiting to be read by
        the peer: await the result before the next write. It ends when the peer has read, and raises
        `ConnectionLostError` when the peer reads nothing for the whole write deadline, or is gone. It may be
        cancelled, or left alone, without harm.

        Raises `ConnectionLostError` after a loss and `NotConnectedError` (code `closed`) after `close`.
        """

    async def close(self, code: int = 1000, reason: str = "", *, timeout: float = 2.0) -> None:
        """Close, politely for `timeout` seconds, then by force; the socket is free when this returns or raises.

        Idempotent, also after a loss and concurrently. When cancelled it closes by force at once. `code` is
        1000 or one from 3000 to 4999, `reason` at most 123 bytes of UTF-8 (what is over is cut).
        """
