"""The kit's own processes, for what judges hundreds of providers: a peer that stays, a runner for each provider.

    async with Peers() as peers:
        async with Judged("module:Class", "module:PROFILE", peers) as judged:
            seen = await judged.run("VV-CON-030")     # what was seen instead, or None

The judge of the kit starts both anew for each provider, which costs a second; here it is a third.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import sys
from typing import Any, Self

__all__ = ["Judged", "NotLoaded", "Peers"]

_LOAD_SECONDS = 20.0
_CHECK_SECONDS = 60.0
_LIMIT = 16 * 1024 * 1024


class NotLoaded(Exception):
    """The provider cannot be judged at all; the text says why."""


class _Ended(Exception):
    """The process ended or hung."""


class _Child:
    """A module's `main` in a process, which answers line by line."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, module: str, *arguments: str, **more: str) -> Self:
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))} | more
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            f"from {module} import main; main()",
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=environment,
            limit=_LIMIT,
        )
        return cls(process)

    async def line(self, seconds: float) -> bytes:
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(seconds):
                line = await self._process.stdout.readline()
        except TimeoutError:
            raise _Ended(f"took more than {seconds:g} s") from None
        if not line:
            raise _Ended("ended the process")
        return line

    def tell(self, **fields: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(fields).encode() + b"\n")

    async def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        # Asyncio keeps a killed child's pipes until they are told.
        self._process._transport.close()  # type: ignore[attr-defined]


class Peers:
    """One peer for each dialect, started when it is first needed."""

    def __init__(self) -> None:
        self._running: dict[str, tuple[_Child, str]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *raised: object) -> None:
        for dialect in [*self._running]:
            await self.forget(dialect)

    async def ports(self, dialect: str) -> str:
        """Where the peer of a dialect listens."""
        if dialect not in self._running:
            child = await _Child.start("vivavoce_conformance.peer.process", dialect)
            self._running[dialect] = child, (await child.line(_LOAD_SECONDS)).decode().strip()
        return self._running[dialect][1]

    async def forget(self, dialect: str) -> None:
        """End one that a check may have left in disorder."""
        if dialect in self._running:
            await self._running.pop(dialect)[0].end()


class Judged:
    """One provider in a process of its own. Raises `NotLoaded` on entry when it cannot be imported."""

    def __init__(self, spec: str, profile: str, peers: Peers, dialect: str = "") -> None:
        self.told: dict[str, Any] = {}
        """What it declares: name, capabilities, dialect."""
        self._spec, self._profile, self._peers = spec, profile, peers
        self._child: _Child | None = None
        self._dialect = dialect

    async def __aenter__(self) -> Self:
        # Without a dialect the first one only tells which it needs, so that its peer can be there.
        await self._start(await self._peers.ports(self._dialect) if self._dialect else "")
        if self.told["dialect"] and not self._dialect:
            await self._end()
            await self._start(await self._peers.ports(self.told["dialect"]))
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self._end()

    async def _start(self, ports: str) -> None:
        self._child = await _Child.start(
            "vivavoce_conformance.runner", self._spec, self._profile, VIVAVOCE_CONFORMANCE_PEER=ports
        )
        try:
            self.told = json.loads(await self._child.line(_LOAD_SECONDS))
        except _Ended as ended:
            await self._end()
            raise NotLoaded(f"its import {ended}") from None
        if "failed" in self.told:
            await self._end()
            raise NotLoaded(self.told["failed"])

    async def _end(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            await child.end()

    async def run(self, check: str) -> str | None:
        """Run one check: what was seen instead of its expectation, or `None`."""
        dialect = self.told["dialect"]
        if self._child is None:
            await self._start(await self._peers.ports(dialect) if dialect else "")
        assert self._child is not None
        nonce = secrets.token_hex(8)
        self._child.tell(run=check, nonce=nonce)
        try:
            outcome = json.loads(await self._child.line(_CHECK_SECONDS))
        except (_Ended, ValueError) as ended:
            await self._end()
            if dialect:
                await self._peers.forget(dialect)
            return f"the check {ended}"
        if outcome.get("patched"):
            return f"the kit was changed: {outcome['patched']}"
        if outcome.get("nonce") != nonce:
            return "answered for another check"
        return None if outcome["passed"] else outcome.get("seen") or "it failed"
