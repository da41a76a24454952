"""The memory of one session: what was said, and what was heard of it. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import attrs
import msgspec
from vivavoce import Cut, Item
from vivavoce.events import Role

from vivavoce_local_provider.conversation import Conversation

__all__ = ["Dialogue"]


@attrs.define
class _Sentence:
    text: str
    ms: float = 0.0

    def heard(self, ms: float) -> str:
        """The words said within the first `ms` milliseconds: in proportion, whole ones."""
        if ms >= self.ms:
            return self.text
        words = self.text.split()
        return " ".join(words[: int(len(words) * max(0.0, ms) / self.ms)])


class Dialogue:
    """Items in the order of the conversation; of those that were spoken, how long each sentence took."""

    def __init__(self, history: Iterable[Item] = ()) -> None:
        self._items = list(history)
        self._spoken: dict[str, list[_Sentence]] = {}

    def view(self, instructions: str | None = None) -> Conversation:
        """The conversation as a responder sees it."""
        return Conversation(tuple(self._items), instructions)

    def add(self, text: str, role: Role, item_id: str | None = None) -> None:
        """A message of either side, whole."""
        self._items.append(Item(role=role, text=text, id=item_id))

    def say(self, item_id: str, sentence: str) -> None:
        """The assistant begins a sentence."""
        if item_id not in self._spoken:
            self._spoken[item_id] = []
            self._items.append(Item(role="assistant", id=item_id))
        self._spoken[item_id].append(_Sentence(sentence))
        self._write(item_id, " ".join(spoken.text for spoken in self._spoken[item_id]), interrupted=False)

    def spoke(self, item_id: str, ms: float) -> None:
        """The sentence that was begun last went on for `ms` milliseconds."""
        self._spoken[item_id][-1].ms += ms

    def call(self, call_id: str, name: str, arguments: Mapping[str, Any]) -> None:
        """The assistant calls a tool."""
        text = msgspec.json.encode(arguments).decode()
        self._items.append(Item(type="tool_call", call_id=call_id, name=name, arguments=text))

    def result(self, call_id: str, output: str) -> None:
        """The tool's output."""
        self._items.append(Item(type="tool_result", call_id=call_id, output=output))

    def cut(self, cut: Cut) -> None:
        """Only `cut.played_ms` of the item was heard: forget the rest, and the item if it was nothing."""
        left = cut.played_ms
        heard = []
        for sentence in self._spoken.get(cut.item_id, ()):
            if left <= 0:
                break
            heard.append(sentence.heard(left))
            left -= sentence.ms
        if cut.item_id in self._spoken:
            self._write(cut.item_id, " ".join(text for text in heard if text), interrupted=True)

    def _write(self, item_id: str, text: str, *, interrupted: bool) -> None:
        for index, item in enumerate(self._items):
            if item.id == item_id:
                if text:
                    self._items[index] = msgspec.structs.replace(item, text=text, interrupted=interrupted)
                else:
                    del self._items[index]
                return
