"""What goes wrong with devices: each is one line that says what to do, and leaves nothing open."""

from __future__ import annotations

import asyncio
import builtins
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fakesound import FakeSound, PortAudioError
from vivavoce import _portaudio, _soundhelp
from vivavoce.audio import AudioFormat
from vivavoce.devices import DeviceEvent, Microphone, Speaker, list_devices, silence_reasons
from vivavoce.errors import AudioError
from vivavoce.testing import virtual_run

Use = Callable[[FakeSound], FakeSound]


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Use:
    """Make a fake module the one that is used."""

    def use(sound: FakeSound) -> FakeSound:
        monkeypatch.setattr(_portaudio, "load", lambda: sound)
        return sound

    return use


@pytest.mark.parametrize(
    ("device", "line"),
    [
        ("Built-in Speakr", "no speaker 'Built-in Speakr': did you mean 'Built-in Speaker'?"),
        ("zzz", "no speaker 'zzz': there are 'Built-in Speaker', 'USB Headset', 'USB Dock'"),
        ("usb", "no speaker 'usb': several have it in their name: USB Headset, USB Dock"),
        (7, "no speaker has the index 7: there are 0 (Built-in Speaker), 1 (USB Headset), 2 (USB Dock)"),
    ],
)
async def test_wrong_device_is_answered_by_the_nearest(use: Use, device: int | str, line: str) -> None:
    """A name or an index that no device has is answered by those that there are."""
    use(FakeSound("Built-in Speaker", "USB Headset", "USB Dock"))
    with pytest.raises(AudioError) as caught:
        await Speaker(device).open()
    assert str(caught.value).startswith(line)
    assert caught.value.code == "device_missing"


@pytest.mark.parametrize(("device", "name"), [(None, "Desk"), (1, "USB Headset"), ("headset", "USB Headset")])
async def test_device_by_index_name_or_default(use: Use, device: int | str | None, name: str) -> None:
    """A part of a name in any case, an index, or nothing at all finds a device."""
    sound = use(FakeSound("Desk", "USB Headset"))
    async with Speaker(device) as speaker:
        assert speaker.name == name
    assert [stream.closed for stream in sound.streams] == [True]


async def test_no_device_says_why(use: Use) -> None:
    """Where there is no device, the error says what may be the reason."""
    use(FakeSound())
    with pytest.raises(AudioError, match=r"there is no microphone: .+"):
        await Microphone().open()
    assert list_devices() == []


async def test_busy_device_says_so(use: Use) -> None:
    """A device that another program holds is told as that."""
    sound = use(FakeSound("Desk"))
    sound.fails.append(PortAudioError("Device unavailable", -9985))
    with pytest.raises(
        AudioError, match="the speaker 'Desk' is in use by another program: close that one"
    ) as caught:
        await Speaker().open()
    assert (caught.value.code, caught.value.retryable) == ("device_busy", True)


SYSTEMS = {
    "Debian": ("linux", {"ID": "debian"}),
    "Mint": ("linux", {"ID": "mint", "ID_LIKE": "ubuntu debian"}),
    "Fedora": ("linux", {"ID": "fedora"}),
    "another": ("linux", {"ID": "nixos"}),
    "none": ("linux", OSError()),
    "macOS": ("darwin", OSError()),
    "Windows": ("win32", OSError()),
}


def pretend(monkeypatch: pytest.MonkeyPatch, system: str) -> None:
    """Let this be another system, as far as Python tells it."""
    name, release = SYSTEMS[system]

    def tell() -> dict[str, str]:
        if isinstance(release, OSError):
            raise release
        return release

    monkeypatch.setattr("platform.freedesktop_os_release", tell)
    monkeypatch.setattr(sys, "platform", name)


@pytest.mark.parametrize(
    ("system", "command"),
    [
        ("Debian", "apt install libportaudio2"),
        ("Mint", "apt install libportaudio2"),
        ("Fedora", "dnf install portaudio"),
        ("another", "install your system's portaudio package (libportaudio2 on Debian)"),
        ("none", "install your system's portaudio package (libportaudio2 on Debian)"),
        ("macOS", "pip install --force-reinstall sounddevice (its wheels bring it along)"),
        ("Windows", "pip install --force-reinstall sounddevice (its wheels bring it along)"),
    ],
)
def test_missing_library_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, system: str, command: str
) -> None:
    """Without PortAudio the error is the command that installs it here."""
    real = builtins.__import__

    def refuse(name: str, *rest: Any, **named: Any) -> Any:
        if name == "sounddevice":
            raise OSError("PortAudio library not found")
        return real(name, *rest, **named)

    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    monkeypatch.setattr(_portaudio, "_silence_alsa", lambda: None)
    monkeypatch.setattr(builtins, "__import__", refuse)
    pretend(monkeypatch, system)
    with pytest.raises(AudioError) as caught:
        _portaudio.load()
    assert str(caught.value) == f"the PortAudio library is missing: {command}"
    assert caught.value.code == "portaudio_missing"


