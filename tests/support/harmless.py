"""Providers that do it their own way, and keep every promise: the kit must not call them wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from vivavoce import events, hookimpl
from wrong_base import Realtime


class Slow(Realtime):
    """Takes its time with everything."""

    @hookimpl
    async def connect(self, context: Any) -> None:
        await asyncio.sleep(0.1)
        await super().connect(context)

    @hookimpl
    async def answer(self, context: Any, options: Mapping[str, Any]) -> str:
        await asyncio.sleep(0.05)
        return await super().answer(context, options)

    @hookimpl
    async def close(self, context: Any, reason: str) -> None:
        await super().close(context, reason)
        await asyncio.sleep(0.05)


class Chatty(Realtime):
    """Tells more than it must: raw messages, usage, session updates."""

    def filter(self, context: Any, event: Any) -> Any:
        extra = events.ProviderMessage("chatter", {"about": type(event).__name__})
        if isinstance(event, events.ResponseDone):
            return (extra, event, events.Usage(output_text_tokens=1))
        return (extra, event, extra)


class Finer(Realtime):
    """Tells audio in smaller pieces, and text letter by letter."""

    def filter(self, context: Any, event: Any) -> Any:
        if isinstance(event, events.Speaking):
            sizes = range(0, len(event.audio), 320)
            return [
                events.Speaking(event.audio[n : n + 320], event.response_id, event.item_id) for n in sizes
            ]
        if isinstance(event, events.Writing) and not event.final and event.role == "assistant":
            return [events.Writing(c, "assistant", event.item_id, event.response_id) for c in event.text]
        return (event,)
