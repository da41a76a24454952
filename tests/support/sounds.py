"""Sound files for tests."""

from __future__ import annotations

import array
import math
from pathlib import Path

from vivavoce.audio import AudioFormat
from vivavoce.files import AudioReader, WavWriter

__all__ = ["loud_ms", "loud_spans", "read_wav", "tone", "write_tone"]


def tone(ms: float, rate: int = 16_000, level: float = 0.5, hertz: float = 440.0) -> bytes:
    """PCM16 mono."""
    count = int(ms * rate / 1000)
    samples = (round(level * 32767 * math.sin(2 * math.pi * hertz * n / rate)) for n in range(count))
    return array.array("h", samples).tobytes()


def write_tone(
    path: Path, ms: float = 400, before_ms: float = 0, after_ms: float = 0, rate: int = 16_000
) -> Path:
    """A WAV of silence, a tone, silence."""
    format = AudioFormat(rate)
    with WavWriter(path, format) as wav:
        for part in (bytes(format.bytes_for(before_ms)), tone(ms, rate), bytes(format.bytes_for(after_ms))):
            wav.write(part)
    return path


def read_wav(path: Path) -> tuple[AudioFormat, list[array.array[int]]]:
    """The format, and the samples of each channel."""
    with AudioReader(path) as reader:
        samples = array.array("h", b"".join(reader.blocks(48_000)))
        return reader.format, [
            samples[side :: reader.format.channels] for side in range(reader.format.channels)
        ]


def loud_ms(samples: array.array[int], rate: int, level: int = 500) -> int:
    """For how many milliseconds there is sound; gaps do not count."""
    step = rate // 1_000
    return sum(max(map(abs, samples[at : at + step])) > level for at in range(0, len(samples), step))


def loud_spans(
    samples: array.array[int], rate: int, gap_ms: float = 50, level: int = 500
) -> list[tuple[int, int]]:
    """Where there is sound, in milliseconds, to 10 ms."""
    spans: list[tuple[int, int]] = []
    step = rate // 100
    for index in range(0, len(samples), step):
        if max(map(abs, samples[index : index + step])) > level:
            at = index * 1000 // rate
            if spans and at - spans[-1][1] <= gap_ms:
                spans[-1] = (spans[-1][0], at + 10)
            else:
                spans.append((at, at + 10))
    return spans
