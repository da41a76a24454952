"""The judge: starts peer and runner as processes of their own, hands out checks, and keeps what they gave.

It never imports a provider. A runner that dies, hangs or answers nonsense costs the check it was at; the next one goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

import attrs
import msgspec
import vivavoce
from vivavoce import registry as installed
from vivavoce.errors import ConfigError, ProviderLoadError

from vivavoce_conformance.checks import CHECKS
from vivavoce_conformance.registry import SPEC_LEVEL, Check, applicable
from vivavoce_conformance.runner import Outcome
from vivavoce_conformance.verdict import Report, Result, Waiver, conclude

__all__ = ["IMPORT_DEADLINE", "judge", "judge_async"]

IMPORT_DEADLINE = 20.0
CHECK_DEADLINE = 40.0
WORKERS = 2
_LIMIT = 16 * 1024 * 1024

Progress = Callable[[Result], None]


class _Broken(Exception):
    """A process did not do its part; the text says how it ended."""


class _Process:
    """A child that answers line by line."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, module: str, *arguments: str, **more: str) -> _Process:
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
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(timeout):
                line = await self._process.stdout.readline()
        except TimeoutError:
            raise _Broken(f"took more than {timeout:g} s and was ended") from None
        if not line:
            raise _Broken(f"ended the process (status {await self._process.wait()})")
        return line

    def tell(self, value: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(msgspec.json.encode(value) + b"\n")

    async def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        # Asyncio keeps a killed child's pipes until they are told.
        self._process._transport.close()  # type: ignore[attr-defined]


@attrs.define
class _Case:
    """What is judged, and what was recorded."""

    spec: str
    profile: str | None
    told: dict[str, Any] = attrs.field(factory=dict)
    checks: list[Check] = attrs.field(factory=list)
    queue: deque[Check] = attrs.field(factory=deque)
    results: dict[str, Result] = attrs.field(factory=dict)
    waivers: Mapping[str, Waiver] = attrs.field(factory=dict)
    progress: Progress = lambda result: None

    def record(self, check: Check, outcome: Outcome | None, broken: str = "") -> None:
        """Make a result of what came back."""
        passed = outcome is not None and outcome.passed and not outcome.patched
        waiver = self.waivers.get(check.id)
        status = "passed" if passed else "failed"
        seen = broken or (outcome.seen if outcome is not None else "")
        if outcome is not None and outcome.patched:
            status, seen = "not-run", f"the kit was changed by the plugin: {', '.join(outcome.patched)}"
        elif status == "failed" and waiver is not None and waiver.until >= date.today():
            status = "waived"
        elif status == "passed" and waiver is not None:
            status, seen = "failed", "it is waived, but it passes: remove the waiver"
        result = Result(
            id=check.id,
            status=status,  # type: ignore[arg-type]
            level=check.level,
            family=check.family,
            sentence=check.sentence,
            seen=seen,
            wire=outcome.wire if outcome is not None and status != "passed" else (),
            rerun=f"vivavoce conformance {self.spec} --check {check.id}" if status != "passed" else "",
            reason=waiver.reason if waiver is not None else "",
            seconds=outcome.seconds if outcome is not None else 0.0,
        )
        self.results[check.id] = result
        self.progress(result)


async def _runner(case: _Case, peer: str) -> _Process:
    runner = await _Process.start(
        "vivavoce_conformance.runner", case.spec, case.profile or "", VIVAVOCE_CONFORMANCE_PEER=peer
    )
    try:
        case.told = msgspec.json.decode(await runner.line(IMPORT_DEADLINE))
        if "failed" in case.told:
            raise ProviderLoadError(case.told["failed"])
    except _Broken as broken:
        await runner.end()
        raise ProviderLoadError(f"{case.spec}: its import {broken}") from None
    except BaseException:
        await runner.end()
        raise
    return runner


async def _worker(case: _Case) -> None:
    """Take checks from the queue until it is empty."""
    peer = runner = None
    ports = ""
    try:
        while case.queue:
            check = case.queue.popleft()
            if case.told["dialect"] and peer is None:
                peer = await _Process.start("vivavoce_conformance.peer.process", case.told["dialect"])
                ports = (await peer.line(IMPORT_DEADLINE)).decode().strip()
            try:
                runner = runner or await _runner(case, ports)
            except ProviderLoadError as bad:
                case.record(check, None, str(bad))
                continue
            try:
                case.record(check, await _one(runner, check))
            except _Broken as broken:
                case.record(check, None, f"the check {broken}")
                await runner.end()
                runner = None
                if peer is not None:
                    await peer.end()
                    peer = None
    finally:
        for process in (runner, peer):
            if process is not None:
                await process.end()


async def _one(runner: _Process, check: Check) -> Outcome:
    nonce = secrets.token_hex(8)
    runner.tell({"run": check.id, "nonce": nonce})
    line = await runner.line(CHECK_DEADLINE)
    try:
        outcome = msgspec.json.decode(line, type=Outcome)
    except msgspec.MsgspecError:
        raise _Broken("answered with something else than a result") from None
    if outcome.id != check.id or outcome.nonce != nonce:
        raise _Broken("answered for another check: somebody wrote into the results")
    return outcome


async def judge_async(
    spec: str,
    *,
    profile: str | None = None,
    only: Sequence[str] = (),
    waivers: Sequence[Waiver] = (),
    progress: Progress = lambda result: None,
    workers: int = WORKERS,
) -> Report:
    """See `judge`."""
    began = time.monotonic()
    case = _Case(spec, profile, waivers={w.id: w for w in waivers}, progress=progress)
    first = await _runner(case, "")
    await first.end()
    capabilities = case.told["capabilities"]
    case.checks = applicable(capabilities, has_peer=bool(case.told["dialect"]))
    unknown = sorted({*only, *case.waivers} - CHECKS.keys())
    if unknown:
        raise ConfigError(
            f"no check is named {', '.join(unknown)}; docs/reference/conformance-checks.md lists them"
        )
    case.queue.extend(check for check in case.checks if not only or check.id in only)
    async with asyncio.TaskGroup() as group:
        for _ in range(max(1, min(workers, len(case.queue)))):
            group.create_task(_worker(case))
    return _report(case, time.monotonic() - began)


def _report(case: _Case, seconds: float) -> Report:
    conformant, tier, verdict = conclude(case.checks, case.results, case.told["capabilities"])
    expected = {check.id for check in case.checks}
    rows = []
    for id, check in sorted(CHECKS.items()):
        status: Any = "not-run" if id in expected else "not-applicable"
        blank = Result(id, status, check.level, check.family, check.sentence)
        rows.append(case.results.get(id, blank))
    return Report(
        provider=case.told["name"],
        distribution=_origin(case.spec),
        capabilities=case.told["capabilities"],
        spec_level=SPEC_LEVEL,
        kit=_kit_version(),
        core=vivavoce.__version__,
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        conformant=conformant,
        tier=tier,
        verdict=verdict,
        seconds=round(seconds, 1),
        results=rows,
    )


def _origin(spec: str) -> str:
    if ":" in spec:
        return spec
    found = installed.find(spec)
    return f"{found.distribution} {found.version}"


def _kit_version() -> str:
    from importlib.metadata import version

    return version("vivavoce-conformance")


def judge(spec: str, **options: Any) -> Report:
    """Judge a provider, by its name or as `module:Class`.

    `profile`: `module:attribute` of a `Profile`; `only`: ids of checks (the rest is not run, so the verdict is "not
    conformant"); `waivers`; `progress`: called with each `Result`; `workers`: how many processes. Raises
    `ProviderNotFoundError`, `ProviderLoadError`, `ConfigError` in one line each when the provider cannot be judged.
    """
    return asyncio.run(judge_async(spec, **options))
