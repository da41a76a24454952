"""Runs checks on providers of the corpus, in a process that may be spoilt: `python wrong_run.py SPEC=CHECK...`."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
import warnings

from vivavoce_conformance.bench import Target, load_target
from vivavoce_conformance.checks import CHECKS
from vivavoce_conformance.peer.client import PeerClient
from vivavoce_conformance.registry import applicable
from vivavoce_conformance.runner import run_check

SLOW = {"VV-CON-001", "VV-CON-002", "VV-CON-003", "VV-CON-004", "VV-CON-005"}
SLOW |= {"VV-CON-033", "VV-CON-034", "VV-CON-091", "VV-CON-092", "VV-CON-154"}


def as_target(spec: str) -> Target:
    """A wrong import is not imported here: the check does that."""
    if not spec.startswith("wrong_imports."):
        return load_target(spec)
    good = load_target("wrong_base:Quiet")
    return Target(spec, good.name, good.provider, good.profile)


def every(target: Target) -> list[str]:
    """The checks that hold for it, without those that take long."""
    checks = applicable(target.capabilities, has_peer=target.profile.has_peer)
    return [check.id for check in checks if check.id not in SLOW]


def ports(dialect: str, peers: dict[str, tuple[subprocess.Popen[bytes], int, int]]) -> tuple[int, int]:
    """Where the peer of a dialect listens; it is started when it is first needed."""
    if dialect not in peers:
        command = [
            sys.executable,
            "-c",
            "from vivavoce_conformance.peer.process import main; main()",
            dialect,
        ]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdout is not None
        port, control = map(int, process.stdout.readline().split())
        peers[dialect] = process, port, control
    return peers[dialect][1:]


def run_one(check: str, target: Target, peer: PeerClient | None) -> str | None:
    """What one check saw; also when it never ends, or when the provider ends the loop."""

    async def limited() -> tuple[str | None, list[str]]:
        async with asyncio.timeout(60):
            return await run_check(CHECKS[check], target, peer)

    try:
        return asyncio.run(limited())[0]
    except BaseException as raised:
        return f"{type(raised).__name__}: {raised}"


def main() -> None:
    """Print a line of JSON for each pair: what was seen, or null."""
    warnings.simplefilter("ignore")
    peers: dict[str, tuple[subprocess.Popen[bytes], int, int]] = {}
    for pair in sys.argv[1:]:
        spec, _, check = pair.partition("=")
        try:
            target = as_target(spec)
        except Exception as bad:
            print(json.dumps([spec, check, f"it cannot be loaded: {bad}", "MUST", 0]), flush=True)
            continue
        for id in [check] if check else every(target):
            peer = PeerClient(*ports(target.profile.dialect, peers)) if target.profile.dialect else None
            began = time.monotonic()
            seen = run_one(id, target, peer)
            took = round(time.monotonic() - began, 2)
            print(json.dumps([spec, id, seen, CHECKS[id].level, took]), flush=True)
    for process, *_ in peers.values():
        process.kill()
    os._exit(0)


if __name__ == "__main__":
    main()
