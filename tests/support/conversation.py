"""A voice over the scripted provider, on virtual time, with everything it says recorded: the stage of the core's tests."""

from __future__ import annotations

import asyncio
import functools
import gc
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

import vivavoce
from vivavoce.events import Event
from vivavoce.testing import Reply, ScriptedProvider, Step, VirtualClock, assert_valid, no_leaks, virtual_run

FRAME = b"\1\0" * 480  # 20 ms at 24 kHz


def scenario(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run an async test on the virtual clock; whatever it leaves over fails it."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        _settle_the_heap()

        async def guarded() -> None:
            async with no_leaks():
                await test(*args, **kwargs)

        virtual_run(guarded(), clock=VirtualClock(job_wait=20.0))

    run.__dict__.pop("__wrapped__")
    run.__signature__ = inspect.signature(test)  # type: ignore[attr-defined]  # for pytest's fixtures
    return run


@functools.cache
def _settle_the_heap() -> None:
    """Take what was imported out of the garbage collector's way: the leak guard collects before and after each test."""
    gc.collect()
    gc.freeze()


class Stage:
    """`voice` over `provider`; `seen` is what a listener of `*` received, with its name."""

    def __init__(self, provider: Any = None, *, records: bool = True, **config: Any) -> None:
        self.provider = ScriptedProvider() if provider is None else provider
        self.voice = vivavoce.Voice(self.provider, **config)
        self.seen: list[Any] = []
        if records:
            self.voice.on("*", self.seen.append)

    async def __aenter__(self) -> Stage:
        await self.voice.connect()
        return self

    async def __aexit__(self, kind: Any, error: Any, trace: Any) -> None:
        await self.voice.close()
        if error is None:
            self.check()

    def check(self) -> None:
        """What was said keeps the grammar of events."""
        assert_valid(self.seen, closed=bool(self.seen))

    def names(self) -> list[str]:
        """The names of what was said, in order."""
        return [name_of(event) for event in self.seen]

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.seen if isinstance(event, kind)]


def name_of(event: Any) -> str:
    if isinstance(event, Event):
        return event.type
    return "error" if isinstance(event, Exception) else "speaker"


def provider(*replies: Reply, script: dict[str, Any] | None = None, **options: Any) -> ScriptedProvider:
    return ScriptedProvider(script, replies=replies, **options)


def yields(turns: int = 3) -> Step:
    """A step that gives the loop `turns` turns, so that there are as many places to be cancelled at."""

    async def give(*_: Any) -> Any:
        for _turn in range(turns):
            await asyncio.sleep(0)
        return vivavoce_unset()

    return Step(does=give)


def vivavoce_unset() -> Any:
    from vivavoce.testing.script import UNSET

    return UNSET


async def turns(count: int) -> None:
    """Let the loop go round `count` times."""
    for _ in range(count):
        await asyncio.sleep(0)
