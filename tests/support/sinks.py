"""Sinks for tests: one that plays at the speed of speech on the loop's clock, at any rate."""

from __future__ import annotations

import asyncio

from vivavoce.audio import AudioFormat


class Player:
    """Plays what is written at the speed of speech; holds at most `ahead_ms` before `write` waits. `heard` is what was
    really played by now, silence left out."""

    def __init__(self, rate: int = 24_000, *, ahead_ms: float = 200.0) -> None:
        self.format = AudioFormat(rate)
        self.ahead_ms = ahead_ms
        self._pending = bytearray()
        self._heard = bytearray()
        self._at = 0.0
        self.flushes = 0

    def _advance(self) -> None:
        now = asyncio.get_running_loop().time()
        count = min(len(self._pending), self.format.bytes_for((now - self._at) * 1000))
        self._heard += self._pending[:count]
        del self._pending[:count]
        # What does not fill a frame stays time; silence does not.
        self._at = now if not self._pending else self._at + self.format.milliseconds(count) / 1000

    @property
    def heard(self) -> bytes:
        self._advance()
        return bytes(self._heard)

    @property
    def played_ms(self) -> float:
        return self.format.milliseconds(len(self.heard))

    async def write(self, audio: bytes) -> None:
        self._advance()
        self._pending += audio
        while True:
            self._advance()
            if self.format.milliseconds(len(self._pending)) <= self.ahead_ms:
                return
            await asyncio.sleep(0.005)

    def flush(self) -> None:
        self._advance()
        self._pending.clear()
        self.flushes += 1

    async def drain(self) -> None:
        self._advance()
        while self._pending:
            await asyncio.sleep(0.005)
            self._advance()
