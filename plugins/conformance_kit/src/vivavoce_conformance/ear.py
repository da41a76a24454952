"""Hearing what a lossy transport left of audio. Over a codec nothing arrives bit by bit; what a listener would notice does.

What is played is a melody: every 100 ms another of eight tones, whose order says where in the stream one is. It arrived when
its tones came in their order, none lost and none twice, for as long and as loud as they were played.
"""

from __future__ import annotations

import array
import math
import random
import sys
from collections.abc import Sequence

from vivavoce import AudioFormat
from vivavoce.testing import ramp

from vivavoce_conformance.bench import Bench
from vivavoce_conformance.profile import load_object
from vivavoce_conformance.registry import expect

__all__ = ["arrived", "is_exact", "lasts", "melody", "notes", "sound", "sounding_ms"]

NOTE_MS = 100
_TONES = (330.0, 415.0, 523.0, 659.0, 831.0, 1047.0, 1319.0, 1661.0)
_PEAK = 9_000
_WINDOW_MS = 40
_HOP_MS = 20
_AUDIBLE = 600
"""RMS of a window that counts as sounding."""
_PURE = 0.55
"""The share of a window's energy that its tone must have; where two tones meet, none has."""
_SLACK_MS = 70
"""What may be missing or too much at the ends: frames of 20 ms, and a codec's delay."""
_SLACK_DB = 2.0


def _order() -> tuple[int, ...]:
    """Which tone comes when; never the same twice in a row."""
    chance, order = random.Random(1), [0]
    while len(order) < 1_000:
        order.append((order[-1] + chance.randrange(1, len(_TONES))) % len(_TONES))
    return tuple(order)


_ORDER = _order()


def melody(milliseconds: float, format: AudioFormat, start: int = 0) -> bytes:
    """PCM16 from sample `start` of the melody on; mono."""
    count = int(milliseconds * format.rate / 1000)
    each = NOTE_MS * format.rate // 1000
    samples = array.array("h", bytes(2 * count))
    for at in range(count):
        note, inside = divmod(start + at, each)
        fade = min(1.0, inside / (each * 0.05), (each - inside) / (each * 0.05))
        tone = _TONES[_ORDER[note % len(_ORDER)]]
        samples[at] = int(_PEAK * fade * math.sin(2 * math.pi * tone * inside / format.rate))
    if sys.byteorder == "big":
        samples.byteswap()
    return samples.tobytes()


def _samples(pcm: bytes) -> array.array[int]:
    samples = array.array("h", pcm[: len(pcm) & ~1])
    if sys.byteorder == "big":
        samples.byteswap()
    return samples


def _energy(window: Sequence[int], tone: float, rate: int) -> float:
    """Goertzel: the energy of a tone in a window, as a share of the window's own."""
    factor = 2 * math.cos(2 * math.pi * tone / rate)
    before = last = 0.0
    for sample in window:
        before, last = last, sample + factor * last - before
    return 2 * (last * last + before * before - factor * last * before) / len(window)


def _windows(pcm: bytes, format: AudioFormat) -> list[tuple[float, Sequence[int]]]:
    samples, size, hop = _samples(pcm), format.rate * _WINDOW_MS // 1000, format.rate * _HOP_MS // 1000
    found: list[tuple[float, Sequence[int]]] = []
    for at in range(0, max(1, len(samples) - size + 1), hop):
        window = samples[at : at + size]
        total = float(sum(sample * sample for sample in window))
        found.append((total, window))
    return found


def notes(pcm: bytes, format: AudioFormat) -> list[int]:
    """The tones that are heard, in order."""
    heard: list[int] = []
    quiet = True
    for total, window in _windows(pcm, format):
        if not window or total / len(window) < _AUDIBLE**2:
            quiet = True
            continue
        shares = [_energy(window, tone, format.rate) / total for tone in _TONES]
        best = max(range(len(shares)), key=shares.__getitem__)
        if shares[best] > _PURE and (quiet or not heard or heard[-1] != best):
            heard.append(best)
            quiet = False
    return heard


def sounding_ms(pcm: bytes, format: AudioFormat) -> float:
    """For how long there is something to be heard."""
    size = format.rate // 100  # 10 ms
    samples = _samples(pcm)
    loud = sum(_rms(samples[at : at + size]) > _AUDIBLE for at in range(0, len(samples), size))
    return loud * 10.0


def _rms(samples: Sequence[int]) -> float:
    return math.sqrt(sum(sample * sample for sample in samples) / len(samples)) if samples else 0.0


def _loudness(pcm: bytes, format: AudioFormat) -> float:
    """RMS of what is heard, in dB."""
    size = format.rate // 100
    samples = _samples(pcm)
    pieces = [_rms(samples[at : at + size]) for at in range(0, len(samples), size)]
    loud = [piece * piece for piece in pieces if piece > _AUDIBLE]
    return 10 * math.log10(sum(loud) / len(loud)) if loud else -math.inf


def is_exact(bench: Bench) -> bool:
    """Whether the transport carries audio bit by bit."""
    dialect = bench.target.profile.dialect
    return dialect is None or bool(load_object(dialect).exact)


def sound(bench: Bench, milliseconds: float, format: AudioFormat, start: int = 0) -> bytes:
    """Audio for a check: samples that say their own number, or a melody where only an ear can tell."""
    make = ramp if is_exact(bench) else melody
    return make(milliseconds, format, start)


def arrived(bench: Bench, heard: bytes, told: bytes, format: AudioFormat) -> None:
    """Expect that `told` arrived as `heard`: bit by bit, or by ear."""
    if is_exact(bench):
        expect(len(heard) == len(told), f"of {len(told)} bytes {len(heard)} arrived")
        expect(heard == told, f"the audio differs from byte {_differs(heard, told)} on")
        return
    came, meant = notes(heard, format), notes(told, format)
    expect(came == meant, f"by ear: the tones {meant} were played, {came} were heard")
    lasts(bench, heard, sounding_ms(told, format), format)
    louder = _loudness(heard, format) - _loudness(told, format)
    expect(abs(louder) < _SLACK_DB, f"by ear: it is {louder:+.1f} dB louder than it was played")


def lasts(bench: Bench, heard: bytes, milliseconds: float, format: AudioFormat) -> None:
    """Expect that so much is heard: to the sample, or about so long."""
    if is_exact(bench):
        expect(len(heard) == format.bytes_for(milliseconds), f"{len(heard)} bytes came")
        return
    for_ms = sounding_ms(heard, format)
    expect(abs(for_ms - milliseconds) <= _SLACK_MS, f"by ear: {for_ms:g} ms of {milliseconds:g} were heard")


def _differs(one: bytes, other: bytes) -> int:
    return next(
        (n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )
