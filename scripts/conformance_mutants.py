"""Breaks providers on purpose, one small change at a time, and counts the changes that the conformance kit notices.

    python scripts/conformance_mutants.py                    all changes of the three subjects
    python scripts/conformance_mutants.py --subject local    of one; `local` is tried only when it is named
    python scripts/conformance_mutants.py --most 20          at most so many of each, spread over it
    python scripts/conformance_mutants.py --write            and note for each change the check that noticed it

Broken are the hooks of `null` and `openai-realtime`, and a reference provider: the one that `vivavoce new --dialect own`
writes. Those of `local` hand everything over to its engines and its turns, and tests/local_provider judges them. A change
that no check notices has to stand in tests/conformance_kit/survivors.toml, with the reason; one that stands there and is
noticed, or is not there any more, is an error too. Where the reason is that the kit has no such service, it names tests of
the provider: they are run on the change, and have to notice it. What noticed each change is noted in
tests/conformance_kit/noticed.json, from which `make test` takes the one check that it runs for each of them.
The sources in the repository are not touched.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from changes import Change, changes
from conformance_children import NotLoaded, Peers, Shared
from vivavoce_conformance.checks import CHECKS
from vivavoce_conformance.new import scaffold
from vivavoce_conformance.profile import load_object
from vivavoce_conformance.registry import applicable

ROOT = Path(__file__).resolve().parent.parent
KIT_TESTS = ROOT / "tests" / "conformance_kit"
SURVIVORS, NOTICED = KIT_TESTS / "survivors.toml", KIT_TESTS / "noticed.json"
AT_A_TIME = 4
_TESTS_SECONDS = 300
OPEN = "open:"
LOADING = "loading"
"""Noticed before any check: the provider cannot be loaded."""
SUBJECTS = ("reference", "null", "openai-realtime")
# Calls by WebRTC, and sessions that another connection began and this one joins: tests/webrtc and tests/openai_realtime.
APART = {"openai-realtime": ("CallLink", "JoinedLink", "_call", "_kind")}
# Tried first: whole conversations, which most changes spoil.
_BROAD = [f"VV-CON-{number:03}" for number in (175, 141, 131, 150, 63, 12, 101, 20, 21, 152)]
# Tried after the others: they take a second and more, and look at what a change of a hook seldom reaches.
_LAST = [f"VV-CON-{number:03}" for number in (33, 34, 92, 91, 154, 1, 2, 3, 4, 5)]


class Subject(NamedTuple):
    """A provider that is broken: its source, its class, and how it is reached."""

    name: str
    source: str
    provider: str
    profile: str
    apart: tuple[str, ...] = ()
    """What the trial over a WebSocket does not reach: it is not changed, and other tests judge it."""
    file: Path | None = None
    """Where the source is, in the package that other tests import; `None`: there are no other tests."""


class Survivor(NamedTuple):
    """Why no check can notice a change; `tests` are those of the provider that do, if it is not all the same.

    A reason that begins with `open:` is none: a test is missing.
    """

    reason: str
    tests: str = ""


def subjects(directory: Path) -> Iterator[Subject]:
    """The reference is written to `directory`, which has to be on the path."""
    scaffold("reference", "own", directory / "plugin")
    sys.path.insert(0, str(directory / "plugin" / "src"))
    own = directory / "plugin" / "src" / "vivavoce_reference" / "provider.py"
    yield Subject("reference", own.read_text(), "ReferenceProvider", "vivavoce_reference.conformance:PROFILE")
    profiles = "vivavoce_conformance.profiles"
    for name, path, provider, profile in (
        ("null", "null_provider/src/vivavoce_null_provider/__init__.py", "NullProvider", ""),
        ("openai-realtime", "openai_realtime/src/vivavoce_openai_realtime/provider.py", "OpenAIRealtimeProvider", f"{profiles}:REALTIME"),
        ("local", "local_provider/src/vivavoce_local_provider/provider.py", "LocalProvider", f"{profiles}:LOCAL"),
    ):  # fmt: skip
        file = ROOT / "plugins" / path
        yield Subject(name, file.read_text(), provider, profile, APART.get(name, ()), file)


def read_noticed() -> dict[str, dict[str, str]]:
    """Subject -> change -> the check that noticed it last time."""
    return json.loads(NOTICED.read_text()) if NOTICED.exists() else {}


def read_survivors() -> dict[str, dict[str, Survivor]]:
    """Subject -> change -> why no check can notice it."""
    tables = tomllib.loads(SURVIVORS.read_text()) if SURVIVORS.exists() else {}
    return {
        name: {
            change: Survivor(one["reason"], one.get("tests", ""))
            for one in table["change"]
            for change in one["is"]
        }
        for name, table in tables.items()
    }


def tests_pass(subject: Subject, source: str, tests: str) -> bool:
    """Whether tests of the repository pass with a changed source; a run that does not end counts as not."""
    assert subject.file is not None, f"{subject.name} has no tests of its own"
    with tempfile.TemporaryDirectory(prefix="vivavoce-mutants-") as place:
        package = Path(place) / subject.file.parent.name
        shutil.copytree(subject.file.parent, package, ignore=shutil.ignore_patterns("__pycache__"))
        (package / subject.file.name).write_text(source)
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests.split()]
        try:
            done = subprocess.run(
                command, cwd=ROOT, env=os.environ | {"PYTHONPATH": place, "PYTHONDONTWRITEBYTECODE": "1"},
                capture_output=True, check=False, timeout=_TESTS_SECONDS,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return False
    if done.returncode not in (0, 1):
        raise SystemExit(f"{tests}: pytest ended with {done.returncode}: {done.stdout.decode()[-500:]}")
    return done.returncode == 0


def write_mutant(directory: Path, subject: Subject, number: int, source: str) -> str:
    """Write one changed source as a module; returns its `module:Class`."""
    module = f"mutant_{subject.name.replace('-', '_')}_{number}"
    reached = f"\n{subject.provider}.conformance_profile = {subject.profile or None!r}\n"
    (directory / f"{module}.py").write_text(source + reached)
    return f"{module}:{subject.provider}"


class Trial:
    """The trial of one subject."""

    def __init__(self, subject: Subject, directory: Path) -> None:
        self.subject = subject
        self.noticed: dict[str, str] = {}
        self.survived: list[Change] = []
        self.write = False
        self._directory = directory
        self._known = read_noticed().get(subject.name, {})
        self._popular: collections.Counter[str] = collections.Counter(self._known.values())
        self._number = 0
        self._dialect: str = (load_object(subject.profile).dialect or "") if subject.profile else ""

    async def run(self, mutants: Sequence[Change]) -> None:
        """Try them all, some at a time."""
        queue, began = [*reversed(mutants)], time.monotonic()

        async def work() -> None:
            async with Peers() as peers:
                shared = Shared(peers)
                try:
                    while queue:
                        self._note(queue[-1], await self.attempt(queue.pop(), shared))
                        if len(queue) % 25 == 0:
                            took = time.monotonic() - began
                            print(f"  {self.subject.name}: {len(queue)} left after {took:.0f} s", flush=True)
                finally:
                    await shared.end()

        async with asyncio.TaskGroup() as group:
            for _ in range(min(AT_A_TIME, len(queue))):
                group.create_task(work())

    def _note(self, change: Change, check: str | None) -> None:
        if check is None:
            self.survived.append(change)
            print(f"  not noticed: line {change.line}, {change.id}", flush=True)
        else:
            self.noticed[change.id] = check
            self._popular[check] += 1
            if self.write and len(self.noticed) % 10 == 0:
                self.keep()

    def keep(self) -> None:
        """Note what was noticed so far."""
        kept = self._known | self.noticed
        known = read_noticed() | {self.subject.name: dict(sorted(kept.items()))}
        NOTICED.write_text(json.dumps(known, indent=1, ensure_ascii=False, sort_keys=True) + "\n")

    async def attempt(self, change: Change, shared: Shared) -> str | None:
        """The check that notices a change."""
        self._number += 1
        spec = write_mutant(self._directory, self.subject, self._number, change.source)
        try:
            capabilities = await shared.load(spec, self.subject.profile)
        except NotLoaded:
            return LOADING
        for check in self._order(change, capabilities):
            if await shared.run(spec, self.subject.profile, check, self._dialect) is not None:
                return check
        return None

    def _order(self, change: Change, capabilities: Sequence[str]) -> list[str]:
        """The checks that hold for it, with the likely ones first."""
        transport = load_object(self._dialect).transport if self._dialect else ""
        hold = [
            check.id for check in applicable(capabilities, has_peer=bool(self._dialect), transport=transport)
        ]
        known = self._known.get(change.id)
        return sorted(
            hold, key=lambda id: (id != known, id in _LAST, -self._popular[id], id not in _BROAD, id)
        )


async def try_subject(subject: Subject, directory: Path, chosen: argparse.Namespace) -> int:
    """Try one subject and print what is found; returns the number of what is wrong."""
    trial = Trial(subject, directory)
    trial.write = chosen.write
    async with Peers() as peers:
        shared = Shared(peers)
        base = await trial.attempt(Change("unchanged", 0, subject.source), shared)
        await shared.end()
    if base is not None:
        print(f"{subject.name}: {base} fails without any change; make it pass first", file=sys.stderr)
        return 1
    every = list(changes(subject.source, subject.apart))
    left_alone = sum(1 for _ in changes(subject.source)) - len(every)
    known = read_noticed().get(subject.name, {}) if chosen.unnoted else {}
    settled = read_survivors().get(subject.name, {}) if chosen.unnoted else {}
    mutants = [change for change in every if change.id not in known and change.id not in settled]
    mutants = mutants[:: max(1, -(-len(mutants) // chosen.most))]
    await trial.run(mutants)
    if chosen.write:
        trial.keep()
    wrong = compare(trial, every)
    by_tests, missed = others_notice(trial)
    listed = read_survivors().get(subject.name, {})
    unsettled = sum(
        change.id in listed and listed[change.id].reason.startswith(OPEN) for change in trial.survived
    )
    wrong += missed
    for line in wrong:
        print(f"  {line}", flush=True)
    print(
        f"{subject.name}: {len(trial.noticed)} of {len(mutants)} changes noticed, {len(trial.survived)} survived "
        f"({by_tests} of them noticed by the provider's own tests, {unsettled} by nothing yet), {len(wrong)} without a listed reason or wrongly "
        f"listed; {left_alone} left alone, which a trial over a WebSocket does not reach",
        flush=True,
    )
    return len(wrong)


def others_notice(trial: Trial) -> tuple[int, list[str]]:
    """How many survivors the tests notice that are named for them, and what is wrong with the rest."""
    listed = read_survivors().get(trial.subject.name, {})
    named = [(change, listed[change.id].tests) for change in trial.survived if change.id in listed]
    named = [(change, tests) for change, tests in named if tests]
    spoilt = {tests for _, tests in named if not tests_pass(trial.subject, trial.subject.source, tests)}
    wrong = [f"{tests} fail without any change" for tests in spoilt]
    missed = [
        change.id
        for change, tests in named
        if tests not in spoilt and tests_pass(trial.subject, change.source, tests)
    ]
    return len(named) - len(missed), wrong + [f"{listed[id].tests} does not notice it: {id}" for id in missed]


def compare(trial: Trial, every: Sequence[Change]) -> list[str]:
    """What is not as it is listed."""
    listed = read_survivors().get(trial.subject.name, {})
    wrong = [f"no reason is listed: {change.id}" for change in trial.survived if change.id not in listed]
    wrong += [f"listed, but {trial.noticed[id]} notices it: {id}" for id in listed if id in trial.noticed]
    wrong += [f"listed, but there is no such change: {id}" for id in listed.keys() - {c.id for c in every}]
    return wrong


def main() -> int:
    """Break them all, and print the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--most", type=int, default=1_000_000, help="changes of each provider (all)")
    parser.add_argument("--subject", action="append", help="reference, null, openai-realtime (these), local")
    parser.add_argument("--write", action="store_true", help="note what noticed each change")
    parser.add_argument(
        "--unnoted", action="store_true", help="only those that nothing is noted or listed for yet"
    )
    chosen = parser.parse_args()
    began, wrong = time.monotonic(), 0
    with tempfile.TemporaryDirectory(prefix="vivavoce-mutants-") as place:
        sys.path.insert(0, place)
        for subject in subjects(Path(place)):
            if subject.name in (chosen.subject or SUBJECTS):
                wrong += asyncio.run(try_subject(subject, Path(place), chosen))
    print(f"conformance mutants: {len(CHECKS)} checks, {time.monotonic() - began:.0f} s", flush=True)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
