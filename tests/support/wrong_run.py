"""Runs checks on providers of the corpus, in processes that may be spoilt."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Iterable

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
    """For each line `SPEC=CHECK` print a line of JSON: what was seen, or null."""
    warnings.simplefilter("ignore")
    os.nice(10)  # many of these run beside tests that play and listen in real time
    peers: dict[str, tuple[subprocess.Popen[bytes], int, int]] = {}
    for line in sys.stdin:
        spec, _, check = line.strip().partition("=")
        try:
            target = as_target(spec)
        except Exception as bad:
            print(json.dumps(f"it cannot be loaded: {bad}"), flush=True)
            continue
        logging.getLogger("vivavoce").setLevel(logging.NOTSET)  # one of them changes it
        peer = PeerClient(*ports(target.profile.dialect, peers)) if target.profile.dialect else None
        print(json.dumps(run_one(check, target, peer)), flush=True)
    for process, *_ in peers.values():
        process.kill()
    os._exit(0)


async def judge_pairs(
    pairs: Iterable[str], *, path: Iterable[str] = (), processes: int = 20
) -> dict[str, str | None]:
    """What the check of each pair `SPEC=CHECK` saw, in processes that take the next when they are done with one.

    Most of their time is waiting. Pairs of one module, so of one peer, belong together, and what takes long to the front.
    """
    waiting = [*pairs][::-1]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([*path, *filter(None, sys.path)])}
    seen: dict[str, str | None] = {}

    async def work() -> None:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            __file__,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=environment,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        while waiting:
            pair = waiting.pop()
            process.stdin.write(f"{pair}\n".encode())
            line = await process.stdout.readline()
            assert line, f"{pair} ended the process"
            seen[pair] = json.loads(line)
        process.stdin.close()
        await process.wait()

    await asyncio.gather(*(work() for _ in range(processes)))
    return seen


if __name__ == "__main__":
    main()
