"""A leak guard: on leaving a block, everything the block began must have ended.

Looked at: asyncio tasks, threads, file descriptors, child processes, coroutines never awaited,
resources never closed, and what asyncio could tell nobody (a pending task destroyed, an exception never retrieved).

Rules
- What was there on entry is never a leak.
- A task gets `turns` turns of the loop to end, no time: a task that needs time to end has no owner
  who waited for it. Threads, descriptors and children get `grace` real seconds.
- The threads of the loop's default executor belong to the loop, and `multiprocessing`'s resource
  tracker to the interpreter: both outlive any block.
- If the block raised, its own exception goes on; the leaks are added to it as a note.

Linux reads /proc. Elsewhere descriptors come from /dev/fd and children from `multiprocessing`
alone; on Windows descriptors are not looked at.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import multiprocessing
import os
import re
import socket
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from vivavoce.testing._stacks import waiting_at

__all__ = ["Leak", "LeakError", "LeakGuard", "no_leaks"]

_NEVER_AWAITED = r"coroutine .* was never awaited"
_POLL = 0.002


class Leak(msgspec.Struct, frozen=True):
    """One thing left over. `kind` is `task`, `thread`, `fd`, `child`, `coroutine`, `resource` or `asyncio`."""

    kind: str
    what: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.what}"


class LeakError(AssertionError):
    """Something was left over; `leaks` has each, the text one line for each."""

    def __init__(self, leaks: list[Leak]) -> None:
        super().__init__(_report(leaks))
        self.leaks = leaks


def _report(leaks: list[Leak]) -> str:
    return "\n  ".join([f"left over: {len(leaks)}", *map(str, leaks)])


class LeakGuard:
    """`async with LeakGuard():` raises `LeakError` on exit for whatever the block left behind.

    As a plain `with` it guards a block that runs loops of its own, and looks at everything but tasks.
    One guard is for one block. `turns` is turns of the loop, `grace` real seconds.
    """

    def __init__(self, *, turns: int = 10, grace: float = 0.2) -> None:
        self._turns = turns
        self._grace = grace
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._threads: set[threading.Thread] = set()
        self._fds: dict[int, str] = {}
        self._children: dict[int, str] = {}
        self._told: list[Leak] = []
        self._undo = contextlib.ExitStack()

    def __enter__(self) -> LeakGuard:
        gc.collect()  # what the past left in cycles is not this block's
        self._threads = set(threading.enumerate())
        self._children = _children()
        self._fds = _descriptors()
        self._catch_warnings()
        return self

    async def __aenter__(self) -> LeakGuard:
        self._loop = asyncio.get_running_loop()
        self.__enter__()
        self._tasks = asyncio.all_tasks()
        self._catch_loop_reports(self._loop)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._finish([], error)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        for _ in range(self._turns):
            if not self._new_tasks():
                break
            await asyncio.sleep(0)
        leaks = [Leak("task", _describe(task)) for task in self._new_tasks()]
        until = time.monotonic() + self._grace
        while self._outside() and time.monotonic() < until:
            gc.collect()
            await asyncio.sleep(0)
            time.sleep(_POLL)  # noqa: ASYNC251  real time: the clock of the loop may be virtual
        self._finish(leaks, error)

    def _finish(self, leaks: list[Leak], error: BaseException | None) -> None:
        until = time.monotonic() + self._grace
        gc.collect()
        while self._outside() and time.monotonic() < until:
            time.sleep(_POLL)
        self._undo.close()
        leaks = [*leaks, *self._outside(), *self._told]
        if not leaks:
            return
        if error is None:
            raise LeakError(leaks)
        error.add_note(_report(leaks))

    def _new_tasks(self) -> list[asyncio.Task[Any]]:
        return sorted(
            asyncio.all_tasks() - self._tasks - {asyncio.current_task()}, key=lambda task: task.get_name()
        )

    def _outside(self) -> list[Leak]:
        """Return what is left over outside the loop at this moment."""
        workers = getattr(getattr(self._loop, "_default_executor", None), "_threads", ())
        threads = [
            thread
            for thread in threading.enumerate()
            if thread not in self._threads and thread not in workers
        ]
        children = {pid: name for pid, name in _children().items() if pid not in self._children}
        fds = [(fd, target) for fd, target in _descriptors().items() if self._fds.get(fd) != target]
        return [
            *(Leak("thread", _describe_thread(thread)) for thread in threads),
            *(Leak("fd", f"{fd} -> {_describe_fd(fd, target)}") for fd, target in fds),
            *(Leak("child", f"pid {pid} {name}") for pid, name in children.items()),
        ]

    def _catch_warnings(self) -> None:
        """Note never-awaited coroutines and unclosed resources; every other warning goes where it went."""
        self._undo.enter_context(warnings.catch_warnings())
        show: Callable[..., None] = warnings.showwarning

        def note(message: Warning | str, category: type[Warning], *rest: Any, **more: Any) -> None:
            if issubclass(category, ResourceWarning):
                self._told.append(Leak("resource", str(message)))
            elif issubclass(category, RuntimeWarning) and re.match(_NEVER_AWAITED, str(message)):
                self._told.append(Leak("coroutine", str(message)))
            else:
                show(message, category, *rest, **more)

        warnings.showwarning = note
        warnings.simplefilter("always", ResourceWarning)
        warnings.filterwarnings("always", _NEVER_AWAITED, RuntimeWarning)

    def _catch_loop_reports(self, loop: asyncio.AbstractEventLoop) -> None:
        """Note what asyncio reports to the exception handler, and pass it on."""
        before = loop.get_exception_handler()

        def note(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
            source = context.get("task") or context.get("future") or context.get("handle") or ""
            error = context.get("exception")
            self._told.append(
                Leak("asyncio", " ".join(filter(None, (context["message"], repr(source), repr(error)))))
            )
            if before is not None:
                before(loop, context)
            else:
                loop.default_exception_handler(context)

        loop.set_exception_handler(note)
        self._undo.callback(loop.set_exception_handler, before)


def no_leaks(*, turns: int = 10, grace: float = 0.2) -> LeakGuard:
    """Return a `LeakGuard`: `async with no_leaks():` around what must clean up after itself."""
    return LeakGuard(turns=turns, grace=grace)


def _describe(task: asyncio.Task[Any]) -> str:
    places = waiting_at(task)
    return "\n      ".join([repr(task.get_name()), *(f"at {place}" for place in places)])


def _describe_thread(thread: threading.Thread) -> str:
    frame = sys._current_frames().get(thread.ident or 0)
    place = traceback.extract_stack(frame, limit=None)[-1] if frame is not None else None
    where = f" at {place.name} ({place.filename}:{place.lineno})" if place else ""
    return f"{thread.name!r}{' (daemon)' if thread.daemon else ''}{where}"


def _describe_fd(fd: int, target: str) -> str:
    if not target.startswith("socket:"):
        return target
    try:
        with socket.socket(fileno=os.dup(fd)) as twin:
            return f"{target} {twin.family.name} {twin.getsockname()} to {_peer(twin)}"
    except OSError:
        return target


def _peer(sock: socket.socket) -> Any:
    try:
        return sock.getpeername()
    except OSError:
        return "nobody"


def _descriptors() -> dict[int, str]:
    """Return every open descriptor of this process and what it leads to."""
    tracker = _tracker()
    for folder in ("/proc/self/fd", "/dev/fd"):
        if not os.path.isdir(folder):
            continue
        found = {}
        for name in os.listdir(folder):
            fd = int(name)
            # The descriptor of the listing itself is gone by now, and has no target any more.
            with contextlib.suppress(OSError):
                target = (
                    os.readlink(f"{folder}/{name}") if folder.startswith("/proc") else repr(os.fstat(fd)[:3])
                )
                if fd != tracker[1]:
                    found[fd] = target
        return found
    return {}


def _children() -> dict[int, str]:
    """Return this process's children, also those that ended and were not waited for."""
    known = {process.pid: process.name for process in multiprocessing.active_children() if process.pid}
    for tasks in Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for pid in map(int, tasks.read_text().split()):
                known.setdefault(pid, _command(pid))
    known.pop(_tracker()[0] or 0, None)
    return known


def _command(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
    except OSError:
        return ""
    return b" ".join(words).decode(errors="replace") or "(ended, but nobody waited for it)"


def _tracker() -> tuple[int | None, int | None]:
    """Return pid and descriptor of multiprocessing's resource tracker, where there is one."""
    module = sys.modules.get("multiprocessing.resource_tracker")
    tracker = getattr(module, "_resource_tracker", None)
    return getattr(tracker, "_pid", None), getattr(tracker, "_fd", None)
