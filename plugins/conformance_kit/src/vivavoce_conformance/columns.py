"""Further columns of a report: the same checks against the real service, or against recordings of it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs
import msgspec
from vivavoce.errors import ConfigError

from vivavoce_conformance.cases import Case, work
from vivavoce_conformance.checks import CHECKS
from vivavoce_conformance.live import why_not
from vivavoce_conformance.peer.observer import Budget, Job
from vivavoce_conformance.scrub import Scrubber
from vivavoce_conformance.verdict import Column, Result

__all__ = ["Live", "run_live", "run_recorded"]


@attrs.frozen(kw_only=True)
class Live:
    """A run against the real service. `service`: its address, instead of the provider's own. `budget`: the most that it
    may cost. `record`: a folder for cassettes. Credentials come from the environment, as an app's would.
    """

    service: str | None = None
    budget: Budget = attrs.field(factory=Budget)
    record: Path | None = None


async def run_live(case: Case, live: Live, only: Sequence[str]) -> Column:
    """The live column. Raises `ConfigError` where there is nothing to dial, or no credential."""
    dialect, service = case.told["dialect"], live.service or case.told["service"]
    if not dialect:
        raise ConfigError(f"{case.spec}: without a dialect nothing can be counted, so nothing is run live")
    if not service:
        raise ConfigError(f"{case.spec}: its service has no known address; give it with --service URL")
    variables = list(case.told["credentials"])
    missing = [name for name in variables if not os.environ.get(name, "").strip()]
    if missing:
        raise ConfigError(f"{case.spec}: a live run needs {', '.join(missing)} in the environment")
    job = Job(
        service=service,
        dialect=dialect,
        secrets=variables,
        record=str(live.record or ""),
        budget=live.budget,
    )
    arguments = ("vivavoce_conformance.peer.proxy", msgspec.json.encode(job).decode())
    again = " --live" + (f" --service {live.service}" if live.service else "")
    scrubber = Scrubber(os.environ[name] for name in variables)
    column = await _run(case, "live", arguments, again, only)
    clean = [msgspec.structs.replace(result, seen=scrubber.text(result.seen)) for result in column.results]
    return msgspec.structs.replace(column, source=scrubber.address(service), results=clean)


async def run_recorded(case: Case, folder: Path, only: Sequence[str]) -> Column:
    """The recorded column. Raises `ConfigError` for a folder without cassettes."""
    from vivavoce_conformance.peer.player import Shelf

    if not case.told["dialect"]:
        raise ConfigError(f"{case.spec}: a cassette is read with a dialect, and it has none")
    if not Shelf(folder).checks:
        raise ConfigError(f"{folder} holds no cassettes; record some with --live --record {folder}")
    arguments = ("vivavoce_conformance.peer.player", str(folder), case.told["dialect"])
    column = await _run(case, "recorded", arguments, f" --cassettes {folder}", only)
    return msgspec.structs.replace(column, source=str(folder))


async def _run(case: Case, mode: Any, real: tuple[str, ...], again: str, only: Sequence[str]) -> Column:
    mine = Case(
        case.spec, case.profile, told=case.told, progress=case.progress, real=real, mode=mode, again=again
    )
    rows: dict[str, Result] = {}
    for id, check in sorted(CHECKS.items()):
        reason = why_not(
            check,
            case.told["capabilities"],
            replayed=mode == "recorded",
            observes=case.told["observes"],
        )
        status: Any = "not-run" if reason is None else "not-applicable"
        rows[id] = Result(id, status, check.level, check.family, check.sentence, seen=reason or "")
        if reason is None and (not only or id in only):
            mine.queue.append(check)
    case.progress.expect(len(mine.queue), mode)
    await work(mine)  # one after the other: a real service is asked for one thing at a time
    results = [mine.results.get(id, row) for id, row in rows.items()]
    return Column(
        name=mode,
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        spent=mine.spent,
        results=results,
    )
