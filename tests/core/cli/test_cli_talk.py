"""`vivavoce talk`."""

from __future__ import annotations

import asyncio
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sounds import loud_spans, read_wav, write_tone
from vivavoce.cli import main
from vivavoce.testing import virtual_run

SUPPORT = str(Path(__file__).resolve().parents[2] / "support")
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run the command line on a virtual clock, in an empty directory: status, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VIVAVOCE_PROVIDER", raising=False)
    monkeypatch.setattr(asyncio, "run", virtual_run)

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        status = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


def talk(provider: str) -> list[str]:
    return ["talk", "--provider", f"hearing_provider:{provider}"]


def test_file_turn_is_transcribed_with_times_and_latency(run: Run, tmp_path: Path) -> None:
    """A file is sent in real time; both turns are printed, the reply with the time since the end of the speech."""
    question = write_tone(tmp_path / "q.wav", 400, before_ms=200, after_ms=100)
    status, out, err = run(*talk("Hearing"), "--in", question)
    assert (status, err) == (0, "")
    user, assistant = (line for line in out.splitlines() if " user " in line or "assistant" in line)
    assert re.match(r" *0:00\.(19|2\d)  user       a question$", user)
    assert re.match(r" *0:00\.[89]\d  assistant  I heard you\.  \[answered after (2|3)\d\d ms\]$", assistant)
    assert "2 turns, median latency" in out


def test_files_are_turns_one_after_the_other(run: Run, tmp_path: Path) -> None:
    """The second file begins only when the reply to the first was heard."""
    question = write_tone(tmp_path / "q.wav")
    status, _, _ = run(*talk("Hearing"), "--in", question, "--in", question, "--out", "both.wav")
    assert status == 0
    format, (user, assistant) = read_wav(tmp_path / "both.wav")
    asked, answered = loud_spans(user, format.rate), loud_spans(assistant, format.rate)
    assert [len(asked), len(answered)] == [2, 2]
    assert asked[0][1] < answered[0][0] < answered[0][1] < asked[1][0] < asked[1][1] < answered[1][0]


def test_out_holds_both_sides_on_one_clock(run: Run, tmp_path: Path) -> None:
    """The user is left where it was sent, the reply right where it is heard: 300 ms of silence later."""
    question = write_tone(tmp_path / "q.wav", 500)
    run(*talk("Hearing"), "--in", question, "--out", "both.wav")
    format, (user, assistant) = read_wav(tmp_path / "both.wav")
    assert (format.rate, format.channels) == (16_000, 2)
    assert loud_spans(user, format.rate) == [(0, 500)]
    ((began, ended),) = loud_spans(assistant, format.rate)
    assert (780 <= began <= 830, 190 <= ended - began <= 210) == (True, True)


def test_json_is_one_object_a_line(run: Run, tmp_path: Path) -> None:
    """`--json` prints objects only: connected, the turns with times, the summary."""
    question = write_tone(tmp_path / "q.wav")
    status, out, _ = run(*talk("Hearing"), "--in", question, "--json", "--out", "both.wav")
    lines = [json.loads(line) for line in out.splitlines()]
    assert status == 0
    assert [line["type"] for line in lines] == ["connected", "sending", "turn", "turn", "summary"]
    assert [line.get("role") for line in lines[2:4]] == ["user", "assistant"]
    assert lines[3]["latency_ms"] == lines[4]["latencies_ms"][0]
    assert lines[4]["files"] == ["both.wav"]


def test_text_turn_is_answered(run: Run) -> None:
    """`--text` needs no file: it is a turn, and its reply is waited for."""
    status, out, err = run(*talk("Hearing"), "--text", "hello there")
    assert (status, err) == (0, "")
    who = [line.split()[1:3] for line in out.splitlines()[1:3]]
    assert who == [["user", "hello"], ["assistant", "ok"]]


def test_tools_of_a_file_are_called(run: Run, tmp_path: Path) -> None:
    """`--tools file.py` offers the tools in it; calls are shown with arguments and result."""
    (tmp_path / "legs.py").write_text(
        "import vivavoce\n@vivavoce.tool\ndef go(meters: int) -> str:\n    return f'went {meters}'\n"
    )
    question = write_tone(tmp_path / "q.wav")
    status, out, _ = run(*talk("ToolUser"), "--in", question, "--tools", "legs.py")
    assert status == 0
    assert "go(meters=10) → went 10" in out
    assert "I went 10 meters." in out


