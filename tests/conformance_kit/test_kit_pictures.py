"""The badge and the matrix, as files that others show."""

from __future__ import annotations

from html.parser import HTMLParser
from xml.etree import ElementTree

import msgspec
import pytest
from vivavoce_conformance.badge import COLOURS, as_json, as_svg
from vivavoce_conformance.checks import CHECKS
from vivavoce_conformance.matrix import as_html
from vivavoce_conformance.verdict import Column, Report, Result

ROWS = [
    Result(id, "passed", c.level, c.family, c.sentence, wire=["1.000 < x"])
    for id, c in sorted(CHECKS.items())
]
GOOD = Report(provider="good", conformant=True, tier="gold", results=ROWS)


def with_failure() -> Report:
    """One that failed once, with what would be markup."""
    bad = msgspec.structs.replace(ROWS[3], status="failed", seen="<script>alert(1)</script>", rerun="again")
    live = Column(name="live", source="wss://x/?a=1&b=2", results=[ROWS[0], bad])
    return Report(provider="b<a>d", results=[*ROWS[:3], bad, *ROWS[4:-1]], columns=[live])


@pytest.mark.parametrize(
    ("report", "message"),
    [
        (GOOD, "gold"),
        (msgspec.structs.replace(GOOD, tier="silver"), "silver"),
        (msgspec.structs.replace(GOOD, tier="bronze"), "bronze"),
        (msgspec.structs.replace(GOOD, tier="none"), "conformant"),
        (msgspec.structs.replace(GOOD, conformant=False), "not conformant"),
    ],
)
def test_badge(report: Report, message: str) -> None:
    """SVG and JSON say the same, in the same colour; the text fits its field, and no id clashes with another badge's."""
    told = msgspec.json.decode(as_json(report))
    assert (told["schemaVersion"], told["message"], told["color"]) == (1, message, COLOURS[message])
    svg = ElementTree.fromstring(as_svg(report))
    label, shown = (e for e in svg.iter() if e.tag.endswith("text"))
    assert (label.text, shown.text) == ("vivavoce 1", message)
    assert float(shown.get("x", 0)) + float(shown.get("textLength", 0)) < float(svg.get("width", 0))
    assert not [e for e in svg.iter() if "id" in e.attrib]
    assert COLOURS[message] in as_svg(report)


@pytest.mark.parametrize("colour", COLOURS.values(), ids=list(COLOURS))
def test_contrast(colour: str) -> None:
    """White on each colour has a contrast of 4.5 to 1 (WCAG 2.2, 1.4.3)."""
    parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    assert 1.05 / (0.2126 * red + 0.7152 * green + 0.0722 * blue + 0.05) >= 4.5


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.heads = 0
        self.signs: dict[str, list[str]] = {}
        self._row = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append(tag)
        self.heads += given.get("class") == "who"
        if tag == "tr":
            self._row = given.get("id") or ""
        elif (given.get("class") or "").startswith("s "):
            self.signs.setdefault(self._row, []).append(str(given["class"]).removeprefix("s "))


def test_matrix() -> None:
    """A row a check, a column a provider and one more for its live run; what was seen is text, and stands below too."""
    page = _Page()
    html = as_html([GOOD, with_failure()])
    page.feed(html)
    ids = sorted(CHECKS)
    assert page.heads == 3
    assert list(page.signs) == ids
    assert page.signs[ids[0]] == ["passed", "passed", "passed"]
    assert page.signs[ids[3]] == ["passed", "failed", "failed"]
    assert page.signs[ids[-1]] == ["passed", "not-run", "not-run"]
    assert "script" not in page.tags
    assert html.count("&lt;script&gt;") == 4  # a title in each of two cells, and two stories
    assert "1.000 &lt; x" in html
