"""Two timelines in one picture, one above the other on one clock: what a replay is compared by. An SVG, and no library."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from vivavoce.plot.timeline import Said, Timeline

__all__ = ["write_pair"]

_WIDTH, _LEFT, _LANE, _GAP, _TOP = 1200, 96, 44, 34, 30
_COLOURS = {"user": "#2a78b8", "assistant": "#2f8f5b"}
_STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#333}.s{fill:#fff;font-size:12px}.d{fill:#777;font-size:11px}"
    ".o{font-size:12px}.e{fill:#b3261e;font-size:12px;font-weight:600}"
)
_LETTER = 6.4
"""A letter's width, about."""


def write_pair(
    before: Timeline, now: Timeline, path: Path, faults: Sequence[tuple[float | None, str]] = ()
) -> None:
    """Write the picture. `faults` are what became worse, each with the milliseconds in `now` where it is (`None`: it is
    nowhere). `OSError`: the file cannot be written."""
    duration = max(before.duration_ms, now.duration_ms, 1.0)
    scale = (_WIDTH - _LEFT - 12) / duration
    block = 2 * _LANE + _GAP
    height = _TOP + 2 * block + 24 + 18 * len(faults)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}">',
        f'<style>{_STYLE}</style><rect width="100%" height="100%" fill="#fff"/>',
        *_axis(duration, scale, height - 18 * len(faults)),
        *_recording("before", before, _TOP, scale),
        *_recording("now", now, _TOP + block, scale),
        *_faults(faults, _TOP + block, height, scale),
        "</svg>",
    ]
    path.write_text("\n".join(parts), encoding="utf-8")


def _axis(duration: float, scale: float, height: int) -> list[str]:
    step = next((s for s in (1, 2, 5, 10, 30, 60, 300, 600) if duration / 1000 / s <= 12), 3_600)
    lines = []
    for second in range(0, int(duration / 1000) + 1, step):
        x = _LEFT + second * 1000 * scale
        lines.append(f'<path d="M{x:.1f} 20V{height - 20}" stroke="#e4e4e4"/>')
        lines.append(f'<text class="d" x="{x:.1f}" y="{height - 6}" text-anchor="middle">{second} s</text>')
    return lines


def _recording(name: str, timeline: Timeline, top: int, scale: float) -> list[str]:
    lines = [f'<text x="8" y="{top - 6}" font-weight="600">{name}</text>']
    for lane, role in enumerate(_COLOURS):
        y = top + lane * _LANE
        lines.append(f'<text class="d" x="8" y="{y + 24}">{role}</text>')
        bars = [part for part in timeline.said if part.role == role]
        ends = [*(part.start_ms for part in bars[1:]), (_WIDTH - _LEFT) / scale]
        lines += [_bar(part, y, scale, end) for part, end in zip(bars, ends, strict=False)]
    y = top + _LANE - 4
    for latency in timeline.latencies:
        x, end = _LEFT + latency.start_ms * scale, _LEFT + latency.end_ms * scale
        lines.append(f'<path d="M{x:.1f} {y}H{end:.1f}" stroke="#c2571a" stroke-width="2"/>')
        lines.append(f'<text class="d" x="{end + 3:.1f}" y="{y + 3}">{latency.ms:.0f} ms</text>')
    return lines


def _faults(faults: Sequence[tuple[float | None, str]], top: int, height: int, scale: float) -> Iterator[str]:
    """A mark where each is, and all of them in words below."""
    for number, (at_ms, text) in enumerate(faults):
        y = height - 18 * (len(faults) - number) + 10
        yield f'<text class="e" x="8" y="{y}">✗ {escape(text)}</text>'
        if at_ms is not None:
            yield f'<text class="e" x="{_LEFT + at_ms * scale:.1f}" y="{top - 6}">✗</text>'


def _bar(part: Said, y: int, scale: float, until_ms: float) -> str:
    """A turn, with its text in it or, where that has no room, beside it up to the next turn."""
    x, width = _LEFT + part.start_ms * scale, max(3.0, (part.end_ms - part.start_ms) * scale)
    inside, beside = int(width / _LETTER), int(((until_ms * scale + _LEFT) - x - width) / _LETTER) - 1
    style, at = ("s", x + 5) if len(part.text) <= inside or inside > beside else ("o", x + width + 5)
    fits = inside if style == "s" else beside
    text = part.text if len(part.text) <= fits else f"{part.text[: fits - 1]}…" if fits > 3 else ""
    cut = ' stroke="#b3261e" stroke-width="2" stroke-dasharray="4 2"' if part.interrupted else ""
    return (
        f'<rect x="{x:.1f}" y="{y + 8}" width="{width:.1f}" height="24" rx="4" fill="{_COLOURS[part.role]}"{cut}>'
        f"<title>{escape(part.text)}</title></rect>"
        f'<text class="{style}" x="{at:.1f}" y="{y + 24}">{escape(text)}</text>'
    )
