"""The verdict: compared with the list of checks, and not to be had by tricks."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from vivavoce.errors import ConfigError, ProviderLoadError
from vivavoce_conformance import cases
from vivavoce_conformance.checks import CHECKS
from vivavoce_conformance.judging import judge
from vivavoce_conformance.registry import applicable
from vivavoce_conformance.verdict import Result, Waiver, conclude
from vivavoce_conformance.waivers import read_waivers

CHECK = "VV-CON-032"


def results(**status: str) -> dict[str, Result]:
    """All checks passed, but for those that are named (`_032="failed"`)."""
    given = {f"VV-CON-{key[1:]}": value for key, value in status.items()}
    return {
        id: Result(id, given.get(id, "passed"), check.level, check.family, check.sentence)  # type: ignore[arg-type]
        for id, check in CHECKS.items()
    }


ALL = list(CHECKS.values())


@pytest.mark.parametrize(
    ("given", "conformant", "tier"),
    [
        ({}, True, "gold"),
        ({"_107": "failed"}, True, "silver"),
        ({"_032": "waived"}, True, "bronze"),
        ({"_032": "failed"}, False, "none"),
        ({"_032": "not-run"}, False, "none"),
        ({"_107": "not-run"}, False, "none"),
    ],
)
def test_tiers(given: dict[str, str], conformant: bool, tier: str) -> None:
    """Every MUST makes a verdict, every SHOULD gold; a waiver caps it; what did not run is not conformant."""
    assert conclude(ALL, results(**given), {"realtime"})[:2] == (conformant, tier)


def test_missing_result_is_not_conformant() -> None:
    """A check of the list without a result was not run."""
    left = results()
    del left[CHECK]
    assert conclude(ALL, left, {"realtime"}) == (False, "none", "not conformant: 1 not run (VV-CON-032)")


def test_nothing_declared_has_no_tier() -> None:
    """Who declares nothing and does nothing is conformant, without a badge."""
    assert conclude(ALL, results(), ()) == (True, "none", "conformant, nothing declared")


def test_capabilities_choose_checks() -> None:
    """A check holds for those that declare what it needs."""
    speak = {check.id for check in applicable({"speak"}, has_peer=False)}
    assert {"VV-CON-180", "VV-CON-187"} <= speak
    assert {"VV-CON-185", "VV-CON-030"} & speak == set()


def test_a_single_check_is_no_verdict() -> None:
    """What was left out is not run, so the provider is not conformant."""
    report = judge("null", only=["VV-CON-011"])
    assert (report.conformant, report.count("passed"), report.count("not-run") > 5) == (False, 1, True)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("no-such-provider", "no provider is named 'no-such-provider'"),
        ("wrong_imports.raises:Provider", "no such luck"),
        ("wrong_imports.exits:Provider", "SystemExit"),
        ("wrong_imports.ends_hard:Provider", "ended the process"),
        ("wrong_imports.hangs:Provider", "took more than"),
        ("wrong_nonsense:NoApi", "states no API level"),
        ("wrong_nonsense:OtherApi", "plugin API 7"),
        ("wrong_nonsense:Capabilities", "capabilities must be"),
        ("wrong_nonsense:nothing", "cannot be loaded"),
        ("no_such_module:Provider", "cannot be loaded"),
    ],
)
def test_bad_input_is_one_line(spec: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be judged is told in one line."""
    if "hangs" in spec:
        monkeypatch.setattr(cases, "IMPORT_DEADLINE", 4.0)
    with pytest.raises((ProviderLoadError, ConfigError)) as raised:
        judge(spec)
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


def test_waivers(tmp_path: Path) -> None:
    """A waiver holds for a failure, and one for what passes is a failure itself."""
    known = Waiver(CHECK, "instructions come next month", date(2099, 1, 1))
    report = judge("wrong_states:DropsInstructions", only=[CHECK], waivers=[known], workers=1)
    assert next(r.status for r in report.results if r.id == CHECK) == "waived"
    needless = judge("null", only=["VV-CON-011"], waivers=[Waiver("VV-CON-011", "because", date(2099, 1, 1))])
    assert next(r.status for r in needless.results if r.id == "VV-CON-011") == "failed"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[VV-CON-999]\nreason = "there is none"\nuntil = 2099-01-01\n', "no check is named"),
        ("[VV-CON-032]\nuntil = 2099-01-01\n", "needs a `reason`"),
        ('[VV-CON-032]\nreason = "it is not done yet"\n', "needs `until`"),
        ('[VV-CON-032]\nreason = "it is not done yet"\nuntil = 2020-01-01\n', "ended on 2020-01-01"),
        ("[VV-CON", "waivers.toml"),
    ],
)
def test_bad_waivers(text: str, words: str, tmp_path: Path) -> None:
    """A waiver needs a check, a reason, and a date to come."""
    path = tmp_path / "waivers.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=words):
        read_waivers(path)
