"""One connection: feeds the protocol with frames, turns what it says into core events, and sends what it wants said.

Plain code between a transport and a `Context`; it waits only in `request`, for the service's answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from operator import attrgetter
from typing import TYPE_CHECKING, Any, ClassVar

from vivavoce import events as core
from vivavoce.audio import alaw_to_pcm16, pcm16_to_alaw, pcm16_to_ulaw, ulaw_to_pcm16
from vivavoce.errors import (
    AuthenticationError,
    ConnectError,
    ConnectionLostError,
    ProtocolError,
    QuotaError,
    VoiceError,
)
from vivavoce.provider import Context
from vivavoce.trace import Trace

from vivavoce_openai_realtime import shapes
from vivavoce_openai_realtime.protocol import events
from vivavoce_openai_realtime.protocol.client import ClientProtocol
from vivavoce_openai_realtime.protocol.codec import Malformed, decode_mapping
from vivavoce_openai_realtime.protocol.server_events import (
    ConversationCreated,
    InputAudioBufferTimeoutTriggered,
)
from vivavoce_openai_realtime.protocol.values import ErrorDetail, given
from vivavoce_openai_realtime.refusals import fatal, not_ready, refusal
from vivavoce_openai_realtime.texts import ItemTexts

if TYPE_CHECKING:
    from vivavoce_openai_realtime.transports.base import Transport

__all__ = ["Link"]

_BENIGN = frozenset({"response_cancel_not_active"})
_MIN_APPEND_MS = 20
_MAX_APPEND_MS = 100
_DECODE = {"audio/pcmu": ulaw_to_pcm16, "audio/pcma": alaw_to_pcm16}
_ENCODE = {"audio/pcmu": pcm16_to_ulaw, "audio/pcma": pcm16_to_alaw}

Handler = Callable[["Link"], Callable[[Any], None]]
"""The link's method for an event; an `attrgetter`, so that a kind of link may have its own."""


