"""Where a suspended task waits, in words: for the messages of the virtual clock and the leak guard."""

from __future__ import annotations

import asyncio
from types import CodeType, FrameType
from typing import Any

__all__ = ["describe_task", "waiting_at"]


def waiting_at(task: asyncio.Task[Any]) -> list[str]:
    """Return the places a suspended task waits in, outermost first, as `function (file:line)`.

    `Task.get_stack` shows only the outermost coroutine, so this follows the chain of awaits.
    """
    places: list[str] = []
    awaited: Any = task.get_coro()
    while awaited is not None:
        frame, code, awaited = _step(awaited)
        if code is None:
            break
        line = frame.f_lineno if frame is not None else code.co_firstlineno
        places.append(f"{code.co_qualname} ({code.co_filename}:{line})")
    return places


def _step(awaitable: Any) -> tuple[FrameType | None, CodeType | None, Any]:
    """Return frame, code and what it awaits in turn, for a coroutine, generator or async generator."""
    for prefix, inner in (("cr", "cr_await"), ("gi", "gi_yieldfrom"), ("ag", "ag_await")):
        code = getattr(awaitable, f"{prefix}_code", None)
        if isinstance(code, CodeType):
            return getattr(awaitable, f"{prefix}_frame", None), code, getattr(awaitable, inner, None)
    return None, None, None


def describe_task(task: asyncio.Task[Any]) -> str:
    """Return one line: the task's name and where it waits."""
    return f"task {task.get_name()!r} at " + (" > ".join(waiting_at(task)) or repr(task.get_coro()))
