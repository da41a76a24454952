"""The matrix of providers and checks, as one page of HTML without a script."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from vivavoce_conformance.checks import CHECKS
from vivavoce_conformance.verdict import Report, Result

__all__ = ["as_html"]

_SIGNS = {"passed": "✓", "failed": "✗", "waived": "w", "not-run": "?", "not-applicable": "·"}
_STYLE = """
body { font: 14px/1.4 system-ui, sans-serif; margin: 2em; color: #222; background: #fff }
table { border-collapse: collapse } th, td { padding: .25em .6em; text-align: left; border-bottom: 1px solid #ddd }
td.s { text-align: center; font-weight: bold } .passed { color: #2c6e3a } .failed { color: #fff; background: #a33a2c }
.waived { background: #e9d8b4 } .not-run { background: #ddd } .not-applicable { color: #999 }
th { position: sticky; top: 0; background: #fff } .family th { padding-top: 1.2em; position: static }
@media (prefers-color-scheme: dark) { body, th { background: #1b1b1b; color: #ddd } .passed { color: #7cc48a } }
"""


def as_html(reports: Sequence[Report]) -> str:
    """One row a check, one column a provider."""
    results = [{result.id: result for result in report.results} for report in reports]
    heads = "".join(
        f"<th scope='col'>{escape(r.provider)}<br><small>{escape(r.verdict)}<br>{escape(r.distribution)}</small></th>"
        for r in reports
    )
    rows = []
    family = ""
    for id, check in sorted(CHECKS.items()):
        if check.family != family:
            family = check.family
            rows.append(f"<tr class='family'><th colspan='{3 + len(reports)}'>{escape(family)}</th></tr>")
        cells = "".join(_cell(of.get(id)) for of in results)
        rows.append(
            f"<tr id='{id}'><td>{id}</td><td>{check.level}</td><td>{escape(check.sentence)}</td>{cells}</tr>"
        )
    return (
        "<!doctype html><html lang='en'><meta charset='utf-8'><title>vivavoce conformance</title>"
        f"<style>{_STYLE}</style><h1>Conformance</h1><table><thead><tr><th>id</th><th>level</th><th>expectation</th>"
        f"{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table></html>\n"
    )


def _cell(result: Result | None) -> str:
    status = result.status if result is not None else "not-run"
    title = escape(result.seen or status, quote=True) if result is not None else status
    return f"<td class='s {status}' title='{title}'>{_SIGNS[status]}</td>"
