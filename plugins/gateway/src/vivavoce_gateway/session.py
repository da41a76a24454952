"""One client's session: its protocol on one side, a `Voice` on the other, and what happens between them.

Rules of this file: events of the provider are told at once, in its order; what is asked of the provider goes through
`jobs`, in the client's order; nothing that a client sends ends more than its own session.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any, Protocol
from uuid import uuid4

import attrs
from vivavoce import ConfigError, VoiceError
from vivavoce.events import Closed, Event, ToolCallStart
from vivavoce.redaction import redact
from vivavoce_openai_realtime.protocol import Fault, ServerProtocol, shaping
from vivavoce_openai_realtime.protocol import client_events as wire
from vivavoce_openai_realtime.protocol.values import given

from vivavoce_gateway import shapes
from vivavoce_gateway.assistantturns import AssistantTurns
from vivavoce_gateway.backend import Backend
from vivavoce_gateway.clientitems import ClientItems
from vivavoce_gateway.config import GatewayConfig, Route
from vivavoce_gateway.jobs import Jobs
from vivavoce_gateway.limits import Bucket
from vivavoce_gateway.metrics import Metrics
from vivavoce_gateway.outbox import Outbox
from vivavoce_gateway.rules import Rules
from vivavoce_gateway.userturns import UserTurns

__all__ = ["Channel", "ClientSession", "Opening"]

logger = logging.getLogger("vivavoce.gateway")

_GOODBYE_S = 3.0
_AUDIO_BURST_S = 60.0
_EVENT_BURST_S = 10.0


class Channel(Protocol):
    """A client's connection, accepted."""

    async def receive(self) -> str | bytes | None:
        """The next message, text or binary; `None` once the client is gone."""

    async def send(self, frame: bytes) -> None:
        """Send a text message; waits while the client does not read."""

    async def close(self, code: int, reason: str) -> None:
        """Close; does nothing when the client is gone."""


@attrs.frozen(kw_only=True)
class Opening:
    """What a client asked for when it connected."""

    model: str
    route: Route
    kind: str = "realtime"
    beta: bool | None = None
    preset: Mapping[str, Any] = attrs.field(factory=dict)
    """Settings that came with an ephemeral key."""


