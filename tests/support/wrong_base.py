"""What the corpus of wrong providers is made of: good providers with one place to go wrong in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

from vivavoce import AudioFormat, Context, ListenerInfo, SpeakerInfo, Speech, hookimpl
from vivavoce_openai_realtime.provider import OpenAIRealtimeProvider

WRONG: dict[type, str] = {}
"""Every wrong provider, and the check that must catch it."""
ALONE: set[type] = set()
"""Those that no other check catches: `make mutants` tries them all."""


def wrong(check: str, *, alone: bool = False) -> Any:
    """Name the check that catches this provider; `alone`: no other one does."""

    def note(provider: type) -> type:
        WRONG[provider] = check
        if alone:
            ALONE.add(provider)
        return provider

    return note


class Quiet:
    """Declares nothing, does nothing."""

    api = 1
    name = "quiet"
    capabilities: frozenset[str] = frozenset()


class Realtime(OpenAIRealtimeProvider):
    """The real provider of the Realtime protocol; `filter` may change what it emits."""

    conformance_profile = "vivavoce_conformance.profiles:REALTIME"

    def filter(self, context: Context, event: Any) -> Iterable[Any]:
        return (event,)

    @hookimpl
    async def connect(self, context: Any) -> None:
        passes = context.emit

        def emit(event: Any) -> None:
            for one in self.filter(context, event):
                passes(one)

        context.emit = emit
        await super().connect(context)


class Speaker:
    """Speaks and listens without a session."""

    api = 1
    name = "speaker"
    capabilities = frozenset({"speak", "listen"})
    output_format = AudioFormat(16_000)

    @hookimpl
    async def speak(self, text: str | AsyncIterator[str], options: Mapping[str, Any]) -> Speech:
        words = text if isinstance(text, str) else "".join([piece async for piece in text])
        return Speech(self.output_format, self.chunks(words))

    async def chunks(self, words: str) -> AsyncIterator[bytes]:
        for _ in words:
            yield bytes(320)
            await asyncio.sleep(0)

    @hookimpl
    async def listen(self, audio: AsyncIterator[bytes]) -> Any:
        size = 0
        async for chunk in audio:
            size += len(chunk)
        return "something" if size > 100_000 else ""

    @hookimpl
    def get_speakers(self) -> list[SpeakerInfo]:
        return [SpeakerInfo("one"), SpeakerInfo("two")]

    @hookimpl
    def get_listener(self) -> ListenerInfo:
        return ListenerInfo(enabled=True)
