"""The ASGI application: the WebSocket, the HTTP endpoints beside it, and the page."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Callable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState
from vivavoce import VoiceError
from vivavoce_openai_realtime.protocol import Fault, ServerProtocol
from vivavoce_openai_realtime.protocol.faults import close_for
from vivavoce_openai_realtime.protocol.session_rules import default_session, updated_session
from vivavoce_openai_realtime.protocol.shaping import deep_merge

from vivavoce_gateway.access import Access, Offer, bearer, origin_allowed
from vivavoce_gateway.callroutes import CallRoutes
from vivavoce_gateway.config import GatewayConfig
from vivavoce_gateway.http import error_response, read_body
from vivavoce_gateway.limits import Places
from vivavoce_gateway.metrics import Metrics
from vivavoce_gateway.session import Channel, ClientSession, Opening

__all__ = ["Gateway", "create_app"]

logger = logging.getLogger("vivavoce.gateway")

_LAST_SECONDS = 5.0
_MAPPED = 256


class _SocketChannel:
    """A Starlette WebSocket as a session's channel."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket

    async def receive(self) -> str | bytes | None:
        try:
            message = await self._socket.receive()
        except (WebSocketDisconnect, RuntimeError):
            return None
        if message["type"] == "websocket.disconnect":
            return None
        text = message.get("text")
        return text if text is not None else message.get("bytes") or b""

    async def send(self, frame: bytes) -> None:
        try:
            await self._socket.send_text(frame.decode())
        except (WebSocketDisconnect, RuntimeError):
            return  # gone; the reader is told

    async def close(self, code: int, reason: str) -> None:
        if self._socket.application_state is WebSocketState.CONNECTED:
            try:
                await self._socket.close(code, reason)
            except (WebSocketDisconnect, RuntimeError):
                return