class ClientSession:
    """`run` holds the session, from its provider's connect to the client's goodbye."""

    def __init__(self, config: GatewayConfig, opening: Opening, channel: Channel, metrics: Metrics) -> None:
        self._config = config
        self._limits = config.limits
        self._opening = opening
        self._channel = channel
        self.metrics = metrics
        self._rules = Rules(opening.kind, config.limits.items)
        self.protocol = ServerProtocol(
            model=opening.model,
            kind=opening.kind,
            beta=opening.beta,
            expires_at=int(time.time() + self._limits.session_seconds),
            new_id=self.new_id,
            stored_audio=self._stored_audio,
            check=self._rules.check,
        )
        self.backend = self._rules.backend = Backend(
            opening.route,
            voices=config.voices,
            take=self._take,
            failed=self._failed,
            lost=self._lost,
            ended=self._ended,
        )
        self.jobs = Jobs(self._job_failed)
        self.assistant = AssistantTurns(self)
        self._items = ClientItems(self)
        self._user: UserTurns | None = None  # once the provider has told its formats
        self._outbox = Outbox(
            channel.send, bound=self._limits.unsent_bytes, deadline=self._limits.send_seconds, slow=self._slow
        )
        self._tasks: set[asyncio.Task[None]] = set()
        self._timers: list[asyncio.TimerHandle] = []
        self._applied: dict[str, Any] = {}
        self._handlers: dict[type, Callable[[Any], Coroutine[Any, Any, None]]] = {
            wire.SessionUpdate: self._settings_changed,
            wire.TranscriptionSessionUpdate: self._settings_changed,
            wire.InputAudioBufferAppend: self._append,
            wire.InputAudioBufferCommit: lambda event: self.user.commit(),
            wire.InputAudioBufferClear: lambda event: self.user.clear(),
            wire.ConversationItemCreate: self._items.created,
            wire.ConversationItemDelete: self._items.deleted,
            wire.ConversationItemTruncate: self.assistant.truncated,
            wire.ResponseCreate: self.assistant.respond,
            wire.ResponseCancel: self.assistant.cancel,
        }

    @property
    def id(self) -> str:
        """The session's id, as the client knows it."""
        return str(self.protocol.session["id"])

    @property
    def user(self) -> UserTurns:
        """The user's side, once the session is open."""
        assert self._user is not None, "the provider is connected first"
        return self._user

    def _stored_audio(self, item_id: str) -> bytes | None:
        return self.user.stored(item_id)

    def new_id(self, prefix: str) -> str:
        """An id for whatever needs one."""
        return f"{prefix}_{uuid4().hex[:20]}"

    # Its life.

    async def run(self) -> str:
        """Hold the session to its end; returns how it ended, for logs and metrics. Never raises for what a peer did."""
        loop = asyncio.get_running_loop()
        self._ending: asyncio.Future[tuple[int, str, str]] = loop.create_future()
        now = loop.time()
        self._audio_bucket = Bucket(self._limits.audio_rate, _AUDIO_BURST_S, now)
        self._event_bucket = Bucket(
            self._limits.events_per_second, self._limits.events_per_second * _EVENT_BURST_S, now
        )
        self._last_sign = now
        self.spawn(self._outbox.run())
        try:
            return await self._hold()
        finally:
            for timer in self._timers:
                timer.cancel()
            if self._user is not None:
                self._user.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self.backend.close()

    async def _hold(self) -> str:
        began = time.monotonic()
        if not await self._open():
            await self._goodbye()
            return self._ending.result()[2]
        self.metrics.connect.observe(time.monotonic() - began)
        self._timers.append(asyncio.get_running_loop().call_later(self._limits.session_seconds, self.expire))
        self._watch_idle()
        self.spawn(self.jobs.run())
        reading = asyncio.create_task(self._read())
        try:
            ends: set[asyncio.Future[Any]] = {reading, self._ending}
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if reading.done() and (failed := reading.exception()) is not None:
                logger.error("a session failed", exc_info=failed, extra=self._extra())
                self._fatal("server_error", "The gateway failed.", "failed")
            if not self._ending.done():
                return "client"
            await self._goodbye()
            return self._ending.result()[2]
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def _open(self) -> bool:
        try:
            await self.backend.connect(self._limits.connect_seconds)
            self._user = UserTurns(self)
            if self._opening.preset:
                self._preset(self._opening.preset)
        except (VoiceError, Fault) as failed:
            self._not_opened(failed)
            return False
        self.protocol.session_created()
        if self._opening.preset:
            await self._apply()
        self.flush()
        return True

    def _not_opened(self, failed: VoiceError | Fault) -> None:
        # Why is for who runs the gateway: the text names its settings, and never a key.
        extra = self._extra(error=type(failed).__name__, why=redact(str(failed)))
        logger.warning("the provider did not connect", extra=extra)
        if isinstance(failed, Fault):
            code, message = failed.code, failed.message
        elif isinstance(failed, ConfigError):
            code, message = "provider_unusable", "The provider behind this model is not set up."
        else:
            code, message = shapes.error_of(failed)
        self._fatal(code, message, "provider_unreachable")

    def _preset(self, settings: Mapping[str, Any]) -> None:
        self._rules.settings(settings)
        self.protocol.session = shaping.deep_merge(self.protocol.session, settings)
        self.user.configure()

    async def _goodbye(self) -> None:
        code, reason, _ = self._ending.result()
        self.flush()
        await self._outbox.drained(_GOODBYE_S)
        try:
            async with asyncio.timeout(_GOODBYE_S):
                await self._channel.close(code, reason)
        except TimeoutError:
            logger.info("the client did not take the close", extra=self._extra())

    def end(self, code: int, reason: str, how: str) -> None:
        """End the session with this WebSocket close code; the first end counts."""
        if not self._ending.done():
            self._ending.set_result((code, reason, how))

    def _fatal(self, code: str, message: str, how: str) -> None:
        if not self._ending.done():
            self.end(*self.protocol.fatal(code, message), how)
            self.flush()

    def expire(self) -> None:
        """The session has reached its longest duration."""
        minutes = self._limits.session_seconds / 60
        self._fatal(
            "session_expired", f"Your session hit the maximum duration of {minutes:g} minutes.", "expired"
        )

    def drain(self) -> None:
        """The gateway is going down."""
        self._fatal("session_expired", "The gateway is shutting down.", "drained")

    def _slow(self) -> None:
        self.end(1008, "the client does not read", "slow_client")

    def _watch_idle(self) -> None:
        loop = asyncio.get_running_loop()
        left = self._last_sign + self._limits.idle_seconds - loop.time()
        if left <= 0:
            self._fatal("session_expired", f"No event came for {self._limits.idle_seconds:g} s.", "idle")
        else:
            self._timers = [*self._timers[:1], loop.call_later(left, self._watch_idle)]

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` as a task of this session."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._task_done)

    def _task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (failed := task.exception()) is not None:
            self._job_failed(failed)

    def _job_failed(self, failed: BaseException) -> None:
        if isinstance(failed, VoiceError):
            self._failed(failed)
            return
        logger.error("a session failed", exc_info=failed, extra=self._extra())
        self.tell(Fault("server_error", "The gateway failed at this.", type="server_error"))

    def log(self, message: str, **more: object) -> None:
        """A line of the log, with this session's names."""
        logger.info(message, extra=self._extra(**more))

    def _extra(self, **more: object) -> dict[str, object]:
        return {
            "session": self.id,
            "provider": self._opening.route.name,
            "model": self._opening.model,
            **more,
        }

    # The client.

    async def _read(self) -> None:
        while (message := await self._channel.receive()) is not None:
            loop = asyncio.get_running_loop()
            self._last_sign = loop.time()
            if (wait := self._event_bucket.wait(1, self._last_sign)) > 0:
                await asyncio.sleep(wait)
            receive = (
                self.protocol.receive_binary if isinstance(message, bytes) else self.protocol.receive_text
            )
            for event in receive(message):  # type: ignore[arg-type]
                handler = self._handlers.get(type(event))
                if handler is not None:
                    await self._handle(handler, event)
            self.flush()

    async def _handle(
        self, handler: Callable[[Any], Coroutine[Any, Any, None]], event: wire.ClientEvent
    ) -> None:
        try:
            await handler(event)
        except Fault as fault:
            self.tell(fault, given(event.event_id))
        except VoiceError as failed:
            self._failed(failed)

    def flush(self) -> None:
        """Send what the protocol has to say."""
        self._outbox.put(self.protocol.data_to_send())

    def tell(self, fault: Fault, event_id: str | None = None) -> None:
        """An `error` event, of which the session does not end."""
        if self._ending.done():
            return
        self.metrics.errors.labels(fault.code).inc()
        self.protocol.error(fault, event_id)
        self.flush()

    async def _append(self, event: wire.InputAudioBufferAppend) -> None:
        seconds = self.user.seconds(event.audio)
        self.metrics.heard.inc(seconds)
        if (wait := self._audio_bucket.wait(seconds, self._last_sign)) > 0:
            await asyncio.sleep(wait)
        await self.user.append(event.audio)

    async def _settings_changed(self, event: wire.SessionUpdate | wire.TranscriptionSessionUpdate) -> None:
        self.user.configure()
        await self._apply()

    async def _apply(self) -> None:
        """Give the provider what changed of the settings that are its own."""
        session = self.protocol.session
        if session["type"] != "realtime":
            return
        wanted = {"instructions": session["instructions"], "tools": session["tools"]}
        voice = session["audio"]["output"]["voice"]
        changes = {
            key: value for key, value in wanted.items() if value != self._applied.get(key, type(value)())
        }
        if (
            voice != self._applied.get("voice", "marin")
            and (speaker := self.backend.speaker(voice)) is not None
        ):
            changes["speaker"] = speaker
        self._applied = {**wanted, "voice": voice}
        if "tools" in changes:
            self.assistant.tools_replaced()
            changes["tools"] = shapes.tools_of(changes["tools"])
        if changes:
            await self.jobs.put(partial(self.backend.voice.update_config, **changes))

    # The provider.

    async def to_provider(self, pcm: bytes) -> None:
        """The user's audio, in its place among what is asked of the provider."""
        if self.jobs.idle:
            await self.backend.voice.send(pcm)
        else:
            await self.jobs.put(partial(self.backend.voice.send, pcm))

    def _take(self, event: Event | VoiceError) -> None:
        if self._user is None or isinstance(event, VoiceError):
            return  # of the connect; errors come as the voice's `error`
        if isinstance(event, ToolCallStart):
            self._items.calls.add(event.call_id)
        if not self.assistant.take(event):
            self._user.take(event)
        self.flush()

    def _failed(self, error: VoiceError) -> None:
        code, message = shapes.error_of(error)
        logger.warning(
            "the provider failed",
            exc_info=error if logger.isEnabledFor(logging.DEBUG) else None,
            extra=self._extra(error=type(error).__name__, code=code),
        )
        self.tell(Fault(code, message, type="server_error"))

    def _lost(self) -> None:
        self.assistant.lost()
        self.flush()

    def _ended(self, closed: Closed) -> None:
        if not closed.clean:
            self._fatal("provider_lost", "The provider ended the session.", "provider_lost")
