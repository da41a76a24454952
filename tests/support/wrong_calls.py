"""Providers that are wrong over WebRTC: each in one place, with the check that must catch it.

Run as a program it judges them, in a process that they may spoil, and prints a line of JSON for each: what was seen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from vivavoce import Context, hookimpl
from vivavoce.errors import ConnectError
from vivavoce.events import Speaking
from wrong_base import Realtime

__all__ = ["WRONG_CALLS"]

WRONG_CALLS: dict[str, str] = {}
"""The class's name, and its check."""
_left: set[asyncio.Task[None]] = set()


def wrong(check: str) -> Any:
    """Name the check that catches this provider."""

    def note(provider: type) -> type:
        WRONG_CALLS[provider.__name__] = check
        return provider

    return note


def leave_a_task() -> None:
    """What is left behind."""
    _left.add(asyncio.get_running_loop().create_task(asyncio.sleep(60)))


class Calling(Realtime):
    """The real provider, over WebRTC."""

    conformance_profile = "vivavoce_conformance.profiles:REALTIME_WEBRTC"


@wrong("VV-CON-200")
class TriesAgainForEver(Calling):
    """Takes a service that is none for one that is busy."""

    @hookimpl
    async def connect(self, context: Any) -> None:
        try:
            await super().connect(context)
        except ConnectError as error:
            raise ConnectError(str(error), code=error.code, retryable=True) from error


@wrong("VV-CON-201")
class LeavesATask(Calling):
    """Goes on looking for a path after the budget is spent."""

    @hookimpl
    async def connect(self, context: Any) -> None:
        try:
            await super().connect(context)
        except BaseException:
            leave_a_task()
            raise


@wrong("VV-CON-202")
class ConnectsWithoutAChannel(Calling):
    """Takes the answer for a session."""

    @hookimpl
    async def connect(self, context: Any) -> None:
        try:
            async with asyncio.timeout(0.7):
                await super().connect(context)
        except TimeoutError:
            return


@wrong("VV-CON-203")
class LeavesWithoutAWord(Calling):
    """Does not hang up."""

    @hookimpl
    async def close(self, context: Context, reason: str) -> None:
        if self._link is not None and self._link.transport is not None:
            self._link.transport._http.call_id = None
        await super().close(context, reason)


@wrong("VV-CON-204")
class LosesEveryOther(Calling):
    """Half of what is said never leaves."""

    said = 0

    @hookimpl
    def send(self, context: Context, audio: bytes) -> Any:
        self.said += 1
        return super().send(context, audio[: len(audio) // 4 * 2])


@wrong("VV-CON-205")
class HearsTheBeginning(Calling):
    """Tells the first piece of a reply, and its end."""

    heard = False

    def filter(self, context: Context, event: Any) -> Iterable[Any]:
        if isinstance(event, Speaking):
            if self.heard:
                return ()
            self.heard = True
        return (event,)


@wrong("VV-CON-206")
class TakesEverything(Calling):
    """Whatever is said waits in memory."""

    @hookimpl
    def send(self, context: Context, audio: bytes) -> Any:
        super().send(context, audio)


@wrong("VV-CON-207")
class WaitsForTheDead(Calling):
    """Something of a call that is over goes on."""

    @hookimpl
    async def close(self, context: Context, reason: str) -> None:
        leave_a_task()
        await super().close(context, reason)
