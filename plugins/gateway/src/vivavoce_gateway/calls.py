"""A WebRTC call as a session's channel: events over the data channel, audio over tracks.

To its session a call is a client that appends audio and is sent audio deltas. The deltas are played here, in real time,
so that the gateway knows what was heard; the client is told when a reply begins and ceases to be heard.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from binascii import a2b_base64, b2a_base64
from typing import Any
from uuid import uuid4

from aiortc import (
    MediaStreamTrack,
    RTCConfiguration,
    RTCDataChannel,
    RTCIceServer,
    RTCPeerConnection,
    RTCSessionDescription,
)
from aiortc.exceptions import InvalidStateError
from vivavoce.audio import AudioFormat, Converter
from vivavoce_openai_realtime.protocol import Fault
from vivavoce_openai_realtime.transports.media import OutgoingAudio
from vivavoce_openai_realtime.transports.receive import Hearing, hear

from vivavoce_gateway import shapes
from vivavoce_gateway.config import GatewayConfig
from vivavoce_gateway.playout import Playout
from vivavoce_gateway.session import Channel, ClientSession
from vivavoce_gateway.sideband import Sideband, message_of

__all__ = ["Call"]

logger = logging.getLogger("vivavoce.gateway")

_CHANNEL = "oai-events"
_OPEN_S = 20.0
"""How long a call has for ICE, DTLS and its data channel."""
_ANSWER_S = 10.0
_GOODBYE_S = 1.0
_END_S = 2.0
"""What freeing a call takes at most. It takes milliseconds, but where its library's tasks have been cancelled (a process that
ends at once), it would wait for ever."""
_UNREAD = 1024 * 1024
_WAITING = 2048
"""Messages that may wait for a session that is held up; audio may take a quarter of it."""
_LONGEST_MS = 600_000
"""Speech that may wait to be heard."""
_SECTIONS = 4
_CANDIDATES = 128
_CLEAR = "output_audio_buffer.clear"
_DELTAS = ("response.output_audio.delta", "response.audio.delta")
_SETTINGS = ("session.created", "session.updated")


class _Asked:
    """A message of a sideband; `taken` once the session has it."""

    def __init__(self, message: str | bytes) -> None:
        self.message = message
        self.taken = asyncio.Event()


class Call:
    """One call: a `Channel`, once `answer` has been sent to the client and `opened` is true."""

    def __init__(self, config: GatewayConfig, owner: str) -> None:
        self.id = f"rtc_{uuid4().hex}"
        self.owner = owner
        self._limits = config.limits
        servers = [RTCIceServer(urls=url) for url in config.ice_servers]
        self._pc = RTCPeerConnection(RTCConfiguration(iceServers=servers))
        self._voice = OutgoingAudio()
        self._playout = Playout(self._tell_playout)
        self._voice.on_played = self._played
        self._voice.on_drained = self._playout.drained
        self._inbox: asyncio.Queue[str | bytes | _Asked | None] = asyncio.Queue()
        self._sidebands: set[Sideband] = set()
        self._settings: dict[str, Any] | None = None  # the newest event that tells the session's settings
        self._channel: RTCDataChannel | None = None
        self._session: ClientSession | None = None
        self._converter: Converter | None = None
        self._listening: Hearing | None = None
        self._open = asyncio.Event()
        self._low = asyncio.Event()
        self._gone = False
        self._pc.on("track", self._track)
        self._pc.on("datachannel", self._data_channel)
        self._pc.on("connectionstatechange", self._state_changed)

    # Its beginning and its end.

    async def answer(self, offer: str) -> str:
        """The answer to an offer. Raises `Fault` for one that cannot be answered."""
        _check_offer(offer.splitlines())
        try:
            async with asyncio.timeout(_ANSWER_S):
                offer = _without_names(offer)
                await self._pc.setRemoteDescription(RTCSessionDescription(offer, "offer"))
                self._pc.addTrack(self._voice)
                await self._pc.setLocalDescription(await self._pc.createAnswer())
        except Exception as wrong:  # the library raises whatever its parser stumbles over
            logger.info("an offer was refused: %s", type(wrong).__name__)
            text = "The offer cannot be answered; it needs Opus, PCMU or PCMA, and a data channel."
            raise Fault("invalid_offer", text, "sdp") from wrong
        return str(self._pc.localDescription.sdp)

    async def opened(self) -> bool:
        """Wait until the client is there; false if it does not come."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_OPEN_S):
                await self._open.wait()
        return self._channel is not None and not self._gone

    def attach(self, session: ClientSession) -> None:
        """The session that the call belongs to."""
        self._session = session

    def hang_up(self) -> None:
        """The call is over: its session is told that the client has gone."""
        if not self._gone:
            self._gone = True
            self._inbox.put_nowait(None)
            self._open.set()
            self._low.set()

    async def end(self) -> None:
        """Free everything. The call's session must have ended."""
        self.hang_up()
        self._end_sidebands(1000, "the call is over")
        self._voice.stop()
        if self._listening is not None:
            await self._listening.stop()
        try:
            async with asyncio.timeout(_END_S):
                await self._pc.close()
        except TimeoutError:
            logger.warning("a call did not end in time", extra={"call": self.id})

    # Sidebands.

    @property
    def sidebands(self) -> int:
        """How many there are."""
        return len(self._sidebands)

    async def join(self, channel: Channel) -> None:
        """Hold a sideband to its end. It is greeted with the settings as they are."""
        sideband = Sideband(channel, self._limits, self._ask)
        if self._settings is not None:
            created = self._settings["type"].replace("updated", "created")
            greeting = {**self._settings, "type": created, "event_id": f"event_{uuid4().hex[:20]}"}
            sideband.put(json.dumps(greeting).encode())
        self._sidebands.add(sideband)
        try:
            await sideband.run()
        finally:
            self._sidebands.discard(sideband)

    async def _ask(self, message: str | bytes) -> None:
        self._cut_if_asked(message)
        asked = _Asked(message)
        self._inbox.put_nowait(asked)
        await asked.taken.wait()

    def _end_sidebands(self, code: int, reason: str) -> None:
        for sideband in self._sidebands:
            sideband.end(code, reason)

    # What the library tells.

    def _track(self, track: MediaStreamTrack) -> None:
        if track.kind == "audio" and self._listening is None:
            self._listening = hear(self._pc, track, self._hears)

    def _data_channel(self, channel: RTCDataChannel) -> None:
        if channel.label != _CHANNEL or self._channel is not None:
            return
        self._channel = channel
        channel.bufferedAmountLowThreshold = _UNREAD // 2
        channel.on("message", self._message)
        channel.on("close", self.hang_up)
        channel.on("bufferedamountlow", self._low.set)
        self._open.set()

    def _state_changed(self) -> None:
        if self._pc.connectionState in ("failed", "closed"):
            self.hang_up()

    def _message(self, data: str | bytes) -> None:
        if self._inbox.qsize() > _WAITING:
            self.hang_up()  # it floods
            return
        self._inbox.put_nowait(data)
        self._cut_if_asked(data)

    def _cut_if_asked(self, data: str | bytes) -> None:
        if isinstance(data, str) and _CLEAR in data and message_of(data).get("type") == _CLEAR:
            self._cut()

    def _hears(self, pcm: bytes, format: AudioFormat) -> None:
        if self._session is None or self._inbox.qsize() > _WAITING // 4:
            return
        wanted = shapes.audio_format(self._session.protocol.input_format)
        if self._converter is None or self._converter.source != format or self._converter.target != wanted:
            self._converter = Converter(format, wanted)
        if audio := self._converter.feed(pcm):
            encoded = b2a_base64(audio, newline=False).decode()
            self._inbox.put_nowait(f'{{"type":"input_audio_buffer.append","audio":"{encoded}"}}')

    # The session's side: a `Channel`.

    async def receive(self) -> str | bytes | None:
        message = await self._inbox.get()
        if isinstance(message, _Asked):
            message.taken.set()
            return message.message
        return message

    async def send(self, frame: bytes) -> None:
        message = json.loads(frame)
        kind = message["type"]
        if kind in _DELTAS:
            self._say(message)
            return
        if kind.endswith(_SETTINGS):
            self._settings = message
        self._write(frame.decode())
        if kind == "input_audio_buffer.speech_started" and self._interrupts():
            self._cut()
        elif kind == "response.done":
            self._playout.finish(message["response"]["id"])
        channel = self._channel
        if channel is not None and channel.bufferedAmount > _UNREAD and not self._gone:
            self._low.clear()
            await self._low.wait()

    async def close(self, code: int, reason: str) -> None:
        """WebRTC has no close codes; what was said last has a moment to arrive. Sidebands have them."""
        self._end_sidebands(code, reason)
        if self._channel is None or not self._channel.bufferedAmount:
            return
        self._channel.bufferedAmountLowThreshold = 0
        self._low.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GOODBYE_S):
                await self._low.wait()

    def _write(self, text: str) -> None:
        if self._sidebands:
            frame = text.encode()
            for sideband in self._sidebands:
                sideband.put(frame)
        if self._channel is None or self._gone:
            return
        with contextlib.suppress(InvalidStateError):  # gone; the reader is told
            self._channel.send(text)

    # What is heard.

    def _say(self, delta: dict[str, Any]) -> None:
        assert self._session is not None
        pcm = a2b_base64(delta["delta"])
        format = shapes.audio_format(self._session.protocol.output_format)
        reply, item = delta["response_id"], delta["item_id"]
        if self._voice.queued_ms > _LONGEST_MS:
            self._session.log("speech was dropped: too much waits to be heard")
        elif self._playout.queue(reply, item, format.milliseconds(len(pcm))):
            self._voice.put(pcm, format, (reply, item))

    def _played(self, tag: Any, ms: float) -> None:
        reply, item = tag
        self._playout.played(reply, item, ms)

    def _tell_playout(self, what: str, reply: str) -> None:
        event = {"type": f"output_audio_buffer.{what}", "event_id": f"event_{uuid4().hex[:20]}"}
        self._write(json.dumps({**event, "response_id": reply}))

    def _interrupts(self) -> bool:
        assert self._session is not None
        turns = self._session.protocol.session["audio"]["input"]["turn_detection"]
        return bool(turns and turns.get("interrupt_response"))

    def _cut(self) -> None:
        """Drop what was not heard yet, and cut the conversation there, as a client over WebSocket would."""
        self._voice.clear()
        for item, heard_ms in self._playout.cut():
            fields = {"item_id": item, "content_index": 0, "audio_end_ms": heard_ms}
            self._inbox.put_nowait(json.dumps({"type": "conversation.item.truncate", **fields}))


