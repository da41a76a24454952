"""The timeline as PNG, by matplotlib without a display: rows of sound, the user above, the reply below."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MultipleLocator

from vivavoce.plot.labels import Shelf, call_text, headline, subtitle, wrap
from vivavoce.plot.timeline import Timeline

__all__ = ["write_png"]

USER, REPLY, TOOL, CUT, WAIT, INK, MUTED = (
    "#1f6fb2",
    "#2e8b57",
    "#b7791f",
    "#c0392b",
    "#5b4b8a",
    "#1c2330",
    "#6b7280",
)
_DPI, _WIDTH, _ROW = 130, 14.0, 2.65
_ROW_MS, _MOST_ROWS = 40_000, 6
_COLUMNS = 1_600
_DENSE_MS = 180_000  # rows longer than this have no lines at the latencies
_STEPS = [50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 3e4, 6e4, 12e4, 3e5, 6e5, 18e5, 36e5]
_EXPONENT = 0.6  # lifts quiet speech, as the ear does
# The lanes of a row, in its own units: text, sound, events, sound, text.
_Y = {"user": 1.33, "assistant": -1.33}
_AMPLITUDE, _TEXT_Y, _LIMIT = 0.56, 2.05, 2.75
_STRIP_Y = 0.63
_LEVELS = {"latency": 0.46, "tool": 0.16, "mark": -0.46, "spare": -0.15}
_FONT = 8.5
_STRIP = "#f5f6f8"
_MARKS = {
    "interrupted": CUT,
    "error": CUT,
    "reconnecting": MUTED,
    "connecting": MUTED,
}


def write_png(timeline: Timeline, path: Path) -> None:
    """Draw and write. `OSError` when the file cannot be written."""
    rows = max(1, min(_MOST_ROWS, math.ceil(timeline.duration_ms / _ROW_MS)))
    length = max(timeline.duration_ms / rows, 1_000.0)
    with rc_context({"font.family": "DejaVu Sans", "font.size": _FONT, "text.color": INK}):
        figure = Figure(figsize=(_WIDTH, 0.95 + rows * _ROW), dpi=_DPI, facecolor="white")
        canvas = FigureCanvasAgg(figure)
        height = figure.get_figheight()
        figure.text(0.052, 1 - 0.32 / height, headline(timeline), fontsize=14, weight="bold")
        figure.text(0.052, 1 - 0.58 / height, subtitle(timeline), fontsize=9.5, color=MUTED)
        for index in range(rows):
            bottom = (height - 0.72 - (index + 1) * _ROW + 0.26) / height
            axes = figure.add_axes((0.052, bottom, 0.928, (_ROW - 0.3) / height))
            _Row(axes, canvas, timeline, index * length, (index + 1) * length).draw()
        with path.open("wb") as file:
            canvas.print_png(file)  # type: ignore[no-untyped-call]


@attrs.frozen
class _Label:
    """What stands right of `at`, or left of `before` where the row ends."""

    at: float
    before: float
    level: str
    text: str
    colour: str
    weight: str = "normal"


class _Row:
    """One stretch of the timeline."""

    def __init__(
        self, axes: Any, canvas: FigureCanvasAgg, timeline: Timeline, start: float, end: float
    ) -> None:
        self.axes = axes
        self.timeline = timeline
        self.start, self.end = start, end
        self.pixels = axes.get_window_extent().width
        renderer = canvas.get_renderer()  # type: ignore[no-untyped-call]
        font = FontProperties(size=_FONT)

        @lru_cache(maxsize=4096)
        def measure(text: str) -> float:
            width, _, _ = renderer.get_text_width_height_descent(text, font, False)
            return float(width * (end - start) / self.pixels)

        self.measure: Callable[[str], float] = measure
        self.gap = 8 * (end - start) / self.pixels  # eight pixels, in milliseconds
        self.labels: list[_Label] = []
        self.shelves = {level: Shelf(start, end, self.gap) for level in _LEVELS}

    def draw(self) -> None:
        self._frame()
        for side, role in enumerate(_Y):
            self._wave(side, role)
            self._said(role)
        self._latencies()
        self._tools()
        self._marks()
        for label in self.labels:  # in the order of what matters most
            self._place(label)
        if not self.timeline.said and not self.timeline.tools:
            self.axes.text(
                (self.start + self.end) / 2,
                0,
                "nothing was said",
                ha="center",
                va="center",
                color=MUTED,
                fontsize=11,
            )

    def _frame(self) -> None:
        axes = self.axes
        axes.set_xlim(self.start, self.end)
        axes.set_ylim(-_LIMIT, _LIMIT)
        axes.set_yticks(list(_Y.values()), list(_Y), rotation=90, va="center", fontweight="bold")
        for label, colour in zip(axes.get_yticklabels(), (USER, REPLY), strict=True):
            label.set_color(colour)
        axes.tick_params(axis="y", length=0, pad=4)
        axes.tick_params(axis="x", colors=MUTED, labelsize=8)
        span = self.end - self.start
        axes.xaxis.set_major_locator(MultipleLocator(_step(span)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda ms, _: _clock(ms, span)))
        axes.grid(axis="x", color="#e8eaee", linewidth=0.7)
        axes.set_axisbelow(True)
        for side in axes.spines:
            axes.spines[side].set_visible(False)
        axes.add_patch(
            Rectangle((self.start, -_STRIP_Y), span, 2 * _STRIP_Y, color=_STRIP, linewidth=0, zorder=0.5)
        )

    def _wave(self, side: int, role: str) -> None:
        colour = USER if role == "user" else REPLY
        waves = self.timeline.waves
        columns = waves.columns(side, self.start, self.end, _COLUMNS) / max(waves.peak(side), 0.05)
        columns = np.sign(columns) * np.abs(columns) ** _EXPONENT * _AMPLITUDE
        x = np.linspace(self.start, self.end, _COLUMNS)
        y = _Y[role]
        self.axes.fill_between(
            x, y + columns[:, 0] - 0.012, y + columns[:, 1] + 0.012, color=colour, linewidth=0, zorder=3
        )

    def _said(self, role: str) -> None:
        colour, y = (USER, _Y["user"]) if role == "user" else (REPLY, _Y["assistant"])
        free = self.start
        parts = [part for part in self.timeline.said if (part.role == "user") == (role == "user")]
        for index, part in enumerate(parts):
            if part.end_ms < self.start or part.start_ms >= self.end:
                continue
            self._band(part.start_ms, part.end_ms, y, colour)
            if part.start_ms < self.start or not part.text:
                continue
            until = parts[index + 1].start_ms if index + 1 < len(parts) else self.end
            room = max(min(until, self.end) - part.start_ms - self.gap, part.end_ms - part.start_ms)
            room = min(room, self.end - self.start)
            text = f"“{part.text}”" + (" (cut)" if part.interrupted else "")
            rows = wrap(text, room, 2, self.measure)
            width = max(map(self.measure, rows), default=0.0)
            at = min(max(free, part.start_ms), self.end - width)
            if rows and at >= free:
                free = at + width + self.gap
                self._words(at, role, "\n".join(rows), colour)

    def _band(self, start: float, end: float, y: float, colour: str) -> None:
        start, end = max(start, self.start), min(max(end, start + self.gap / 4), self.end)
        self.axes.add_patch(
            Rectangle(
                (start, y - 0.66), end - start, 1.32, facecolor=colour, alpha=0.13, linewidth=0, zorder=1
            )
        )

    def _words(self, at: float, role: str, words: str, colour: str) -> None:
        y, align = (_TEXT_Y, "bottom") if role == "user" else (-_TEXT_Y, "top")
        self.axes.text(at, y, words, color=colour, va=align, ha="left", fontsize=_FONT, linespacing=1.15)

    def _place(self, label: _Label) -> None:
        """Put a label right of its mark, or left of it where the row ends; on another level if its own has no room."""
        width = self.measure(label.text) * (1.1 if label.weight == "bold" else 1.0)
        beside, near_end = label.at + self.gap * 0.6, label.at + self.gap * 0.6 + width > self.end
        start = label.before - width - self.gap * 0.6 if near_end else beside
        for level in (label.level, *(name for name in _LEVELS if name != label.level)):
            if self.shelves[level].put(start, width):
                style = {"va": "center", "fontsize": _FONT, "weight": label.weight, "zorder": 6}
                ground = {"facecolor": _STRIP, "linewidth": 0, "pad": 0.8}
                self.axes.text(start, _LEVELS[level], label.text, color=label.colour, bbox=ground, **style)
                return

    def _latencies(self) -> None:
        y = _LEVELS["latency"]
        for latency in self.timeline.latencies:
            if latency.end_ms < self.start or latency.start_ms >= self.end:
                continue
            self.shelves["latency"].block(latency.start_ms, latency.end_ms)
            style = {"color": WAIT, "linewidth": 0.9, "zorder": 4, "clip_on": True}
            if self.end - self.start < _DENSE_MS:
                self.axes.plot([latency.start_ms] * 2, [y, _Y["user"] + 0.62], linestyle=":", **style)
                self.axes.plot([latency.end_ms] * 2, [y, _Y["assistant"] - 0.62], linestyle=":", **style)
            bar = style | {"linewidth": 4, "solid_capstyle": "butt"}
            self.axes.plot([latency.start_ms, latency.end_ms], [y, y], **bar)
            if latency.end_ms < self.end:
                text = f"{latency.ms:.0f} ms"
                self.labels.append(_Label(latency.end_ms, latency.start_ms, "latency", text, WAIT, "bold"))

    def _tools(self) -> None:
        y = _LEVELS["tool"]
        for call in self.timeline.tools:
            end = call.end_ms if call.end_ms is not None else self.timeline.duration_ms
            if end < self.start or call.start_ms >= self.end:
                continue
            colour = CUT if call.error is not None else TOOL
            left, right = (
                max(call.start_ms, self.start),
                min(max(end, call.start_ms + self.gap / 2), self.end),
            )
            self.axes.add_patch(
                Rectangle((left, y - 0.09), right - left, 0.18, color=colour, linewidth=0, zorder=5)
            )
            self.shelves["tool"].block(left, right)
            if call.start_ms >= self.start:
                took = f"  {call.end_ms - call.start_ms:.0f} ms" if call.end_ms is not None else "  no result"
                took = "  failed" if call.error is not None else took
                self.labels.append(_Label(right, left, "tool", call_text(call)[:70] + took, colour))

    def _marks(self) -> None:
        for mark in self.timeline.marks:
            if mark.end_ms < self.start or mark.start_ms >= self.end:
                continue
            colour = _MARKS[mark.kind]
            if mark.end_ms > mark.start_ms:
                left, right = max(mark.start_ms, self.start), min(mark.end_ms, self.end)
                stripes = {"facecolor": "none", "edgecolor": "#c9ced6", "hatch": "////", "linewidth": 0}
                self.axes.axvspan(left, right, zorder=0.6, **stripes)
            else:
                top = -_STRIP_Y if mark.kind == "interrupted" else _Y["user"] + 0.66  # only the reply is cut
                line = {"color": colour, "linewidth": 1.3, "linestyle": "--", "zorder": 4}
                self.axes.plot([mark.start_ms] * 2, [_Y["assistant"] - 0.66, top], **line)
            if mark.end_ms < self.end:
                self.labels.append(_Label(mark.end_ms, mark.start_ms, "mark", mark.text[:80], colour))


def _step(span: float) -> float:
    """Milliseconds between two ticks, such as a clock has them."""
    return next((step for step in _STEPS if span / step <= 14), _STEPS[-1])


def _clock(ms: float, span: float) -> str:
    minutes, seconds = divmod(ms / 1000, 60)
    if span < 5_000:
        return f"{int(minutes)}:{seconds:04.1f}"
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}:{minutes:02d}:{int(seconds):02d}" if hours else f"{minutes}:{int(seconds):02d}"
