"""One voice's stream of sends, and real-time pacing."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
import soundfile
from vivavoce.audio import PCM16_16K, PCM16_24K, AudioFormat, Converter
from vivavoce.errors import AudioError
from vivavoce.sources import Intake, paced

SPEECH = np.round(12_000 * np.sin(np.arange(4_800) / 11.0)).astype("<i2")
DATA = SPEECH.tobytes()


async def take(intake: Intake, audio: Any, **options: Any) -> bytes:
    return b"".join([chunk async for chunk in intake.chunks(audio, **options)])


def converted(data: bytes, source: AudioFormat) -> bytes:
    converter = Converter(source, PCM16_24K)
    return converter.feed(data) + converter.flush()


async def test_frames_sent_one_by_one_are_one_stream() -> None:
    """Calls for 20 ms each give the very bytes that one call for all would: no seams, nothing lost."""
    for frames in (
        [DATA[i : i + 640] for i in range(0, len(DATA), 640)],
        np.split(SPEECH / np.float32(32_768), 15),
    ):
        intake = Intake(PCM16_24K)
        parts = [await take(intake, frame, rate=16_000) for frame in frames]
        assert b"".join(parts) + intake.flush() == converted(DATA, PCM16_16K)


async def test_flush_ends_a_stream_once() -> None:
    """What is held back comes once; then the intake is as new."""
    intake = Intake(PCM16_24K)
    first = await take(intake, DATA, rate=16_000)
    tail = intake.flush()
    assert (len(tail) > 0, intake.flush()) == (True, b"")
    assert await take(intake, DATA, rate=16_000) == first


async def test_other_audio_comes_after_what_is_held() -> None:
    """A change of format, a file or a list first lets out what was held back of the buffers."""
    file = io.BytesIO()
    soundfile.write(file, SPEECH, 24_000, format="WAV")
    for audio, options in ((DATA, {}), (DATA, {"rate": 24_000}), (file, {}), ([DATA], {})):
        intake = Intake(PCM16_24K)
        file.seek(0)
        out = await take(intake, DATA, rate=16_000) + await take(intake, audio, **options)
        assert out == converted(DATA, PCM16_16K) + DATA
        assert intake.flush() == b""


async def test_incomplete_frames_do_not_reach_the_next_call() -> None:
    """Each call must be whole; a wrong one harms none after it."""
    intake = Intake(PCM16_24K)
    with pytest.raises(AudioError, match="1 byte over"):
        await take(intake, DATA[:639], rate=16_000)
    assert await take(intake, DATA[638:], rate=16_000) != b""
    whole = Intake(PCM16_24K)
    out = await take(whole, DATA[:638], rate=16_000) + await take(whole, DATA[638:], rate=16_000)
    assert out + whole.flush() == converted(DATA, PCM16_16K)


async def test_bad_arguments_are_refused_at_once() -> None:
    """As in `chunks`."""
    with pytest.raises(AudioError, match="The sample rate must be"):
        Intake(PCM16_24K).chunks(DATA, rate=0)
    with pytest.raises(AudioError, match="This is no audio"):
        Intake(PCM16_24K).chunks(7)  # type: ignore[arg-type]


# --- pacing, on a clock that jumps


class Clock:
    """The loop's time, moved on by sleeping alone."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, overshoot: float = 0.0) -> None:
        self.now = 100.0
        self.overshoot = overshoot
        monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: self.now)
        monkeypatch.setattr(asyncio, "sleep", self.sleep)

    async def sleep(self, seconds: float) -> None:
        self.now += seconds + self.overshoot


async def streamed(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def test_pacing_gives_each_piece_at_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second of audio in odd chunks: pieces of at most 20 ms, each when the ones before have been heard."""
    clock = Clock(monkeypatch)
    frames, late = 0, []
    async for piece in paced(streamed(bytes(10_000), bytes(38_000)), PCM16_24K):
        assert len(piece) <= 960
        late.append(clock.now - 100.0 - frames / 24_000)
        frames += len(piece) // 2
    assert frames == 24_000
    assert max(map(abs, late)) < 1e-9


async def test_pacing_does_not_drift(monkeypatch: pytest.MonkeyPatch) -> None:
    """With every sleep 3 ms too long, an hour of audio is still an hour, to 20 ms."""
    clock = Clock(monkeypatch, overshoot=0.003)
    async for _ in paced(streamed(*[bytes(96_000)] * 1_800), PCM16_24K):
        pass
    assert abs(clock.now - 100.0 - 3_600) < 0.02


@pytest.mark.parametrize("stall", [0.19, 5.0])
async def test_a_stall_is_no_burst(stall: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """A short one is caught up with; after a long one the audio goes on in real time."""
    clock = Clock(monkeypatch)

    async def stalling() -> AsyncIterator[bytes]:
        yield bytes(48_000)
        clock.now += stall
        yield bytes(48_000)

    async for _ in paced(stalling(), PCM16_24K):
        pass
    expected = 1.98 if stall < 0.2 else 0.98 + stall + 0.98
    assert clock.now - 100.0 == pytest.approx(expected, abs=0.021)


async def test_pacing_starts_with_the_first_audio(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time before the first chunk is not made up for."""
    clock = Clock(monkeypatch)

    async def slow() -> AsyncIterator[bytes]:
        clock.now += 0.15
        yield bytes(4_800)

    times = [clock.now async for _ in paced(slow(), PCM16_24K)]
    assert times == pytest.approx([100.15 + 0.02 * index for index in range(5)])


async def test_pacing_closes_its_source() -> None:
    """Closing the paced stream closes what it paces."""
    closed = []

    async def endless() -> AsyncIterator[bytes]:
        try:
            while True:
                yield bytes(960)
        finally:
            closed.append(True)

    pieces = paced(endless(), PCM16_24K)
    await anext(pieces)
    await pieces.aclose()
    assert closed == [True]