class _Page(StaticFiles):
    """The page's files. They need nothing from elsewhere, and say so to the browser."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["Content-Security-Policy"] = (
            "default-src 'self'; connect-src 'self' ws: wss:; img-src 'self' data:; frame-ancestors 'none'"
        )
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Cache-Control"] = "no-cache"
        return response


class Gateway:
    """What the endpoints share. `drain()` lets nobody in any more; `sessions` are those that are open."""

    def __init__(self, config: GatewayConfig) -> None:
        self.config = config
        self.access = Access(config.keys, most=config.limits.secrets)
        self.places = Places(config.limits)
        self.metrics = Metrics()
        self.sessions: set[ClientSession] = set()
        self.draining = False
        self._mapped: set[str] = set()
        self.calls = CallRoutes(self)
        self._empty = asyncio.Event()
        self._empty.set()

    def drain(self) -> None:
        """No new sessions; the running ones go on."""
        self.draining = True

    async def drained(self, seconds: float) -> None:
        """Wait until the running sessions have ended; after `seconds`, end them."""
        self.drain()
        await self._until_empty(seconds)
        for session in tuple(self.sessions):
            session.drain()
        await self._until_empty(_LAST_SECONDS)
        await self.calls.ended(_LAST_SECONDS)

    async def _until_empty(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._empty.wait()

    # WebSocket.

    async def realtime(self, socket: WebSocket) -> None:
        """`GET /v1/realtime`."""
        if not origin_allowed(socket.headers, self.config.origins, keyless=self.access.open):
            self.metrics.refused.labels("origin").inc()
            logger.info("a connection was refused", extra={"code": "origin_not_allowed"})
            await socket.close(1008, "origin not allowed")  # before accept: HTTP 403
            return
        offer = Offer.of(socket.headers, socket.scope.get("subprotocols", ()))
        await socket.accept(offer.subprotocol)
        call_id = socket.query_params.get("call_id")
        if call_id is not None:
            await self.calls.join(_SocketChannel(socket), call_id, offer)
            return
        owner = self.access.owner(offer.key)
        try:
            opening = self.opening(socket.query_params, offer, owner)
        except Fault as fault:
            await self.refuse(_SocketChannel(socket), fault, *close_for(fault.code, fault.message))
            return
        assert owner is not None
        full = self.full(owner)
        if full is not None:
            await self.refuse(_SocketChannel(socket), full, 1013, full.message)
            return
        self.places.take(owner)
        try:
            await self.hold(_SocketChannel(socket), opening)
        finally:
            self.places.give(owner)

    def full(self, owner: str) -> Fault | None:
        """Why no session can be held for this key now, or `None`."""
        if self.draining:
            return Fault("server_shutting_down", "The gateway is shutting down.", type="server_error")
        reason = self.places.refusal(owner)
        return None if reason is None else Fault("session_limit_exceeded", reason, type="server_error")

    def opening(
        self,
        query: Mapping[str, str],
        offer: Offer,
        owner: str | None,
        session: Mapping[str, Any] | None = None,
    ) -> Opening:
        """What a client asks for, by its query, its key and the `session` it sent. Raises `Fault`."""
        if owner is None:
            text = (
                "Incorrect API key provided." if offer.key else "Missing API key: send it as a Bearer token."
            )
            raise Fault("invalid_api_key", text)
        secret = self.access.secret(offer.key) if offer.key else None
        preset = deep_merge(dict(secret.session) if secret is not None else {}, session or {})
        # With a model it is a conversation, as at the service.
        transcribes = query.get("intent") == "transcription" and not query.get("model")
        kind = preset.get("type", "transcription" if transcribes else "realtime")
        model = query.get("model") or query.get("deployment") or preset.pop("model", None)
        if not model:
            if kind != "transcription":
                raise Fault("missing_model", "You must provide a model parameter.", "model")
            model = self.config.default.name
        route = self.config.route(model)
        if route is None:
            known = ", ".join(self.config.names)
            raise Fault(
                "invalid_model", f"Model '{model[:64]}' is not served here; there are {known}.", "model"
            )
        if model not in {*self.config.names, *self._mapped} and len(self._mapped) < _MAPPED:
            self._mapped.add(model)  # only names of OpenAI's, or any where the config says so
            logger.info(
                "a model of OpenAI's is answered by the default provider",
                extra={"model": model, "provider": route.name},
            )
        preset.pop("model", None)
        return Opening(model=model, route=route, kind=kind, beta=True if offer.beta else None, preset=preset)

    async def refuse(self, channel: Channel, fault: Fault, code: int, reason: str) -> None:
        """Tell a client that has connected why it cannot stay, and close."""
        self.metrics.refused.labels(fault.code).inc()
        logger.info("a connection was refused", extra={"code": fault.code})
        protocol = ServerProtocol(model="")
        protocol.error(fault)
        for frame in protocol.data_to_send():
            await channel.send(frame)
        await channel.close(code, reason[:120])

    async def hold(
        self, channel: Channel, opening: Opening, made: Callable[[ClientSession], None] | None = None
    ) -> None:
        """Hold a session to its end. `made` is given the session before it begins."""
        provider = opening.route.name
        try:
            session = ClientSession(self.config, opening, channel, self.metrics)
        except VoiceError as wrong:
            logger.error("the provider cannot be used", extra={"provider": provider}, exc_info=wrong)
            fault = Fault(
                "provider_unusable", "The provider behind this model is not set up.", type="server_error"
            )
            await self.refuse(channel, fault, 1011, fault.message)
            return
        if made is not None:
            made(session)
        extra = {"session": session.id, "provider": provider, "model": opening.model}
        self.sessions.add(session)
        self._empty.clear()
        self.metrics.open.labels(provider).inc()
        logger.info("session opened", extra=extra)
        how = "error"
        try:
            how = await session.run()
        finally:
            self.sessions.discard(session)
            if not self.sessions:
                self._empty.set()
            self.metrics.open.labels(provider).dec()
            self.metrics.sessions.labels(provider, how).inc()
            logger.info("session ended", extra={**extra, "end": how})

    # HTTP.

    async def client_secrets(self, request: Request) -> Response:
        """`POST /v1/realtime/client_secrets`: an ephemeral key with a session's settings. Beta's `POST /v1/realtime/sessions`
        is not served."""
        owner = self.access.owner(bearer(request.headers))
        if owner is None or (bearer(request.headers) or "").startswith("ek_"):
            return error_response(401, Fault("invalid_api_key", "Incorrect API key provided."))
        try:
            body = await _read_json(request)
            seconds = _lifetime(body.get("expires_after"))
            session = body.get("session") or {}
            if not isinstance(session, dict):
                raise Fault("invalid_type", "Invalid value for 'session': expected an object.", "session")
            kind = session.get("type", "realtime")
            model = str(session.get("model") or self.config.default.name)
            if self.config.route(model) is None:
                raise Fault("invalid_model", f"Model '{model[:64]}' is not served here.", "session.model")
            shown = updated_session(default_session(model, kind=kind), {"type": kind, **session})
        except Fault as fault:
            return error_response(400, fault)
        value, secret = self.access.issue(seconds, {"type": kind, **session}, owner)
        expires = int(secret.expires_at)
        session_id = ServerProtocol(model=model).session["id"]
        return JSONResponse(
            {"value": value, "expires_at": expires, "session": {**shown, "id": session_id, "expires_at": 0}}
        )

    async def models(self, request: Request) -> Response:
        """`GET /v1/models`."""
        if self.access.owner(bearer(request.headers)) is None:
            return error_response(401, Fault("invalid_api_key", "Incorrect API key provided."))
        data = []
        for name in self.config.names:
            route = self.config.route(name)
            owner = route.name if route is not None else ""
            data.append({"id": name, "object": "model", "created": 0, "owned_by": owner})
        return JSONResponse({"object": "list", "data": data})

    async def healthz(self, request: Request) -> Response:
        """`GET /healthz`: 200 while sessions are taken, 503 while draining."""
        state = "draining" if self.draining else "ready"
        return JSONResponse({"status": state, "sessions": len(self.sessions)}, 503 if self.draining else 200)

    async def metrics_text(self, request: Request) -> Response:
        """`GET /metrics`."""
        return Response(self.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


async def _read_json(request: Request) -> dict[str, Any]:
    body = await read_body(request)
    try:
        found = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        raise Fault("invalid_json", "The body is not JSON.") from None
    if not isinstance(found, dict):
        raise Fault("invalid_json", "The body is not a JSON object.")
    return found


def _lifetime(wanted: Any) -> float:
    seconds = wanted.get("seconds", 600) if isinstance(wanted, dict) else 600 if wanted is None else None
    if isinstance(seconds, bool) or not isinstance(seconds, int) or not 10 <= seconds <= 7200:
        text = "Invalid value for 'expires_after.seconds': expected an integer from 10 to 7200."
        raise Fault("invalid_value", text, "expires_after.seconds")
    return seconds


def _shared(origins: tuple[str, ...]) -> list[Middleware]:
    """What lets pages of other origins call by `fetch`; a WebSocket needs no such leave. The key is the page's own."""
    if not origins:
        return []
    methods = ["GET", "POST", "DELETE"]
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=methods,
            allow_headers=["*"],
            expose_headers=["Location"],
        )
    ]


def create_app(config: GatewayConfig | None = None) -> Starlette:
    """The application; `app.state.gateway` is its `Gateway`. Any ASGI server with WebSockets hosts it."""
    gateway = Gateway(config or GatewayConfig())
    page = _Page(directory=Path(str(files("vivavoce_gateway") / "page")), html=True)
    app = Starlette(
        routes=[
            WebSocketRoute("/v1/realtime", gateway.realtime),
            WebSocketRoute("/openai/v1/realtime", gateway.realtime),  # where Azure has it
            Route("/v1/realtime/client_secrets", gateway.client_secrets, methods=["POST"]),
            *gateway.calls.routes(),
            Route("/v1/models", gateway.models),
            Route("/healthz", gateway.healthz),
            Route("/metrics", gateway.metrics_text),
            Mount("/", page),
        ],
        middleware=_shared(gateway.config.origins),
    )
    app.state.gateway = gateway
    return app
