"""A microphone to send and a speaker to pipe into, on PortAudio.

    await stream.pipe(Speaker())
    await voice.send(Microphone())

Needs `pip install "vivavoce[devices]"`. Both open their device on first use, by name, index or default, and convert
between its rate and channels and their own `format`. They are two separate streams: full-duplex streams stall on some
hosts. What a device does wrong is told by `on_event`, or by one WARNING of the logger `vivavoce.devices`.
"""

from __future__ import annotations

import array
import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

from vivavoce import _portaudio, _soundhelp
from vivavoce._devicelife import Device, DeviceEvent, Link
from vivavoce._playout import PlayoutClock, Ring
from vivavoce._portaudio import DeviceInfo
from vivavoce.audio import PCM16_24K, AudioFormat, Converter
from vivavoce.echo import EchoCanceller

__all__ = [
    "DeviceEvent",
    "DeviceInfo",
    "EchoCanceller",
    "Microphone",
    "Speaker",
    "list_devices",
    "silence_reasons",
]

LATENCY_MS: Final = 60.0
_POLL_S: Final = 0.01
_UNREAD_MS: Final = 2_000
_ECHO_MS: Final = 300
"""So long after the speaker's last sound a room still gives it back, and the microphone's own latency is in it."""
_RAMP_MS: Final = 10


def list_devices() -> list[DeviceInfo]:
    """Every device there is. Blocks for up to a second the first time. `AudioError`: no PortAudio, and how to get it."""
    return _portaudio.query()


def silence_reasons() -> list[str]:
    """Plain words for why there may be no device on this machine."""
    return _soundhelp.silence_reasons()


