"""Everything that can be sent, as chunks of one format."""

from __future__ import annotations

import array
import asyncio
import io
import pathlib
import random
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from vivavoce.audio import PCM16_16K, PCM16_24K, PCMU_8K, AudioFormat, Converter, ulaw_to_pcm16
from vivavoce.errors import AudioError
from vivavoce.files import AudioReader
from vivavoce.sources import MAX_CHUNK_MS, AudioSource, chunks

SPEECH = np.round(12_000 * np.sin(np.arange(4_800) / 11.0)).astype("<i2")
DATA = SPEECH.tobytes()


async def gather(audio: Any, *, target: AudioFormat = PCM16_24K, **options: Any) -> list[bytes]:
    return [chunk async for chunk in chunks(audio, target=target, **options)]


async def joined(audio: Any, **options: Any) -> bytes:
    return b"".join(await gather(audio, **options))


def converted(data: bytes, source: AudioFormat, target: AudioFormat = PCM16_24K) -> bytes:
    converter = Converter(source, target)
    return converter.feed(data) + converter.flush()


async def streamed(*parts: Any) -> AsyncIterator[Any]:
    for part in parts:
        yield part


class Source:
    """A microphone: bytes in its own format."""

    def __init__(self, format: AudioFormat, *parts: bytes) -> None:
        self.format, self.parts = format, parts

    def __aiter__(self) -> AsyncIterator[bytes]:
        return streamed(*self.parts)


def wav_file(samples: np.ndarray, rate: int) -> io.BytesIO:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="WAV", subtype="PCM_16")
    file.seek(0)
    return file


ALIKE: dict[str, Callable[[], Any]] = {
    "bytes": lambda: DATA,
    "bytearray": lambda: bytearray(DATA),
    "memoryview": lambda: memoryview(DATA),
    "memoryview of int16": lambda: memoryview(array.array("h", SPEECH.tolist())),
    "strided memoryview": lambda: (
        memoryview(bytes(2 * len(DATA)))[::2] and memoryview(DATA + DATA)[: len(DATA)]
    ),
    "array of int16": lambda: array.array("h", SPEECH.tolist()),
    "numpy int16": lambda: SPEECH,
    "numpy big-endian int16": lambda: SPEECH.astype(">i2"),
    "numpy float32": lambda: SPEECH.astype(np.float32) / 32_768,
    "numpy float64": lambda: SPEECH / 32_768,
    "numpy (n, 1)": lambda: SPEECH[:, None],
    "numpy strided": lambda: np.repeat(SPEECH, 2)[::2],
    "list of bytes": lambda: [DATA[:1_001], b"", DATA[1_001:]],
    "tuple of arrays": lambda: (SPEECH[:7], SPEECH[7:]),
    "mixed list": lambda: [DATA[:2_000], SPEECH[1_000:2_000], SPEECH[2_000:] / np.float32(32_768)],
    "generator": lambda: (DATA[i : i + 3] for i in range(0, len(DATA), 3)),
    "async generator": lambda: streamed(DATA[:999], bytearray(DATA[999:1_000]), DATA[1_000:]),
    "source": lambda: Source(PCM16_24K, DATA[:11], DATA[11:]),
    "binary file": lambda: wav_file(SPEECH, 24_000),
}


@pytest.mark.parametrize("kind", ALIKE)
async def test_every_kind_is_the_same_audio(kind: str) -> None:
    """Whatever holds the samples, the same samples come out, in short chunks of whole frames."""
    found = await gather(ALIKE[kind]())
    assert b"".join(found) == DATA
    assert all(0 < len(chunk) <= PCM16_24K.bytes_for(MAX_CHUNK_MS) and len(chunk) % 2 == 0 for chunk in found)
    assert {type(chunk) for chunk in found} == {bytes}


@pytest.mark.parametrize("kind", [kind for kind in ALIKE if kind not in ("source", "binary file")])
async def test_every_raw_kind_is_converted(kind: str) -> None:
    """`rate` says at which rate raw audio is, whatever holds it."""
    assert await joined(ALIKE[kind](), rate=16_000) == converted(DATA, PCM16_16K)


