"""A report on the terminal: progress while it runs, a table, and the story of each failure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click
from vivavoce.cli.console import console, is_live, print_table

from vivavoce_conformance.cases import Progress
from vivavoce_conformance.checks import CHECKS
from vivavoce_conformance.verdict import Column, Report, Result

__all__ = ["tell", "watched"]

_STATUS = ("passed", "failed", "waived", "not-run", "not-applicable")
_FRAMES = 6


class _Bar(Progress):
    """A bar that knows how many are to come, which check was last, and how many failed."""

    def __init__(self, bar: Any, name: str) -> None:
        super().__init__()
        self._bar = bar
        self._name = name
        self._total = self._failed = 0
        self._task = bar.add_task(name, total=None, last="")

    def expect(self, count: int, what: str) -> None:
        self._total += count
        label = self._name if what == "kit" else f"{self._name}, {what}"
        self._bar.update(self._task, total=self._total, description=label)

    def __call__(self, result: Result) -> None:
        self._failed += result.status == "failed"
        failed = f", {self._failed} failed" if self._failed else ""
        self._bar.update(self._task, advance=1, last=f"{result.id}{failed}")


@contextmanager
def watched(name: str, *, quiet: bool) -> Iterator[Progress]:
    """A bar while it runs, where somebody watches; else nothing until the end."""
    if quiet or not is_live():
        yield Progress()
        return
    from rich import progress as rich

    columns = (
        rich.TextColumn("{task.description}"),
        rich.BarColumn(),
        rich.MofNCompleteColumn(),
        rich.TimeElapsedColumn(),
        rich.TextColumn("{task.fields[last]}"),
    )
    with rich.Progress(*columns, console=console(), transient=True) as bar:
        yield _Bar(bar, name)


def tell(report: Report, *, partial: bool) -> None:
    """The whole report; `partial`: only some checks were asked for."""
    click.echo(
        f"{report.provider} ({report.distribution}), declares {', '.join(report.capabilities) or 'nothing'}"
    )
    _table(report, partial=partial)
    _tell_failures(report.results)
    if partial:
        ran = [r for r in report.results if r.status in ("passed", "failed", "waived")]
        passed = sum(r.status == "passed" for r in ran)
        click.echo(f"{report.provider}: {passed} of {len(ran)} passed; a verdict needs all checks")
    else:
        click.echo(f"{report.provider}: {report.verdict} ({report.seconds:g} s)")
    for column in report.columns:
        _tell_column(report, column)


def _table(report: Report, *, partial: bool) -> None:
    families: dict[str, list[Result]] = {}
    for result in report.results:
        if not partial or result.status in ("passed", "failed", "waived") or result.seen:
            families.setdefault(result.family, []).append(result)
    headings = ("family", "passed", "failed", "waived", "not run", "n/a")
    print_table(
        headings,
        [
            (name, *(str(sum(r.status == s for r in rows)) for s in _STATUS))
            for name, rows in families.items()
        ],
    )


def _tell_column(report: Report, column: Column) -> None:
    _tell_failures(column.results, where=column.name)
    counts = ", ".join(f"{column.count(s)} {s.replace('-', ' ')}" for s in _STATUS if column.count(s))  # type: ignore[arg-type]
    spent = ", ".join(
        f"{value:g} {what if what != 'audio' else 's of audio'}" for what, value in column.spent.items()
    )
    click.echo(
        f"{report.provider}, {column.name} ({column.source}): {counts}{f'; spent {spent}' if spent else ''}"
    )


def _tell_failures(results: Sequence[Result], where: str = "") -> None:
    for result in results:
        if result.status in ("failed", "waived") or (result.status == "not-run" and result.seen):
            _tell_failure(result, where)


def _tell_failure(result: Result, where: str) -> None:
    place = f" ({where})" if where else ""
    click.echo(f"\n{result.id} {result.level} {result.status}{place}: {result.sentence}")
    click.echo(f"  seen:  {result.seen}")
    if result.reason:
        click.echo(f"  waived: {result.reason}")
    for frame in result.wire[-_FRAMES:]:
        click.echo(f"  wire:  {frame}")
    click.echo(f"  rerun: {result.rerun}")
    click.echo(f"  docs:  {CHECKS[result.id].anchor}\n")
