"""Breaks the core on purpose, one small change at a time, and counts the changes that the tests notice.

    make mutants                              the decisions and values of the core
    make mutants ARGS='turns --most 40'       one module, at most so many changes, spread over it

A change that no test notices is printed with its line: either a test is missing, or the line is not needed.
The sources in the repository are not touched: each change is made in a copy that is imported instead.
"""

from __future__ import annotations

import argparse
import ast
import copy
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from changes import SWAPPED

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "core" / "src" / "vivavoce"
MODULES = ["lifecycle", "turns", "flow", "reconnect", "tools", "calls", "config", "redaction", "audio"]
# A change may turn a loop endless.
SECONDS_FOR_A_RUN = 120


def main() -> int:
    parser = argparse.ArgumentParser(prog="make mutants")
    parser.add_argument("modules", nargs="*", help="modules of the core; all decisions if none is named")
    parser.add_argument("--most", type=int, default=60, help="changes to try in each module (60)")
    parser.add_argument("--tests", default="tests/core", help="what has to notice them (tests/core)")
    parser.add_argument("--least", type=float, default=0.0, help="fail below this part noticed, 0 to 1 (0)")
    chosen = parser.parse_args()
    unknown = [name for name in chosen.modules if not (PACKAGE / f"{name}.py").exists()]
    if unknown:
        parser.error(f"no module {unknown[0]!r} in {PACKAGE.relative_to(ROOT)}")
    modules = chosen.modules or [name for name in MODULES if (PACKAGE / f"{name}.py").exists()]
    with tempfile.TemporaryDirectory(prefix="vivavoce-mutants-") as directory:
        copied = Path(directory) / "vivavoce"
        shutil.copytree(PACKAGE, copied, ignore=shutil.ignore_patterns("__pycache__"))
        if not passes(copied, chosen.tests):
            print(f"mutants: {chosen.tests} fails without any change; make it pass first", file=sys.stderr)
            return 1
        counts = [try_module(copied, name, chosen.most, chosen.tests) for name in modules]
    noticed, tried = (sum(column) for column in zip(*counts, strict=True))
    print(f"mutants: {noticed} of {tried} noticed, {noticed / max(tried, 1):.0%}")
    return int(noticed < chosen.least * tried)


def try_module(copied: Path, name: str, most: int, tests: str) -> tuple[int, int]:
    """How many changes of one module were noticed, and how many were tried."""
    place = copied / f"{name}.py"
    original = place.read_text()
    mutants = list(mutate(ast.parse(original)))
    mutants = mutants[:: max(1, -(-len(mutants) // most))]
    noticed = 0
    for tree, line in mutants:
        place.write_text(ast.unparse(tree))
        if passes(copied, tests):
            print(
                f"  {name}.py:{line}: no test notices a change of `{original.splitlines()[line - 1].strip()}`"
            )
        else:
            noticed += 1
    place.write_text(original)
    print(f"mutants: {name}: {noticed} of {len(mutants)}", flush=True)
    return noticed, len(mutants)


def passes(copied: Path, tests: str) -> bool:
    """Whether the tests pass on the copy; a run that does not end counts as noticed."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "-p", "no:cacheprovider", tests]
    environment = {**os.environ, "PYTHONPATH": str(copied.parent), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, check=False, timeout=SECONDS_FOR_A_RUN
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def mutate(tree: ast.Module) -> Iterator[tuple[ast.Module, int]]:
    """Every tree that differs from `tree` in one small way, with the line of the difference."""
    for index, node in enumerate(ast.walk(tree)):
        for variant in range(count_changes(node)):
            # `ast.walk` goes the same way through the copy, so the index finds the same node.
            changed = copy.deepcopy(tree)
            target = next(found for position, found in enumerate(ast.walk(changed)) if position == index)
            change(target, variant)
            yield changed, getattr(node, "lineno", 1)


def count_changes(node: ast.AST) -> int:
    if isinstance(node, ast.Compare):
        return len(node.ops)
    if isinstance(node, ast.BinOp):
        # `|` joins types, and text is not subtracted.
        return int(type(node.op) in SWAPPED and not any(is_text(side) for side in (node.left, node.right)))
    if isinstance(node, ast.Constant):
        return int(isinstance(node.value, (bool, int, float)))
    return int(isinstance(node, (ast.BoolOp, ast.If, ast.IfExp, ast.While)))


def is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def change(node: ast.AST, variant: int) -> None:
    """Make the change number `variant` to `node`."""
    if isinstance(node, ast.Compare):
        node.ops[variant] = SWAPPED[type(node.ops[variant])]()
    elif isinstance(node, ast.BinOp):
        node.op = SWAPPED[type(node.op)]()
    elif isinstance(node, ast.Constant):
        node.value = (not node.value) if isinstance(node.value, bool) else node.value + 1  # type: ignore[operator]
    elif isinstance(node, ast.BoolOp):
        node.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
    elif isinstance(node, (ast.If, ast.IfExp, ast.While)):
        node.test = ast.UnaryOp(ast.Not(), node.test)


if __name__ == "__main__":
    sys.exit(main())
