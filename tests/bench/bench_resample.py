"""Sample-rate converters side by side: CPU of a 20 ms frame, audio held back, response, aliases.

    uv pip install soxr av && python tests/bench/bench_resample.py

Streams mono PCM16 in frames of 20 ms through each converter, bytes in and bytes out, as a voice does. `us` is the
CPU of one such frame (best of several runs); `held` the most input that had not come out after a frame; `0.8` the
gain at 0.8 of the lower Nyquist frequency; `alias` the loudest line that tones above it leave. soxr and av are
optional: rows of what is not installed are left out.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from math import gcd
from typing import Any

import numpy as np
from vivavoce._resample import _LOBES, _impulse, _quantised
from vivavoce.audio import AudioFormat, Converter

PAIRS = [
    (48_000, 24_000),
    (24_000, 48_000),
    (44_100, 24_000),
    (24_000, 24_100),
    (8_000, 24_000),
    (24_000, 8_000),
]
PAIRS += [(16_000, 24_000), (11_025, 24_000), (192_000, 24_000), (44_101, 48_000)]
PEAK = 16_000.0
FRAMES = 50

Feed = Callable[[bytes], bytes]


def vivavoce(source: int, target: int) -> Feed:
    return Converter(AudioFormat(source), AudioFormat(target)).feed


def gathering(source: int, target: int) -> Feed:
    """The usual polyphase FIR in numpy, with the same filter: a window and a phase gathered for each output."""
    up, down = target // gcd(source, target), source // gcd(source, target)
    half = -(-_LOBES * max(up, down) // up)
    if up * half > 1 << 20:
        raise NotImplementedError("its filter bank would fill memory")
    offsets = np.arange(1 - half, half + 1) - np.arange(up)[:, None] / up
    bank = _quantised(_impulse(offsets, min(1.0, up / down)))
    state: dict[str, Any] = {"held": np.zeros(half - 1), "offset": 0}

    def feed(pcm: bytes) -> bytes:
        buffer = np.concatenate((state["held"], np.frombuffer(pcm, "<i2")))
        inputs = len(buffer) - (half - 1)
        ready = max(0, -((state["offset"] - (inputs - half) * up) // down))
        first, phase = np.divmod(state["offset"] + np.arange(ready) * down, up)
        windows = np.lib.stride_tricks.sliding_window_view(buffer, 2 * half)[first]
        output = np.einsum("nt,nt->n", windows, bank[phase])
        drop, state["offset"] = divmod(state["offset"] + ready * down, up)
        state["held"] = buffer[drop:]
        return np.clip(np.rint(output), -32768, 32767).astype("<i2").tobytes()

    return feed


def soxr(source: int, target: int, quality: str = "HQ") -> Feed:
    import soxr

    stream: Any = soxr.ResampleStream(source, target, 1, dtype="int16", quality=quality)
    return lambda pcm: stream.resample_chunk(np.frombuffer(pcm, "<i2")).tobytes()


def soxr_quick(source: int, target: int) -> Feed:
    return soxr(source, target, "QQ")


def swresample(source: int, target: int, options: dict[str, str] | None = None) -> Feed:
    import av

    resampler = av.AudioResampler(format="s16", layout="mono", rate=target, options=options)

    def feed(pcm: bytes) -> bytes:
        frame = av.AudioFrame(format="s16", layout="mono", samples=len(pcm) // 2)
        frame.sample_rate = source
        frame.planes[0].update(pcm)
        return b"".join(bytes(out.planes[0])[: out.samples * 2] for out in resampler.resample(frame))

    return feed


def swr_tuned(source: int, target: int) -> Feed:
    """With a filter of the same length and cutoff as ours (an older PyAV takes no options: left out)."""
    options = {"filter_size": "42", "cutoff": "0.874", "filter_type": "kaiser", "kaiser_beta": "8"}
    return swresample(source, target, options)


def cpu(make: Callable[[int, int], Feed], source: int, target: int) -> float:
    feed, frame = make(source, target), noise(source).tobytes()
    best = float("inf")
    for _ in range(8):
        start = time.process_time()
        for _ in range(FRAMES):
            feed(frame)
        best = min(best, time.process_time() - start)
    return best / FRAMES * 1e6


def noise(rate: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(1).integers(-9_000, 9_000, rate // 50).astype("<i2")


def held(make: Callable[[int, int], Feed], source: int, target: int) -> float:
    feed, frame, given, most = make(source, target), noise(source).tobytes(), 0, 0.0
    for index in range(FRAMES):
        given += len(feed(frame)) // 2
        most = max(most, (index + 1) * (source // 50) * 1000 / source - given * 1000 / target)
    return most


def level(make: Callable[[int, int], Feed], source: int, target: int, frequency: float) -> float:
    """The loudest line in dB that a tone leaves."""
    feed, size = make(source, target), source // 50
    frequency = round(frequency / 5) * 5  # a whole number of periods in the 0.6 s that are analysed
    dither = np.random.default_rng(7).uniform(-0.5, 0.5, size * FRAMES)
    tone = np.rint(PEAK * np.sin(2 * np.pi * frequency * np.arange(size * FRAMES) / source) + dither).astype(
        "<i2"
    )
    data = b"".join([feed(tone[i : i + size].tobytes()) for i in range(0, len(tone), size)])
    part = np.frombuffer(data, "<i2")[target // 5 : target * 4 // 5].astype(float)
    n = 2 * np.pi * np.arange(len(part)) / len(part)
    window = 0.35875 - 0.48829 * np.cos(n) + 0.14128 * np.cos(2 * n) - 0.01168 * np.cos(3 * n)
    lines = np.abs(np.fft.rfft(part * window)) * 2 / window.sum()
    return float(20 * np.log10(lines.max() / PEAK + 1e-6))


def row(make: Callable[[int, int], Feed], source: int, target: int) -> str:
    nyquist = min(source, target) / 2
    flat = level(make, source, target, 0.8 * nyquist)
    tones = [f for f in np.array([1.0, 1.02, 1.1, 1.5, 1.9]) * nyquist if source > target and f < source / 2]
    alias = max((level(make, source, target, f) for f in tones), default=None)
    name = make.__name__
    text = f"{source:>6} > {target:<6} {name:<11}{cpu(make, source, target):>8.1f}{held(make, source, target):>8.2f}"
    return f"{text}{flat:>8.2f}" + (f"{alias:>8.0f}" if alias is not None else f"{'-':>8}")


def main() -> None:
    print(f"{'rates':<16}{'converter':<11}{'us':>8}{'held ms':>8}{'0.8 dB':>8}{'alias dB':>9}")
    for source, target in PAIRS:
        for make in (vivavoce, gathering, swresample, swr_tuned, soxr, soxr_quick):
            try:
                print(row(make, source, target), flush=True)
            except (ImportError, NotImplementedError, TypeError) as error:
                print(f"{make.__name__} left out: {error!r}", file=sys.stderr)


if __name__ == "__main__":
    main()
