"""Delivers events to the listeners of one voice.

Plain listeners run at once, in order. Async ones, and `events()`, have a queue of 1,024 events each: when it is full
the oldest audio, delta or raw event goes, is counted, and is reported once by an `error`; control events always stay.
Whoever emits never waits.
"""

from __future__ import annotations

import asyncio
import inspect
import weakref
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from vivavoce.errors import VoiceError
from vivavoce.events import Speaking, Writing
from vivavoce.redaction import get_logger

__all__ = ["Emitter", "EventQueue", "Listener"]

logger = get_logger("vivavoce.events")

Listener = Callable[[Any], Any]
_BOUND = 1024


class _Pending:
    """What a plain listener returned for `payload`, still to be awaited."""

    __slots__ = ("awaitable", "payload")

    def __init__(self, payload: Any, awaitable: Awaitable[Any]) -> None:
        self.payload = payload
        self.awaitable = awaitable

    def forget(self) -> None:
        close = getattr(self.awaitable, "close", None)
        if close is not None:
            close()


def _droppable(payload: Any) -> bool:
    """Audio, deltas and raw messages may go; everything else is a control event."""
    if isinstance(payload, _Pending):
        payload = payload.payload
    return isinstance(payload, (Speaking, Mapping)) or (isinstance(payload, Writing) and not payload.final)


class _Queue:
    """The bounded queue of one listener."""

    __slots__ = ("controls", "dropped", "items", "told")

    def __init__(self) -> None:
        self.items: deque[Any] = deque()
        self.controls = 0  # this many items at the front are known to be control events
        self.dropped = 0
        self.told = False

    def put(self, payload: Any) -> bool:
        """Add a payload; true when this was the first drop since the queue was last empty."""
        items = self.items
        if not items:
            self.told = False
        items.append(payload)
        if len(items) <= _BOUND:
            return False
        while self.controls < len(items):
            if _droppable(items[self.controls]):
                self._drop(self.controls)
                first, self.told = not self.told, True
                return first
            self.controls += 1
        return False

    def _drop(self, index: int) -> None:
        old = self.items[index]
        del self.items[index]
        self.dropped += 1
        if isinstance(old, _Pending):
            old.forget()

    def take(self) -> Any:
        self.controls = max(0, self.controls - 1)
        return self.items.popleft()

    def clear(self) -> None:
        for item in self.items:
            if isinstance(item, _Pending):
                item.forget()
        self.items.clear()
        self.controls = 0


class _Entry:
    """One registration of a listener."""

    __slots__ = ("active", "event", "is_async", "listener", "once", "queue", "task")

    def __init__(self, event: str, listener: Listener, once: bool) -> None:
        self.event = event
        self.listener = listener
        self.once = once
        self.active = True
        call = getattr(type(listener), "__call__", None)  # noqa: B004 - is it async?
        self.is_async = inspect.iscoroutinefunction(listener) or inspect.iscoroutinefunction(call)
        self.queue: _Queue | None = None
        self.task: asyncio.Task[None] | None = None


