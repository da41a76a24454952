"""Two timelines in one picture, one above the other on one clock: what a replay is compared by. An SVG, and no library."""

from __future__ import annotations

from html import escape
from pathlib import Path

from vivavoce.plot.timeline import Said, Timeline

__all__ = ["write_pair"]

_WIDTH, _LEFT, _LANE, _GAP, _TOP = 1200, 96, 44, 34, 30
_COLOURS = {"user": "#2a78b8", "assistant": "#2f8f5b"}
_STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#333}.s{fill:#fff;font-size:12px}.d{fill:#777;font-size:11px}"
)


def write_pair(before: Timeline, now: Timeline, path: Path) -> None:
    """Write the picture. `OSError`: the file cannot be written."""
    duration = max(before.duration_ms, now.duration_ms, 1.0)
    scale = (_WIDTH - _LEFT - 12) / duration
    block = 2 * _LANE + _GAP
    height = _TOP + 2 * block + 24
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}">',
        f'<style>{_STYLE}</style><rect width="100%" height="100%" fill="#fff"/>',
        *_axis(duration, scale, height),
        *_recording("before", before, _TOP, scale),
        *_recording("now", now, _TOP + block, scale),
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
        lines += [_bar(part, y, scale) for part in timeline.said if part.role == role]
    y = top + _LANE - 4
    for latency in timeline.latencies:
        x, end = _LEFT + latency.start_ms * scale, _LEFT + latency.end_ms * scale
        lines.append(f'<path d="M{x:.1f} {y}H{end:.1f}" stroke="#c2571a" stroke-width="2"/>')
        lines.append(f'<text class="d" x="{end + 3:.1f}" y="{y + 3}">{latency.ms:.0f} ms</text>')
    return lines


def _bar(part: Said, y: int, scale: float) -> str:
    x, width = _LEFT + part.start_ms * scale, max(3.0, (part.end_ms - part.start_ms) * scale)
    fits = int(width / 7)
    text = part.text if len(part.text) <= fits else f"{part.text[: fits - 1]}…" if fits > 3 else ""
    cut = ' stroke="#b3261e" stroke-width="2" stroke-dasharray="4 2"' if part.interrupted else ""
    return (
        f'<rect x="{x:.1f}" y="{y + 8}" width="{width:.1f}" height="24" rx="4" fill="{_COLOURS[part.role]}"{cut}>'
        f"<title>{escape(part.text)}</title></rect>"
        f'<text class="s" x="{x + 5:.1f}" y="{y + 24}">{escape(text)}</text>'
    )
