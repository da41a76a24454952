"""The runtime of one voice: its state, its tasks, its time. Connecting, losing, restoring and closing sessions.

Rules of this file: a task is made by `spawn` alone and belongs to the voice; every wait on a provider has a deadline;
what frees things is finished even when whoever asked for it was cancelled.
"""

from __future__ import annotations

import asyncio
import itertools
import weakref
from collections.abc import Callable, Coroutine, Iterator, Mapping
from functools import partial
from typing import Any

import msgspec

from vivavoce import failures
from vivavoce.attempts import Attempt
from vivavoce.calls import PendingCalls
from vivavoce.emitter import Emitter
from vivavoce.errors import (
    NotConnectedError,
    VoiceError,
)
from vivavoce.events import (
    Closed,
    Opened,
    ToolCallStart,
)
from vivavoce.failures import REQUEST_DEADLINE
from vivavoce.inflow import Inflow
from vivavoce.items import Interruption
from vivavoce.lifecycle import State, advance
from vivavoce.live import Live
from vivavoce.memory import Memory
from vivavoce.provider import Session
from vivavoce.reconnect import ReconnectPolicy
from vivavoce.relay import Relay
from vivavoce.requests import request, tool_loop
from vivavoce.restoring import Restorer
from vivavoce.streams import AudioStream
from vivavoce.tasks import Tasks, finish
from vivavoce.toolloop import ToolLoop
from vivavoce.wanted import Wanted

__all__ = ["CLOSE_DEADLINE", "Runtime"]

CLOSE_DEADLINE = 5.0
"""Seconds a provider has to close, and listeners to finish."""
FRAME_MS = 100
"""The longest piece of audio handed to a provider at once."""