class Emitter:
    """The listeners of one voice, and the tasks of the async ones.

    `tell` gets `"on"` or `"off"`, the event and the listener, whenever one comes or goes.
    """

    def __init__(self, tell: Callable[[str, str, Listener], None] | None = None) -> None:
        self._tell = tell
        self._entries: list[_Entry] = []
        self._targets: dict[str, tuple[_Entry, ...]] = {}
        self._pulls: weakref.WeakSet[EventQueue] = weakref.WeakSet()
        self._workers: set[asyncio.Task[None]] = set()
        self._given: set[asyncio.Future[Any]] = set()
        self._bell: asyncio.Future[None] | None = None
        self._dropped = 0

    @property
    def dropped(self) -> int:
        """Events dropped so far because a listener was slow."""
        return (
            self._dropped
            + sum(e.queue.dropped for e in self._entries if e.queue)
            + sum(p.dropped for p in self._pulls)
        )

    def add(self, event: str, listener: Listener, *, once: bool = False) -> None:
        self._entries.append(_Entry(event, listener, once))
        self._targets.clear()
        self._told("on", event, listener)

    def _told(self, what: str, event: str, listener: Listener) -> None:
        if self._tell is not None:
            try:
                self._tell(what, event, listener)
            except Exception:
                logger.exception("the hook %s(%r) of a plugin failed", what, event)

    def remove(self, event: str, listener: Listener | None = None) -> list[Listener]:
        """Remove one registration of `listener` (the oldest), or all of the event; returns those removed."""
        gone = [e for e in self._entries if e.event == event and (listener is None or e.listener == listener)]
        if listener is not None:
            gone = gone[:1]
        for entry in gone:
            self._discard(entry)
            if entry.queue is not None:
                entry.queue.clear()
        return [entry.listener for entry in gone]

    def _discard(self, entry: _Entry) -> None:
        entry.active = False
        if entry.queue is not None:
            self._dropped += entry.queue.dropped
        self._entries.remove(entry)
        self._targets.clear()
        self._told("off", entry.event, entry.listener)

    def targets(self, event: str) -> tuple[_Entry, ...]:
        """Who hears `event`, in the order of registration."""
        found = self._targets.get(event)
        if found is None:
            provider, colon, _ = event.partition(":")
            more = f"{provider}:*" if colon else "*"
            found = self._targets[event] = tuple(e for e in self._entries if e.event in (event, more))
            if len(self._targets) > _BOUND:  # raw message types come from the peer
                self._targets.clear()
        return found

    def hears(self, event: str) -> bool:
        """Whether anyone listens to `event`, by its own name or by a star."""
        return bool(self.targets(event))

    def has(self, event: str) -> bool:
        """Whether anyone listens to `event` by its own name."""
        return any(entry.event == event for entry in self.targets(event))

    def emit(self, event: str, payload: Any) -> None:
        """Deliver `payload` to the listeners of `event`."""
        for entry in self._targets.get(event) or self.targets(event):
            if not entry.active:
                continue
            if entry.once:
                self._discard(entry)
            if entry.is_async:
                self._queue(entry, payload)
                continue
            try:
                result = entry.listener(payload)
            except (Exception, asyncio.CancelledError):
                self._complain(entry)
            else:
                if result is not None and inspect.isawaitable(result):
                    self._follow(entry, payload, result)

    def emit_error(self, error: VoiceError) -> None:
        """Deliver `error`; without a listener of its own it is logged."""
        if not self.has("error"):
            logger.error("%s (%s; session %s)", error, error.code, error.session_id)
        self.emit("error", error)

    def _complain(self, entry: _Entry) -> None:
        logger.exception("a listener of %r raised: %r", entry.event, entry.listener)

    def _follow(self, entry: _Entry, payload: Any, result: Awaitable[Any]) -> None:
        """A plain listener returned something to await. A task or future is at work already: only its failure matters."""
        if not asyncio.isfuture(result):
            self._queue(entry, _Pending(payload, result))
            return

        def ended(given: asyncio.Future[Any]) -> None:
            self._given.discard(given)
            if not given.cancelled() and given.exception() is not None:
                logger.error(
                    "what a listener of %r began has failed", entry.event, exc_info=given.exception()
                )

        self._given.add(result)
        result.add_done_callback(ended)

    def _queue(self, entry: _Entry, payload: Any) -> None:
        if entry.queue is None:
            entry.queue = _Queue()
        if entry.queue.put(payload):
            self._overflow(entry.event)
        if entry.task is None:
            entry.task = asyncio.get_running_loop().create_task(
                self._work(entry, entry.queue), name=f"vivavoce listener of {entry.event}"
            )
            self._workers.add(entry.task)
            entry.task.add_done_callback(self._workers.discard)

    def _overflow(self, event: str) -> None:
        self.emit_error(
            VoiceError(
                f"a listener of {event!r} is {_BOUND} events behind: its oldest audio, delta or raw events are dropped. "
                "Do the slow part in a task of its own.",
                code="listener_overflow",
            )
        )

    async def _work(self, entry: _Entry, queue: _Queue) -> None:
        try:
            while queue.items:
                payload = queue.take()
                try:
                    await _deliver(entry, payload)
                except asyncio.CancelledError:
                    if entry.task is not None and entry.task.cancelling():
                        queue.clear()  # nothing of it reaches a later session
                        raise
                    self._complain(entry)
                except Exception:
                    self._complain(entry)
        finally:
            entry.task = None

    def pull(self, events: tuple[str, ...]) -> EventQueue:
        """A queue of the named events, or of all."""
        return EventQueue(self, events or ("*",))

    def end_pulls(self) -> None:
        """The session is over: every `events()` ends after what is queued."""
        for queue in tuple(self._pulls):
            queue.finish()

    def spare(self) -> None:
        """Another task is to be spared by `finish`."""
        if self._bell is not None and not self._bell.done():
            self._bell.set_result(None)

    async def finish(self, timeout: float, spared: AbstractSet[asyncio.Task[Any]] = frozenset()) -> None:
        """The voice is closed: end the pull queues, let async listeners work off theirs for `timeout` seconds, then stop them.
        Those in `spared`, which may grow meanwhile, wait for the end themselves."""
        self.end_pulls()
        loop, me = asyncio.get_running_loop(), asyncio.current_task()
        until = loop.time() + timeout
        while (tasks := self._workers - {me} - spared) and loop.time() < until:
            self._bell = loop.create_future()
            await asyncio.wait(
                {*tasks, self._bell}, timeout=until - loop.time(), return_when=asyncio.FIRST_COMPLETED
            )
        self._bell = None
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=timeout)


async def _deliver(entry: _Entry, payload: Any) -> None:
    # A plain listener that returned an awaitable queued that; an async one queued its payload.
    awaitable: Awaitable[Any] = entry.listener(payload) if entry.is_async else payload.awaitable
    await awaitable


class EventQueue:
    """The pull form: an async iterator of event payloads, which ends when the voice is closed."""

    def __init__(self, emitter: Emitter, events: tuple[str, ...]) -> None:
        self._emitter = emitter
        self._events = events
        self._queue = _Queue()
        self._waiters: list[asyncio.Future[None]] = []
        self._ended = False
        me = weakref.ref(self)

        def put(payload: Any) -> None:
            queue = me()
            if queue is not None:
                queue._put(payload)
            else:  # nobody holds it any more
                for event in events:
                    emitter.remove(event, put)

        self._listener = put
        emitter._pulls.add(self)
        for event in events:
            emitter.add(event, put)

    @property
    def dropped(self) -> int:
        """Events dropped so far because this queue was full."""
        return self._queue.dropped

    def _put(self, payload: Any) -> None:
        if self._queue.put(payload):
            self._emitter._overflow("events()")
        self._wake()

    def _wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()

    def finish(self) -> None:
        """No more events: iteration ends after those that are queued."""
        if not self._ended:
            self._ended = True
            self._emitter._pulls.discard(self)
            for event in self._events:
                self._emitter.remove(event, self._listener)
        self._wake()

    async def aclose(self) -> None:
        """Stop listening."""
        self._queue.clear()
        self.finish()

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        while not self._queue.items:
            if self._ended:
                raise StopAsyncIteration
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            finally:
                if waiter in self._waiters:
                    self._waiters.remove(waiter)
        return self._queue.take()
