"""What an event of GA is called in beta, and how it looks there."""

from __future__ import annotations

from os import urandom

from . import shaping
from .values import JSON

__all__ = ["random_id", "to_beta", "without_audio"]

_NAMES = {
    "conversation.item.added": "conversation.item.created",
    "response.output_text.delta": "response.text.delta",
    "response.output_text.done": "response.text.done",
    "response.output_audio.done": "response.audio.done",
    "response.output_audio_transcript.delta": "response.audio_transcript.delta",
    "response.output_audio_transcript.done": "response.audio_transcript.done",
}
_ABSENT = ("conversation.item.done",)


def random_id(prefix: str) -> str:
    """An id of the service's kind, unique enough, of 25 characters with a prefix of four."""
    return f"{prefix}_{urandom(10).hex()}"


def to_beta(name: str, fields: JSON) -> tuple[str, JSON] | None:
    """The event's name and fields in beta; `None` if beta has no such event."""
    if name in _ABSENT:
        return None
    if "item" in fields:
        fields = {**fields, "item": shaping.item_to_flat(fields["item"])}
    elif name == "response.done":
        output = [shaping.item_to_flat(item) for item in fields["response"]["output"]]
        fields = {"response": {**fields["response"], "output": output}}
    return _NAMES.get(name, name), fields


def without_audio(item: JSON) -> JSON:
    """Items are told without their audio; `conversation.item.retrieve` gives it."""
    content = item.get("content")
    if not isinstance(content, list):
        return item
    # Only a message's parts were looked at: what else an item holds may be anything.
    parts = [
        {k: v for k, v in part.items() if k != "audio"} if isinstance(part, dict) else part
        for part in content
    ]
    return {**item, "content": parts}