class Link:
    """The receiver of one transport. `context` is the session's; after it ended, its `emit` does nothing."""

    handlers: ClassVar[Mapping[type, Handler]] = {
        events.Audio: attrgetter("_audio"),
        events.TextDelta: attrgetter("_text"),
        events.TextFinal: attrgetter("_final"),
        events.SessionReady: attrgetter("_session_ready"),
        # Some services greet with this, and tell of the session only once it was configured.
        ConversationCreated: attrgetter("_greeted"),
        events.SessionUpdated: attrgetter("_session_updated"),
        events.RequestFailed: attrgetter("_failed"),
        events.ServerError: attrgetter("_server_error"),
        events.SpeechStarted: attrgetter("_speech_started"),
        events.SpeechStopped: attrgetter("_speech_stopped"),
        InputAudioBufferTimeoutTriggered: attrgetter("_timed_out"),
        events.Committed: attrgetter("_committed"),
        events.Cleared: attrgetter("_answered"),
        events.ItemAdded: attrgetter("_item_added"),
        events.ItemDone: attrgetter("_item_done"),
        events.ItemRetrieved: attrgetter("_answered"),
        events.ItemTruncated: attrgetter("_answered"),
        events.ItemDeleted: attrgetter("_answered"),
        events.ResponseStarted: attrgetter("_response_started"),
        events.ResponseFinished: attrgetter("_response_finished"),
        events.ToolCallReady: attrgetter("_tool_call"),
        events.TranscriptFailed: attrgetter("_transcript_failed"),
        Malformed: attrgetter("_malformed"),
    }
    """What is done about an event. A table of the class: one of bound methods would be made for each connection."""

    def __init__(self, protocol: ClientProtocol, context: Context, trace: Trace | None) -> None:
        self.protocol = protocol
        self.transport: Transport | None = None
        self.raw = False
        """Someone listens to raw messages."""
        self.wanted: dict[str, Any] = {}
        """The session as it was asked for, in GA names."""
        self.lost = False
        """The connection is gone."""
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.context = context
        self._trace = trace
        self._waiting: dict[str, asyncio.Future[Any]] = {}
        self._transcribed = False
        self._decode: Callable[[bytes], bytes] | None = None
        self._encode: Callable[[bytes], bytes] | None = None
        self._small = bytearray()
        self._flush_timer: asyncio.TimerHandle | None = None
        self._least, self._most = 960, 4_800
        self._texts = ItemTexts()
        self._speech = False
        self._silent: str | None = None
        self._replies = asyncio.Event()

    # The transport's side.

    def receive_text(self, data: bytes | bytearray) -> None:
        if self.raw or self._trace is not None:
            self._observe(bytes(data))
        handlers = self.handlers
        for event in self.protocol.receive_text(data):
            handler = handlers.get(type(event))
            if handler is not None:
                handler(self)(event)

    def receive_binary(self, data: bytes | bytearray) -> None:
        for event in self.protocol.receive_binary(bytes(data)):
            self._malformed(event)

    def connection_lost(self, cause: ConnectionLostError) -> None:
        closed = [e for e in self.protocol.receive_eof(cause.close_code) if isinstance(e, events.Closed)]
        detail = closed[0].error if closed else None
        error: VoiceError = cause if detail is None else self._ended(detail, cause)
        if not self.ready.done() and not isinstance(error, ConnectError):
            error = not_ready(cause)
        self._refuse(error)
        self.lost = True
        self._stop_timer()
        for future in self._waiting.values():
            if not future.done():
                future.cancel()
        self._waiting.clear()
        self.context.lost(error)

    def _refuse(self, error: VoiceError) -> None:
        """The session will not begin. Whoever waits for it is told; nobody may, when connect was cancelled."""
        if not self.ready.done():
            self.ready.set_exception(error)
            self.ready.exception()

    def _ended(self, detail: ErrorDetail, cause: ConnectionLostError) -> VoiceError:
        """The error before the close is the reason for it, when it is one of those that end sessions."""
        error = fatal(detail, cause)
        if (
            isinstance(error, AuthenticationError | QuotaError)
            or error.code == "session_expired"
            or not self.ready.done()
        ):
            return error
        return cause

    def _observe(self, data: bytes) -> None:
        if self._trace is not None:
            self._trace.frame("received", data)
        message = decode_mapping(data) if self.raw else None
        if isinstance(message, dict) and isinstance(message.get("type"), str):
            self.context.emit(core.ProviderMessage(message["type"], message))

    # The service's side: one handler an event.

    def _audio(self, event: events.Audio) -> None:
        audio = event.audio if self._decode is None else self._decode(event.audio)
        self.context.emit(core.Speaking(audio, event.response_id, event.item_id))

    def _text(self, event: events.TextDelta) -> None:
        written = self._texts.delta(event)
        if written is not None:
            self.context.emit(written)

    def _final(self, event: events.TextFinal) -> None:
        self._write(self._texts.final(event))
        used = shapes.usage(event.usage)
        if used is not None:
            self.context.emit(used)

    def _write(self, texts: Iterable[core.Writing]) -> None:
        for text in texts:
            self.context.emit(text)

    def _transcript_failed(self, event: events.TranscriptFailed) -> None:
        self._write(self._texts.final(events.TextFinal("", "user", True, event.item_id, None, 0)))
        self.context.emit(refusal(event.error))

    def _session_ready(self, event: events.SessionReady) -> None:
        self.context.emit(core.SessionCreated(event.session_id, event.expires_at, event.config))
        self.introduced()

    def introduced(self) -> None:
        """The session may be configured now."""
        if not self.ready.done():
            self.ready.set_result(None)

    def _greeted(self, event: ConversationCreated) -> None:
        self.introduced()

    def _session_updated(self, event: events.SessionUpdated) -> None:
        self._read_session(event.config)
        expires_at = self.context.session.expires_at
        self.context.emit(core.SessionUpdated(self.protocol.session_id, expires_at, event.config))
        self._answered(event)

    def _read_session(self, config: dict[str, Any]) -> None:
        input, output = self.protocol.input_format, self.protocol.output_format
        self._transcribed = shapes.read_session(self.context.session, config, self.wanted, input, output)
        self._decode, self._encode = _DECODE.get(output.type), _ENCODE.get(input.type)
        format = self.context.session.input_format
        self._least, self._most = format.bytes_for(_MIN_APPEND_MS), format.bytes_for(_MAX_APPEND_MS)

    def _answered(self, event: Any) -> None:
        future = self._waiting.pop(event.request_id, None) if event.request_id is not None else None
        if future is not None and not future.done():
            future.set_result(event)

    def _failed(self, event: events.RequestFailed) -> None:
        future = self._waiting.pop(event.request_id, None)
        if future is not None and not future.done():
            future.set_exception(refusal(event.error))
        elif given(event.error.code) not in _BENIGN:
            self.context.emit(refusal(event.error))

    def _server_error(self, event: events.ServerError) -> None:
        error = fatal(event.error)
        if not self.ready.done() and isinstance(error, AuthenticationError | QuotaError):
            self._refuse(error)
        elif self.ready.done() and given(event.error.code) not in _BENIGN:
            self.context.emit(refusal(event.error))

    # Speech begins and ends in turn, also where a service leaves one of the two out.

    def _speech_started(self, event: events.SpeechStarted) -> None:
        if self._speech:
            self.context.emit(core.SpeechStopped())
        self._speech = True
        self.context.emit(core.SpeechStarted(event.item_id, event.at_ms))

    def _speech_stopped(self, event: events.SpeechStopped) -> None:
        if self._speech:
            self._speech = False
            self.context.emit(core.SpeechStopped(event.item_id, event.at_ms))

    def _timed_out(self, event: InputAudioBufferTimeoutTriggered) -> None:
        self._silent = given(event.item_id)

    def _committed(self, event: events.Committed) -> None:
        # Of silence no words will come, so nobody waits for them.
        transcribed = self._transcribed and event.item_id != self._silent
        self.context.emit(core.ItemAdded(event.item_id, "user", event.previous_item_id, transcribed))
        self._answered(event)

    def _item_added(self, event: events.ItemAdded) -> None:
        if event.request_id is not None:
            self._answered(event)
        elif given(event.item.type) == "message" and given(event.item.role) == "assistant":
            self.context.emit(core.ItemAdded(event.item_id, "assistant", event.previous_item_id))

    def _item_done(self, event: events.ItemDone) -> None:
        self._write(self._texts.done(event.item_id))

    def _response_started(self, event: events.ResponseStarted) -> None:
        self.context.emit(core.ResponseCreated(event.response_id, event.out_of_band))
        self._answered(event)

    def _response_finished(self, event: events.ResponseFinished) -> None:
        status: Any = event.status if event.status in ("completed", "cancelled", "incomplete") else "failed"
        reason = event.reason
        if event.error is not None:
            reason = given(event.error.code) or given(event.error.type) or reason
            if status == "failed":
                self.context.emit(refusal(event.error))
        self._write(self._texts.finished(event.response_id))
        used = shapes.usage(event.usage, event.response_id)
        self.context.emit(core.ResponseDone(event.response_id, status, reason, used))
        self._replies.set()

    def _tool_call(self, event: events.ToolCallReady) -> None:
        self.context.emit(core.ToolCallStart(event.call_id, event.name, event.arguments, event.response_id))

    def _malformed(self, event: Any) -> None:
        self.context.emit(
            ProtocolError(f"the service sent what is no event: {event.reason} ({event.excerpt})")
        )

    # Our side.

    def append(self, audio: bytes) -> Awaitable[None] | None:
        """Send input audio, at most 100 ms: pieces under 20 ms are joined first, and wait at most that long."""
        if len(audio) < self._least or self._small:
            return self._join(audio)
        return self._write_audio(audio)

    def _join(self, audio: bytes) -> Awaitable[None] | None:
        small, held = self._small, None
        small += audio
        if len(small) >= self._least:
            piece = bytes(small[: self._most])
            del small[: self._most]
            held = self._write_audio(piece)
        if not small:
            self._stop_timer()
        elif self._flush_timer is None:
            loop = asyncio.get_running_loop()
            self._flush_timer = loop.call_later(_MIN_APPEND_MS / 1000, self.flush_audio)
        return held

    def flush_audio(self) -> Awaitable[None] | None:
        """Send what waits to be joined."""
        self._stop_timer()
        audio = bytes(self._small)
        self._small.clear()
        return self._write_audio(audio) if audio else None

    def _write_audio(self, audio: bytes) -> Awaitable[None] | None:
        if self.transport is None:
            return None
        if self._encode is not None:
            audio = self._encode(audio)
        frame = self.protocol.append(audio)
        if self._trace is not None:
            self._trace.frame("sent", frame)
        return self.transport.write(frame)

    async def flush(self) -> None:
        """Write what the protocol has queued; wait while the service does not read."""
        self.flush_audio()
        for frame in self.protocol.data_to_send():
            if self._trace is not None:
                self._trace.frame("sent", frame)
            held = self.transport.write(frame) if self.transport is not None else None
            if held is not None:
                await held

    async def request(self, request_id: str) -> Any:
        """Send what was queued and wait for the answer to `request_id`. Raises `ProviderError` if it is refused, and
        is cancelled when the connection ends (the core says why)."""
        future = self._waiting[request_id] = asyncio.get_running_loop().create_future()
        try:
            await self.flush()
            return await future
        finally:
            self._waiting.pop(request_id, None)
            if not future.done() or future.cancelled():
                self.protocol.abandon(request_id)

    async def reply_ended(self) -> None:
        """Wait until no reply of the conversation is running."""
        while self.protocol.active_response is not None:
            self._replies.clear()
            await self._replies.wait()

    def end(self) -> None:
        """The session is over: nothing more is sent."""
        self._stop_timer()
        if self._trace is not None:
            self._trace.close()
            self._trace = None

    def _stop_timer(self) -> None:
        if self._flush_timer is not None:
            self._flush_timer.cancel()
            self._flush_timer = None
