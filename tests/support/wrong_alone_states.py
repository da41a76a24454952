"""Wrong providers that one check alone can tell: what they state, how they connect, how they end."""

from __future__ import annotations

import asyncio
from typing import Any

import attrs
from vivavoce import events, hookimpl
from vivavoce.errors import AuthenticationError, ConfigError, ConnectError, ProtocolError
from vivavoce_openai_realtime.provider import OpenAIRealtimeProvider
from wrong_base import Quiet, Realtime, wrong


def a_file(keeper: Any) -> None:
    """Open one and never close it."""
    keeper.files = [*getattr(keeper, "files", []), open("/dev/null")]  # noqa: SIM115


@wrong("VV-CON-008", alone=True)
class StatesInterruptWithoutHook(Quiet):
    capabilities = frozenset({"interrupt"})


@wrong("VV-CON-013", alone=True)
class StatesLessInObjects(Quiet):
    capabilities = frozenset({"interrupt"})

    def __init__(self) -> None:
        self.capabilities = frozenset()

    @hookimpl
    def interrupt(self, context: Any) -> None:
        return None


class Bare:
    """A stream both ways, and nothing else."""

    api = 1
    name = "bare"
    capabilities = frozenset({"realtime"})
    config_class = OpenAIRealtimeProvider.config_class
    credentials = OpenAIRealtimeProvider.credentials
    conformance_profile = "vivavoce_conformance.profiles:REALTIME"

    def __init__(self) -> None:
        self.inner = OpenAIRealtimeProvider()

    @hookimpl
    async def connect(self, context: Any) -> None:
        await self.inner.connect(context)

    @hookimpl
    def send(self, context: Any, audio: bytes) -> Any:
        return self.inner.send(context, audio)

    @hookimpl
    async def update_config(self, context: Any, changes: Any) -> None:
        await self.inner.update_config(context, changes)

    @hookimpl
    async def close(self, context: Any, reason: str) -> None:
        await self.inner.close(context, reason)


@wrong("VV-CON-030", alone=True)
class TellsItsOpeningTwice(Bare):
    """Behind the core's back, by the voice that `attach` gave it to look at: once more when it is closed."""

    voice: Any = None
    opened = False

    @hookimpl
    def attach(self, voice: Any) -> None:
        self.voice = voice

    @hookimpl
    async def connect(self, context: Any) -> None:
        await super().connect(context)
        self.opened = True

    @hookimpl
    async def close(self, context: Any, reason: str) -> None:
        if self.opened:
            self.opened = False
            self.voice._runtime.emitter.emit("open", events.Opened(context.session.id))
        await super().close(context, reason)


@wrong("VV-CON-031", alone=True)
class WaitsForTheFirstStepOnly(Realtime):
    """Configures the session in two steps."""

    async def _configure(self, link: Any, context: Any, dialect: Any, model: Any) -> None:
        await super()._configure(link, context, dialect, model)
        link.protocol.send_session({"type": "realtime", "instructions": context.session.instructions or ""})
        await link.flush()


@wrong("VV-CON-048", alone=True)
class GoesOnWithoutAcknowledgement(Realtime):
    """Waits long, but not for ever: it takes silence for consent."""

    configuring: Any = None

    async def _configure(self, link: Any, context: Any, dialect: Any, model: Any) -> None:
        await link.ready
        self.configuring = asyncio.ensure_future(super()._configure(link, context, dialect, model))
        try:
            await asyncio.wait([self.configuring], timeout=0.6)
        except asyncio.CancelledError:
            await self._leave()
            raise
        if self.configuring.done():
            await self.configuring

    async def _leave(self) -> None:
        if self.configuring is not None:
            self.configuring.cancel()
            await asyncio.gather(self.configuring, return_exceptions=True)

    @hookimpl
    async def close(self, context: Any, reason: str) -> None:
        await self._leave()
        await super().close(context, reason)


@wrong("VV-CON-032", alone=True)
class FlattensInstructions(Realtime):
    @hookimpl
    async def connect(self, context: Any) -> None:
        words = context.session.instructions
        context.session.instructions = words and words.encode("ascii", "replace").decode()
        await super().connect(context)


class _Leaving(Realtime):
    """Leaves a file when it is cancelled in one phase of connecting: `dialling`, `greeting`, `configuring`."""

    phase = ""
    least = 0.25
    """How many seconds it had waited at least."""
    told = False
    """Whether there are instructions to configure."""

    @hookimpl
    async def connect(self, context: Any) -> None:
        began = asyncio.get_running_loop().time()
        try:
            await super().connect(context)
        except asyncio.CancelledError:
            waited = asyncio.get_running_loop().time() - began
            link = self._link
            if link is None or link.transport is None:
                phase = "dialling"
            else:
                phase = "configuring" if link.protocol.session_id else "greeting"
            told = bool(context.session.instructions)
            if (phase, told) == (self.phase, self.told) and waited >= self.least:
                a_file(self)
            raise


