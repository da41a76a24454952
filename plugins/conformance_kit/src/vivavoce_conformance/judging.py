"""The judge: starts peer and runner as processes of their own, hands out checks, and keeps what they gave.

It never imports a provider.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import vivavoce
from vivavoce import registry as installed
from vivavoce.errors import ConfigError

from vivavoce_conformance.cases import Case, Progress, start_runner, work
from vivavoce_conformance.checks import CHECKS
from vivavoce_conformance.columns import Live, run_live, run_recorded
from vivavoce_conformance.registry import SPEC_LEVEL, applicable
from vivavoce_conformance.verdict import Column, Report, Result, Waiver, conclude

__all__ = ["judge", "judge_async"]

WORKERS = 2


async def judge_async(
    spec: str,
    *,
    profile: str | None = None,
    only: Sequence[str] = (),
    waivers: Sequence[Waiver] = (),
    progress: Progress | Callable[[Result], None] | None = None,
    workers: int = WORKERS,
    live: Live | None = None,
    cassettes: Path | None = None,
) -> Report:
    """See `judge`."""
    began = time.monotonic()
    shown = progress if isinstance(progress, Progress) else Progress(progress)
    case = Case(spec, profile, waivers={w.id: w for w in waivers}, progress=shown)
    first = await start_runner(case, "")
    await first.end()
    capabilities = case.told["capabilities"]
    case.checks = applicable(
        capabilities, has_peer=bool(case.told["dialect"]), transport=case.told["transport"]
    )
    unknown = sorted({*only, *case.waivers} - CHECKS.keys())
    if unknown:
        raise ConfigError(f"no check is named {', '.join(unknown)}; `vivavoce conformance --list` names them")
    case.queue.extend(check for check in case.checks if not only or check.id in only)
    case.progress.expect(len(case.queue), "kit")
    async with asyncio.TaskGroup() as group:
        for _ in range(max(1, min(workers, len(case.queue)))):
            group.create_task(work(case))
    columns = []
    if live is not None:
        columns.append(await run_live(case, live, only))
    if cassettes is not None:
        columns.append(await run_recorded(case, cassettes, only))
    return _report(case, columns, time.monotonic() - began)


def _report(case: Case, columns: Sequence[Column], seconds: float) -> Report:
    conformant, tier, verdict = conclude(case.checks, case.results, case.told["capabilities"])
    expected = {check.id for check in case.checks}
    rows = []
    for id, check in sorted(CHECKS.items()):
        status: Any = "not-run" if id in expected else "not-applicable"
        blank = Result(id, status, check.level, check.family, check.sentence)
        rows.append(case.results.get(id, blank))
    return Report(
        # A class that is given by itself may bear the name of the one it was made from.
        provider=case.spec if ":" in case.spec else case.told["name"],
        distribution=_origin(case.spec),
        capabilities=case.told["capabilities"],
        spec_level=SPEC_LEVEL,
        kit=_kit_version(),
        core=vivavoce.__version__,
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        conformant=conformant,
        tier=tier,
        verdict=verdict,
        seconds=round(seconds, 1),
        results=rows,
        columns=columns,
    )


def _origin(spec: str) -> str:
    if ":" in spec:
        return "not installed"
    found = installed.find(spec)
    return f"{found.distribution} {found.version}"


def _kit_version() -> str:
    from importlib.metadata import version

    return version("vivavoce-conformance")


def judge(spec: str, **options: Any) -> Report:
    """Judge a provider, by its name or as `module:Class`.

    `profile`: `module:attribute` of a `Profile`; `only`: ids of checks (the rest is not run, so the verdict is "not
    conformant"); `waivers`; `progress`: called with each `Result`; `workers`: how many processes; `live` and `cassettes`:
    further columns, against the real service or a folder of recordings, which the verdict does not look at. Raises
    `ProviderNotFoundError`, `ProviderLoadError`, `ConfigError` in one line each when the provider cannot be judged.
    """
    return asyncio.run(judge_async(spec, **options))
