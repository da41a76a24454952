"""`vivavoce conformance NAME`: the verdict on one provider or several, on the terminal and as files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from vivavoce.cli.console import Failed, complain, is_live, print_json, print_table
from vivavoce.errors import VoiceError

from vivavoce_conformance import badge, matrix
from vivavoce_conformance.checks import CHECKS
from vivavoce_conformance.judging import judge
from vivavoce_conformance.reports import REPORT_NAME, read_report, write_report
from vivavoce_conformance.verdict import Report, Result
from vivavoce_conformance.waivers import read_waivers

__all__ = ["conformance"]


@click.command(name="conformance")
@click.argument("providers", nargs=-1, metavar="NAME...")
@click.option("--check", "only", multiple=True, metavar="ID", help="Run this check alone; may be repeated.")
@click.option("--profile", metavar="MODULE:NAME", help="How to reach it, instead of the installed profile.")
@click.option(
    "--waivers", "waivers_path", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
    help="TOML: failures that are known, each with a reason and a date.",
)  # fmt: skip
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
    help="Write NAME.json, NAME.svg, NAME.badge.json and matrix.html there.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.option("--list", "listing", is_flag=True, help="List the checks.")
@click.option(
    "--workers", type=click.IntRange(1, 16), default=2, show_default=True, help="Processes at a time."
)
def conformance(
    providers: Sequence[str],
    only: Sequence[str],
    profile: str | None,
    waivers_path: Path | None,
    out: Path | None,
    as_json: bool,
    listing: bool,
    workers: int,
) -> int:
    """Judge providers: by name, or as MODULE:CLASS. Exit status 0: all are conformant.

    Each runs in processes of its own. With --check the exit status is that of those checks.
    """
    if listing:
        print_table(("id", "level", "family", "expectation"), [_row(id) for id in sorted(CHECKS)])
        return 0
    if not providers:
        raise click.UsageError("give the name of a provider")
    waivers = read_waivers(waivers_path) if waivers_path is not None else []
    status = 0
    reports = []
    for name in providers:
        try:
            with _shown(name, quiet=as_json) as progress:
                report = judge(
                    name, profile=profile, only=only, waivers=waivers, progress=progress, workers=workers
                )
        except VoiceError as bad:
            if len(providers) == 1:
                raise Failed(str(bad)) from bad
            complain(str(bad))
            status = 1
            continue
        reports.append(report)
        _tell(report, as_json=as_json, partial=bool(only))
        passed = not any(r.status in ("failed", "not-run") for r in report.results if r.id in only)
        status = max(status, int(not (passed if only else report.conformant)))
    if out is not None and reports:
        _write(out, reports)
    return status


def _row(id: str) -> tuple[str, str, str, str]:
    check = CHECKS[id]
    return id, check.level, check.family, check.sentence


@contextmanager
def _shown(name: str, *, quiet: bool) -> Iterator[Any]:
    """A line that grows while it runs, where somebody watches; else nothing until the end."""
    if quiet or not is_live():
        yield lambda result: None
        return
    bar: Any = click.progressbar(
        length=len(CHECKS), label=name, item_show_func=lambda r: r.id if r else "", show_eta=False
    )
    with bar:
        yield lambda result: bar.update(1, result)


def _tell(report: Report, *, as_json: bool, partial: bool) -> None:
    if as_json:
        print_json(report)
        return
    click.echo(
        f"{report.provider} ({report.distribution}), declares {', '.join(report.capabilities) or 'nothing'}"
    )
    families: dict[str, list[Result]] = {}
    for result in report.results:
        families.setdefault(result.family, []).append(result)
    print_table(
        ("family", "passed", "failed", "waived", "not run", "n/a"),
        [
            (name, *(str(sum(r.status == s for r in rows)) for s in ("passed", "failed", "waived", "not-run", "not-applicable")))
            for name, rows in families.items()
        ],
    )  # fmt: skip
    for result in report.results:
        if result.status in ("failed", "waived") or (result.status == "not-run" and result.seen):
            _tell_failure(result)
    if partial:
        ran = sum(r.status in ("passed", "failed", "waived") for r in report.results)
        click.echo(f"{report.provider}: {ran} checks ran; a verdict needs all of them")
    else:
        click.echo(f"{report.provider}: {report.verdict} ({report.seconds:g} s)")


def _tell_failure(result: Result) -> None:
    click.echo(f"\n{result.id} {result.level} {result.status}: {result.sentence}")
    click.echo(f"  seen:  {result.seen}")
    if result.reason:
        click.echo(f"  waived: {result.reason}")
    for frame in result.wire[-6:]:
        click.echo(f"  wire:  {frame}")
    click.echo(f"  rerun: {result.rerun}")
    click.echo(f"  docs:  {CHECKS[result.id].anchor}\n")


def _write(out: Path, reports: Sequence[Report]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    for report in reports:
        name = report.provider
        write_report(out / REPORT_NAME.format(name), report)
        (out / f"{name}.svg").write_text(badge.as_svg(report))
        (out / f"{name}.badge.json").write_text(badge.as_json(report))
    every = [read_report(path) for path in sorted(out.glob(REPORT_NAME.format("*")))]
    (out / "matrix.html").write_text(matrix.as_html(every))
    click.echo(f"written: {out}")
