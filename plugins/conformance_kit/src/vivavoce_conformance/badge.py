"""The badge: an SVG to show, and JSON for whoever draws badges."""

from __future__ import annotations

import msgspec

from vivavoce_conformance.verdict import Report

__all__ = ["as_json", "as_svg"]

_COLOURS = {"gold": "#b8860b", "silver": "#6f7680", "bronze": "#8c5a2b", "none": "#a33a2c"}
_CONFORMANT = "#3d7a4a"
_CHARACTER = 6.4


def _message(report: Report) -> tuple[str, str]:
    if not report.conformant:
        return "not conformant", _COLOURS["none"]
    if report.tier == "none":
        return "conformant", _CONFORMANT
    return report.tier, _COLOURS[report.tier]


def as_json(report: Report) -> str:
    """The endpoint form that shields.io reads: https://shields.io/badges/endpoint-badge."""
    message, colour = _message(report)
    value = {"schemaVersion": 1, "label": "vivavoce", "message": message, "color": colour}
    return msgspec.json.encode(value).decode() + "\n"


def as_svg(report: Report) -> str:
    """A badge of two fields, without a script or a font of its own."""
    message, colour = _message(report)
    label = f"vivavoce {report.spec_level}"
    left, right = (round(len(text) * _CHARACTER + 14) for text in (label, message))
    style = 'font-family="Verdana,DejaVu Sans,sans-serif" font-size="11" fill="#fff" text-anchor="middle"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + right}" height="20" role="img" '
        f'aria-label="{label}: {message}"><title>{label}: {message}</title>'
        f'<rect width="{left}" height="20" fill="#444"/>'
        f'<rect x="{left}" width="{right}" height="20" fill="{colour}"/>'
        f'<g {style}><text x="{left / 2:g}" y="14">{label}</text>'
        f'<text x="{left + right / 2:g}" y="14">{message}</text></g></svg>\n'
    )
