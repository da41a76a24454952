"""What the command line shows on a terminal."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from sounds import write_tone

SUPPORT = str(Path(__file__).resolve().parents[2] / "support")


def on_terminal(cwd: Path, *arguments: str, **environment: str) -> str:
    """Run vivavoce with a terminal as its stdout; return what it wrote there."""
    ours, theirs = pty.openpty()
    settings = os.environ | {"PYTHONPATH": SUPPORT, "TERM": "xterm", "COLUMNS": "100"} | environment
    command = [sys.executable, "-m", "vivavoce", *arguments]
    with subprocess.Popen(command, cwd=cwd, stdout=theirs, stderr=subprocess.PIPE, env=settings) as process:
        os.close(theirs)
        written = b""
        try:
            while part := os.read(ours, 65_536):
                written += part
        except OSError:  # Linux: the other side is closed
            pass
        os.close(ours)
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert process.returncode == 0
    return written.decode()


def test_progress_and_turns_are_live(tmp_path: Path) -> None:
    """While a file is sent a bar shows how far; turns stand above it, and it is gone at the end."""
    write_tone(tmp_path / "q.wav", 600)
    shown = on_terminal(tmp_path, "talk", "--provider", "hearing_provider:Hearing", "--in", "q.wav")
    assert "sending q.wav" in shown
    assert "of 0.6 s" in shown
    assert "I heard you." in shown
    assert "\x1b[" in shown
    assert shown.splitlines()[-1].endswith(
        "2 turns, median latency " + shown.split("median latency ")[1].strip()
    )


@pytest.mark.parametrize("command", ["doctor", "providers"])
def test_no_color_is_honoured(tmp_path: Path, command: str) -> None:
    """With NO_COLOR set nothing is coloured."""
    arguments = [command, "null"] if command == "doctor" else [command, "--no-import"]
    assert "\x1b[3" not in on_terminal(tmp_path, *arguments, NO_COLOR="1")
