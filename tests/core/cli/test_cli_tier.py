"""The tier of a provider whose conformance report lies beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from installed import install
from vivavoce import registry
from vivavoce.cli import main, probe

GOOD = """
    class Good:
        api = 1
        capabilities = frozenset({"speak"})
"""
REPORT = {
    "version": 1,
    "provider": "Good_One",
    "distribution": "good 1.2",
    "spec_level": 1,
    "made": "2026-11-20T10:00:00+00:00",
    "conformant": True,
    "tier": "gold",
}


@pytest.fixture(autouse=True)
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One provider, a package of its own."""
    for variable in ("VIVAVOCE_PROVIDER", "VIVAVOCE_PLUGINS", "VIVAVOCE_DISABLE_PLUGINS"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    install(tmp_path, "good", {"vivavoce.providers": {"good-one": "good_package:Good"}}, {"unused": "x = 1"})
    (tmp_path / "good_package").mkdir()
    (tmp_path / "good_package" / "__init__.py").write_text("\n".join(line[4:] for line in GOOD.splitlines()))
    monkeypatch.setattr(probe.probe, "__defaults__", ("vivavoce.providers", 10.0))
    registry.forget()
    return tmp_path


def report(folder: Path, name: str = "good-one", **changed: Any) -> None:
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.conformance.json").write_text(json.dumps({**REPORT, **changed}))


def listed(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert main(["providers", "--json", "--no-import"]) == 0
    entries = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}
    told: dict[str, Any] = entries["good-one"]["conformance"]
    return told


def test_report_in_the_package(capsys: pytest.CaptureFixture[str], site: Path) -> None:
    """What a wheel brings is found, whatever the spelling of its name, and shown in table, list and doctor."""
    report(site / "good_package")
    told = listed(capsys)
    assert (told["tier"], told["current"], told["spec_level"]) == ("gold", True, 1)
    main(["providers", "--no-import"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[-1] == "TIER"
    assert next(line for line in lines if line.startswith("good-one")).endswith("gold")
    main(["doctor"])
    assert "speak  [gold]" in capsys.readouterr().out
    assert main(["doctor", "good-one"]) == 0
    assert "gold, made 2026-11-20" in capsys.readouterr().out


def test_no_report(capsys: pytest.CaptureFixture[str]) -> None:
    """Without one there is no column, and the doctor says how to make one."""
    assert listed(capsys) is None
    main(["providers", "--no-import"])
    assert "TIER" not in capsys.readouterr().out
    assert main(["doctor", "good-one"]) == 0
    out = capsys.readouterr().out
    assert "no report lies beside it  ->  vivavoce conformance good-one --out report" in out


@pytest.mark.parametrize(
    ("changed", "tier", "current"),
    [
        ({"tier": "none"}, "conformant", True),
        ({"conformant": False, "tier": "none"}, "not conformant", True),
        ({"distribution": "good 0.9"}, "gold", False),
    ],
)
def test_what_it_says(
    changed: dict[str, Any], tier: str, current: bool, capsys: pytest.CaptureFixture[str], site: Path
) -> None:
    """Conformant without a tier, not conformant, and made for another version."""
    report(site / "good_package", **changed)
    told = listed(capsys)
    assert (told["tier"], told["current"]) == (tier, current)
    assert main(["doctor", "good-one"]) == 0
    lines = capsys.readouterr().out.splitlines()
    sign = next(line.split()[0] for line in lines if "conformance" in line)
    assert sign == ("ok" if tier == "conformant" else "--")


@pytest.mark.parametrize("folder", [".", "report"])
def test_report_of_a_project(folder: str, capsys: pytest.CaptureFixture[str], site: Path) -> None:
    """Of an editable installation the project's folder is looked at, and the newest report counts."""
    project = site / "my project"
    project.mkdir()
    info = next(site.glob("good-*.dist-info"))
    url = f"file://{project.as_posix().replace(' ', '%20')}"
    (info / "direct_url.json").write_text(json.dumps({"url": url, "dir_info": {"editable": True}}))
    registry.forget()
    report(site / "good_package", tier="bronze", made="2026-01-01T00:00:00+00:00")
    report(project / folder, tier="silver")
    assert listed(capsys)["tier"] == "silver"


@pytest.mark.parametrize("text", ["", "[]", '{"provider": 7}', '{"provider": "another"}', "\x00"])
def test_what_is_no_report(text: str, capsys: pytest.CaptureFixture[str], site: Path) -> None:
    """A file that is no report, or another provider's, is passed over."""
    (site / "good_package" / "good-one.conformance.json").write_text(text)
    assert listed(capsys) is None
