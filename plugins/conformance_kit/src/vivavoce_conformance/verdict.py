"""From recorded outcomes to a verdict: plain comparison with the list of checks, nothing else is believed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Literal

import msgspec

from vivavoce_conformance.registry import Check

__all__ = ["REPORT_VERSION", "Column", "Report", "Result", "Status", "Tier", "Waiver", "conclude"]

REPORT_VERSION = 1
"""Of the JSON report: a field may be added at any time; the number grows when one changes its meaning."""

Status = Literal["passed", "failed", "waived", "not-run", "not-applicable"]
Tier = Literal["none", "bronze", "silver", "gold"]


class Waiver(msgspec.Struct, frozen=True):
    """A failure that the author knows of: why, and until when. It caps the badge at bronze."""

    id: str
    reason: str
    until: date


class Result(msgspec.Struct, frozen=True, omit_defaults=True):
    """One check's result. `seen` is what was seen instead of the expectation, `wire` the last frames."""

    id: str
    status: Status
    level: str
    family: str
    sentence: str
    seen: str = ""
    wire: Sequence[str] = ()
    rerun: str = ""
    reason: str = ""
    seconds: float = 0.0


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """The same ids against something else than the kit's own peer: `live`, the real service; `recorded`, cassettes.

    `source` is the service's address, or the folder; `spent` is what it cost. It has no part in the verdict.
    """

    name: Literal["live", "recorded"]
    source: str = ""
    made: str = ""
    spent: Mapping[str, float] = {}
    results: Sequence[Result] = ()

    def count(self, status: Status) -> int:
        """How many results have this status."""
        return sum(r.status == status for r in self.results)


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A provider's report. `verdict` is one line for people; `conformant` is what counts."""

    version: int = REPORT_VERSION
    provider: str
    distribution: str = ""
    capabilities: Sequence[str] = ()
    spec_level: int = 1
    kit: str = ""
    core: str = ""
    made: str = ""
    conformant: bool = False
    tier: Tier = "none"
    verdict: str = ""
    seconds: float = 0.0
    results: Sequence[Result] = ()
    columns: Sequence[Column] = ()

    def count(self, status: Status, level: str | None = None) -> int:
        """How many results have this status."""
        return sum(r.status == status and (level is None or r.level == level) for r in self.results)


def conclude(
    expected: Iterable[Check], results: Mapping[str, Result], capabilities: Iterable[str]
) -> tuple[bool, Tier, str]:
    """Whether the provider is conformant, its tier, and a sentence.

    A check of `expected` that has no result, or was not run, makes it not conformant, whatever its level.
    """
    checks = list(expected)
    status = {check.id: results[check.id].status if check.id in results else "not-run" for check in checks}
    not_run = [c.id for c in checks if status[c.id] == "not-run"]
    failed = [c.id for c in checks if status[c.id] == "failed" and c.level == "MUST"]
    advised = [c.id for c in checks if status[c.id] == "failed" and c.level == "SHOULD"]
    waived = [c.id for c in checks if status[c.id] == "waived"]
    if failed or not_run:
        words = [f"{len(failed)} MUST failed ({_some(failed)})"] if failed else []
        words += [f"{len(not_run)} not run ({_some(not_run)})"] if not_run else []
        return False, "none", f"not conformant: {', '.join(words)}"
    if not set(capabilities):
        return True, "none", "conformant, nothing declared"
    if waived:
        return True, "bronze", f"conformant, bronze: waived {_some(waived)}"
    if advised:
        return True, "silver", f"conformant, silver: SHOULD failed ({_some(advised)})"
    return True, "gold", "conformant, gold"


def _some(ids: Sequence[str], most: int = 6) -> str:
    return ", ".join(ids[:most]) + (", …" if len(ids) > most else "")
