"""Audio of a WebRTC call, on `aiortc`: PCM16 into a paced track, and PCM16 out of a received one.

Opus is 48 kHz stereo on the wire (RFC 7587, 4.1). Rate and channels are converted here and not by the library, whose
resampler spreads mono over two channels 3 dB lower than it was.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator, Hashable
from fractions import Fraction
from typing import Any

from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError
from av import AudioFrame, CodecContext, Packet
from vivavoce.audio import AudioFormat, Converter

__all__ = ["FRAME_MS", "Later", "OpusEncoder", "OutgoingAudio", "read_audio"]

FRAME_MS = 20
"""Milliseconds of one packet."""
_RATE = 48_000
_SAMPLES = _RATE * FRAME_MS // 1000
_TIME_BASE = Fraction(1, _RATE)
_STEADY = 10
"""Equal packets of silence in a row, after which the next are taken to be the same."""
_GAP_S = 0.2
"""How long speech that breaks off is waited for before silence takes its place: a source that is a little late, and not over,
would else be later by as much for the rest of the call."""
_LATE_S = 1.0
"""A track that is so late (the loop was held up) goes on from now. One that is less late sends what it missed at once: else a
moment's standstill would be delay for the rest of the call."""


_BACKLOG_MS = 40
"""What may wait of a live source. More is caught up with in a pause: a burst after a standstill would else be delay for good."""
_PAUSE_PEAK = 300
"""The highest sample of a pause, 40 dB below the loudest."""
_HELD_S = 2.0
"""A source that had to wait for room within this time is faster than life: a file. Nothing of it is left out."""


