"""How much input audio is kept while nothing can be sent: the newest, up to a bound; the rest is counted."""

from __future__ import annotations

from collections import deque

__all__ = ["HeldAudio"]


class HeldAudio:
    """PCM16 chunks that wait for a session: at most `limit` bytes, the newest ones."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._chunks: deque[bytes] = deque()
        self.held = 0
        self.lost = 0

    def add(self, audio: bytes) -> None:
        self._chunks.append(audio)
        self.held += len(audio)
        limit = self.limit & ~1
        while self.held > limit:
            oldest = self._chunks.popleft()
            keep = min(len(oldest), max(0, limit - (self.held - len(oldest)))) & ~1
            if keep:
                self._chunks.appendleft(oldest[-keep:])
            self.held -= len(oldest) - keep
            self.lost += len(oldest) - keep

    def pop(self) -> bytes:
        """The oldest chunk that is held; empty when there is none."""
        audio = self._chunks.popleft() if self._chunks else b""
        self.held -= len(audio)
        return audio

    def forget(self) -> int:
        """Drop everything; returns how many bytes were lost in all."""
        lost = self.held + self.lost
        self._chunks.clear()
        self.held = self.lost = 0
        return lost
