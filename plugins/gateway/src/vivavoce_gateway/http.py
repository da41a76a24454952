"""What the HTTP endpoints share: a bounded body, and errors in the service's shape."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from vivavoce_openai_realtime.protocol import Fault

__all__ = ["error_response", "read_body"]

_LARGEST = 256 * 1024


async def read_body(request: Request) -> bytes:
    """The request's body. Raises `Fault` for one of more than 256 KiB."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LARGEST:
            raise Fault("invalid_value", f"The body is longer than {_LARGEST} bytes.")
    return body


def error_response(status: int, fault: Fault) -> Response:
    """An error as the service's HTTP endpoints give it."""
    detail = fault.detail(None)
    del detail["event_id"]
    return JSONResponse({"error": detail}, status)