def _check_offer(lines: list[str]) -> None:
    """Refuse what cannot be a call, and what would open more sockets than one needs."""
    if not lines or lines[0].strip() != "v=0":
        raise Fault("invalid_offer", "The offer is no SDP.", "sdp")
    if not any(line.startswith("m=audio ") for line in lines):
        raise Fault("invalid_offer", "The offer has no audio section.", "sdp")
    if not any(line.startswith("m=application ") for line in lines):
        raise Fault("invalid_offer", f"The offer has no data channel; create '{_CHANNEL}' first.", "sdp")
    sections = sum(line.startswith("m=") for line in lines)
    candidates = sum(line.startswith("a=candidate:") for line in lines)
    if sections > _SECTIONS or candidates > _CANDIDATES:
        text = f"The offer is too large: {_SECTIONS} media sections and {_CANDIDATES} candidates at most."
        raise Fault("invalid_offer", text, "sdp")


def _without_names(offer: str) -> str:
    """Without candidates that are names (`….local`): a browser hides its addresses so, and is found by its own checks. To ask
    the local network for the names of whoever calls would cost a second, and is nobody's business."""
    lines = offer.splitlines(keepends=True)
    return "".join(
        line for line in lines if not (line.startswith("a=candidate:") and ".local " in line.lower())
    )