@wrong("VV-CON-033", alone=True)
class LeavesFileOfLateDialling(_Leaving):
    phase = "dialling"


@wrong("VV-CON-034", alone=True)
class LeavesFileOfMuteServices(_Leaving):
    phase = "greeting"


@wrong("VV-CON-046", alone=True)
class LeavesFileWhenClosedWhileConfiguring(_Leaving):
    phase = "configuring"


@wrong("VV-CON-040", alone=True)
class TellsDropAsProtocol(Realtime):
    @hookimpl
    async def connect(self, context: Any) -> None:
        try:
            await super().connect(context)
        except ConnectError as error:
            dropped = type(error) is ConnectError and error.status is None and "refused" not in str(error)
            if dropped and not context.session.reconnected:
                raise ProtocolError("what?") from None
            raise


@wrong("VV-CON-042", alone=True)
class LeavesFileWhenCancelledWhileDialling(Realtime):
    @hookimpl
    async def connect(self, context: Any) -> None:
        began = asyncio.get_running_loop().time()
        try:
            await super().connect(context)
        except asyncio.CancelledError:
            soon = asyncio.get_running_loop().time() - began < 0.2
            if soon and (self._link is None or self._link.transport is None):
                a_file(self)
            raise


@wrong("VV-CON-049", alone=True)
class JoinsItsAddressByHand(Realtime):
    @hookimpl
    async def connect(self, context: Any) -> None:
        context.config = attrs.evolve(context.config, url=f"{context.config.url}?client=wrong")
        await super().connect(context)


@wrong("VV-CON-074", alone=True)
class TakesWhatItDoesNotKnow(Realtime):
    connect_options = ("vivavoce_conformance_unknown",)


@wrong("VV-CON-101", alone=True)
class LeavesFileOfFinishedReplies(Realtime):
    def filter(self, context: Any, event: Any) -> Any:
        if isinstance(event, events.ResponseDone) and event.status == "completed":
            a_file(self)
        return (event,)


@wrong("VV-CON-102", alone=True)
class LeavesFileOfCutReplies(Realtime):
    @hookimpl
    async def close(self, context: Any, reason: str) -> None:
        link = self._link
        if link is not None and not link.lost and link.protocol.active_response is not None:
            a_file(self)
        await super().close(context, reason)


@wrong("VV-CON-105", alone=True)
class KeepsItsFirstConnection(Realtime):
    """Keeps a connection for the next session, which ends it."""

    kept: dict[Any, Any] = {}  # noqa: RUF012
    opened = False

    @hookimpl
    async def connect(self, context: Any) -> None:
        self.opened = False
        await super().connect(context)
        self.opened = True

    @hookimpl
    async def close(self, context: Any, reason: str) -> None:
        loop, link = asyncio.get_running_loop(), self._link
        if loop not in self.kept and self.opened and link is not None and not link.lost:
            self.kept[loop], self._link = link.transport, None
            link.end()
            return
        kept, self.kept[loop] = self.kept.get(loop), None
        if kept is not None:
            await kept.close()
        await super().close(context, reason)


@wrong("VV-CON-080")
class LeavesFileOfLostSessions(Realtime):
    @hookimpl
    async def close(self, context: Any, reason: str) -> None:
        if self._link is not None and self._link.lost:
            a_file(self)
        await super().close(context, reason)


@wrong("VV-CON-041")
class LeavesSocketWhenConfiguringFails(Realtime):
    async def _configure(self, link: Any, context: Any, dialect: Any, model: Any) -> None:
        try:
            await super()._configure(link, context, dialect, model)
        except BaseException:
            a_file(self)
            raise


@wrong("VV-CON-036")
class AsksAgainForAuthentication(Realtime):
    @hookimpl
    async def connect(self, context: Any) -> None:
        try:
            await super().connect(context)
        except AuthenticationError:
            try:
                await super().connect(context)
            except AuthenticationError:
                raise ConnectError("twice refused", retryable=True) from None


@wrong("VV-CON-163", alone=True)
class ReadsNoVariable(Realtime):
    @hookimpl
    async def connect(self, context: Any) -> None:
        if not context.config.api_key:
            raise ConfigError("give api_key=, or set OPENAI_API_KEY", option="api_key")
        await super().connect(context)
