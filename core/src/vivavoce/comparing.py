"""Two recordings of one conversation, exchange by exchange: a regression test for voice apps.

An exchange is one turn of the user and the replies to it. Pure: it reads timelines and decides.
"""

from __future__ import annotations

import statistics
import unicodedata
from collections.abc import Sequence

import attrs

from vivavoce.plot.timeline import Said, Timeline

__all__ = ["Comparison", "Difference", "Exchange", "Limits", "compare", "exchanges", "word_errors"]


@attrs.frozen
class Exchange:
    """What the user said, what was replied, and the milliseconds in between; `None` where no sound replied."""

    user: Said | None
    replies: tuple[Said, ...]
    latency_ms: float | None

    @property
    def reply(self) -> str:
        """The whole of what was replied."""
        return " ".join(part.text for part in self.replies if part.text)


@attrs.frozen(kw_only=True)
class Limits:
    """What is a failure. `word_errors`: the part of the user's words that may be understood otherwise; `reply_errors`:
    the same of the reply (`None`: replies may differ, as those of a model do); `slower_ms`: how much later the median
    answer may begin."""

    word_errors: float = 0.3
    reply_errors: float | None = None
    slower_ms: float = 500.0


@attrs.frozen
class Difference:
    """One exchange, before and now. `problems` say in plain words what failed."""

    number: int
    before: Exchange
    now: Exchange | None
    user_errors: float
    reply_errors: float
    problems: tuple[str, ...]


@attrs.frozen
class Comparison:
    """All of it. `passed` is the exit status of a test."""

    differences: tuple[Difference, ...]
    median_before_ms: float | None
    median_now_ms: float | None
    problems: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing failed."""
        return not self.problems and not any(difference.problems for difference in self.differences)


def exchanges(timeline: Timeline) -> tuple[Exchange, ...]:
    """The exchanges of a recording, in order. What is said before the user's first turn has no user."""
    groups: list[tuple[Said | None, list[Said]]] = []
    for part in timeline.said:
        if part.role == "user":
            groups.append((part, []))
        else:
            if not groups:
                groups.append((None, []))
            groups[-1][1].append(part)
    latencies = {latency.start_ms: latency.ms for latency in timeline.latencies}
    return tuple(
        Exchange(user, tuple(replies), latencies.get(user.end_ms) if user is not None else None)
        for user, replies in groups
    )


def word_errors(before: str, now: str) -> float:
    """Words to change, add or drop to come from one text to the other, as a part of the first one's (0: equal)."""
    first, second = _words(before), _words(now)
    if not first:
        return float(bool(second))
    row = list(range(len(second) + 1))
    for i, word in enumerate(first, 1):
        diagonal, row[0] = row[0], i
        for j, other in enumerate(second, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (word != other))
    return row[-1] / len(first)


def _words(text: str) -> list[str]:
    kept = (
        c if c.isalnum() else "" if c in "'’" else " " for c in unicodedata.normalize("NFKC", text).casefold()
    )
    return "".join(kept).split()


def compare(before: Timeline, now: Timeline, limits: Limits) -> Comparison:
    """Compare what `before` was replayed from with what came of it."""
    # A greeting is not asked for, so nothing answers to it.
    old = [exchange for exchange in exchanges(before) if exchange.user is not None]
    new = [exchange for exchange in exchanges(now) if exchange.user is not None]
    differences = tuple(
        _difference(number, exchange, new[number - 1] if number <= len(new) else None, limits)
        for number, exchange in enumerate(old, 1)
    )
    medians = _median(old), _median(new)
    problems = []
    if len(new) > len(old):
        problems.append(f"the user's {len(old)} turns were taken for {len(new)}")
    if medians[0] is not None and medians[1] is not None and medians[1] > medians[0] + limits.slower_ms:
        problems.append(
            f"answers begin after {medians[1]:.0f} ms in the middle, {medians[1] - medians[0]:.0f} ms later than before"
        )
    return Comparison(differences, *medians, tuple(problems))


def _median(found: Sequence[Exchange]) -> float | None:
    latencies = [exchange.latency_ms for exchange in found if exchange.latency_ms is not None]
    return statistics.median(latencies) if latencies else None


def _difference(number: int, before: Exchange, now: Exchange | None, limits: Limits) -> Difference:
    if now is None:
        return Difference(number, before, None, 1.0, 1.0, ("this turn was not heard",))
    user = word_errors(before.user.text if before.user else "", now.user.text if now.user else "")
    reply = word_errors(before.reply, now.reply)
    problems = []
    if user > limits.word_errors:
        problems.append(f"{user:.0%} of the user's words are understood otherwise")
    if before.replies and not now.replies:
        problems.append("nothing was replied")
    elif limits.reply_errors is not None and reply > limits.reply_errors:
        problems.append(f"{reply:.0%} of the reply's words are others")
    return Difference(number, before, now, user, reply, tuple(problems))
