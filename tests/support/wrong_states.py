"""Wrong providers: what they state, how they connect, how they end."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from typing import Any

import attrs
from vivavoce import hookimpl
from vivavoce.errors import AuthenticationError, ConnectError, ProtocolError, QuotaError
from vivavoce.events import SessionCreated
from vivavoce_null_provider import NullProvider
from wrong_base import Quiet, Realtime, Speaker, wrong


@wrong("VV-CON-006", alone=True)
class StatesUnknownCapability(Quiet):
    capabilities = frozenset({"telepathy"})


@wrong("VV-CON-007", alone=True)
class StartsThreadOnConstruction(Quiet):
    def __init__(self) -> None:
        threading.Thread(target=time.sleep, args=(30,), daemon=True).start()


@wrong("VV-CON-007")
class OpensFileOnConstruction(Quiet):
    def __init__(self) -> None:
        self.file = open("/dev/null")  # noqa: SIM115


@wrong("VV-CON-008")
class StatesSpeakWithoutHook(Quiet):
    capabilities = frozenset({"speak"})


@wrong("VV-CON-008")
class StatesToolsWithoutHook(Realtime):
    return_tool_result = None  # type: ignore[assignment]


class _Anything:
    """Takes whatever it is given."""

    def __init__(
        self,
        *,
        vivavoce_conformance_unknown: object = None,
        url: str = "",
        api_key: str = "",
    ) -> None:
        self.url, self.api_key = url, api_key


@wrong("VV-CON-009", alone=True)
class TakesAnyConfig(Speaker):
    config_class = _Anything


@wrong("VV-CON-010", alone=True)
class SharesStateOfClass(Realtime):
    sessions: list[Any] = []  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__()
        self.sessions_of_mine = self.sessions


@wrong("VV-CON-010")
class CountsInTheClass(Realtime):
    count = 0

    def __init__(self) -> None:
        super().__init__()
        type(self).count += 1


@wrong("VV-CON-011", alone=True)
class NamesNoVariable(Quiet):
    credentials = {"api_key": "my own key"}  # noqa: RUF012


@wrong("VV-CON-012", alone=True)
class DialsWithoutKey(Realtime):
    @hookimpl
    async def connect(self, context: Any) -> None:
        key = context.config.api_key or os.environ.get("OPENAI_API_KEY") or "undefined"
        context.config = attrs.evolve(context.config, api_key=key)
        await super().connect(context)


@wrong("VV-CON-020", alone=True)
class DeclaresNothingAndActs(Realtime):
    capabilities = frozenset()


@wrong("VV-CON-020")
class SpeaksUndeclared(Speaker):
    capabilities = frozenset({"listen"})


@wrong("VV-CON-021", alone=True)
class MutesWarnings(Quiet):
    def __init__(self) -> None:
        logging.getLogger("vivavoce").setLevel(logging.ERROR)


@wrong("VV-CON-021")
class WarnsEachTime(NullProvider):
    def _say(self, context: Any, method: str) -> None:
        self._warned.clear()
        super()._say(context, method)


@wrong("VV-CON-023", alone=True)
class WarnsOfListeners(Quiet):
    @hookimpl
    def on(self, event: str) -> None:
        logging.getLogger("vivavoce").warning("nobody should listen to %s", event)


@wrong("VV-CON-031")
class ReturnsBeforeAcknowledgement(Realtime):
    async def _configure(self, link: Any, context: Any, dialect: Any, model: Any) -> None:
        configuring = asyncio.ensure_future(super()._configure(link, context, dialect, model))
        await link.ready
        self.configuring = configuring


@wrong("VV-CON-032")
class DropsInstructions(Realtime):
    @hookimpl
    async def connect(self, context: Any) -> None:
        context.session.instructions = None
        await super().connect(context)


class _Retold(Realtime):
    """Tells an error of `connect` as another one."""

    def retell(self, error: ConnectError) -> Exception:
        return error

    @hookimpl
    async def connect(self, context: Any) -> None:
        try:
            await super().connect(context)
        except ConnectError as error:
            raise self.retell(error) from None


class _Impatient(Realtime):
    """Has a timeout of its own, and tells it badly."""

    @hookimpl
    async def connect(self, context: Any) -> None:
        try:
            async with asyncio.timeout(0.2):
                await super().connect(context)
        except TimeoutError:
            raise ConnectError("too late") from None


@wrong("VV-CON-033")
class TellsNoTimeoutOfDialling(_Impatient):
    pass


@wrong("VV-CON-034")
class TellsNoTimeoutOfMuteness(_Impatient):
    pass


@wrong("VV-CON-040")
class LeavesFileWhenItFails(Realtime):
    @hookimpl
    async def connect(self, context: Any) -> None:
        self.files = [*getattr(self, "files", []), open("/dev/null")]  # noqa: SIM115
        await super().connect(context)
        self.files.pop().close()


@wrong("VV-CON-035", alone=True)
class WaitsWhereNothingListens(Realtime):
    @hookimpl
    async def connect(self, context: Any) -> None:
        while True:
            try:
                return await super().connect(context)
            except ConnectError as error:
                if error.status is not None or "refused" not in str(error):
                    raise
                await asyncio.sleep(0.05)


@wrong("VV-CON-036")
class TellsAuthenticationAsConnect(_Retold):
    def retell(self, error: ConnectError) -> Exception:
        return ConnectError("no") if isinstance(error, AuthenticationError) else error


@wrong("VV-CON-036", alone=True)
class RetriesAuthentication(_Retold):
    def retell(self, error: ConnectError) -> Exception:
        return AuthenticationError("no", retryable=True) if isinstance(error, AuthenticationError) else error


@wrong("VV-CON-037", alone=True)
class TellsQuotaAsConnect(_Retold):
    def retell(self, error: ConnectError) -> Exception:
        return ConnectError("no") if isinstance(error, QuotaError) else error


@wrong("VV-CON-038", alone=True)
class TellsBrokenAsFinal(_Retold):
    def retell(self, error: ConnectError) -> Exception:
        return ConnectError("no", retryable=False) if error.status == 503 else error


@wrong("VV-CON-039", alone=True)
class RetriesBadRequests(_Retold):
    def retell(self, error: ConnectError) -> Exception:
        return ConnectError("no", retryable=True) if error.status == 404 else error


@wrong("VV-CON-040")
class TellsDropAsProtocol(_Retold):
    def retell(self, error: ConnectError) -> Exception:
        plain = type(error) is ConnectError and error.status is None
        return ProtocolError("what?") if plain else error


@wrong("VV-CON-041", alone=True)
class WaitsOnWhenDroppedWhileConfiguring(Realtime):
    """Tells the core nothing of the loss, which would not wait for it."""

    async def _configure(self, link: Any, context: Any, dialect: Any, model: Any) -> None:
        lost, context.lost = context.lost, lambda cause=None: None
        try:
            await super()._configure(link, context, dialect, model)
        except asyncio.CancelledError:
            if link.lost:
                await asyncio.Event().wait()
            raise
        finally:
            context.lost = lost


@wrong("VV-CON-042")
class LeavesTaskWhenCancelled(Realtime):
    @hookimpl
    async def connect(self, context: Any) -> None:
        watch = asyncio.ensure_future(asyncio.sleep(5))
        await super().connect(context)
        watch.cancel()


@wrong("VV-CON-043", alone=True)
class DialsTwice(Realtime):
    @hookimpl
    async def connect(self, context: Any) -> None:
        await super().connect(context)
        if context.session.reconnected:
            return
        port = int(context.config.url.split(":")[2].split("/")[0])
        _, self.other = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.sleep(0.2)  # until the service has noticed it

    @hookimpl
    async def close(self, context: Any, reason: str) -> None:
        await super().close(context, reason)
        if other := getattr(self, "other", None):
            other.close()
            await other.wait_closed()


@wrong("VV-CON-044", alone=True)
class OpensTwice(Realtime):
    """And never again."""

    opened = 0

    @hookimpl
    async def connect(self, context: Any) -> None:
        if self.opened == 2 and not context.session.reconnected:
            raise ConnectError("used up")
        await super().connect(context)
        self.opened += not context.session.reconnected


@wrong("VV-CON-045", alone=True)
class FailsForEver(Realtime):
    failed = False

    @hookimpl
    async def connect(self, context: Any) -> None:
        if self.failed:
            raise ConnectError("it failed before")
        try:
            await super().connect(context)
        except ConnectError:
            self.failed = True
            raise


@wrong("VV-CON-047", alone=True)
class NamesNoSession(Realtime):
    def filter(self, context: Any, event: Any) -> Any:
        context.session.id = None
        return (
            () if isinstance(event, SessionCreated) or type(event).__name__ == "SessionUpdated" else (event,)
        )


@wrong("VV-CON-070", alone=True)
class ClosesOnlyWhatIsOpen(Realtime):
    @hookimpl
    async def close(self, context: Any, reason: str) -> None:
        link: Any = self._link
        link.end()
        await super().close(context, reason)


@wrong("VV-CON-071", alone=True)
class RaisesOnClose(Realtime):
    @hookimpl
    async def close(self, context: Any, reason: str) -> None:
        had = self._link is not None
        await super().close(context, reason)
        if had:
            raise RuntimeError("bye")


@wrong("VV-CON-101")
class LeavesTask(Realtime):
    @hookimpl
    async def close(self, context: Any, reason: str) -> None:
        await super().close(context, reason)
        self.task = asyncio.ensure_future(asyncio.sleep(3))


@wrong("VV-CON-101")
class LeavesThread(Realtime):
    @hookimpl
    async def close(self, context: Any, reason: str) -> None:
        await super().close(context, reason)
        threading.Thread(target=time.sleep, args=(30,), daemon=True).start()


@wrong("VV-CON-101")
class LeavesDescriptor(Realtime):
    @hookimpl
    async def connect(self, context: Any) -> None:
        await super().connect(context)
        self.files = [*getattr(self, "files", []), open("/dev/null")]  # noqa: SIM115


@wrong("VV-CON-103", alone=True)
class BlocksTheLoop(Realtime):
    @hookimpl
    async def connect(self, context: Any) -> None:
        time.sleep(0.6)
        await super().connect(context)


@wrong("VV-CON-104", alone=True)
class ClosesSlowly(Realtime):
    @hookimpl
    async def close(self, context: Any, reason: str) -> None:
        if reason == "closed":
            await asyncio.sleep(2.5)
        await super().close(context, reason)


@wrong("VV-CON-105")
class KeepsItsConnection(Realtime):
    kept: Any = None

    @hookimpl
    async def close(self, context: Any, reason: str) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.end()
            self.kept = link.transport


@wrong("VV-CON-107", alone=True)
class ConnectsSlowly(Realtime):
    tried = False

    @hookimpl
    async def connect(self, context: Any) -> None:
        tried, self.tried = self.tried, True
        if not tried:  # again it is quicker
            await asyncio.sleep(2.5)
        await super().connect(context)
