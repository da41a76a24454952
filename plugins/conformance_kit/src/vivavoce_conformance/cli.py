"""`vivavoce conformance NAME`: the verdict on one provider or several, on the terminal and as files.

`record` and `replay` are commands below it; whatever else comes first is the name of a provider.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from vivavoce.cli.console import Failed, complain, print_json, print_table
from vivavoce.errors import VoiceError

from vivavoce_conformance.peer.observer import Budget
from vivavoce_conformance.tapedeck import record, replay

if TYPE_CHECKING:
    from vivavoce_conformance.verdict import Column, Report

__all__ = ["conformance"]


class _Judging(click.Group):
    """`judge` is what it does where no other command is named."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or args[0] not in self.commands:
            args = ["judge", *args]
        return super().parse_args(ctx, args)


class _Judge(click.Command):
    """Its help is that of the whole command."""

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        path = ctx.command_path.removesuffix(" judge")
        formatter.write_usage(path, "[OPTIONS] NAME...")
        for command in (record, replay):
            formatter.write_usage(path, f"{command.name} [OPTIONS] FILE")

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [(str(command.name), command.get_short_help_str(90)) for command in (record, replay)]
        with formatter.section("Commands (`judge NAME` for a provider of one of these names)"):
            formatter.write_dl(rows)


@click.group(name="conformance", cls=_Judging)
def conformance() -> None:
    """Judge providers, and record what they say to their services."""


conformance.add_command(record)
conformance.add_command(replay)


@conformance.command(name="judge", cls=_Judge)
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
    "--live", is_flag=True,
    help="Then also run what can be run against the real service, with your own credentials: it costs money. At most "
    f"{Budget()}, which is enforced.",
)  # fmt: skip
@click.option("--service", metavar="URL", help="With --live: the service, instead of the provider's own.")
@click.option(
    "--record", "tapes", type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
    help="With --live: write a cassette of each check there, without secrets.",
)  # fmt: skip
@click.option(
    "--max-replies", type=click.IntRange(0), metavar="N", help="With --live: another limit of replies."
)
@click.option(
    "--cassettes", type=click.Path(exists=True, file_okay=False, path_type=Path), metavar="DIR",
    help="Then also run what was recorded there, without the service.",
)  # fmt: skip
@click.option(
    "--workers", type=click.IntRange(1, 16), default=2, show_default=True, help="Processes at a time."
)
def _judge_providers(
    providers: Sequence[str],
    only: Sequence[str],
    profile: str | None,
    waivers_path: Path | None,
    out: Path | None,
    as_json: bool,
    listing: bool,
    live: bool,
    service: str | None,
    tapes: Path | None,
    max_replies: int | None,
    cassettes: Path | None,
    workers: int,
) -> int:
    """Judge providers: by name, or as MODULE:CLASS. Exit status 0: all are conformant.

    Each runs in processes of its own. With --check the exit status is that of those checks.
    """
    if listing:
        _list()
        return 0
    if not providers:
        raise click.UsageError("give the name of a provider")
    if not live and (service or tapes or max_replies is not None):
        raise click.UsageError("--service, --record and --max-replies go with --live")
    if only and out is not None:
        raise click.UsageError("a report needs all checks: --out does not go with --check")
    from vivavoce_conformance.columns import Live
    from vivavoce_conformance.waivers import read_waivers

    budget = Budget() if max_replies is None else Budget(replies=max_replies)
    options: dict[str, Any] = {
        "profile": profile,
        "only": only,
        "waivers": read_waivers(waivers_path) if waivers_path is not None else [],
        "workers": workers,
        "live": Live(service=service, budget=budget, record=tapes) if live else None,
        "cassettes": cassettes,
    }
    reports = [
        report for name in providers if (report := _judged(name, options, len(providers) == 1, as_json))
    ]
    if out is not None and reports:
        _write(out, reports)
    return int(len(reports) < len(providers) or any(_is_bad(report, only) for report in reports))


def _list() -> None:
    from vivavoce_conformance.checks import CHECKS
    from vivavoce_conformance.live import LIVE

    rows = [
        (id, c.level, "yes" if id in LIVE else "", c.family, c.sentence) for id, c in sorted(CHECKS.items())
    ]
    print_table(("id", "level", "live", "family", "expectation"), rows)


def _judged(name: str, options: dict[str, Any], alone: bool, as_json: bool) -> Report | None:
    """Judge one provider and tell it; `None`: it cannot be judged, which is told in a line, unless it is the only one."""
    from vivavoce_conformance.judging import judge
    from vivavoce_conformance.terminal import tell, watched

    if options["live"] is not None:
        click.echo(f"{name}: live, with your own credentials; at most {options['live'].budget}", err=True)
    try:
        with watched(name, quiet=as_json) as watching:
            report = judge(name, progress=watching, **options)
    except VoiceError as bad:
        if alone:
            raise Failed(str(bad)) from bad
        complain(str(bad))
        return None
    if as_json:
        print_json(report)
    else:
        tell(report, partial=bool(options["only"]))
    return report


def _is_bad(report: Report, only: Sequence[str]) -> bool:
    """What the exit status says of one provider."""
    if only:
        good = not any(r.status in ("failed", "not-run") for r in report.results if r.id in only)
    else:
        good = report.conformant
    return not (good and all(_is_sound(column, only) for column in report.columns))


def _is_sound(column: Column, only: Sequence[str]) -> bool:
    ran = [r for r in column.results if not only or r.id in only]
    return not any(r.status == "not-run" or (r.status == "failed" and r.level == "MUST") for r in ran)


def _write(out: Path, reports: Sequence[Report]) -> None:
    from vivavoce_conformance import badge, matrix
    from vivavoce_conformance.reports import REPORT_NAME, read_report, write_report

    out.mkdir(parents=True, exist_ok=True)
    for report in reports:
        name = report.provider.replace(":", ".")
        write_report(out / REPORT_NAME.format(name), report)
        (out / f"{name}.svg").write_text(badge.as_svg(report))
        (out / f"{name}.badge.json").write_text(badge.as_json(report))
    every = [read_report(path) for path in sorted(out.glob(REPORT_NAME.format("*")))]
    (out / "matrix.html").write_text(matrix.as_html(every))
    click.echo(f"written: {out}", err=True)