def test_record_writes_everything(run: Run, tmp_path: Path) -> None:
    """`--record` makes a directory with the sound, the events, what it is, and both pictures."""
    question = write_tone(tmp_path / "q.wav")
    status, _, err = run(*talk("Hearing"), "--in", question, "--record", "rec")
    assert (status, err) == (0, "")
    assert sorted(path.name for path in (tmp_path / "rec").iterdir()) == [
        "audio.wav",
        "events.jsonl",
        "recording.json",
        "timeline.html",
        "timeline.png",
    ]
    assert json.loads((tmp_path / "rec/recording.json").read_text())["complete"] is True


def test_recording_is_never_overwritten(run: Run, tmp_path: Path) -> None:
    """A directory that holds a recording is refused before anything is dialled."""
    (tmp_path / "rec").mkdir()
    (tmp_path / "rec/recording.json").write_text("{}")
    status, out, err = run(*talk("Hearing"), "--text", "hi", "--record", "rec")
    assert (status, out) == (1, "")
    assert "rec holds a recording already: name another directory" in err


def test_listening_provider_transcribes(run: Run, tmp_path: Path) -> None:
    """A provider without conversation turns files into text."""
    status, out, _ = run(*talk("Listening"), "--in", write_tone(tmp_path / "q.wav"))
    assert (status, "user       go forward" in out) == (0, True)


def test_speaking_provider_speaks(run: Run, tmp_path: Path) -> None:
    """A provider without conversation turns texts into sound, on the right."""
    status, out, _ = run(*talk("Speaking"), "--text", "one two three", "--out", "said.wav")
    assert (status, "assistant  one two three" in out) == (0, True)
    assert "1 turn\n" in out
    format, (user, assistant) = read_wav(tmp_path / "said.wav")
    assert max(map(abs, user)) == 0
    assert len(assistant) / format.rate == pytest.approx(0.3, abs=0.01)


@pytest.mark.parametrize(
    ("arguments", "status", "line"),
    [
        (
            ["talk", "--in", "mic", "--text", "x"],
            2,
            "vivavoce talk: --in mic goes alone: no files and texts beside it (see `vivavoce talk --help`)",
        ),
        (["talk", "--inn", "x"], 2, "vivavoce talk: No such option '--inn'"),
        (["talk", "--text", "x", "--timeout", "0"], 2, "vivavoce talk: Invalid value for '--timeout'"),
        (["talk", "--text", "x", "--provider", "nope"], 1, "no provider is named 'nope'"),
        ([*talk("Hearing"), "--in", "nope.wav"], 1, "Cannot read the audio file nope.wav"),
        ([*talk("Refusing"), "--text", "x"], 1, "vivavoce: the key was refused: set a good one"),
        ([*talk("Speaking"), "--in", "{tone}"], 1, "'speaking' cannot listen, nor hold a conversation"),
        ([*talk("Deaf"), "--in", "{tone}", "--wait", "500"], 1, "no reply within 0.5 s"),
        ([*talk("Hearing"), "--text", "x", "--tools", "no.py"], 1, "--tools no.py: there is no such file"),
        ([*talk("Hearing"), "--text", "x", "--config", "no.toml"], 1, "cannot read the config file no.toml"),
        ([*talk("Hearing"), "--text", "x", "--out", "no/dir.wav"], 1, "Cannot write no/dir.wav"),
        ([*talk("NoSuch"), "--text", "x"], 1, "there is no 'NoSuch'"),
    ],
)
def test_error_is_one_line_with_its_status(
    run: Run, tmp_path: Path, arguments: list[str], status: int, line: str
) -> None:
    """What goes wrong is one line on stderr, with status 1, or 2 for wrong use."""
    tone = str(write_tone(tmp_path / "tone.wav"))
    seen, _, err = run(*(argument.replace("{tone}", tone) for argument in arguments))
    assert seen == status
    assert line in err
    assert err.count("\n") == 1


def test_failed_connect_leaves_no_recording(run: Run, tmp_path: Path) -> None:
    """When there was no conversation there are no files, so that the same command can be tried again."""
    run(*talk("Refusing"), "--text", "x", "--record", "rec", "--out", "o.wav")
    assert list(tmp_path.iterdir()) == []


def test_debug_shows_the_traceback(run: Run) -> None:
    """`--debug` puts the traceback above the line."""
    status, _, err = run(*talk("Refusing"), "--text", "x", "--debug")
    assert status == 1
    assert err.startswith("Traceback")
    assert err.splitlines()[-1] == "vivavoce: the key was refused: set a good one"


