"""The peer over WebRTC: an offer by HTTP, events over a data channel, audio over tracks; and what can go wrong in a call.

To the service a call is a connection like any other: what its client says by the track arrives as messages that append audio,
and audio of a reply is taken out of the messages and played, in real time, with the service's word for when it is heard.
"""

from __future__ import annotations

import array
import asyncio
import importlib
import json
import os
from base64 import b64decode, b64encode
from collections.abc import Sequence
from email.parser import BytesParser
from email.policy import HTTP
from typing import Any, ClassVar, Literal

import msgspec
from aiortc import RTCConfiguration, RTCDataChannel, RTCPeerConnection, RTCSessionDescription
from aiortc.exceptions import InvalidStateError
from vivavoce import AudioFormat
from vivavoce.audio import Converter
from vivavoce_openai_realtime.transports.media import OutgoingAudio
from vivavoce_openai_realtime.transports.receive import Hearing, hear

from vivavoce_conformance.ear import melody
from vivavoce_conformance.peer.connection import Gone
from vivavoce_conformance.peer.dialect import Asked, Frame
from vivavoce_conformance.peer.realtime import RealtimeDialect

__all__ = ["Call", "RealtimeCallDialect", "Request", "read_request"]

_PCM = AudioFormat(24_000)
_QUIET = 64
"""Samples up to this are a codec's silence."""
_OPEN_S = 15.0
_END_S = 2.0
_SENT_S = 0.3
"""What was said before a silence has left by then."""
_DELTA = "response.output_audio.delta"
_CLEAR = "output_audio_buffer.clear"


# What the first call of a process would load in the middle of a check, here and at the provider: codecs, numpy, HTTP.
importlib.import_module("vivavoce_openai_realtime.transports.webrtc")
Converter(AudioFormat(48_000, 2), _PCM).feed(bytes(AudioFormat(48_000, 2).bytes_for(20)))


class RealtimeCallDialect(RealtimeDialect):
    """The same messages. Silence of the client's track is no audio of the check's."""

    transport: ClassVar[Literal["websocket", "tcp", "webrtc"]] = "webrtc"
    exact: ClassVar[bool] = False

    def receive(self, frame: Frame) -> tuple[Sequence[Asked], Sequence[Frame]]:
        asked, answers = super().receive(frame)
        return [one for one in asked if one.kind != "audio" or not _is_quiet(one.audio)], answers

    def sound(self, milliseconds: float, at: int) -> bytes:
        return melody(milliseconds, AudioFormat(self.rate), at)


def _is_quiet(pcm: bytes) -> bool:
    return max(map(abs, array.array("h", pcm)), default=0) <= _QUIET


class Request(msgspec.Struct):
    """An HTTP request, whole."""

    head: str
    body: bytes

    @property
    def path(self) -> str:
        """Its path, with the query."""
        return self.head.split(" ", 2)[1]

    def offer(self) -> str:
        """The SDP in it: alone, or beside a session."""
        message = BytesParser(policy=HTTP).parsebytes(
            self.head.partition("\r\n")[2].encode("latin-1") + self.body
        )
        for part in message.iter_parts() if message.is_multipart() else ():
            if part.get_param("name", header="content-disposition") == "sdp":
                sdp = part.get_payload(decode=True)
                return sdp.decode() if isinstance(sdp, bytes) else ""
        return self.body.decode()


