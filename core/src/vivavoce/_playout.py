"""The two structures between an audio callback and the loop: a ring of bytes, and the clock of what was heard.

Each has one writer and one reader, in different threads, and no lock: every shared field is written by one side only,
and storing an int or appending to a deque is atomic. So the callback never waits.
"""

from __future__ import annotations

from collections import deque

__all__ = ["PlayoutClock", "Ring"]


class Ring:
    """Bytes from one thread to another, `capacity` at most."""

    __slots__ = ("_data", "_read", "_skip_to", "_written", "capacity")

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._data = memoryview(bytearray(capacity))
        self._written = 0  # bytes ever; the writer's
        self._read = 0  # bytes ever; the reader's
        self._skip_to = 0  # the writer's: what lies before is not to be read any more

    @property
    def used(self) -> int:
        """Bytes that wait to be read."""
        return self._written - max(self._read, self._skip_to)

    @property
    def room(self) -> int:
        """Bytes that can be written now. What was skipped is in the way until the reader has passed it."""
        return self.capacity - (self._written - self._read)

    def write(self, data: bytes | memoryview) -> int:
        """Take as much of `data` as there is room for; returns how many bytes that was."""
        count = min(len(data), self.room)
        start = self._written % self.capacity
        first = min(count, self.capacity - start)
        self._data[start : start + first] = data[:first]
        if first < count:
            self._data[: count - first] = data[first:count]
        self._written += count
        return count

    def read_into(self, out: memoryview) -> int:
        """Fill `out` as far as there is something; returns how many bytes that was."""
        if self._skip_to > self._read:
            self._read = self._skip_to
        count = min(len(out), self._written - self._read)
        start = self._read % self.capacity
        first = min(count, self.capacity - start)
        out[:first] = self._data[start : start + first]
        if first < count:
            out[first:count] = self._data[: count - first]
        self._read += count
        return count

    def skip(self) -> None:
        """The writer's: nothing of what was written so far is to be read."""
        self._skip_to = self._written


class PlayoutClock:
    """Counts the frames that have come out of the device. Blocks are `took` by the callback with the time, on the
    stream's clock, at which their first frame is heard; what is asked is how many were heard by now."""

    __slots__ = ("_blocks", "_done", "_rate", "taken")

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._blocks: deque[tuple[float, int]] = deque()
        self._done = 0
        self.taken = 0

    def took(self, heard_at: float, frames: int) -> None:
        """The callback's: a block that begins with `frames` frames of sound, the rest silence."""
        if frames:
            self._blocks.append((heard_at, frames))
            self.taken += frames

    def heard(self, now: float) -> int:
        """Frames heard at `now`. Never less than before."""
        blocks = self._blocks
        while blocks and now >= blocks[0][0] + blocks[0][1] / self._rate:
            self._done += blocks.popleft()[1]
        if not blocks:
            return self._done
        at, frames = blocks[0]
        return self._done + max(0, min(frames, int((now - at) * self._rate)))
