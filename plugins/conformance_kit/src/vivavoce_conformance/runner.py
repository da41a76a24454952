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
from typing import Any

import msgspec
from vivavoce.errors import VoiceError

from vivavoce_conformance import integrity
from vivavoce_conformance.bench import Bench, Target, load_target
from vivavoce_conformance.checks import CHECKS
from vivavoce_conformance.peer.client import PeerClient
from vivavoce_conformance.registry import Check, Unmet

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


async def run_check(check: Check, target: Target, peer: PeerClient | None) -> tuple[str | None, list[str]]:
    """Run one check; what was seen if it is not met (else `None`), and the last frames on the wire."""
    async with contextlib.AsyncExitStack() as stack:
        if peer is not None:
            await stack.enter_async_context(peer)
        bench = Bench(target, peer)
        seen: str | None = None
        try:
            await check.function(bench)
        except Unmet as unmet:
            seen = str(unmet)
        except Exception as raised:
            seen = _told(raised)
        wire: list[str] = []
        if peer is not None:
            record = await peer.seen()
            wire = record.wire
            if record.failures:
                seen = f"{seen or ''} [the peer could not go on: {'; '.join(record.failures)}]".strip()
        try:
            await bench.close()
        except Exception as raised:
            seen = seen or f"closing afterwards: {_told(raised)}"
        return seen, wire if seen is not None else []


def _told(raised: BaseException) -> str:
    frames = traceback.extract_tb(raised.__traceback__)
    place = (
        f" ({os.path.basename(frames[-1].filename)}:{frames[-1].lineno} in {frames[-1].name})"
        if frames
        else ""
    )
    return f"{type(raised).__name__}: {raised}{place}"


def _peer() -> PeerClient | None:
    ports = os.environ.get("VIVAVOCE_CONFORMANCE_PEER", "")
    if not ports:
        return None
    port, control = ports.split()
    return PeerClient(int(port), int(control))


def _load(spec: str, profile: str | None) -> tuple[Target | None, dict[str, Any]]:
    try:
        target = load_target(spec, profile)
        capabilities = sorted(target.capabilities)
    except VoiceError as bad:
        return None, {"failed": str(bad)}
    except BaseException as bad:
        return None, {"failed": f"{spec} cannot be imported: {type(bad).__name__}: {bad}"}
    profile_of = target.profile
    return target, {
        "name": target.name,
        "capabilities": capabilities,
        "dialect": profile_of.dialect,
        "api": target.provider.api,
    }


def main() -> None:
    """Load the provider, say what it declares, then run checks until stdin ends."""
    out = os.dup(1)
    os.dup2(2, 1)
    warnings.simplefilter("default")
    logging.getLogger().addHandler(logging.NullHandler())
    before, checks = integrity.fingerprint(), dict(CHECKS)
    spec, profile = sys.argv[1], sys.argv[2] or None
    target, told = _load(spec, profile)
    os.write(out, msgspec.json.encode(told) + b"\n")
    if target is None:
        return
    for line in sys.stdin.buffer:
        request = msgspec.json.decode(line)
        began = time.perf_counter()
        seen, wire = asyncio.run(run_check(checks[request["run"]], target, _peer()))
        outcome = Outcome(
            id=request["run"],
            nonce=request["nonce"],
            passed=seen is None,
            seen=(seen or "")[:4000],
            wire=wire,
            seconds=round(time.perf_counter() - began, 3),
            patched=[*integrity.changes(before), *(["CHECKS"] if checks != CHECKS else [])][:8],
        )
        os.write(out, msgspec.json.encode(outcome) + b"\n")
    os._exit(0)  # what a plugin leaves behind must not hold the judge up
