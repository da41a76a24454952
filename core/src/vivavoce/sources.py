"""What can be sent: anything that holds audio, made into PCM16 chunks of one format.

`chunks` is the one way in: it tells bytes, arrays, files, microphones and streams apart, converts, cuts into pieces,
and says what it was given when that cannot be used. `Intake` is the same for calls that follow each other.
"""

from __future__ import annotations

import array
import asyncio
import importlib
import operator
import os
import sys
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Iterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Protocol, TypeAlias, Union, runtime_checkable

from vivavoce.audio import MAX_CHANNELS, AudioFormat, Converter, float32_to_pcm16
from vivavoce.errors import AudioError
from vivavoce.files import AudioReader

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["MAX_CHUNK_MS", "Audio", "AudioSource", "Intake", "chunks", "paced"]

MAX_CHUNK_MS: Final = 100
"""No chunk is longer, so that back-pressure is felt within a large buffer too."""

_PIECE_MS: Final = (
    80  # of the source: converting can make a piece a frame longer, and MAX_CHUNK_MS is a promise
)
_READ_MS: Final = 1_000  # of a file in one hop to a thread
_PACED_MS: Final = 20
_LATE_S: Final = 0.2

_RESAMPLE = "vivavoce._resample"
_BUFFERS = (bytes, bytearray, memoryview, array.array)


@runtime_checkable
class AudioSource(Protocol):
    """Audio that knows its format, such as a microphone: an async iterable of bytes in `format`, cut anywhere."""

    @property
    def format(self) -> AudioFormat: ...

    def __aiter__(self) -> AsyncIterator[bytes]: ...


_Chunk: TypeAlias = Union[bytes, bytearray, memoryview, "NDArray[Any]"]
Audio: TypeAlias = (
    _Chunk | str | os.PathLike[str] | BinaryIO | AudioSource | AsyncIterable[_Chunk] | Iterable[_Chunk]
)
"""Whatever `Voice.send()` and `Voice.listen()` take."""

_ACCEPTED = (
    "Audio is bytes, bytearray or memoryview of PCM16 little-endian; a numpy array of int16 or float32 (mono, or"
    ' channels last); the path of an audio file, or one opened with mode "rb"; an AudioSource such as Microphone;'
    " or a sync or async iterable of such bytes or arrays."
)


