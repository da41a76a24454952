"""The process that runs checks: it alone imports the provider.

It reads lines of JSON from stdin (`{"run": id, "nonce": ...}`) and writes one line for each to a descriptor that a plugin's
`print` does not reach. It gives no verdict.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import time
import traceback
import warnings
from typing import Any, Literal

import msgspec
from vivavoce.errors import VoiceError

from vivavoce_conformance import integrity
from vivavoce_conformance.bench import Bench, Target, load_target
from vivavoce_conformance.checks import CHECKS
from vivavoce_conformance.peer.client import PeerClient, RealPeer
from vivavoce_conformance.peer.observer import observes
from vivavoce_conformance.peer.script import Seen
from vivavoce_conformance.profile import load_object, service_of
from vivavoce_conformance.registry import Check, NotApplicable, Unmet

__all__ = ["Outcome", "main", "run_check"]


class Outcome(msgspec.Struct, omit_defaults=True):
    """What one check gave, as it was recorded: the judge makes a result of it."""

    id: str
    nonce: str
    passed: bool
    seen: str = ""
    wire: list[str] = []
    seconds: float = 0.0
    patched: list[str] = []
    skipped: Literal["", "not-applicable", "not-run"] = ""
    """A status instead of passed or failed: `not-applicable` or `not-run`; `seen` says why."""
    spent: dict[str, float] = {}


class _Seen(msgspec.Struct):
    """What a check came to: `seen` is `None` if it is met."""

    seen: str | None = None
    skipped: Literal["", "not-applicable", "not-run"] = ""
    record: Seen | None = None


async def run_check(check: Check, target: Target, peer: PeerClient | None) -> tuple[str | None, list[str]]:
    """Run one check; what was seen if it is not met (else `None`), and the last frames on the wire."""
    told = await _run(check, Bench(target, peer))
    wire = told.record.wire if told.record is not None else []
    return told.seen, wire if told.seen is not None else []


async def _run(check: Check, bench: Bench) -> _Seen:
    async with contextlib.AsyncExitStack() as stack:
        peer = bench.peer if bench.has_far_side else None
        if peer is not None:
            await stack.enter_async_context(peer)
        told = _Seen()
        try:
            await check.function(bench)
        except Unmet as unmet:
            told.seen = str(unmet)
        except NotApplicable as cannot:
            told.seen, told.skipped = str(cannot), "not-applicable"
        except (
            Exception,
            asyncio.CancelledError,
        ) as raised:  # nobody cancels a check: the provider let it out
            told.seen = _told(raised)
        if peer is not None:
            told.record = await peer.seen()
        replaced = integrity.overridden(
            asyncio.get_running_loop(), bench, *([peer] if peer is not None else [])
        )
        if replaced:
            told.seen = f"it replaced what the kit works with: {', '.join(replaced)}"
        try:
            await bench.close()
        except Exception as raised:
            told.seen = told.seen or f"closing afterwards: {_told(raised)}"
        _consider(told, scripted=peer is None or peer.scripted)
        return told


def _consider(told: _Seen, *, scripted: bool) -> None:
    """What kept the far side from going on is part of the result; of a real service it is no fault of the provider."""
    failures = "; ".join(told.record.failures) if told.record is not None else ""
    if not failures or told.skipped:
        return
    if not scripted and told.record is not None and told.record.spent:
        told.seen, told.skipped = failures, "not-run"
    else:
        told.seen = f"{told.seen or ''} [the peer could not go on: {failures}]".strip()


def _told(raised: BaseException) -> str:
    frames = traceback.extract_tb(raised.__traceback__)
    place = (
        f" ({os.path.basename(frames[-1].filename)}:{frames[-1].lineno} in {frames[-1].name})"
        if frames
        else ""
    )
    return f"{type(raised).__name__}: {raised}{place}"


def _checks() -> dict[str, tuple[Check, Any]]:
    """The checks and their functions: a frozen value can be changed by force."""
    return {id: (check, check.function) for id, check in CHECKS.items()}


def _peer(check: str) -> PeerClient | None:
    ports = os.environ.get("VIVAVOCE_CONFORMANCE_PEER", "")
    if not ports:
        return None
    port, control = map(int, ports.split())
    return RealPeer(port, control, check) if _mode() else PeerClient(port, control)


def _mode() -> str:
    return os.environ.get("VIVAVOCE_CONFORMANCE_MODE", "")


def _load(spec: str, profile: str | None) -> tuple[Target | None, dict[str, Any]]:
    try:
        target = load_target(spec, profile)
        capabilities = sorted(target.capabilities)
        dialect = target.profile.dialect
        transport = load_object(dialect).transport if dialect else ""
    except VoiceError as bad:
        return None, {"failed": str(bad)}
    except BaseException as bad:
        return None, {"failed": f"{spec} cannot be imported: {type(bad).__name__}: {bad}"}
    return target, {
        "name": target.name,
        "capabilities": capabilities,
        "dialect": dialect,
        "transport": transport,
        "service": target.profile.service or service_of(target.provider),
        "credentials": sorted(dict(getattr(target.provider, "credentials", None) or {}).values()),
        "observes": bool(dialect) and observes(load_object(dialect or "")),
        "api": target.provider.api,
    }


def main() -> None:
    """Load the provider, say what it declares, then run checks until stdin ends. A request for no check is answered at once:
    the judge sees by it that nobody has written into the results."""
    out = os.dup(1)
    # What makes the results is bound here, before the provider is imported.
    write, encode, changes, run, recorded = (
        os.write,
        msgspec.json.encode,
        integrity.changes,
        asyncio.run,
        Outcome,
    )
    os.dup2(2, 1)
    warnings.simplefilter("default")
    logging.getLogger().addHandler(logging.NullHandler())
    before, noted, checks = integrity.fingerprint(), integrity.watch(), _checks()
    spec, profile = sys.argv[1], sys.argv[2] or None
    target, told = _load(spec, profile)
    write(out, encode(told) + b"\n")
    if target is None:
        return
    for line in sys.stdin.buffer:
        request = msgspec.json.decode(line)
        began = time.perf_counter()
        met = _Seen()
        if request["run"]:
            bench = Bench(target, _peer(request["run"]), mode=_mode())
            met = run(_run(checks[request["run"]][0], bench))
        outcome = recorded(
            id=request["run"],
            nonce=request["nonce"],
            passed=met.seen is None,
            seen=(met.seen or "")[:4000],
            wire=met.record.wire if met.record is not None and met.seen is not None else [],
            skipped=met.skipped,
            spent=met.record.spent if met.record is not None else {},
            seconds=round(time.perf_counter() - began, 3),
            patched=[*changes(before), *noted, *(["CHECKS"] if checks != _checks() else [])][:8],
        )
        write(out, encode(outcome) + b"\n")
    os._exit(0)  # what a plugin leaves behind must not hold the judge up
