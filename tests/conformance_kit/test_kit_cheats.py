"""The verdict is not to be had by tricks."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from vivavoce_conformance.judging import judge_async

CHECK = "VV-CON-032"
PATCHED = [
    "PatchesTheKit",
    "PatchesTheChecks",
    "ReplacesTheChecks",
    "ForcesTheChecks",
    "PatchesTheCore",
    "PatchesForAMoment",
    "ReplacesAnError",
    "ChangesADeadline",
    "StopsTheClock",
]
FAILED = {
    "EndsTheProcess": "ended the process",
    "ExitsWell": "ended the process",
    "Skips": "ended the process",
    "CancelsTheCheck": "",
    "WritesResults": "",
    "WritesAtExit": "the service got None",
    "ForgesResults": "somebody wrote into the results",
    "ForgesResultsAndLeaves": "ended the process",
    "KeepsTheLoopsTime": "replaced what the kit works with: ",
    "FindsTheBench": "replaced what the kit works with: PeerClient.until",
    "StatesWhatIsAskedFor": "states something else each time",
    "BringsALyingPeer": "was changed by the dialect",
}


@pytest.fixture(scope="module")
def reports() -> dict[str, Any]:
    """The report of each cheat on the one check that it fails."""
    limit = asyncio.Semaphore(4)

    async def one(cheat: str) -> Any:
        async with limit:
            only = [CHECK] if cheat != "StatesWhatIsAskedFor" else []
            return await judge_async(f"cheats:{cheat}", only=only, workers=1)

    async def every() -> list[Any]:
        return await asyncio.gather(*map(one, [*PATCHED, *FAILED]))

    return dict(zip([*PATCHED, *FAILED], asyncio.run(every()), strict=True))


@pytest.mark.timeout(400)
@pytest.mark.parametrize("cheat", PATCHED)
def test_patched_checks_did_not_run(cheat: str, reports: dict[str, Any]) -> None:
    """Who changes the judge, its checks, the core or the clock has no results."""
    result = next(r for r in reports[cheat].results if r.id == CHECK)
    assert (result.status, reports[cheat].conformant) == ("not-run", False)
    assert "was changed by the plugin" in result.seen


@pytest.mark.timeout(400)
@pytest.mark.parametrize("cheat", FAILED)
def test_faked_results_fail(cheat: str, reports: dict[str, Any]) -> None:
    """Exit statuses and skips count for nothing, and results that nobody asked for are not taken."""
    bad = [r for r in reports[cheat].results if r.status in ("failed", "not-run") and r.seen]
    assert bad
    assert not reports[cheat].conformant
    assert FAILED[cheat] in bad[0].seen
