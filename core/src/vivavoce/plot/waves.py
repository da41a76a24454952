"""The sound of a recording, reduced to what a picture shows: the extremes and the loudness of every 10 ms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from vivavoce._loudness import BELOW_PEAK, FLOOR, FRAME_MS, WINDOW
from vivavoce.errors import AudioError
from vivavoce.files import AudioReader

__all__ = ["BIN_MS", "Waves", "read_waves"]

BIN_MS = FRAME_MS
_BINS_AT_ONCE = 3_000


@attrs.frozen(eq=False)
class Waves:
    """Of each side (0: user, 1: assistant) and bin: the lowest and highest sample and the loudness, ±1 is full scale."""

    low: NDArray[np.float32]
    high: NDArray[np.float32]
    loudness: NDArray[np.float32]
    duration_ms: float

    def columns(self, side: int, start_ms: float, end_ms: float, count: int) -> NDArray[np.float32]:
        """`count` pairs of lowest and highest, of equal stretches between two times."""
        edges = np.linspace(start_ms / BIN_MS, end_ms / BIN_MS, count + 1)
        first = np.floor(edges[:-1]).astype(int)
        last = np.maximum(np.ceil(edges[1:]).astype(int), first + 1)
        pairs = np.zeros((count, 2), np.float32)
        bins = self.low.shape[1]
        for index in range(count):
            a, b = min(first[index], bins), min(last[index], bins)
            if a < b:
                pairs[index] = self.low[side, a:b].min(), self.high[side, a:b].max()
        return pairs

    def peak(self, side: int) -> float:
        """The largest sample of a side."""
        both = (self.high[side].max(initial=0.0), -self.low[side].min(initial=0.0))
        return float(max(both))

    def speech(self, start_ms: float, end_ms: float) -> tuple[float, float] | None:
        """Where in a stretch the user's speech begins and ends; `None` if there is only silence."""
        first = max(0, int(start_ms / BIN_MS))
        loud = self.loudness[0, first : max(first, int(np.ceil(end_ms / BIN_MS)))]
        if len(loud) >= WINDOW:  # as a SpeechMeter hears it
            loud = np.sqrt(np.convolve(loud**2, np.ones(WINDOW) / WINDOW, "same"))
        level = max(FLOOR, BELOW_PEAK * float(loud.max(initial=0.0)))
        found = np.flatnonzero(loud > level)
        if not len(found):
            return None
        return float(first + found[0]) * BIN_MS, float(first + found[-1] + 1) * BIN_MS


def read_waves(path: Path) -> Waves:
    """Read a stereo WAV in constant memory. `AudioError`: it is not there, or not stereo."""
    parts: list[tuple[Any, Any, Any]] = []
    with AudioReader(path) as reader:
        if reader.format.channels != 2:
            raise AudioError(f"{path} has {reader.format.channels} channels; a recording has two.")
        per_bin = reader.format.rate * BIN_MS // 1000
        frames = 0
        for block in reader.blocks(per_bin * _BINS_AT_ONCE):
            samples = np.frombuffer(block, "<i2").reshape(-1, 2).astype(np.float32) / 32768
            frames += len(samples)
            padded = np.pad(samples, ((0, -len(samples) % per_bin), (0, 0)))
            bins = padded.reshape(-1, per_bin, 2)
            parts.append((bins.min(1).T, bins.max(1).T, np.sqrt((bins**2).mean(1)).T))
        duration = frames * 1000 / reader.format.rate
    if not parts:
        empty = np.zeros((2, 0), np.float32)
        return Waves(empty, empty, empty, 0.0)
    low, high, loudness = (np.concatenate(side, axis=1) for side in zip(*parts, strict=True))
    return Waves(low, high, loudness, duration)
