"""What an app gives, checked and in one form. No I/O."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from datetime import timedelta
from typing import Any

from vivavoce.errors import ConfigError
from vivavoce.reconnect import ReconnectPolicy

__all__ = ["as_policy", "as_seconds", "as_text"]


def as_seconds(timeout: float | timedelta) -> float:
    """The budget of `connect()` in seconds; given in milliseconds, or as a `timedelta`."""
    value = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < float("inf"):
        raise ConfigError(
            f"timeout={timeout!r}: give a positive number of milliseconds, or a timedelta", option="timeout"
        )
    return value if isinstance(timeout, timedelta) else value / 1000


def as_policy(reconnect: bool | ReconnectPolicy) -> ReconnectPolicy | None:
    """The policy that `reconnect=` stands for, or `None`."""
    if isinstance(reconnect, ReconnectPolicy):
        return reconnect
    if isinstance(reconnect, bool):
        return ReconnectPolicy() if reconnect else None
    raise ConfigError(f"reconnect={reconnect!r}: give True, False or a ReconnectPolicy", option="reconnect")


def as_text(text: Any) -> str | AsyncIterator[str]:
    """What `speak()` takes, as text or an async iterator of it."""
    if isinstance(text, str) or hasattr(text, "__aiter__"):
        return text  # type: ignore[no-any-return]
    if isinstance(text, Iterable) and not isinstance(text, (bytes, bytearray, memoryview)):
        return _pieces(text)
    raise ConfigError(f"speak() takes text or an iterable of text, not {type(text).__name__}", option="text")


async def _pieces(text: Iterable[str]) -> AsyncIterator[str]:
    for piece in text:
        yield piece
