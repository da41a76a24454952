"""`vivavoce replay`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from recordings import Story
from sounds import write_tone
from vivavoce.cli import main
from vivavoce.testing import virtual_run

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run the command line on a virtual clock, in an empty directory: status, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(asyncio, "run", virtual_run)

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        status = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


def record(run: Run, directory: Path) -> None:
    tone = write_tone(directory / "q.wav", 400, before_ms=200, after_ms=100)
    provider = "hearing_provider:Hearing"
    status, _, err = run(
        "talk", "--provider", provider, "--in", tone, "--in", tone, "--text", "and this", "--record", "r"
    )
    assert (status, err) == (0, "")


def test_replay_of_a_conversation_passes(run: Run, tmp_path: Path) -> None:
    """Sound and texts are sent again, turn by turn; the table, the new recording and the picture are there."""
    record(run, tmp_path)
    status, out, err = run("replay", "r", "--provider", "hearing_provider:Hearing")
    assert (status, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines() if "→" in line] == ["1", "2", "3"]
    assert (tmp_path / "r-replay-1" / "comparison.svg").exists()
    assert (tmp_path / "r-replay-1" / "recording.json").exists()


def test_replay_that_got_worse_fails(run: Run, tmp_path: Path) -> None:
    """A provider that replies otherwise fails with one line, when replies have to be the same."""
    record(run, tmp_path)
    status, out, err = run(
        "replay",
        "r",
        "--provider",
        "hearing_provider:ToolUser",
        "--reply-errors",
        "0.1",
        "--json",
        "--out",
        "n",
    )
    assert status == 1
    assert "of the reply's words are others" in err
    last = json.loads(out.splitlines()[-1])
    assert (last["type"], last["passed"], len(last["turns"])) == ("comparison", False, 3)


def test_recording_without_a_user_is_refused(run: Run, tmp_path: Path) -> None:
    """There is nothing to replay where the user says nothing."""
    Story().reply(500, 900, "Hello?").write(tmp_path / "r")
    status, _, err = run("replay", "r", "--provider", "hearing_provider:Hearing")
    assert (status, err) == (1, "vivavoce: r: the user says nothing in it, so there is nothing to replay\n")


def test_no_recording_is_one_line(run: Run, tmp_path: Path) -> None:
    """A directory without a recording is told as that."""
    status, _, err = run("replay", ".")
    assert (status, err.startswith("vivavoce: . holds no recording")) == (1, True)
