"""The vendored recordings, as a client of the Realtime protocol sends them."""

from __future__ import annotations

import base64
import wave
from pathlib import Path

from vivavoce.audio import PCM16_24K, AudioFormat, Converter

AUDIO = Path(__file__).parents[2] / "examples" / "audio"
FRAME = PCM16_24K.bytes_for(40)


def speech(name: str, *, silence_ms: float = 900) -> bytes:
    """A recording as PCM16 at 24 kHz, and silence that ends the turn."""
    with wave.open(str(AUDIO / f"{name}.wav")) as file:
        converter = Converter(AudioFormat(file.getframerate()), PCM16_24K)
        audio = converter.feed(file.readframes(file.getnframes())) + converter.flush()
    return audio + bytes(PCM16_24K.bytes_for(silence_ms))


def frames(audio: bytes) -> list[str]:
    """Audio as the `audio` fields of append events."""
    return [base64.b64encode(audio[at : at + FRAME]).decode() for at in range(0, len(audio), FRAME)]