@pytest.mark.parametrize(
    ("system", "reason"),
    [
        ("macOS", "Privacy & Security, Microphone, allow your terminal"),
        ("Windows", "Privacy & security, Microphone, let desktop apps access it"),
    ],
)
def test_no_device_tells_where_it_is_permitted(
    monkeypatch: pytest.MonkeyPatch, system: str, reason: str
) -> None:
    """Where a system asks before a microphone may be used, the reason names the place."""
    pretend(monkeypatch, system)
    (told,) = silence_reasons()
    assert told.startswith("no sound device is connected, or")
    assert reason in told


@pytest.mark.parametrize(
    ("server", "card", "readable", "reasons"),
    [
        (False, False, False, ["no PulseAudio or PipeWire server runs", "has no sound card"]),
        (True, True, False, ["no permission for /dev/snd: add yourself to the group `audio`"]),
        (True, True, True, ["ALSA lists no device: with PulseAudio or PipeWire, dnf install pipewire-alsa"]),
    ],
)
def test_linux_without_sound_says_why(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    server: bool,
    card: bool,
    readable: bool,
    reasons: list[str],
) -> None:
    """No server, no card, no permission, and no way from ALSA to the server are told apart."""
    pretend(monkeypatch, "Fedora")
    monkeypatch.delenv("PULSE_SERVER", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    snd = tmp_path / "snd"
    if server:
        (tmp_path / "pipewire-0").touch()
    if card:
        snd.mkdir()
        (snd / "pcmC0D0p").touch()
    monkeypatch.setattr(os, "access", lambda path, mode: readable)
    monkeypatch.setattr(_soundhelp, "Path", lambda path: snd if str(path) == "/dev/snd" else Path(path))
    told = silence_reasons()
    assert len(told) == len(reasons)
    assert [reason for reason, one in zip(reasons, told, strict=True) if reason not in one] == []


async def test_missing_sounddevice_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without sounddevice the error names the extra of this package."""
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(AudioError, match=r'pip install "vivavoce\[devices\]"'):
        _portaudio.load()


async def test_rate_and_channels_of_the_device_are_met(use: Use) -> None:
    """A device with 44.1 kHz alone gets 44.1 kHz; the app's format stays what it is."""
    sound = use(FakeSound("Old", rates=(44_100,), channels=1))
    async with Speaker(format=AudioFormat(24_000)) as speaker:
        assert (speaker.format.rate, speaker.device_format) == (24_000, AudioFormat(44_100))
        await speaker.write(b"\1\0" * 2_400)
        sound.streams[0].tick(12)
    played = sound.streams[0].played
    assert abs(len(played.rstrip(b"\0")) // 2 - 4_410) < 60


def test_lost_device_is_replaced_by_the_default(use: Use) -> None:
    """A device whose callback is not called any more is told as lost; sound goes on at the default one."""
    sound = use(FakeSound("Desk", "USB Headset"))
    events: list[DeviceEvent] = []

    async def play() -> str:
        async with Speaker("headset", on_event=events.append) as speaker:
            sound.streams[0].tick(5)
            sound.names.pop()  # and no tick any more
            for _ in range(3):
                await speaker.write(bytes(48_000))
                if len(sound.streams) > 1:
                    break
            return speaker.name

    assert virtual_run(play()) == "Desk"
    assert [(event.kind, event.device) for event in events] == [
        ("lost", "USB Headset"),
        ("recovered", "Desk"),
    ]


async def turn(sound: FakeSound) -> None:
    """Let time pass for the streams whose device is there."""
    while True:
        for stream in sound.streams:
            if stream.active and stream.given["device"] < len(sound.names):
                stream.tick()
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("sounding", [False, True])
def test_device_that_comes_back_is_used_again(use: Use, sounding: bool) -> None:
    """The device that was asked for is taken again when it is there: in a pause, or after 5 s of sound without one."""
    sound = use(FakeSound("Desk", "USB Headset"))
    events: list[tuple[str, str, int]] = []

    async def play() -> str:
        loop = asyncio.get_running_loop()
        turning = asyncio.create_task(turn(sound))
        began = 0.0

        def tell(event: DeviceEvent) -> None:
            events.append((event.kind, event.device, round(loop.time() - began)))

        async with Speaker("headset", on_event=tell) as speaker:
            await speaker.write(bytes(4_800))
            gone = sound.names.pop()
            await asyncio.sleep(2)
            await speaker.write(bytes(4_800))
            while len(events) < 2:
                await speaker.write(bytes(4_800))
            sound.names.append(gone)
            began = loop.time()
            while len(events) < 3:
                await (speaker.write(bytes(4_800)) if sounding else asyncio.sleep(0.1))
            turning.cancel()
            return speaker.name

    assert virtual_run(play()) == "USB Headset"
    assert [event[:2] for event in events[1:]] == [("recovered", "Desk"), ("returned", "USB Headset")]
    assert events[-1][2] == (8 if sounding else 3)
    assert [stream.closed for stream in sound.streams] == [True] * 3


def test_device_that_portaudio_does_not_know_is_found_again(
    use: Use, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A device that came after PortAudio had looked: all streams are closed for a moment, and both have theirs again."""
    sound = use(FakeSound("Desk", "USB Headset"))
    sound.listed = ["Desk"]
    monkeypatch.setattr(_portaudio, "is_there", lambda kind, device: "USB Headset" in sound.names)
    events: list[tuple[str, str]] = []

    def tell(event: DeviceEvent) -> None:
        events.append((event.kind, event.device))

    async def play() -> tuple[str, str]:
        sound.listed = list(sound.names)
        turning = asyncio.create_task(turn(sound))
        async with Speaker("headset", on_event=tell) as speaker, Microphone(on_event=tell) as microphone:
            heard = asyncio.create_task(anext_forever(microphone))
            gone = sound.names.pop()
            sound.listed = ["Desk"]  # as after a look without it
            while len(events) < 2:
                await speaker.write(bytes(4_800))
                await asyncio.sleep(0.1)
            await asyncio.sleep(15)
            assert events[-1] == ("recovered", "Desk")
            sound.names.append(gone)
            await asyncio.sleep(15)
            microphone.stop()
            await heard
            turning.cancel()
            return speaker.name, microphone.name

    assert virtual_run(play()) == ("USB Headset", "Desk")
    assert events[-1] == ("returned", "USB Headset")
    assert sound.scans == 1
    assert [stream.closed for stream in sound.streams] == [True] * 5


async def anext_forever(microphone: Microphone) -> None:
    async for _ in microphone:
        pass


def test_closing_ends_the_look_out_for_a_device(use: Use) -> None:
    """A speaker that is closed while its device is away looks for it no more."""
    sound = use(FakeSound("Desk", "USB Headset"))
    events: list[str] = []

    async def play() -> None:
        turning = asyncio.create_task(turn(sound))
        async with Speaker("headset", on_event=lambda event: events.append(event.kind)) as speaker:
            gone = sound.names.pop()
            while len(events) < 2:
                await asyncio.sleep(1)
                await speaker.write(bytes(4_800))
        sound.names.append(gone)
        await asyncio.sleep(10)
        turning.cancel()

    virtual_run(play())
    assert events == ["lost", "recovered"]
    assert [stream.closed for stream in sound.streams] == [True, True]


def test_nothing_left_to_play_on_is_an_error(use: Use) -> None:
    """When no device comes back within `give_up_s`, whoever writes is told."""
    sound = use(FakeSound("Desk"))

    async def play() -> None:
        async with Speaker(give_up_s=3, on_event=lambda _: None) as speaker:
            sound.names.clear()
            await speaker.write(bytes(480_000))

    with pytest.raises(
        AudioError, match="the speaker 'Desk' is gone, and no other can be used: there is no speaker"
    ) as caught:
        virtual_run(play())
    assert caught.value.code == "device_lost"
    assert sound.scans >= 3


def test_xruns_are_counted_and_told(use: Use) -> None:
    """Breaks in the sound are counted, but those of a stream that starts, and those between silence and silence; they
    are told at most every 5 s."""
    sound = use(FakeSound("Desk"))
    events: list[DeviceEvent] = []

    async def play() -> int:
        async with Speaker(on_event=events.append) as speaker:
            await asyncio.sleep(10)
            late = SimpleNamespace(output_underflow=True)
            sound.streams[0].tick(60, status=late)
            await speaker.write(bytes(24_000 * 2 // 50))
            sound.streams[0].tick(4, status=late)
            await speaker.write(bytes(100))
            return speaker.xruns

    assert virtual_run(play()) == 3
    assert [(event.kind, event.count) for event in events] == [("xruns", 3)]


async def test_unread_microphone_drops_and_counts(use: Use) -> None:
    """What nobody reads for 2 s is dropped, and counted in milliseconds."""
    sound = use(FakeSound("Desk"))
    async with Microphone() as microphone:
        sound.streams[0].tick(250)
        assert microphone.lost_ms == pytest.approx(500)


async def test_cancelled_open_leaves_nothing_open(use: Use) -> None:
    """A task that is cancelled while its device is being opened leaves it closed."""
    sound = use(FakeSound("Desk"))
    speaker = Speaker()
    opening = asyncio.create_task(speaker.open())
    await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert (speaker.is_open, [stream.closed for stream in sound.streams]) in [(False, [True]), (False, [])]


async def test_compressed_formats_are_refused() -> None:
    """A device has no G.711."""
    with pytest.raises(AudioError, match="a sound device plays and records PCM16"):
        Speaker(format=AudioFormat(8_000, 1, "pcmu"))
