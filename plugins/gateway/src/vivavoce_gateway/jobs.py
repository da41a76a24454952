"""What a session asks of its provider, one thing after the other, in the client's order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

__all__ = ["Job", "Jobs"]

Job = Callable[[], Awaitable[object]]
_WAITING = 1024


class Jobs:
    """`put` waits while too many are queued, so the client is read no faster than its provider works."""

    def __init__(self, failed: Callable[[Exception], None]) -> None:
        self._failed = failed
        self._queue: asyncio.Queue[Job] = asyncio.Queue(_WAITING)
        self._working = False

    @property
    def idle(self) -> bool:
        """Whether a job put now would begin at once."""
        return not self._working and self._queue.empty()

    async def put(self, job: Job) -> None:
        """Queue a job."""
        await self._queue.put(job)

    def put_now(self, job: Job) -> bool:
        """Queue a job if there is room; for those who cannot wait."""
        try:
            self._queue.put_nowait(job)
        except asyncio.QueueFull:
            return False
        return True

    async def run(self) -> None:
        """Do them, until cancelled. One that raises does no harm to the next."""
        while True:
            job = await self._queue.get()
            self._working = True
            try:
                await job()
            except Exception as failed:
                self._failed(failed)
            finally:
                self._working = False
