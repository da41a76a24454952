"""Asks the voice activity model only about frames that may be speech: in most of a call nobody speaks. Decisions only."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

__all__ = ["Gate"]

_QUIET = 60
"""Samples below this are no speech, whatever a model says of them (-55 dBFS)."""
_PARTS = 4
_RISE = 1.6
"""Power over that of the background (2 dB) from which a frame may be speech. Steady noise varies by less."""
_UNLIKELY = 0.1
"""Below this probability the model has heard no speech ..."""
_SURE_FRAMES = 10
"""... and after so many such frames in a row (320 ms) it is not asked again until the level rises."""
_BACKGROUND_FRAMES = 48
"""The background is the quietest frame of the last one to two of these (1.5 to 3 s)."""


class Gate:
    """A detector as `VoiceActivity` takes it, over `model`, which is one. While the model hears speech, it hears every frame."""

    def __init__(self, model: Callable[[bytes], float]) -> None:
        self._model = model
        self._sure = 0
        self._background = self._quietest = float("inf")
        self._frames = 0

    def __call__(self, frame: bytes) -> float:
        samples = np.frombuffer(frame, np.int16).astype(np.float32)
        parts = samples.reshape(_PARTS, -1)
        sums = parts.sum(axis=1)
        # Without what is slower than 60 Hz: rumble comes and goes.
        power = float(samples @ samples) - float(sums @ sums) / parts.shape[1]
        before = self._floor(power)
        if self._sure >= _SURE_FRAMES and power < _RISE * before:
            return 0.0
        if float(samples.max()) < _QUIET and float(samples.min()) > -_QUIET:
            return 0.0
        probability = self._model(frame)
        self._sure = self._sure + 1 if probability < _UNLIKELY else 0
        return probability

    def _floor(self, power: float) -> float:
        """The power of the background before this frame, which counts from now on."""
        floor = min(self._background, self._quietest)
        self._frames += 1
        if self._frames % _BACKGROUND_FRAMES == 0:
            self._background, self._quietest = self._quietest, power
        elif power < self._quietest:
            self._quietest = power
        return floor
