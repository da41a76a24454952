"""The final text of an item: once, when all of its parts are there. The service ends part by part."""

from __future__ import annotations

from collections.abc import Iterator

from vivavoce.events import Role, Writing

from vivavoce_openai_realtime.protocol.events import TextDelta, TextFinal

__all__ = ["ItemTexts"]

_KEPT = 256


class _Item:
    __slots__ = ("parts", "response_id", "role")

    def __init__(self, role: Role, response_id: str | None) -> None:
        self.role = role
        self.response_id = response_id
        self.parts: dict[tuple[int, bool], str] = {}


class ItemTexts:
    """The texts of the items that are being said, and which items are complete. Every method returns what to tell."""

    def __init__(self) -> None:
        self._open: dict[str, _Item] = {}
        self._told: dict[str, None] = {}

    def delta(self, event: TextDelta) -> Writing | None:
        """A piece of text; one of an item that is complete says nothing."""
        if event.item_id in self._told:
            return None
        role: Role = "user" if event.role == "user" else "assistant"
        return Writing(event.text, role, event.item_id, event.response_id)

    def final(self, event: TextFinal) -> Iterator[Writing]:
        """A part is complete. The user's words have one part; a reply's items end with the item or with the reply."""
        item_id = event.item_id
        if item_id in self._told:
            return
        role: Role = "user" if event.role == "user" else "assistant"
        item = self._open.setdefault(item_id, _Item(role, event.response_id))
        item.parts[event.content_index, event.spoken] = event.text
        if role == "user":
            yield from self.done(item_id)
        elif len(self._open) > _KEPT:
            yield from self.done(next(iter(self._open)))

    def done(self, item_id: str) -> Iterator[Writing]:
        """The item is complete."""
        item = self._open.pop(item_id, None)
        if item is None:
            return
        self._told[item_id] = None
        if len(self._told) > _KEPT:
            del self._told[next(iter(self._told))]
        text = "".join(item.parts[part] for part in sorted(item.parts))
        yield Writing(text, item.role, item_id, item.response_id, final=True)

    def finished(self, response_id: str) -> Iterator[Writing]:
        """The reply is over, and all its items with it."""
        for item_id in [key for key, item in self._open.items() if item.response_id == response_id]:
            yield from self.done(item_id)