async def read_request(reader: asyncio.StreamReader) -> Request:
    """Read one; raises `Gone`."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        sizes = [
            line.split(":")[1] for line in head.split("\r\n") if line.lower().startswith("content-length:")
        ]
        return Request(head, await reader.readexactly(int(sizes[0]) if sizes else 0))
    except (asyncio.IncompleteReadError, ConnectionError):
        raise Gone from None


class Call:
    """A `Connection`, once `opened`."""

    def __init__(self) -> None:
        self._pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._voice = OutgoingAudio()
        self._voice.on_played = self._played
        self._voice.on_drained = self._drained
        self._inbox: asyncio.Queue[Frame | None] = asyncio.Queue()
        self._channel: RTCDataChannel | None = None
        self._listening: Hearing | None = None
        self._converter: Converter | None = None
        self._open = asyncio.Event()
        self._done: set[str] = set()  # replies that have been made
        self._playing: str | None = None
        self._item = ""
        self._heard_ms = 0.0
        self._pc.on("track", self._track)
        self._pc.on("datachannel", self._data_channel)
        self._pc.on("connectionstatechange", self._state_changed)

    # Its beginning and its end.

    async def answer(self, offer: str, how: str) -> str:
        """The answer to an offer, with the fault `how`: `dead` (nobody is there), `shut` (the channel never opens)."""
        await self._pc.setRemoteDescription(RTCSessionDescription(offer, "offer"))
        self._pc.addTrack(self._voice)
        if how == "shut":
            self._pc.sctp._handle_data = _ignored  # type: ignore[union-attr, method-assign]
        await self._pc.setLocalDescription(await self._pc.createAnswer())
        answer = str(self._pc.localDescription.sdp)
        if how == "dead":
            await self._pc.close()
        return answer

    async def opened(self) -> None:
        """Wait for the client; raises `Gone` if it does not come."""
        try:
            async with asyncio.timeout(_OPEN_S):
                await self._open.wait()
        except TimeoutError:
            raise Gone from None
        if self._channel is None:
            raise Gone

    def hang_up(self) -> None:
        """The call is over."""
        self._open.set()
        self._inbox.put_nowait(None)

    async def end(self) -> None:
        """Free everything."""
        self._voice.stop()
        if self._listening is not None:
            await self._listening.stop()
        try:
            async with asyncio.timeout(_END_S):
                await self._pc.close()
        except TimeoutError:
            pass

    # What the library tells.

    def _track(self, track: Any) -> None:
        self._listening = hear(self._pc, track, self._hears)

    def _hears(self, pcm: bytes, format: AudioFormat) -> None:
        if self._converter is None:
            self._converter = Converter(format, _PCM)
        if audio := self._converter.feed(pcm):
            event = {"type": "input_audio_buffer.append", "audio": b64encode(audio).decode()}
            self._inbox.put_nowait(json.dumps(event))

    def _data_channel(self, channel: RTCDataChannel) -> None:
        self._channel = channel
        channel.on("message", self._message)
        channel.on("close", self.hang_up)
        self._open.set()

    def _message(self, data: str | bytes) -> None:
        if isinstance(data, str) and f'"{_CLEAR}"' in data:
            self._cut()
        self._inbox.put_nowait(data)

    def _state_changed(self) -> None:
        if self._pc.connectionState in ("failed", "closed"):
            self.hang_up()

    # The service's side: a `Connection`.

    async def receive(self) -> Frame:
        frame = await self._inbox.get()
        if frame is None:
            raise Gone
        return frame

    async def send(self, frame: Frame) -> None:
        event = _event(frame)
        kind = event.get("type")
        if kind == _DELTA:
            self._voice.put(b64decode(event["delta"]), _PCM, (event["response_id"], event["item_id"]))
            return
        self._write(frame)
        if kind == "input_audio_buffer.speech_started":
            self._cut(tell=True)
        elif kind == "response.done":
            self._done.add(event["response"]["id"])
            if not self._voice.queued_ms:
                self._drained()

    def _write(self, frame: Frame) -> None:
        if self._channel is None:
            raise Gone
        try:
            self._channel.send(frame)
        except InvalidStateError:
            raise Gone from None

    async def fault(self, name: str, code: int) -> None:
        if name == "garbage":
            self._write(b"\xff" * 64 + os.urandom(64))
        elif name == "end":
            assert self._channel is not None
            self._channel.close()
        elif name == "stall":
            await asyncio.sleep(_SENT_S)
            self._vanish()
        else:
            await self._pc.close()

    def _vanish(self) -> None:
        """Not a packet more, and no goodbye."""
        assert self._pc.sctp is not None
        sockets: list[Any] = list(self._pc.sctp.transport.transport._connection._protocols)
        for one in sockets:
            one.send_stun = one.datagram_received = lambda *_: None
            one.send_data = _ignored

    # What is heard.

    def _tell(self, what: str) -> None:
        event = {
            "type": f"output_audio_buffer.{what}",
            "event_id": f"event_{what}",
            "response_id": self._playing,
        }
        try:
            self._write(json.dumps(event))
        except Gone:
            return  # whoever reads is told

    def _played(self, tag: Any, ms: float) -> None:
        reply, item = tag
        if reply != self._playing:
            self._stopped()
            self._playing = reply
            self._tell("started")
        if item != self._item:
            self._item, self._heard_ms = item, 0.0
        self._heard_ms += ms

    def _drained(self) -> None:
        if self._playing in self._done:
            self._stopped()

    def _stopped(self) -> None:
        if self._playing is not None:
            self._tell("stopped")
            self._playing = None

    def _cut(self, *, tell: bool = False) -> None:
        self._voice.clear()
        if self._playing is None:
            return
        self._tell("cleared")
        self._playing = None
        if tell:
            fields = {"item_id": self._item, "content_index": 0, "audio_end_ms": int(self._heard_ms)}
            event = {"type": "conversation.item.truncated", "event_id": "event_cut", **fields}
            self._write(json.dumps(event))


def _event(frame: Frame) -> dict[str, Any]:
    try:
        found = json.loads(frame)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


async def _ignored(*_: Any) -> None:
    """What comes is as if it had not."""
