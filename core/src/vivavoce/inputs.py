"""What an app gives, checked and in one form. No I/O."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from datetime import timedelta
from typing import Any

from vivavoce.config import deep_merge
from vivavoce.errors import ConfigError
from vivavoce.reconnect import ReconnectPolicy
from vivavoce.tools import as_tools

__all__ = ["as_changes", "as_policy", "as_seconds", "as_text", "check_answer", "check_text"]


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
        check_text("speak", "a piece of the text", piece)
        yield piece


def check_text(method: str, name: str, value: Any, *, or_none: bool = False) -> None:
    """Raise `ConfigError` if an argument is no text."""
    if not isinstance(value, str) and not (or_none and value is None):
        raise ConfigError(f"{method}(): {name} is a {type(value).__name__}; give a str", option=name)


def check_answer(options: dict[str, Any]) -> None:
    """Check the options of `answer()` that every provider shares, and give `tools` their one form."""
    for name, (kind, wanted) in _ANSWER.items():
        value = options.get(name)
        if value is not None and not (isinstance(value, kind) and not isinstance(value, (bytes, bytearray))):
            raise ConfigError(f"answer(): {name} is a {type(value).__name__}; give {wanted}", option=name)
    if options.get("tools") is not None:
        options["tools"] = as_tools(options["tools"])


_ANSWER: dict[str, tuple[type | tuple[type, ...], str]] = {
    "instructions": (str, "a str"),
    "text_only": (bool, "True or False"),
    "tool_choice": ((str, Mapping), "'auto', 'none', 'required' or a tool's name"),
    "input": ((list, tuple), "a list of items"),
    "metadata": (Mapping, "a mapping of text to text"),
    "out_of_band": (bool, "True or False"),
}


def as_changes(session: Mapping[str, Any]) -> dict[str, Any]:
    """What `update_config()` was given, by the keys that its hook knows."""
    settings = dict(session)
    changes: dict[str, Any] = {}
    for name in ("instructions", "speaker"):
        if name in settings:
            check_text("update_config", name, settings[name], or_none=True)
            changes[name] = settings.pop(name)
    if "tools" in settings:
        changes["tools"] = as_tools(settings.pop("tools"))
    nested = settings.pop("session", None) or {}
    if not isinstance(nested, Mapping):
        raise ConfigError("update_config(): session is not a mapping: give a dict", option="session")
    settings = deep_merge(nested, settings)
    return changes | ({"session": settings} if settings else {})
