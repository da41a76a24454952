"""The timeline as PNG, by matplotlib without a display: rows of sound, the user above, the reply below."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator

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
_DPI, _WIDTH, _ROW = 130, 14.0, 2.55
_ROW_MS, _MOST_ROWS = 40_000, 6
_COLUMNS = 1_600
_EXPONENT = 0.6  # lifts quiet speech, as the ear does
# The lanes of a row, in its own units: text, sound, events, sound, text.
_Y = {"user": 1.2, "assistant": -1.2}
_AMPLITUDE, _TEXT_Y, _LIMIT = 0.58, 1.95, 2.62
_LEVELS = {"latency": 0.32, "tool": 0.0, "mark": -0.32}
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
            axes = figure.add_axes((0.052, bottom, 0.936, (_ROW - 0.3) / height))
            _Row(axes, canvas, timeline, index * length, (index + 1) * length).draw()
        with path.open("wb") as file:
            canvas.print_png(file)  # type: ignore[no-untyped-call]


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

        @lru_cache(maxsize=4096)
        def measure(text: str) -> float:
            probe = axes.text(0, 0, text, fontsize=_FONT)
            width = probe.get_window_extent(renderer).width
            probe.remove()
            return float(width * (end - start) / self.pixels)

        self.measure: Callable[[str], float] = measure
        self.gap = 8 * (end - start) / self.pixels  # eight pixels, in milliseconds

    def draw(self) -> None:
        self._frame()
        for side, role in enumerate(_Y):
            self._wave(side, role)
            self._said(role)
        self._latencies()
        self._tools()
        self._marks()
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
        axes.xaxis.set_major_locator(MaxNLocator(nbins=14, steps=[1, 2, 2.5, 5, 6, 10]))
        span = self.end - self.start
        axes.xaxis.set_major_formatter(FuncFormatter(lambda ms, _: _clock(ms, span)))
        axes.grid(axis="x", color="#e8eaee", linewidth=0.7)
        axes.set_axisbelow(True)
        for side in axes.spines:
            axes.spines[side].set_visible(False)
        axes.add_patch(Rectangle((self.start, -0.5), span, 1.0, color=_STRIP, linewidth=0, zorder=0.5))

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
        shelf = Shelf(self.start, self.end, self.gap)
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
            at = shelf.put(part.start_ms, width) if rows else None
            if at is not None:
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

    def _label(
        self, shelf: Shelf, at: float, level: str, text: str, colour: str, weight: str = "normal"
    ) -> None:
        """A label right of its mark, if there is room for it."""
        width = self.measure(text) * (1.08 if weight == "bold" else 1.0)
        place = shelf.put(at + self.gap * 0.6, width, shift=False)
        if place is None and at + width > self.end:
            place = shelf.put(at - width - self.gap, width, shift=False)
        if place is not None:
            style = {"va": "center", "fontsize": _FONT, "weight": weight, "zorder": 6}
            ground = {"facecolor": _STRIP, "linewidth": 0, "pad": 0.8}
            self.axes.text(place, _LEVELS[level], text, color=colour, bbox=ground, **style)

    def _latencies(self) -> None:
        shelf = Shelf(self.start, self.end, self.gap)
        y = _LEVELS["latency"]
        for latency in self.timeline.latencies:
            if latency.end_ms < self.start or latency.start_ms >= self.end:
                continue
            style = {"color": WAIT, "linewidth": 0.9, "zorder": 4, "clip_on": True}
            self.axes.plot([latency.start_ms] * 2, [y, _Y["user"] + 0.62], linestyle=":", **style)
            self.axes.plot([latency.end_ms] * 2, [y, _Y["assistant"] - 0.62], linestyle=":", **style)
            self.axes.plot(
                [latency.start_ms, latency.end_ms], [y, y], solid_capstyle="butt", **style | {"linewidth": 4}
            )
            if latency.end_ms < self.end:
                self._label(shelf, latency.end_ms, "latency", f"{latency.ms:.0f} ms", WAIT, "bold")

    def _tools(self) -> None:
        shelf = Shelf(self.start, self.end, self.gap)
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
            box = FancyBboxPatch(
                (left, y - 0.09), right - left, 0.18, boxstyle="square,pad=0", color=colour, zorder=5
            )
            self.axes.add_patch(box)
            if call.start_ms >= self.start:
                took = f"  {call.end_ms - call.start_ms:.0f} ms" if call.end_ms is not None else "  no result"
                self._label(shelf, right, "tool", call_text(call)[:70] + took, colour)

    def _marks(self) -> None:
        shelf = Shelf(self.start, self.end, self.gap)
        for mark in self.timeline.marks:
            if mark.end_ms < self.start or mark.start_ms >= self.end:
                continue
            colour = _MARKS[mark.kind]
            if mark.end_ms > mark.start_ms:
                left, right = max(mark.start_ms, self.start), min(mark.end_ms, self.end)
                self.axes.axvspan(
                    left, right, facecolor="none", edgecolor="#c9ced6", hatch="////", linewidth=0, zorder=0.6
                )
            else:
                self.axes.axvline(
                    mark.start_ms, 0.02, 0.98, color=colour, linewidth=1.2, linestyle="--", zorder=4
                )
            if mark.end_ms < self.end:
                self._label(shelf, mark.end_ms, "mark", mark.text[:80], colour)


def _clock(ms: float, span: float) -> str:
    minutes, seconds = divmod(ms / 1000, 60)
    if span < 5_000:
        return f"{int(minutes)}:{seconds:04.1f}"
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}:{minutes:02d}:{int(seconds):02d}" if hours else f"{minutes}:{int(seconds):02d}"
