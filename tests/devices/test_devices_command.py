"""`vivavoce devices`: lists, tests and measures."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest
from fakesound import FakeSound
from soundserver import SoundServer
from vivavoce import _portaudio
from vivavoce.cli import main

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command: status, stdout, stderr."""

    def run(*arguments: str) -> tuple[int, str, str]:
        status = main(["devices", *arguments])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


@pytest.fixture
def room(sound: SoundServer) -> Iterator[SoundServer]:
    """The microphone hears the speaker."""
    loop = sound.ask(
        "load-module", "module-loopback", "source=speaker.monitor", "sink=mic_in", "latency_msec=20"
    )
    yield sound
    sound.ask("unload-module", loop.strip())


def test_devices_are_listed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line for each device, with an arrow at the default ones."""
    monkeypatch.setattr(_portaudio, "load", lambda: FakeSound("Desk", "USB Headset"))
    status, out, err = run()
    assert (status, err) == (0, "")
    assert [line.split() for line in out.splitlines()[1:]] == [
        ["→", "0", "Desk", "2", "ch,", "default", "2", "ch,", "default", "48000", "Hz", "Fake"],
        ["1", "USB", "Headset", "2", "ch", "2", "ch", "48000", "Hz", "Fake"],
    ]


def test_list_as_json(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--json` is the same for scripts."""
    monkeypatch.setattr(_portaudio, "load", lambda: FakeSound("Desk", "USB Headset"))
    _, out, _ = run("--json")
    assert [(one["index"], one["name"], one["default_output"]) for one in json.loads(out)] == [
        (0, "Desk", True),
        (1, "USB Headset", False),
    ]


def test_no_device_is_one_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is none, one line says why."""
    monkeypatch.setattr(_portaudio, "load", FakeSound)
    status, out, err = run()
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert err.startswith("vivavoce: no sound devices: ")


def test_wrong_device_is_one_line(run: Run, sound: SoundServer) -> None:
    """A name that no device has is answered by the nearest."""
    status, _, err = run("--test", "--output-device", "defualt")
    assert (status, err.startswith("vivavoce: no speaker 'defualt': did you mean 'default'?")) == (1, True)


def test_latency_from_speaker_to_microphone(run: Run, room: SoundServer) -> None:
    """Each tone that comes back is a latency: more than the buffers of one device, less than a second."""
    status, out, _ = run("--measure", "--json")
    measured = json.loads(out)
    assert (status, measured["played"]) == (0, 5)
    assert len(measured["latencies_ms"]) >= 3
    assert [ms for ms in measured["latencies_ms"] if not 20 < ms < 1_000] == []


def test_deaf_microphone_is_told(run: Run, sound: SoundServer) -> None:
    """A microphone that hears nothing of the speaker fails, and says what to do."""
    status, _, err = run("--measure")
    assert (status, err.splitlines()[-1]) == (
        1,
        "vivavoce: the microphone did not hear the speaker: turn both up, hold them together, and try again",
    )


def test_test_plays_and_listens(run: Run, sound: SoundServer) -> None:
    """`--test` plays a tone and shows what is heard; silence is told as such."""
    with sound.monitor() as monitor:
        status, out, err = run("--test")
    assert monitor.sound_ms() == pytest.approx(1_000, abs=150)
    assert "played 1000 ms" in out
    assert (status, err.splitlines()[-1]) == (
        1,
        "vivavoce: the microphone gives silence: is it muted, or refused to this program by the privacy settings?",
    )


def test_test_hears_the_user(run: Run, sound: SoundServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is said while it listens is shown as a level."""
    from sounds import tone
    from vivavoce.devices import Microphone

    opened = Microphone.open

    async def open_and_speak(microphone: Microphone) -> Microphone:
        await opened(microphone)
        sound.say(tone(2_000, 16_000))
        return microphone

    monkeypatch.setattr(Microphone, "open", open_and_speak)
    status, out, _ = run("--test")
    assert status == 0
    assert "━━━━━━━━━━" in out
    assert "dBFS at the loudest" in out
