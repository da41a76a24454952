"""Machine-made changes of providers: each is noticed by the check that is noted for it. `make mutants` tries all checks."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest
from vivavoce_conformance.checks import CHECKS
from wrong_run import judge_pairs

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
if str(SCRIPTS) not in sys.path:
    sys.path.append(str(SCRIPTS))

import conformance_mutants as kit  # noqa: E402
from changes import changes  # noqa: E402


async def try_all(directory: Path) -> tuple[dict[str, str], set[str]]:
    """What was tried (`subject: change` and its check), and what of it was noticed."""
    noted = kit.read_noticed()
    tried: dict[str, str] = {}
    pairs: dict[str, str] = {}
    for subject in kit.subjects(directory):
        for number, change in enumerate(changes(subject.source, subject.apart)):
            check = noted.get(subject.name, {}).get(change.id, kit.LOADING)
            if check != kit.LOADING:  # what cannot be loaded needs no check
                name = f"{subject.name}: {change.id}"
                tried[name] = check
                pairs[f"{kit.write_mutant(directory, subject, number, change.source)}={check}"] = name
    seen = await judge_pairs(
        sorted(pairs, reverse=True), path=[str(directory), str(directory / "plugin" / "src")]
    )
    return tried, {pairs[pair] for pair, what in seen.items() if what}


@pytest.mark.timeout(400)
def test_each_change_is_noticed_by_its_check(tmp_path: Path) -> None:
    """One check for each change that `make mutants` has noted, of those that can still be made."""
    tried, noticed = asyncio.run(try_all(tmp_path))
    assert tried
    assert sorted(tried.keys() - noticed) == []


def test_noted_checks_are_there() -> None:
    """What is noted names checks that exist, and what survives has a reason."""
    noted = {check for changes in kit.read_noticed().values() for check in changes.values()}
    assert noted <= CHECKS.keys() | {kit.LOADING}
    survivors = [one for changes in kit.read_survivors().values() for one in changes.values()]
    assert all(len(one.reason.split()) >= 5 for one in survivors)
    assert all((kit.ROOT / path).exists() for one in survivors for path in one.tests.split())


def test_changes_have_names_of_their_own() -> None:
    """A change is named by its function and its code: the names are unique, and outlive edits elsewhere."""
    source = "def f(x):\n    if x and x > 1:\n        return [x, 1]\n    x.y = 2\n"
    found = {change.id: change.source for change in changes(source)}
    assert list(found) == list({change.id: 0 for change in changes("a = b\n\n" + source)})
    assert found["f: `x > 1` -> `x >= 1`"] == source.replace("x > 1", "x >= 1").rstrip()
    assert found["f: `x.y = 2` -> `pass`"].endswith("pass")
    assert "f: `return [x, 1]` -> `return None`" in found


def test_what_is_set_apart_is_left_alone() -> None:
    """Functions that are set apart, and what is done for them alone, are not changed; what is done else is."""
    source = (
        "def call(x):\n    return 1\n"
        "def f(x):\n    if isinstance(x, Call):\n        return 2\n    else:\n        a(x)\n"
        "    if not isinstance(x, Call):\n        b(x)\n    else:\n        c(x)\n"
    )
    assert {change.id for change in changes(source, ("call", "Call"))} == {
        "f: `a(x)` -> `pass`",
        "f: `b(x)` -> `pass`",
    }
    assert len({change.id for change in changes(source)}) > 8


def test_words_for_people_are_left_alone() -> None:
    """Docstrings, annotations, imports, logs and the texts of errors are no behaviour."""
    source = 'import os\n__all__ = ["f"]\ndef f(x: "str") -> "str":\n    """One."""\n    raise ValueError("two", code="x")\n'
    assert {change.id for change in changes(source)} == {
        "f: `raise ValueError('two', code='x')` -> `pass`",
    }