async def test_a_short_chunk_is_passed_as_it_is() -> None:
    """A frame at the target's format is not copied."""
    frame = bytes(range(240)) * 4
    (only,) = await gather(frame)
    assert only is frame


async def test_paths_are_read_and_converted(tmp_path: pathlib.Path) -> None:
    """str and PathLike are paths; the file's own rate and channels are what is converted."""
    path = tmp_path / "speech.flac"
    soundfile.write(path, np.stack([SPEECH, SPEECH], axis=1), 44_100)
    expected = converted(DATA, AudioFormat(44_100))
    assert await joined(path) == expected
    assert await joined(str(path), rate=44_100, channels=7) == expected


async def test_sources_bring_their_format() -> None:
    """An AudioSource is converted from its own format."""
    source = Source(AudioFormat(48_000, 2), DATA[:1_001], DATA[1_001:])
    assert isinstance(source, AudioSource)
    assert await joined(source) == converted(DATA, AudioFormat(48_000, 2))


async def test_channels_of_raw_audio() -> None:
    """`channels` describes bytes and flat arrays; a 2-D array says it itself."""
    expected = converted(DATA, AudioFormat(24_000, 2))
    assert await joined(DATA, channels=2) == expected
    assert await joined(SPEECH, channels=2) == expected
    assert await joined(SPEECH.reshape(-1, 2)) == expected
    assert await joined(iter([SPEECH.reshape(-1, 2)] * 1), channels=2) == expected


async def test_targets_may_be_g711() -> None:
    """A target in µ-law gets µ-law."""
    data = await joined(DATA, rate=8_000, target=PCMU_8K)
    assert len(data) == len(SPEECH)
    decoded = np.frombuffer(ulaw_to_pcm16(data), "<i2").astype(int)
    assert np.abs(decoded - SPEECH).max() <= 256


async def test_large_buffers_come_in_pieces() -> None:
    """Ten seconds are never given at once, at any rate, and the whole stream is as if converted at once."""
    for rate in (8_000, 24_000, 44_100):
        data = bytes(random.Random(1).randbytes(rate * 20))
        found = await gather(data, rate=rate)
        assert max(map(len, found)) <= PCM16_24K.bytes_for(MAX_CHUNK_MS)
        assert b"".join(found) == converted(data, AudioFormat(rate))


@settings(max_examples=50, deadline=None)
@given(cuts=st.lists(st.integers(0, 700), max_size=20), rate=st.sampled_from([None, 16_000]))
async def test_cutting_an_iterable_changes_nothing(cuts: list[int], rate: int | None) -> None:
    """Odd bytes are carried from chunk to chunk."""
    parts, position = [], 0
    for cut in cuts:
        parts.append(DATA[position : position + cut])
        position += cut
    parts.append(DATA[position:])
    assert await joined(parts, rate=rate) == await joined(DATA, rate=rate)


@pytest.mark.parametrize(
    ("audio", "channels", "over"),
    [
        (b"abc", 1, "1 byte"),
        ([b"ab", b"c"], 1, "1 byte"),
        (DATA[:1_003], 2, "3 bytes"),
        (SPEECH[:5], 2, "2 bytes"),
    ],
)
async def test_an_incomplete_frame_is_told_at_the_very_end(audio: Any, channels: int, over: str) -> None:
    """Everything before is given; then comes the error."""
    found: list[bytes] = []

    async def collect() -> None:
        async for chunk in chunks(audio, channels=channels, target=AudioFormat(24_000, channels)):
            found.append(chunk)

    with pytest.raises(AudioError, match=f"The audio ended within a frame: {over} over"):
        await collect()
    whole = b"".join(audio) if isinstance(audio, list) else bytes(audio)
    assert b"".join(found) == whole[: len(whole) - len(whole) % (2 * channels)]


@pytest.mark.parametrize("rate", [0, -16_000, 16_000.0, True, "16000", 10**9])
def test_bad_rates_are_refused_at_once(rate: Any) -> None:
    """Before anything is iterated."""
    with pytest.raises(AudioError, match="The sample rate must be"):
        chunks(DATA, rate=rate, target=PCM16_24K)


