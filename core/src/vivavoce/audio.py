"""Audio formats."""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = ["PCM16_24K", "AudioFormat"]


class AudioFormat(msgspec.Struct, frozen=True):
    """`rate` in Hz, `channels`, and `encoding`: `pcm16` (little-endian), `pcmu` or `pcma` (G.711)."""

    rate: int = 24_000
    channels: int = 1
    encoding: Literal["pcm16", "pcmu", "pcma"] = "pcm16"

    @property
    def frame_bytes(self) -> int:
        return self.channels * (2 if self.encoding == "pcm16" else 1)

    def milliseconds(self, n_bytes: int) -> float:
        return n_bytes * 1000 / (self.rate * self.frame_bytes)

    def bytes_for(self, ms: float) -> int:
        return int(ms * self.rate / 1000) * self.frame_bytes


PCM16_24K = AudioFormat()
