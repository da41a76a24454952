"""Breaks providers on purpose, one small change at a time, and counts the changes that the conformance kit notices.

    python scripts/conformance_mutants.py              the hooks of openai-realtime, and the scaffold's own provider
    python scripts/conformance_mutants.py --most 20    at most so many changes of each, spread over it

A change that no check notices is printed with its line. The sources in the repository are not touched.
"""

from __future__ import annotations

import argparse
import ast
import asyncio
import copy
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mutants import mutate
from vivavoce_conformance.checks import CHECKS
from vivavoce_conformance.judging import judge_async
from vivavoce_conformance.new import scaffold
from vivavoce_conformance.verdict import Result

ROOT = Path(__file__).resolve().parent.parent
# Twelve seconds of a full run, and nothing that a change of a hook could reach.
LEFT_OUT = {"VV-CON-001", "VV-CON-002", "VV-CON-003", "VV-CON-004", "VV-CON-005"}
AT_A_TIME = 3


class Noticed(Exception):
    """A check failed: that is enough."""


def subjects(directory: Path) -> Iterator[tuple[str, str, str, str]]:
    """What is broken: a label, its source, its class, its profile."""
    hooks = ROOT / "plugins/openai_realtime/src/vivavoce_openai_realtime/provider.py"
    yield (
        "openai-realtime",
        hooks.read_text(),
        "OpenAIRealtimeProvider",
        "vivavoce_conformance.profiles:REALTIME",
    )
    scaffold("reference", "own", directory / "plugin")
    sys.path.insert(0, str(directory / "plugin" / "src"))
    own = directory / "plugin" / "src" / "vivavoce_reference" / "provider.py"
    yield "own", own.read_text(), "ReferenceProvider", "vivavoce_reference.conformance:PROFILE"


def every_change(tree: ast.Module) -> Iterator[tuple[ast.Module, int]]:
    """The changes of expressions, and one for each statement that can be left out."""
    yield from mutate(tree)
    for index, node in enumerate(ast.walk(tree)):
        if isinstance(node, (ast.Expr, ast.AugAssign)) and not isinstance(node.value, ast.Constant):
            changed = copy.deepcopy(tree)
            target = next(found for position, found in enumerate(ast.walk(changed)) if position == index)
            for parent in ast.walk(changed):
                for _, body in ast.iter_fields(parent):
                    if isinstance(body, list) and target in body:
                        body[body.index(target)] = ast.copy_location(ast.Pass(), target)
            yield changed, node.lineno


def stop_at_failure(result: Result) -> None:
    if result.status in ("failed", "not-run"):
        raise Noticed


async def is_noticed(spec: str, profile: str) -> bool:
    """Whether any check fails."""
    only = [id for id in CHECKS if id not in LEFT_OUT]
    try:
        await judge_async(spec, profile=profile, only=only, progress=stop_at_failure, workers=1)
    except Exception:  # a group with Noticed in it; or it cannot even be judged
        return True
    return False


async def try_subject(directory: Path, label: str, source: str, name: str, profile: str, most: int) -> None:
    """Try the changes of one provider, and print what is found."""
    mutants = list(every_change(ast.parse(source)))
    mutants = mutants[:: max(1, -(-len(mutants) // most))]
    limit = asyncio.Semaphore(AT_A_TIME)
    survivors: list[str] = []

    async def one(number: int, tree: ast.Module, line: int) -> None:
        module = f"mutant_{label.replace('-', '_')}_{number}"
        (directory / f"{module}.py").write_text(ast.unparse(tree))
        async with limit:
            if not await is_noticed(f"{module}:{name}", profile):
                survivors.append(f"  {label}:{line}: `{source.splitlines()[line - 1].strip()}`")
                print(survivors[-1], flush=True)

    async with asyncio.TaskGroup() as group:
        for number, (tree, line) in enumerate(mutants):
            group.create_task(one(number, tree, line))
    print(f"{label}: {len(mutants) - len(survivors)} of {len(mutants)} changes noticed", flush=True)


def main() -> None:
    """Break both, and print the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--most", type=int, default=200, help="changes of each provider (200)")
    most = parser.parse_args().most
    with tempfile.TemporaryDirectory(prefix="vivavoce-mutants-") as place:
        sys.path.insert(0, place)
        for subject in subjects(Path(place)):
            asyncio.run(try_subject(Path(place), *subject, most))


if __name__ == "__main__":
    main()
