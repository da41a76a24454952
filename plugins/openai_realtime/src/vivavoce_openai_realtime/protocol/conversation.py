"""The conversation a service keeps: items in order, and the audio of those that have some."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from . import states
from .faults import Fault, missing
from .states import ItemState, step
from .values import JSON, AudioFormat

__all__ = ["Conversation"]

_KINDS = (
    "message",
    "function_call",
    "function_call_output",
    "mcp_list_tools",
    "mcp_call",
    "mcp_approval_request",
    "mcp_approval_response",
)
_PARTS = {
    "system": ("input_text",),
    "user": ("input_text", "input_audio", "input_image"),
    "assistant": ("output_text", "output_audio", "text", "audio"),
}


class Conversation:
    """Items by id, in order. Methods raise `Fault` for what the application may not do, and change nothing then."""

    def __init__(self, new_id: Callable[[str], str]) -> None:
        self._new_id = new_id
        self._items: dict[str, JSON] = {}
        self._states: dict[str, ItemState] = {}
        self._order: list[str] = []
        self._audio: dict[str, tuple[int, AudioFormat]] = {}

    @property
    def order(self) -> tuple[str, ...]:
        """Ids, oldest first."""
        return tuple(self._order)

    def get(self, item_id: str) -> JSON | None:
        return self._items.get(item_id)

    def last(self) -> str | None:
        return self._order[-1] if self._order else None

    def add(self, item: JSON, previous: str | None = None) -> str | None:
        """Puts an item of the service's own after `previous` (`None`: at the end); returns what it comes after."""
        at = len(self._order) if previous is None else self._order.index(previous) + 1
        self._order.insert(at, item["id"])
        self._items[item["id"]] = item
        self._move(item["id"], "add")
        return self._order[at - 1] if at else None

    def finish(self, item_id: str, item: JSON) -> None:
        """The item is complete."""
        if item_id in self._items:
            self._items[item_id] = item
            self._move(item_id, "done")

    def create(self, item: Mapping[str, Any], previous: str | None) -> tuple[JSON, str | None]:
        """An item of the application's: the item as kept, and the id it comes after."""
        kept = self._checked(item)
        at = self._place(previous)
        self._order.insert(at, kept["id"])
        self._items[kept["id"]] = kept
        self._states[kept["id"]] = ItemState.DONE
        return kept, self._order[at - 1] if at else None

    def retrieve(self, item_id: str) -> JSON:
        return self._known(item_id, "retrieve")

    def delete(self, item_id: str) -> None:
        self._known(item_id, "delete")
        self._order.remove(item_id)
        del self._items[item_id]
        self._audio.pop(item_id, None)
        self._move(item_id, "delete")

    def heard(self, item_id: str, size: int, format: AudioFormat) -> None:
        """The model spoke `size` more bytes of an item."""
        before = self._audio.get(item_id, (0, format))[0]
        self._audio[item_id] = (before + size, format)

    def transcribed(self, item_id: str, transcript: str) -> None:
        """What the user said in an item's first part; nothing where the item is gone."""
        item = self._items.get(item_id)
        if item is not None and item.get("content"):
            first = {**item["content"][0], "transcript": transcript}
            self._items[item_id] = {**item, "content": [first, *item["content"][1:]]}

    def truncate(self, item_id: str, content_index: int, audio_end_ms: int) -> None:
        """Cuts an assistant's audio, and forgets its words: nobody knows which of them were heard."""
        item = self._known(item_id, "truncate")
        if item.get("role") != "assistant" or item_id not in self._audio:
            raise Fault("unsupported_content_type", "Only model output audio messages can be truncated")
        content = item.get("content") or []
        if not 0 <= content_index <= max(len(content) - 1, 0):
            raise Fault("invalid_value", f"The item has no content part {content_index}.", "content_index")
        size, format = self._audio[item_id]
        has = format.milliseconds(size)
        if not 0 <= audio_end_ms <= has:
            raise Fault(
                "invalid_value",
                f"Audio content of {has}ms is already shorter than {audio_end_ms}ms",
                "audio_end_ms",
            )
        self._audio[item_id] = (audio_end_ms * format.sample_rate // 1000 * format.sample_bytes, format)
        self._items[item_id] = {
            **item,
            "content": [{k: v for k, v in p.items() if k != "transcript"} for p in content],
        }
        self._move(item_id, "truncate")

    # --- inside

    def _move(self, item_id: str, event: str) -> None:
        state = step(states.ITEM, self._states.get(item_id), event)
        if state is not None:
            self._states[item_id] = state

    def _known(self, item_id: str, verb: str) -> JSON:
        item = self._items.get(item_id)
        if item is None:
            raise Fault(f"item_{verb}_invalid_item_id", f"The item with id '{item_id}' does not exist.")
        return item

    def _place(self, previous: str | None) -> int:
        if not previous:
            return len(self._order)
        if previous == "root":
            return 0
        if previous not in self._items:
            raise Fault("invalid_value", f"The item with id '{previous}' does not exist.", "previous_item_id")
        return self._order.index(previous) + 1

    def _checked(self, item: Mapping[str, Any]) -> JSON:
        kind, item_id = item.get("type"), item.get("id")
        if kind is None:
            raise missing("item.type")
        if kind not in _KINDS:
            raise Fault("invalid_value", f"Invalid value: '{str(kind)[:64]}'.", "item.type")
        if item_id is not None and (not isinstance(item_id, str) or not 0 < len(item_id) <= 32):
            raise Fault("invalid_value", "An item's id is a string of 1 to 32 characters.", "item.id")
        if item_id in self._items:
            raise Fault(
                "item_create_duplicate_item_id", f"An item with id '{item_id}' exists already.", "item.id"
            )
        if kind == "message":
            _check_message(item)
        self._check_call(kind, item)
        return {
            **item,
            "id": item_id or self._new_id("item"),
            "object": "realtime.item",
            "status": "completed",
        }

    def _check_call(self, kind: str, item: Mapping[str, Any]) -> None:
        needed = {"function_call": ("name", "arguments"), "function_call_output": ("call_id", "output")}.get(
            kind, ()
        )
        for name in needed:
            if not isinstance(item.get(name), str):
                raise missing(f"item.{name}")
        if kind == "function_call_output":
            calls = {i.get("call_id") for i in self._items.values() if i.get("type") == "function_call"}
            if item["call_id"] not in calls:
                raise Fault(
                    "invalid_value", f"No function call with id '{item['call_id']}' exists.", "item.call_id"
                )


def _check_message(item: Mapping[str, Any]) -> None:
    parts = _PARTS.get(str(item.get("role")))
    if parts is None:
        raise Fault("invalid_value", "A message's role is system, user or assistant.", "item.role")
    content = item.get("content")
    if not isinstance(content, list):
        raise missing("item.content")
    for index, part in enumerate(content):
        path = f"item.content[{index}]"
        if not isinstance(part, dict) or part.get("type") not in parts:
            raise Fault("invalid_value", f"Invalid value; supported are: {', '.join(parts)}.", f"{path}.type")
        needed = {"input_audio": "audio", "input_image": "image_url"}.get(part["type"], "text")
        if not isinstance(part.get(needed), str):
            raise missing(f"{path}.{needed}")
