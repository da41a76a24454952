"""Long runs of the core: nothing grows. `make soak` runs them; `make test` does not."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
from typing import Any

import pytest
from vivavoce import Voice, events, hookimpl
from vivavoce.testing import no_leaks

pytestmark = pytest.mark.soak
FRAME = bytes(960)


class Echo:
    """Answers with as much audio as it was sent since the last reply, at most a second."""

    api = 1
    name = "echo"
    capabilities = frozenset({"realtime", "turns", "interrupt", "truncate", "text"})

    def __init__(self) -> None:
        self.heard = 0
        self.replies = 0

    @hookimpl
    async def connect(self, context: Any) -> None:
        self.context = context

    @hookimpl
    def send(self, context: Any, audio: bytes) -> None:
        self.heard += len(audio)

    @hookimpl
    def send_text(self, context: Any, text: str, role: str) -> None:
        pass

    @hookimpl
    def interrupt(self, context: Any) -> None:
        pass

    @hookimpl
    async def answer(self, context: Any, options: Any) -> str:
        self.replies += 1
        id, item = f"resp_{self.replies}", f"item_{self.replies}"
        context.emit(events.ResponseCreated(id))
        for _ in range(min(50, self.heard // len(FRAME))):
            context.emit(events.Speaking(FRAME, id, item))
        context.emit(events.Writing("so you say", "assistant", item, id, final=True))
        context.emit(events.ResponseDone(id))
        self.heard = 0
        return id

    @hookimpl
    async def close(self, context: Any, reason: str) -> None:
        pass


def memory() -> int:
    """Resident bytes, after a collection."""
    gc.collect()
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize()


async def talk(turns: int) -> None:
    voice = Voice(Echo())
    voice.on("speaking", lambda event: None)
    async with voice:
        for number in range(turns):
            for _ in range(5):
                await voice.send(FRAME)
            await voice.send_text(f"turn {number}")
            response = await voice.answer()
            async for _ in response.audio:
                pass


async def test_sessions_by_the_thousand_leave_nothing() -> None:
    """Five thousand conversations: memory stays within 8 MiB, and no task or descriptor stays."""
    for _ in range(300):
        await talk(2)
    before, descriptors = memory(), len(os.listdir("/proc/self/fd"))
    async with no_leaks():
        for _ in range(5_000):
            await talk(2)
    assert len(asyncio.all_tasks()) == 1
    assert len(os.listdir("/proc/self/fd")) == descriptors
    assert memory() - before < 8 * 1024 * 1024


async def test_two_hours_of_audio_take_constant_memory() -> None:
    """Two hours of frames sent, and two of replies heard: only the history grows, by its text."""
    provider = Echo()
    voice = Voice(provider)
    voice.on("speaking", lambda event: None)
    async with voice:

        async def minutes(count: int) -> None:
            for _ in range(count * 60):
                for _ in range(50):
                    await voice.send(FRAME)
                await voice.answer()

        await minutes(5)
        before = memory()
        await minutes(120)
        assert memory() - before < 16 * 1024 * 1024
