"""Replies and turns, decided without I/O: what was received, what was heard, what to cut, which turn comes next."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from vivavoce.audio import AudioFormat
from vivavoce.events import Role, Turn
from vivavoce.items import Cut

__all__ = ["Conversation", "cut_items", "heard_text", "milliseconds"]


def cut_items(items: Iterable[tuple[str, float]], heard_ms: float) -> tuple[Cut, ...]:
    """Where to cut the items of a reply, given as (id, received ms), after `heard_ms` of them were heard in a row.

    Items that were heard to the end need no cut; those nothing was heard of get 0. (Heard 1 s of item A, nothing of B:
    A at 1000 ms, B at 0.)
    """
    cuts = []
    left = heard_ms
    for item_id, received_ms in items:
        played = min(max(left, 0.0), received_ms)
        left -= received_ms
        if played < received_ms:
            cuts.append(Cut(item_id, played, received_ms))
    return tuple(cuts)


def heard_text(text: str, fraction: float) -> str:
    """The words of `text` that were said when `fraction` of its audio was heard: in proportion, by whole words."""
    if fraction >= 1:
        return text
    words = text.split()
    return " ".join(words[: int(len(words) * max(0.0, fraction) + 1e-9)])


class _Entry(msgspec.Struct):
    item_id: str
    role: Role
    awaits_text: bool = True
    ended: bool = True
    interrupted: bool = False
    fraction: float = 1.0
    deltas: list[str] = msgspec.field(default_factory=list)
    final: str | None = None

    @property
    def complete(self) -> bool:
        return self.ended and (self.final is not None or not self.awaits_text)

    def turn(self) -> Turn:
        whole = self.final if self.final is not None else "".join(self.deltas)
        text = heard_text(whole, self.fraction) if self.interrupted else whole
        return Turn(self.role, text, self.item_id, self.interrupted)


class Conversation:
    """The order of turns. Each is released once, when it is complete and every turn before it was."""

    def __init__(self) -> None:
        self._entries: list[_Entry] = []
        self._released: dict[str, None] = {}

    def add(
        self, item_id: str, role: Role, previous_id: str | None = None, *, transcribed: bool = True
    ) -> None:
        """An item takes its place: after `previous_id`, or at the end."""
        entry = self._find(item_id)
        if entry is None and item_id not in self._released:
            entry = _Entry(item_id, role, ended=role != "assistant")
            self._entries.append(entry)
        if entry is None:
            return
        entry.awaits_text = transcribed and role == "user"
        before = self._find(previous_id)
        if before is not None and before is not entry:
            self._entries.remove(entry)
            self._entries.insert(self._entries.index(before) + 1, entry)

    def write(self, item_id: str, role: Role, text: str, *, final: bool) -> None:
        """Text of an item; an item not seen before takes its place at the end."""
        self.add_if_new(item_id, role)
        entry = self._find(item_id)
        if entry is None:
            return
        if final:
            entry.final = text
        else:
            entry.deltas.append(text)

    def add_if_new(self, item_id: str, role: Role) -> None:
        if self._find(item_id) is None:
            self.add(item_id, role)

    def end(self, item_id: str, *, interrupted: bool = False, fraction: float = 1.0) -> None:
        """The item is over; of an interrupted one `fraction` was heard."""
        entry = self._find(item_id)
        if entry is not None and not (entry.ended and entry.interrupted):
            entry.ended = True
            entry.awaits_text = entry.awaits_text and entry.role == "user"
            entry.interrupted, entry.fraction = interrupted, fraction

    def give_up(self, item_id: str) -> None:
        """No text will come for this item."""
        entry = self._find(item_id)
        if entry is not None:
            entry.ended, entry.awaits_text = True, False

    def settle(self, turn: Turn) -> None:
        """The provider gave the finished turn itself."""
        if turn.item_id is None:
            return
        self.add_if_new(turn.item_id, turn.role)
        entry = self._find(turn.item_id)
        if entry is not None:
            entry.final, entry.ended = turn.text, True
            entry.interrupted, entry.fraction = turn.interrupted, 1.0

    def waiting(self) -> str | None:
        """The item that holds the others back because its text is missing, if there is one."""
        first = self._entries[0] if self._entries else None
        return first.item_id if first is not None and first.ended and not first.complete else None

    def release(self, *, all: bool = False) -> Iterator[Turn]:
        """The turns that are next in order and complete; with `all`, whatever is left (the session ended)."""
        while self._entries and (all or self._entries[0].complete):
            entry = self._entries.pop(0)
            turn = entry.turn()
            # A user item without words (noise, a failed transcript) and a reply that said nothing are no turns; words
            # that come after all make one, late.
            if not turn.text and not turn.interrupted:
                continue
            self._released[entry.item_id] = None
            if len(self._released) > 256:
                del self._released[next(iter(self._released))]
            yield turn

    def _find(self, item_id: str | None) -> _Entry | None:
        return next((entry for entry in self._entries if entry.item_id == item_id), None)


def milliseconds(format: AudioFormat, received: Iterable[tuple[str, int]]) -> list[tuple[str, float]]:
    """Received bytes by item as received milliseconds by item."""
    return [(item_id, format.milliseconds(count)) for item_id, count in received]
