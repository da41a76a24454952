"""`Reorder`: RTP packets in their order, with those that were lost named. No I/O, no clock.

A packet is handed on when all before it were, so without loss nothing waits. Where one is missing, those behind it wait: as many
as lately came between a packet and its place, and no more. So delay follows the disorder of the network and not its
losses, and goes back when the network calms down.
"""

from __future__ import annotations

from collections import deque

__all__ = ["Reorder"]

_LEAST, _FIRST, _MOST = 2, 3, 10
"""Packets that wait for a missing one: at the least, at first, and at the most."""
_CALM = 500
"""Packets in a row, none of them late, after which one fewer waits: 10 s."""
_JUMP = 500
"""A distance that is no gap any more: another stream."""
_FILL = 5
"""Packets of a gap that are named as lost. What is missing beyond that was an outage: it is over, and is not made up for."""


class Reorder:
    """Sequence numbers are 16 bits and wrap. What it returns: payloads, in order; `None` for a lost packet."""

    def __init__(self) -> None:
        self.patience = _FIRST
        """Packets that wait for a missing one at present."""
        self.lost = 0
        """Packets given up so far."""
        self._next: int | None = None
        self._waiting: dict[int, bytes] = {}
        self._given_up: deque[int] = deque(maxlen=64)
        self._calm = 0

    @property
    def waits(self) -> bool:
        """Packets wait for a missing one: `give_up` gets them, if it does not come."""
        return bool(self._waiting)

    def add(self, sequence: int, payload: bytes) -> list[bytes | None]:
        """Take a packet as it arrives."""
        if self._next is None:
            self._next = sequence
        ahead = _distance(sequence, self._next)
        if abs(ahead) > _JUMP:
            ready = self._drain()
            self._next = sequence
            return ready + self._in_order(sequence, payload)
        if ahead < 0:
            self._late(sequence, -ahead)
            return []
        self._calm += 1
        if self._calm >= _CALM:
            self._calm = 0
            self.patience = max(_LEAST, self.patience - 1)
        if ahead == 0:
            return self._in_order(sequence, payload)
        self._waiting[sequence] = payload
        return self.give_up() if len(self._waiting) >= self.patience or ahead > _MOST else []

    def give_up(self) -> list[bytes | None]:
        """Wait no longer for what is missing now."""
        if not self._waiting or self._next is None:
            return []
        nearest = min(self._waiting, key=lambda sequence: _distance(sequence, self._next or 0))
        missing = _distance(nearest, self._next)
        self.lost += missing
        self._given_up.extend((self._next + step) & 0xFFFF for step in range(missing))
        self._next = nearest
        lost: list[bytes | None] = [None] * missing
        return lost[:_FILL] + self._in_order(nearest, self._waiting.pop(nearest))

    def _in_order(self, sequence: int, payload: bytes) -> list[bytes | None]:
        ready: list[bytes | None] = [payload]
        following = (sequence + 1) & 0xFFFF
        while (waited := self._waiting.pop(following, None)) is not None:
            ready.append(waited)
            following = (following + 1) & 0xFFFF
        self._next = following
        return ready

    def _drain(self) -> list[bytes | None]:
        ready: list[bytes | None] = []
        while self._waiting:
            ready += self.give_up()
        return ready

    def _late(self, sequence: int, by: int) -> None:
        """It came after it was given up: the next one is waited for longer. A duplicate teaches nothing."""
        if sequence in self._given_up:
            self._given_up.remove(sequence)
            self.lost -= 1
            self._calm = 0
            self.patience = min(_MOST, max(self.patience + 1, by))


def _distance(to: int, origin: int) -> int:
    """How far `to` is ahead of `origin`, in -32,768 to 32,767."""
    return ((to - origin + 0x8000) & 0xFFFF) - 0x8000
