"""The assistant's side of a session: responses asked for, begun by themselves, stopped."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from vivavoce import Item, Tool, VoiceError
from vivavoce.events import Event
from vivavoce_openai_realtime.protocol import Fault
from vivavoce_openai_realtime.protocol import client_events as wire
from vivavoce_openai_realtime.protocol.session_rules import check_response
from vivavoce_openai_realtime.protocol.values import given

from vivavoce_gateway import shapes
from vivavoce_gateway.replies import Replies, Reply

if TYPE_CHECKING:
    from vivavoce_gateway.session import ClientSession

__all__ = ["AssistantTurns"]

logger = logging.getLogger("vivavoce.gateway")


class AssistantTurns:
    """Belongs to a `ClientSession`, which hands it the client's requests and the provider's events."""

    def __init__(self, session: ClientSession) -> None:
        self._session = session
        self._protocol = session.protocol
        self._backend = session.backend
        self._metrics = session.metrics
        self._replies = Replies(
            self._protocol,
            source=lambda: self._backend.voice.output_format,
            stop=self._stop_provider,
            finished=self._finished,
            first_audio=self._speaks,
        )
        self.edited = False
        """The client changed what was said before: the provider is told the whole conversation with each request."""
        self._waiting_since: float | None = None  # for the reply's first audio
        self._extra_tools: dict[str, Tool] = {}

    def take(self, event: Event) -> bool:
        """An event of the provider; whether it was one about a reply."""
        return self._replies.take(event)

    async def respond(self, event: wire.ResponseCreate) -> None:
        """The client asks for a response."""
        params = check_response(given(event.response) or {}, flat=self._protocol.beta)
        items = self._input(params["input"]) if "input" in params else None
        options = shapes.reply_options(self._protocol.session, params, items)
        self._waiting_since = self._waiting_since or asyncio.get_running_loop().time()
        await self._ask(self._replies.begin(event, params), options)

    def _input(self, items: Sequence[Mapping[str, Any]]) -> list[Item]:
        found = []
        for index, item in enumerate(items):
            known: Mapping[str, Any] | None = item
            if item.get("type") == "item_reference":
                known = self._protocol.conversation.get(str(item.get("id")))
            if known is None:
                text = f"The item with id '{str(item.get('id'))[:64]}' does not exist."
                raise Fault("invalid_value", text, f"response.input[{index}].id")
            try:
                made = shapes.history_item(known, self._session.user.transcripts)
            except (AttributeError, KeyError, TypeError, VoiceError):
                raise Fault("invalid_value", "This is no item.", f"response.input[{index}]") from None
            if made is not None:
                found.append(made)
        return found

    def _whole_conversation(self) -> list[Item]:
        conversation, transcripts = self._protocol.conversation, self._session.user.transcripts
        kept = (conversation.get(item_id) for item_id in conversation.order)
        made = (shapes.history_item(item, transcripts) for item in kept if item is not None)
        return [item for item in made if item is not None]

    async def by_itself(self) -> None:
        """The user's turn is over: answer it, unless a response is under way."""
        if self._protocol.session["type"] != "realtime" or not self._backend.can("turns"):
            return
        active = self._protocol.active_response
        if active is not None:
            message = f"Conversation already has an active response in progress: {active}. Wait until the response is finished before creating a new one."
            self._session.tell(Fault("conversation_already_has_active_response", message))
            return
        await self._ask(self._replies.begin(None, {}), shapes.reply_options(self._protocol.session, {}, None))

    async def _ask(self, reply: Reply, options: dict[str, Any]) -> None:
        self._session.user.quiet()
        self._session.flush()
        await self._session.jobs.put(partial(self._answer, reply, options))

    async def _answer(self, reply: Reply, options: dict[str, Any]) -> None:
        if reply.dead:
            return
        await self._offer(options)
        if self.edited and "input" not in options:
            await self._session.user.understood()
            options["input"] = self._whole_conversation()
        self._replies.expect(reply)
        try:
            await self._backend.voice.answer(**options)
        except VoiceError as refused:
            self._session.log("a reply was refused", error=type(refused).__name__, code=refused.code)
            self._replies.fail(reply, refused)
        finally:
            self._replies.forget(reply)
            self._session.flush()

    async def _offer(self, options: dict[str, Any]) -> None:
        """Tools of one response: the core must know them when they are called, and other responses must not be offered
        them."""
        tools: Sequence[Tool] | None = options.get("tools")
        new = [tool for tool in tools or () if self._extra_tools.get(tool.name) != tool]
        if new:
            self._extra_tools |= {tool.name: tool for tool in new}
            await self._backend.voice.add_tools(new)
        if self._extra_tools and tools is None:
            options["tools"] = shapes.tools_of(self._protocol.session["tools"])

    def tools_replaced(self) -> None:
        """The session has other tools now; those of single responses went with the old ones."""
        self._extra_tools.clear()

    async def cancel(self, event: wire.ResponseCancel) -> None:
        """The client stops a response."""
        reply = self._replies.get(given(event.response_id) or self._protocol.active_response)
        if reply is not None:
            self._stop(reply, "client_cancelled")

    async def truncated(self, event: wire.ConversationItemTruncate) -> None:
        """The client heard only so much of an item. While a reply runs, the provider is told when it is stopped."""
        reply, provider_item = self._replies.items.get(event.item_id, (None, ""))
        if reply is not None and self._protocol.active_response is None and self._backend.can("interrupt"):
            self._session.spawn(
                self._backend.voice.interrupt(item_id=provider_item or None, played_ms=event.audio_end_ms)
            )

    def lost(self) -> None:
        """The provider's session broke; another one is being opened, with what was said."""
        self._replies.lost()

    def barge_in(self) -> None:
        """The user speaks: the reply in the conversation ends."""
        if (reply := self._replies.active) is not None:
            self._stop(reply, "turn_detected")

    def _stop(self, reply: Reply, reason: str) -> None:
        self._replies.cancel(reply, reason)
        if reply.began:
            self._stop_provider(reply)

    def _stop_provider(self, reply: Reply) -> None:
        """Stop the provider's part of a reply, and cut its memory to what can have been heard by now."""
        if not reply.out_of_band and self._backend.can("interrupt"):
            heard = reply.heard_ms(asyncio.get_running_loop().time())
            self._session.spawn(self._backend.voice.interrupt(played_ms=heard))

    def turn_ended(self) -> None:
        """The user's turn is over: the time to the reply's first audio counts from here."""
        self._waiting_since = asyncio.get_running_loop().time()

    def _speaks(self, reply: Reply) -> None:
        if self._waiting_since is not None and reply.spoken_at is not None:
            self._metrics.latency.observe(reply.spoken_at - self._waiting_since)
            self._waiting_since = None

    def _finished(self, reply: Reply, status: str) -> None:
        self._waiting_since = None
        self._metrics.responses.labels(status).inc()
        self._metrics.audio.labels("out").inc(reply.sent_ms / 1000)
        now = asyncio.get_running_loop().time()
        self._session.user.quiet_for((reply.sent_ms - reply.heard_ms(now)) / 1000)
