"""Which reply of a call is being heard, and how much of each of its items: decided without I/O.

The gateway sends a reply's audio in real time, so it knows what was heard, and cuts the conversation there itself.
"""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Cut", "Playout"]

Cut = tuple[str, int]
"""An item, and the milliseconds of it that were heard."""


class Playout:
    """`tell` is given `started`, `stopped` or `cleared`, and the reply's id."""

    def __init__(self, tell: Callable[[str, str], None]) -> None:
        self._tell = tell
        self._queued: dict[tuple[str, str], float] = {}
        self._heard: dict[tuple[str, str], float] = {}
        self._finished: set[str] = set()
        self._muted: set[str] = set()
        self._empty = True
        self.playing: str | None = None

    def queue(self, reply: str, item: str, ms: float) -> bool:
        """Audio is about to wait for its time; false if nothing more of this reply is to be heard."""
        if reply in self._muted:
            return False
        self._queued[reply, item] = self._queued.get((reply, item), 0.0) + ms
        self._empty = False
        return True

    def played(self, reply: str, item: str, ms: float) -> None:
        """So much more of an item was sent."""
        if reply != self.playing:
            self._stop()
            self.playing = reply
            self._tell("started", reply)
        self._heard[reply, item] = self._heard.get((reply, item), 0.0) + ms

    def drained(self) -> None:
        """Everything that waited was sent. The reply is over if nothing more of it will come."""
        self._empty = True
        if self.playing in self._finished:
            self._stop()

    def finish(self, reply: str) -> None:
        """The last audio of this reply has been queued."""
        self._muted.discard(reply)
        if any(of == reply for of, _ in self._queued):
            self._finished.add(reply)
            if self._empty and self.playing == reply:
                self._stop()

    def cut(self) -> list[Cut]:
        """Nothing more is to be heard; returns the items that were not heard to their end."""
        replies = {reply: None for reply, _ in self._queued}
        if self.playing is not None:
            replies = {self.playing: None, **replies}
        if not replies:
            return []
        cuts = [
            (key[1], int(self._heard.get(key, 0.0)))
            for key, queued in self._queued.items()
            if self._heard.get(key, 0.0) < queued
        ]
        self._muted |= replies.keys() - self._finished
        self._finished.clear()
        self._queued.clear()
        self._heard.clear()
        self._empty, self.playing = True, None
        self._tell("cleared", next(iter(replies)))
        return cuts

    def _stop(self) -> None:
        if (reply := self.playing) is None:
            return
        self.playing = None
        self._finished.discard(reply)
        for kept in (self._queued, self._heard):
            for key in [key for key in kept if key[0] == reply]:
                del kept[key]
        self._tell("stopped", reply)
