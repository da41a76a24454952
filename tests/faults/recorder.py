"""A receiver that keeps what a transport tells it."""

from __future__ import annotations

import asyncio
from typing import Any

from vivavoce.errors import ConnectionLostError

__all__ = ["Recorder"]


class Recorder:
    """`texts` and `binaries` in order of arrival, `losses` as they were told. `raising` is raised by each call."""

    def __init__(self, raising: Exception | None = None) -> None:
        self.texts: list[bytes] = []
        self.binaries: list[bytes] = []
        self.losses: list[ConnectionLostError] = []
        self.raising = raising
        self._news = asyncio.Event()

    def receive_text(self, data: bytes | bytearray) -> None:
        self._keep(self.texts, bytes(data))

    def receive_binary(self, data: bytes | bytearray) -> None:
        self._keep(self.binaries, bytes(data))

    def connection_lost(self, cause: ConnectionLostError) -> None:
        self._keep(self.losses, cause)

    async def until(self, count: int = 1) -> None:
        """Wait until `count` messages came, of either kind, or the connection was lost."""
        while len(self.texts) + len(self.binaries) < count and not self.losses:
            self._news.clear()
            await self._news.wait()

    async def until_lost(self) -> ConnectionLostError:
        """Wait for the loss and return it."""
        while not self.losses:
            self._news.clear()
            await self._news.wait()
        return self.losses[0]

    def _keep(self, kept: list[Any], item: object) -> None:
        kept.append(item)
        self._news.set()
        if self.raising is not None:
            raise self.raising