@pytest.mark.parametrize("channels", [0, -1, 2.0, True, None, 33])
def test_bad_channels_are_refused_at_once(channels: Any) -> None:
    """Before anything is iterated."""
    with pytest.raises(AudioError, match="The number of channels must be"):
        chunks(DATA, channels=channels, target=PCM16_24K)


async def test_integers_of_numpy_are_rates() -> None:
    """`soundfile` and others give rates as numpy integers."""
    assert await joined(DATA, rate=np.int64(16_000)) == converted(DATA, PCM16_16K)


@pytest.mark.parametrize(
    ("audio", "told"),
    [
        (None, r"None \(NoneType\)"),
        (42, r"42 \(int\)"),
        (object(), "an object of type object"),
        ({"audio": b""}, "an object of type dict"),
        (streamed, "an object of type function. Call it, and send what it returns"),
        (AudioFormat, "Call it, and send what it returns"),
        (np.float32(1.0), "an object of type numpy.float32"),
    ],
)
def test_what_is_no_audio_is_refused_at_once(audio: Any, told: str) -> None:
    """The error says what was given and what can be."""
    with pytest.raises(AudioError, match=told) as caught:
        chunks(audio, target=PCM16_24K)
    assert "Audio is bytes, bytearray or memoryview of PCM16 little-endian; a numpy array" in str(
        caught.value
    )


@pytest.mark.parametrize(
    ("audio", "told"),
    [
        (["text"], "Chunk 0 is no audio: an object of type str"),
        ([b"ab", 7], r"Chunk 1 is no audio: 7 \(int\)"),
        ([1, 2, 3], r"Chunk 0 is no audio: 1 \(int\)"),
        ([SPEECH[:, None], SPEECH.reshape(-1, 2)], "Chunk 1 has 2 channels, those before have 1"),
        (np.zeros(4, np.uint8), "An array of uint8 is no audio; scale it to int16"),
        (np.zeros(4, np.int32), "An array of int32 is no audio"),
        (np.zeros(4, bool), "An array of bool is no audio"),
        (np.zeros((2, 3, 4), np.int16), r"An array of shape \(2, 3, 4\) is no audio"),
        (np.array(1.0), r"An array of shape \(\) is no audio"),
        (np.zeros((2, 480), np.int16), r"has its channels first; send array\.T"),
        (array.array("f", [0.5]), "A buffer of items 'f' is no PCM16"),
        (np.array([0.0] * 3_000 + [np.nan]), "The audio holds nan at sample 3000"),
        (np.array([[0.0, 0.0]] * 3_000 + [[0.0, np.inf]]), "The audio holds inf at frame 3000, channel 1"),
        ("nowhere.wav", r"Cannot read the audio file nowhere\.wav: No such file or directory"),
        (io.StringIO("text"), "is open as text"),
    ],
)
async def test_wrong_audio_is_told(audio: Any, told: str) -> None:
    """Wrong arrays, chunks and files are AudioErrors that say what and where."""
    with pytest.raises(AudioError, match=told):
        await gather(audio)


async def test_a_rate_that_contradicts_the_file_is_refused() -> None:
    """A file or source knows its rate; a different one is a mistake, the same one is not."""
    with pytest.raises(AudioError, match="is at 24000 Hz, not at rate=16000; leave rate out"):
        await gather(wav_file(SPEECH, 24_000), rate=16_000)
    with pytest.raises(AudioError, match="The Source is at 24000 Hz, not at rate=16000"):
        await gather(Source(PCM16_24K, DATA), rate=16_000)
    with pytest.raises(AudioError, match=r"has 2 channels, not channels=3"):
        await gather(SPEECH.reshape(-1, 2), channels=3)


async def test_nothing_is_nothing() -> None:
    """Empty audio of any kind gives no chunk, not an empty one."""
    for audio in (
        b"",
        [],
        [b"", b""],
        SPEECH[:0],
        streamed(),
        wav_file(SPEECH[:0], 8_000),
        Source(PCM16_16K),
    ):
        assert await gather(audio) == []


