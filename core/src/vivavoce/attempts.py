"""One attempt to open a session: the provider's `connect` in a task of its own, with an end whatever it does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from vivavoce import failures
from vivavoce.live import Live
from vivavoce.redaction import get_logger
from vivavoce.tasks import PATIENCE, finish, leave

if TYPE_CHECKING:
    from vivavoce.session import Runtime

__all__ = ["Attempt"]

logger = get_logger("vivavoce.session")

_END_DEADLINE = 20.0
"""Seconds that a given up attempt has to clear away what it began: `PATIENCE`, and twice that for the close hook."""


class Attempt:
    """Dials `live`. When it is `over`, either the provider has connected, or nothing is left of it and `error` says why.

    The provider has `timeout` seconds. It is one of the pending calls of `live`, so a loss or a close ends it, too. A
    provider that does not heed its cancellation is left behind after `PATIENCE`. `then` is called in the turn of the
    loop in which the provider is done: what happens in between would find a connection that is neither.
    """

    def __init__(
        self,
        runtime: Runtime,
        live: Live,
        options: Mapping[str, Any],
        timeout: float,
        then: Callable[[], None] | None,
    ) -> None:
        loop = asyncio.get_running_loop()
        self._runtime = runtime
        self._live = live
        self._then = then
        self._begun = self._decided = False
        self.over = False
        self.given_up: BaseException | None = None
        """Why we ended it before the provider did."""
        self.error: BaseException | None = None
        live.calls.add(self)
        self._timer = loop.call_later(
            timeout, lambda: self.fail(failures.connect_late(runtime.provider, timeout))
        )
        name = f"vivavoce connect() of provider {runtime.provider!r}"
        self._task = loop.create_task(self._run(options), name=name)

    def fail(self, error: BaseException) -> None:
        """Give it up, with `error` for those who wait for it. Only the first one counts."""
        if self._decided or self.given_up is not None:
            return
        self.given_up = error
        self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(PATIENCE, self._leave)
        if self._begun:
            self._task.cancel()

    async def outcome(self) -> None:
        """Wait for the end, and raise `error` if there is one. Cancelling this does not stop the attempt."""
        await self.ended()
        if self.error is not None:
            raise self.error

    async def ended(self) -> None:
        """Wait for the end, however it ends."""
        while not self.over:
            await self._runtime.change()

    async def give_up(self) -> None:
        """End it for those who no longer wait for it. Finished even when cancelled."""
        self.fail(asyncio.CancelledError())
        await finish(self.ended(), _END_DEADLINE, "connect")

    async def _run(self, options: Mapping[str, Any]) -> None:
        self._begun = True
        problem: BaseException | None = None
        try:
            if self.given_up is None:
                await self._runtime.relay.call("connect", self._live.context, options)
        except BaseException as raised:
            problem = raised
        if self._decided:  # we were left behind, and whoever did that logs what is raised
            if problem is not None:
                raise problem
            return
        self._decide()
        if self.given_up is not None:
            await self._take_delivery(problem)
            problem = self.given_up
        elif isinstance(problem, asyncio.CancelledError):
            problem = RuntimeError("it cancelled itself")
        if problem is not None:
            await self._failed(problem)
            return
        self._live.ready = True
        try:
            if self._then is not None:
                self._then()
        finally:
            self._end()

    async def _take_delivery(self, raised: BaseException | None) -> None:
        """Of our cancellation, where the provider ended by itself before it arrived."""
        if not isinstance(raised, asyncio.CancelledError):
            if raised is not None:
                logger.debug("%s failed after it was cancelled", self._task.get_name(), exc_info=raised)
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0)
        self._task.uncancel()

    def _leave(self) -> None:
        self._decide()
        leave(self._task)
        assert self.given_up is not None
        self._runtime.spawn(self._failed(self.given_up))

    def _decide(self) -> None:
        self._decided = True
        self._timer.cancel()
        self._live.calls.discard(self)

    async def _failed(self, problem: BaseException) -> None:
        self.error = failures.typed(self._runtime.provider, problem)
        try:
            await self._runtime.not_opened(self._live)
        finally:
            self._end()

    def _end(self) -> None:
        self.over = True
        self._runtime.attempted(self)