class _Output(Link):
    def __init__(self, format: AudioFormat, buffer_ms: float) -> None:
        super().__init__(format)
        self.ring = Ring(format.bytes_for(buffer_ms))
        self.clock = PlayoutClock(format.rate)
        self.reference: Ring | None = None
        self.kept = 0
        """Frames that a flush found in the device: they will be heard."""
        self._frame_bytes = format.frame_bytes
        self._sounded = False

    def callback(self, buffer: Any, frames: int, time: Any, status: Any) -> None:
        out = memoryview(buffer)
        count = self.ring.read_into(out)
        if count < len(out):
            out[count:] = bytes(len(out) - count)
        if self.reference is not None:
            self.reference.write(out)
        # Some hosts do not know when a block will be heard; then it is at least not before now.
        self.clock.took(time.outputBufferDacTime or time.currentTime, count // self._frame_bytes)
        # A gap between silence and silence breaks nothing off.
        self.called(bool(status) and status.output_underflow and (self._sounded or count > 0))
        self._sounded = count > 0


class _Input(Link):
    def __init__(self, format: AudioFormat) -> None:
        super().__init__(format)
        self.ring = Ring(format.bytes_for(_UNREAD_MS))
        self.dropped = 0

    def callback(self, buffer: Any, frames: int, time: Any, status: Any) -> None:
        data = memoryview(buffer)
        self.dropped += len(data) - self.ring.write(data)
        self.called(bool(status) and status.input_overflow)


class Speaker(Device):
    """A sink that is heard. `device`: a name (or part of one), an index, or `None` for the default.

    `played_ms` follows the device's own clock: a sample counts when it has left the device, its latency included.
    From a `flush` on it counts what the device has taken already, as that can not be called back and will be heard.
    `write` waits while `buffer_ms` are queued, so `flush` has little to drop; silence follows within one block of
    10 ms, plus what the device itself still holds (`host_latency_ms`).
    `volume` (0 to 1), `muted` and `duck()` hold for what is written from then on.
    """

    _kind = "output"

    def __init__(
        self,
        device: int | str | None = None,
        *,
        format: AudioFormat = PCM16_24K,
        latency_ms: float = LATENCY_MS,
        buffer_ms: float = 200.0,
        on_event: Callable[[DeviceEvent], None] | None = None,
        give_up_s: float = 10.0,
    ) -> None:
        super().__init__(device, format, latency_ms, on_event, give_up_s)
        self.volume = 1.0
        self.muted = False
        self._ducked = 1.0
        self._gain = 1.0
        self._buffer_ms = buffer_ms
        self._heard_before_ms = 0.0
        self._converter: Converter | None = None
        self._flushed = asyncio.Event()
        self._silent_since = 0.0
        self._newest = b""
        self._keeps_reference = False

    @property
    def played_ms(self) -> float:
        """Milliseconds really heard since the speaker was made; what was flushed, or lost with a device, does not
        count."""
        return self._heard_before_ms + self._heard_ms()

    def _heard_ms(self) -> float:
        link: _Output | None = self._link
        if link is None:
            return 0.0
        return max(link.kept, link.clock.heard(link.stream.time)) * 1000 / link.format.rate

    @property
    def is_sounding(self) -> bool:
        """Whether there is sound on its way."""
        link: _Output | None = self._link
        return link is not None and (
            link.ring.used > 0 or link.clock.heard(link.stream.time) < link.clock.taken
        )

    @property
    def may_echo(self) -> bool:
        """Whether a microphone in the same room may hear this speaker now."""
        now = asyncio.get_running_loop().time()
        if self.is_sounding:
            self._silent_since = now + _ECHO_MS / 1000
        return now < self._silent_since

    @property
    def level(self) -> float:
        """Loudness of what was written last: 0 to 1, root mean square."""
        return _level(self._newest) if self.is_sounding else 0.0

    def duck(self, to: float = 0.2) -> None:
        """Play softer, as while the user seems to begin to speak. `unduck` ends it."""
        self._ducked = to

    def unduck(self) -> None:
        """Play at `volume` again."""
        self._ducked = 1.0

    async def write(self, audio: bytes) -> None:
        """Queue PCM at `format`, opening the device at first; waits for room. A flush ends the wait, and drops what
        was not queued yet. `AudioError`: no device, or the last one is gone."""
        await self.open()
        if self._converter is None:
            self._converter = Converter(self.format, self._link.format)
        self._newest = audio
        await self._queue(self._converter.feed(audio))

    async def _queue(self, audio: bytes) -> None:
        flushed, link = self._flushed, self._link
        left = memoryview(self._at_volume(audio))
        while left and self._link is link and not flushed.is_set():
            left = left[link.ring.write(left) :]
            await self._watch()
            if left:
                await self._pause(link.format.milliseconds(min(len(left), link.ring.capacity // 2)), flushed)

    async def _pause(self, ms: float, flushed: asyncio.Event) -> None:
        try:
            async with asyncio.timeout(max(ms / 1000, _POLL_S)):
                await flushed.wait()
        except TimeoutError:
            pass

    def flush(self) -> None:
        """Drop what was not played yet. At once, from the loop's thread."""
        if self._link is not None:
            self._link.ring.skip()
            self._link.kept = self._link.clock.taken
        self._converter = None
        self._flushed.set()
        self._flushed = asyncio.Event()

    async def drain(self) -> None:
        """Wait until what was written has been heard or flushed. Safe to cancel."""
        flushed, link = self._flushed, self._link
        if self._converter is not None and link is not None:
            await self._queue(self._converter.flush())
        while self._link is link and self.is_sounding and not flushed.is_set():
            await self._pause(link.format.milliseconds(link.ring.used) + _POLL_S * 1000, flushed)
            await self._watch()

    def _at_volume(self, audio: bytes) -> bytes:
        """`audio`, at the device's format, as loud as it is wanted; changes take 10 ms, so that they do not click."""
        goal = 0.0 if self.muted else max(0.0, self.volume) * self._ducked
        start, self._gain = self._gain, goal
        if start == goal == 1.0 or not audio:
            return audio
        import numpy as np

        channels, rate = self._link.format.channels, self._link.format.rate
        samples = np.frombuffer(audio, "<i2").reshape(-1, channels).astype(np.float32)
        gains = np.full(len(samples), goal, np.float32)
        ramp = min(len(samples), rate * _RAMP_MS // 1000)
        gains[:ramp] = np.linspace(start, goal, ramp, dtype=np.float32)
        return bytes(np.clip(np.rint(samples * gains[:, None]), -32768, 32767).astype("<i2").tobytes())

    def keep_reference(self) -> None:
        """From now on keep what the device takes, silence too, for `take_reference`: for cancelling its echo."""
        self._keeps_reference = True
        if self._link is not None and self._link.reference is None:
            self._link.reference = Ring(self._link.format.bytes_for(_UNREAD_MS))

    def take_reference(self) -> tuple[AudioFormat | None, bytes]:
        """What the device took since the last call, at most 2 s of it, and at which format; `None`: not open."""
        link: _Output | None = self._link
        if link is None or link.reference is None:
            return None, b""
        taken = bytearray(link.reference.used)
        link.reference.read_into(memoryview(taken))
        return link.format, bytes(taken)

    def _make_link(self, format: AudioFormat) -> Link:
        link = _Output(format, self._buffer_ms)
        if self._keeps_reference:
            link.reference = Ring(format.bytes_for(_UNREAD_MS))
        return link

    def _is_quiet(self) -> bool:
        return not self.is_sounding

    def _unlinked(self) -> None:
        self._heard_before_ms += self._heard_ms()
        self._converter = None
        self._flushed.set()
        self._flushed = asyncio.Event()


class Microphone(Device):
    """A source that hears: `await voice.send(Microphone())`. `device` as for `Speaker`.

    Iterating it opens the device and gives PCM at `format` as it comes, about 10 ms at a time, until `stop()`, which
    closes the device again (unless `open()` or `async with` opened it). Always a continuous line: `muted`, a push-to-talk
    key that is not held, and `gate` give silence instead of sound, so a service's idea of time stays right.

    `gate`: an open speaker in the same room. While it sounds, and 300 ms longer, the microphone gives silence, as
    the service would else hear itself and interrupt itself. Leave it out with headphones: then the user can interrupt
    by speaking. `echo`: an `EchoCanceller`, with which the user can interrupt by speaking on open speakers, too.
    `push_to_talk`: sound only while `talking` is true.
    """

    _kind = "input"

    def __init__(
        self,
        device: int | str | None = None,
        *,
        format: AudioFormat = PCM16_24K,
        gate: Speaker | None = None,
        echo: EchoCanceller | None = None,
        push_to_talk: bool = False,
        latency_ms: float = LATENCY_MS,
        on_event: Callable[[DeviceEvent], None] | None = None,
        give_up_s: float = 10.0,
    ) -> None:
        super().__init__(device, format, latency_ms, on_event, give_up_s)
        self.gate = gate
        self.echo = echo
        self.muted = False
        self.push_to_talk = push_to_talk
        self.talking = False
        self._stopped = False
        self._converter: Converter | None = None
        self._dropped_before = 0.0
        self._newest = b""

    @property
    def lost_ms(self) -> float:
        """Milliseconds dropped because nobody read them for 2 s."""
        link: _Input | None = self._link
        return self._dropped_before + (link.format.milliseconds(link.dropped) if link is not None else 0.0)

    @property
    def is_silenced(self) -> bool:
        """Whether silence is given instead of sound now."""
        gated = self.gate is not None and self.gate.may_echo
        return self.muted or gated or (self.push_to_talk and not self.talking)

    @property
    def level(self) -> float:
        """Loudness of what came last, also while it is silenced: 0 to 1, root mean square."""
        return _level(self._newest)

    def stop(self) -> None:
        """End the source: an iteration, and so a `voice.send`, returns."""
        self._stopped = True

    async def __aiter__(self) -> AsyncIterator[bytes]:
        was_open = self.is_open
        await self.open()
        self._stopped = False
        if was_open:
            self._take()  # what came before is no part of this
            if self.echo is not None:
                self.echo.begin()
        try:
            while not self._stopped and self.is_open:
                if chunk := self._take():
                    yield chunk
                else:
                    await asyncio.sleep(_POLL_S)
                await self._watch()
        finally:
            if not was_open:
                await self.close()

    def _take(self) -> bytes:
        link: _Input | None = self._link
        if link is None or self._converter is None or not link.ring.used:
            return b""
        raw = bytearray(link.ring.used)
        link.ring.read_into(memoryview(raw))
        chunk = self._converter.feed(raw)
        if self.echo is not None:
            delay_ms = self.host_latency_ms + self.echo.speaker.host_latency_ms
            chunk = self.echo.clean(chunk, self.format, delay_ms)
        self._newest = chunk
        return bytes(len(chunk)) if self.is_silenced else chunk

    def _make_link(self, format: AudioFormat) -> Link:
        if self.echo is not None:
            self.echo.load()
        return _Input(format)

    def _linked(self) -> None:
        self._converter = Converter(self._link.format, self.format)
        if self.echo is not None:
            self.echo.begin()

    def _unlinked(self) -> None:
        self._dropped_before += self._link.format.milliseconds(self._link.dropped)


def _level(pcm: bytes) -> float:
    """Root mean square of the newest 20 ms or so, in 0 to 1."""
    samples = array.array("h", pcm[-960 - len(pcm) % 2 :][: len(pcm) - len(pcm) % 2])
    if sys.byteorder == "big":
        samples.byteswap()
    return (sum(s * s for s in samples) / len(samples)) ** 0.5 / 32768 if samples else 0.0
