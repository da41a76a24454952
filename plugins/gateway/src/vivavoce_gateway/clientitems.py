"""Conversation items that the client creates and deletes, and what the provider is told of them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from vivavoce import ConfigError
from vivavoce_openai_realtime.protocol import Fault, shaping
from vivavoce_openai_realtime.protocol import client_events as wire
from vivavoce_openai_realtime.protocol.codec import b64decode
from vivavoce_openai_realtime.protocol.values import given

from vivavoce_gateway import shapes

if TYPE_CHECKING:
    from vivavoce_gateway.session import ClientSession

__all__ = ["ClientItems"]


class ClientItems:
    """Belongs to a `ClientSession`. `calls` are the ids of the provider's function calls that have no output yet."""

    def __init__(self, session: ClientSession) -> None:
        self._session = session
        self.calls: set[str] = set()

    async def deleted(self, event: wire.ConversationItemDelete) -> None:
        """An item is gone."""
        self._session.assistant.edited = True

    async def created(self, event: wire.ConversationItemCreate) -> None:
        """An item has its place in the conversation; what is new at its end goes to the provider now."""
        item = shaping.item_to_ga(event.item)
        kind = item.get("type")
        order = self._session.protocol.conversation.order
        after = given(event.previous_item_id)
        if kind == "function_call" or (after and (len(order) < 2 or after != order[-2])):
            self._session.assistant.edited = True
        if kind == "function_call_output" and item["call_id"] in self.calls:
            self.calls.discard(item["call_id"])
            await self._session.jobs.put(partial(self._tool_result, item["call_id"], item["output"]))
        if kind == "message":
            await self._message(item, item.get("id") or (order[-1] if order else ""))

    async def _message(self, item: Mapping[str, Any], item_id: str) -> None:
        for part in item["content"]:
            if part["type"] == "input_audio":
                try:
                    audio = b64decode(part["audio"])
                except ValueError:
                    raise Fault("invalid_value", "Invalid value: expected base64.", "item.content") from None
                await self._session.user.add_spoken(item_id, audio)
        text = shapes.message_text({"content": [p for p in item["content"] if p["type"] != "input_audio"]})
        if text:
            send = self._session.backend.voice.send_text
            await self._session.jobs.put(partial(send, text, role=item["role"]))

    async def _tool_result(self, call_id: str, output: str) -> None:
        try:
            await self._session.backend.voice.return_tool_result(call_id, output)
        except ConfigError:
            # The core has answered it: the model called a function that is not there.
            self._session.log("a tool call had its output already")
