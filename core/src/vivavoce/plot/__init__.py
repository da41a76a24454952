"""Pictures of a recording: its timeline as PNG (needs the extra `plot`) or as one HTML file that can be played.

from vivavoce.plot import draw
draw("a-recording", "timeline.html")
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

from vivavoce.errors import ConfigError, VoiceError

__all__ = ["draw"]

_NEEDS = {".png": ("matplotlib", "numpy"), ".html": ("numpy",)}


def draw(recording: str | os.PathLike[str], out: str | os.PathLike[str]) -> Path:
    """Draw the recording in the directory `recording` to `out`, which ends in `.png` or `.html`; returns its path.

    It blocks, for about a second a minute of sound at most. Raises `ConfigError` (no recording there, another ending,
    an extra that is missing), `AudioError` (its sound cannot be read), `VoiceError` (the picture cannot be written).
    """
    path = Path(out)
    needed = _NEEDS.get(path.suffix.lower())
    if needed is None:
        raise ConfigError(f"{path}: a picture ends in .png or .html", option="out")
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            f'drawing {path.suffix} needs {" and ".join(missing)}: pip install "vivavoce[plot]"'
        )
    from vivavoce.plot.timeline import load

    timeline = load(Path(recording))
    was_there = os.path.lexists(path)
    try:
        if path.suffix.lower() == ".png":
            from vivavoce.plot.png import write_png

            write_png(timeline, path)
        else:
            from vivavoce.plot.html import write_html

            write_html(timeline, path)
    except OSError as bad:
        if not was_there:  # the beginning of a picture is of no use
            path.unlink(missing_ok=True)
        raise VoiceError(f"cannot write {path}: {bad.strerror or bad}", code="file") from bad
    return path
