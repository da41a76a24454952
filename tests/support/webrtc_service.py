"""A Realtime service of the tests that takes WebRTC calls on 127.0.0.1, over a network that a test shapes.

    async with CallService() as service:
        voice = caller(service.url)
        await voice.connect()
        call = service.calls[0]
        await call.say("resp", pcm)

It speaks the protocol's server half over the data channel and over sideband WebSockets, plays in real time, and keeps what it
heard. Media, checks and events of a call go through its `Network`.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import random
from collections.abc import Callable
from email import message_from_bytes
from typing import Any
from urllib.parse import parse_qs, urlsplit

from aiortc import RTCSessionDescription
from vivavoce.audio import PCM16_24K, AudioFormat, Converter
from vivavoce_openai_realtime.protocol import ServerProtocol
from vivavoce_openai_realtime.protocol import client_events as wire
from vivavoce_openai_realtime.transports._peer import Peer
from vivavoce_openai_realtime.transports.media import OutgoingAudio
from vivavoce_openai_realtime.transports.receive import Hearing, hear
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol as WebSocket

__all__ = ["CallService", "Network", "ServiceCall"]

JSON = dict[str, Any]


class Network:
    """What happens to datagrams, each way: `loss` of them, and up to `jitter_s` of delay, which also puts them out of order."""

    def __init__(self, *, loss: float = 0.0, jitter_s: float = 0.0, seed: int = 7) -> None:
        self.loss = loss
        self.jitter_s = jitter_s
        self.blocked = False
        """Nothing comes through."""
        self.passed = 0
        self._chance = random.Random(seed)

    def passing(self, deliver: Callable[[], Any]) -> None:
        if self.blocked or self._chance.random() < self.loss:
            return
        self.passed += 1
        delay = self._chance.random() * self.jitter_s
        if delay:
            asyncio.get_running_loop().call_later(delay, deliver)
        else:
            deliver()

    def shape(self, peer: Peer) -> None:
        """Put this network between a peer and its sockets."""
        for protocol in peer.getTransceivers()[0].receiver.transport.transport._connection._protocols:
            self._shape(protocol)

    def _shape(self, protocol: Any) -> None:
        received, stun = protocol.datagram_received, protocol.send_stun

        async def send_data(data: bytes, addr: Any) -> None:
            self.passing(lambda: protocol.transport.is_closing() or protocol.transport.sendto(data, addr))

        def send_stun(message: Any, addr: Any) -> None:
            self.passing(lambda: protocol.transport.is_closing() or stun(message, addr))

        def datagram_received(data: bytes, addr: Any) -> None:
            self.passing(lambda: received(data, addr))

        protocol.send_data, protocol.send_stun = send_data, send_stun
        protocol.datagram_received = datagram_received


class ServiceCall:
    """One call. `heard` is what the microphone said: 48 kHz mono PCM16."""

    def __init__(self, service: CallService, number: int, request: JSON) -> None:
        numbers = itertools.count(1)
        self.id = f"rtc_{number}"
        self.request = request
        self.service = service
        self.protocol = ServerProtocol(
            model="gpt-realtime", new_id=lambda prefix: f"{prefix}_{number}_{next(numbers)}"
        )
        self.peer = Peer()
        self.events: list[JSON] = []
        self.heard = bytearray()
        self.arrivals: list[tuple[float, bytes]] = []
        self.over = asyncio.Event()
        self.sidebands: list[Sideband] = []
        self._voice = OutgoingAudio()
        self._channel: Any = None
        self._hearing: Hearing | None = None
        self._news = asyncio.Event()
        self.peer.on("track", self._track)
        self.peer.on("datachannel", self._opened)
        self.peer.on("connectionstatechange", self._changed)

    async def answer(self, offer: str) -> str:
        await self.peer.setRemoteDescription(RTCSessionDescription(offer, "offer"))
        self.peer.addTrack(self._voice)
        await self.peer.setLocalDescription(await self.peer.createAnswer())
        self.service.network.shape(self.peer)
        return str(self.peer.localDescription.sdp)

    def _track(self, track: Any) -> None:
        self._hearing = hear(self.peer, track, self._hears)

    def _hears(self, pcm: bytes, format: AudioFormat) -> None:
        self.heard += pcm
        self.arrivals.append((asyncio.get_running_loop().time(), pcm))

    def _opened(self, channel: Any) -> None:
        self._channel = channel
        channel.on("message", self.take)
        channel.on("close", self.over.set)
        self.protocol.session_created()
        self.flush()

    def _changed(self) -> None:
        if self.peer.connectionState in ("failed", "closed"):
            self.over.set()

    def take(self, text: str) -> None:
        """An event of the client, by whichever way it came."""
        event = json.loads(text)
        self.events.append(event)
        if event["type"] == "output_audio_buffer.clear":
            self._voice.clear()
            self.tell("output_audio_buffer.cleared", response_id=self.service.playing)
        else:
            for handed in self.protocol.receive_text(text):
                self._act(handed)
        self.flush()
        self._news.set()

    def _act(self, event: wire.ClientEvent) -> None:
        if isinstance(event, wire.InputAudioBufferCommit):
            self.protocol.commit()
        elif isinstance(event, wire.ResponseCancel):
            self.protocol.finish_response("cancelled", "client_cancelled")
        elif isinstance(event, wire.ResponseCreate) and self.service.replies:
            text, pcm = self.service.replies.pop(0)
            self.reply(text, pcm, event)

    def reply(self, text: str, pcm: bytes, request: wire.ResponseCreate | None = None) -> str:
        """Begin to say something: generated at once, heard in real time."""
        reply = self.protocol.begin_response(request)
        self.protocol.text(text, reply)
        self.flush()
        self.service.playing = reply
        self.tell("output_audio_buffer.started", response_id=reply)
        self._voice.on_drained = lambda: self.tell("output_audio_buffer.stopped", response_id=reply)
        self._voice.put(pcm, PCM16_24K)
        self.protocol.finish_response(response_id=reply)
        self.flush()
        return reply

    def tell(self, type: str, **fields: Any) -> None:
        """Send any event."""
        self._send(json.dumps({"type": type, "event_id": "event_raw", **fields}))

    def flush(self) -> None:
        for frame in self.protocol.data_to_send():
            self._send(frame.decode())

    def _send(self, text: str) -> None:
        if self._channel is not None and self._channel.readyState == "open":
            self._channel.send(text)
        for sideband in self.sidebands:
            sideband.send(text)

    async def until(self, type: str, count: int = 1) -> JSON:
        """Wait for an event of the client."""
        async with asyncio.timeout(20):
            while len(found := [event for event in self.events if event["type"] == type]) < count:
                self._news.clear()
                await self._news.wait()
        return found[count - 1]

    def at_24k(self) -> bytes:
        """What was heard, as a recogniser takes it."""
        converter = Converter(AudioFormat(48_000), PCM16_24K)
        return converter.feed(bytes(self.heard)) + converter.flush()

    async def end(self) -> None:
        self._voice.stop()
        if self._hearing is not None:
            await self._hearing.stop()
        await self.peer.close()


class Sideband:
    """A WebSocket that joined a call."""

    def __init__(self, call: ServiceCall, request: Request, socket: WebSocket, writer: Any) -> None:
        self.call, self.request = call, request
        self._socket, self._writer = socket, writer

    def send(self, text: str) -> None:
        self._socket.send_text(text.encode())
        self.flush()

    def flush(self) -> None:
        for data in self._socket.data_to_send():
            if data:
                self._writer.write(data)

    def drop(self) -> None:
        """Without a goodbye."""
        self._writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, introduces: bool) -> None:
        if introduces:
            session = self.call.protocol._shown()
            self.send(json.dumps({"type": "session.created", "event_id": "event_side", "session": session}))
        while data := await reader.read(65_536):
            self._socket.receive_data(data)
            for event in self._socket.events_received():
                assert isinstance(event, Frame)
                if event.opcode is Opcode.TEXT:
                    self.call.take(bytes(event.data).decode())
            self.flush()


class CallService:
    """Takes calls. `replies`: text and 24 kHz PCM16 that the next requests for a reply are answered with.

    `network` is what calls made from now on go through. `introduces`: a sideband is greeted with the session.
    """

    def __init__(
        self, *, network: Network | None = None, introduces: bool = True, locates: bool = True
    ) -> None:
        self.network = network or Network()
        self.calls: list[ServiceCall] = []
        self.replies: list[tuple[str, bytes]] = []
        self.hung_up: list[str] = []
        self.playing: str | None = None
        self.change: Callable[[str], str] = str
        """What is done to an answer's SDP on its way."""
        self.lets_in = True
        """WebSockets may join."""
        self._introduces, self._locates = introduces, locates

    async def __aenter__(self) -> CallService:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1/realtime"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for call in self.calls:
            for sideband in call.sidebands:
                sideband.drop()
            await call.end()
        await self._server.wait_closed()
        await asyncio.sleep(0.01)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            head = await reader.readuntil(b"\r\n\r\n")
            method, path, _ = head.decode("latin-1").split(" ", 2)
            headers = message_from_bytes(head.partition(b"\r\n")[2])
            if method == "GET":
                await self._join(head, path, reader, writer)
            else:
                body = await reader.readexactly(int(headers.get("Content-Length", 0)))
                writer.write(await self._post(path, headers, body))
                await writer.drain()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    async def _post(self, path: str, headers: Any, body: bytes) -> bytes:
        if path.endswith("/hangup"):
            self.hung_up.append(path.split("/")[-2])
            return b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        session, offer = None, body.decode()
        if headers["Content-Type"].startswith("multipart/"):
            whole = message_from_bytes(
                b"Content-Type: " + headers["Content-Type"].encode() + b"\r\n\r\n" + body
            )
            parts = {p.get_param("name", header="content-disposition"): p for p in whole.get_payload()}
            offer = parts["sdp"].get_payload(decode=True).decode()
            session = json.loads(parts["session"].get_payload(decode=True))
        call = ServiceCall(self, len(self.calls) + 1, {"path": path, "session": session, "headers": headers})
        self.calls.append(call)
        sdp = self.change(await call.answer(offer)).encode()
        place = f"Location: /v1/realtime/calls/{call.id}\r\n" if self._locates else ""
        head = f"HTTP/1.1 201 Created\r\n{place}Content-Length: {len(sdp)}\r\nConnection: close\r\n\r\n"
        return head.encode() + sdp

    async def _join(self, head: bytes, path: str, reader: Any, writer: Any) -> None:
        wanted = parse_qs(urlsplit(path).query).get("call_id", [""])[0]
        call = next((call for call in self.calls if call.id == wanted), None)
        if call is None or not self.lets_in:
            writer.write(
                b"HTTP/1.1 404 Not Found\r\nContent-Length: 12\r\nConnection: close\r\n\r\nno such call"
            )
            return
        socket = WebSocket(max_size=None)
        socket.receive_data(head)
        (request,) = socket.events_received()
        assert isinstance(request, Request)
        socket.send_response(socket.accept(request))
        sideband = Sideband(call, request, socket, writer)
        sideband.flush()
        call.sidebands.append(sideband)
        await sideband.serve(reader, self._introduces)
        call.sidebands.remove(sideband)
