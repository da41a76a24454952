"""How much input audio is kept while nothing can be sent: the newest, up to a bound; the rest is counted."""

from __future__ import annotations

from collections import deque

__all__ = ["HeldAudio"]


class HeldAudio:
    """PCM16 chunks that wait for a session: at most `limit` bytes, the newest ones."""

    def __init__(self, limit: int) -> None:
        self._limit = limit & ~1
        self._chunks: deque[bytes] = deque()
        self.held = 0
        self.lost = 0

    def add(self, audio: bytes) -> None:
        self._chunks.append(audio)
        self.held += len(audio)
        while self.held > self._limit:
            oldest = self._chunks.popleft()
            keep = min(len(oldest), max(0, self._limit - (self.held - len(oldest)))) & ~1
            if keep:
                self._chunks.appendleft(oldest[-keep:])
            self.held -= len(oldest) - keep
            self.lost += len(oldest) - keep

    def take(self) -> tuple[list[bytes], int]:
        """What is held, and how many bytes were lost; empties both."""
        taken, lost = list(self._chunks), self.lost
        self._chunks.clear()
        self.held = self.lost = 0
        return taken, lost
