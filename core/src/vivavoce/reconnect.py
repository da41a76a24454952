"""When and how long to wait before dialling again. Decisions only: time and chance are passed in.

A budget of time, not a number of attempts, bounds an outage. Attempts are counted on from one loss to the next until
the service has proven healthy in between, so a server that accepts and closes cannot start the count anew.
"""

from __future__ import annotations

import msgspec

from vivavoce.errors import AuthenticationError, ConfigError, QuotaError, VoiceError

__all__ = ["Backoff", "ReconnectPolicy", "may_retry"]


class ReconnectPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How a lost session is restored. All times are in milliseconds.

    The delay before attempt n is `initial_delay_ms` x 2^(n-1), at most `max_delay_ms`, of which a random half is
    taken off. Attempts end when `budget_ms` have passed since the loss. After `healthy_ms` of a restored session, or
    the first reply in it, the count starts anew.
    """

    budget_ms: float = 60_000
    initial_delay_ms: float = 250
    max_delay_ms: float = 8_000
    healthy_ms: float = 10_000
    attempt_timeout_ms: float = 10_000

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
                text = f"ReconnectPolicy.{name}={value!r}: give a positive number of milliseconds"
                raise ConfigError(text, option="reconnect")


class Backoff:
    """The attempts of one outage, counted on into the next one until `healthy` is called."""

    def __init__(self, policy: ReconnectPolicy) -> None:
        self.policy = policy
        self.attempts = 0
        self._since: float | None = None

    def lost(self, now: float) -> None:
        """The session was lost at `now` seconds. Within an outage, and after an unproven restoration, the first loss counts."""
        if self._since is None:
            self._since = now

    def healthy(self) -> None:
        """The restored session has proven itself: forget the outage."""
        self.attempts, self._since = 0, None

    def next_delay(self, now: float, chance: float) -> float | None:
        """Milliseconds to wait before the next attempt, or `None` when the budget is spent. `chance` is in [0, 1)."""
        spent = (now - (self._since if self._since is not None else now)) * 1000
        ceiling: float = min(
            self.policy.max_delay_ms, self.policy.initial_delay_ms * 2 ** min(self.attempts, 30)
        )
        delay = ceiling * (1 - chance / 2)
        if spent + delay > self.policy.budget_ms:
            return None
        self.attempts += 1
        return delay

    def time_left(self, now: float) -> float:
        """Milliseconds of the budget that are left, at most those of one attempt."""
        spent = (now - (self._since if self._since is not None else now)) * 1000
        return max(1.0, min(self.policy.attempt_timeout_ms, self.policy.budget_ms - spent))


def may_retry(cause: BaseException | None) -> bool:
    """Whether a loss or a failed attempt may be followed by another. Authentication, quota and bad requests are final."""
    if isinstance(cause, (AuthenticationError, QuotaError, ConfigError)):
        return False
    if isinstance(cause, VoiceError):
        return cause.retryable
    return cause is None or isinstance(cause, (OSError, TimeoutError, EOFError))
