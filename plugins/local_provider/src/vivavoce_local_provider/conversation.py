"""What a responder is, and what it is handed.

    async def parrot(conversation, tools):
        yield f"You said {conversation.said}."

A responder is an async generator: it yields text, which is spoken sentence by sentence while the rest is still being made,
and `ToolCallRequest`s, which are run when it ends; it is then asked again, with their results in the conversation.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import attrs
import msgspec
from vivavoce import ConfigError, Item, Tool
from vivavoce.config import nearest

__all__ = ["Conversation", "Responder", "ToolCallRequest", "ToolOutcome", "find_responder"]


class ToolCallRequest(msgspec.Struct, frozen=True):
    """A responder's wish to have a tool called. The core checks the arguments, runs it and keeps its time limit."""

    name: str
    arguments: Mapping[str, Any] = msgspec.field(default_factory=dict)


class ToolOutcome(msgspec.Struct, frozen=True):
    """A tool call that has its output: text, JSON unless the tool gave text; `{"error": ...}` if it failed."""

    call_id: str
    name: str
    arguments: str
    output: str


@attrs.frozen
class Conversation:
    """The conversation so far, as it was heard: what was cut off by an interruption is not in it.

    `instructions` are those of the session, or of this one reply.
    """

    items: tuple[Item, ...] = ()
    instructions: str | None = None

    @property
    def said(self) -> str:
        """What the user said since the assistant last spoke, or `""`."""
        return " ".join(item.text for item in self._newest() if item.role == "user").strip()

    @property
    def outcomes(self) -> tuple[ToolOutcome, ...]:
        """The tool calls since the assistant last spoke that have their output."""
        calls = {item.call_id: item for item in self.items if item.type == "tool_call"}
        outcomes = []
        for item in self._newest():
            call = calls.get(item.call_id) if item.type == "tool_result" else None
            if call is not None:
                outcomes.append(
                    ToolOutcome(
                        call.call_id or "", call.name or "", call.arguments or "{}", item.output or ""
                    )
                )
        return tuple(outcomes)

    @property
    def last_reply(self) -> str:
        """What the assistant said last, or `""`."""
        return next((item.text for item in reversed(self.items) if item.role == "assistant"), "")

    def _newest(self) -> Sequence[Item]:
        for index in range(len(self.items) - 1, -1, -1):
            if self.items[index].role == "assistant":
                return self.items[index + 1 :]
        return self.items


Responder = Callable[[Conversation, Sequence[Tool]], AsyncIterator[str | ToolCallRequest]]
"""`async def responder(conversation, tools)` with `yield`, or an object that is called like one; one that has an
`aclose` method is closed with the session."""

_SHIPPED = {
    "echo": "vivavoce_local_provider.responders.echo:echo",
    "assistant": "vivavoce_local_provider.responders.assistant:assistant",
    "chat": "vivavoce_local_provider.responders.chat:ChatResponder",
}


def find_responder(wanted: Any, config: Any = None) -> Responder:
    """A responder by name (`echo`, `assistant`, `chat`), as `"module:function"`, or the function itself.

    A class is called with the provider's config. Raises `ConfigError`.
    """
    found = wanted
    if isinstance(wanted, str):
        found = _load(_SHIPPED.get(wanted, wanted))
    if inspect.isclass(found):
        make: Any = found
        found = make(config)
    if not callable(found):
        raise ConfigError(
            f"responder={wanted!r} is no function: give an async generator function, 'module:function',"
            f" or one of {', '.join(_SHIPPED)}",
            option="responder",
        )
    return found  # type: ignore[no-any-return]


def _load(path: str) -> Any:
    module, colon, name = path.partition(":")
    if not colon:
        meant = nearest(path, _SHIPPED)
        hint = f" Did you mean {meant!r}?" if meant else ""
        raise ConfigError(
            f"no responder is named {path!r}.{hint} There are {', '.join(_SHIPPED)}; your own: 'module:function'",
            option="responder",
        )
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as bad:
        raise ConfigError(f"responder={path!r} cannot be loaded: {bad}", option="responder") from bad
