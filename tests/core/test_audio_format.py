"""Formats, floats and channels."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import msgspec
import numpy as np
import pytest
from vivavoce.audio import (
    PCM16_16K,
    PCM16_24K,
    PCMA_8K,
    PCMU_8K,
    AudioFormat,
    Converter,
    float32_to_pcm16,
    mix_channels,
    pcm16_to_float32,
)
from vivavoce.errors import AudioError


def test_formats_say_what_they_are() -> None:
    """A format reads as one would say it."""
    assert [
        str(format)
        for format in (PCM16_24K, AudioFormat(44_100, 2), PCMU_8K, PCMA_8K, AudioFormat(channels=6))
    ] == [
        "PCM16 24000 Hz mono",
        "PCM16 44100 Hz stereo",
        "G.711 µ-law 8000 Hz mono",
        "G.711 A-law 8000 Hz mono",
        "PCM16 24000 Hz 6 channels",
    ]


def test_formats_compare_and_hash_by_value() -> None:
    """Two formats with the same fields are one key."""
    assert {AudioFormat(16_000): 1}[PCM16_16K] == 1


@pytest.mark.parametrize(
    ("rate", "channels", "text"),
    [
        (0, 1, "The sample rate must be 1000 to 768000 Hz, not 0."),
        (-8000, 1, "The sample rate must be 1000 to 768000 Hz, not -8000."),
        (10**9, 1, "The sample rate must be 1000 to 768000 Hz, not 1000000000."),
        (24_000.0, 1, "The sample rate must be an int, not 24000.0 (float)."),
        (True, 1, "The sample rate must be an int, not True (bool)."),
        ("24000", 1, "The sample rate must be an int, not '24000' (str)."),
        (24_000, 0, "The number of channels must be 1 to 32, not 0."),
        (24_000, 33, "The number of channels must be 1 to 32, not 33."),
    ],
)
def test_bad_formats_are_refused(rate: int, channels: int, text: str) -> None:
    """A rate or channel count that cannot be is an AudioError that says what can."""
    with pytest.raises(AudioError) as caught:
        AudioFormat(rate, channels)
    assert str(caught.value) == text


def test_unknown_encodings_are_refused() -> None:
    """An encoding that is not known is named, with those that are."""
    with pytest.raises(AudioError, match="'opus'; it is one of pcm16, pcmu, pcma"):
        AudioFormat(encoding="opus")  # type: ignore[arg-type]


def test_formats_are_frozen() -> None:
    """A format cannot change under those who hold it."""
    with pytest.raises(AttributeError):
        PCM16_24K.rate = 1  # type: ignore[misc]
    assert msgspec.structs.replace(PCM16_24K, rate=16_000) == PCM16_16K


def test_bytes_and_milliseconds() -> None:
    """Durations come in whole frames."""
    stereo = AudioFormat(44_100, 2)
    assert (PCM16_24K.bytes_for(20), stereo.bytes_for(20), PCMU_8K.bytes_for(20)) == (960, 3528, 160)
    assert stereo.bytes_for(0.03) == 4
    assert AudioFormat(16_000).bytes_for(0.1 * 3 * 1000) == 9600
    assert (PCM16_24K.milliseconds(960), stereo.milliseconds(4)) == (20.0, 1000 / 44_100)


def test_audio_imports_without_numpy() -> None:
    """Neither audio, files nor sources load numpy or soundfile."""
    code = (
        "import sys, vivavoce.audio, vivavoce.files, vivavoce.sources as s;"
        "from vivavoce.audio import *; c = Converter(PCM16_24K, PCM16_24K); c.feed(bytes(4)); c.flush();"
        "print(sorted({'numpy', 'soundfile', 'wave'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    "call",
    [
        "Converter(PCM16_24K, PCM16_16K)",
        "mix_channels(bytes(8), 2, 1)",
        "float32_to_pcm16(None)",
        "pcm16_to_float32(bytes(2))",
    ],
)
def test_missing_numpy_names_the_extra(call: str) -> None:
    """Without numpy, what needs it says what to install."""
    code = (
        "import sys; sys.modules['numpy'] = None\n"
        "from vivavoce.audio import *\nfrom vivavoce.errors import AudioError\n"
        f"try: {call}\nexcept AudioError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "needs numpy" in done.stdout
    assert 'pip install "vivavoce[files]"' in done.stdout


def test_floats_round_trip_every_sample() -> None:
    """PCM16 to float and back is exact."""
    pcm = np.arange(-32768, 32768, dtype="<i2").tobytes()
    floats = pcm16_to_float32(pcm)
    assert (floats.dtype.name, float(floats.min()), float(floats.max())) == ("float32", -1.0, 32767 / 32768)
    assert float32_to_pcm16(floats) == pcm


def test_stereo_floats_are_frames_by_channels() -> None:
    """Channels come last."""
    pcm = np.array([[1, 2], [3, 4], [5, 6]], "<i2").tobytes()
    assert pcm16_to_float32(pcm, 2).shape == (3, 2)
    assert float32_to_pcm16(pcm16_to_float32(pcm, 2)) == pcm


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_loud_floats_are_clipped(kind: Any) -> None:
    """Beyond full scale is full scale, without a warning and without wrapping, up to the largest float."""
    loud: Any = np.array([1.0, -1.0, 1.5, -1.5, np.finfo(kind).max, np.finfo(kind).min], kind)
    assert np.frombuffer(float32_to_pcm16(loud), "<i2").tolist() == [32767, -32768] * 3


@pytest.mark.parametrize(
    ("samples", "text"),
    [
        (np.array([0.0, np.nan, np.inf], np.float32), "The audio holds nan at sample 1"),
        (np.array([[0.0, 0.5], [0.0, -np.inf]]), "The audio holds -inf at frame 1, channel 1"),
    ],
)
def test_floats_that_are_no_numbers_are_refused(samples: np.ndarray, text: str) -> None:
    """NaN and infinity are found and their place told."""
    with pytest.raises(AudioError, match=text):
        float32_to_pcm16(samples)


def test_floats_of_incomplete_frames_are_refused() -> None:
    """Bytes that are no whole frames cannot be an array."""
    with pytest.raises(AudioError, match="6 bytes are no whole number of PCM16 frames of 2 channels"):
        pcm16_to_float32(bytes(6), 2)


@pytest.mark.parametrize(
    ("source", "target", "frames", "mixed"),
    [
        (2, 1, [[100, 200], [-32768, -32768], [32767, 32767], [1, 2]], [[150], [-32768], [32767], [2]]),
        (3, 1, [[1, 1, 2], [32767, 32767, 32767]], [[1], [32767]]),
        (1, 2, [[7], [-9]], [[7, 7], [-9, -9]]),
        (8, 2, [[8, 0, 0, 0, 0, 0, 0, 0]], [[1, 1]]),
    ],
)
def test_channels_are_averaged_and_repeated(
    source: int, target: int, frames: list[list[int]], mixed: list[list[int]]
) -> None:
    """Many to one is the mean (halves to even); one to many is the same in each."""
    assert (
        np.frombuffer(mix_channels(np.array(frames, "<i2").tobytes(), source, target), "<i2")
        .reshape(-1, target)
        .tolist()
        == mixed
    )


def test_mixing_refuses_incomplete_frames() -> None:
    """Three samples are no stereo."""
    with pytest.raises(AudioError, match="6 bytes are no whole number of PCM16 frames of 2 channels"):
        mix_channels(bytes(6), 2, 1)


def test_equal_formats_cost_nothing() -> None:
    """The very object that was fed comes back, and its channels are not looked at."""
    data = bytes(range(240)) * 4
    converter = Converter(PCM16_24K, AudioFormat(24_000))
    assert converter.feed(data) is data
    assert mix_channels(data, 4, 4) is data
    assert (converter.flush(), converter.latency_ms) == (b"", 0.0)


def test_partial_frames_wait_for_their_rest() -> None:
    """Bytes cut within a frame are joined again; what is left at the end is counted, then forgotten."""
    converter = Converter(AudioFormat(24_000, 2), AudioFormat(24_000, 2))
    assert [converter.feed(part) for part in (b"abc", bytearray(b"defg"), memoryview(b"hi"))] == [
        b"",
        b"abcd",
        b"efgh",
    ]
    assert converter.leftover == 1
    assert (converter.flush(), converter.leftover) == (b"", 0)
