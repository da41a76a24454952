"""The three doors: the command, the pytest plugin, the one-line test."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from vivavoce_conformance import assert_conformant
from vivavoce_conformance.badge import as_svg
from vivavoce_conformance.cli import conformance
from vivavoce_conformance.reports import read_report


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own."""
    command = [sys.executable, "-m", "vivavoce", "conformance", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_command_writes_reports(tmp_path: Path) -> None:
    """Report, badge and matrix of a conformant provider lie in the folder; the exit status is 0."""
    done = run("null", "--out", str(tmp_path))
    assert (done.returncode, "null: conformant, nothing declared" in done.stdout) == (0, True)
    report = read_report(tmp_path / "null.conformance.json")
    assert (report.conformant, report.tier, report.version) == (True, "none", 1)
    assert json.loads((tmp_path / "null.badge.json").read_text())["message"] == "conformant"
    assert "<svg" in as_svg(report)
    assert "VV-CON-001" in (tmp_path / "matrix.html").read_text()


def test_command_tells_failures() -> None:
    """A failure is told with the expectation, what was seen, and the command that runs it again; the status is 1."""
    result = CliRunner().invoke(
        conformance, ["wrong_states:DropsInstructions", "--check", "VV-CON-032"], standalone_mode=False
    )
    assert result.return_value == 1
    for words in ("VV-CON-032 MUST failed", "seen:  the service got None", "wire: ", "rerun: vivavoce"):
        assert words in result.output


def test_command_prints_json() -> None:
    """`--json` prints the report and nothing else."""
    done = run("null", "--json")
    assert json.loads(done.stdout)["verdict"] == "conformant, nothing declared"


def test_one_broken_provider_leaves_the_rest_unharmed() -> None:
    """One line for the broken one; the others have their verdicts; the status is 1."""
    done = run("nobody", "null")
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "null: conformant" in done.stdout


@pytest.mark.parametrize("arguments", [(), ("--workers", "0", "null")])
def test_wrong_use(arguments: tuple[str, ...]) -> None:
    """A wrong command has status 2."""
    assert run(*arguments).returncode == 2


def test_one_line_test_passes_and_fails() -> None:
    """It returns the report of a conformant provider, and raises with the story of one that is not."""
    assert assert_conformant("null").tier == "none"
    with pytest.raises(AssertionError, match="VV-CON-008 MUST failed"):
        assert_conformant("wrong_states:StatesSpeakWithoutHook")


def run_pytest(tmp_path: Path, *arguments: str, provider: str = "null") -> subprocess.CompletedProcess[str]:
    """pytest on an empty folder. Under CI it would tell a failure's text twice."""
    environment = {name: value for name, value in os.environ.items() if name not in ("CI", "BUILD_NUMBER")}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "--vivavoce-provider",
        provider,
        *arguments,
        str(tmp_path),
    ]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment)


def test_pytest_plugin_runs_checks(tmp_path: Path) -> None:
    """Every check is a test, and the verdict is one more."""
    done = run_pytest(tmp_path)
    assert done.returncode == 0, done.stdout
    assert "passed" in done.stdout


def test_pytest_plugin_minds_what_is_left_out(tmp_path: Path) -> None:
    """Deselected checks did not run, so the verdict fails."""
    done = run_pytest(tmp_path, "-k", "verdict or VV-CON-011")
    assert done.returncode == 1
    assert "not run" in done.stdout


def test_pytest_plugin_tells_once_what_cannot_be_judged(tmp_path: Path) -> None:
    """A provider that cannot be judged fails the verdict in one line; it is not tried again for each check."""
    done = run_pytest(tmp_path, provider="nobody")
    assert done.returncode == 1
    assert done.stdout.count("it cannot be judged: no provider is named 'nobody'. Installed: ") == 1
    assert "1 failed" in done.stdout
    assert "Traceback" not in done.stdout


def test_command_knows_its_own_commands() -> None:
    """What comes first is a command or the name of a provider; `judge` is for a provider with a command's name."""
    assert run("judge", "null", "--check", "VV-CON-011").returncode == 0
    assert "no provider is named 'record'" in run("judge", "record").stderr
    assert "Missing argument 'FILE'" in run("record").stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("null", "--record", "x"),
        ("null", "--service", "ws://x"),
        ("null", "--check", "VV-CON-011", "--out", "x"),
    ],
)
def test_options_that_do_not_go_together(arguments: tuple[str, ...], tmp_path: Path) -> None:
    """Nothing is run live without the flag that says so; a part of a report is no report."""
    done = run(*arguments)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)


def test_list_says_what_runs_live() -> None:
    """Each check, and whether it can run against a real service."""
    lines = {line.split()[0]: line.split() for line in run("--list").stdout.splitlines()}
    assert lines["VV-CON-055"][1:3] == ["MUST", "yes"]
    assert lines["VV-CON-080"][2] == "fault"