class Runtime:
    """The only owner of a voice's tasks and time; also the host of its connections (`vivavoce.live.Host`)."""

    def __init__(
        self, relay: Relay, *, capabilities: frozenset[str], wanted: Wanted, template: Session
    ) -> None:
        self.relay = relay
        self.emitter = Emitter(relay.plain)
        self.provider = template.provider
        self.capabilities = capabilities
        self.wanted = wanted
        self.state: State = "idle"
        self.memory = Memory(template.history)
        self.numbers: Iterator[int] = itertools.count(1)
        self.live: Live | None = None
        self.pending = PendingCalls()  # calls that belong to no connection
        self.speeches: weakref.WeakSet[AudioStream] = weakref.WeakSet()
        self.input_format = template.input_format
        """Of the newest session: what is held for the next one is in it."""
        self.frame_limit = template.input_format.bytes_for(FRAME_MS)
        self.inflow = Inflow(self)
        self.input_bytes = 0  # sent since the last commit
        self.port: Any = None  # hands one frame to the provider while the voice is open, else None
        self.template = template
        self.heard: Live | None = None  # the session before, of which something may still be playing
        self._aside: Live | None = None
        self.tools: ToolLoop | None = None
        self._generation = 0
        self._opened_id: str | None = None  # of the newest session that was open
        self._attempt: Attempt | None = None
        self._joined = 0
        self._wanted = False  # some caller of connect() knows that it is open
        self._closing: asyncio.Task[None] | None = None
        self.ending: asyncio.Task[None] | None = None  # closes the provider's side of a lost session
        self.tasks = Tasks(self.tell)
        self.restorer = Restorer(self)
        self.updating = asyncio.Lock()
        self._settled: list[asyncio.Future[None]] = []

    def spawn(self, work: Coroutine[Any, Any, None], *, lasting: bool = False) -> asyncio.Task[None]:
        """Run `work` as a task of this voice, or of its session unless it is `lasting`; what it raises becomes an
        `error` event."""
        return self.tasks.spawn(work, lasting=lasting)

    # What the app and the provider see of it.

    @property
    def session_id(self) -> str | None:
        """The id of the session that is open or being opened."""
        return self.live.session.id if self.live is not None else None

    @property
    def session(self) -> Session:
        """The session of now, or what one would begin as."""
        return self.live.session if self.live is not None else self.template

    def tell(self, error: VoiceError) -> None:
        """Report an error as an event, with what is known about its session."""
        error.provider = error.provider or self.provider
        error.session_id = error.session_id or self.session_id
        self.emitter.emit_error(error)

    def closed_error(self) -> NotConnectedError:
        """What pending calls raise when the voice is closed."""
        return failures.closed(self.provider, self.session_id)

    def not_connected(self, method: str) -> NotConnectedError:
        """What a realtime call raises now that there is no session."""
        return failures.not_connected(self.provider, method, self.state)

    def late(self, method: str, deadline: float = REQUEST_DEADLINE) -> VoiceError:
        """What a request raises that its provider did not finish in time."""
        return failures.late(self.provider, method, self.session_id, deadline)

    async def ready(self, method: str) -> Live:
        """The open connection; while reconnecting, wait for the outcome."""
        while self.state == "reconnecting":
            await self.change()
        if self.state != "open" or self.live is None:
            raise self.not_connected(method)
        return self.live

    def to(self, state: State) -> None:
        """Go to another state, and wake who waits for one."""
        self.state = advance(self.state, state)
        self.wake()

    async def change(self) -> None:
        """Wait until the state, or whether audio may flow, has changed."""
        waiter = asyncio.get_running_loop().create_future()
        self._settled.append(waiter)
        await waiter

    def wake(self) -> None:
        """Wake who waits in `change`."""
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

    def speaking(self) -> list[AudioStream]:
        """What `speak` gave that is not at its end yet, or was not read to it."""
        return [stream for stream in self.speeches if stream._audible]

    # Host of a Live.

    def lost(self, live: Live, cause: BaseException | None) -> None:
        """The provider says that its connection is gone."""
        if live is self.live and not live.ended:
            if self.state == "open":
                self.restorer.lost(live, cause)
            elif live.ready:  # in the moment before it is open
                asyncio.get_running_loop().call_soon(self.lost, live, cause)
            else:
                live.calls.fail(partial(failures.lost_while_dialling, self.provider, cause))

    def hush(self) -> None:
        """The user speaks: what is still playing of the session before falls silent, too."""
        if self.heard is not None:
            self.heard.interrupt(cancel=False)

    def healthy(self) -> None:
        """The service has answered: an outage is over."""
        self.restorer.backoff.healthy()

    async def cut(self, live: Live, interruption: Interruption) -> None:
        """Tell the service what was heard, if it can be told and still remembers."""
        if live.ended or not self.relay.implements("interrupt"):
            return
        await request(self, live, "interrupt", interruption)

    def tool_call(self, live: Live, call: ToolCallStart) -> None:
        """The model calls a tool."""
        if live is self.live:
            self.tools_of(live).start(call)

    def reply_done(self, live: Live, reply_id: str) -> None:
        """A reply has ended."""
        if live is self.live:
            self.tools_of(live).reply_done(reply_id)

    def tools_of(self, live: Live) -> ToolLoop:
        """What runs the tools of the session, from its first reply on."""
        if self.tools is None:
            self.tools = tool_loop(self, live)
        return self.tools

    # Connecting.

    async def connect(
        self, timeout: float, policy: ReconnectPolicy | None, options: Mapping[str, Any]
    ) -> None:
        """Open a session, or join the attempt that is under way. `timeout` in seconds."""
        if self._closing is not None:
            await self._closed()
        if self.ending is not None and not self.ending.done():
            await asyncio.wait({self.ending})  # what was lost is cleared away before the next one begins
        while self._attempt is not None and self._attempt.given_up is not None:
            await self._attempt.ended()  # so is what was given up
        if self.state in ("open", "reconnecting"):
            self.restorer.set_policy(policy)
            async with self.pending.guard(timeout, partial(failures.connect_late, self.provider, timeout)):
                await self.ready("connect")
            self._wanted = True
            return
        if self._attempt is None:
            self.restorer.begin(policy, options)
            self.to("connecting")
            self._attempt = self.dial(timeout, options, self._now_open, reconnected=False)
            self._wanted = False
            await self._join(self._attempt, None)
        else:
            await self._join(self._attempt, timeout)

    async def _join(self, attempt: Attempt, timeout: float | None) -> None:
        self._joined += 1
        try:
            async with asyncio.timeout(timeout):
                await attempt.outcome()
            self._wanted = True
        except (TimeoutError, asyncio.CancelledError) as over:
            if isinstance(over, VoiceError):
                raise
            if self._joined == 1 and not attempt.over:  # nobody else waits for it
                await attempt.give_up()
            elif self._joined == 1 and self.state == "open" and not self._wanted:
                # It was open in the very moment we gave up.
                await finish(self.close(), CLOSE_DEADLINE * 4, "connect")
            if timeout is None or isinstance(over, asyncio.CancelledError):
                raise
            raise failures.connect_late(self.provider, timeout) from None
        finally:
            self._joined -= 1

    def _now_open(self) -> None:
        self.opened()
        self.emitter.emit("open", Opened(self.session_id))

    def _new_session(self, *, reconnected: bool) -> Session:
        wanted = self.wanted
        return msgspec.structs.replace(
            self.template,
            generation=self._generation,
            instructions=wanted.instructions,
            tools=wanted.tools,
            speaker=wanted.speaker,
            settings=wanted.settings,
            history=tuple(self.memory.items),
            reconnected=reconnected,
        )

    def dial(
        self,
        timeout: float,
        options: Mapping[str, Any],
        then: Callable[[], None] | None = None,
        *,
        reconnected: bool,
    ) -> Attempt:
        """Begin one attempt to connect."""
        self._generation += 1
        live = self.live = Live(self, self.wanted.config, self._new_session(reconnected=reconnected))
        self.tools = None
        return Attempt(self, live, options, timeout, then)

    async def not_opened(self, live: Live) -> None:
        """An attempt has failed: leave nothing of it."""
        live.end("lost", self.closed_error)
        self.live = None
        try:
            await self.close_hook(live, "connect failed")
        finally:
            if self.state == "connecting":
                self.to("closed" if self._closing is not None else "idle")

    def attempted(self, attempt: Attempt) -> None:
        """An attempt is over."""
        if attempt is self._attempt:
            self._attempt = None
        self.wake()

    def opened(self) -> None:
        """The connection is ready: audio may flow."""
        assert self.live is not None
        self.to("open")
        self._opened_id = self.live.session.id
        self.input_bytes = 0
        self.input_format = self.live.session.input_format
        self.frame_limit = self.input_format.bytes_for(FRAME_MS)
        self.port = self.relay.bind("send", self.live.context)
        self.restorer.plan_renewal(self.live)

    # Closing.

    async def close(self) -> None:
        """End everything, from anywhere, once."""
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._close(), name="vivavoce close")
        await self._closed()

    async def _closed(self) -> None:
        """Wait for the end of closing, which does not wait for us in turn."""
        me = asyncio.current_task()
        assert me is not None
        assert self._closing is not None
        self.tasks.spared.add(me)
        self.emitter.spare()
        try:
            await asyncio.shield(self._closing)
        finally:
            self.tasks.spared.discard(me)

    async def _close(self) -> None:
        try:
            if self._attempt is not None:
                self._attempt.fail(self.closed_error())
                await self._attempt.ended()
            live, opened = self.live, self.state in ("open", "reconnecting")
            self.port = None
            if opened:
                self.to("closed")
            self._end_calls(live)
            await self.tasks.stop(CLOSE_DEADLINE)
            for one in (live, self._aside):
                if one is not None and self.relay.implements("close"):
                    await self.close_hook(one, "closed")
            self._aside = self.heard = None
            self.restorer.held.forget()
            self.restorer.stop_timers()
            self.inflow.reset()
            if opened:
                self.emitter.emit(
                    "close",
                    Closed("closed", "closed by the app", True, self._opened_id),
                )
            await self.emitter.finish(CLOSE_DEADLINE, self.tasks.spared)
        finally:
            self._closing = None

    def _end_calls(self, live: Live | None) -> None:
        for stream in self.speaking():
            stream._stop("cancelled")
        self.pending.fail(self.closed_error)
        if self.tools is not None:
            self.tools.abandon("the voice was closed before the tool had finished")
        for one in (live, self._aside):
            if one is not None:
                one.end("cancelled", self.closed_error)

    async def close_hook(self, live: Live, reason: str) -> None:
        """Let the provider free what the connection holds, once."""
        if live.closed:
            return
        live.closed = True
        await finish(
            self.relay.call("close", live.context, reason),
            CLOSE_DEADLINE,
            f"close() of provider {self.provider!r}",
        )
