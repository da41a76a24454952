"""The screen of a live conversation: the transcript above, and two calm lines of what is going on below it."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from typing import Any

import attrs
from rich.console import Group
from rich.control import Control
from rich.segment import ControlType, Segment
from rich.text import Text

from vivavoce.cli.transcript import NARROW, STYLES, TerminalTranscript

__all__ = ["LiveScreen", "LiveState", "meter"]

_KEYS = (("m", "mute"), ("p", "push-to-talk"), ("i", "interrupt"), ("t", "text"), ("q", "quit"))
_SHORT = {"push-to-talk": "push", "interrupt": "stop"}
_BARS = range(24, 3, -1)
_STATE_STYLES = {"connecting": "yellow", "thinking": "yellow", "you speak": "cyan", "speaking": "green"}
_FLOOR_DB = -54.0


@attrs.define
class LiveState:
    """What the lines below the transcript show. Levels are 0 to 1, root mean square."""

    state: str = "connecting"
    microphone: float = 0.0
    speaker: float = 0.0
    muted: bool = False
    push_to_talk: bool = False
    talking: bool = False
    gated: bool = False
    latencies_ms: list[float] = attrs.Factory(list)
    usage: str = ""
    typing: str | None = None
    trouble: str = ""


def meter(level: float, width: int) -> str:
    """A level as a bar; a step is about 54 dB / width."""
    import math

    loud = 20 * math.log10(level) if level > 0 else _FLOOR_DB
    filled = round(max(0.0, min(1.0, 1 - loud / _FLOOR_DB)) * width)
    return "━" * filled + "╌" * (width - filled)


class LiveScreen(TerminalTranscript):
    """As the transcript on a terminal, with the state of the conversation below; `refresh` draws it."""

    def __init__(self) -> None:
        super().__init__()
        self.look: Callable[[], LiveState] = LiveState
        self._lengths: list[int] = []  # of the lines that are drawn
        self._width = 0  # of the terminal as they were

    def sending(self, name: str, sent_ms: float, total_ms: float) -> None:
        """A microphone has no end to show."""

    def writing(self, role: str, text: str) -> None:
        self._text[role] = text

    def refresh(self) -> None:
        """Draw the lines below the transcript anew."""
        if self._live.is_started:
            self._follow_width()
            drawn = Group(*self._rows())
            lines = self._console.render_lines(drawn, pad=False)
            self._lengths = [Segment.get_line_length(line) for line in lines]
            self._live.update(drawn, refresh=True)

    def _follow_width(self) -> None:
        """A terminal that became narrower has broken our lines in two: erase what `Live` does not know of."""
        width = self._console.width
        if width < self._width:
            broken = sum(max(0, -(-length // width) - 1) for length in self._lengths)
            erase = [(ControlType.ERASE_IN_LINE, 2), (ControlType.CURSOR_UP, 1)] * broken
            self._console.control(Control(ControlType.CARRIAGE_RETURN, *erase))
            self._lengths = []
        self._width = width

    def _line(self, at_ms: float, who: str, text: str, remark: str = "", style: str = "") -> None:
        if self._live.is_started:
            self._follow_width()
        super()._line(at_ms, who, text, remark, style)

    def _draw(self, now: bool = False) -> None:
        self.refresh()

    def error(self, at_ms: float, text: str) -> None:
        self._line(at_ms, "!", text, style="red")

    def _rows(self) -> list[Any]:
        look, width = self.look(), self._console.width
        rows: list[Any] = [
            self._row("", role, Text(text, "italic"), f"dim {STYLES.get(role, '')}".strip())
            for role, text in self._text.items()
            if text
        ]
        if look.trouble:
            rows.append(Text(look.trouble, "red", no_wrap=True, overflow="ellipsis"))
        rows.append(self._levels(look, width))
        rows.append(self._keys(look, width))
        return rows

    def _levels(self, look: LiveState, width: int) -> Text:
        remark, bar = next(_fitting(look, width), ("", 2))
        microphone = "muted" if look.muted else "held " if look.gated else "mic  "
        if look.push_to_talk and not look.muted:
            microphone = "TALK " if look.talking else "quiet"
        heard = "dim" if look.muted or look.gated else "cyan"
        line = Text.assemble(
            (f"{look.state:<13}", f"bold {_STATE_STYLES.get(look.state, '')}".strip()),
            (f"{microphone} ", heard),
            (meter(look.microphone, bar), heard),
            ("  spk ", "green"),
            (meter(look.speaker, bar), "green"),
            no_wrap=True,
            overflow="ellipsis",
        )
        line.append(remark, "dim")
        return line

    def _keys(self, look: LiveState, width: int) -> Text:
        if look.typing is not None:
            return Text.assemble(
                ("› ", "bold"),
                look.typing[-(width - 3) :],
                ("▏", "blink"),
                ("   Enter sends, Esc leaves", "dim"),
                no_wrap=True,
                overflow="ellipsis",
            )
        labels = {**dict(_KEYS), **({"m": "unmute"} if look.muted else {})}
        if look.push_to_talk:
            labels = {"space": "be quiet" if look.talking else "talk", **labels}
        if narrow := width < NARROW:
            labels = {key: _SHORT.get(label, label) for key, label in labels.items()}
        parts = [f"{key} {label}" for key, label in labels.items()]
        return Text(_packed(parts, "  " if narrow else "   ", width), "dim")


def _packed(parts: list[str], gap: str, width: int) -> str:
    """As many parts to a line as there is room for."""
    lines = [parts[0]]
    for part in parts[1:]:
        fits = len(lines[-1]) + len(gap) + len(part) <= width
        lines[-1:] = [lines[-1] + gap + part] if fits else [lines[-1], part]
    return "\n".join(lines)


def _fitting(look: LiveState, width: int) -> Iterator[tuple[str, int]]:
    """What is beside the bars, and how long they are, from the most to the least that has room."""
    latency, median = "", ""
    if look.latencies_ms:
        latency = f"  {look.latencies_ms[-1]:.0f} ms"
        median = f" (median {statistics.median(look.latencies_ms):.0f})"
    usage = f"  {look.usage}" if look.usage else ""
    for remark in (latency + median + usage, latency + usage, latency, ""):
        for bar in _BARS:
            if 25 + len(remark) + 2 * bar <= width:
                yield remark, bar
