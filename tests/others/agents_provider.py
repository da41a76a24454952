"""`openai-agents`' own RealtimeSession as a provider: an adapter that adds nothing, so what fails is the session's.

Run by scripts/others.py in an environment of its own. Every event of the session is told as the core's event of the same
meaning; what the session does not tell is not made up.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from typing import Any, ClassVar

from vivavoce import Context, Interruption, hookimpl
from vivavoce.errors import ConfigError, ConnectionLostError, ProviderError, VoiceError
from vivavoce.events import (
    ItemAdded,
    ProviderMessage,
    ResponseCreated,
    ResponseDone,
    SessionCreated,
    Speaking,
    SpeakingDone,
    Writing,
)
from vivavoce_conformance import Profile

__all__ = ["PROFILE", "AgentsProvider"]

PROFILE = Profile(
    dialect="vivavoce_conformance.peer.realtime:RealtimeDialect",
    url="ws://127.0.0.1:{port}/v1/realtime?model=gpt-realtime",
    credential="api_key",
)


class AgentsProvider:
    """`connect` opens a RealtimeSession, the other hooks are its methods."""

    api = 1
    name = "openai-agents"
    capabilities = frozenset({"realtime", "turns", "text", "interrupt"})
    credentials: ClassVar[Mapping[str, str]] = {"api_key": "OPENAI_API_KEY"}

    def __init__(self) -> None:
        # It takes seconds, which are not the session's: they are spent before `connect` has its budget.
        import agents.realtime  # noqa: F401

        self._session: Any = None
        self._reading: asyncio.Task[None] | None = None
        self._begun: asyncio.Future[str] | None = None
        self._texts: dict[str, str] = {}
        self._items: dict[str, str] = {}
        self._spoken: set[str] = set()

    @hookimpl
    async def connect(self, context: Context) -> None:
        key = context.config.api_key or os.environ.get("OPENAI_API_KEY")
        if not key:
            raise ConfigError("no API key: set OPENAI_API_KEY, or give api_key=", option="api_key")
        os.environ["OPENAI_AGENTS_DISABLE_TRACING"] = "1"
        from agents.realtime import RealtimeAgent, RealtimeRunner

        agent = RealtimeAgent(name="agent", instructions=context.session.instructions)
        settings = {"model_name": "gpt-realtime", "modalities": ["audio"], "tracing": None}
        config = {"api_key": key, "url": context.config.url, "initial_model_settings": settings}
        self._session = await RealtimeRunner(agent).run(model_config=config)
        await self._session.enter()
        self._reading = asyncio.create_task(self._read(context))

    @hookimpl
    async def update_config(self, context: Context) -> None:
        from agents.realtime import RealtimeAgent

        await self._session.update_agent(
            RealtimeAgent(name="agent", instructions=context.session.instructions)
        )

    @hookimpl
    async def send(self, audio: bytes) -> None:
        await self._session.send_audio(audio)

    @hookimpl
    async def send_text(self, text: str, role: str) -> None:
        kind = "output_text" if role == "assistant" else "input_text"
        item = {"type": "message", "role": role, "content": [{"type": kind, "text": text}]}
        await self._raw("conversation.item.create", item=item)

    @hookimpl
    async def commit_input(self) -> None:
        await self._raw("input_audio_buffer.commit")

    @hookimpl
    async def clear_input(self) -> None:
        await self._raw("input_audio_buffer.clear")

    @hookimpl
    async def answer(self) -> str:
        self._begun = asyncio.get_running_loop().create_future()
        await self._raw("response.create")
        return await self._begun

    @hookimpl
    async def interrupt(self, interruption: Interruption) -> None:
        await self._session.interrupt()

    @hookimpl
    async def close(self) -> None:
        reading, self._reading = self._reading, None
        session, self._session = self._session, None
        if session is not None:
            await session.close()
        if reading is not None:
            reading.cancel()
            await asyncio.wait([reading])

    async def _raw(self, type: str, **fields: Any) -> None:
        from agents.realtime.model_inputs import RealtimeModelSendRawMessage

        message: Any = {"type": type, "other_data": fields}
        await self._session.model.send_event(RealtimeModelSendRawMessage(message=message))

    async def _read(self, context: Context) -> None:
        cause: Exception = ConnectionLostError("the session ended")
        try:
            async for event in self._session:
                if event.type == "error":
                    self._tell_error(context, event.error)
                elif event.type == "raw_model_event":
                    self._tell(context, event.data)
                    if getattr(event.data, "status", "") == "disconnected":
                        break
        except Exception as raised:
            cause = raised if isinstance(raised, VoiceError) else ConnectionLostError(str(raised))
        if self._begun is not None and not self._begun.done():
            self._begun.set_exception(cause)
        context.lost(cause)

    def _tell_error(self, context: Context, error: Any) -> None:
        told = ProviderError(str(getattr(error, "message", error)), code=str(getattr(error, "code", "error")))
        if self._begun is not None and not self._begun.done():
            self._begun.set_exception(told)
        else:
            context.emit(told)

    def _tell(self, context: Context, data: Any) -> None:
        tell = getattr(self, f"_on_{data.type}", None)
        if tell is not None:
            tell(context, data)

    def _on_raw_server_event(self, context: Context, data: Any) -> None:
        message = data.data if isinstance(data.data, dict) else {}
        context.emit(ProviderMessage(str(message.get("type")), message))
        if message.get("type") == "session.created":
            context.emit(SessionCreated(message["session"]["id"]))
        elif message.get("type") == "response.created":
            reply = message["response"]["id"]
            context.emit(ResponseCreated(reply))
            self._texts[reply] = ""
            if self._begun is not None and not self._begun.done():
                self._begun.set_result(reply)
        elif message.get("type") == "response.done":
            self._end(context, message["response"])

    def _end(self, context: Context, response: dict[str, Any]) -> None:
        reply = response["id"]
        item = self._items.pop(reply, None)
        text = self._texts.pop(reply, "")
        if item is not None:
            context.emit(Writing(text, "assistant", item, reply, final=True))
        context.emit(ResponseDone(reply, response["status"]))

    def _item(self, context: Context, reply: str, item: str) -> None:
        if reply not in self._items:
            self._items[reply] = item
            context.emit(ItemAdded(item, "assistant"))

    def _on_audio(self, context: Context, data: Any) -> None:
        self._item(context, data.response_id, data.item_id)
        self._spoken.add(data.item_id)
        context.emit(Speaking(data.data, data.response_id, data.item_id))

    def _on_audio_done(self, context: Context, data: Any) -> None:
        reply = next((reply for reply, item in self._items.items() if item == data.item_id), None)
        if data.item_id in self._spoken:  # it is told of replies without audio too
            self._spoken.discard(data.item_id)
            context.emit(SpeakingDone("completed", reply, data.item_id))

    def _on_transcript_delta(self, context: Context, data: Any) -> None:
        self._item(context, data.response_id, data.item_id)
        self._texts[data.response_id] = self._texts.get(data.response_id, "") + data.delta
        context.emit(Writing(data.delta, "assistant", data.item_id, data.response_id))
