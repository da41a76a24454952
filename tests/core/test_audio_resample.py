"""Sample-rate conversion, measured: response, aliases, alignment, length, delay, chunking, memory."""

from __future__ import annotations

import random
import tracemalloc
from math import ceil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vivavoce.audio import AudioFormat, Converter

USUAL = [
    (8_000, 24_000),
    (24_000, 8_000),
    (16_000, 24_000),
    (24_000, 16_000),
    (48_000, 24_000),
    (24_000, 48_000),
    (48_000, 16_000),
    (44_100, 24_000),
    (24_000, 44_100),
    (24_000, 24_100),
    (192_000, 24_000),
    (11_025, 24_000),
    (24_000, 11_025),
    (22_050, 16_000),
]
ODD = [(44_101, 48_000), (47_999, 8_001), (16_000, 11_025), (8_000, 23_993)]  # interpolated
PEAK = 16_000.0


def convert(samples: np.ndarray, source: int, target: int) -> np.ndarray:
    converter = Converter(AudioFormat(source), AudioFormat(target))
    return np.frombuffer(converter.feed(samples.astype("<i2").tobytes()) + converter.flush(), "<i2").astype(
        float
    )


def tone(frequency: float, rate: int, seconds: float = 0.25) -> np.ndarray:
    # Dither makes rounding to 16 bits a noise floor instead of harmonics.
    dither = np.random.default_rng(7).uniform(-0.5, 0.5, int(rate * seconds))
    return np.rint(PEAK * np.sin(2 * np.pi * frequency * np.arange(int(rate * seconds)) / rate) + dither)


