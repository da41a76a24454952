"""Why a service refuses what an application sent: codes, texts, and when the refusal is the end of the session.

Codes and close codes as observed at OpenAI; the texts are ours.
"""

from __future__ import annotations

import re

from .client_events import CLIENT_EVENTS
from .values import JSON

__all__ = ["CLOSE_CODES", "Fault", "close_for", "fault_of_frame", "invalid", "missing", "unknown_parameter"]

CLOSE_CODES = {
    "invalid_api_key": 3000,
    "missing_model": 4000,
    "invalid_model": 4000,
    "beta_api_shape_disabled": 4000,
    "session_expired": 1001,
}
"""WebSocket close codes after an `error` that ends the session; any other is 1011."""


class Fault(Exception):
    """A refusal. `param` is the path of the field at fault, such as `session.audio.output.speed`."""

    def __init__(
        self, code: str, message: str, param: str | None = None, *, type: str = "invalid_request_error"
    ) -> None:
        super().__init__(message)
        self.type = type
        self.code = code
        self.message = message
        self.param = param

    def detail(self, event_id: str | None) -> JSON:
        return {
            "type": self.type,
            "code": self.code,
            "message": self.message,
            "param": self.param,
            "event_id": event_id,
        }


def unknown_parameter(path: str) -> Fault:
    """A field that this object does not have."""
    return Fault("unknown_parameter", f"Unknown parameter: '{path}'.", path)


def missing(path: str) -> Fault:
    """A field that has to be there."""
    return Fault("missing_required_parameter", f"Missing required parameter: '{path}'.", path)


def invalid(path: str, expected: str) -> Fault:
    """A field that holds something else than `expected`."""
    return Fault("invalid_value", f"Invalid value for '{path}': expected {expected}.", path)


_MISSING = re.compile(r"missing required field `(\w+)`(?: - at `\$\.?(.*?)`)?")
_AT = re.compile(r"(.*) - at `\$\.?(.*?)`")


def fault_of_frame(raw: object, reason: str) -> Fault:
    """What is wrong with a frame that was no event: `raw` is its JSON, `reason` the decoder's words."""
    if not isinstance(raw, dict):
        return Fault("invalid_json", "The message is not a JSON object.")
    name = raw.get("type")
    if "type" not in raw:
        return missing("type")
    if not isinstance(name, str) or name not in CLIENT_EVENTS:
        return Fault(
            "invalid_value",
            f"Invalid value: '{str(name)[:64]}'. Supported values are: {_supported()}.",
            "type",
        )
    if found := _MISSING.search(reason):
        path = ".".join(filter(None, (found.group(2), found.group(1))))
        return missing(path)
    if found := _AT.search(reason):
        why, path = found.groups()
        code = "invalid_value" if "base64" in why else "invalid_type"
        return Fault(code, f"Invalid value for '{path}': {why}.", path)
    if "audio" in raw:
        return invalid("audio", "base64")
    return Fault("invalid_event", "The event could not be read.")


def _supported() -> str:
    return ", ".join(f"'{name}'" for name in CLIENT_EVENTS)


def close_for(code: str, message: str) -> tuple[int, str]:
    """The close code and reason (at most 123 bytes) after an error that ends the session."""
    reason = message if code == "session_expired" else f"invalid_request_error.{code}"
    return CLOSE_CODES.get(code, 1011), reason.encode()[:123].decode("utf-8", "ignore")
