"""Labels that never overlap: each gets the room that is left beside its neighbours, or is shortened, or left out."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

from vivavoce.plot.timeline import Timeline, ToolCall

__all__ = ["Shelf", "call_text", "headline", "shorten", "subtitle", "times", "wrap"]

Measure = Callable[[str], float]


def wrap(text: str, width: float, lines: int, measure: Measure) -> list[str]:
    """Break `text` into at most `lines` of at most `width`, the last one shortened with an ellipsis."""
    if measure("“MMMM…”") > width:
        return []
    words, rows = text.split(), [""]
    for index, word in enumerate(words):
        longer = f"{rows[-1]} {word}".strip()
        if measure(longer) <= width:
            rows[-1] = longer
        elif len(rows) == lines:
            rows[-1] = shorten(f"{rows[-1]} {' '.join(words[index:])}", width, measure)
            break
        else:
            rows.append(word if measure(word) <= width else shorten(word, width, measure))
    return [row for row in rows if row]


def shorten(text: str, width: float, measure: Measure) -> str:
    """`text`, or its beginning with an ellipsis, or nothing where not even that fits."""
    text = text.strip()
    if measure(text) <= width:
        return text
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if measure(text[:middle].rstrip() + "…") <= width else (low, middle - 1)
    return text[:low].rstrip() + "…" if low >= 3 else ""


class Shelf:
    """One level of labels: what is taken of it, and by whom does not matter."""

    def __init__(self, left: float, right: float, gap: float) -> None:
        self._left = left
        self._right = right
        self._gap = gap
        self._taken: list[tuple[float, float]] = []

    def block(self, start: float, end: float) -> None:
        """Nothing may stand here."""
        self._taken.append((start, end))

    def put(self, start: float, width: float) -> bool:
        """Take this room for a label, if it is free, with a gap to what stands right of it."""
        end = start + width
        if start < self._left or end > self._right:
            return False
        if any(start < b and a < end + self._gap for a, b in self._taken):
            return False
        self.block(start, end + self._gap)
        return True


def times(ms: float) -> str:
    """A duration in words."""
    seconds = ms / 1000
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"


def headline(timeline: Timeline) -> str:
    """Whom the conversation was with."""
    return f"Conversation with {timeline.about.get('provider', 'a provider')}"


def subtitle(timeline: Timeline) -> str:
    """What there was, in one line."""
    turns = sum(1 for part in timeline.said if part.role in ("user", "assistant"))
    parts = [str(timeline.about.get("started", ""))[:16].replace("T", " "), times(timeline.duration_ms)]
    parts.append(f"{turns} turn{'s' * (turns != 1)}" if turns else "nothing was said")
    answers = [latency.ms for latency in timeline.latencies]
    if answers:
        parts.append(f"answered after {median(answers):.0f} ms" + (" (median)" if len(answers) > 1 else ""))
    if timeline.tools:
        parts.append(f"{len(timeline.tools)} tool call{'s' * (len(timeline.tools) != 1)}")
    cuts = sum(1 for mark in timeline.marks if mark.kind == "interrupted")
    if cuts:
        parts.append(f"{cuts} interruption{'s' * (cuts != 1)}")
    if not timeline.about.get("complete", True):
        parts.append("ended without its end")
    return "  ·  ".join(part for part in parts if part)


def call_text(call: ToolCall) -> str:
    """`move(distance=10)`."""
    given = call.arguments if isinstance(call.arguments, dict) else {}
    return f"{call.name}({', '.join(f'{key}={value}' for key, value in given.items())})"
