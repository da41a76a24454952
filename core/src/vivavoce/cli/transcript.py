"""What is shown of a conversation: a live transcript, or a line of JSON for each thing that happens."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import attrs
import click
import msgspec
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.text import Text

from vivavoce.cli.console import complain, console, is_live, print_json
from vivavoce.events import Usage

__all__ = [
    "NARROW",
    "STYLES",
    "JsonTranscript",
    "PlainTranscript",
    "Said",
    "Summary",
    "TerminalTranscript",
    "Transcript",
    "hanging",
    "transcript",
]

STYLES = {"user": "cyan", "assistant": "green", "system": "magenta", "tool": "yellow"}
NARROW = 60
"""Columns below which a terminal has no room for everything."""
_REFRESH_S = 0.1


@attrs.frozen
class Said:
    """A finished turn. Times are milliseconds since connecting began; `latency_ms` counts from the end of the user's
    speech (or from the request) to the first audio of the reply."""

    role: str
    text: str
    start_ms: float | None = None
    end_ms: float | None = None
    latency_ms: float | None = None
    interrupted: bool = False


@attrs.frozen
class Summary:
    """What came of it."""

    turns: int
    latencies_ms: Sequence[float]
    usage: Usage
    files: Sequence[str]


class Transcript(Protocol):
    """Where a conversation is shown. `at_ms` is always milliseconds since connecting began."""

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def note(self, at_ms: float, kind: str, text: str, **fields: Any) -> None:
        """Something beside the turns: connected, sending, reconnecting."""

    def sending(self, name: str, sent_ms: float, total_ms: float) -> None: ...
    def writing(self, role: str, text: str) -> None:
        """The text so far of the turn that is being said."""

    def turn(self, said: Said) -> None: ...
    def tool(
        self, at_ms: float, name: str, arguments: Any, outcome: Any, failed: bool, ms: float
    ) -> None: ...
    def error(self, at_ms: float, text: str) -> None: ...
    def summary(self, summary: Summary) -> None: ...


def transcript(as_json: bool) -> Transcript:
    """The form that fits: JSON if asked for, live on a terminal, else plain lines."""
    if as_json:
        return JsonTranscript()
    return TerminalTranscript() if is_live() else PlainTranscript()


def hanging(console: Console, head: Text, body: Text, indent: int) -> Text:
    """`head`, and `body` beside it: its further lines begin at `indent`, where the terminal would begin them at 0."""
    room = max(10, console.width - indent)
    whole = body if head.cell_len == indent else head + body
    lines = Text("\n" + " " * indent).join(whole.wrap(console, room))
    return head + lines if whole is body else lines


def _clock(ms: float) -> str:
    minutes, seconds = divmod(ms / 1000, 60)
    return f"{int(minutes)}:{seconds:05.2f}"


def _short(value: Any, limit: int = 120) -> str:
    try:
        text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    except (TypeError, ValueError, msgspec.MsgspecError):
        text = repr(value)
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


class PlainTranscript:
    """A line for each thing, without colour."""

    def start(self) -> None:
        """Nothing to set up."""

    def stop(self) -> None:
        """Nothing to take down."""

    def _line(self, at_ms: float, who: str, text: str, remark: str = "", style: str = "") -> None:
        click.echo(f"{_clock(at_ms):>8}  {who:<9}  {text}{f'  [{remark}]' if remark else ''}")

    def note(self, at_ms: float, kind: str, text: str, **fields: Any) -> None:
        self._line(at_ms, "·", text, style="dim")

    def sending(self, name: str, sent_ms: float, total_ms: float) -> None:
        """Not shown: the note that it begins is enough."""

    def writing(self, role: str, text: str) -> None:
        """Not shown: the turn follows."""

    def turn(self, said: Said) -> None:
        remarks = [f"answered after {said.latency_ms:.0f} ms"] if said.latency_ms is not None else []
        remarks += ["interrupted"] if said.interrupted else []
        text = said.text or ("(nothing understood)" if said.role == "user" else "(nothing was heard of it)")
        self._line(said.start_ms or 0.0, said.role, text, ", ".join(remarks), STYLES.get(said.role, ""))

    def tool(self, at_ms: float, name: str, arguments: Any, outcome: Any, failed: bool, ms: float) -> None:
        given = ", ".join(f"{key}={_short(value, 40)}" for key, value in (arguments or {}).items())
        sign = "failed:" if failed else "→"
        self._line(at_ms, "tool", f"{name}({given}) {sign} {_short(outcome)}", f"{ms:.0f} ms", "yellow")

    def error(self, at_ms: float, text: str) -> None:
        complain(text, "vivavoce talk")

    def summary(self, summary: Summary) -> None:
        parts = [f"{summary.turns} turn{'' if summary.turns == 1 else 's'}"]
        if summary.latencies_ms:
            parts.append(f"median latency {statistics.median(summary.latencies_ms):.0f} ms")
        if summary.usage.total_tokens:
            parts.append(f"{summary.usage.total_tokens} tokens")
        click.echo(", ".join(parts))
        for file in summary.files:
            click.echo(f"wrote {file}")


class TerminalTranscript(PlainTranscript):
    """Lines with colour, and below them what is being sent and said right now."""

    def __init__(self) -> None:
        self._console = console()
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._bar: tuple[str, float, float] | None = None
        self._text: dict[str, str] = {}
        self._drawn = 0.0

    def start(self) -> None:
        self._live.start()

    def stop(self) -> None:
        self._live.update("")
        self._live.stop()

    def _line(self, at_ms: float, who: str, text: str, remark: str = "", style: str = "") -> None:
        body = Text(text)
        if remark:
            body.append(f"  {remark}", "dim")
        self._console.print(self._row(_clock(at_ms), who, body, f"bold {style}".strip()))

    def _row(self, clock: str, who: str, body: Text, style: str) -> Text:
        """A line of the transcript; without the time where there is not much room."""
        if self._console.width < NARROW:
            return hanging(self._console, Text(f"{who}  ", style), body, 2)
        head = Text.assemble((f"{clock:>8}  ", "dim"), (f"{who:<9}  ", style))
        return hanging(self._console, head, body, head.cell_len)

    def sending(self, name: str, sent_ms: float, total_ms: float) -> None:
        self._bar = (name, sent_ms, total_ms) if sent_ms < total_ms else None
        self._draw()

    def writing(self, role: str, text: str) -> None:
        self._text[role] = text
        self._draw()

    def turn(self, said: Said) -> None:
        self._text.pop(said.role, None)
        super().turn(said)
        self._draw(now=True)

    def _draw(self, now: bool = False) -> None:
        if not now and time.monotonic() - self._drawn < _REFRESH_S:
            return
        self._drawn = time.monotonic()
        rows: list[Any] = [
            self._row("", role, Text(text, "italic"), f"dim {STYLES.get(role, '')}".strip())
            for role, text in self._text.items()
            if text
        ]
        if self._bar is not None:
            name, sent, total = self._bar
            rows.append(Text(f"sending {name}  {sent / 1000:.1f} of {total / 1000:.1f} s", "dim"))
            rows.append(ProgressBar(total=total, completed=sent, width=40))
        self._live.update(Group(*rows), refresh=True)


class JsonTranscript:
    """One JSON object a line, each with its `type`."""

    def __init__(self, write: Callable[..., None] = print_json) -> None:
        self._write = write

    def _line(self, type: str, **fields: Any) -> None:
        rounded = {key: round(v, 1) if isinstance(v, float) else v for key, v in fields.items()}
        self._write({"type": type, **rounded}, indent=0)

    def start(self) -> None:
        """Nothing to set up."""

    def stop(self) -> None:
        """Nothing to take down."""

    def note(self, at_ms: float, kind: str, text: str, **fields: Any) -> None:
        self._line(kind, at_ms=at_ms, **fields)

    def sending(self, name: str, sent_ms: float, total_ms: float) -> None:
        """Not told: a script has no use for it."""

    def writing(self, role: str, text: str) -> None:
        """Not told: the turn follows."""

    def turn(self, said: Said) -> None:
        self._line("turn", **attrs.asdict(said))

    def tool(self, at_ms: float, name: str, arguments: Any, outcome: Any, failed: bool, ms: float) -> None:
        result = {"error": outcome} if failed else {"result": outcome}
        self._line("tool", at_ms=at_ms, name=name, arguments=arguments, duration_ms=ms, **result)

    def error(self, at_ms: float, text: str) -> None:
        self._line("error", at_ms=at_ms, message=text)

    def summary(self, summary: Summary) -> None:
        usage = {key: value for key, value in msgspec.structs.asdict(summary.usage).items() if value}
        latencies = [round(ms, 1) for ms in summary.latencies_ms]
        files = list(summary.files)
        self._line("summary", turns=summary.turns, latencies_ms=latencies, usage=usage, files=files)
