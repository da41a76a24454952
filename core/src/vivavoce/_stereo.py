"""Two sides of a conversation on one clock: where each piece of audio lies, and the frames that are settled.

No clock and no file here: positions are frames since the recording began, and time is passed in.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

__all__ = ["StereoTimeline"]

_BLOCK_S = 1


class _Lane:
    """One side: the audio from frame `base` on, and which piece belongs to whom."""

    def __init__(self) -> None:
        self.base = 0
        self.audio = bytearray()
        self.pieces: deque[tuple[int, int, object]] = deque()
        self.last = -1  # where the newest piece ends; -1 before the first

    @property
    def end(self) -> int:
        return self.base + len(self.audio) // 2

    def append(self, start: int, pcm: bytes, owner: object) -> None:
        self.audio += bytes(2 * (start - self.end)) + pcm
        if self.pieces and self.pieces[-1][1] == start and self.pieces[-1][2] == owner:
            start = self.pieces.pop()[0]
        self.last = self.end
        self.pieces.append((start, self.end, owner))

    def drop(self, owner: object, after: int) -> None:
        """Silence what `owner` has after frame `after`; room at the very end is given back."""
        kept: deque[tuple[int, int, object]] = deque()
        for start, end, who in self.pieces:
            if who != owner or end <= after:
                kept.append((start, end, who))
                continue
            cut = max(start, after, self.base)
            self.audio[2 * (cut - self.base) : 2 * (end - self.base)] = bytes(2 * (end - cut))
            if start < cut:
                kept.append((start, cut, who))
        self.pieces = kept
        end = max(kept[-1][1] if kept else self.base, self.base)
        del self.audio[2 * (end - self.base) :]
        self.last = min(self.last, max(end, after))

    def take(self, frames: int) -> bytes:
        """The next `frames`, with silence where there is nothing."""
        pcm = bytes(self.audio[: 2 * frames])
        del self.audio[: 2 * frames]
        self.base += frames
        while self.pieces and self.pieces[0][1] <= self.base:
            self.pieces.popleft()
        return pcm + bytes(2 * frames - len(pcm))


class StereoTimeline:
    """Mono PCM16 of two sides (0: left, 1: right) at `rate`, interleaved as far as it is settled.

    A piece begins where the one before it on its side ends, if that is later than now or at most `slack` frames ago
    (the jitter of a network is no gap); else it begins now. So what lies `slack` frames back can no more change.
    """

    def __init__(self, rate: int, slack_ms: int = 200) -> None:
        self.rate = rate
        self.slack = rate * slack_ms // 1000
        self._lanes = (_Lane(), _Lane())

    @property
    def settled(self) -> int:
        """Frames taken so far."""
        return self._lanes[0].base

    @property
    def end(self) -> int:
        """Where the last piece of either side ends."""
        return max(lane.end for lane in self._lanes)

    def place(self, side: int, pcm: bytes, now: int, owner: object = None) -> int:
        """Add audio that arrived at frame `now`; return the frame at which it begins."""
        lane = self._lanes[side]
        start = max(lane.last if lane.last >= now - self.slack and lane.last >= 0 else now, lane.base)
        lane.append(start, pcm, owner)
        return start

    def drop(self, side: int, owner: object, now: int) -> None:
        """Forget what `owner` would be heard saying after frame `now`."""
        self._lanes[side].drop(owner, now)

    def take(self, until: int) -> Iterator[bytes]:
        """What is settled before frame `until`, a second at a time, as interleaved stereo."""
        step = self.rate * _BLOCK_S
        while (frames := min(step, until - self.settled)) > 0:
            left, right = (lane.take(frames) for lane in self._lanes)
            block = bytearray(4 * frames)
            block[0::4], block[1::4] = left[0::2], left[1::2]
            block[2::4], block[3::4] = right[0::2], right[1::2]
            yield bytes(block)
