"""What a received track brings, without the library's jitter buffer.

That buffer stands still at every lost packet until 16 wait behind it, and keeps them waiting for the rest of the call:
300 ms (https://github.com/aiortc/aiortc/issues/543). What was lost is left out, so that audio and time drift apart.
Here packets are put in order by `Reorder`, and a lost one is concealed by the last one again, ever more quietly.
"""

from __future__ import annotations

import array
import asyncio
import logging
from collections.abc import Callable
from typing import Any

from aiortc import MediaStreamTrack, RTCPeerConnection
from aiortc.codecs import get_decoder
from aiortc.jitterbuffer import JitterFrame
from av import AudioFrame, CodecContext, FFmpegError, Packet
from vivavoce.audio import AudioFormat

from vivavoce_openai_realtime.transports.jitter import Reorder
from vivavoce_openai_realtime.transports.media import read_audio

__all__ = ["Hearing", "ReceivedAudio", "hear"]

logger = logging.getLogger("vivavoce.openai_realtime")

_FRAME_S = 0.02
_QUIETER = (0.6, 0.3, 0.1)
"""What a concealed frame has of the level before, the first and the following ones; then silence."""
_BUFFER, _CODECS = "_RTCRtpReceiver__jitter_buffer", "_RTCRtpReceiver__codecs"

Take = Callable[[bytes, AudioFormat], None]


class Hearing:
    """What is heard of one track, until `stop`."""

    def __init__(self, received: ReceivedAudio | None, reading: asyncio.Task[None] | None) -> None:
        self.received = received
        """`None`: this version of the library has another inside, and its track is read."""
        self._reading = reading

    async def stop(self) -> None:
        """Nothing more is handed on; nothing of it is left. Idempotent."""
        if self.received is not None:
            self.received.stop()
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)


def hear(connection: RTCPeerConnection, track: MediaStreamTrack, take: Take) -> Hearing:
    """Have `take` told what a remote audio track brings: PCM16, 20 ms at a time, a lost packet concealed.

    Call it in the connection's `track` event, before anything was received. Opus comes as 48 kHz mono.
    """
    for receiver in connection.getReceivers():
        if receiver.track is track and hasattr(receiver, _BUFFER) and hasattr(receiver, _CODECS):
            received = ReceivedAudio(getattr(receiver, _CODECS), take)
            setattr(receiver, _BUFFER, received)
            return Hearing(received, None)
    return Hearing(None, asyncio.get_running_loop().create_task(read_audio(track, take)))


class ReceivedAudio:
    """Stands where the library's jitter buffer was. `codecs`: what is negotiated, by payload type."""

    def __init__(self, codecs: dict[int, Any], take: Take) -> None:
        self.order = Reorder()
        self._codecs = codecs
        self._take = take
        self._decoders: dict[int, _Decoder] = {}
        self._decoder: _Decoder | None = None
        self._timer: asyncio.TimerHandle | None = None

    def add(self, packet: Any) -> tuple[bool, None]:
        """As the library's: whether a picture was lost, and a frame for it to decode. Neither, here."""
        decoder = self._decoders.get(packet.payload_type)
        if decoder is None:
            decoder = self._decoders[packet.payload_type] = _decoder(self._codecs[packet.payload_type])
        self._decoder = decoder
        self._hand_on(self.order.add(packet.sequence_number, packet._data))
        return False, None

    def stop(self) -> None:
        """Nothing more is handed on."""
        self._take = _nothing
        self._cancel()

    def _hand_on(self, ready: list[bytes | None]) -> None:
        for payload in ready:
            assert self._decoder is not None
            for pcm in self._decoder.decode(payload):
                self._take(pcm, self._decoder.format)
        if not self.order.waits:
            self._cancel()
        elif self._timer is None or ready:
            # Where nothing more arrives either, nobody else would end the wait.
            self._cancel()
            wait = (self.order.patience + 1) * _FRAME_S
            self._timer = asyncio.get_running_loop().call_later(wait, self._waited)

    def _waited(self) -> None:
        self._timer = None
        self._hand_on(self.order.give_up())

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _nothing(pcm: bytes, format: AudioFormat) -> None:
    """Where audio goes that comes after the end."""


def _decoder(codec: Any) -> _Decoder:
    return _Opus() if codec.mimeType.lower() == "audio/opus" else _Other(codec)


class _Decoder:
    """Payloads to PCM16; `None` for a lost one."""

    format = AudioFormat(48_000)

    def __init__(self) -> None:
        self._last = b""  # what was decoded last
        self._in_a_row = 0

    def decode(self, payload: bytes | None) -> list[bytes]:
        if payload is None:
            return self._conceal()
        self._in_a_row = 0
        if not payload:
            return []
        try:
            found = [pcm for frame in self._decode(payload) if (pcm := self._pcm(frame))]
        except FFmpegError as broken:
            logger.debug("a packet of audio could not be decoded: %s", type(broken).__name__)
            return self._conceal()
        self._last = found[-1] if found else self._last
        return found

    def _conceal(self) -> list[bytes]:
        if not self._last:
            return []
        gain = _QUIETER[self._in_a_row] if self._in_a_row < len(_QUIETER) else 0.0
        self._in_a_row += 1
        if not gain:
            return [bytes(len(self._last))]
        return [array.array("h", [int(s * gain) for s in memoryview(self._last).cast("h")]).tobytes()]

    def _pcm(self, frame: Any) -> bytes:
        if not isinstance(frame, AudioFrame) or frame.format.name != "s16":
            return b""
        if (frame.sample_rate, len(frame.layout.channels)) != (self.format.rate, self.format.channels):
            self.format = AudioFormat(frame.sample_rate, len(frame.layout.channels))
        return bytes(frame.planes[0])[: frame.samples * self.format.frame_bytes]

    def _decode(self, payload: bytes) -> list[Any]:
        raise NotImplementedError


class _Opus(_Decoder):
    """To mono at once, whatever was sent: the codec makes it of both channels, at the level of each."""

    def __init__(self) -> None:
        super().__init__()
        self._codec: Any = CodecContext.create("libopus", "r")
        self._codec.format, self._codec.layout, self._codec.sample_rate = "s16", "mono", self.format.rate

    def _decode(self, payload: bytes) -> list[Any]:
        found: list[Any] = self._codec.decode(Packet(payload))
        return found


class _Other(_Decoder):
    """With the library's own decoder (PCMU, PCMA, G.722)."""

    def __init__(self, codec: Any) -> None:
        super().__init__()
        self._codec = get_decoder(codec)

    def _decode(self, payload: bytes) -> list[Any]:
        return list(self._codec.decode(JitterFrame(payload, 0)))
