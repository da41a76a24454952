"""`POST /v1/realtime/calls`, the hang-up, and joining a call. The calls themselves are in `calls`, which loads aiortc: at the first call."""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
from email.parser import BytesParser
from email.policy import HTTP
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from vivavoce_openai_realtime.protocol import Fault
from vivavoce_openai_realtime.protocol.faults import close_for
from vivavoce_openai_realtime.protocol.session_rules import default_session, updated_session

from vivavoce_gateway.access import Offer, bearer, origin_allowed
from vivavoce_gateway.http import error_response, read_body

if TYPE_CHECKING:
    from vivavoce_gateway.app import Gateway
    from vivavoce_gateway.calls import Call
    from vivavoce_gateway.session import Channel, Opening

__all__ = ["CallRoutes"]

logger = logging.getLogger("vivavoce.gateway")

_SIDEBANDS = 4
"""Sidebands that may be in one call."""
_CLOSES = {"call_id_not_found": 4000, "session_limit_exceeded": 1013}


class CallRoutes:
    """The endpoints of calls, and the calls that are going on, by id."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._calls: dict[str, Call] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        """How many calls there are, those that are still being set up included."""
        return len(self._tasks)

    def routes(self) -> list[Route]:
        """Where they are."""
        found = []
        for path in ("/v1/realtime/calls", "/openai/v1/realtime/calls"):
            found.append(Route(path, self.create, methods=["POST"]))
            found.append(Route(path + "/{call_id}/hangup", self.hang_up, methods=["POST"]))
            found.append(Route(path + "/{call_id}", self.hang_up, methods=["DELETE"]))
        return found

    async def ended(self, seconds: float) -> None:
        """End what is left of the calls: hang up, and wait so long at most. Their sessions have ended before."""
        for call in self._calls.values():
            call.hang_up()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)

    async def create(self, request: Request) -> Response:
        """An offer, alone (`application/sdp`) or with a session (multipart): 201 with the answer and its `Location`."""
        gateway = self._gateway
        if not origin_allowed(request.headers, gateway.config.origins, keyless=gateway.access.open):
            gateway.metrics.refused.labels("origin").inc()
            return error_response(403, Fault("origin_not_allowed", "This origin is not allowed."))
        offer = Offer(None, bearer(request.headers), False)
        owner = gateway.access.owner(offer.key)
        try:
            sdp, session = _parts(request.headers.get("content-type", ""), await read_body(request))
            opening = gateway.opening(request.query_params, offer, owner, session)
            _check(opening)
        except Fault as fault:
            gateway.metrics.refused.labels(fault.code).inc()
            return error_response(401 if fault.code == "invalid_api_key" else 400, fault)
        assert owner is not None
        if (full := gateway.full(owner)) is not None:
            gateway.metrics.refused.labels(full.code).inc()
            return error_response(503, full)
        return await self._begin(request.url.path, sdp, opening, owner)

    async def _begin(self, path: str, sdp: str, opening: Opening, owner: str) -> Response:
        gateway = self._gateway
        gateway.places.take(owner)
        call: Call | None = None
        try:
            call = await self._load(owner)
            answer = await call.answer(sdp)
        except BaseException as failed:
            gateway.places.give(owner)
            if call is not None:
                await call.end()
            if isinstance(failed, Fault):
                gateway.metrics.refused.labels(failed.code).inc()
                return error_response(501 if failed.type == "server_error" else 400, failed)
            raise
        self._calls[call.id] = call
        gateway.metrics.calls.inc()
        task = asyncio.get_running_loop().create_task(self._hold(call, opening))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        headers = {"Location": f"{path}/{call.id}"}
        return Response(answer, 201, headers, media_type="application/sdp")

    async def _load(self, owner: str) -> Call:
        try:
            # Half a second of imports: not in the loop.
            calls = await asyncio.to_thread(importlib.import_module, "vivavoce_gateway.calls")
        except ImportError as missing:
            logger.error("a call was refused: %s is not installed", missing.name)
            text = 'WebRTC is not set up here: pip install "vivavoce-gateway[webrtc]".'
            raise Fault("webrtc_unavailable", text, type="server_error") from missing
        call: Call = calls.Call(self._gateway.config, owner)
        return call

    async def _hold(self, call: Call, opening: Opening) -> None:
        gateway = self._gateway
        try:
            if await call.opened():
                await gateway.hold(call, opening, call.attach)
            else:
                gateway.metrics.refused.labels("call_not_opened").inc()
                logger.info("a call did not come about", extra={"model": opening.model})
        finally:
            del self._calls[call.id]
            gateway.places.give(call.owner)
            gateway.metrics.calls.dec()
            await call.end()

    async def join(self, channel: Channel, call_id: str, offer: Offer) -> None:
        """Hold a sideband of a call, to its end: a WebSocket with the call's own key, which is no ephemeral one."""
        gateway = self._gateway
        try:
            call = self._joined(call_id, offer)
        except Fault as fault:
            code, reason = close_for(fault.code, fault.message)
            await gateway.refuse(channel, fault, _CLOSES.get(fault.code, code), reason)
            return
        logger.info("a sideband joined a call", extra={"call": call_id})
        gateway.metrics.sidebands.inc()
        try:
            await call.join(channel)
        finally:
            gateway.metrics.sidebands.dec()

    def _joined(self, call_id: str, offer: Offer) -> Call:
        access = self._gateway.access
        owner = access.owner(offer.key)
        if owner is None or (offer.key is not None and access.secret(offer.key) is not None):
            text = "A call is joined with the key that it was made with, or that its ephemeral key was made with."
            raise Fault("invalid_api_key", text)
        call = self._calls.get(call_id)
        if call is None or call.owner != owner:
            raise Fault("call_id_not_found", "There is no such call.", "call_id")
        if call.sidebands >= _SIDEBANDS:
            text = f"A call has {_SIDEBANDS} sidebands at most."
            raise Fault("session_limit_exceeded", text, type="server_error")
        return call

    async def hang_up(self, request: Request) -> Response:
        """End a call of the same key."""
        owner = self._gateway.access.owner(bearer(request.headers))
        if owner is None:
            return error_response(401, Fault("invalid_api_key", "Incorrect API key provided."))
        call = self._calls.get(request.path_params["call_id"])
        if call is None or call.owner != owner:
            return error_response(404, Fault("call_id_not_found", "There is no such call."))
        call.hang_up()
        return Response(status_code=200)


