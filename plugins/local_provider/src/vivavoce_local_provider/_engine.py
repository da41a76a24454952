"""What an engine in a worker process is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

__all__ = ["Engine", "EngineError"]


class EngineError(Exception):
    """A request that cannot be done; `code` is a short word, the text says what to do next."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Engine(Protocol):
    """What a worker runs."""

    def handle(self, kind: str, payload: Any, more: Callable[[Any], None]) -> Any:
        """Do one request: give parts of the answer to `more`, return the last one. Raises `EngineError`."""

    @property
    def worn(self) -> bool:
        """Whether the process should start afresh before the next request."""
