"""Tells the turns of one session in conversation order, each when it has been heard and its text is there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Iterator
from functools import partial

from vivavoce.events import ItemAdded, Role, Turn, Writing
from vivavoce.replies import Reply
from vivavoce.turns import Conversation

__all__ = ["TRANSCRIPT_DEADLINE", "TurnKeeper"]

TRANSCRIPT_DEADLINE = 10.0
"""Seconds that a turn waits for its transcript before the turns behind it go on."""
_HEARD_SLACK = 1.0
_TAKEN_SLACK = 0.05


class TurnKeeper:
    """`deliver` records and emits a finished turn; `numbers` name the items of a voice that the service does not."""

    def __init__(self, deliver: Callable[[Turn], None], numbers: Iterator[int]) -> None:
        self._deliver = deliver
        self._conversation = Conversation()
        self._timers: dict[Hashable, asyncio.TimerHandle] = {}
        self._numbers = numbers
        self._unnamed: dict[Role, str] = {}
        self._ended = False

    def add(self, event: ItemAdded) -> None:
        self._conversation.add(event.item_id, event.role, event.previous_id, transcribed=event.transcribed)
        self._release()

    def add_reply(self, item_id: str) -> None:
        """A reply began to speak this item."""
        self._conversation.add_if_new(item_id, "assistant")

    def write(self, event: Writing) -> str:
        """Take text; returns the item's id, one of our own if it has none."""
        item_id = event.item_id
        if item_id is None:
            item_id = self._unnamed.get(event.role) or f"{event.role}-{next(self._numbers)}"
            self._unnamed[event.role] = "" if event.final else item_id
        self._conversation.write(item_id, event.role, event.text, final=event.final)
        if event.final and event.role == "assistant" and event.response_id is None:
            self._conversation.end(item_id)
        return item_id

    def settle(self, turn: Turn) -> None:
        """The provider gave a finished turn itself."""
        if turn.item_id is None:
            self._deliver(turn)
        else:
            self._conversation.settle(turn)
            self._release()

    def say(self, text: str, role: Role) -> None:
        """The app added a text message: a turn of its own, in its place."""
        self.settle(Turn(role, text, f"text-{next(self._numbers)}"))

    def finish(self, reply: Reply, pushed: bool) -> None:
        """The reply is over; its turn is, too, once it has been heard."""
        if reply.spoken and reply.stream() is not None and not reply.playback.taken and not reply.dead:
            # Who was given the stream just now may not have had the time to begin.
            self._timer(reply, _TAKEN_SLACK, partial(self._finish, reply, pushed))
        else:
            self._finish(reply, pushed)

    def _finish(self, reply: Reply, pushed: bool) -> None:
        left = reply.received_ms - reply.heard_ms(pushed)
        if reply.playback.taken and left > 0 and not reply.dead:
            heard = partial(self._heard, reply)
            reply.playback.on_heard = heard
            self._timer(reply, left / 1000 + _HEARD_SLACK, heard)
        else:
            self._heard(reply)

    def _heard(self, reply: Reply) -> None:
        reply.playback.on_heard = None
        if not self._ended:
            self._stop(reply)
            for item_id in reply.received:
                self._conversation.end(item_id)
            self._release()

    def interrupt(self, reply: Reply, heard_ms: float) -> None:
        """The reply was cut after `heard_ms`."""
        self._stop(reply)
        reply.playback.on_heard = None
        for item_id in reply.received:
            fraction = reply.fraction(item_id, heard_ms)
            self._conversation.end(item_id, interrupted=fraction < 1 or reply.running, fraction=fraction)
        self._release()

    def release(self) -> None:
        self._release()

    def end(self) -> None:
        """The session is over: tell what is left as it stands."""
        self._ended = True
        for key in tuple(self._timers):
            self._stop(key)
        self._release(all=True)

    def _release(self, *, all: bool = False) -> None:
        for turn in self._conversation.release(all=all):
            self._deliver(turn)
        waiting = None if all else self._conversation.waiting()
        if waiting is not None and waiting not in self._timers:
            self._timer(waiting, TRANSCRIPT_DEADLINE, partial(self._give_up, waiting))

    def _give_up(self, item_id: str) -> None:
        self._conversation.give_up(item_id)
        self._release()

    def _timer(self, key: Hashable, delay: float, action: Callable[[], None]) -> None:
        def fire() -> None:
            self._timers.pop(key, None)
            action()

        self._stop(key)
        self._timers[key] = asyncio.get_running_loop().call_later(delay, fire)

    def _stop(self, key: Hashable) -> None:
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()
