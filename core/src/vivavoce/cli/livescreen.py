"""The screen of a live conversation: the transcript above, and two calm lines of what is going on below it."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import attrs
from rich.console import Group
from rich.text import Text

from vivavoce.cli.transcript import STYLES, TerminalTranscript

__all__ = ["LiveScreen", "LiveState", "meter"]

_KEYS = (("m", "mute"), ("p", "push-to-talk"), ("i", "interrupt"), ("t", "text"), ("q", "quit"))
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

    def sending(self, name: str, sent_ms: float, total_ms: float) -> None:
        """A microphone has no end to show."""

    def writing(self, role: str, text: str) -> None:
        self._text[role] = text

    def refresh(self) -> None:
        """Draw the lines below the transcript anew."""
        if self._live.is_started:
            self._live.update(Group(*self._rows()), refresh=True)

    def _draw(self, now: bool = False) -> None:
        self.refresh()

    def error(self, at_ms: float, text: str) -> None:
        self._line(at_ms, "!", text, style="red")

    def _rows(self) -> list[Any]:
        look, width = self.look(), self._console.width
        rows: list[Any] = [
            Text.assemble((f"{'':>8}  {role:<9}  ", f"dim {STYLES.get(role, '')}".strip()), (text, "italic"))
            for role, text in self._text.items()
            if text
        ]
        if look.trouble:
            rows.append(Text(look.trouble, "red", no_wrap=True, overflow="ellipsis"))
        rows.append(self._levels(look, width))
        rows.append(self._keys(look, width))
        return rows

    def _levels(self, look: LiveState, width: int) -> Text:
        remarks = []
        if look.latencies_ms:
            median = statistics.median(look.latencies_ms)
            remarks.append(f"{look.latencies_ms[-1]:.0f} ms (median {median:.0f})")
        if look.usage:
            remarks.append(look.usage)
        remark = "".join(f"  {text}" for text in remarks)
        bar = max(2, min(24, (width - 26 - len(remark)) // 2))
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
        parts = [f"{key} {'unmute' if key == 'm' and look.muted else what}" for key, what in _KEYS]
        if look.push_to_talk:
            parts.insert(0, "space be quiet" if look.talking else "space talk")
        return Text("   ".join(parts), "dim", no_wrap=True, overflow="ellipsis")
