"""`vivavoce talk` by microphone and speaker."""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import IO

import pytest
from rich.console import Console, Group
from rich.live import Live
from soundserver import SoundServer
from vivavoce.cli.keyboard import LineEditor, keys
from vivavoce.cli.livescreen import LiveScreen, LiveState, meter
from vivavoce.files import AudioReader
from vivavoce.testing import virtual_run

escapes = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


def until(output: IO[str], words: str) -> str:
    for line in output:
        if words in line:
            return line
    raise AssertionError(f"it ended before {words!r}")


def start(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "vivavoce", "talk", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
    )


@pytest.mark.real_speech
def test_conversation_until_ctrl_c(sound: SoundServer, clip: dict[str, bytes], tmp_path: Path) -> None:
    """What is said is answered and printed, plainly where nobody watches; Ctrl-C ends it with the recording whole."""
    pytest.importorskip("pocketsphinx")
    pytest.importorskip("ttspico")
    talk = start("--provider", "local", "--in", "mic", "--record", str(tmp_path / "r"))
    with talk:
        assert talk.stdout is not None
        until(talk.stdout, "connected to local")
        time.sleep(0.5)
        sound.say(clip["eight-plus-three"] + bytes(32_000))
        user = until(talk.stdout, "user ")
        assistant = until(talk.stdout, "assistant")
        talk.send_signal(signal.SIGINT)
        rest, err = talk.communicate(timeout=30)
    assert (talk.returncode, err) == (0, "")
    assert "eight plus three" in user
    assert "[answered after" in assistant
    assert "2 turns, median latency" in rest
    with AudioReader(tmp_path / "r" / "audio.wav") as audio:
        assert audio.frames > audio.format.rate


@pytest.mark.real_speech
def test_turns_can_be_found_on_this_side(sound: SoundServer, clip: dict[str, bytes], tmp_path: Path) -> None:
    """With `--local-turns` a provider whose turns are by hand is talked to as any other."""
    pytest.importorskip("pocketsphinx")
    pytest.importorskip("ttspico")
    (tmp_path / "by-hand.toml").write_text('turns = "manual"\n')
    talk = start("--provider", "local", "--config", str(tmp_path / "by-hand.toml"), "--local-turns")
    with talk:
        assert talk.stdout is not None
        until(talk.stdout, "connected to local")
        time.sleep(0.5)
        sound.say(clip["eight-plus-three"] + bytes(32_000))
        user = until(talk.stdout, "user ")
        assistant = until(talk.stdout, "assistant")
        talk.send_signal(signal.SIGINT)
        _, err = talk.communicate(timeout=30)
    assert (talk.returncode, err) == (0, "")
    assert "eight plus three" in user
    assert "[answered after" in assistant


@pytest.mark.real_speech
def test_second_ctrl_c_leaves_a_whole_recording(
    sound: SoundServer, clip: dict[str, bytes], tmp_path: Path
) -> None:
    """Ctrl-C twice ends it at once, in one line, and the recording is complete."""
    talk = start("--provider", "local", "--record", str(tmp_path / "r"))
    with talk:
        assert talk.stdout is not None
        until(talk.stdout, "connected to local")
        sound.say(clip["hello"] + bytes(32_000))
        time.sleep(1)
        talk.send_signal(signal.SIGINT)
        time.sleep(0.02)
        talk.send_signal(signal.SIGINT)
        _, err = talk.communicate(timeout=30)
    assert talk.returncode in (0, 1)  # it may have ended before the second
    assert err.count("\n") <= 1
    assert json.loads((tmp_path / "r" / "recording.json").read_text())["complete"] is True


def test_no_sound_is_one_line(tmp_path: Path) -> None:
    """Where there is no sound, one line says why, and how to talk without."""
    environment = {"PULSE_SERVER": f"unix:{tmp_path}/none", "ALSA_CONFIG_PATH": "/usr/share/alsa/alsa.conf"}
    talk = start("--provider", "local", **environment)
    out, err = talk.communicate(timeout=30)
    if "there is no speaker" not in err and "PortAudio" not in err:
        pytest.skip("this machine has a sound card")
    assert (talk.returncode, out, len(err.splitlines())) == (1, "", 1)
    assert "Without sound: give --in FILE or --text TEXT" in err


