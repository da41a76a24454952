"""The demo's recordings, for tests of the local provider."""

from __future__ import annotations

import wave
from pathlib import Path

import pytest

AUDIO = Path(__file__).resolve().parents[2] / "examples" / "audio"


@pytest.fixture(scope="session")
def clip() -> dict[str, bytes]:
    """PCM16 at 16 kHz by the name of the recording."""
    clips = {}
    for path in sorted(AUDIO.glob("*.wav")):
        with wave.open(str(path)) as file:
            clips[path.stem] = file.readframes(file.getnframes())
    return clips
