"""Every wrong provider of the corpus is caught by the check that is there for it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest
import wrong_run
from vivavoce_conformance.checks import CHECKS
from wrong_all import ALONE, CORPUS

PROCESSES = 10


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


@pytest.mark.timeout(300)
@pytest.mark.parametrize("spec", CORPUS)
def test_wrong_provider_is_caught(spec: str, caught: dict[str, str | None]) -> None:
    """Its own check is not met."""
    seen = caught[spec]
    assert seen


def test_every_check_is_needed() -> None:
    """Each check has a wrong provider that no other one catches; `make mutants` judges them by all checks."""
    about_calls = {check.id for check in CHECKS.values() if check.over == {"webrtc"}}  # theirs: wrong_calls
    assert {CORPUS[spec] for spec in ALONE} == CHECKS.keys() - about_calls


def test_corpus_is_large() -> None:
    """At least sixty ways to be wrong."""
    assert len(CORPUS) >= 60
    assert CORPUS.keys() >= ALONE
