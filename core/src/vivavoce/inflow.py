"""Input audio that is not one frame as the service wants it: converted, cut up, paced, and sent in order.

Frames that follow each other in one format are one stream, however many calls bring it: they share a converter, so
their seams cannot be heard. What the converter holds back (under 4 ms) follows with the next frame, when a turn ends,
or when none has come for a moment. A buffer longer than any frame is taken for all there is, and goes out whole.
"""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any

from vivavoce import failures
from vivavoce.errors import NotConnectedError
from vivavoce.requests import send_all

if TYPE_CHECKING:
    from vivavoce.session import Runtime
    from vivavoce.sources import Intake

__all__ = ["Inflow"]

_PAUSE = 0.1
"""Seconds without a frame after which the stream has ended."""
_LONGEST_FRAME_MS = 100


class Inflow:
    """`holding` says that a converter is at work: then even audio that needs none goes through here, after it."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._intake: Intake | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.holding = False

    async def send(self, audio: Any, rate: int | None, channels: int, pace: bool) -> None:
        """Send whatever `Voice.send` takes."""
        from vivavoce import sources  # files and numpy only where they are used

        target = self._runtime.input_format
        if self._intake is None or self._intake.target != target:
            self._intake = sources.Intake(target)
        chunks = self._intake.chunks(audio, rate=rate, channels=channels)
        self._stop_timer()
        self.holding = True
        size = 0
        try:
            size = await send_all(self._runtime, sources.paced(chunks, target) if pace else chunks)
        finally:
            self._timer = asyncio.get_running_loop().call_later(_PAUSE, self._pause)
        if size > target.bytes_for(_LONGEST_FRAME_MS):
            await self.flush()

    def _pause(self) -> None:
        self._timer = None
        self._runtime.spawn(self.flush())

    async def flush(self) -> None:
        """Send what the converter holds back; the next buffer begins a new stream."""
        held = self._intake.flush() if self._intake is not None else b""
        self.reset()
        if held and self._runtime.state in ("open", "reconnecting"):
            await self.hand(held)

    def reset(self) -> None:
        """Forget what is held back."""
        self._stop_timer()
        self._intake, self.holding = None, False

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # One chunk, as the service wants it.

    async def hand(self, audio: bytes) -> None:
        """Hand one chunk to the provider, or hold it while reconnecting."""
        runtime = self._runtime
        while runtime.port is None:
            if runtime.state == "reconnecting":
                runtime.restorer.held.add(audio)
                return
            if runtime.state != "open":
                raise runtime.not_connected("send")
            async with runtime.pending.guard():  # what was held goes first
                await runtime.change()
        runtime.input_bytes += len(audio)
        try:
            result = runtime.port(audio)
        except Exception as bad:
            self.not_sent(audio, bad)
        else:
            if result is not None:
                await self.wait_sent(result)

    def not_sent(self, audio: bytes, bad: Exception) -> None:
        """The provider could not take a frame. Where it finds its connection gone, that is a loss, which it may not
        have told yet."""
        runtime = self._runtime
        session_id = runtime.session_id
        if runtime.live is not None and isinstance(bad, ConnectionError):
            runtime.lost(runtime.live, bad)
        if runtime.state != "reconnecting":
            raise failures.refused(runtime.provider, "send", bad, session_id)
        runtime.restorer.held.add(audio)

    async def wait_sent(self, result: Any) -> None:
        """Wait as long as the service does not read; its provider keeps the deadline."""
        runtime = self._runtime
        live = runtime.live
        assert live is not None
        try:
            async with live.calls.guard():
                if inspect.isawaitable(result):
                    await result
        except NotConnectedError:
            raise  # the voice was closed meanwhile
        except Exception as bad:
            if isinstance(bad, ConnectionError):
                runtime.lost(live, bad)
            if runtime.state != "reconnecting":
                raise failures.refused(runtime.provider, "send", bad, live.session.id)  # noqa: B904 - it has its cause
