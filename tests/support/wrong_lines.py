"""Wrong providers with a protocol of their own over TCP: faults that a WebSocket library would take from them."""

from __future__ import annotations

import asyncio
from typing import Any

import reference_provider
from vivavoce import hookimpl
from vivavoce.errors import ConnectionLostError
from wrong_base import wrong

Base: Any = reference_provider.ReferenceProvider  # type: ignore[attr-defined]


class Lines(Base):
    """The reference provider, which reads by itself: `chunk` and `line` may go wrong, and `ends` decides about EOF."""

    name = "lines"
    conformance_profile = "reference_provider:PROFILE"

    async def chunk(self, data: bytes) -> bytes:
        return data

    async def ends(self) -> bool:
        return True

    async def _read(self, context: Any, reader: asyncio.StreamReader) -> None:
        cause: Exception = ConnectionLostError("the service ended the connection")
        rest = b""
        try:
            while data := await reader.read(65536):
                *lines, rest = (rest + await self.chunk(data)).split(b"\n")
                for line in lines:
                    self._take(context, line)
            if not await self.ends():
                return
        except OSError as broken:
            cause = ConnectionLostError(f"the connection broke: {broken}")
        for future in self._asked.values():
            if not future.done():
                future.set_exception(cause)
        context.lost(cause)

    async def is_half_open(self) -> bool:
        """Whether the peer still reads after its last word: a reset comes back if not."""
        for _ in range(2):  # the first one brings the reset, the second one meets it
            self._writer.write(b" ")
            await asyncio.sleep(0.1)
        return not self._writer.transport.is_closing()


@wrong("VV-CON-082", alone=True)
class TakesHalfOpenForOpen(Lines):
    async def ends(self) -> bool:
        return not await self.is_half_open()


@wrong("VV-CON-081", alone=True)
class TakesGoneForHalfOpen(Lines):
    async def ends(self) -> bool:
        return await self.is_half_open()


@wrong("VV-CON-084", alone=True)
class IsStuckOnGarbage(Lines):
    stuck = False

    async def chunk(self, data: bytes) -> bytes:
        self.stuck = self.stuck or b"\xff" * 8 in data
        return data

    @hookimpl
    async def close(self, context: Any, reason: str) -> None:
        if self.stuck:
            await asyncio.Event().wait()
        await super().close(context, reason)


@wrong("VV-CON-089", alone=True)
class LosesLoneBytes(Lines):
    async def chunk(self, data: bytes) -> bytes:
        return data if len(data) > 1 else b""
