"""Only what may be speech is shown to the voice activity model; the turns are those that it finds alone."""

from __future__ import annotations

import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from vivavoce.audio import PCM16_16K, AudioFormat, Converter
from vivavoce.vad import (
    FRAME_BYTES,
    FRAME_MS,
    SpeechBegan,
    SpeechEnded,
    VoiceActivity,
    load_detector,
)
from vivavoce_gateway.gate import Gate

AUDIO = Path(__file__).resolve().parents[2] / "examples" / "audio"


class Counted:
    """A detector, and how many frames it was asked about."""

    def __init__(self) -> None:
        self.asked = 0
        self._model = load_detector()

    def __call__(self, frame: bytes) -> float:
        self.asked += 1
        return self._model(frame)


def call(colour: str, snr: float) -> bytes:
    """Three utterances with seconds of nothing around them, in noise so many dB below the speech."""
    parts, speech = [], []
    for path in sorted(AUDIO.glob("*.wav")):
        with wave.open(str(path)) as file:
            converter = Converter(AudioFormat(file.getframerate()), PCM16_16K)
            pcm = converter.feed(file.readframes(file.getnframes())) + converter.flush()
        speech.append(np.frombuffer(pcm, "<i2").astype(float))
        parts += [np.zeros(3 * 16_000), speech[-1]]
    whole = np.concatenate([*parts, np.zeros(3 * 16_000)])
    noise = np.random.default_rng(5).standard_normal(len(whole))
    if colour == "pink":
        spectrum = np.fft.rfft(noise)
        noise = np.fft.irfft(spectrum / np.sqrt(np.maximum(np.arange(len(spectrum)), 1)), len(whole))
    level = np.concatenate(speech).std() * 10 ** (-snr / 20) / noise.std()
    return np.clip(whole + level * noise, -32768, 32767).astype("<i2").tobytes()


def turns(detector: Any, audio: bytes) -> tuple[list[float], list[float]]:
    found = VoiceActivity(detector).feed(audio)
    return [f.at_ms for f in found if isinstance(f, SpeechBegan)], [
        f.at_ms for f in found if isinstance(f, SpeechEnded)
    ]


@pytest.mark.parametrize("colour", ["white", "pink"])
@pytest.mark.parametrize("snr", [40, 20, 10, 5])
def test_same_turns_as_without(colour: str, snr: float) -> None:
    """In quiet and in noise: as many turns, none of which begins more than a frame later or ends elsewhere than within 0.2 s;
    and the model hears little beside speech."""
    audio = call(colour, snr)
    alone, shown = Counted(), Counted()
    began, ended = turns(alone, audio)
    gated = turns(Gate(shown), audio)
    assert [len(gated[0]), len(gated[1])] == [len(began), len(ended)]
    assert all(-200 <= now - before <= FRAME_MS for before, now in zip(began, gated[0], strict=True))
    assert all(abs(now - before) <= 200 for before, now in zip(ended, gated[1], strict=True))
    assert shown.asked < 0.6 * alone.asked


def frames(*levels: float) -> list[bytes]:
    noise = np.random.default_rng(2).standard_normal((len(levels), FRAME_BYTES // 2))
    return [(row * level).astype("<i2").tobytes() for row, level in zip(noise, levels, strict=True)]


def asked(model: Any, *levels: float) -> list[bool]:
    """Which frames of these levels the model is asked about."""
    heard: list[bytes] = []

    def listen(frame: bytes) -> float:
        heard.append(frame)
        return float(model(len(heard)))

    gate, result = Gate(listen), []
    for frame in frames(*levels):
        before = len(heard)
        gate(frame)
        result.append(len(heard) > before)
    return result


def test_steady_noise_is_shown_until_the_model_is_sure() -> None:
    """Ten frames that it holds to be no speech are enough, as long as nothing gets louder."""
    assert asked(lambda _: 0.02, *[200] * 40) == [True] * 10 + [False] * 30


def test_louder_is_shown_at_once() -> None:
    """3 dB above the background the model is asked again, and goes on being asked while it is not sure."""
    shown = asked(lambda count: 0.02 if count <= 10 else 0.4, *[200] * 20, 290, *[200] * 5)
    assert shown == [True] * 10 + [False] * 10 + [True] * 6


def test_speech_without_end_stays_open() -> None:
    """What the model holds to be speech is shown to it however steady it is: the end of a turn is the model's to find."""
    assert all(asked(lambda _: 0.9, *[2000] * 300))


def test_noise_that_grows_becomes_the_background() -> None:
    """Noise that stays louder is shown until the model is sure of it; then it is the background."""
    shown = asked(lambda _: 0.02, *[200] * 30, *[800] * 200)
    assert shown[30:40] == [True] * 10
    assert not any(shown[150:])


def test_silence_is_never_shown() -> None:
    """Samples of next to nothing are no speech, from the first frame on."""
    assert not any(asked(lambda _: 0.9, *[5] * 40))
