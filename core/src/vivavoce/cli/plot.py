"""`vivavoce plot`: the timeline of a recording as a picture."""

from __future__ import annotations

from pathlib import Path

import click

from vivavoce.cli.console import debug_option
from vivavoce.plot import draw

__all__ = ["plot"]


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("recording", type=click.Path(path_type=Path, file_okay=False))
@click.option("--out", metavar="FILE.png|FILE.html", multiple=True, type=click.Path(path_type=Path, dir_okay=False),
    help="Where to write it; the ending says what. May be given several times. Default: timeline.html in the "
    "recording.")  # fmt: skip
@debug_option
def plot(recording: Path, out: tuple[Path, ...]) -> None:
    """Draw the timeline of a RECORDING, the directory that `talk --record` made.

    Both sides as waveforms, every turn with its text, interruptions, tool calls, and how long each answer took. The
    HTML is one file that needs no network: zoom with the wheel, play the sound, hover for the whole text.
    """
    for path in out or (recording / "timeline.html",):
        click.echo(f"wrote {draw(recording, path)}")
