"""A private sound server for the tests of devices, and devices that do as they are told."""

from __future__ import annotations

import os
import wave
from collections.abc import Iterator
from pathlib import Path

import pytest
from soundserver import SoundServer, missing
from vivavoce import _portaudio


@pytest.fixture(scope="session")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SoundServer]:
    """The server; this process's default devices are its speaker and microphone."""
    if (lacking := missing()) is not None:
        pytest.skip(lacking)
    # A socket's path has at most 107 characters; pytest's own directories are longer.
    server = SoundServer(Path(tmp_path_factory.mktemp("s", numbered=True)))
    before = {name: os.environ.get(name) for name in server.environment}
    os.environ.update(server.environment)
    server.start()
    try:
        _portaudio.rescan()
        yield server
    finally:
        server.stop()
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


@pytest.fixture
def headset(sound: SoundServer) -> Iterator[SoundServer]:
    """A second device, plugged in: `stop` unplugs it, `start` plugs it in again."""
    sound.headset.mkdir(exist_ok=True)
    server = SoundServer(sound.headset)
    server.start()
    try:
        _portaudio.rescan()
        yield server
    finally:
        server.stop()
        _portaudio.rescan()


@pytest.fixture(scope="session")
def clip() -> dict[str, bytes]:
    """The demo's recordings by name: PCM16 mono at 16 kHz."""
    clips = {}
    for path in sorted((Path(__file__).parents[2] / "examples" / "audio").glob("*.wav")):
        with wave.open(str(path)) as file:
            clips[path.stem] = file.readframes(file.getnframes())
    return clips
