"""Sinks that need no sound card."""

from __future__ import annotations

import asyncio

from vivavoce.audio import PCM16_24K, AudioFormat

__all__ = ["SilentSink"]

_NOTHING_MS = 0.01  # less than a sample; what is left of a float is no reason to wait


class SilentSink:
    """Plays in real time, to nobody: what is written takes as long as it would at a speaker, on the loop's clock.

    For conversations without a sound card (a server, a recording, a test) in which interruptions and turns should be
    timed as if somebody listened. It keeps no audio, so it takes any amount at once.
    """

    def __init__(self, format: AudioFormat = PCM16_24K) -> None:
        self.format = format
        self._written_ms = 0.0
        self._ends = 0.0  # when all that was written has been played, by the loop's clock
        self._flushed = asyncio.Event()

    @property
    def played_ms(self) -> float:
        """Milliseconds played since the sink was made; what was flushed does not count."""
        return self._written_ms - self._left_ms()

    def _left_ms(self) -> float:
        if not self._written_ms:
            return 0.0
        return max(0.0, self._ends - asyncio.get_running_loop().time()) * 1000

    def write(self, audio: bytes) -> None:
        """Queue PCM at `format`."""
        ms = self.format.milliseconds(len(audio))
        self._ends = max(self._ends, asyncio.get_running_loop().time()) + ms / 1000
        self._written_ms += ms

    def flush(self) -> None:
        """Drop what was not played yet."""
        self._written_ms -= self._left_ms()
        self._ends = 0.0
        self._flushed.set()
        self._flushed = asyncio.Event()

    async def drain(self) -> None:
        """Wait until what was written has been played or flushed. Safe to cancel."""
        flushed = self._flushed
        while (left := self._left_ms()) > _NOTHING_MS and not flushed.is_set():
            try:
                async with asyncio.timeout(left / 1000):
                    await flushed.wait()
            except TimeoutError:
                continue  # more may have been written meanwhile
