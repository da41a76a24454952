"""The kit's own processes, for what judges hundreds of providers: a peer that stays, a runner for each provider.

    async with Peers() as peers:
        async with Judged("module:Class", "module:PROFILE", peers) as judged:
            seen = await judged.run("VV-CON-030")     # what was seen instead, or None

The judge of the kit starts both anew for each provider, which costs a second; here it is a third. `Shared` costs nothing more:
one process runs checks on one provider after the other, which is good enough for providers that differ in one line.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import sys
from typing import Any, Self

__all__ = ["Judged", "NotLoaded", "Peers", "Shared", "serve"]

_LOAD_SECONDS = 90.0
_CHECK_SECONDS = 120.0
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
    async def start(cls, module: str, *arguments: str, function: str = "main", **more: str) -> Self:
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))} | more
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            f"from {module} import {function}; {function}()",
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

    def __init__(self, spec: str, profile: str, peers: Peers) -> None:
        self.told: dict[str, Any] = {}
        """What it declares: name, capabilities, dialect."""
        self._spec, self._profile, self._peers = spec, profile, peers
        self._child: _Child | None = None

    async def __aenter__(self) -> Self:
        # The first one only tells which dialect it needs, so that its peer can be there.
        await self._start("")
        if self.told["dialect"]:
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


class Shared:
    """A process that runs checks on one provider after the other; a new one after a hang, and now and then."""

    def __init__(self, peers: Peers, most: int = 25) -> None:
        self._peers = peers
        self._most = most
        self._loaded = 0
        self._child: _Child | None = None

    async def load(self, spec: str, profile: str) -> list[str]:
        """Import a provider, and return what it declares. Raises `NotLoaded`."""
        if self._loaded >= self._most:
            await self.end()
        self._loaded += 1
        told = await self._ask(spec=spec, profile=profile)
        if "failed" in told:
            raise NotLoaded(told["failed"])
        return list(told["capabilities"])

    async def run(self, spec: str, profile: str, check: str, dialect: str) -> str | None:
        """Run one check: what was seen instead of its expectation, or `None`."""
        ports = await self._peers.ports(dialect) if dialect else ""
        told = await self._ask(spec=spec, profile=profile, check=check, ports=ports)
        if "failed" in told and dialect:
            await self._peers.forget(dialect)
        seen: str | None = told.get("failed") or told["seen"]
        return seen

    async def _ask(self, **fields: str) -> dict[str, Any]:
        if self._child is None:
            self._child = await _Child.start("conformance_children", function="serve")
        self._child.tell(**fields)
        try:
            told: dict[str, Any] = json.loads(await self._child.line(_CHECK_SECONDS))
        except (_Ended, ValueError) as ended:
            await self.end()
            return {"failed": f"the check {ended}"}
        return told

    async def end(self) -> None:
        """End the process."""
        self._loaded = 0
        if self._child is not None:
            child, self._child = self._child, None
            await child.end()


def serve() -> None:
    """What the process of `Shared` does: a line for each line."""
    from vivavoce_conformance.bench import Target, load_target
    from vivavoce_conformance.checks import CHECKS
    from vivavoce_conformance.peer.client import PeerClient
    from vivavoce_conformance.runner import run_check

    out = os.dup(1)
    os.dup2(2, 1)
    targets: dict[str, Target] = {}

    def answer(spec: str, profile: str, check: str = "", ports: str = "") -> dict[str, Any]:
        if spec not in targets:
            targets[spec] = load_target(spec, profile or None)
        if not check:
            return {"capabilities": sorted(targets[spec].capabilities)}
        peer = PeerClient(*map(int, ports.split())) if ports else None
        return {"seen": asyncio.run(run_check(CHECKS[check], targets[spec], peer))[0]}

    for line in sys.stdin.buffer:
        try:
            told = answer(**json.loads(line))
        except BaseException as raised:
            told = {"failed": f"{type(raised).__name__}: {raised}"}
        os.write(out, json.dumps(told).encode() + b"\n")
