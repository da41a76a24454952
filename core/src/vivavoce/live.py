"""One connection, from dialled to lost or closed: takes the provider's events, keeps replies and turns, and delivers.

Everything here is plain code that runs as the provider emits; what must wait is handed to the host as a coroutine.
A `Live` belongs to one generation: once ended, whatever its provider still says is ignored.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Protocol

import msgspec

from vivavoce.calls import PendingCalls
from vivavoce.emitter import Emitter
from vivavoce.errors import VoiceError
from vivavoce.events import (
    EndReason,
    Event,
    Interrupted,
    ItemAdded,
    ProviderMessage,
    ResponseCreated,
    ResponseDone,
    SessionCreated,
    SessionUpdated,
    Speaking,
    SpeakingDone,
    SpeechStarted,
    SpeechStopped,
    ToolCallStart,
    Turn,
    Usage,
    Writing,
)
from vivavoce.items import Interruption
from vivavoce.memory import Memory
from vivavoce.provider import Session
from vivavoce.replies import Replies, Reply
from vivavoce.streams import Response
from vivavoce.turnkeeper import TurnKeeper

__all__ = ["Host", "Live", "LiveContext"]


class Host(Protocol):
    """What a connection needs of the voice around it."""

    emitter: Emitter
    numbers: Iterator[int]
    memory: Memory

    def healthy(self) -> None:
        """The service has answered: the connection is proven."""

    def spawn(self, work: Coroutine[Any, Any, None]) -> object:
        """Run `work` as a task of the voice."""

    def cut(self, live: Live, interruption: Interruption) -> Coroutine[Any, Any, None]:
        """Tell the service what was heard."""

    def lost(self, live: Live, cause: BaseException | None) -> None: ...

    def hush(self) -> None: ...

    def tool_call(self, live: Live, call: ToolCallStart) -> None: ...

    def reply_done(self, live: Live, reply_id: str) -> None: ...


class LiveContext(msgspec.Struct):
    """What the hooks of a provider are handed: see `vivavoce.Context`."""

    config: Any
    session: Session
    emit: Callable[[Event | VoiceError], None]
    lost: Callable[..., None]


def _ignore(*_: object) -> None:
    """The session has ended: nothing of it reaches a later one."""


class Live:
    """One connection of a voice. What its provider emits comes in by `context`; the app's side are the methods."""

    def __init__(self, host: Host, config: Any, session: Session) -> None:
        self._host = host
        self._emit = host.emitter.emit
        self.session = session
        self.calls = PendingCalls()
        self.replies = Replies()
        self.asking = asyncio.Lock()
        self.speech = self.ended = False  # the user is speaking; the connection is over
        self.ready = self.closed = False  # its provider has connected; was told that it is over
        self.stale_events = 0
        self.turns = TurnKeeper(self._deliver, host.numbers)
        self._current: Reply | None = None
        self._answers = 0
        self._begun: deque[Response] = deque()
        self._begins: deque[asyncio.Future[Response]] = deque()
        self._changes: list[asyncio.Future[None]] = []
        self._handlers = _HANDLERS
        self.context = LiveContext(config, session, self._take, self._lost)

    # From the provider.

    def _take(self, event: Any) -> None:
        handler = self._handlers.get(type(event))
        if handler is not None:
            try:
                handler(self, event)
            except (TypeError, ValueError, AttributeError) as bad:
                self._error(f"the provider emitted a bad {type(event).__name__}: {bad}", "provider_bug")
        elif isinstance(event, VoiceError):
            event.provider = event.provider or self.session.provider
            event.session_id = event.session_id or self.session.id
            if not self.ended:
                self._host.emitter.emit_error(event)
        elif isinstance(event, Event):
            if not self.ended:
                self._emit(event.type, event)
        else:
            self._error(f"the provider emitted a {type(event).__name__}, which is no event", "provider_bug")

    def _lost(self, cause: BaseException | None = None) -> None:
        self._host.lost(self, cause)

    def _speaking(self, event: Speaking) -> None:
        reply = self._current
        if reply is None or reply.id != event.response_id:
            reply = self._current = self._reply(event.response_id)
        if reply.dead or reply.audio_done:
            self.stale_events += 1
            return
        audio, item_id = event.audio, event.item_id or ""
        if type(audio) is not bytes:
            audio = bytes(memoryview(audio))
            event = Speaking(audio, event.response_id, event.item_id)
        try:
            reply.received[item_id] += len(audio)
        except KeyError:
            reply.received[item_id] = len(audio)
            if item_id and not reply.out_of_band:
                self.turns.add_reply(item_id)
        if not reply.spoken:
            self._first_audio(reply, item_id)
        stream = reply.stream()
        if stream is not None and not stream._feed(audio):
            unread = f"nobody read the audio of reply {reply.id}: its stream ended as lost after 16 MiB"
            self._error(unread, "stream_overflow")
        self._emit("speaking", event)

    def _first_audio(self, reply: Reply, item_id: str) -> None:
        reply.spoken = True
        self.replies.hearing = reply
        stream = reply.open_stream()
        stream.item_id = item_id or None
        self._emit("speaker", stream)
        # Whoever received the stream holds it now; if nobody did, it is gone when this returns.

    def _speaking_done(self, event: SpeakingDone) -> None:
        reply = self.replies.get(event.response_id)
        if reply is None:
            return
        self._end_audio(reply, event.reason)
        if event.response_id is None:
            # A stretch of speech where there are no turns: the next one is another.
            reply.running = False
            self.replies.forget(None)
            self._current = None
            self.turns.finish(reply, self._pushed())

    def _end_audio(self, reply: Reply, reason: EndReason) -> None:
        if reply.audio_done:
            return
        reply.audio_done = True
        stream = reply.stream()
        if stream is not None:
            stream._end(reason)
        if reply.spoken:
            self._emit(
                "speaking.done", SpeakingDone(reason, reply.id, next(reversed(reply.received), None) or None)
            )

    def _writing(self, event: Writing) -> None:
        "".join((event.text,))  # or a `TypeError`, now and not when it is put together
        reply = self.replies.get(event.response_id) if event.response_id is not None else None
        if reply is not None and reply.dead and not event.final:
            self.stale_events += 1
            return
        beside = reply is not None and reply.out_of_band  # no part of the conversation
        item_id = event.item_id or "" if beside else self.turns.write(event)
        if reply is not None:
            reply.received.setdefault(item_id, 0)
            response = reply.response()
            if response is not None:
                response._write(event.text, item_id, event.final)
        self._emit("writing", event)
        if event.final:
            self.turns.release()

    def _speech_stopped(self, event: SpeechStopped) -> None:
        self.speech = False
        stretch = self.replies.get(None)
        if stretch is not None and stretch.dead:
            # Where there are no turns, what comes after the user's speech is a new stretch.
            self.replies.forget(None)
            self._current = None
        self._emit("speech.stopped", event)

    def _speech_started(self, event: SpeechStarted) -> None:
        self.speech = True
        self._emit("speech.started", event)
        if self.session.server_interrupts:
            self._host.hush()
            for interruption in self.interrupt(cancel=False):
                self._host.spawn(self._host.cut(self, interruption))

    def _begin(self, id: str | None, out_of_band: bool = False) -> Reply:
        return self.replies.begin(id, self.session.output_format, out_of_band=out_of_band)

    def _reply(self, id: str | None) -> Reply:
        """The reply with this id; some services never say that it has begun."""
        reply = self.replies.get(id)
        if reply is None and id is not None:
            self._response_created(ResponseCreated(id))
            reply = self.replies.get(id)
        return reply or self._begin(id)

    def _response_created(self, event: ResponseCreated) -> None:
        reply = self.replies.get(event.id) or self._begin(event.id, event.out_of_band)
        if reply.announced:
            return
        reply.announced = True
        reply.out_of_band = event.out_of_band
        if self._answers:
            response = reply.open_response()
            if self._begins:
                begins = self._begins.popleft()
                if not begins.done():  # its caller may have been cancelled in this very turn
                    begins.set_result(response)
            else:
                self._begun.append(response)
        self._emit("response.created", event)

    def _response_done(self, event: ResponseDone) -> None:
        reply = self._reply(event.id)
        if not reply.running:
            return
        reply.running = False
        by_speech = event.status == "cancelled" and event.reason == "turn_detected"
        if by_speech and reply.spoken and not reply.dead:
            interruption = self._cut(reply, reply.silence(self._pushed()), cancel=False)
            self._host.spawn(self._host.cut(self, interruption))
        ends: dict[str, EndReason] = {"completed": "completed", "incomplete": "lost", "failed": "lost"}
        self._end_audio(reply, ends.get(event.status, "cancelled"))
        if event.usage is not None:
            self._usage(event.usage)
        self._emit("response.done", event)
        reply.finish(event)
        self._host.healthy()
        self._host.reply_done(self, event.id)
        self._notify()
        self.turns.finish(reply, self._pushed())

    def _usage(self, event: Usage) -> None:
        self._host.memory.add_usage(event)
        self._emit("usage", event)

    def _session_told(self, event: SessionCreated | SessionUpdated) -> None:
        self.session.id = event.id or self.session.id
        self.session.expires_at = event.expires_at or self.session.expires_at
        self._emit(event.type, event)

    def _error(self, message: str, code: str) -> None:
        self._take(VoiceError(message, code=code))

    def _deliver(self, turn: Turn) -> None:
        self._host.memory.record(turn)
        self._emit("turn", turn)

    def _pushed(self) -> bool:
        return self._host.emitter.has("speaking")

    # From the app.

    def expect_reply(self) -> asyncio.Future[Response]:
        """Called before a reply is asked for; the next `ResponseCreated` resolves it. Give it back by `claimed`."""
        self._answers += 1
        begins: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self._begins.append(begins)
        return begins

    def claimed(self, begins: asyncio.Future[Response]) -> None:
        """The answer is over, well or badly: no reply is meant for it any more."""
        self._answers -= 1
        if begins in self._begins:
            self._begins.remove(begins)
        begins.cancel()
        if not self._answers:
            self._begun.clear()

    def find_response(self, id: str) -> Response:
        """The reply with this id, which a provider said it has begun."""
        reply = self.replies.get(id) or self._begin(id)
        return reply.response() or reply.open_response()

    async def idle(self) -> None:
        """Wait until no reply of the conversation is running."""
        while self.replies.running() is not None:
            waiter = asyncio.get_running_loop().create_future()
            self._changes.append(waiter)
            await waiter

    def _notify(self) -> None:
        for waiter in self._changes:
            if not waiter.done():
                waiter.set_result(None)
        self._changes.clear()

    def interrupt(
        self, *, cancel: bool, item_id: str | None = None, played_ms: float | None = None
    ) -> list[Interruption]:
        """Stop what is being said, and decide what to cut. Empty: there was nothing to stop."""
        pushed = self._pushed()
        interruptions = []
        for reply in self.replies.all():
            if reply.dead or reply.out_of_band or not self._sounding(reply, asked=cancel):
                continue
            heard = reply.silence(pushed)
            start = reply.starts_ms(item_id) if item_id is not None else 0.0
            if played_ms is not None and start is not None:
                heard = start + played_ms
            if reply.running or reply.cuts(heard):
                interruptions.append(self._cut(reply, heard, cancel=cancel))
        return interruptions

    def _sounding(self, reply: Reply, *, asked: bool) -> bool:
        """Whether an interruption is about this reply. One that has not begun to speak is left to the service by user speech."""
        if reply.running:
            return reply.spoken or asked
        return reply is self.replies.hearing or (reply.playback.taken and reply.spoken)

    def _cut(self, reply: Reply, heard_ms: float, *, cancel: bool) -> Interruption:
        reply.dead = True
        stream = reply.stream()
        cuts = reply.cuts(heard_ms)
        item_id, played_ms = reply.position(heard_ms)
        for item in reply.received:
            self._host.memory.correct(item, reply.fraction(item, heard_ms))
        if stream is not None:
            stream._end("interrupted")
        else:
            reply.playback.silence()
        self._end_audio(reply, "interrupted")
        self._emit("interrupted", Interrupted(reply.id, item_id or None, played_ms))
        self.turns.interrupt(reply, heard_ms)
        return Interruption(reply.id, cancel and reply.running, cuts)

    def end(self, reason: EndReason, error: Callable[[], BaseException]) -> None:
        """The connection is over: streams end, pending calls raise, turns that were begun are told as they stand."""
        self.ended = True
        self._handlers = {}  # a provider may have kept `emit` itself
        self.context.emit = self.context.lost = _ignore
        pushed = self._pushed()
        for reply in self.replies.all():
            if not reply.audio_done:
                self._end_audio(reply, reason)
            stream = reply.stream()
            if stream is not None and reason == "cancelled":
                stream._stop(reason)
            if reply.running:
                self.turns.interrupt(reply, reply.heard_ms(pushed))
                reply.running = False
                reply.finish(None, error)
        self.turns.end()
        self.calls.fail(error)


# What is done about an event. A table of the module: one of bound methods would be made for each connection.
_HANDLERS: dict[type, Callable[[Live, Any], None]] = {
    Speaking: Live._speaking,
    SpeakingDone: Live._speaking_done,
    Writing: Live._writing,
    Turn: lambda live, event: live.turns.settle(event),
    ItemAdded: lambda live, event: live.turns.add(event),
    SpeechStarted: Live._speech_started,
    SpeechStopped: Live._speech_stopped,
    ResponseCreated: Live._response_created,
    ResponseDone: Live._response_done,
    ToolCallStart: lambda live, event: live._host.tool_call(live, event),
    Usage: Live._usage,
    SessionCreated: Live._session_told,
    SessionUpdated: Live._session_told,
    ProviderMessage: lambda live, event: live._emit(f"{live.session.provider}:{event.kind}", event.data),
}
