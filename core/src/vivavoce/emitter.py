"""Delivers events to the listeners of one voice.

Plain listeners run at once, in order. Async ones, and `events()`, have a queue of 1,024 events each: when it is full
the oldest audio, delta or raw event goes, is counted, and is reported once by an `error`; control events always stay.
Whoever emits never waits.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from collections.abc import Set as AbstractSet
from typing import Any

from vivavoce.errors import VoiceError
from vivavoce.events import Closed, Speaking, Writing

__all__ = ["Emitter", "EventQueue", "Listener"]

logger = logging.getLogger("vivavoce.events")

Listener = Callable[[Any], Any]
_BOUND = 1024


def _droppable(payload: Any) -> bool:
    """Audio, deltas and raw messages may go; everything else is a control event."""
    return isinstance(payload, (Speaking, dict)) or (isinstance(payload, Writing) and not payload.final)


class _Queue:
    """The bounded queue of one listener."""

    __slots__ = ("dropped", "items", "told")

    def __init__(self) -> None:
        self.items: deque[Any] = deque()
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
        for index, old in enumerate(items):
            if _droppable(old):
                del items[index]
                self.dropped += 1
                first, self.told = not self.told, True
                return first
        return False


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
    """The listeners of one voice, and the tasks of the async ones."""

    def __init__(self) -> None:
        self._entries: list[_Entry] = []
        self._targets: dict[str, tuple[_Entry, ...]] = {}
        self._pulls: set[EventQueue] = set()
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

    def remove(self, event: str, listener: Listener | None = None) -> list[Listener]:
        """Remove one registration of `listener` (the oldest), or all of the event; returns those removed."""
        gone = [e for e in self._entries if e.event == event and (listener is None or e.listener == listener)]
        if listener is not None:
            gone = gone[:1]
        for entry in gone:
            self._discard(entry)
        return [entry.listener for entry in gone]

    def _discard(self, entry: _Entry) -> None:
        entry.active = False
        if entry.queue is not None:
            self._dropped += entry.queue.dropped
        self._entries.remove(entry)
        self._targets.clear()

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
            except Exception:
                self._complain(entry)
            else:
                if result is not None and inspect.isawaitable(result):
                    self._queue(entry, result)

    def emit_error(self, error: VoiceError) -> None:
        """Deliver `error`; without a listener of its own it is logged."""
        if not self.has("error"):
            logger.error("%s (%s; session %s)", error, error.code, error.session_id)
        self.emit("error", error)

    def _complain(self, entry: _Entry) -> None:
        logger.exception("a listener of %r raised: %r", entry.event, entry.listener)

    def _queue(self, entry: _Entry, payload: Any) -> None:
        if entry.queue is None:
            entry.queue = _Queue()
        if entry.queue.put(payload):
            self._overflow(entry.event)
        if entry.task is None:
            entry.task = asyncio.get_running_loop().create_task(
                self._work(entry, entry.queue), name=f"vivavoce listener of {entry.event}"
            )

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
                payload = queue.items.popleft()
                try:
                    await _deliver(entry, payload)
                except Exception:
                    self._complain(entry)
        finally:
            entry.task = None

    def pull(self, events: tuple[str, ...]) -> EventQueue:
        """A queue of the named events, or of all."""
        return EventQueue(self, events or ("*",))

    async def finish(self, timeout: float, spared: AbstractSet[asyncio.Task[Any]] = frozenset()) -> None:
        """The voice is closed: end the pull queues, let async listeners work off theirs for `timeout` seconds, then stop them.
        Those in `spared` are closing the voice themselves."""
        for queue in tuple(self._pulls):
            queue.finish()
        loop, me = asyncio.get_running_loop(), asyncio.current_task()
        until = loop.time() + timeout
        tasks = {entry.task for entry in self._entries if entry.task is not None} - {me} - spared
        while tasks and loop.time() < until:
            await asyncio.wait(tasks, timeout=until - loop.time())
            tasks = {task for task in tasks if not task.done()}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=timeout)


async def _deliver(entry: _Entry, payload: Any) -> None:
    # A plain listener that returned an awaitable queued that; an async one queued its payload.
    awaitable: Awaitable[Any] = entry.listener(payload) if entry.is_async else payload
    await awaitable


class EventQueue:
    """The pull form: an async iterator of event payloads, which ends when the voice is closed."""

    def __init__(self, emitter: Emitter, events: tuple[str, ...]) -> None:
        self._emitter = emitter
        self._events = events
        self._queue = _Queue()
        self._waiter: asyncio.Future[None] | None = None
        self._ended = False
        emitter._pulls.add(self)
        for event in events:
            emitter.add(event, self._put)

    @property
    def dropped(self) -> int:
        """Events dropped so far because this queue was full."""
        return self._queue.dropped

    def _put(self, payload: Any) -> None:
        if self._queue.put(payload):
            self._emitter._overflow("events()")
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def finish(self) -> None:
        """No more events: iteration ends after those that are queued."""
        if not self._ended:
            self._ended = True
            self._emitter._pulls.discard(self)
            for event in self._events:
                self._emitter.remove(event, self._put)
        self._wake()

    async def aclose(self) -> None:
        """Stop listening."""
        self._queue.items.clear()
        self.finish()

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        while not self._queue.items:
            if self._ended:
                raise StopAsyncIteration
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        payload = self._queue.items.popleft()
        if isinstance(payload, Closed) and not self._queue.items:
            self.finish()
        return payload
