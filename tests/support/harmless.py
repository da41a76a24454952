"""Providers that do it their own way, and keep every promise: the kit must not call them wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from vivavoce import events, hookimpl
from wrong_base import Realtime
from wrong_lines import Lines


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


class Swapped(Realtime):
    """Tells text after the audio that came with it: each as a stream of its own is in order."""

    kept: Any = None

    def filter(self, context: Any, event: Any) -> Any:
        kept, self.kept = self.kept, None
        before = (kept,) if kept is not None else ()
        if isinstance(event, events.Writing) and event.role == "assistant" and not event.final:
            self.kept = event
            return before
        return (event, *before) if isinstance(event, events.Speaking) else (*before, event)


class EndsAudioItself(Realtime):
    """Tells the end of a reply's audio, which the core would know from the end of the reply."""

    spoken: Any = None

    def filter(self, context: Any, event: Any) -> Any:
        if isinstance(event, events.Speaking):
            self.spoken = event.response_id
        if isinstance(event, events.ResponseDone) and event.id == self.spoken:
            why = {"completed": "completed", "failed": "lost"}.get(event.status, "cancelled")
            return (events.SpeakingDone(why, event.id), event)  # type: ignore[arg-type]
        return (event,)


class WholeTexts(Realtime):
    """Tells texts when they are whole, as services without deltas do."""

    def filter(self, context: Any, event: Any) -> Any:
        return () if isinstance(event, events.Writing) and not event.final else (event,)


class AnswersWithoutId(Realtime):
    """Leaves it to the events to say which reply has begun."""

    @hookimpl
    async def answer(self, context: Any, options: Mapping[str, Any]) -> None:  # type: ignore[override]
        await super().answer(context, options)


class OwnReader(Lines):
    """Has a protocol of its own, and reads by itself."""