# A shell begins its background jobs with SIGINT ignored, and what they begin inherits it.
HEED = "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"


def spawn(tmp_path: Path, *arguments: str, **options: object) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": SUPPORT, "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", HEED, "-m", "vivavoce", *arguments],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,  # type: ignore[call-overload]
    )


def test_out_is_never_what_is_sent(run: Run, tmp_path: Path) -> None:
    """A sound that would overwrite the user's own file is refused, and the file is as it was."""
    question = write_tone(tmp_path / "q.wav")
    before = question.read_bytes()
    status, _, err = run(*talk("Hearing"), "--in", question, "--out", "q.wav")
    assert status == 2
    assert f"--out q.wav is also what the user says (--in {question}): give another name" in err
    assert question.read_bytes() == before


def test_only_what_was_recorded_is_said_to_be(run: Run, tmp_path: Path) -> None:
    """Nothing is claimed of what cannot be written, or was there before."""
    (tmp_path / "rec").mkdir()
    (tmp_path / "rec/recording.json").write_text("{}")
    for option, text in (
        ("--record=rec", "rec holds a recording already"),
        ("--out=/dev/full", "No space left"),
    ):
        status, _, err = run(*talk("Hearing"), "--text", "hello", option)
        assert (status, text in err, "what was recorded" in err) == (1, True, False)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_stopping_keeps_what_was_recorded(tmp_path: Path, how: signal.Signals) -> None:
    """Ctrl-C in the middle of a file: one line, status 1, and a recording that plays up to that moment."""
    write_tone(tmp_path / "long.wav", 20_000)
    process = spawn(tmp_path, *talk("Hearing"), "--in", "long.wav", "--record", "rec", "--out", "o.wav")
    assert process.stdout is not None
    while "sending" not in process.stdout.readline():
        pass
    time.sleep(0.7)  # some of the file must have been sent: the process has a real clock
    process.send_signal(how)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 1
    assert err == "vivavoce: stopped; what was recorded is in o.wav and rec\n"
    for file in (tmp_path / "rec/audio.wav", tmp_path / "o.wav"):
        format, (user, _) = read_wav(file)
        assert 500 <= loud_spans(user, format.rate)[0][1] < 20_000
    events = [json.loads(line) for line in (tmp_path / "rec/events.jsonl").read_text().splitlines()]
    assert events[-1]["event"] == "close"
    assert json.loads((tmp_path / "rec/recording.json").read_text())["complete"] is True


def test_killed_process_leaves_a_recording_that_plays(run: Run, tmp_path: Path) -> None:
    """After `kill -9` the sound plays up to the last second, every event is a whole line, and both can be drawn."""
    write_tone(tmp_path / "long.wav", 20_000)
    process = spawn(tmp_path, *talk("Hearing"), "--in", "long.wav", "--record", "rec")
    assert process.stdout is not None
    while "sending" not in process.stdout.readline():
        pass
    time.sleep(1.7)  # some of the file must have been sent: the process has a real clock
    process.kill()
    process.communicate(timeout=20)
    format, (user, _) = read_wav(tmp_path / "rec/audio.wav")
    assert 500 <= loud_spans(user, format.rate)[0][1] < 20_000
    events = [json.loads(line) for line in (tmp_path / "rec/events.jsonl").read_text().splitlines()]
    assert {"open", "input"} <= {event["event"] for event in events}
    status, _, err = run("plot", "rec", "--out", "timeline.html")
    assert (status, err) == (0, "")


def test_stopping_while_connecting_leaves_one_line(tmp_path: Path) -> None:
    """Ctrl-C before the session is there ends it as well."""
    process = spawn(tmp_path, *talk("Slow"), "--text", "hi", "--out", "o.wav")
    while not (tmp_path / "o.wav").exists():
        time.sleep(0.02)  # the file appears as connecting begins
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (1, "vivavoce: stopped\n")
    assert not (tmp_path / "o.wav").exists()


def test_full_disk_is_one_line_and_the_rest_plays(tmp_path: Path) -> None:
    """When no more can be written the conversation ends with one line that says what is kept."""
    write_tone(tmp_path / "long.wav", 3_000)
    limit = 60_000

    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    process = spawn(tmp_path, *talk("Hearing"), "--in", "long.wav", "--record", "rec", preexec_fn=small_files)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "Cannot write rec/audio.wav" in err
    assert "kept and playable" in err
    assert err.count("\n") == 1
    format, (user, _) = read_wav(tmp_path / "rec/audio.wav")
    assert len(user) / format.rate > 0.8
