"""How much one client may send in a time, and how many sessions there may be."""

from __future__ import annotations

from collections import Counter

from vivavoce_gateway.config import Limits

__all__ = ["Bucket", "Places"]


class Bucket:
    """A token bucket: `rate` per second, beyond a burst of `burst`. `wait` says for how long to read no more."""

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate = rate
        self._burst = burst
        self._level = burst
        self._at = now

    def wait(self, amount: float, now: float) -> float:
        """Take `amount`; the seconds after which it is paid for."""
        self._level = min(self._burst, self._level + (now - self._at) * self._rate) - amount
        self._at = now
        return max(0.0, -self._level / self._rate)


class Places:
    """The sessions there may be, in all and by key."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._by_key: Counter[str] = Counter()
        self.taken = 0

    def refusal(self, key: str) -> str | None:
        """Why there is no place for one more, or `None`."""
        if self.taken >= self._limits.sessions:
            return f"This gateway holds {self._limits.sessions} sessions at most; try again later."
        if key and self._by_key[key] >= self._limits.sessions_per_key:
            return f"This key may hold {self._limits.sessions_per_key} sessions at most; close one first."
        return None

    def take(self, key: str) -> None:
        """One more session."""
        self.taken += 1
        self._by_key[key] += 1

    def give(self, key: str) -> None:
        """One fewer."""
        self.taken -= 1
        self._by_key[key] -= 1
        if not self._by_key[key]:
            del self._by_key[key]
