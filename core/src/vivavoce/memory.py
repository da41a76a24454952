"""What a voice remembers of its conversation, and what it consumed: across sessions, until the voice is gone."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from vivavoce.events import Turn, Usage
from vivavoce.items import Item
from vivavoce.turns import heard_text

__all__ = ["Memory"]


class Memory:
    """`items` is the history, what a reconnect replays; `usage` the sum of what was consumed."""

    def __init__(self, items: Iterable[Item]) -> None:
        self.items = list(items)
        self.usage = Usage()

    def record(self, turn: Turn) -> None:
        """Keep a finished turn, if anything was said."""
        if turn.text:
            self.items.append(
                Item(role=turn.role, text=turn.text, id=turn.item_id, interrupted=turn.interrupted)
            )

    def record_call(self, call_id: str, name: str, arguments: str) -> None:
        """Keep a tool call; `arguments` is its JSON text."""
        self.items.append(Item(type="tool_call", call_id=call_id, name=name, arguments=arguments))

    def record_result(self, call_id: str, output: str) -> None:
        """Keep the one output of a tool call."""
        self.items.append(Item(type="tool_result", call_id=call_id, output=output))

    def correct(self, item_id: str, fraction: float) -> None:
        """Of an assistant's turn that is kept already, only `fraction` was heard; what nobody heard was never said."""
        for place, item in enumerate(self.items):
            if item.id == item_id and item.role == "assistant" and not item.interrupted:
                text = heard_text(item.text, fraction)
                cut = msgspec.structs.replace(item, text=text, interrupted=True)
                self.items[place : place + 1] = [cut] if text else []
                return

    def add_usage(self, usage: Usage) -> None:
        """Add what was consumed."""
        self.usage = self.usage + usage
