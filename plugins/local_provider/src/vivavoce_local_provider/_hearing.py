"""One stretch of the user's speech on its way to the provider that listens."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator

__all__ = ["Hearing"]

_LIMIT = 16_000 * 2 * 2
"""Bytes: two seconds may wait for a listener that is behind; then the sender waits."""


class Hearing:
    """Audio in by `feed`, out by iteration. One reader."""

    def __init__(self, item_id: str) -> None:
        self.item_id = item_id
        self.fed = 0
        self._chunks: deque[bytes] = deque()
        self._waiting = 0
        self._ended = False
        self._changed = asyncio.Event()
        self._room = asyncio.Event()

    def feed(self, audio: bytes) -> None:
        """Add audio; ignored after the end."""
        if not self._ended and audio:
            self.fed += len(audio)
            self._chunks.append(audio)
            self._waiting += len(audio)
            self._changed.set()

    def end(self) -> None:
        """No more audio comes, or nobody reads it any more."""
        self._ended = True
        self._changed.set()
        self._room.set()

    @property
    def full(self) -> bool:
        """Whether the sender should wait for `room`."""
        return self._waiting > _LIMIT and not self._ended

    async def room(self) -> None:
        """Wait until there is room for more."""
        while self.full:
            self._room.clear()
            await self._room.wait()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            while self._chunks:
                audio = self._chunks.popleft()
                self._waiting -= len(audio)
                self._room.set()
                yield audio
            if self._ended:
                return
            self._changed.clear()
            await self._changed.wait()
