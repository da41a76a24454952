"""`vivavoce new`: what it writes installs, type-checks and is conformant before the first edit."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner
from vivavoce_conformance.new import DIALECTS, new, scaffold


@pytest.fixture
def plugin(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A new plugin, with the metadata an installation would leave."""
    scaffold("my-voice", request.param, tmp_path / "plugin")
    project = tomllib.loads((tmp_path / "plugin" / "pyproject.toml").read_text())["project"]
    info = tmp_path / "plugin" / "src" / "vivavoce_my_voice-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: 0.1.0\n")
    groups = project["entry-points"]
    lines = [f"[{group}]\n" + "\n".join(f"{k} = {v}" for k, v in of.items()) for group, of in groups.items()]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return tmp_path / "plugin"


def run(plugin: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """A command of Python where the plugin is on the path."""
    path = os.pathsep.join([str(plugin / "src"), *filter(None, sys.path)])
    return subprocess.run(
        [sys.executable, *command],
        cwd=plugin,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.timeout(120)
@pytest.mark.parametrize("plugin", DIALECTS, indirect=True)
def test_new_plugin_is_conformant(plugin: Path) -> None:
    """Without an edit, every check that holds for it passes."""
    done = run(plugin, "-m", "vivavoce", "conformance", "my-voice")
    assert (done.returncode, "conformant, gold" in done.stdout) == (0, True), done.stdout + done.stderr


@pytest.mark.timeout(120)
@pytest.mark.parametrize("plugin", DIALECTS, indirect=True)
def test_new_plugin_type_checks(plugin: Path) -> None:
    """mypy accepts it, strictly."""
    pytest.importorskip("mypy")
    done = run(plugin, "-m", "mypy")
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("dialect", DIALECTS)
def test_nothing_of_the_template_is_left(dialect: str, tmp_path: Path) -> None:
    """Every name is the plugin's own; every file of a plugin is there."""
    files = scaffold("my-voice", dialect, tmp_path)
    assert [path for path in files if "wordsmith" in path.read_text().lower() or "@" in path.name] == []
    names = {str(path.relative_to(tmp_path)) for path in files}
    wanted = {"pyproject.toml", "README.md", "tests/test_my_voice.py", ".github/workflows/test.yml"}
    assert wanted | {"src/vivavoce_my_voice/provider.py", "src/vivavoce_my_voice/py.typed"} <= names


@pytest.mark.parametrize("name", ["My-Voice", "9lives", "a--b", "../x", "class"])
def test_bad_names_are_refused(name: str) -> None:
    """A name that cannot be one is a wrong use."""
    result = CliRunner().invoke(new, [name])
    assert result.exit_code == 2


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    """A folder with something in it is left alone."""
    (tmp_path / "mine").write_text("precious")
    result = CliRunner().invoke(new, ["my-voice", "--into", str(tmp_path)])
    assert result.exit_code == 1
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize("name", ["null", "openai_realtime"])
def test_installed_names_are_refused(name: str, tmp_path: Path) -> None:
    """A second provider of the same name could not be told from the first."""
    result = CliRunner().invoke(new, [name.replace("_", "-"), "--into", str(tmp_path / "x")])
    assert result.exit_code == 1
    assert not (tmp_path / "x").exists()
