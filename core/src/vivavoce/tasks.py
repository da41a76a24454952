"""The tasks of one voice: every one has this owner, which reports what they raise and ends them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from vivavoce.errors import VoiceError
from vivavoce.redaction import get_logger

__all__ = ["PATIENCE", "Tasks", "finish", "leave", "patient"]

logger = get_logger("vivavoce.session")

PATIENCE = 5.0
"""Seconds that work has to end after it was cancelled; then it is left behind."""


class Tasks:
    """`tell` gets what a task raised, as a `VoiceError`."""

    def __init__(self, tell: Callable[[VoiceError], None]) -> None:
        self._tell = tell
        self._tasks: set[asyncio.Task[Any]] = set()
        self._lasting: set[asyncio.Task[Any]] = set()
        self.spared: set[asyncio.Task[Any]] = set()
        """Tasks that are closing the voice themselves: they are not waited for."""

    def spawn(self, work: Coroutine[Any, Any, None], *, lasting: bool = False) -> asyncio.Task[None]:
        """Run `work` as a task; one that is `lasting` outlives a session, though not the voice."""
        task = asyncio.get_running_loop().create_task(
            self._run(work), name=f"vivavoce {getattr(work, '__qualname__', 'task')}"
        )
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: work.close())  # of one cancelled before it began; else it has ended
        if lasting:
            self._lasting.add(task)
            task.add_done_callback(self._lasting.discard)
        return task

    async def _run(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except VoiceError as error:
            self._tell(error)
        except Exception as bug:
            logger.exception("a task of the voice failed")
            self._tell(
                VoiceError(
                    f"{type(bug).__name__} in a task of the voice; the log has the traceback", code="internal"
                )
            )

    def cancel(self) -> set[asyncio.Task[Any]]:
        """Cancel the tasks of a session, but the calling one and the spared; returns those."""
        return self._cancel(self._tasks - self._lasting)

    def _cancel(self, tasks: set[asyncio.Task[Any]]) -> set[asyncio.Task[Any]]:
        tasks = {task for task in tasks if not task.done()} - self.spared - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        return tasks

    async def stop(self, timeout: float) -> None:
        """Cancel all tasks but those, and wait `timeout` seconds for their ends."""
        tasks = self._cancel(self._tasks)
        if tasks:
            _, left = await asyncio.wait(tasks, timeout=timeout)
            for task in left:
                leave(task)


async def patient(work: Coroutine[Any, Any, Any], what: str) -> Any:
    """The result of `work`. Cancelling this cancels it, too; what does not heed that is left behind, and logged."""
    loop = asyncio.get_running_loop()
    begun = _Begun(work, what)
    task = begun.task
    until: float | None = None  # once we are cancelled
    while not task.done():
        try:
            await begun.settled(until)
        except asyncio.CancelledError:
            until = until or loop.time() + PATIENCE
            task.cancel()
        if until is not None and loop.time() >= until and not task.done():
            leave(task)
            raise asyncio.CancelledError
    if until is not None:
        _unheard(task, logging.DEBUG)  # the cancellation counts
        raise asyncio.CancelledError
    if task.cancelled():
        raise RuntimeError(f"{what} cancelled itself")
    return task.result()


class _Begun:
    """Work as a task. Who waits for it is woken in the turn of the loop in which it ends, not in a later one."""

    def __init__(self, work: Coroutine[Any, Any, Any], what: str) -> None:
        self._work = work
        self._waiter: asyncio.Future[None] | None = None
        self.task = asyncio.get_running_loop().create_task(self._run(), name=f"vivavoce {what}")
        self.task.add_done_callback(self._done)

    async def _run(self) -> Any:
        try:
            return await self._work
        finally:
            self._wake()

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._work.close()  # of one cancelled before it began; else it has ended
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def settled(self, until: float | None) -> None:
        """Wait for the end of the task, or for a point in time."""
        loop = asyncio.get_running_loop()
        self._waiter = loop.create_future()
        timer = loop.call_at(until, self._wake) if until is not None else None
        try:
            await self._waiter
        finally:
            self._waiter = None
            if timer is not None:
                timer.cancel()


def leave(task: asyncio.Task[Any]) -> None:
    """Wait no longer for work that does not heed its cancellation; what it raises is logged."""
    logger.error("%s goes on although it was cancelled: it is left behind", task.get_name())
    task.add_done_callback(_unheard)


def _unheard(task: asyncio.Task[Any], level: int = logging.ERROR) -> None:
    if not task.cancelled() and task.exception() is not None:
        logger.log(level, "%s failed after it was cancelled", task.get_name(), exc_info=task.exception())


async def finish(work: Coroutine[Any, Any, Any], deadline: float, what: str) -> None:
    """Finish `work` even if this task is cancelled meanwhile, within `deadline` seconds; what it raises is logged. After
    that it is cancelled; what does not heed that is left behind."""
    loop = asyncio.get_running_loop()
    begun = _Begun(work, what)
    task = begun.task
    until, late, cancelled = loop.time() + deadline, False, False
    while not task.done():
        try:
            await begun.settled(until)
        except asyncio.CancelledError:
            cancelled = True
        if loop.time() < until or task.done():
            continue
        if late:
            leave(task)
            break
        logger.error("%s did not end within %s s", what, deadline)
        late, until = True, loop.time() + PATIENCE
        task.cancel()
    if task.done() and not late:
        failed = asyncio.CancelledError() if task.cancelled() else task.exception()
        if failed is not None and not (cancelled and task.cancelled()):  # both: the loop itself is ending
            logger.error("%s failed", what, exc_info=failed)
    elif task.done():
        _unheard(task, logging.DEBUG)
    if cancelled:
        raise asyncio.CancelledError
