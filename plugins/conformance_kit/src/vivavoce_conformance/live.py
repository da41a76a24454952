"""Which checks run against a real service or a cassette, and why the others do not.

A real service cannot be told to misbehave or what to say, so most checks need the kit's own peer. Those named here
look at a service that does its best, and cost little: a few sessions, and short replies.
"""

from __future__ import annotations

from collections.abc import Iterable

from vivavoce_conformance.registry import Check

__all__ = ["LIVE", "REPLAYED", "why_not"]

LIVE = frozenset(
    f"VV-CON-{number:03}"
    for number in (
        *(12, 30, 31, 32, 42, 43, 44, 46, 47),  # connecting
        *(50, 51, 52, 55, 56, 57, 58, 62, 63),  # talking
        *(71, 72, 73, 101, 103, 105, 106),  # misuse, leaks, time
        *(133, 138, 139, 140, 161, 162),  # turns, tools, secrets
        *range(170, 177),  # the grammar of one conversation
    )
)
_READS_THE_SERVICE = frozenset(["VV-CON-031", "VV-CON-063"])
# Where the provider stops half-way, no two runs say the same.
REPLAYED = LIVE - {"VV-CON-042", "VV-CON-046", "VV-CON-071", "VV-CON-101", "VV-CON-103"}

_OF_THE_MACHINE = frozenset(["import hygiene", "warning rule", "speech without a session"])


def why_not(check: Check, capabilities: Iterable[str], *, replayed: bool, observes: bool) -> str | None:
    """Why a check does not run against a real service, or a cassette; `None`: it does."""
    stated = frozenset(capabilities)
    if not check.needs <= stated or (check.any_of and not check.any_of & stated):
        return "its capability is not declared"
    if check.id in _READS_THE_SERVICE and not observes:
        return "the dialect does not read what the service says: it has no `observe`"
    if check.id in (REPLAYED if replayed else LIVE):
        return None
    if check.id in LIVE:
        return "no two runs say the same: a cassette cannot answer it"
    if check.family in _OF_THE_MACHINE or check.family == "misuse":
        return "it does not reach the service"
    return "it needs a service that misbehaves, or answers, as it is told"
