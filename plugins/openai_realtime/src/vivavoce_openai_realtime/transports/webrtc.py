"""`open_webrtc`: a `Transport` over WebRTC, on `aiortc`. Events go over a data channel, audio over tracks.

The offer is posted over HTTP and answered with the service's (guide "Realtime API with WebRTC",
https://developers.openai.com/api/docs/guides/realtime-webrtc).
"""

from __future__ import annotations

import asyncio
import logging
import ssl as ssl_module
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Protocol
from urllib.parse import urlsplit, urlunsplit

from aiortc import MediaStreamTrack
from aiortc.exceptions import InvalidStateError
from vivavoce.audio import AudioFormat
from vivavoce.errors import ConnectError, ConnectionLostError, NotConnectedError

from vivavoce_openai_realtime.transports._callhttp import CallHttp, bad_answer
from vivavoce_openai_realtime.transports._peer import Peer, uncancelled
from vivavoce_openai_realtime.transports.base import Receiver, Transport
from vivavoce_openai_realtime.transports.media import Later, OutgoingAudio
from vivavoce_openai_realtime.transports.receive import Hearing, hear

__all__ = ["CallReceiver", "CallTransport", "calls_url", "open_webrtc"]

logger = logging.getLogger("vivavoce.openai_realtime")

_CHANNEL = "oai-events"
_UNREAD = 1024 * 1024
"""Bytes that may wait for the peer before a write waits, too."""

_AHEAD_MS = 500
"""What of a file waits here to be said."""


class CallReceiver(Receiver, Protocol):
    """A `Receiver` that also takes what the call's audio track brings."""

    def receive_audio(self, pcm: bytes, format: AudioFormat) -> None:
        """Take 20 ms of PCM16, silence included. The format is the codec's."""


def calls_url(url: str) -> str:
    """The address that offers are posted to, from that of the WebSocket: `…/realtime` -> `…/realtime/calls`."""
    parts = urlsplit(url)
    scheme = {"ws": "http", "wss": "https"}.get(parts.scheme, parts.scheme)
    return urlunsplit((scheme, parts.netloc, parts.path.rstrip("/") + "/calls", parts.query, ""))


async def open_webrtc(
    url: str,
    receiver: CallReceiver,
    *,
    session: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
    ice_servers: Iterable[str | Mapping[str, Any]] = (),
    ssl: ssl_module.SSLContext | None = None,
    proxy: str | bool | None = True,
    write_deadline: float = 20.0,
) -> CallTransport:
    """Call the service at `url` (`http(s)://…/v1/realtime/calls`); returns when the data channel is open.

    With `session` the offer goes as multipart beside it, which takes a key of the account; without, alone, which takes
    an ephemeral key. `headers` hold the key. `ice_servers` are STUN and TURN servers: URLs, or mappings with `urls`,
    `username` and `credential`; by default none is asked, which is enough for a service with a public address.
    `proxy` is for HTTP alone: the call itself is UDP.

    There is no time budget in here: wrap the call in `asyncio.timeout`. It can be cancelled at every await, and then
    leaves neither socket nor task nor thread. Raises `ConfigError`, `AuthenticationError` (HTTP 401, 403),
    `QuotaError` (429), and `ConnectError` for everything else: `sdp` (an answer that is none, or without audio),
    `ice` (no path to the service), `connect` (HTTP failed).
    """
    pc = Peer(ice_servers)
    http = CallHttp(url, dict(headers or {}), ssl, proxy)
    call = CallTransport(pc, receiver, http, write_deadline)
    try:
        answer = await http.offer(await pc.offer(), session)
        await _accept(pc, answer)
        await call.opened
    except BaseException:
        await call.close(timeout=0)
        raise
    return call


async def _accept(pc: Peer, answer: str) -> None:
    lines = answer.splitlines()
    if not lines or lines[0].strip() != "v=0":
        raise bad_answer("it is no SDP")
    audio = [line.split() for line in lines if line.startswith("m=audio ")]
    if not any(len(words) > 3 and words[1] != "0" for words in audio):
        raise bad_answer("it takes no audio")
    if not any(line.startswith("m=application ") for line in lines):
        raise bad_answer("it takes no data channel")
    try:
        await pc.accept(answer)
    except Exception as wrong:  # the library raises whatever its parser stumbles over
        raise bad_answer(str(wrong) or type(wrong).__name__) from wrong


