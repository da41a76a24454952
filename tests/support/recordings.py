"""Recordings made up for tests of their readers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sounds import tone
from vivavoce.audio import AudioFormat
from vivavoce.files import WavWriter

__all__ = ["Story"]


class Story:
    """A conversation told piece by piece; times are milliseconds."""

    def __init__(self, rate: int = 8_000, opened_ms: float = 100) -> None:
        self.rate = rate
        self.lines: list[dict[str, Any]] = []
        self.spans: list[tuple[int, float, float]] = []
        self.end_ms = opened_ms
        self._count = 0
        if opened_ms:
            self.event(opened_ms, "open", session_id="s")

    def event(self, t_ms: float, event: str, **payload: Any) -> Story:
        self.lines.append({"t_ms": t_ms, "event": event, "payload": payload})
        self.end_ms = max(self.end_ms, t_ms)
        return self

    def user(self, start: float, end: float, text: str) -> Story:
        """Speech, whose end is noticed 300 ms later."""
        self._count += 1
        item = f"u{self._count}"
        self.spans.append((0, start, end))
        self.event(start + 50, "speech.started", item_id=item, at_ms=start)
        self.event(end + 300, "speech.stopped", item_id=item, at_ms=end)
        return self.event(end + 300, "turn", role="user", text=text, item_id=item, interrupted=False)

    def reply(self, start: float, end: float, text: str, cut: float | None = None) -> Story:
        """A spoken reply; `cut` is when it was interrupted."""
        self._count += 1
        item, response = f"a{self._count}", f"r{self._count}"
        audio = {"bytes": 0, "ms": end - start, "at_ms": start}
        self.event(start, "speaking", audio=audio, item_id=item, response_id=response)
        if cut is not None:
            self.event(cut, "interrupted", item_id=item, response_id=response, played_ms=cut - start)
        over = end if cut is None else cut
        self.spans.append((1, start, over))
        return self.event(
            over, "turn", role="assistant", text=text, item_id=item, interrupted=cut is not None
        )

    def tool(
        self, start: float, end: float | None, name: str, arguments: Any, error: str | None = None
    ) -> Story:
        self._count += 1
        call = f"c{self._count}"
        self.event(start, "tool-call-start", call_id=call, name=name, arguments=arguments, response_id=None)
        if end is not None:
            result = None if error else "done"
            self.event(end, "tool-call-result", call_id=call, result=result, error=error)
        return self

    def write(self, directory: Path, *, version: int = 1, duration_ms: float | None = None) -> Path:
        """Write it as a recording whose sound lasts as long as the story, or `duration_ms`."""
        directory.mkdir(parents=True)
        self.lines.sort(key=lambda line: line["t_ms"])
        text = "".join(json.dumps(line) + "\n" for line in self.lines)
        (directory / "events.jsonl").write_text(text)
        about = {
            "format": "vivavoce-recording",
            "version": version,
            "complete": True,
            "started": "2026-01-02T03:04:05+0000",
            "provider": "local",
            "audio": {"file": "audio.wav", "rate": self.rate, "channels": ["user", "assistant"]},
            "events": "events.jsonl",
        }
        (directory / "recording.json").write_text(json.dumps(about))
        ends = [end for _, _, end in self.spans]
        length = duration_ms if duration_ms is not None else max([self.end_ms, *ends])
        _write_sound(directory / "audio.wav", self.rate, self.spans, length)
        return directory


def _write_sound(path: Path, rate: int, spans: Sequence[tuple[int, float, float]], length: float) -> None:
    sides = [bytearray(2 * int(length * rate / 1000)) for _ in range(2)]
    for side, start, end in spans:
        first = 2 * int(start * rate / 1000)
        sound = tone(end - start, rate, level=0.4, hertz=rate / 40)
        sides[side][first : first + len(sound)] = sound
    stereo = bytearray(2 * len(sides[0]))
    for side in (0, 1):
        stereo[2 * side :: 4], stereo[2 * side + 1 :: 4] = sides[side][0::2], sides[side][1::2]
    with WavWriter(path, AudioFormat(rate, 2)) as wav:
        wav.write(stereo)
