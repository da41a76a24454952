"""The runtime of one voice: its state, its tasks, its time. Connecting, losing, restoring and closing sessions.

Rules of this file: a task is made by `spawn` alone and belongs to the voice; every wait on a provider has a deadline;
what frees things is finished even when whoever asked for it was cancelled.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Coroutine, Mapping
from functools import partial
from typing import Any

import attrs
import msgspec

from vivavoce.calls import PendingCalls
from vivavoce.emitter import Emitter
from vivavoce.errors import (
    ConnectError,
    ConnectionLostError,
    ConnectTimeoutError,
    NotConnectedError,
    VoiceError,
)
from vivavoce.events import (
    Closed,
    Opened,
    Reconnected,
    Reconnecting,
    ToolCallResult,
    ToolCallStart,
    Turn,
    Usage,
)
from vivavoce.flow import HeldAudio
from vivavoce.items import Interruption, Item
from vivavoce.lifecycle import State, advance
from vivavoce.live import Live
from vivavoce.provider import Session
from vivavoce.reconnect import Backoff, ReconnectPolicy, may_retry
from vivavoce.relay import Relay
from vivavoce.requests import REQUEST_DEADLINE, ask
from vivavoce.streams import AudioStream
from vivavoce.tasks import Tasks, finish
from vivavoce.toolloop import ToolLoop
from vivavoce.turns import heard_text

__all__ = ["CLOSE_DEADLINE", "Runtime", "Wanted"]

logger = logging.getLogger("vivavoce.session")

CLOSE_DEADLINE = 5.0
"""Seconds a provider has to close, and listeners to finish."""
FRAME_MS = 100
"""The longest piece of audio handed to a provider at once."""
HELD_MS = 2_000
"""Input audio kept while reconnecting: the newest two seconds."""
_RENEW_BEFORE = 60.0
_RENEW_RETRY = 1.0


@attrs.define
class Wanted:
    """The session as the app wants it: what every new connection is configured with."""

    config: Any
    instructions: str | None
    speaker: str | None
    tools: tuple[Any, ...]
    settings: Mapping[str, Any]

    def apply(self, session: Session) -> None:
        """Show a provider these values in the session it has."""
        session.instructions, session.speaker = self.instructions, self.speaker
        session.tools, session.settings = self.tools, self.settings


class Runtime:
    def __init__(
        self, relay: Relay, *, provider: str, capabilities: frozenset[str], wanted: Wanted, template: Session
    ) -> None:
        self.relay = relay
        self.emitter = Emitter()
        self.provider = provider
        self.capabilities = capabilities
        self.wanted = wanted
        self.state: State = "idle"
        self.policy: ReconnectPolicy | None = None
        self.history: list[Item] = list(template.history)
        self.usage = Usage()
        self.live: Live | None = None
        self.pending = PendingCalls()  # calls that belong to no connection
        self.speeches: set[AudioStream] = set()
        self.frame_limit = template.input_format.bytes_for(FRAME_MS)
        self.input_bytes = 0  # sent since the last commit
        self.port: Any = None  # hands one frame to the provider while the voice is open, else None
        self._template = template
        self._aside: Live | None = None
        self._tools: ToolLoop | None = None
        self._generation = 0
        self._backoff = Backoff(ReconnectPolicy())
        self._attempt: asyncio.Task[None] | None = None
        self._joined = 0
        self._closing: asyncio.Task[None] | None = None
        self._tasks = Tasks(self.tell)
        self._held = HeldAudio(template.input_format.bytes_for(HELD_MS))
        self._settled: list[asyncio.Future[None]] = []
        self._health: asyncio.TimerHandle | None = None

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run `work` as a task of this voice; what it raises becomes an `error` event."""
        return self._tasks.spawn(work)

    # What the app and the provider see of it.

    @property
    def session_id(self) -> str | None:
        return self.live.session.id if self.live is not None else None

    @property
    def session(self) -> Session:
        """The session of now, or what one would begin as."""
        return self.live.session if self.live is not None else self._template

    def tell(self, error: VoiceError) -> None:
        error.provider = error.provider or self.provider
        error.session_id = error.session_id or self.session_id
        self.emitter.emit_error(error)

    def closed_error(self) -> NotConnectedError:
        return NotConnectedError(
            "the voice was closed while this call was pending",
            code="closed",
            provider=self.provider,
            session_id=self.session_id,
        )

    def not_connected(self, method: str) -> NotConnectedError:
        return NotConnectedError(
            f"{method}() needs a session: `await voice.connect()` first (state: {self.state})",
            provider=self.provider,
        )

    async def ready(self, method: str) -> Live:
        """The open connection; while reconnecting, wait for the outcome."""
        while self.state == "reconnecting":
            waiter = asyncio.get_running_loop().create_future()
            self._settled.append(waiter)
            await waiter
        if self.state != "open" or self.live is None:
            raise self.not_connected(method)
        return self.live

    def _to(self, state: State) -> None:
        self.state = advance(self.state, state)
        for waiter in self._settled:
            if not waiter.done():
                waiter.set_result(None)
        self._settled.clear()

    def aside(self) -> Live:
        """For calls that need no session (`speak`, `listen`): the open connection, else one that stands for none."""
        if self.live is not None and self.state == "open":
            return self.live
        if self._aside is None:
            self._aside = Live(self, self.wanted.config, self._new_session(reconnected=False))
        return self._aside

    # Host of a Live.

    def record(self, turn: Turn) -> None:
        self.history.append(
            Item(role=turn.role, text=turn.text, id=turn.item_id, interrupted=turn.interrupted)
        )

    def correct(self, item_id: str, fraction: float) -> None:
        for index, item in enumerate(self.history):
            if item.id == item_id and item.role == "assistant" and not item.interrupted:
                self.history[index] = msgspec.structs.replace(
                    item, text=heard_text(item.text, fraction), interrupted=True
                )

    def add_usage(self, usage: Usage) -> None:
        self.usage = self.usage + usage

    def healthy(self) -> None:
        self._backoff.healthy()

    async def cut(self, live: Live, interruption: Interruption) -> None:
        async with live.calls.guard(REQUEST_DEADLINE, partial(self.late, "interrupt")):
            await self.relay.call("interrupt", live.context, interruption)

    def tool_call(self, live: Live, call: ToolCallStart) -> None:
        if self._tools is not None and live is self.live:
            self._tools.start(call)

    def reply_done(self, live: Live, reply_id: str) -> None:
        if self._tools is not None and live is self.live:
            self._tools.reply_done(reply_id)

    def late(self, method: str) -> VoiceError:
        return VoiceError(
            f"provider {self.provider!r} did not finish {method}() within {REQUEST_DEADLINE:g} s",
            code="timeout",
            provider=self.provider,
            session_id=self.session_id,
            retryable=True,
        )

    # Connecting.

    async def connect(
        self, timeout: float, policy: ReconnectPolicy | None, options: Mapping[str, Any]
    ) -> None:
        """Open a session, or join the attempt that is under way. `timeout` in seconds."""
        if self._closing is not None:
            await asyncio.shield(self._closing)
        if self.state in ("open", "reconnecting"):
            self._set_policy(policy)
            await self.ready("connect")
            return
        if self._attempt is None:
            self._set_policy(policy)
            self._to("connecting")
            self._attempt = asyncio.get_running_loop().create_task(
                self._open(timeout, options), name="vivavoce connect"
            )
            await self._join(self._attempt, None)
        else:
            await self._join(self._attempt, timeout)

    def _set_policy(self, policy: ReconnectPolicy | None) -> None:
        self.policy = policy
        if policy is not None and policy != self._backoff.policy:
            self._backoff = Backoff(policy)

    async def _join(self, attempt: asyncio.Task[None], timeout: float | None) -> None:
        self._joined += 1
        try:
            async with asyncio.timeout(timeout):
                await asyncio.shield(attempt)
        except TimeoutError as late:
            if isinstance(late, VoiceError):
                raise
            assert timeout is not None
            raise self._connect_late(timeout) from None
        except asyncio.CancelledError:
            if self._joined == 1 and not attempt.done():
                attempt.cancel()
                await finish(_ended(attempt), CLOSE_DEADLINE * 2, "connect")
            raise
        finally:
            self._joined -= 1

    def _connect_late(self, timeout: float) -> ConnectTimeoutError:
        return ConnectTimeoutError(
            f"no session with {self.provider!r} within {timeout * 1000:g} ms: check the network and the url, or give connect() a longer timeout",
            provider=self.provider,
        )

    async def _open(self, timeout: float, options: Mapping[str, Any]) -> None:
        try:
            await self._dial(timeout, options, reconnected=False)
            self._opened()
            self.emitter.emit("open", Opened(self.session_id))
        finally:
            self._attempt = None

    def _new_session(self, *, reconnected: bool) -> Session:
        wanted = self.wanted
        return attrs.evolve(
            self._template,
            generation=self._generation,
            instructions=wanted.instructions,
            tools=wanted.tools,
            speaker=wanted.speaker,
            settings=wanted.settings,
            history=tuple(self.history),
            reconnected=reconnected,
        )

    async def _dial(self, timeout: float, options: Mapping[str, Any], *, reconnected: bool) -> None:
        """One attempt. When it fails nothing is left of it, and the error is typed."""
        self._generation += 1
        live = self.live = Live(self, self.wanted.config, self._new_session(reconnected=reconnected))
        self._tools = self._tool_loop(live)
        try:
            async with live.calls.guard(timeout, partial(self._connect_late, timeout)):
                await self.relay.call("connect", live.context, options)
        except BaseException as failed:
            live.end("lost", self.closed_error)
            self.live = None
            try:
                await self._close_hook(live, "connect failed")
            finally:
                if self.state == "connecting":
                    self._to("closed" if self._closing is not None else "idle")
            raise self._typed(failed) from (None if isinstance(failed, VoiceError) else failed)

    def _typed(self, failed: BaseException) -> BaseException:
        if isinstance(failed, VoiceError):
            failed.provider = failed.provider or self.provider
            return failed
        if isinstance(failed, OSError):
            return ConnectError(
                f"cannot reach {self.provider!r}: {failed or type(failed).__name__}", provider=self.provider
            )
        if isinstance(failed, Exception):
            text = f"provider {self.provider!r} raised {type(failed).__name__} in connect: {failed}"
            return ConnectError(text, code="provider_bug", provider=self.provider, retryable=False)
        return failed

    def _opened(self) -> None:
        assert self.live is not None
        self._to("open")
        self.input_bytes = 0
        self.frame_limit = self.live.session.input_format.bytes_for(FRAME_MS)
        self.port = self.relay.bind("send", self.live.context)
        self._plan_renewal(self.live)

    def _plan_renewal(self, live: Live, delay: float | None = None) -> None:
        """Move to a new session before the service ends this one, when nobody is speaking."""
        if self.policy is None or live.session.expires_at is None:
            return
        if delay is None:
            delay = max(_RENEW_RETRY, live.session.expires_at - time.time() - _RENEW_BEFORE)
        asyncio.get_running_loop().call_later(delay, self._renew, live)

    def _renew(self, live: Live) -> None:
        if live is not self.live or live.ended or self.policy is None:
            return
        if (
            live.replies.running() is not None
            or live.speech
            or (self._tools is not None and self._tools.unanswered)
        ):
            self._plan_renewal(live, _RENEW_RETRY)
        else:
            self.lost(
                live,
                ConnectionLostError(
                    "the service's session limit is near; going on in a new session", code="session_expiring"
                ),
            )

    def _tool_loop(self, live: Live) -> ToolLoop:
        def deliver(event: ToolCallStart | ToolCallResult) -> None:
            if live.ended:
                return
            if isinstance(event, ToolCallStart):
                arguments = msgspec.json.encode(event.arguments).decode()
                self.history.append(
                    Item(type="tool_call", call_id=event.call_id, name=event.name, arguments=arguments)
                )
            self.emitter.emit(event.type, event)

        async def give_back(call_id: str, output: str) -> None:
            async with live.calls.guard(REQUEST_DEADLINE, partial(self.late, "return_tool_result")):
                await self.relay.call("return_tool_result", live.context, call_id, output)
            self.history.append(Item(type="tool_result", call_id=call_id, output=output))

        async def go_on() -> None:
            await ask(self, live, {})

        return ToolLoop(
            tools=lambda: live.session.tools,
            deliver=deliver,
            give_back=give_back,
            go_on=go_on,
            spawn=self.spawn,
        )

    # Losing and restoring.

    def lost(self, live: Live, cause: BaseException | None) -> None:
        """The provider says that its connection is gone."""
        if live is not self.live or live.ended:
            return
        if self.state != "open":
            live.calls.fail(partial(self._lost_while_dialling, cause))
            return
        self.port = None
        unanswered = self._tools.unanswered if self._tools is not None else frozenset()
        error = partial(self._lost_error, cause, live.session.id)
        retry = self.policy is not None and may_retry(cause)
        self._to("reconnecting" if retry else "closed")
        live.end("lost", error)
        for call_id in sorted(unanswered):
            self.history.append(
                Item(
                    type="tool_result",
                    call_id=call_id,
                    output='{"error":"the connection was lost before the tool had finished"}',
                )
            )
        if retry:
            self.spawn(self._restore(live, cause))
        else:
            self._gave_up(error(), live)
            self.spawn(self._close_hook(live, "lost"))

    def _lost_while_dialling(self, cause: BaseException | None) -> BaseException:
        if isinstance(cause, ConnectError):
            return cause
        retry = may_retry(cause)
        return ConnectError(
            f"the connection ended before the session was ready: {cause or 'no reason given'}",
            provider=self.provider,
            retryable=retry,
        )

    def _lost_error(self, cause: BaseException | None, session_id: str | None) -> ConnectionLostError:
        code = getattr(cause, "code", None) or "connection_lost"
        return ConnectionLostError(
            f"the session ended: {cause or 'no reason given'}",
            code=code if isinstance(code, str) else "connection_lost",
            provider=self.provider,
            session_id=session_id,
            retryable=may_retry(cause),
            close_code=getattr(cause, "close_code", None),
        )

    def _gave_up(self, error: VoiceError, live: Live | None) -> None:
        held, lost = self._held.take()
        if held or lost:
            lost_ms = self._template.input_format.milliseconds(lost + sum(map(len, held)))
            error.message = f"{error.message}; {lost_ms:.0f} ms of input audio were lost"
        self._tasks.cancel()
        self.tell(error)
        session_id = live.session.id if live is not None else error.session_id
        self.emitter.emit("close", Closed(error.code, error.message, False, session_id))

    async def _restore(self, old: Live, cause: BaseException | None) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        self._stop_health()
        self._backoff.lost(began)
        self._tasks.cancel()
        await self._close_hook(old, "lost")
        while (delay := self._backoff.next_delay(loop.time(), random.random())) is not None:
            shown = cause if isinstance(cause, Exception) else None
            self.emitter.emit("reconnecting", Reconnecting(self._backoff.attempts, delay, shown))
            await asyncio.sleep(delay / 1000)
            try:
                await self._dial(self._backoff.time_left(loop.time()) / 1000, {}, reconnected=True)
            except VoiceError as failed:
                cause = failed
                if may_retry(failed):
                    continue
                break
            await self._restored((loop.time() - began) * 1000)
            return
        self._to("closed")
        self._gave_up(self._lost_error(cause, old.session.id), old)

    async def _restored(self, outage_ms: float) -> None:
        self._opened()
        live = self.live
        assert live is not None
        self._health = asyncio.get_running_loop().call_later(
            self._backoff.policy.healthy_ms / 1000, self._backoff.healthy
        )
        held, lost = self._held.take()
        lost_ms = live.session.input_format.milliseconds(lost)
        replayed = len(live.session.history) if "replay" in self.capabilities else 0
        self.emitter.emit("reconnected", Reconnected(self._backoff.attempts, outage_ms, replayed, lost_ms))
        for audio in held:
            await self.send(audio)

    def _stop_health(self) -> None:
        if self._health is not None:
            self._health.cancel()
            self._health = None

    # Input audio.

    async def send(self, audio: bytes) -> None:
        """Hand one chunk to the provider, or hold it while reconnecting."""
        if self.port is None:
            if self.state == "reconnecting":
                self._held.add(audio)
                return
            raise self.not_connected("send")
        result = self.port(audio)
        self.input_bytes += len(audio)
        if result is not None:
            await self.wait_sent(result)

    async def wait_sent(self, result: Any) -> None:
        """Wait as long as the service does not read; its provider keeps the deadline."""
        assert self.live is not None
        try:
            async with self.live.calls.guard():
                await result
        except ConnectionLostError:
            if self.state != "reconnecting":
                raise

    # Closing.

    async def close(self) -> None:
        """End everything, from anywhere, once."""
        me = asyncio.current_task()
        assert me is not None
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._close(), name="vivavoce close")
        self._tasks.spared.add(me)
        try:
            await asyncio.shield(self._closing)
        finally:
            self._tasks.spared.discard(me)

    async def _close(self) -> None:
        try:
            if self._attempt is not None:
                if self.live is not None:
                    self.live.calls.fail(self.closed_error)
                await asyncio.wait({self._attempt})
            live, opened = self.live, self.state in ("open", "reconnecting")
            self.port = None
            if opened:
                self._to("closed")
            for stream in tuple(self.speeches):
                stream._end("cancelled")
            self.pending.fail(self.closed_error)
            if live is not None:
                live.end("cancelled", self.closed_error)
            if self._aside is not None:
                self._aside.end("cancelled", self.closed_error)
            await self._tasks.stop(CLOSE_DEADLINE)
            for one in (live, self._aside):
                if one is not None and self.relay.implements("close"):
                    await self._close_hook(one, "closed")
            self._aside = None
            self._held.take()
            self._stop_health()
            if opened:
                self.emitter.emit(
                    "close",
                    Closed(
                        "closed", "closed by the app", True, live.session.id if live is not None else None
                    ),
                )
            await self.emitter.finish(CLOSE_DEADLINE, self._tasks.spared)
        finally:
            self._closing = None

    async def _close_hook(self, live: Live, reason: str) -> None:
        await finish(
            self.relay.call("close", live.context, reason),
            CLOSE_DEADLINE,
            f"close() of provider {self.provider!r}",
        )


async def _ended(task: asyncio.Task[Any]) -> None:
    await asyncio.wait({task})
