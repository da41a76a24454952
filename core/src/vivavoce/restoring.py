"""What happens when an open session is lost: give up, or restore it and say what could not be."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from vivavoce import failures
from vivavoce.errors import ConnectionLostError, VoiceError
from vivavoce.events import Closed, Reconnected, Reconnecting
from vivavoce.flow import HeldAudio
from vivavoce.live import Live
from vivavoce.reconnect import Backoff, ReconnectPolicy, may_retry

if TYPE_CHECKING:
    from vivavoce.session import Runtime

__all__ = ["Restorer"]

HELD_MS = 2_000
"""Input audio kept while reconnecting: the newest two seconds."""
_RENEW_BEFORE = 60.0
_RENEW_RETRY = 1.0
_POLICY = ReconnectPolicy()
_LOST_CALL = '{"error":"the connection was lost before the tool had finished"}'


class Restorer:
    """The reconnect policy of one voice, its outages, and the audio it holds meanwhile."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self.policy: ReconnectPolicy | None = None
        self.options: Mapping[str, Any] = {}
        self.backoff = Backoff(_POLICY)
        self.held = HeldAudio(runtime.template.input_format.bytes_for(HELD_MS))
        self._health: asyncio.TimerHandle | None = None
        self._renewal: asyncio.TimerHandle | None = None

    def begin(self, policy: ReconnectPolicy | None, options: Mapping[str, Any]) -> None:
        """A conversation begins: what was before is no matter. `options` are those of `connect()`."""
        self.options = options
        self.set_policy(policy)
        self.backoff.healthy()

    def set_policy(self, policy: ReconnectPolicy | None) -> None:
        """Take the policy of the newest `connect()`."""
        self.policy = policy
        if policy is not None and policy != self.backoff.policy:
            self.backoff = Backoff(policy)
        live = self._runtime.live
        if self._runtime.state == "open" and live is not None:
            self.plan_renewal(live)

    def plan_renewal(self, live: Live, delay: float | None = None) -> None:
        """Move to a new session before the service ends this one, when nobody is speaking."""
        if self._renewal is not None:
            self._renewal.cancel()
            self._renewal = None
        if self.policy is None or live.session.expires_at is None:
            return
        if delay is None:
            delay = max(_RENEW_RETRY, live.session.expires_at - time.time() - _RENEW_BEFORE)
        self._renewal = asyncio.get_running_loop().call_later(delay, self._renew, live)

    def _renew(self, live: Live) -> None:
        if live is not self._runtime.live or live.ended or self.policy is None:
            return
        if (
            live.replies.running() is not None
            or live.speech
            or (self._runtime.tools is not None and self._runtime.tools.unanswered)
        ):
            self.plan_renewal(live, _RENEW_RETRY)
        else:
            self.lost(
                live,
                ConnectionLostError(
                    "the service's session limit is near; going on in a new session", code="session_expiring"
                ),
            )

    def lost(self, live: Live, cause: BaseException | None) -> None:
        """The provider of an open session says that its connection is gone."""
        self._runtime.port = None
        self._runtime.heard = live
        self.held.limit = self._runtime.input_format.bytes_for(HELD_MS)
        unanswered = self._runtime.tools.unanswered if self._runtime.tools is not None else frozenset()
        error = partial(failures.lost, self._runtime.provider, cause, live.session.id)
        retry = self.policy is not None and may_retry(cause)
        self._runtime.to("reconnecting" if retry else "closed")
        if self._runtime.tools is not None:
            self._runtime.tools.abandon("the connection was lost before the tool had finished")
        live.end("lost", error)
        for call_id in sorted(unanswered):
            self._runtime.memory.record_result(call_id, _LOST_CALL)
        if retry:
            self._runtime.spawn(self._restore(live, cause))
        else:
            self.stop_timers()
            self._gave_up(error, live)
            self._runtime.ending = self._runtime.spawn(self._runtime.close_hook(live, "lost"))

    def _gave_up(self, lost: Callable[[], ConnectionLostError], live: Live) -> None:
        error = lost()
        lost_ms = self._runtime.input_format.milliseconds(self.held.forget())
        if lost_ms:
            error.message = f"{error.message}; {lost_ms:.0f} ms of input audio were lost"
        self._runtime.tasks.cancel()
        self._runtime.pending.fail(lost)
        self._runtime.tell(error)
        self._runtime.emitter.emit("close", Closed(error.code, error.message, False, live.session.id))
        self._runtime.emitter.end_pulls()

    async def _restore(self, old: Live, cause: BaseException | None) -> None:
        import random  # only where something was lost

        loop = asyncio.get_running_loop()
        began = loop.time()
        self.stop_timers()
        self.backoff.lost(began)
        self._runtime.tasks.cancel()
        await self._runtime.close_hook(old, "lost")
        while (delay := self.backoff.next_delay(loop.time(), random.random())) is not None:
            # Not a foreign exception: its text may hold what ours never do.
            known = cause if isinstance(cause, VoiceError) else None
            shown = known or failures.lost(self._runtime.provider, cause, old.session.id)
            self._runtime.emitter.emit("reconnecting", Reconnecting(self.backoff.attempts, delay, shown))
            await asyncio.sleep(delay / 1000)
            try:
                await self._dialled(self.backoff.time_left(loop.time()) / 1000)
            except VoiceError as failed:
                cause = failed
                if may_retry(failed):
                    continue
                break
            await self._restored((loop.time() - began) * 1000)
            return
        self._runtime.to("closed")
        self._gave_up(partial(failures.lost, self._runtime.provider, cause, old.session.id), old)

    async def _dialled(self, timeout: float) -> None:
        attempt = self._runtime.dial(timeout, self.options, reconnected=True)
        try:
            await attempt.outcome()
        except asyncio.CancelledError:
            await attempt.give_up()
            raise

    async def _restored(self, outage_ms: float) -> None:
        self._runtime.opened()
        live = self._runtime.live
        assert live is not None
        self._health = asyncio.get_running_loop().call_later(
            self.backoff.policy.healthy_ms / 1000, self.backoff.healthy
        )
        self._runtime.port, port = None, self._runtime.port
        lost_ms = live.session.input_format.milliseconds(self.held.lost)
        self.held.lost = 0
        replayed = len(live.session.history) if "replay" in self._runtime.capabilities else 0
        self._runtime.emitter.emit(
            "reconnected", Reconnected(self.backoff.attempts, outage_ms, replayed, lost_ms)
        )
        await self._catch_up(live, port)

    async def _catch_up(self, live: Live, port: Callable[[bytes], Any]) -> None:
        """Send what was held, before anything newer."""
        while not live.ended and (audio := self.held.pop()):
            self._runtime.input_bytes += len(audio)
            try:
                result = port(audio)
            except Exception as bad:
                self._runtime.inflow.not_sent(audio, bad)
                return
            if result is not None:
                await self._runtime.inflow.wait_sent(result)
        if not live.ended:
            self._runtime.port = port
            self._runtime.wake()

    def stop_timers(self) -> None:
        """Forget what was planned for this session."""
        for timer in (self._health, self._renewal):
            if timer is not None:
                timer.cancel()
        self._health = self._renewal = None