def test_only_python_writes_to_stderr() -> None:
    """While a live conversation runs, what C libraries print is dropped, and what Python writes is not."""
    script = """if True:
        import os, sys
        from vivavoce.cli.quiet import only_python_on_stderr
        with only_python_on_stderr():
            os.write(2, b"noise")
            print("told", file=sys.stderr)
        os.write(2, b"after")
    """
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr == "told\nafter"


@pytest.mark.parametrize(
    ("pressed", "line", "left"),
    [
        ("hello\r", "hello", None),
        ("ab\x7fc\n", "ac", None),
        ("ab\x1b", None, None),
        ("  \r", None, None),
        ("ab", None, "ab"),
    ],
)
def test_line_is_typed(pressed: str, line: str | None, left: str | None) -> None:
    """Characters, backspace, Enter and Esc do as in any line of text."""
    editor, finished = LineEditor(), None
    for character in pressed:
        finished = editor.press(character) or finished
    assert (finished, editor.text) == (line, left)


def test_keys_of_a_windows_console(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the loop cannot wait for the terminal, keys come all the same, and those without a character do not."""
    waiting, pressed = list("m\xe0Hq"), []
    console = SimpleNamespace(kbhit=lambda: bool(waiting), getwch=lambda: waiting.pop(0))
    for name, module in (("termios", None), ("tty", None), ("msvcrt", console)):
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: True))

    async def press() -> bool:
        with keys(pressed.append) as there:
            await asyncio.sleep(1)
        waiting.append("x")
        await asyncio.sleep(1)
        return there

    assert virtual_run(press()) is True
    assert (pressed, waiting) == (["m", "q"], ["x"])


@pytest.mark.parametrize(("level", "filled"), [(0.0, 0), (0.002, 0), (0.0316, 4), (1.0, 9)])
def test_meter_is_in_decibels(level: float, filled: int) -> None:
    """A bar is empty at -54 dBFS and full at 0."""
    assert meter(level, 9) == "━" * filled + "╌" * (9 - filled)


def test_screen_that_becomes_narrower_leaves_nothing_behind() -> None:
    """Lines that the terminal breaks in two as it shrinks are erased whole."""
    paper, screen = io.StringIO(), LiveScreen()
    screen._console = Console(file=paper, width=100, force_terminal=True, no_color=True)
    screen._live = Live(console=screen._console, auto_refresh=False, transient=True)
    screen.look = lambda: LiveState(state="listening", usage="12 s of sound")
    screen.start()
    screen.refresh()
    first, second = (len(line.strip("\r")) for line in escapes.sub("", paper.getvalue()).split("\n"))
    paper.seek(paper.truncate(0))
    screen._console.width = 40
    screen.refresh()
    assert (first, second) == (88, 55)
    assert paper.getvalue().count("\x1b[1A") == 3 + 2 - 1  # rows of the two lines, but the cursor's own
    screen.stop()


@pytest.mark.parametrize("width", [30, 50, 100])
@pytest.mark.parametrize(
    ("state", "words"),
    [
        (LiveState(), ["connecting", "m mute"]),
        (LiveState(state="speaking", gated=True, speaker=0.3), ["speaking", "held"]),
        (LiveState(state="listening", muted=True), ["muted", "m unmute"]),
        (LiveState(state="listening", push_to_talk=True), ["quiet", "space talk"]),
        (LiveState(state="listening", push_to_talk=True, talking=True), ["TALK", "space be quiet"]),
        (LiveState(state="listening", typing="noon?"), ["› noon?"]),
        (LiveState(state="reconnecting", trouble="Desk is gone"), ["Desk is gone"]),
    ],
)
def test_screen_shows_the_state_in_any_width(state: LiveState, words: list[str], width: int) -> None:
    """Each state is to be seen without colour, and every key, in few lines that fit."""
    screen, paper = LiveScreen(), io.StringIO()
    screen._console = Console(file=paper, width=width, no_color=True)
    screen.look = lambda: state
    screen._console.print(Group(*screen._rows()))
    lines = paper.getvalue().splitlines()
    assert [word for word in words if word not in paper.getvalue()] == []
    assert state.typing is not None or [key for key in "mpitq" if f"{key} " not in paper.getvalue()] == []
    assert len(lines) <= (4 if width < 50 else 3)
    assert max(map(len, lines)) <= width
