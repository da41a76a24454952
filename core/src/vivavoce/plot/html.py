"""The timeline as one HTML file: nothing is fetched, the sound is inside as long as it is short."""

from __future__ import annotations

import base64
import html
import re
from importlib import resources
from pathlib import Path
from typing import Any

import attrs
import msgspec
import numpy as np

from vivavoce.plot.labels import headline, subtitle
from vivavoce.plot.timeline import Timeline
from vivavoce.plot.waves import BIN_MS

__all__ = ["write_html"]

_EMBED_BYTES = 15_000_000  # 20 MB as base64
_MOST_COLUMNS = 24_000


def write_html(timeline: Timeline, path: Path) -> None:
    """Write the page. Sound of more than 15 MB stays beside it: the page then plays `audio.wav` next to it, if it is
    there. `OSError` when it cannot be written."""
    page = resources.files("vivavoce.plot").joinpath("timeline.html").read_text("utf-8")
    filled = {
        "__TITLE__": html.escape(headline(timeline)),
        "__SUBTITLE__": html.escape(subtitle(timeline)),
        "__AUDIO__": _audio(timeline, path),
        "__DATA__": _data(timeline),
    }
    path.write_text(re.sub("|".join(filled), lambda mark: filled[mark[0]], page), "utf-8")


def _audio(timeline: Timeline, path: Path) -> str:
    if timeline.audio.stat().st_size <= _EMBED_BYTES:
        return "data:audio/wav;base64," + base64.b64encode(timeline.audio.read_bytes()).decode()
    beside = path.resolve().parent == timeline.audio.resolve().parent
    return html.escape(timeline.audio.name if beside else timeline.audio.resolve().as_uri())


def _data(timeline: Timeline) -> str:
    columns = max(1, min(_MOST_COLUMNS, int(timeline.duration_ms / BIN_MS)))
    data: dict[str, Any] = {
        "duration": timeline.duration_ms,
        "waves": [_wave(timeline, side, columns) for side in (0, 1)],
        "said": [attrs.asdict(part) for part in timeline.said],
        "tools": [attrs.asdict(call) for call in timeline.tools],
        "latencies": [attrs.asdict(latency) for latency in timeline.latencies],
        "marks": [attrs.asdict(mark) for mark in timeline.marks],
    }
    # In a script element only "</" and "<!--" could end the data; no text needs a bare "<".
    return msgspec.json.encode(data).decode().replace("<", "\\u003c")


def _wave(timeline: Timeline, side: int, columns: int) -> str:
    """Lowest and highest of each column as signed bytes, the loudest at full scale, in base64."""
    waves = timeline.waves
    pairs = waves.columns(side, 0.0, timeline.duration_ms, columns) / max(waves.peak(side), 0.05)
    return base64.b64encode(np.round(pairs.clip(-1, 1) * 127).astype(np.int8).tobytes()).decode()
