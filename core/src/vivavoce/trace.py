"""`VIVAVOCE_TRACE`: a file to which providers write the frames on their wire, redacted and without audio.

One JSON object a line: seconds since the trace began, provider, direction, frame. For debugging: writing is plain and
blocks as files do.
"""

from __future__ import annotations

import logging
import os
import time
from typing import IO, Any

import msgspec

from vivavoce.redaction import redact

__all__ = ["Trace", "open_trace"]

logger = logging.getLogger("vivavoce.trace")
_AUDIO_KEYS = frozenset({"audio", "delta", "data"})
_LONG = 200


def open_trace(provider: str) -> Trace | None:
    """The trace that `VIVAVOCE_TRACE` asks for, or `None`. A file that cannot be opened is one WARNING."""
    path = os.environ.get("VIVAVOCE_TRACE", "").strip()
    if not path:
        return None
    try:
        return Trace(provider, open(path, "a", encoding="utf-8", buffering=1))
    except OSError as bad:
        logger.warning("VIVAVOCE_TRACE=%s cannot be written: %s", path, bad.strerror or bad)
        return None


class Trace:
    """The frames of one connection."""

    def __init__(self, provider: str, file: IO[str]) -> None:
        self._provider = provider
        self._file = file
        self._began = time.monotonic()

    def frame(self, direction: str, data: bytes | str) -> None:
        """Write one frame. A frame that is no JSON is told by its size alone."""
        try:
            shown = _without_audio(msgspec.json.decode(data))
        except (msgspec.DecodeError, UnicodeDecodeError):
            shown = f"<{len(data)} bytes that are no JSON>"
        at = round(time.monotonic() - self._began, 6)
        line = msgspec.json.encode(
            {"t": at, "provider": self._provider, "direction": direction, "frame": shown}
        )
        try:
            self._file.write(redact(line.decode()) + "\n")
        except (OSError, ValueError) as bad:
            logger.warning("the trace cannot be written: %s", bad)

    def close(self) -> None:
        self._file.close()


def _without_audio(value: Any, key: str = "", kind: str = "") -> Any:
    """`value` with a note in the place of its audio; `key` is its name, `kind` the `type` of what holds it."""
    if isinstance(value, dict):
        kind = value.get("type", "")
        return {name: _without_audio(inner, name, str(kind)) for name, inner in value.items()}
    if isinstance(value, list):
        return [_without_audio(inner) for inner in value]
    if isinstance(value, str) and key in _AUDIO_KEYS and _is_audio(value, key, kind):
        return f"<{len(value)} characters of audio>"
    return value


def _is_audio(value: str, key: str, kind: str) -> bool:
    """A text under one of the names that audio has: by what it is a part of, else by its look."""
    if key == "audio" or ("audio." in kind and "transcript" not in kind):
        return True
    return len(value) > _LONG and " " not in value
