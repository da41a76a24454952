"""`pytest --vivavoce-provider NAME`: every check as a test, judged in processes of its own.

    pytest --vivavoce-provider openai-realtime

What was deselected or skipped is missing from the verdict, so the verdict, a test of its own, fails.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

__all__: list[str] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option."""
    group = parser.getgroup("vivavoce", "conformance of vivavoce providers")
    group.addoption(
        "--vivavoce-provider",
        action="append",
        default=[],
        metavar="NAME",
        help="run the conformance kit on it",
    )
    group.addoption(
        "--vivavoce-profile",
        default=None,
        metavar="MODULE:NAME",
        help="how to reach it, if not the installed way",
    )
    group.addoption("--vivavoce-waivers", default=None, metavar="FILE", help="waivers, as TOML")


class _Judged:
    """The report of one provider, made when the first of its tests asks for it."""

    def __init__(self, name: str, waivers: str | None, profile: str | None) -> None:
        self.name = name
        self._waivers = waivers
        self._profile = profile
        self._report: Any = None
        self._failure: str | None = None

    def report(self) -> Any:
        """Judge it once. Raises `_Unmet` with one line where it cannot be judged."""
        if self._report is None and self._failure is None:
            self._judge()
        if self._failure is not None:
            raise _Unmet(self._failure)
        return self._report

    def _judge(self) -> None:
        from vivavoce.errors import VoiceError

        from vivavoce_conformance.judging import judge
        from vivavoce_conformance.waivers import read_waivers

        try:
            known = read_waivers(Path(self._waivers)) if self._waivers else ()
            self._report = judge(self.name, waivers=known, profile=self._profile)
        except VoiceError as bad:
            self._failure = f"it cannot be judged: {bad}"


class _Unmet(Exception):
    """A check that failed; its text is the whole story."""


class _CheckItem(pytest.Item):
    """One check, or the verdict."""

    def __init__(self, *, judged: _Judged, check: str | None, **more: Any) -> None:
        super().__init__(**more)
        self._judged = judged
        self._check = check

    def runtest(self) -> None:
        """Look up the result."""
        from vivavoce_conformance.helper import describe_failures

        try:
            report = self._judged.report()
        except _Unmet:
            if self._check is None:
                raise
            pytest.skip("it cannot be judged")  # the verdict says why, once
        if self._check is None:
            left_out = self.session.config.stash.get(_LEFT_OUT, [])
            if left_out:
                raise _Unmet(f"not conformant: {len(left_out)} not run ({', '.join(left_out[:6])})")
            if not report.conformant:
                raise _Unmet(f"{report.provider}: {report.verdict}")
            return
        result = next(r for r in report.results if r.id == self._check)
        if result.status == "not-applicable":
            pytest.skip("its capability is not declared")
        if result.status not in ("passed", "waived"):
            raise _Unmet(describe_failures(_only(report, result)))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """The story without a traceback: it happened in another process."""
        return str(excinfo.value) if isinstance(excinfo.value, _Unmet) else super().repr_failure(excinfo)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """What pytest shows."""
        return self.path, None, self.name


def _only(report: Any, result: Any) -> Any:
    import msgspec

    return msgspec.structs.replace(report, results=[result])


_LEFT_OUT = pytest.StashKey[list[str]]()


class _Provider(pytest.Collector):
    """All checks of one provider, then its verdict."""

    def __init__(self, *, judged: _Judged, **more: Any) -> None:
        super().__init__(**more)
        self._judged = judged

    def collect(self) -> Iterable[pytest.Item]:
        """One item a check."""
        from vivavoce_conformance.checks import CHECKS

        for id in [*sorted(CHECKS), None]:
            yield _CheckItem.from_parent(self, name=id or "verdict", judged=self._judged, check=id)


def pytest_collection(session: pytest.Session) -> None:
    """Nothing to do before; the checks are added when everything else is collected."""
    session.config.stash[_LEFT_OUT] = []


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(
    session: pytest.Session, config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Add the checks of every provider that was named."""
    for name in config.getoption("--vivavoce-provider"):
        judged = _Judged(name, config.getoption("--vivavoce-waivers"), config.getoption("--vivavoce-profile"))
        node = _Provider.from_parent(
            session, name=f"conformance[{name}]", nodeid=f"conformance[{name}]", judged=judged
        )
        items.extend(_items(node))


def _items(node: _Provider) -> Iterator[pytest.Item]:
    yield from node.collect()


def pytest_deselected(items: Iterable[pytest.Item]) -> None:
    """A check that was deselected did not run."""
    for item in items:
        if isinstance(item, _CheckItem):
            item.session.config.stash[_LEFT_OUT].append(item.name)
