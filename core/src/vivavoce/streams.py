"""Reply audio: what an app iterates over or pipes into a sink, and how much of it was really heard."""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Protocol, runtime_checkable

from vivavoce.audio import AudioFormat
from vivavoce.errors import ConfigError
from vivavoce.events import EndReason, ResponseDone
from vivavoce.redaction import get_logger

logger = get_logger("vivavoce.streams")

__all__ = ["AudioStream", "Playback", "Response", "Sink"]

UNREAD_LIMIT = 16 * 1024 * 1024
_PIECE_MS = 100
_SINK = ("format", "played_ms", "write", "flush", "drain")


@runtime_checkable
class Sink(Protocol):
    """Where audio is played: `Speaker`, or anything with these five. Methods may be plain or async."""

    @property
    def format(self) -> AudioFormat:
        """What `write` takes."""

    @property
    def played_ms(self) -> float:
        """Milliseconds really heard since the sink was opened; audio that was flushed does not count."""

    def write(self, audio: bytes) -> Any:
        """Queue PCM at `format`; an async `write` may wait for room."""

    def flush(self) -> Any:
        """Drop what was not played yet. Plain: it must take effect at once."""

    def drain(self) -> Any:
        """Wait until what was written has been played or flushed."""


class Playback:
    """How much of one stream was heard: by its sink, else as the app reports it, else what it consumed."""

    __slots__ = ("_base_ms", "_frozen_ms", "_reported_ms", "_sink", "consumed", "format", "on_heard", "taken")

    def __init__(self, format: AudioFormat) -> None:
        self.format = format
        self.consumed = 0
        self.taken = False
        self.on_heard: Callable[[], None] | None = None
        self._reported_ms: float | None = None
        self._frozen_ms: float | None = None
        self._sink: Sink | None = None
        self._base_ms = 0.0

    @property
    def heard_ms(self) -> float:
        consumed_ms = self.format.milliseconds(self.consumed)
        if self._frozen_ms is not None:
            return self._frozen_ms
        if self._sink is not None:
            return min(max(0.0, self._sink.played_ms - self._base_ms), consumed_ms)
        return consumed_ms if self._reported_ms is None else self._reported_ms

    @property
    def in_sink(self) -> bool:
        """Whether a sink has it now."""
        return self._sink is not None

    def report(self, ms: float) -> None:
        self.taken = True
        self._reported_ms = max(0.0, float(ms))

    def attach(self, sink: Sink) -> None:
        self._sink, self._base_ms = sink, sink.played_ms

    def detach(self, heard: bool) -> None:
        """The sink goes on to other audio: keep the figure. `heard`: it was drained, so all of it was heard, also
        where the sink's clock takes off its latency."""
        if self._sink is not None:
            self._frozen_ms = self.format.milliseconds(self.consumed) if heard else self.heard_ms
            self._sink = None

    def silence(self) -> None:
        """Drop what the sink has not played yet."""
        if self._sink is not None:
            try:
                self._sink.flush()
            except Exception:
                logger.exception("a sink failed to drop its audio")

    def heard_all(self) -> None:
        if self.on_heard is not None:
            self.on_heard()


