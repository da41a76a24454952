"""What waits to be sent to one client: bounded, so that a client that does not read costs no memory."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Iterable

__all__ = ["Outbox"]


class Outbox:
    """Frames in by `put`, out by `run`. `slow` is called once, when too much waits or one frame takes too long."""

    def __init__(
        self,
        send: Callable[[bytes], Awaitable[None]],
        *,
        bound: int,
        deadline: float,
        slow: Callable[[], None],
    ) -> None:
        self._send = send
        self._bound = bound
        self._deadline = deadline
        self._slow = slow
        self._frames: deque[bytes] = deque()
        self._size = 0
        self._stopped = False
        self._more = asyncio.Event()
        self._sent_all = asyncio.Event()
        self._sent_all.set()

    def put(self, frames: Iterable[bytes]) -> None:
        """Queue frames; dropped once the client was found to be too slow."""
        if self._stopped:
            return
        for frame in frames:
            self._frames.append(frame)
            self._size += len(frame)
        if self._frames:
            self._sent_all.clear()
            self._more.set()
        if self._size > self._bound:
            self._give_up()

    async def run(self) -> None:
        """Send what is queued until cancelled, or until the client is too slow."""
        while not self._stopped:
            await self._more.wait()
            self._more.clear()
            while self._frames:
                frame = self._frames.popleft()
                try:
                    async with asyncio.timeout(self._deadline):
                        await self._send(frame)
                except TimeoutError:
                    self._give_up()
                    return
                self._size -= len(frame)
            self._sent_all.set()

    async def drained(self, timeout: float) -> None:
        """Wait until everything was sent, at most `timeout` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._sent_all.wait()

    def _give_up(self) -> None:
        if not self._stopped:
            self._stopped = True
            self._frames.clear()
            self._sent_all.set()
            self._slow()