async def test_stopping_early_closes_what_is_behind() -> None:
    """Closing the chunks closes async and sync generators."""
    closed = []

    async def endless() -> AsyncIterator[bytes]:
        try:
            while True:
                yield bytes(960)
        finally:
            closed.append("async")

    def endless_sync() -> Iterator[bytes]:
        try:
            while True:
                yield bytes(960)
        finally:
            closed.append("sync")

    for audio in (endless(), endless_sync()):
        async with aclosing(chunks(audio, rate=16_000, target=PCM16_24K)) as parts:
            async for _ in parts:
                break
    assert closed == ["async", "sync"]


async def test_cancelling_closes_what_is_behind() -> None:
    """A task cancelled while it waits for a source leaves that source closed."""
    closed, waiting = asyncio.Event(), asyncio.Event()

    async def silent() -> AsyncIterator[bytes]:
        try:
            waiting.set()
            await asyncio.Event().wait()
            yield b""
        finally:
            closed.set()

    task = asyncio.create_task(gather(silent()))
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert closed.is_set()


async def test_stopping_early_closes_files(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader of a file is closed when its consumer stops, and when a later stage fails."""
    closed: list[str] = []

    class Reader(AudioReader):
        def close(self) -> None:
            closed.append(self.name)
            super().close()

    monkeypatch.setattr("vivavoce.sources.AudioReader", Reader)
    path = tmp_path / "long.wav"
    soundfile.write(path, np.zeros(480_000, np.int16), 48_000)
    async with aclosing(chunks(path, target=PCM16_24K)) as parts:
        await anext(parts)
    with pytest.raises(AudioError, match="leave rate out"):
        await gather(path, rate=8_000)
    assert closed == [str(path)] * 2


def test_numpy_is_imported_outside_the_loop() -> None:
    """The first conversion does not stop the loop for an import; without numpy the error names the extra."""
    code = """
import asyncio, sys, threading
from vivavoce.audio import PCM16_24K
from vivavoce.errors import AudioError
from vivavoce.sources import chunks
seen = []
class Spy:
    def find_spec(self, name, path=None, target=None):
        if name == "numpy":
            seen.append(threading.current_thread() is threading.main_thread())
            if len(sys.argv) > 1:
                raise ImportError("no numpy here")
sys.meta_path.insert(0, Spy())
async def main():
    try:
        print(sum([len(c) async for c in chunks(bytes(320), rate=16_000, target=PCM16_24K)]), seen)
    except AudioError as error:
        print(seen[0], error)
asyncio.run(main())
"""
    with_numpy = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    without = subprocess.run([sys.executable, "-c", code, "x"], capture_output=True, text=True, check=True)
    assert with_numpy.stdout == "480 [False]\n"
    assert without.stdout.startswith(
        "False Converting PCM16 16000 Hz mono to PCM16 24000 Hz mono needs numpy"
    )
    assert 'pip install "vivavoce[files]"' in without.stdout


def test_a_second_conversion_does_not_wait_for_the_import_in_the_loop() -> None:
    """While a thread is amid importing numpy, another conversion leaves the loop free, and both come out right."""
    code = """
import asyncio, sys, threading
from vivavoce.audio import PCM16_24K
from vivavoce.sources import chunks
amid, loop_ran, in_time = threading.Event(), threading.Event(), []
class Spy:
    def find_spec(self, name, path=None, target=None):
        if name == "numpy.linalg" and not amid.is_set():
            amid.set()
            in_time.append(loop_ran.wait(3))
sys.meta_path.insert(0, Spy())
async def total():
    return sum([len(c) async for c in chunks(bytes(320), rate=16_000, target=PCM16_24K)])
async def main():
    first = asyncio.create_task(total())
    await asyncio.to_thread(amid.wait)
    second = asyncio.create_task(total())
    await asyncio.sleep(0)
    loop_ran.set()
    print(await first, await second, in_time)
asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "480 480 [True]\n"
