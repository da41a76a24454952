"""Where in a stretch of audio there is speech, told by loudness alone: good enough to measure how long an answer took.

A centred window of 50 ms is speech when it is at most 18 dB below the loudest so far, and above -50 dBFS.
"""

from __future__ import annotations

import array
import sys
from collections import deque
from operator import mul

from vivavoce.audio import AudioFormat

__all__ = ["BELOW_PEAK", "FLOOR", "FRAME_MS", "WINDOW", "SpeechMeter"]

FRAME_MS = 10
WINDOW = 5
"""Frames of a window."""
BELOW_PEAK, FLOOR = 0.125, 0.003


class SpeechMeter:
    """Listens to one stretch of PCM16. `began` and `ended` are the times, in seconds, of its first and last speech."""

    def __init__(self, format: AudioFormat) -> None:
        self.began: float | None = None
        self.ended: float | None = None
        self._start: float | None = None
        self._format = format
        self._frame = format.bytes_for(FRAME_MS)
        self._rest = b""
        self._energies: deque[float] = deque(maxlen=WINDOW)
        self._peak = 0.0

    def feed(self, pcm: bytes, now: float) -> None:
        """Take the next audio, whose first sample is heard at `now`."""
        self._start = now if self._start is None else self._start
        at = now - self._format.milliseconds(len(self._rest)) / 1000
        data = self._rest + pcm
        whole = len(data) - len(data) % self._frame
        self._rest = data[whole:]
        for start in range(0, whole, self._frame):
            samples = array.array("h", data[start : start + self._frame])
            if sys.byteorder == "big":
                samples.byteswap()
            self._energies.append(sum(map(mul, samples, samples)) / len(samples))
            at += FRAME_MS / 1000
            self._judge(at)

    def _judge(self, end: float) -> None:
        """Judge the window that ends now; what is found counts for its middle."""
        level = (sum(self._energies) / len(self._energies)) ** 0.5 / 32768
        self._peak = max(self._peak, level)
        if level > max(FLOOR, self._peak * BELOW_PEAK):
            middle = max(end - WINDOW / 2 * FRAME_MS / 1000, self._start or 0.0)
            self.began = middle if self.began is None else self.began
            self.ended = middle
