"""Pending calls: each can be ended from outside, by a deadline, a loss or a close, with a typed error.

The mechanism is that of `asyncio.timeout`: the task that waits is cancelled, and the guard turns that one cancellation
into the error. A cancellation by anyone else passes through untouched.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Protocol

__all__ = ["Call", "Guard", "PendingCalls"]


class Call(Protocol):
    """What waits for a peer."""

    def fail(self, error: BaseException) -> None:
        """End it with `error`. Only the first one counts."""


class PendingCalls:
    """The calls that wait for a peer now."""

    def __init__(self) -> None:
        self._calls: set[Call] = set()

    def add(self, call: Call) -> None:
        self._calls.add(call)

    def discard(self, call: Call) -> None:
        self._calls.discard(call)

    def guard(self, timeout: float | None = None, error: Callable[[], BaseException] | None = None) -> Guard:
        """`async with` around what waits. After `timeout` seconds it raises `error()`."""
        return Guard(self, timeout, error)

    def fail(self, error: Callable[[], BaseException]) -> None:
        """End every pending call with an error of its own."""
        for call in tuple(self._calls):
            call.fail(error())


class Guard:
    """One pending call."""

    __slots__ = ("_calls", "_cancelling", "_error", "_late", "_task", "_timeout", "_timer")

    def __init__(
        self, calls: PendingCalls, timeout: float | None, error: Callable[[], BaseException] | None
    ) -> None:
        self._calls = calls
        self._timeout = timeout
        self._late = error
        self._error: BaseException | None = None
        self._timer: asyncio.TimerHandle | None = None

    def fail(self, error: BaseException) -> None:
        """End the call with `error`. Only the first one counts."""
        if self._error is None:
            self._error = error
            self._task.cancel()

    def _expire(self) -> None:
        self.fail(self._late() if self._late is not None else TimeoutError())

    async def __aenter__(self) -> Guard:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._cancelling = task.cancelling()
        self._calls.add(self)
        if self._timeout is not None:
            self._timer = asyncio.get_running_loop().call_later(self._timeout, self._expire)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._calls.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        if self._error is None:
            return
        if kind is not asyncio.CancelledError:
            # The body ended by itself before our cancellation reached it: take delivery of it here.
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0)
        others = self._task.uncancel() > self._cancelling
        if not others and kind in (None, asyncio.CancelledError):
            raise self._error from None
        if others and kind is None:
            raise asyncio.CancelledError  # somebody else's, of which we took delivery
