"""What a conversation consists of: the items of `voice.history`, and where an interruption cuts them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import msgspec

from vivavoce.errors import ConfigError
from vivavoce.events import Role

__all__ = ["Cut", "Interruption", "Item", "as_items"]


class Item(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A message, a tool call or a tool result. Assistant speech is kept as the text that was heard (`interrupted`
    when it was cut)."""

    type: Literal["message", "tool_call", "tool_result"] = "message"
    role: Role | None = None
    text: str = ""
    id: str | None = None
    interrupted: bool = False
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    output: str | None = None


class Cut(msgspec.Struct, frozen=True):
    """How much of an item was heard: `played_ms` of the `received_ms` milliseconds that arrived. 0: nothing of it."""

    item_id: str
    played_ms: float
    received_ms: float


class Interruption(msgspec.Struct, frozen=True):
    """What to stop and what to cut. `cancel` is false when the service has ended the reply by itself; `cuts` names
    every item that was not heard to its end, in the order of the reply."""

    response_id: str | None
    cancel: bool
    cuts: tuple[Cut, ...] = ()


_NEEDED = {"tool_call": ("call_id", "name"), "tool_result": ("call_id", "output")}


def as_items(history: Iterable[Item | Mapping[str, Any]]) -> tuple[Item, ...]:
    """Take `history=` as given by an app: `Item`s, or mappings with their fields (`{"role": "user", "text": "hi"}`)."""
    items = []
    if not isinstance(history, (list, tuple)) and (
        isinstance(history, (str, bytes, Mapping)) or not isinstance(history, Iterable)
    ):
        raise ConfigError(f"history={history!r}: give a list of items", option="history")
    for number, entry in enumerate(history):
        try:
            item = entry if isinstance(entry, Item) else msgspec.convert(dict(entry), Item, strict=True)
        except (TypeError, ValueError, msgspec.ValidationError) as bad:
            raise ConfigError(
                f"history[{number}] is not an item: {bad}. An item is a vivavoce.Item or a mapping such as "
                '{"role": "user", "text": "hello"}',
                option="history",
            ) from bad
        if item.type == "message" and item.role is None:
            raise ConfigError(
                f"history[{number}] is a message without a role: say role='user' or role='assistant'",
                option="history",
            )
        missing = [name for name in _NEEDED.get(item.type, ()) if getattr(item, name) is None]
        if missing:
            text = f"history[{number}] is a {item.type} without {' and '.join(missing)}"
            raise ConfigError(text, option="history")
        items.append(item)
    return tuple(items)
