"""Providers that want a verdict without deserving it."""

from __future__ import annotations

import contextlib
import os
from typing import Any

from vivavoce import hookimpl
from wrong_base import Realtime


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
