"""What a connection may leave behind: tasks, file descriptors, threads."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

__all__ = ["leak_guard"]

_TURNS = 200


def _descriptors() -> dict[str, str]:
    found = {}
    for number in os.listdir("/proc/self/fd"):
        try:
            found[number] = os.readlink(f"/proc/self/fd/{number}")
        except OSError:
            continue  # the listing's own
    return found


def _held() -> tuple[set[asyncio.Task[Any]], dict[str, str], set[str]]:
    # The loop's own executor keeps its threads, whoever used it.
    threads = {thread.name for thread in threading.enumerate() if not thread.name.startswith("asyncio_")}
    return (
        {task for task in asyncio.all_tasks() if task is not asyncio.current_task()},
        _descriptors(),
        threads,
    )


@asynccontextmanager
async def leak_guard() -> AsyncIterator[None]:
    """Fail when the block leaves a task, a file descriptor or a thread, a few turns of the loop after its end."""
    before = _held()
    yield
    for _ in range(_TURNS):
        after = _held()
        if after[0] <= before[0] and after[1].items() <= before[1].items() and after[2] <= before[2]:
            return
        await asyncio.sleep(0)
    left = [f"task {task!r}" for task in after[0] - before[0]]
    left += [f"descriptor {number} {name}" for number, name in after[1].items() - before[1].items()]
    left += [f"thread {name}" for name in after[2] - before[2]]
    raise AssertionError("left behind: " + "; ".join(left))
