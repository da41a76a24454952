"""Every wrong provider of the corpus is caught by the check that is there for it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest
import wrong_run
import wrong_states
import wrong_talk
from vivavoce_conformance.checks import CHECKS
from wrong_base import WRONG

MODULES = {module.__name__ for module in (wrong_states, wrong_talk)}
PROVIDERS = {f"{p.__module__}:{p.__name__}": check for p, check in WRONG.items() if p.__module__ in MODULES}
IMPORTS = {
    "wrong_imports.opens_a_socket:Provider": "VV-CON-001",
    "wrong_imports.writes_a_file:Provider": "VV-CON-001",
    "wrong_imports.starts_a_process:Provider": "VV-CON-001",
    "wrong_imports.starts_a_thread:Provider": "VV-CON-002",
    "wrong_imports.imports_numpy:Provider": "VV-CON-003",
    "wrong_imports.burns_time:Provider": "VV-CON-004",
    "wrong_imports.prints:Provider": "VV-CON-005",
    "wrong_imports.adds_a_log_handler:Provider": "VV-CON-005",
    "wrong_imports.changes_the_environment:Provider": "VV-CON-005",
}
CORPUS = {**PROVIDERS, **IMPORTS}
# Checks of what the core alone does: no provider can fail them, and they guard the core and its wrappers.
CORES_OWN = {
    "VV-CON-022",
    "VV-CON-030",
    "VV-CON-046",
    "VV-CON-072",
    "VV-CON-073",
    "VV-CON-074",
    "VV-CON-094",
    "VV-CON-133",
    "VV-CON-134",
    "VV-CON-145",
}
# Faults below the protocol: the WebSocket library takes them, so a provider over it cannot be wrong in them alone.
LIBRARYS_OWN = {"VV-CON-082", "VV-CON-084", "VV-CON-089", "VV-CON-090"}
PROCESSES = 6


async def run_all() -> dict[str, str | None]:
    """What each wrong provider's own check saw. In other processes: some leave what they may not leave."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}

    async def one(pairs: list[str]) -> list[list[str]]:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(Path(wrong_run.__file__)),
            *pairs,
            stdout=asyncio.subprocess.PIPE,
            env=environment,
        )
        out, _ = await process.communicate()
        return [json.loads(line) for line in out.splitlines()]

    pairs = [f"{spec}={check}" for spec, check in CORPUS.items()]
    shares = await asyncio.gather(*(one(pairs[n::PROCESSES]) for n in range(PROCESSES)))
    return {spec: seen for share in shares for spec, _, seen, *_ in share}


@pytest.fixture(scope="module")
def caught() -> dict[str, str | None]:
    """The whole corpus, judged once."""
    return asyncio.run(run_all())


@pytest.mark.timeout(180)
@pytest.mark.parametrize("spec", CORPUS)
def test_wrong_provider_is_caught(spec: str, caught: dict[str, str | None]) -> None:
    """Its own check is not met."""
    seen = caught[spec]
    assert seen


def test_every_check_has_a_wrong_provider() -> None:
    """A check that nobody fails would prove nothing; those that no provider can fail are named, with the reason."""
    about_calls = {check.id for check in CHECKS.values() if check.over == {"webrtc"}}  # theirs: wrong_calls
    assert CHECKS.keys() - set(CORPUS.values()) - about_calls == CORES_OWN | LIBRARYS_OWN


def test_corpus_is_large() -> None:
    """At least sixty ways to be wrong."""
    assert len(CORPUS) >= 60