class CallTransport:
    """A call. `write` sends an event, `send_audio` what the microphone heard."""

    subprotocol: str | None = None

    def __init__(self, pc: Peer, receiver: CallReceiver, http: CallHttp, write_deadline: float) -> None:
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.microphone = OutgoingAudio(ahead_ms=_AHEAD_MS, opus=True, live=True)
        self._pc = pc
        self._receiver = receiver
        self._http = http
        self._deadline = write_deadline
        self._over: ConnectionLostError | NotConnectedError | None = None
        self._leave = 0.0
        self._ending: asyncio.Task[None] | None = None
        self._hearing: Hearing | None = None
        self._low = asyncio.Event()
        self._beside: Transport | None = None
        pc.addTrack(self.microphone)
        pc.only_opus()
        self._channel = pc.createDataChannel(_CHANNEL)
        self._channel.bufferedAmountLowThreshold = _UNREAD // 2
        self._channel.on("open", self._open)
        self._channel.on("message", self._message)
        self._channel.on("close", self._ended)
        self._channel.on("bufferedamountlow", self._low.set)
        pc.on("track", self._track)
        pc.on("connectionstatechange", self._state_changed)

    @property
    def call_id(self) -> str | None:
        """The call's id, as the service's Location names it."""
        return self._http.call_id

    @property
    def response_headers(self) -> Mapping[str, str]:
        return self._http.response_headers

    # A WebSocket beside the call.

    def beside(self) -> Receiver:
        """What a WebSocket that joins this call reports to."""
        return _Beside(self)

    def join(self, beside: Transport) -> None:
        """From now on events go over this WebSocket, both ways; the data channel stays open and is not listened to."""
        self._beside = beside

    # What the library tells.

    def _open(self) -> None:
        if not self.opened.done():
            self.opened.set_result(None)

    def _message(self, data: str | bytes) -> None:
        if self._over is not None or self._beside is not None:
            return
        take: Callable[[Any], None] = self._receiver.receive_binary
        if isinstance(data, str):
            take, data = self._receiver.receive_text, data.encode()
        try:
            take(data)
        except Exception:
            logger.exception("a message was lost: its receiver failed")

    def _track(self, track: MediaStreamTrack) -> None:
        if track.kind == "audio" and self._hearing is None:
            self._hearing = hear(self._pc, track, self._audio)

    def _audio(self, pcm: bytes, format: AudioFormat) -> None:
        if self._over is None:
            self._receiver.receive_audio(pcm, format)

    def _state_changed(self) -> None:
        if self._pc.connectionState in ("failed", "closed"):
            self._ended()

    def _ended(self) -> None:
        # Of a peer that left, DTLS or the data channel tells; of one that vanished, ICE, by its checks.
        if self._pc.iceConnectionState in ("failed", "closed"):
            self._lost("No packet of the peer comes through any more.", "connection_lost")
        else:
            self._lost("The peer ended the call.", "closed_by_peer")

    def _lost(self, how: str, code: str) -> None:
        if self._over is not None:
            return
        if not self.opened.done():
            self.opened.set_exception(
                ConnectError(
                    "No path to the service was found (ICE or DTLS failed). Check that UDP is let through, or give ice_servers= with a TURN server.",
                    code="ice",
                    retryable=True,
                )
            )
            self.opened.exception()  # nobody may be waiting yet, or any more
            return
        self._over = ConnectionLostError(f"{how} Connect again.", code=code, close_code=1006, retryable=True)
        self._low.set()
        self.microphone.stop()
        self._receiver.connection_lost(self._over)

    # What we say.

    def write(self, data: bytes) -> Awaitable[None] | None:
        """As `Transport.write`."""
        if self._over is not None:
            raise self._over
        if self._beside is not None:
            return self._beside.write(data)
        try:
            self._channel.send(data.decode())
        except InvalidStateError:
            raise ConnectionLostError("The call is over. Connect again.", retryable=True) from None
        if self._channel.bufferedAmount <= _UNREAD:
            return None
        self._low.clear()
        return Later(self._read)

    async def _read(self) -> None:
        try:
            async with asyncio.timeout(self._deadline):
                await self._low.wait()
        except TimeoutError:
            self._lost("The peer reads nothing.", "write_deadline")
        if self._over is not None:
            raise self._over

    def send_audio(self, pcm: bytes, format: AudioFormat) -> Awaitable[None] | None:
        """Say this, in real time: await what is returned before the next, or as much as wished waits here."""
        if self._over is not None:
            raise self._over
        return self.microphone.put(pcm, format)

    async def close(self, code: int = 1000, reason: str = "", *, timeout: float = 2.0) -> None:
        """Hang up: the service is told for `timeout` seconds at most, and everything of the call ends.

        Idempotent, also after a loss and concurrently. When cancelled it still ends everything, which takes
        milliseconds, and is cancelled then.
        """
        if self._over is None:
            self._over = NotConnectedError("The call was closed: connect first.", code="closed")
        self.microphone.stop()
        self._low.set()
        self.opened.cancel()
        self._leave = timeout
        try:
            if timeout > 0 and self._ending is None:
                async with asyncio.timeout(timeout):
                    await self._http.hang_up()
        except TimeoutError:
            logger.debug("the service did not answer the hang-up")
        finally:
            if self._ending is None:
                self._ending = asyncio.get_running_loop().create_task(self._end())
            await uncancelled(self._ending)

    async def _end(self) -> None:
        if self._beside is not None:
            await self._beside.close(timeout=self._leave)
        if self._hearing is not None:
            await self._hearing.stop()
        await self._pc.close()


class _Beside:
    """The receiver of a WebSocket that joined a call: its events are the call's."""

    def __init__(self, call: CallTransport) -> None:
        self._call = call

    def receive_text(self, data: bytes | bytearray) -> None:
        if self._call._over is None:
            self._call._receiver.receive_text(data)

    def receive_binary(self, data: bytes | bytearray) -> None:
        if self._call._over is None:
            self._call._receiver.receive_binary(data)

    def connection_lost(self, cause: ConnectionLostError) -> None:
        self._call._lost("The WebSocket beside the call ended.", cause.code or "connection_lost")
