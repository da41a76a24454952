"""`vivavoce providers` and `vivavoce doctor`."""

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
        credentials = {"api_key": "GOOD_KEY"}
        print("noise on stdout")
"""


@pytest.fixture(autouse=True)
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A good provider and several bad ones, installed."""
    for variable in (
        "VIVAVOCE_PROVIDER",
        "VIVAVOCE_PLUGINS",
        "VIVAVOCE_DISABLE_PLUGINS",
        "VIVAVOCE_TRACE",
        "GOOD_KEY",
    ):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    modules = {
        "good_one": GOOD,
        "raising": "raise ValueError('no luck')",
        "exiting": "import sys; sys.exit(3)",
        "dying": "import os; os._exit(7)",
    }
    points = {name: f"{name}:Good" for name in modules}
    install(tmp_path, "some-providers", {"vivavoce.providers": points}, modules)
    monkeypatch.setattr(probe.probe, "__defaults__", ("vivavoce.providers", 2.0))
    return tmp_path


def providers(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main(["providers", "--json", *arguments]) == 0
    return {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}


def test_broken_providers_do_not_harm_the_list(capsys: pytest.CaptureFixture[str], site: Path) -> None:
    """One that raises, exits, dies or hangs is listed with its reason; the others are unharmed."""
    hanging = {"vivavoce.providers": {"hanging": "hanging:Good"}}
    install(site, "slow-provider", hanging, {"hanging": "import time; time.sleep(60)"})
    registry.forget()
    listed = providers(capsys)
    assert listed["good_one"]["capabilities"] == ["speak"]
    assert listed["good_one"]["problem"] is None
    reasons = {
        "raising": "ValueError: no luck",
        "exiting": "SystemExit: 3",
        "dying": "its import ended the process (status 7)",
        "hanging": "its import took more than 2 s and was ended",
    }
    assert [name for name, reason in reasons.items() if reason not in listed[name]["problem"]] == []
    assert listed["null"]["problem"] is None


def test_credentials_are_told_by_variable_alone(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A variable is missing or present; its value is nowhere."""
    assert providers(capsys)["good_one"]["credentials"] == {"GOOD_KEY": "missing"}
    monkeypatch.setenv("GOOD_KEY", "very-secret-value")
    assert providers(capsys)["good_one"]["credentials"] == {"GOOD_KEY": "present"}
    main(["doctor"])
    assert "very-secret-value" not in capsys.readouterr().out


def test_table_is_plain_where_nobody_watches(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a terminal: columns, no colour, and the reasons below; --no-import starts no process."""
    monkeypatch.setenv("VIVAVOCE_PROVIDER", "Good_One")
    monkeypatch.setattr(probe, "_one_worker", None)
    assert main(["providers", "--no-import"]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "good_one (default)  some-providers 1.2" in out


def test_blocked_provider_is_not_imported(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the environment forbids is listed as such."""
    monkeypatch.setenv("VIVAVOCE_PLUGINS", "good-one")
    listed = providers(capsys)
    assert [name for name, entry in listed.items() if entry["allowed"]] == ["good_one", "null"]
    assert "VIVAVOCE_PLUGINS does not name it" in listed["dying"]["problem"]


def test_doctor_fails_for_what_is_broken(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Status 1 and one line that names it; a missing credential alone is no failure."""
    monkeypatch.setenv("VIVAVOCE_PLUGINS", "good_one")
    assert main(["doctor"]) == 0
    assert "export GOOD_KEY=..." in capsys.readouterr().out
    monkeypatch.setenv("VIVAVOCE_PLUGINS", "good_one,raising")
    assert main(["doctor"]) == 1
    assert capsys.readouterr().err == "vivavoce doctor: 1 broken: raising (some-providers 1.2)\n"


def test_doctor_names_the_extra_a_provider_needs(
    capsys: pytest.CaptureFixture[str], site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A provider whose own extra is not installed is no "ok", and the line says how to install it; that is no failure."""
    point = {"vivavoce.providers": {"engine": "engine:Good"}}
    install(site, "engines", point, {"engine": GOOD.replace("GOOD_KEY", "PATH")})
    metadata = site / "engines-1.2.dist-info/METADATA"
    metadata.write_text(metadata.read_text() + "Requires-Dist: no-such-engine; extra == 'engine'\n")
    registry.forget()
    monkeypatch.setenv("VIVAVOCE_PLUGINS", "engine")
    assert main(["doctor"]) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if "engine (engines 1.2)" in line)
    assert " ".join(line.split()) == (
        '-- engine (engines 1.2) not installed: no-such-engine -> pip install "engines[engine]"'
    )


def test_doctor_tells_conflicts_of_the_environment(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A default that is not there, a trace that cannot be written, a name in both lists."""
    monkeypatch.setenv("VIVAVOCE_PLUGINS", "good_one")
    monkeypatch.setenv("VIVAVOCE_DISABLE_PLUGINS", "good_one")
    monkeypatch.setenv("VIVAVOCE_PROVIDER", "nowhere")
    monkeypatch.setenv("VIVAVOCE_TRACE", "/no/such/directory/trace")
    assert main(["doctor", "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    states = {check["what"]: check["state"] for check in report["environment"]}
    assert report["ok"] is False
    assert states == {
        "VIVAVOCE_PROVIDER": "broken",
        "VIVAVOCE_PLUGINS": "ok",
        "VIVAVOCE_DISABLE_PLUGINS": "ok",
        "allow- and block-list": "broken",
        "VIVAVOCE_TRACE": "broken",
    }


def test_doctor_of_one_provider_looks_deeper(capsys: pytest.CaptureFixture[str]) -> None:
    """With a name: its entry point, what it can do; the traceback on request."""
    assert main(["doctor", "good-one"]) == 0
    assert "good_one = good_one:Good" in capsys.readouterr().out
    assert main(["doctor", "raising", "--traceback"]) == 1
    assert "ValueError: no luck" in capsys.readouterr().err.split("Traceback", 1)[1]


def test_doctor_of_an_unknown_name_suggests(capsys: pytest.CaptureFixture[str]) -> None:
    """A name that is not installed: one line with the nearest."""
    assert main(["doctor", "nul"]) == 1
    assert "Did you mean 'null'?" in capsys.readouterr().err


def test_extras_are_told_with_their_pip_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An extra that is not there comes with the command that installs it."""
    monkeypatch.setattr("vivavoce.cli.checks._installed", lambda name: None if name == "sounddevice" else "1")
    main(["doctor", "--json"])
    extras = {check["what"]: check for check in json.loads(capsys.readouterr().out)["extras"]}
    assert extras["devices"]["state"] == "missing"
    assert extras["devices"]["hint"] == 'pip install "vivavoce[devices]"'
    assert extras["cli"]["state"] == "ok"
