"""Meeting calls: the HTTP side of a service whose dialect is carried by WebRTC."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from vivavoce_conformance.peer.calls import Call, Request, read_request
from vivavoce_conformance.peer.connection import Gone

__all__ = ["Calls", "respond"]

_REFUSED = b'{"error": {"message": "refused by the peer", "code": "refused"}}'


class Calls:
    """The calls of a service, by id. `hung_up` is told of each call that its client ends."""

    def __init__(self, hung_up: Callable[[], None]) -> None:
        self._hung_up = hung_up
        self._calls: dict[str, Call] = {}
        self._made = 0

    async def request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Request | None:
        """Read a request; one that hangs up is done, and gives `None`, as does none at all."""
        try:
            request = await read_request(reader)
        except Gone:
            writer.close()
            return None
        path = request.path.partition("?")[0]
        if not path.endswith("/hangup"):
            return request
        call = self._calls.get(path.split("/")[-2])
        if call is not None:
            self._hung_up()
            call.hang_up()
        respond(writer, "200 OK" if call is not None else "404 Not Found")
        return None

    async def meet(
        self,
        request: Request,
        writer: asyncio.StreamWriter,
        how: str,
        converse: Callable[[Call], Awaitable[None]],
    ) -> None:
        """Answer an offer, and hold the call to its end; `how` is the plan's word."""
        if how.startswith("http:"):
            respond(writer, f"{how.partition(':')[2]} No", _REFUSED, "Content-Type: application/json")
            return
        if how in ("drop", "half"):
            if how == "half":
                writer.write(b"HTTP/1.1 201 Cre")
                await writer.drain()
            writer.transport.abort()
            return
        if how == "nonsense":
            respond(writer, "201 Created", b"hello", "Location: /v1/realtime/calls/rtc_0")
            return
        self._made += 1
        call, id = Call(), f"rtc_{self._made}"
        self._calls[id] = call
        try:
            answer = await call.answer(request.offer(), how)
            respond(writer, "201 Created", answer.encode(), f"Location: /v1/realtime/calls/{id}")
            await call.opened()
            await converse(call)
        finally:
            del self._calls[id]
            await call.end()


def respond(writer: asyncio.StreamWriter, status: str, body: bytes = b"", *headers: Any) -> None:
    """A whole answer, and the end of the connection."""
    lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}", "Connection: close", "", ""]
    writer.write("\r\n".join(lines).encode() + body)
    writer.close()
