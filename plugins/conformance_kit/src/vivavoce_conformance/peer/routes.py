"""How a lane is carried on: WebSocket to WebSocket, or bytes to bytes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.http11 import Request, Response

from vivavoce_conformance.peer.lane import Lane
from vivavoce_conformance.peer.observer import Overspent

__all__ = ["TCPRoute", "WebSocketRoute"]

_OPEN_SECONDS = 30.0
_CLOSE_SECONDS = 3.0
_PIECE = 64 * 1024
_OURS = frozenset(
    [
        *["host", "upgrade", "connection", "content-length", "sec-websocket-key", "sec-websocket-version"],
        *["sec-websocket-extensions", "sec-websocket-protocol"],
    ]
)
"""Headers of the hop, not of the request."""


class WebSocketRoute:
    """Each connection of a provider is one to the service, with the same path's query, headers and subprotocols."""

    def __init__(self, service: str, lanes: Callable[[], Lane]) -> None:
        self._service = service
        self._lanes = lanes
        self._upstream: dict[ServerConnection, tuple[Lane, ClientConnection]] = {}
        self._watching: set[asyncio.Task[None]] = set()
        self._server: Server | None = None

    async def start(self, port: int = 0) -> int:
        """Listen; returns the port."""
        self._server = server = await serve(
            self._relay, "127.0.0.1", port, process_request=self._dial, select_subprotocol=self._chosen,
            compression=None, max_size=None, ping_interval=None, open_timeout=None, server_header=None,
            close_timeout=_CLOSE_SECONDS, logger=logging.getLogger("vivavoce.conformance.proxy"),
        )  # fmt: skip
        found: int = next(iter(server.sockets)).getsockname()[1]
        return found

    def drop(self) -> None:
        """End what is open."""
        for connection, (_, upstream) in tuple(self._upstream.items()):
            connection.transport.abort()
            upstream.transport.abort()

    async def close(self) -> None:
        """End what is open, and listen no more."""
        self.drop()
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
        for watch in self._watching:
            watch.cancel()

    async def _dial(self, connection: ServerConnection, request: Request) -> Response | None:
        lane = self._lanes()
        watch = asyncio.create_task(self._watch(connection, lane))
        self._watching.add(watch)
        watch.add_done_callback(self._watching.discard)
        offered = [
            name.strip()
            for line in request.headers.get_all("Sec-WebSocket-Protocol")
            for name in line.split(",")
        ]
        try:
            lane.opened(request.path, request.headers.raw_items(), offered)
            upstream = await self._connect(request, offered)
        except InvalidStatus as refused:
            answer = refused.response
            body = bytes(answer.body or b"")
            lane.answered(status=answer.status_code, body=body.decode(errors="replace"))
            return _response(
                answer.status_code, answer.reason_phrase, body, answer.headers.get("Content-Type")
            )
        except (OSError, WebSocketException, Overspent) as bad:
            lane.failed(str(bad) if isinstance(bad, Overspent) else f"the service cannot be reached: {bad}")
            return _response(502, "Bad Gateway", b"", None)
        if watch.done():  # the provider has left meanwhile
            await upstream.close()
            return _response(502, "Bad Gateway", b"", None)
        lane.answered(status=101, subprotocols=[upstream.subprotocol] if upstream.subprotocol else [])
        self._upstream[connection] = (lane, upstream)
        return None

    async def _connect(self, request: Request, offered: Sequence[str]) -> ClientConnection:
        headers = [(name, value) for name, value in request.headers.raw_items() if name.lower() not in _OURS]
        return await connect(
            _joined(self._service, request.path), additional_headers=headers, subprotocols=list(offered) or None,  # type: ignore[arg-type]
            user_agent_header=None, max_size=None, ping_interval=None, open_timeout=_OPEN_SECONDS,
            close_timeout=_CLOSE_SECONDS,
        )  # fmt: skip

    def _chosen(self, connection: ServerConnection, offered: Sequence[Any]) -> Any:
        return self._upstream[connection][1].subprotocol

    async def _watch(self, connection: ServerConnection, lane: Lane) -> None:
        """When the provider's socket is closed, so is the other."""
        await connection.wait_closed()
        lane.gone()
        if connection in self._upstream:
            await self._upstream.pop(connection)[1].close()

    async def _relay(self, connection: ServerConnection) -> None:
        found = self._upstream.get(connection)
        if found is None:  # it was closed as soon as it was open
            return
        lane, upstream = found
        pumps = [
            asyncio.create_task(self._pump(connection, upstream, lane.provider, lane, "provider")),
            asyncio.create_task(self._pump(upstream, connection, lane.service, lane, "service")),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)

    async def _pump(self, source: Any, sink: Any, take: Callable[[Any], None], lane: Lane, side: Any) -> None:
        try:
            async for frame in source:
                take(frame)
                await sink.send(frame)
        except ConnectionClosed:
            if source.close_code is None:  # it was the sink that is closed; its own pump tells of that
                return
        except Overspent as spent:
            lane.failed(str(spent))
            source.transport.abort()
            sink.transport.abort()
            return
        code = source.close_code
        if code in (None, 1006):
            lane.ended(side, drop=True)
            sink.transport.abort()
            return
        lane.ended(side, code=code, reason=source.close_reason or "")
        with contextlib.suppress(WebSocketException):
            await sink.close(1000 if code == 1005 else code, source.close_reason or "")


