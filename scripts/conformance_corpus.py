"""Judges the corpus of wrong providers, and shows that each check is needed: there is a provider that it alone catches.

    python scripts/conformance_corpus.py                 those that one check alone must catch, by all checks
    python scripts/conformance_corpus.py --all           the whole corpus by all checks: prints what catches whom
    python scripts/conformance_corpus.py Stale Loses     those with these words in their names

Harmless variants are judged too: no check may fail. `make test` runs the one check of each.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from conformance_children import Judged, NotLoaded, Peers
from vivavoce_conformance.checks import CHECKS
from vivavoce_conformance.registry import applicable

ROOT = Path(__file__).resolve().parent.parent
AT_A_TIME = 6
_IMPORTS = frozenset(f"VV-CON-{number:03}" for number in range(1, 6))
"""Each begins an interpreter to import the provider's module: one trial is enough for all classes of a module."""


def read_corpus() -> Any:
    """The module `wrong_all` of the tests."""
    sys.path[:0] = [str(ROOT / "tests" / "support"), str(ROOT / "tests")]
    return importlib.import_module("wrong_all")


async def judge_whole(spec: str, peers: Peers, imported: dict[tuple[str, str], str | None]) -> dict[str, str]:
    """All checks that hold for a provider: id -> what was seen, of those that fail.

    `imported` keeps what importing a module gave.
    """
    failed: dict[str, str] = {}
    module = spec.partition(":")[0]
    try:
        async with Judged(spec, "", peers) as judged:
            told = judged.told
            for check in applicable(
                told["capabilities"], has_peer=bool(told["dialect"]), transport=told["transport"]
            ):
                if check.id not in _IMPORTS:
                    seen = await judged.run(check.id)
                else:
                    if (module, check.id) not in imported:
                        imported[module, check.id] = await judged.run(check.id)
                    seen = imported[module, check.id]
                if seen is not None:
                    failed[check.id] = seen
    except NotLoaded as why:
        failed["loading"] = str(why)
    return failed


async def judge_all(wanted: dict[str, set[str] | None]) -> list[str]:
    """Judge many at a time. `wanted`: spec -> the checks that must fail and no others (`None`: whatever they are)."""
    queue, wrong, began = [*wanted], [], time.monotonic()
    imported: dict[tuple[str, str], str | None] = {}

    async def work() -> None:
        async with Peers() as peers:
            while queue:
                spec = queue.pop(0)
                failed = await judge_whole(spec, peers, imported)
                expected = wanted[spec]
                good = expected is None or failed.keys() == expected
                told = (
                    ""
                    if good
                    else "   WRONG: " + "; ".join(f"{id}: {seen[:200]}" for id, seen in failed.items())
                )
                ids = ", ".join(id.removeprefix("VV-CON-") for id in failed) or "nothing"
                print(f"{time.monotonic() - began:5.0f} s  {spec}: {ids}{told}", flush=True)
                if not good:
                    wrong.append(spec)

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_A_TIME):
            group.create_task(work())
    return wrong


def choose(corpus: Any, everything: bool, words: Sequence[str]) -> dict[str, set[str] | None]:
    """What is judged, and what must come of it."""
    chosen: dict[str, set[str] | None] = {}
    for spec, check in corpus.CORPUS.items():
        if spec in corpus.ALONE:
            chosen[spec] = {check}
        elif everything or words:
            chosen[spec] = None
    chosen |= {f"harmless:{name}": set() for name in corpus.HARMLESS}
    return {spec: ids for spec, ids in chosen.items() if not words or any(word in spec for word in words)}


def main() -> int:
    """Judge, and print the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("words", nargs="*", help="parts of names; all without any")
    parser.add_argument("--all", action="store_true", help="also those that several checks may catch")
    chosen = parser.parse_args()
    corpus = read_corpus()
    wanted = choose(corpus, chosen.all, chosen.words)
    began = time.monotonic()
    wrong = asyncio.run(judge_all(wanted))
    alone = {corpus.CORPUS[spec] for spec in corpus.ALONE if spec not in wrong}
    print(
        f"conformance corpus: {len(corpus.CORPUS)} wrong providers for {len(CHECKS)} checks; judged whole {len(wanted)}, "
        f"{len(wrong)} not as they must be; {len(alone)} checks have one that they alone catch; "
        f"{time.monotonic() - began:.0f} s",
        flush=True,
    )
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
