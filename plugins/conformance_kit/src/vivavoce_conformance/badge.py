"""The badge: an SVG to show, and JSON for whoever draws badges."""

from __future__ import annotations

import msgspec

from vivavoce_conformance.verdict import Report

__all__ = ["COLOURS", "as_json", "as_svg", "tone"]

COLOURS = {
    "gold": "#8a6508",
    "silver": "#5d656f",
    "bronze": "#8c5a2b",
    "conformant": "#3d7a4a",
    "not conformant": "#a33a2c",
    "label": "#444444",
}
"""Of each word that a badge can say. White text on each has a contrast of 4.5 to 1 or more."""
# Widths of characters of 11 px Verdana; the text is fitted to exactly this, whatever the font.
_WIDTHS = {
    "i": 3.1,
    "l": 3.1,
    "f": 3.9,
    "t": 4.3,
    "r": 4.7,
    " ": 3.9,
    "m": 10.7,
    "z": 5.8,
    "c": 5.7,
    "v": 6.5,
}
_WIDTH = 6.8
_PADDING = 7


def tone(report: Report) -> tuple[str, str]:
    """What the badge says, and its colour."""
    if not report.conformant:
        message = "not conformant"
    else:
        message = report.tier if report.tier != "none" else "conformant"
    return message, COLOURS[message]


def as_json(report: Report) -> str:
    """The endpoint form that shields.io reads: https://shields.io/badges/endpoint-badge."""
    message, colour = tone(report)
    value = {"schemaVersion": 1, "label": "vivavoce", "message": message, "color": colour}
    return msgspec.json.encode(value).decode() + "\n"


def as_svg(report: Report) -> str:
    """A badge of two fields, without a script or a font of its own."""
    message, colour = tone(report)
    label = f"vivavoce {report.spec_level}"
    widths = [round(sum(_WIDTHS.get(letter, _WIDTH) for letter in text)) for text in (label, message)]
    left, right = (width + 2 * _PADDING for width in widths)
    style = 'font-family="Verdana,DejaVu Sans,sans-serif" font-size="11" fill="#fff"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + right}" height="20" role="img" '
        f'aria-label="{label}: {message}"><title>{label}: {message}</title>'
        f'<path d="M3 0H{left}V20H3A3 3 0 0 1 0 17V3A3 3 0 0 1 3 0Z" fill="{COLOURS["label"]}"/>'
        f'<path d="M{left} 0h{right - 3}a3 3 0 0 1 3 3v14a3 3 0 0 1-3 3h-{right - 3}Z" fill="{colour}"/>'
        f'<g {style}><text x="{_PADDING}" y="14" textLength="{widths[0]}">{label}</text>'
        f'<text x="{left + _PADDING}" y="14" textLength="{widths[1]}">{message}</text></g></svg>\n'
    )
