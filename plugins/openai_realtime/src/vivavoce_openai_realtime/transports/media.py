"""Audio of a WebRTC call, on `aiortc`: PCM16 into a paced track, and PCM16 out of a received one.

Opus is 48 kHz stereo on the wire (RFC 7587, 4.1). Rate and channels are converted here and not by the library, whose
resampler spreads mono over two channels 3 dB lower than it was.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator, Hashable
from fractions import Fraction
from typing import Any

from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError
from av import AudioFrame
from vivavoce.audio import AudioFormat, Converter

__all__ = ["FRAME_MS", "Later", "OutgoingAudio", "read_audio"]

FRAME_MS = 20
"""Milliseconds of one packet."""
_OPUS = AudioFormat(48_000, 2)
_SAMPLES = _OPUS.rate * FRAME_MS // 1000
_BYTES = _OPUS.bytes_for(FRAME_MS)
_SILENCE = bytes(_BYTES)
_LATE_S = 1.0
"""A track that is so late (the loop was held up) goes on from now. One that is less late, and has something to say, hurries:
else a moment's standstill would be delay for the rest of the call."""
_HURRY_S = 0.005
"""Between packets of a track that hurries."""


class Later:
    """An awaitable that does nothing until it is awaited, and may be left alone."""

    __slots__ = ("_begin",)

    def __init__(self, begin: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._begin = begin

    def __await__(self) -> Generator[Any, None, None]:
        return self._begin().__await__()


class OutgoingAudio(MediaStreamTrack):
    """A track that says what it is given, in real time, and silence where there is nothing.

    `put` takes PCM16 of any format, `tag` names what it is part of. Each time some of it was sent, `on_played` is told
    the tag and the milliseconds; once nothing is left, `on_drained` is called.
    """

    kind = "audio"

    def __init__(self, *, ahead_ms: float = 200) -> None:
        super().__init__()
        self.on_played: Callable[[Hashable, float], None] | None = None
        self.on_drained: Callable[[], None] | None = None
        self._ahead_ms = ahead_ms
        self._pieces: deque[tuple[bytes, AudioFormat, Hashable]] = deque()
        self._converter: Converter | None = None
        self._ready = bytearray()
        self._frames = 0
        self._start: float | None = None
        self._room = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()
        self.queued_ms = 0.0
        """Milliseconds that wait to be sent."""

    def put(self, pcm: bytes, format: AudioFormat, tag: Hashable = None) -> Awaitable[None] | None:
        """Queue audio of whole samples. What is returned, if not `None`, ends when less than `ahead_ms` waits."""
        if not pcm or self.readyState != "live":
            return None
        self._pieces.append((pcm, format, tag))
        self.queued_ms += format.milliseconds(len(pcm))
        self._empty.clear()
        if self.queued_ms <= self._ahead_ms:
            return None
        self._room.clear()
        return Later(self._has_room)

    def clear(self) -> None:
        """Drop what was not sent yet."""
        self._pieces.clear()
        self._ready.clear()
        self._converter = None
        self.queued_ms = 0.0
        self._room.set()
        self._empty.set()

    async def _has_room(self) -> None:
        await self._room.wait()

    async def drained(self) -> None:
        """Wait until everything was sent."""
        await self._empty.wait()

    def stop(self) -> None:
        super().stop()
        self.clear()

    async def recv(self) -> AudioFrame:
        """The next packet's audio, when it is due."""
        if self.readyState != "live":
            raise MediaStreamError
        loop = asyncio.get_running_loop()
        if self._start is None:
            self._start = loop.time()
        late = loop.time() - self._start - self._frames * FRAME_MS / 1000
        if late < _HURRY_S:
            await asyncio.sleep(max(0.0, -late))
        elif late < _LATE_S and self._pieces:
            await asyncio.sleep(_HURRY_S)
        else:
            # The time that was missed is missing in the timestamps, too: for the other end it is a pause.
            self._frames += int(late * 1000 / FRAME_MS)
        frame = AudioFrame(format="s16", layout="stereo", samples=_SAMPLES)
        frame.planes[0].update(self._next())
        frame.sample_rate = _OPUS.rate
        frame.pts = self._frames * _SAMPLES
        frame.time_base = Fraction(1, _OPUS.rate)
        self._frames += 1
        return frame

    def _next(self) -> bytes:
        # The converter holds back less than a millisecond, so a piece more is taken for a frame now and then.
        while len(self._ready) < _BYTES and self._pieces:
            self._take()
        if not self._ready:
            return _SILENCE
        frame = bytes(self._ready[:_BYTES])
        del self._ready[:_BYTES]
        if not self._pieces and not self._ready:
            self._empty.set()
            if self.on_drained is not None:
                self.on_drained()
        return frame.ljust(_BYTES, b"\0")

    def _take(self) -> None:
        """Convert 20 ms, or what is left of the first piece."""
        pcm, format, tag = self._pieces.popleft()
        size = format.bytes_for(FRAME_MS)
        if len(pcm) > size:
            self._pieces.appendleft((pcm[size:], format, tag))
            pcm = pcm[:size]
        if self._converter is None or self._converter.source != format:
            self._converter = Converter(format, _OPUS)
        self._ready += self._converter.feed(pcm)
        if not self._pieces:
            self._ready += self._converter.flush()
        played = format.milliseconds(len(pcm))
        self.queued_ms = max(0.0, self.queued_ms - played)
        if self.queued_ms <= self._ahead_ms:
            self._room.set()
        if self.on_played is not None:
            self.on_played(tag, played)


async def read_audio(track: MediaStreamTrack, take: Callable[[bytes, AudioFormat], None]) -> None:
    """Hand on what a received track brings, 20 ms at a time, until it ends."""
    while True:
        try:
            frame = await track.recv()
        except MediaStreamError:
            return
        if isinstance(frame, AudioFrame) and frame.format.name == "s16":
            format = AudioFormat(frame.sample_rate, len(frame.layout.channels))
            take(bytes(frame.planes[0])[: frame.samples * format.frame_bytes], format)
