"""Every wrong provider of the corpus is caught by the check that is there for it."""

from __future__ import annotations

import asyncio

import pytest
from vivavoce_conformance.checks import CHECKS
from wrong_all import ALONE, CORPUS
from wrong_run import judge_pairs


@pytest.fixture(scope="module")
def caught() -> dict[str, str | None]:
    """What each wrong provider's own check saw. In other processes: some leave what they may not leave."""
    seen = asyncio.run(judge_pairs(f"{spec}={check}" for spec, check in sorted(CORPUS.items(), reverse=True)))
    return {pair.partition("=")[0]: what for pair, what in seen.items()}


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