class Intake:
    """Where one voice's audio comes in: `chunks` with a memory that outlives the single call.

    An app that calls `send(frame, rate=16_000)` every 20 ms means one stream. So single buffers and arrays that
    follow each other in one format share a converter, and their seams cannot be heard. What it holds back (see
    `Converter.latency_ms`) comes out with the next buffer, before any other audio, or by `flush()` when a turn ends.
    Files, sources and iterables have an end of their own and come out complete.
    """

    def __init__(self, target: AudioFormat) -> None:
        self.target = target
        self._converter: Converter | None = None

    def chunks(self, audio: Audio, *, rate: int | None = None, channels: int = 1) -> AsyncGenerator[bytes]:
        """As the function `chunks`, to this intake's target. One at a time: the calls of a stream have an order."""
        rate, channels = _checked(audio, rate, channels)
        if _is_buffer(audio):
            return self._buffer(audio, AudioFormat(self.target.rate if rate is None else rate, channels))
        return self._after_flush(_generate(audio, rate, channels, self.target))

    def flush(self) -> bytes:
        """What is held back of the buffers so far, at the target format. The next one begins a new stream."""
        converter, self._converter = self._converter, None
        return converter.flush() if converter is not None else b""

    async def _buffer(self, audio: Any, raw: AudioFormat) -> AsyncGenerator[bytes]:
        source = _format_of(audio, raw)
        if self._converter is not None and self._converter.source != source and (held := self.flush()):
            yield held
        if self._converter is None and source != self.target:
            self._converter = await _converter(source, self.target)
        left = 0
        for piece in _pieces(audio, source):
            left = len(piece) % source.frame_bytes  # only the last piece can have any
            whole = piece[: len(piece) - left] if left else piece
            if chunk := self._converter.feed(whole) if self._converter is not None else bytes(whole):
                yield chunk
        _refuse_leftover(left, source)

    async def _after_flush(self, parts: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
        async with aclosing(parts):
            if held := self.flush():
                yield held
            async for chunk in parts:
                yield chunk


def chunks(
    audio: Audio, *, rate: int | None = None, channels: int = 1, target: AudioFormat
) -> AsyncGenerator[bytes]:
    """Make `audio` into chunks at `target`: whole frames, none empty, at most `MAX_CHUNK_MS` each.

    `rate` (Hz) and `channels` describe raw audio: bytes and arrays. Without `rate` it is taken to be at the target's.
    A 2-D array brings its own channels; files and sources bring both, and a `rate` that contradicts them is refused.
    An odd byte, or any incomplete frame, is joined with the next chunk's start.

    Files are read in a thread. A sync iterable is advanced in the event loop, so it must not block. A consumer that
    stops early closes this generator (`contextlib.aclosing`), and that closes the iterator and the file behind it.
    Cancelling is safe at any point, and closes them too.

    `AudioError`: at once for a bad `rate` or `channels`, or something that is no audio; while iterating for unreadable
    files, wrong arrays, NaN; at the very end, when all the rest was given, for an incomplete frame.
    """
    return _generate(audio, *_checked(audio, rate, channels), target)


async def paced(chunks: AsyncIterable[bytes], format: AudioFormat) -> AsyncGenerator[bytes]:
    """Give `chunks` at the speed at which they would be heard, at most 20 ms at a time, the first at once.

    Due times come from the number of frames given so far, so nothing drifts. When the source or the consumer is more
    than 0.2 s late, the schedule starts anew: a stall is a gap, never followed by a burst. The last chunk's own
    duration is not waited for. Closes `chunks` when closed.
    """
    loop = asyncio.get_running_loop()
    step = format.bytes_for(_PACED_MS)
    start, frames = loop.time(), 0
    async with aclosing(_items(chunks)) as items:
        async for chunk in items:
            for position in range(0, len(chunk), step):
                piece = chunk[position : position + step]
                wait = start + frames / format.rate - loop.time()
                if wait > 0:
                    await asyncio.sleep(wait)
                elif wait < -_LATE_S or not frames:
                    start, frames = loop.time(), 0
                frames += len(piece) // format.frame_bytes
                yield piece


async def _generate(
    audio: Any, rate: int | None, channels: int, target: AudioFormat
) -> AsyncGenerator[bytes]:
    source = AudioFormat(target.rate if rate is None else rate, channels)
    if _is_buffer(audio):
        parts = _convert(_one(audio), source, target)
    elif _is_file(audio):
        parts = _read(audio, rate, target)
    else:
        own = getattr(audio, "format", None)
        if isinstance(own, AudioFormat):
            source = own
            _agree(f"The {type(audio).__name__}", own, rate)
        parts = _convert(_items(audio), source, target)
    async with aclosing(parts):
        async for chunk in parts:
            yield chunk


async def _convert(
    items: AsyncGenerator[Any], source: AudioFormat, target: AudioFormat
) -> AsyncGenerator[bytes]:
    """The one loop: buffers in, chunks out. The first item's shape settles the number of channels."""
    converter: Converter | None = None
    index = 0
    async with aclosing(items):
        async for item in items:
            if not _is_buffer(item):
                raise AudioError(f"Chunk {index} is no audio: {_described(item)}. {_ACCEPTED}")
            shape = _format_of(item, source)
            if converter is None:
                source = shape
                converter = await _converter(source, target)
            elif shape != source:
                raise AudioError(
                    f"Chunk {index} has {shape.channels} channels, those before have {source.channels}."
                )
            for piece in _pieces(item, source):
                if chunk := converter.feed(piece):
                    yield chunk
            index += 1
    if converter is not None:
        left = converter.leftover
        if tail := converter.flush():
            yield tail
        _refuse_leftover(left, source)


async def _read(file: Any, rate: int | None, target: AudioFormat) -> AsyncGenerator[bytes]:
    reader = await asyncio.to_thread(AudioReader, file)
    try:
        _agree(reader.name, reader.format, rate)
        async with aclosing(_convert(_blocks(reader), reader.format, target)) as parts:
            async for chunk in parts:
                yield chunk
    finally:
        await asyncio.to_thread(reader.close)  # waits for a read that a cancelled task left behind


async def _blocks(reader: AudioReader) -> AsyncGenerator[bytes]:
    frames = reader.format.rate * _READ_MS // 1000
    while block := await asyncio.to_thread(reader.read, frames):
        yield block


async def _one(item: Any) -> AsyncGenerator[Any]:
    yield item


async def _items(iterable: Any) -> AsyncGenerator[Any]:
    """The items of a sync or async iterable, whose iterator is closed at the end, however that comes."""
    if hasattr(iterable, "__aiter__"):
        iterator = aiter(iterable)
        try:
            async for item in iterator:
                yield item
        finally:
            if hasattr(iterator, "aclose"):
                await iterator.aclose()
    else:
        iterator = iter(iterable)
        try:
            for item in iterator:
                yield item
        finally:
            if hasattr(iterator, "close"):
                iterator.close()


async def _converter(source: AudioFormat, target: AudioFormat) -> Converter:
    frames_differ = (source.rate, source.channels) != (target.rate, target.channels)
    if frames_differ and not hasattr(sys.modules.get(_RESAMPLE), "FrameConverter"):
        # Importing numpy takes 0.1 s and more: not in the loop. The module's last name is there when the import is
        # done; while another task's thread is still at it, this one waits in a thread too, not on the import lock.
        # If numpy is missing, Converter says so.
        await asyncio.to_thread(_try_import, _RESAMPLE)
    return Converter(source, target)


def _try_import(name: str) -> None:
    try:
        importlib.import_module(name)
    except ImportError:
        return


def _checked(audio: object, rate: object, channels: object) -> tuple[int | None, int]:
    # The format's own checks are the rule. numpy's integers count as int.
    checked = AudioFormat(_as_int(rate) if rate is not None else 24_000, _as_int(channels))
    if not _acceptable(audio):
        hint = " Call it, and send what it returns." if callable(audio) else ""
        raise AudioError(f"This is no audio: {_described(audio)}.{hint} {_ACCEPTED}")
    return (checked.rate if rate is not None else None), checked.channels


def _as_int(value: Any) -> Any:
    try:
        return value if isinstance(value, bool) else operator.index(value)
    except TypeError:
        return value


def _acceptable(audio: object) -> bool:
    if isinstance(audio, type | dict | set | frozenset):
        return False
    return _is_buffer(audio) or _is_file(audio) or hasattr(audio, "__aiter__") or hasattr(audio, "__iter__")


def _described(value: object) -> str:
    kind = type(value)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return f"{value!r} ({name})" if isinstance(value, int | float | None) else f"an object of type {name}"


def _is_buffer(value: object) -> bool:
    return isinstance(value, _BUFFERS) or _is_ndarray(value)


def _is_ndarray(value: object) -> bool:
    # There is no array before numpy is imported; a thread may be importing it right now.
    ndarray = getattr(sys.modules.get("numpy"), "ndarray", None)
    return ndarray is not None and isinstance(value, ndarray)


def _is_file(value: object) -> bool:
    # An async reader has both; its iterator is what can be used.
    return isinstance(value, str | os.PathLike) or (
        hasattr(value, "read") and not hasattr(value, "__aiter__")
    )


def _agree(name: str, own: AudioFormat, rate: int | None) -> None:
    if rate is not None and rate != own.rate:
        raise AudioError(f"{name} is at {own.rate} Hz, not at rate={rate}; leave rate out, it is converted.")


def _refuse_leftover(left: int, source: AudioFormat) -> None:
    if left:
        count = "1 byte" if left == 1 else f"{left} bytes"
        raise AudioError(
            f"The audio ended within a frame: {count} over, where a frame of {source} has {source.frame_bytes}."
            " Everything before was used. Check that it is PCM16 and how many channels it has."
        )


def _format_of(buffer: Any, given: AudioFormat) -> AudioFormat:
    """The format of a buffer: as given, but for a 2-D array's own channels. Refuses what is no PCM16 and no float."""
    if not _is_ndarray(buffer):
        view = memoryview(buffer)
        if view.format not in ("B", "b", "c", "h", "<h"):
            raise AudioError(f"A buffer of items {view.format!r} is no PCM16; give bytes, or a numpy array.")
        return given
    if buffer.dtype.kind != "f" and not (buffer.dtype.kind == "i" and buffer.dtype.itemsize == 2):
        raise AudioError(
            f"An array of {buffer.dtype} is no audio; scale it to int16, or to float32 within ±1.0."
        )
    if buffer.ndim == 1:
        return given
    if buffer.ndim != 2:
        raise AudioError(
            f"An array of shape {buffer.shape} is no audio; it must be (frames,) or (frames, channels)."
        )
    channels = buffer.shape[1]
    if channels > MAX_CHANNELS >= buffer.shape[0]:
        raise AudioError(f"An array of shape {buffer.shape} has its channels first; send array.T.")
    if given.channels not in (1, channels):
        raise AudioError(
            f"An array of shape {buffer.shape} has {channels} channels, not channels={given.channels}."
        )
    return AudioFormat(given.rate, channels, given.encoding)


def _pieces(buffer: Any, source: AudioFormat) -> Iterator[bytes | memoryview]:
    """A buffer as bytes, a little at a time; one that is short comes as it is."""
    if _is_ndarray(buffer):
        yield from _array_pieces(buffer, source)
        return
    step = source.bytes_for(_PIECE_MS)
    if type(buffer) is bytes and len(buffer) <= step:
        yield buffer
        return
    view = memoryview(buffer)
    data = view.cast("B") if view.c_contiguous else memoryview(view.tobytes())
    for position in range(0, len(data), step):
        yield data[position : position + step]


def _array_pieces(samples: Any, source: AudioFormat) -> Iterator[bytes]:
    step = source.rate * _PIECE_MS // 1000
    if samples.ndim == 1:
        step *= source.channels
    for position in range(0, len(samples), step):
        part = samples[position : position + step]
        yield (
            float32_to_pcm16(part, first=position) if part.dtype.kind == "f" else part.astype("<i2").tobytes()
        )
