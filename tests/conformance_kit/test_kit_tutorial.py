"""The package of the tutorial "your first provider": it is what the page shows, it passes, and its failure is real."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from house import ROOT

SHOUTER = ROOT / "examples" / "shouter"


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    """A copy, with the metadata an installation would leave."""
    plugin = tmp_path / "shouter"
    shutil.copytree(SHOUTER, plugin, ignore=shutil.ignore_patterns("__pycache__", ".*_cache"))
    project = tomllib.loads((plugin / "pyproject.toml").read_text())["project"]
    info = plugin / "src" / "vivavoce_shouter-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: 0.1.0\n")
    lines = [
        f"[{group}]\n" + "\n".join(f"{k} = {v}" for k, v in of.items())
        for group, of in project["entry-points"].items()
    ]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return plugin


def run(plugin: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """A command of Python where the plugin is on the path."""
    path = os.pathsep.join([str(plugin / "src"), *filter(None, sys.path)])
    return subprocess.run(
        [sys.executable, *command], cwd=plugin, env=os.environ | {"PYTHONPATH": path}, capture_output=True,
        text=True, check=False,
    )  # fmt: skip


@pytest.mark.timeout(240)
def test_it_reaches_a_tier(plugin: Path) -> None:
    """Judged by its name, with the profile of its entry point."""
    done = run(plugin, "-m", "vivavoce", "conformance", "shouter")
    assert (done.returncode, "conformant, gold" in done.stdout) == (0, True), done.stdout + done.stderr


@pytest.mark.timeout(120)
def test_the_failure_that_the_page_shows(plugin: Path) -> None:
    """Where `send` no longer waits, the check that the page names fails, with what was seen and the command that reruns it."""
    source = plugin / "src" / "vivavoce_shouter" / "provider.py"
    waits = "return self._writer.drain() if self._writer is not None else None"
    text = source.read_text()
    assert waits in text
    source.write_text(text.replace(waits, "return None"))
    done = run(plugin, "-m", "vivavoce", "conformance", "shouter", "--check", "VV-CON-091")
    assert done.returncode == 1
    lines = [line.strip() for line in done.stdout.splitlines()]
    assert "seen:  40 MiB were taken although nobody reads" in lines
    assert "rerun: vivavoce conformance shouter --check VV-CON-091" in lines
    wire = [line for line in lines if line.startswith("wire: ")]
    assert ['"hello"' in wire[0], '"welcome"' in wire[1]] == [True, True]


@pytest.mark.timeout(120)
def test_it_type_checks(plugin: Path) -> None:
    """mypy accepts it, strictly."""
    pytest.importorskip("mypy")
    done = run(plugin, "-m", "mypy")
    assert done.returncode == 0, done.stdout