def _joined(service: str, path: str) -> str:
    """The service's own address, with what the provider added as a query."""
    parts = urlsplit(service)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    for name, value in parse_qsl(urlsplit(path).query, keep_blank_values=True):
        query.setdefault(name, value)
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
    return urlunsplit((scheme, parts.netloc, parts.path or urlsplit(path).path, urlencode(query), ""))


def _response(status: int, reason: str, body: bytes, kind: str | None) -> Response:
    headers = Headers([("Content-Length", str(len(body))), ("Connection", "close")])
    if kind is not None:
        headers["Content-Type"] = kind
    return Response(status, reason, headers, body)


class TCPRoute:
    """Each connection of a provider is one to `host:port`, or `tls://host:port`."""

    def __init__(self, service: str, lanes: Callable[[], Lane]) -> None:
        scheme, _, place = service.rpartition("://")
        self._host, _, port = place.rstrip("/").rpartition(":")
        self._port = int(port)
        self._tls = scheme in ("tls", "ssl", "tcps")
        self._lanes = lanes
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    async def start(self, port: int = 0) -> int:
        """Listen; returns the port."""
        self._server = server = await asyncio.start_server(self._serve, "127.0.0.1", port)
        found: int = server.sockets[0].getsockname()[1]
        return found

    def drop(self) -> None:
        """End what is open."""
        for writer in self._writers:
            writer.transport.abort()

    async def close(self) -> None:
        """End what is open, and listen no more."""
        self.drop()
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lane = self._lanes()
        far: asyncio.StreamWriter | None = None
        try:
            lane.opened()
            far_reader, far = await asyncio.open_connection(self._host, self._port, ssl=self._tls or None)
            lane.answered()
            self._writers |= {writer, far}
            pumps = [
                asyncio.create_task(self._pump(reader, far, lane.provider, lane, "provider")),
                asyncio.create_task(self._pump(far_reader, writer, lane.service, lane, "service")),
            ]
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
        except (OSError, Overspent) as bad:
            lane.failed(str(bad) if isinstance(bad, Overspent) else f"the service cannot be reached: {bad}")
        finally:
            lane.gone()
            for end in filter(None, (writer, far)):
                self._writers.discard(end)
                end.transport.abort()

    async def _pump(
        self,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        take: Callable[[Any], None],
        lane: Lane,
        side: Any,
    ) -> None:
        try:
            while piece := await source.read(_PIECE):
                take(piece)
                sink.write(piece)
                await sink.drain()
        except Overspent as spent:
            lane.failed(str(spent))
            return
        except ConnectionError:
            lane.ended(side, drop=True)
            return
        lane.ended(side, end=True)
        # What was written last is still to go out before the socket is closed.
        sink.close()
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await sink.wait_closed()
