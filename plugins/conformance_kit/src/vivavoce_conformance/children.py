"""Children of the judge: processes that answer line by line, and may die, hang or talk nonsense."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from typing import Any

import msgspec

__all__ = ["Broken", "Child"]

_LIMIT = 16 * 1024 * 1024


class Broken(Exception):
    """A process did not do its part; the text says how it ended."""


class Child:
    """A child that answers line by line."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, module: str, *arguments: str, **more: str) -> Child:
        """Run `main` of a module, with `more` in its environment."""
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))} | more
        # No coverage, tracing or start-up file of a plugin's own test run may reach into it.
        for name in [n for n in environment if n.startswith(("PYTEST_", "COV_"))]:
            del environment[name]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", f"from {module} import main; main()", *arguments,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env=environment, limit=_LIMIT,
        )  # fmt: skip
        return cls(process)

    async def line(self, timeout: float) -> bytes:
        """Its next line. Raises `Broken`."""
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(timeout):
                line = await self._process.stdout.readline()
        except TimeoutError:
            raise Broken(f"took more than {timeout:g} s and was ended") from None
        if not line:
            raise Broken(f"ended the process (status {await self._process.wait()})")
        return line

    def tell(self, value: Any) -> None:
        """Write it a line."""
        assert self._process.stdin is not None
        self._process.stdin.write(msgspec.json.encode(value) + b"\n")

    async def end(self) -> None:
        """Kill it, and wait until it is gone."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        # Asyncio keeps a killed child's pipes until they are told.
        self._process._transport.close()  # type: ignore[attr-defined]