def _parts(content_type: str, body: bytes) -> tuple[str, dict[str, Any]]:
    """The offer's SDP and the session beside it."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "application/sdp":
        return body.decode("utf-8", "replace"), {}
    if kind != "multipart/form-data":
        raise Fault("invalid_value", "Send the offer as application/sdp, or as multipart/form-data.")
    form = BytesParser(policy=HTTP).parsebytes(
        b"Content-Type: " + content_type.encode("latin-1") + b"\r\n\r\n" + body
    )
    found: dict[str, bytes] = {}
    for part in form.iter_parts() if form.is_multipart() else ():
        name = part.get_param("name", header="content-disposition")
        content = part.get_payload(decode=True)
        if isinstance(name, str) and isinstance(content, bytes):
            found[name] = content
    if "sdp" not in found:
        raise Fault("missing_required_parameter", "Missing required parameter: 'sdp'.", "sdp")
    try:
        session = json.loads(found.get("session") or b"{}")
    except (ValueError, RecursionError):
        raise Fault("invalid_json", "The session is not JSON.", "session") from None
    if not isinstance(session, dict):
        raise Fault("invalid_type", "Invalid value for 'session': expected an object.", "session")
    return found["sdp"].decode("utf-8", "replace"), session


def _check(opening: Opening) -> None:
    """Refuse settings now that would be refused once the call is up."""
    updated_session(
        default_session(opening.model, kind=opening.kind), {"type": opening.kind, **opening.preset}
    )
