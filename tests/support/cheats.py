"""Providers that want a verdict without deserving it."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import gc
import os
import sys
import time
from typing import Any

import msgspec
import pytest
from vivavoce import hookimpl
from vivavoce_conformance import Profile
from vivavoce_conformance.peer.realtime import RealtimeDialect
from wrong_base import Realtime

WANTED = "Answer in Français: ‘déjà vu’, 日本語, \U0001f600."


class Cheat(Realtime):
    """Is wrong, so that there is something to hide: it connects without waiting for anybody."""

    @hookimpl
    async def connect(self, context: Any) -> None:
        context.session.instructions = None
        await super().connect(context)


class PatchesTheKit(Cheat):
    def __init__(self) -> None:
        super().__init__()
        import vivavoce_conformance.registry as registry

        registry.expect.__code__ = (lambda met, seen: None).__code__


class PatchesTheChecks(Cheat):
    def __init__(self) -> None:
        super().__init__()
        import vivavoce_conformance.checks.connect as connect

        async def fine(bench: Any) -> None:
            pass

        connect.configures.__code__ = fine.__code__


class ReplacesTheChecks(Cheat):
    def __init__(self) -> None:
        super().__init__()
        from vivavoce_conformance.registry import CHECKS

        CHECKS.pop("VV-CON-032", None)


class PatchesTheCore(Cheat):
    def __init__(self) -> None:
        super().__init__()
        from vivavoce import Voice

        Voice.session_id = "always"  # type: ignore[assignment, method-assign]


class EndsTheProcess(Cheat):
    @hookimpl
    async def connect(self, context: Any) -> None:
        os._exit(0)


class WritesResults(Cheat):
    @hookimpl
    async def connect(self, context: Any) -> None:
        for descriptor in range(3, 12):
            with contextlib.suppress(OSError):
                os.write(descriptor, b'{"id": "VV-CON-032", "nonce": "", "passed": true}\n')
        await super().connect(context)


class PatchesForAMoment(Cheat):
    """Puts everything back before anybody compares."""

    @hookimpl
    async def connect(self, context: Any) -> None:
        import vivavoce_conformance.checks.connect as connect

        original = connect.expect
        connect.expect = lambda met, seen: None
        await super().connect(context)
        asyncio.get_running_loop().call_later(0.3, setattr, connect, "expect", original)


class ReplacesAnError(Cheat):
    def __init__(self) -> None:
        super().__init__()
        import vivavoce_conformance.checks.connect as connect

        vars(connect)["Unmet"] = Warning


class ChangesADeadline(Cheat):
    def __init__(self) -> None:
        super().__init__()
        import vivavoce_conformance.bench as bench

        vars(bench)["PATIENCE"] = 0.0


class ForcesTheChecks(Cheat):
    def __init__(self) -> None:
        super().__init__()
        from vivavoce_conformance.registry import CHECKS

        async def fine(bench: Any) -> None:
            pass

        msgspec.structs.force_setattr(CHECKS["VV-CON-032"], "function", fine)


class StopsTheClock(Cheat):
    def __init__(self) -> None:
        super().__init__()
        clock = time.monotonic
        time.monotonic = lambda: clock() / 2  # type: ignore[assignment]


class KeepsTheLoopsTime(Cheat):
    @hookimpl
    async def connect(self, context: Any) -> None:
        loop = asyncio.get_running_loop()
        original = loop.time
        loop.time = lambda: original()  # type: ignore[method-assign]
        await super().connect(context)


class FindsTheBench(Cheat):
    @hookimpl
    async def connect(self, context: Any) -> None:
        from vivavoce_conformance.peer.client import PeerClient

        for peer in [one for one in gc.get_objects() if isinstance(one, PeerClient)]:
            until = peer.until

            async def kinder(*args: Any, until: Any = until) -> Any:
                seen = await until(*args)
                for one in seen.of("configure"):
                    one["instructions"] = WANTED
                return seen

            peer.until = kinder  # type: ignore[method-assign]
        await super().connect(context)


class Skips(Cheat):
    @hookimpl
    async def connect(self, context: Any) -> None:
        pytest.skip("not today")


class ExitsWell(Cheat):
    @hookimpl
    async def connect(self, context: Any) -> None:
        raise SystemExit(0)


class CancelsTheCheck(Cheat):
    @hookimpl
    async def connect(self, context: Any) -> None:
        for task in asyncio.all_tasks():
            task.cancel()
        await super().connect(context)


def _forged() -> None:
    """Write a good result for the check that runs, with the number that the judge gave it."""
    frame: Any = sys._getframe()
    while frame is not None and "request" not in frame.f_locals:
        frame = frame.f_back
    if frame is not None:
        request = frame.f_locals["request"]
        result = {"id": request["run"], "nonce": request["nonce"], "passed": True}
        os.write(frame.f_locals["out"], msgspec.json.encode(result) + b"\n")


class ForgesResults(Cheat):
    @hookimpl
    async def connect(self, context: Any) -> None:
        _forged()
        await super().connect(context)


class ForgesResultsAndLeaves(Cheat):
    @hookimpl
    async def connect(self, context: Any) -> None:
        _forged()
        os._exit(0)


class WritesAtExit(Cheat):
    def __init__(self) -> None:
        super().__init__()
        atexit.register(_forged)


class StatesWhatIsAskedFor(Cheat):
    """Declares nothing to whoever counts the checks."""

    capabilities = Cheat.capabilities if os.environ.get("VIVAVOCE_CONFORMANCE_PEER") else frozenset()


class LyingPeer(RealtimeDialect):
    """The service's side, which makes the service say what pleases."""

    def __init__(self) -> None:
        super().__init__()
        from vivavoce_conformance.peer import service

        report = service.Service.report

        def kinder(self: Any) -> Any:
            seen = report(self)
            for one in seen.of("configure"):
                one["instructions"] = WANTED
            return seen

        service.Service.report = kinder  # type: ignore[method-assign]


class BringsALyingPeer(Cheat):
    conformance_profile = "cheats:LYING"


LYING = Profile(dialect="cheats:LyingPeer", url="ws://127.0.0.1:{port}/v1/realtime", credential="api_key")