def middle(samples: np.ndarray) -> slice:
    return slice(len(samples) // 4, -len(samples) // 4)


def level(samples: np.ndarray) -> float:
    """The strongest spectral line against `PEAK`, in dB (Blackman-Harris window, so leakage is below -92 dB)."""
    part = samples[middle(samples)]
    n = 2 * np.pi * np.arange(len(part)) / len(part)
    window = 0.35875 - 0.48829 * np.cos(n) + 0.14128 * np.cos(2 * n) - 0.01168 * np.cos(3 * n)
    spectrum = np.abs(np.fft.rfft(part * window)) * 2 / window.sum()
    return float(20 * np.log10(spectrum.max() / PEAK + 1e-9))


@pytest.mark.parametrize(("source", "target"), USUAL + ODD)
def test_passband_is_flat_and_aligned(source: int, target: int) -> None:
    """To 0.8 of the lower Nyquist: within 0.5 dB, in phase with the input, and nothing else above -80 dB."""
    nyquist = min(source, target) / 2
    gains, phases, rest = [], [], []
    for frequency in np.array([0.03, 0.2, 0.41, 0.6, 0.75, 0.8]) * nyquist:
        output = convert(tone(frequency, source), source, target)
        angle = 2 * np.pi * frequency * np.arange(len(output)) / target
        basis = np.stack([np.sin(angle), np.cos(angle)], axis=1)[middle(output)]
        (sine, cosine), *_ = np.linalg.lstsq(basis, output[middle(output)], rcond=None)
        gains.append(20 * np.log10(np.hypot(sine, cosine) / PEAK))
        phases.append(abs(np.arctan2(cosine, sine)))
        remainder = output.copy()
        remainder -= np.stack([np.sin(angle), np.cos(angle)], axis=1) @ [sine, cosine]
        rest.append(level(remainder))
    assert max(map(abs, gains)) < 0.5
    assert max(phases) < 0.001
    assert max(rest) < -80


@pytest.mark.parametrize(("source", "target"), [pair for pair in USUAL + ODD if pair[0] > pair[1] * 1.05])
def test_aliases_are_gone(source: int, target: int) -> None:
    """A tone from the lower Nyquist frequency up leaves nothing above -80 dB."""
    nyquist = target / 2
    # Just above, a folded tone lands just below: the hardest place.
    tones = [
        f for f in np.array([1.0, 1.01, 1.05, 1.09, 1.2, 1.5, 1.9, 2.5, 3.7]) * nyquist if f < source / 2
    ]
    worst = max(level(convert(tone(frequency, source), source, target)) for frequency in tones)
    assert worst < -80


@pytest.mark.parametrize(("source", "target"), USUAL + ODD)
def test_length_is_exact(source: int, target: int) -> None:
    """n frames become n * target / source, rounded up, for any n, one sample included."""
    counts = [0, 1, 2, 3, 17, 100, 1000, source // 10 + 1]
    lengths = [len(convert(np.zeros(count), source, target)) for count in counts]
    assert lengths == [ceil(count * target / source) for count in counts]


@pytest.mark.parametrize(("source", "target"), USUAL + ODD)
def test_holds_little_audio(source: int, target: int) -> None:
    """After each 20 ms, less than 2 ms (4 ms where a side is 8 kHz) has not come out, and `latency_ms` says so."""
    converter = Converter(AudioFormat(source), AudioFormat(target))
    limit = 4.0 if min(source, target) <= 8_001 else 2.0
    fed, given, held = 0, 0, []
    for _ in range(50):
        frames = source // 50
        fed += frames
        given += len(converter.feed(bytes(2 * frames))) // 2
        held.append(fed * 1000 / source - given * 1000 / target)
    assert 0 <= max(held) <= converter.latency_ms < limit


@pytest.mark.parametrize(("source", "target"), USUAL + ODD)
def test_silence_and_steady_levels_stay(source: int, target: int) -> None:
    """A constant is that constant, to the last bit, in every filter phase."""
    output = convert(np.full(source // 10, 12_345), source, target)
    assert set(output[middle(output)]) == {12_345.0}


def test_full_scale_is_clipped_not_wrapped() -> None:
    """A square wave at full scale overshoots in any steep filter; it must stay at its own sign."""
    square = np.where(np.arange(4_800) // 240 % 2, 32_767, -32_768)
    output = convert(square, 24_000, 48_000)
    expected = np.where(np.arange(9_600) // 480 % 2, 1, -1)
    away = np.arange(9_600) % 480
    inner = (away > 8) & (away < 472)
    assert (np.sign(output)[inner] == expected[inner]).all()
    assert (output.min(), output.max()) == (-32768, 32767)


@settings(max_examples=60, deadline=None)
@given(
    pair=st.sampled_from([*USUAL, *ODD, (44_100, 44_100)]),
    channels=st.sampled_from([(1, 1), (2, 2), (2, 1), (1, 2), (3, 1), (3, 2)]),
    seed=st.integers(0, 2**32),
    cuts=st.lists(st.integers(1, 4_000), min_size=1, max_size=12),
)
def test_chunking_changes_nothing(
    pair: tuple[int, int], channels: tuple[int, int], seed: int, cuts: list[int]
) -> None:
    """The same bytes come out however the input is cut, within frames too."""
    source, target = AudioFormat(pair[0], channels[0]), AudioFormat(pair[1], channels[1])
    data = random.Random(seed).randbytes(sum(cuts) // source.frame_bytes * source.frame_bytes)
    whole, parts = Converter(source, target), Converter(source, target)
    expected = whole.feed(data) + whole.flush()
    actual, position = b"", 0
    for cut in cuts:
        actual += parts.feed(data[position : position + cut])
        position += cut
    assert actual + parts.flush() == expected


def test_channels_do_not_mix_when_their_number_stays() -> None:
    """Left and right are converted as two mono streams."""
    left, right = tone(440, 48_000), tone(1_000, 48_000)
    converter = Converter(AudioFormat(48_000, 2), AudioFormat(24_000, 2))
    data = converter.feed(np.stack([left, right], axis=1).astype("<i2").tobytes()) + converter.flush()
    output = np.frombuffer(data, "<i2").reshape(-1, 2)
    assert output[:, 0].tolist() == convert(left, 48_000, 24_000).tolist()
    assert output[:, 1].tolist() == convert(right, 48_000, 24_000).tolist()


def test_flush_begins_a_new_stream() -> None:
    """After a flush the converter is as new."""
    converter = Converter(AudioFormat(44_100), AudioFormat(24_000))
    data = tone(440, 44_100).astype("<i2").tobytes()
    first = converter.feed(data) + converter.flush()
    assert converter.feed(data) + converter.flush() == first


@pytest.mark.parametrize(
    ("source", "target"), [(1_000, 768_000), (768_000, 1_000), (767_999, 1_001), (1_009, 767_999)]
)
def test_extreme_ratios_work_in_bounded_memory(source: int, target: int) -> None:
    """The widest ratios that formats allow need no more than some MiB, in one feed of five seconds too."""
    frames = 2 * source if source > target else source // 10
    data = bytes(2 * frames)
    tracemalloc.start()
    try:
        converter = Converter(AudioFormat(source), AudioFormat(target))
        output = len(converter.feed(data)) + len(converter.flush())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert output == 2 * ceil(frames * target / source)
    assert peak < 24 << 20


def test_filters_are_shared_and_bounded() -> None:
    """Converters of one ratio share a filter; a filter is at most 1 MiB and few are kept."""
    from vivavoce._resample import _design

    assert _design(160, 147) is _design(160, 147)
    biggest = max(
        _design(up, down).weights.nbytes
        for up, down in [(160, 147), (241, 240), (640, 147), (1, 768), (47_999, 8_001)]
    )
    assert biggest <= 1 << 20
    assert _design.cache_info().maxsize == 16


def test_state_does_not_grow() -> None:
    """A long stream leaves no more behind than a short one."""
    converter = Converter(AudioFormat(44_100), AudioFormat(24_000))
    chunk = bytes(1_764)
    converter.feed(chunk)
    tracemalloc.start()
    try:
        for _ in range(100):
            converter.feed(chunk)
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(2_000):
            converter.feed(chunk)
        after = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert after - before < 4_096
