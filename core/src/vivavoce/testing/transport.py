"""A faulty network in memory: two ends that pass messages on the loop's clock, and faults that a seed repeats.

    client, server = memory_pair(Faults(delay=0.05, jitter=0.02, drop=0.1), seed=7)
    await client.send('{"type": "session.update"}')
    assert await server.receive() == '{"type": "session.update"}'

Rules
- A message is `str` or `bytes`. It is never delivered inside `send`, always in a later turn of the loop.
- Without `reorder` messages keep their order, whatever `jitter` does, as TCP keeps it.
- Each direction has its own faults and its own random numbers, drawn in the order of sending, so the same
  seed and the same messages give the same damage.
- Each direction holds at most `buffer` characters or bytes that the other end has not taken. Beyond, `send` waits:
  an end that stops reading holds its peer back.
- `half_close` arrives behind everything sent before it; `abort` overtakes and discards everything.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable

import attrs

__all__ = ["Faults", "MemoryEnd", "TransportClosed", "memory_pair"]

Message = str | bytes
# A timer may come early by the resolution of the loop's clock.
_EARLY = 1e-6


class TransportClosed(ConnectionError):
    """The connection has ended: `clean` by a half-close, with its `code` and `reason`, or by an abort."""

    def __init__(self, *, clean: bool, code: int | None = None, reason: str = "") -> None:
        super().__init__(f"closed ({code}) {reason}".rstrip() if clean else "connection aborted")
        self.clean = clean
        self.code = code
        self.reason = reason


def _probability(instance: object, attribute: attrs.Attribute[float], value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"{attribute.name}={value} is no probability: 0 to 1")


def _chance() -> float:
    field: float = attrs.field(default=0.0, validator=_probability)
    return field


@attrs.frozen(kw_only=True)
class Faults:
    """What the network does to one direction.

    `delay` and `jitter` (uniform, added) are seconds. `drop`, `duplicate`, `corrupt`, `reorder` are probabilities of a
    message: lost; delivered twice; one bit or character of it changed; late by up to `lateness` seconds while others
    pass it. `split` cuts every message into pieces of at most so many characters or bytes. After `stall_after`
    messages nothing more arrives until `resume`; the message after `abort_after` others breaks the connection.
    """

    delay: float = 0.0
    jitter: float = 0.0
    drop: float = _chance()
    duplicate: float = _chance()
    corrupt: float = _chance()
    reorder: float = _chance()
    lateness: float = 0.1
    split: int | None = attrs.field(default=None, validator=attrs.validators.optional(attrs.validators.ge(1)))
    stall_after: int | None = None
    abort_after: int | None = None


class _Line:
    """One direction: what is under way, what has arrived, and the faults between."""

    def __init__(self, faults: Faults, seed: str, buffer: int) -> None:
        self.faults = faults
        self.done: Counter[str] = Counter()
        self.arrived: deque[Message] = deque()
        self.ended: TransportClosed | None = None  # what the reader gets when `arrived` is empty
        self.closing: TransportClosed | None = (
            None  # what the writer gets: it has said its last, or cannot say more
        )
        self.on_arrival: Callable[[], None] = _nothing
        self.on_abort: Callable[[], None] = _nothing
        self._random = random.Random(seed)
        self._buffer = buffer
        self._held = 0
        self._sent = 0
        self._latest = 0.0
        self._numbers = itertools.count()
        self._under_way: list[tuple[float, int, Message | TransportClosed]] = []
        self._withheld: list[tuple[float, Message | TransportClosed]] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._room = asyncio.Event()
        self._room.set()

    def put(self, message: Message) -> None:
        """Take a message on its way, with all that happens to it."""
        faults = self.faults
        if faults.abort_after is not None and self._sent >= faults.abort_after:
            self.done["abort"] += 1
            self.on_abort()
            return
        if faults.stall_after is not None and self._sent == faults.stall_after:
            self.stall()
        self._sent += 1
        # Every number is drawn, needed or not, so that one fault does not shift the luck of another.
        luck = {
            name: self._random.random()
            for name in ("jitter", "drop", "duplicate", "corrupt", "reorder", "late")
        }
        if self._happens("drop", luck):
            return
        if self._happens("corrupt", luck):
            message = _corrupt(message, luck["corrupt"] / faults.corrupt)
        pieces = _pieces(message, faults.split)
        if self._happens("duplicate", luck):
            pieces *= 2
        due = asyncio.get_running_loop().time() + faults.delay + faults.jitter * luck["jitter"]
        if self._happens("reorder", luck):
            due += faults.lateness * luck["late"]
        else:
            due = self._latest = max(due, self._latest)
        for piece in pieces:
            self._held += len(piece)
            self._schedule(due, piece)
        self._look_for_room()

    def end(self, closed: TransportClosed) -> None:
        """The writer has said its last; the reader learns it behind everything that is under way."""
        self.closing = closed
        due = max(
            [asyncio.get_running_loop().time() + self.faults.delay, *(due for due, _, _ in self._under_way)]
        )
        self._schedule(due, closed)

    def abort(self) -> None:
        """Discard everything; both ends learn it at once."""
        self.closing = self.ended = TransportClosed(clean=False)
        self._under_way.clear()
        self._withheld = None
        self.arrived.clear()
        self._held = 0
        self._set_timer()
        self._room.set()
        asyncio.get_running_loop().call_soon(self.on_arrival)

    def take(self) -> Message:
        """Take what arrived first. Raises `TransportClosed` behind the last."""
        if not self.arrived:
            assert self.ended is not None
            raise self.ended
        message = self.arrived.popleft()
        self._held -= len(message)
        self._look_for_room()
        return message

    def stall(self) -> None:
        self._withheld = self._withheld or []

    def resume(self) -> None:
        withheld, self._withheld = self._withheld or [], None
        now = asyncio.get_running_loop().time()
        for due, what in withheld:
            self._schedule(max(due, now), what)

    def room(self) -> Awaitable[object] | None:
        return None if self._room.is_set() else self._room.wait()

    def _look_for_room(self) -> None:
        if self._held > self._buffer:
            self._room.clear()
        else:
            self._room.set()

    def _happens(self, name: str, luck: dict[str, float]) -> bool:
        happens = luck[name] < float(getattr(self.faults, name))
        self.done[name] += happens
        return happens

    def _schedule(self, due: float, what: Message | TransportClosed) -> None:
        if self._withheld is not None:
            self._withheld.append((due, what))
            return
        # Timers that are due at one time come in no certain order, so there is one, for the first of the heap.
        heapq.heappush(self._under_way, (due, next(self._numbers), what))
        self._set_timer()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        first = self._under_way[0][0] if self._under_way else None
        self._timer = asyncio.get_running_loop().call_at(first, self._deliver) if first is not None else None

    def _deliver(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time() + _EARLY
        while self._under_way and self._under_way[0][0] <= now:
            what = heapq.heappop(self._under_way)[2]
            if isinstance(what, TransportClosed):
                self.ended = what
            else:
                self.arrived.append(what)
        self._set_timer()
        self.on_arrival()


class MemoryEnd:
    """One end of a `memory_pair`."""

    def __init__(self, name: str, outgoing: _Line, incoming: _Line) -> None:
        self.name = name
        self._outgoing = outgoing
        self._incoming = incoming
        self._arrival = asyncio.Event()
        self._push: tuple[Callable[[Message], None], Callable[[TransportClosed], None]] | None = None
        incoming.on_arrival = self._arrived
        outgoing.on_abort = self.abort

    def __repr__(self) -> str:
        return f"<MemoryEnd {self.name}>"

    @property
    def faults(self) -> Faults:
        """What happens to what this end sends; may be replaced at any time."""
        return self._outgoing.faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        self._outgoing.faults = faults

    @property
    def done(self) -> Counter[str]:
        """How often each fault has happened to what this end sent."""
        return +self._outgoing.done

    def write(self, message: Message) -> Awaitable[object] | None:
        """Send. `None`: there is room for more; otherwise await the result before the next write.

        Raises `TransportClosed` after `half_close`, `abort`, or an abort by the peer. The result may be left alone.
        """
        if self._outgoing.closing is not None:
            raise self._outgoing.closing
        self._outgoing.put(message)
        return self._outgoing.room()

    async def send(self, message: Message) -> None:
        """Send, and wait while the peer has more than the buffer to read. Cancelled, the message is sent all the same."""
        room = self.write(message)
        if room is not None:
            await room
            if self._outgoing.closing is not None and not self._outgoing.closing.clean:
                raise self._outgoing.closing

    async def receive(self) -> Message:
        """Return the next message. Raises `TransportClosed` behind the last. Cancelled, it loses nothing. For one reader."""
        while not self._incoming.arrived and self._incoming.ended is None:
            self._arrival.clear()
            await self._arrival.wait()
        return self._incoming.take()

    async def __aiter__(self) -> AsyncIterator[Message]:
        """Iterate over the messages to a clean end; an abort raises `TransportClosed`."""
        while True:
            try:
                message = await self.receive()
            except TransportClosed as closed:
                if closed.clean:
                    return
                raise
            yield message

    def deliver_to(
        self, on_message: Callable[[Message], None], on_closed: Callable[[TransportClosed], None]
    ) -> None:
        """Push instead of `receive`: call `on_message` for each message, and `on_closed` once, last."""
        self._push = (on_message, on_closed)
        asyncio.get_running_loop().call_soon(self._arrived)

    def pause(self) -> None:
        """Stop pushing: messages stay unread until the next `deliver_to`, and hold the peer back."""
        self._push = None

    def half_close(self, code: int = 1000, reason: str = "") -> None:
        """Say that nothing more will come; what the peer sends still arrives. Harmless when already closed."""
        if self._outgoing.closing is None:
            self._outgoing.end(TransportClosed(clean=True, code=code, reason=reason))

    def abort(self) -> None:
        """Break both directions: everything under way or unread is lost. Harmless when already broken."""
        for line in (self._outgoing, self._incoming):
            if line.closing is None or line.closing.clean:
                line.abort()

    def stall(self) -> None:
        """From now on nothing that this end sends arrives, until `resume`."""
        self._outgoing.stall()

    def resume(self) -> None:
        """Let arrive what was held by `stall` or `stall_after`."""
        self._outgoing.resume()

    def _arrived(self) -> None:
        self._arrival.set()
        while self._push is not None and self._incoming.arrived:
            self._push[0](self._incoming.take())
        if self._push is not None and self._incoming.ended is not None:
            on_closed, self._push = self._push[1], None
            on_closed(self._incoming.ended)


def memory_pair(
    forth: Faults | None = None, back: Faults | None = None, *, seed: int = 0, buffer: int = 65_536
) -> tuple[MemoryEnd, MemoryEnd]:
    """Return two connected ends. `forth` happens to what the first sends, `back` to what the second sends.

    `buffer` is in characters or bytes, for each direction. Nothing is to be freed: ends that are dropped are gone.
    """
    there = _Line(forth or Faults(), f"{seed} forth", buffer)
    here = _Line(back or Faults(), f"{seed} back", buffer)
    return MemoryEnd("first", there, here), MemoryEnd("second", here, there)


def _nothing() -> None:
    pass


def _corrupt(message: Message, where: float) -> Message:
    """Change one bit of a byte, or one character, at the fraction `where` of the message."""
    if not message:
        return message
    at = min(int(where * len(message)), len(message) - 1)
    if isinstance(message, str):
        return f"{message[:at]}{chr(ord(message[at]) ^ 1)}{message[at + 1 :]}"
    return message[:at] + bytes([message[at] ^ 1 << at % 8]) + message[at + 1 :]


def _pieces(message: Message, size: int | None) -> list[Message]:
    if size is None or len(message) <= size:
        return [message]
    return [message[start : start + size] for start in range(0, len(message), size)]
