"""One case: a provider, the checks that hold for it, and what they gave.

A runner that dies, hangs or answers nonsense costs the check it was at; the next one goes on.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable, Mapping
from datetime import date
from typing import Any

import attrs
import msgspec
from vivavoce.errors import ProviderLoadError

from vivavoce_conformance.children import Broken, Child
from vivavoce_conformance.registry import Check
from vivavoce_conformance.runner import Outcome
from vivavoce_conformance.verdict import Result, Status, Waiver

__all__ = ["CHECK_DEADLINE", "IMPORT_DEADLINE", "Case", "Progress", "start_runner", "work"]

IMPORT_DEADLINE = 60.0
CHECK_DEADLINE = 120.0


class Progress:
    """Is told what comes and what came. `told` gets each result; without it nobody does."""

    def __init__(self, told: Callable[[Result], None] | None = None) -> None:
        self._told = told

    def expect(self, count: int, what: str) -> None:
        """So many more checks will run; `what` is where: `kit`, `live`, `recorded`."""

    def __call__(self, result: Result) -> None:
        """A check has a result."""
        if self._told is not None:
            self._told(result)


@attrs.define
class Case:
    """What is judged, against what, and what was recorded.

    `real` starts what stands for the service instead of the kit's own peer: a module and its arguments. `mode` tells
    the runner: `live` and `recorded`, or nothing.
    """

    spec: str
    profile: str | None
    told: dict[str, Any] = attrs.field(factory=dict)
    checks: list[Check] = attrs.field(factory=list)
    queue: deque[Check] = attrs.field(factory=deque)
    results: dict[str, Result] = attrs.field(factory=dict)
    waivers: Mapping[str, Waiver] = attrs.field(factory=dict)
    progress: Progress = attrs.field(factory=Progress)
    real: tuple[str, ...] = ()
    mode: str = ""
    again: str = ""
    spent: Mapping[str, float] = attrs.field(factory=dict)

    def record(self, check: Check, outcome: Outcome | None, broken: str = "") -> None:
        """Make a result of what came back; `None`: nothing did, and `broken` says why."""
        waiver = self.waivers.get(check.id)
        came = outcome or Outcome(check.id, "", passed=False, seen=broken)
        status, seen = _judged(came, waiver)
        self.spent = came.spent or self.spent
        result = Result(
            id=check.id,
            status=status,
            level=check.level,
            family=check.family,
            sentence=check.sentence,
            seen=seen,
            wire=came.wire if status != "passed" else (),
            rerun=self.rerun(check) if status != "passed" else "",
            reason=waiver.reason if waiver is not None else "",
            seconds=came.seconds,
        )
        self.results[check.id] = result
        self.progress(result)

    def rerun(self, check: Check) -> str:
        """The command that runs one check again."""
        profile = f" --profile {self.profile}" if self.profile else ""
        return f"vivavoce conformance {self.spec}{profile} --check {check.id}{self.again}"


def _judged(outcome: Outcome, waiver: Waiver | None) -> tuple[Status, str]:
    """The status of what came back, and what was seen."""
    if outcome.patched:
        return "not-run", f"the kit was changed by the plugin: {', '.join(outcome.patched)}"
    if outcome.skipped:
        return outcome.skipped, outcome.seen
    if not outcome.passed:
        holds = waiver is not None and waiver.until >= date.today()
        return "waived" if holds else "failed", outcome.seen
    if waiver is not None:
        return "failed", "it is waived, but it passes: remove the waiver"
    return "passed", outcome.seen


async def start_runner(case: Case, peer: str) -> Child:
    """A process that has imported the provider, and told what it declares. Raises `ProviderLoadError`."""
    runner = await Child.start(
        "vivavoce_conformance.runner", case.spec, case.profile or "",
        VIVAVOCE_CONFORMANCE_PEER=peer, VIVAVOCE_CONFORMANCE_MODE=case.mode,
    )  # fmt: skip
    try:
        told = msgspec.json.decode(await runner.line(IMPORT_DEADLINE))
        if "failed" in told:
            raise ProviderLoadError(told["failed"])
        if case.told and told != case.told:
            raise ProviderLoadError(f"{case.spec} states something else each time it is imported")
        case.told = told
    except Broken as broken:
        await runner.end()
        raise ProviderLoadError(f"{case.spec}: its import {broken}") from None
    except BaseException:
        await runner.end()
        raise
    return runner


async def work(case: Case) -> None:
    """Take checks from the queue until it is empty."""
    peer = runner = None
    ports = ""
    try:
        while case.queue:
            check = case.queue.popleft()
            if case.told["dialect"] and peer is None:
                module, *arguments = case.real or ("vivavoce_conformance.peer.process", case.told["dialect"])
                peer = await Child.start(module, *arguments)
                ports = (await peer.line(IMPORT_DEADLINE)).decode().strip()
            try:
                runner = runner or await start_runner(case, ports)
            except ProviderLoadError as bad:
                case.record(check, None, str(bad))
                continue
            try:
                outcome = await _one(runner, check.id)
                await _one(runner, "")
                case.record(check, outcome)
            except Broken as broken:
                case.record(check, None, f"the check {broken}")
                await runner.end()
                runner = None
                if peer is not None and not case.real:  # what stands for a real service counts on
                    await peer.end()
                    peer = None
    finally:
        for process in (runner, peer):
            if process is not None:
                await process.end()


async def _one(runner: Child, check: str) -> Outcome:
    """What the runner answers for a check; for none (`""`) only that it is still there and has said nothing more."""
    nonce = secrets.token_hex(8)
    runner.tell({"run": check, "nonce": nonce})
    line = await runner.line(CHECK_DEADLINE)
    try:
        outcome = msgspec.json.decode(line, type=Outcome)
    except msgspec.MsgspecError:
        raise Broken("answered with something else than a result") from None
    if outcome.id != check or outcome.nonce != nonce:
        raise Broken("answered for another check: somebody wrote into the results")
    return outcome