class Later:
    """An awaitable that does nothing until it is awaited, and may be left alone."""

    __slots__ = ("_begin",)

    def __init__(self, begin: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._begin = begin

    def __await__(self) -> Generator[Any, None, None]:
        return self._begin().__await__()


class OpusEncoder:
    """PCM16, 48 kHz mono, to Opus packets of 20 ms, one by one.

    Of silence nothing new is made once the codec repeats itself: the encoder and the decoder stand where they stood.
    """

    def __init__(self) -> None:
        self._codec: Any = CodecContext.create("libopus", "w")
        self._codec.bit_rate, self._codec.sample_rate = 32_000, _RATE
        self._codec.format, self._codec.layout = "s16", "mono"
        self._codec.time_base = _TIME_BASE
        self._codec.options = {"application": "voip", "fec": "1", "packet_loss": "10"}
        self._last: list[bytes] = []  # packets of silence in a row

    def encode(self, pcm: bytes, pts: int) -> Packet[Any]:
        """One frame's packet. The codec looks ahead a few milliseconds, and says no more than the others."""
        silent = not pcm.strip(b"\0")
        if silent and len(self._last) == _STEADY and len(set(self._last)) == 1:
            data = self._last[-1]
        else:
            frame = AudioFrame(format="s16", layout="mono", samples=_SAMPLES)
            frame.planes[0].update(pcm)
            frame.sample_rate, frame.pts, frame.time_base = _RATE, pts, _TIME_BASE
            data = b"".join(bytes(packet) for packet in self._codec.encode(frame))
            self._last = [*self._last, data][-_STEADY:] if silent else []
        packet = Packet(data)
        packet.pts, packet.time_base = pts, _TIME_BASE
        return packet


class OutgoingAudio(MediaStreamTrack):
    """A track that says what it is given, in real time, and silence where there is nothing.

    `put` takes PCM16 of any format, `tag` names what it is part of. Each time some of it was sent, `on_played` is told
    the tag and the milliseconds; once nothing is left, `on_drained` is called.

    With `opus` it encodes by itself, as one channel with forward error correction (RFC 7587): for a call that has settled on Opus.
    Without, it brings stereo frames, and the library encodes them with whatever codec there is. With `live` a source that is not
    faster than life gets no later than it must: what waits of a pause is left out.
    """

    kind = "audio"

    def __init__(self, *, ahead_ms: float = 200, opus: bool = False, live: bool = False) -> None:
        super().__init__()
        self._encoder = OpusEncoder() if opus else None
        self._live = live
        self._format = AudioFormat(_RATE, 1 if opus else 2)
        self._bytes = self._format.bytes_for(FRAME_MS)
        self._silence = bytes(self._bytes)
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
        self._arrived = asyncio.Event()
        self._held = -math.inf  # when the source had to wait last
        self._ended = False  # its source said so
        self._speaking = False  # the last packet said something
        self.queued_ms = 0.0
        """Milliseconds that wait to be sent."""

    def put(self, pcm: bytes, format: AudioFormat, tag: Hashable = None) -> Awaitable[None] | None:
        """Queue audio of whole samples. What is returned, if not `None`, ends when less than `ahead_ms` waits."""
        if not pcm or self.readyState != "live":
            return None
        self._pieces.append((pcm, format, tag))
        self.queued_ms += format.milliseconds(len(pcm))
        self._empty.clear()
        self._ended = False
        self._arrived.set()
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
        self._held = asyncio.get_running_loop().time()
        await self._room.wait()

    async def drained(self) -> None:
        """Wait until everything was sent. Nothing more comes just now: what was put is not waited for to go on."""
        self._ended = True
        self._arrived.set()
        await self._empty.wait()

    def stop(self) -> None:
        super().stop()
        self.clear()
        self._arrived.set()

    async def recv(self) -> AudioFrame | Packet[Any]:
        """The next packet's audio, when it is due."""
        if self.readyState != "live":
            raise MediaStreamError
        loop = asyncio.get_running_loop()
        if self._start is None:
            self._start = loop.time()
        late = loop.time() - self._start - self._frames * FRAME_MS / 1000
        if late < _LATE_S:
            await asyncio.sleep(max(0.0, -late))
        else:
            # The time that was missed is missing in the timestamps, too: for the other end it is a pause.
            self._frames += int(late * 1000 / FRAME_MS)
        self._fill()
        if len(self._ready) < self._bytes and (self._speaking or self._ready):
            await self._more()
        if self._live and self.queued_ms > _BACKLOG_MS and loop.time() > self._held + _HELD_S:
            self._shorten_pause()
        pts, self._frames = self._frames * _SAMPLES, self._frames + 1
        return self._packed(self._next(), pts)

    def _shorten_pause(self) -> None:
        """Leave out frames of a pause that wait at the front."""
        while self._pieces and self.queued_ms > _BACKLOG_MS:
            pcm, format, tag = self._pieces[0]
            size = format.bytes_for(FRAME_MS)
            samples = memoryview(pcm)[:size].cast("h")
            if max(samples) > _PAUSE_PEAK or min(samples) < -_PAUSE_PEAK:
                return
            self._pieces.popleft()
            if len(pcm) > size:
                self._pieces.appendleft((pcm[size:], format, tag))
            self.queued_ms -= format.milliseconds(min(len(pcm), size))

    async def _more(self) -> None:
        """Wait a moment for a source that may go on."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GAP_S if self._live else _GAP_S / 4):
                while len(self._ready) < self._bytes and not self._ended:
                    self._arrived.clear()
                    await self._arrived.wait()
                    self._fill()

    def _packed(self, pcm: bytes, pts: int) -> AudioFrame | Packet[Any]:
        if self._encoder is not None:
            return self._encoder.encode(pcm, pts)
        frame = AudioFrame(format="s16", layout="stereo", samples=_SAMPLES)
        frame.planes[0].update(pcm)
        frame.sample_rate, frame.pts, frame.time_base = _RATE, pts, _TIME_BASE
        return frame

    def _fill(self) -> None:
        # The converter holds back less than a millisecond, so a piece more is taken for a frame now and then.
        while len(self._ready) < self._bytes and self._pieces:
            self._take()

    def _next(self) -> bytes:
        if len(self._ready) < self._bytes and self._converter is not None:
            self._ready += self._converter.flush()
            self._converter = None
        self._speaking = bool(self._ready)
        if not self._ready:
            self._drained()
            return self._silence
        frame = bytes(self._ready[: self._bytes])
        del self._ready[: self._bytes]
        if not self._pieces and not self._ready and self._converter is None:
            self._drained()
        return frame.ljust(self._bytes, b"\0")

    def _drained(self) -> None:
        if not self._empty.is_set() and not self._pieces:
            self._empty.set()
            if self.on_drained is not None:
                self.on_drained()

    def _take(self) -> None:
        """Convert 20 ms, or what is left of the first piece."""
        pcm, format, tag = self._pieces.popleft()
        size = format.bytes_for(FRAME_MS)
        if len(pcm) > size:
            self._pieces.appendleft((pcm[size:], format, tag))
            pcm = pcm[:size]
        if self._converter is None or self._converter.source != format:
            self._converter = Converter(format, self._format)
        self._ready += self._converter.feed(pcm)
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


# The first conversion imports numpy: half a second of standstill, were it in a call. This module is imported off the loop.
for _source, _target in (
    (AudioFormat(24_000), AudioFormat(_RATE)),
    (AudioFormat(_RATE), AudioFormat(24_000)),
):
    Converter(_source, _target).feed(bytes(960))
