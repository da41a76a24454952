"""The matrix of providers and checks, as one page of HTML without a script.

Each provider has a column, and further ones where the same checks ran against its real service or a recording.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from vivavoce_conformance.badge import COLOURS, tone
from vivavoce_conformance.checks import CHECKS
from vivavoce_conformance.verdict import Column, Report, Result

__all__ = ["as_html"]

_SIGNS = {"passed": "✓", "failed": "✗", "waived": "w", "not-run": "?", "not-applicable": "·"}
_WORDS = {
    "passed": "passed",
    "failed": "failed",
    "waived": "waived",
    "not-run": "not run",
    "not-applicable": "not applicable",
}
_STYLE = """
:root { color-scheme: light dark; --back: #fff; --ink: #222; --line: #ddd; --good: #2c6e3a; --quiet: #888; --shade: #f4f4f2 }
@media (prefers-color-scheme: dark) {
  :root { --back: #1b1b1b; --ink: #ddd; --line: #3a3a3a; --good: #7cc48a; --quiet: #888; --shade: #262626 } }
body { font: 14px/1.4 system-ui, sans-serif; margin: 2em; color: var(--ink); background: var(--back) }
table { border-collapse: collapse } caption { text-align: left; color: var(--quiet); padding-bottom: .6em }
th, td { padding: .25em .6em; text-align: left; border-bottom: 1px solid var(--line); vertical-align: top }
thead th { position: sticky; top: 0; background: var(--back); vertical-align: bottom }
th.who { text-align: center; min-width: 7em; max-width: 11em; overflow-wrap: anywhere; font-weight: 600 } th.who small { font-weight: 400; color: var(--quiet) }
td.s { text-align: center; font-weight: bold } tr:target td { background: var(--shade) }
.badge { display: inline-block; padding: .1em .6em; border-radius: .3em; color: #fff; font-size: 12px }
.passed { color: var(--good) } .failed { color: #fff; background: #a33a2c } .waived { color: #4a3a12; background: #e9d8b4 }
.not-run { color: #333; background: #d5d5d5 } .not-applicable { color: var(--quiet) }
.family th { padding-top: 1.2em; background: none } td.id { white-space: nowrap } td.id a { color: inherit; text-decoration: none }
code { font-size: 92%; background: var(--shade); padding: 0 .2em }
dt { margin-top: 1em; font-weight: 600 } dd { margin: .2em 0 } pre { overflow-x: auto; background: var(--shade); padding: .6em }
"""


def as_html(reports: Sequence[Report]) -> str:
    """One row a check, a column or more a provider, and below the table what was seen of each failure."""
    columns = [column for report in reports for column in _columns(report)]
    heads = "".join(head for head, _ in columns)
    rows = []
    family = ""
    for id, check in sorted(CHECKS.items()):
        if check.family != family:
            family = check.family
            rows.append(
                f"<tr class='family'><th colspan='{3 + len(columns)}' scope='rowgroup'>{escape(family)}</th></tr>"
            )
        cells = "".join(_cell(results.get(id)) for _, results in columns)
        rows.append(
            f"<tr id='{id}'><td class='id'><a href='#{id}'>{id}</a></td><td>{check.level}</td>"
            f"<td>{_prose(check.sentence)}</td>{cells}</tr>"
        )
    legend = ", ".join(f"{sign} {_WORDS[status]}" for status, sign in _SIGNS.items())
    return (
        "<!doctype html><html lang='en'><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width'><title>vivavoce conformance</title>"
        f"<style>{_STYLE}</style><h1>Conformance</h1><table><caption>{legend}</caption>"
        f"<thead><tr><th scope='col'>id</th><th scope='col'>level</th><th scope='col'>expectation</th>{heads}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table>{_stories(reports)}</html>\n"
    )


def _columns(report: Report) -> list[tuple[str, Mapping[str, Result]]]:
    """The heading and the results of each column of a provider."""
    message, colour = tone(report)
    about = [
        report.distribution,
        f"{report.count('passed')} passed, {report.count('failed')} failed",
        report.made[:10],
    ]
    small = "<br>".join(escape(line) for line in about if line)
    head = (
        f"<th class='who' scope='col' title='{escape(report.verdict, quote=True)}'>{escape(report.provider)}<br>"
        f"<span class='badge' style='background:{colour}'>{escape(message)}</span><br><small>{small}</small></th>"
    )
    own = (head, {result.id: result for result in report.results})
    return [own, *((_further(report, c), {r.id: r for r in c.results}) for c in report.columns)]


def _further(report: Report, column: Column) -> str:
    ran = f"{column.count('passed')} passed, {column.count('failed')} failed"
    small = "<br>".join(escape(line) for line in (column.source, ran, column.made[:10]))
    name = f"{escape(report.provider)}<br><span class='badge' style='background:{COLOURS['label']}'>{column.name}</span>"
    return f"<th class='who' scope='col'>{name}<br><small>{small}</small></th>"


def _prose(sentence: str) -> str:
    """A sentence with its names as code."""
    parts = escape(sentence).split("`")
    return "".join(f"<code>{part}</code>" if n % 2 else part for n, part in enumerate(parts))


def _cell(result: Result | None) -> str:
    status = result.status if result is not None else "not-run"
    title = (result.seen or _WORDS[status]) if result is not None else "this report does not know the check"
    return f"<td class='s {status}' title='{escape(title, quote=True)}'>{_SIGNS[status]}</td>"


def _stories(reports: Sequence[Report]) -> str:
    told = "".join(_story(f"{report.provider}{where}", r) for report in reports for where, r in _bad(report))
    return f"<h2>What was seen</h2><dl>{told}</dl>" if told else ""


def _bad(report: Report) -> list[tuple[str, Result]]:
    every = [("", report.results), *((f", {c.name}", c.results) for c in report.columns)]
    return [(where, r) for where, results in every for r in results if r.status in ("failed", "waived")]


def _story(who: str, result: Result) -> str:
    frames = "\n".join(escape(frame) for frame in result.wire[-6:])
    reason = f"<dd>Waived: {escape(result.reason)}</dd>" if result.reason else ""
    return (
        f"<dt>{escape(who)}: <a href='#{result.id}'>{result.id}</a> {result.level} {_WORDS[result.status]}</dt>"
        f"<dd>{_prose(result.sentence)}</dd><dd>Seen: {escape(result.seen)}</dd>{reason}"
        f"{f'<dd><pre>{frames}</pre></dd>' if frames else ''}<dd><code>{escape(result.rerun)}</code></dd>"
    )