class AudioStream:
    """The audio of one reply: an async iterator of PCM16 `bytes` at `format`, for one consumer.

    `end_reason` is `None` while it runs, then `completed`, `cancelled` (the voice was closed, or the reply was),
    `interrupted` (the user or the app cut it) or `lost` (the connection broke, or nobody read 16 MiB of it). After
    `completed` and `lost` what has arrived can still be read; after the others it is dropped.
    Cancelling an iteration or a `pipe` loses nothing but what was in its hands.
    """

    def __init__(
        self,
        id: str | None,
        format: AudioFormat,
        *,
        item_id: str | None = None,
        playback: Playback | None = None,
    ) -> None:
        self.id = id
        self.item_id = item_id
        self.format = format
        self.end_reason: EndReason | None = None
        self._playback = playback or Playback(format)
        self._chunks: deque[bytes] = deque()
        self._unread = 0
        self._waiters: list[asyncio.Future[None]] = []
        self._claimed = False

    def __repr__(self) -> str:
        return f"<AudioStream {self.id} {self.end_reason or 'running'}, {self._unread} bytes unread>"

    @property
    def played_ms(self) -> float:
        """Milliseconds of this stream that were heard, as far as is known."""
        return self._playback.heard_ms

    def report_played(self, ms: float) -> None:
        """Tell how many milliseconds of this stream were heard, when no sink can."""
        self._playback.report(ms)

    def __aiter__(self) -> AsyncIterator[bytes]:
        if self._claimed:
            raise RuntimeError(
                "this AudioStream already has its consumer; a second one would take half of the audio"
            )
        self._claimed = self._playback.taken = True
        return self._read()

    async def _read(self) -> AsyncIterator[bytes]:
        playback = self._playback
        while True:
            while self._chunks:
                audio = self._chunks.popleft()
                self._unread -= len(audio)
                playback.consumed += len(audio)
                self._wake()
                yield audio
            if self.end_reason is not None:
                if playback._sink is None and playback._reported_ms is None:
                    playback.heard_all()
                return
            await self._changed()

    async def pipe(self, sink: Sink) -> None:
        """Play this stream on `sink`, converted to its format; returns when it was heard, or cut.

        Streams that are piped to one sink at the same time are played one after the other.
        """
        missing = [name for name in _SINK if not hasattr(sink, name)]
        if missing:
            text = f"pipe() takes a sink; a {type(sink).__name__} lacks {', '.join(missing)}"
            raise ConfigError(text, option="sink")
        chunks = aiter(self)
        async with _turn_at(sink):
            self._playback.attach(sink)
            heard = False
            try:
                heard = await self._pipe(sink, chunks)
            finally:
                self._playback.detach(heard)
        self._playback.heard_all()

    async def _pipe(self, sink: Sink, chunks: AsyncIterator[bytes]) -> bool:
        """Write everything and wait until it was played; false when it was cut."""
        from vivavoce.audio import Converter  # only where audio is converted

        converter = Converter(self.format, sink.format)
        piece = max(self.format.frame_bytes, self.format.bytes_for(_PIECE_MS))
        async for audio in chunks:
            # In small pieces, so that an interruption finds little in the hands of a sink that waits for room.
            for start in range(0, len(audio), piece):
                if self._cut:
                    return False
                await _maybe(sink.write(converter.feed(audio[start : start + piece])))
        if self._cut:
            return False
        tail = converter.flush()
        if tail:
            await _maybe(sink.write(tail))
        await _maybe(sink.drain())
        return not self._cut

    @property
    def _cut(self) -> bool:
        return self.end_reason in ("interrupted", "cancelled")

    # What follows is the core's side.

    def _feed(self, audio: bytes) -> bool:
        """Add audio; false when the stream overflowed and has ended as `lost`."""
        if self.end_reason is not None:
            return True
        self._chunks.append(audio)
        self._unread += len(audio)
        if self._waiters:
            self._wake()
        if self._unread <= UNREAD_LIMIT:
            return True
        self._end("lost")
        return False

    def _end(self, reason: EndReason) -> None:
        """End the stream. An interruption also ends what has all arrived but was not heard yet."""
        early = reason in ("interrupted", "cancelled")
        if self.end_reason is None or (early and self.end_reason in ("completed", "lost")):
            self.end_reason = reason
        if early:
            self._chunks.clear()
            self._unread = 0
            self._playback.silence()
        self._wake()

    @property
    def _audible(self) -> bool:
        """Whether there is something left to stop."""
        return self.end_reason is None or self._unread > 0 or self._playback.in_sink

    def _stop(self, reason: EndReason) -> None:
        """End the stream, unless it was read to its end."""
        if self._audible:
            self._end(reason)

    async def _room(self, limit: int) -> None:
        """Wait until fewer than `limit` bytes are unread, or the stream has ended."""
        while self._unread >= limit and self.end_reason is None:
            await self._changed()

    async def _changed(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)

    def _wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()


_turns: dict[int, tuple[asyncio.Lock, list[Sink]]] = {}


@asynccontextmanager
async def _turn_at(sink: Sink) -> AsyncIterator[None]:
    """One stream at a time on one sink. By identity: a sink need not be hashable."""
    lock, users = _turns.setdefault(id(sink), (asyncio.Lock(), []))
    users.append(sink)
    try:
        async with lock:
            yield
    finally:
        users.pop()
        if not users:
            del _turns[id(sink)]


async def _maybe(result: Any) -> None:
    if result is not None and inspect.isawaitable(result):
        await result


class Response:
    """A reply that was asked for and has begun. `audio` is the same object as in the `speaker` event."""

    def __init__(self, id: str, audio: AudioStream) -> None:
        self.id = id
        self.audio = audio
        self._text: list[str] = []
        self._final: dict[str | None, str] = {}
        self._outcome: ResponseDone | None = None
        self._error: Callable[[], BaseException] | None = None
        self._waiters: list[asyncio.Future[None]] = []

    def __repr__(self) -> str:
        return f"<Response {self.id} {self._outcome.status if self._outcome else 'running'}>"

    async def done(self) -> ResponseDone:
        """Wait for the end of the reply. Raises `ConnectionLostError` or `NotConnectedError` if the session ended first."""
        while self._outcome is None and self._error is None:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await waiter
        if self._outcome is None:
            assert self._error is not None
            raise self._error()
        return self._outcome

    async def text(self) -> str:
        """Wait for the end of the reply and return its text: what it wrote, or the transcript of what it said."""
        await self.done()
        return "".join(self._final.values()) if self._final else "".join(self._text)

    def _write(self, text: str, item_id: str | None, final: bool) -> None:
        if final:
            self._final[item_id] = text
        else:
            self._text.append(text)

    def _finish(self, outcome: ResponseDone | None, error: Callable[[], BaseException] | None = None) -> None:
        if self._outcome is None and self._error is None:
            self._outcome, self._error = outcome, error
            for waiter in self._waiters:
                if not waiter.done():
                    waiter.set_result(None)
            self._waiters.clear()

    @classmethod
    def empty(cls, format: AudioFormat) -> Response:
        """A finished, empty reply: what a provider that has none is answered with."""
        audio = AudioStream("", format)
        audio._end("completed")
        response = cls("", audio)
        response._finish(ResponseDone(""))
        return response
