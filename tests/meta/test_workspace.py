"""The workspace is in order: what stands in one place stands in the others too."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MEMBERS = sorted(
    path.parent for path in [ROOT / "core/pyproject.toml", *ROOT.glob("plugins/*/pyproject.toml")]
)
README_COMMANDS = {"demo", "test", "bench"}


def read_project(member: Path) -> dict[str, object]:
    project: dict[str, object] = tomllib.loads((member / "pyproject.toml").read_text())["project"]
    return project


def test_every_member_is_a_source_of_the_workspace() -> None:
    """Members find each other in the workspace, not at a registry."""
    sources = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["uv"]["sources"]
    assert set(sources) == {read_project(member)["name"] for member in MEMBERS}


@pytest.mark.parametrize("member", MEMBERS, ids=lambda path: path.name)
def test_member_is_a_complete_distribution(member: Path) -> None:
    """Every member has a README of use, the licence, typing marker, and asks for Python 3.11."""
    project = read_project(member)
    assert project["requires-python"] == ">=3.11"
    assert project["license"] == "Apache-2.0"
    assert (member / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()
    assert len((member / "README.md").read_text().splitlines()) > 5
    packages = [path for path in (member / "src").iterdir() if (path / "__init__.py").exists()]
    assert [path.name for path in packages if not (path / "py.typed").exists()] == []


def test_readme_commands_are_targets() -> None:
    """Every `make` command that the README and CONTRIBUTING name exists."""
    targets = set(re.findall(r"^([a-z]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(README_COMMANDS)
    for page in ("README.md", "CONTRIBUTING.md"):
        path = ROOT / page
        named |= set(
            re.findall(r"\bmake ([a-z]+)\b(?=[`\s]|$)", "".join(code_of(path)) if path.exists() else "")
        )
    assert named - targets == set()


def code_of(page: Path) -> list[str]:
    """The code spans and fences of a Markdown page; prose may say "make sure"."""
    text = page.read_text()
    return [span + "\n" for span in re.findall(r"```.*?```|`[^`\n]+`", text, re.DOTALL)]


def test_ci_runs_make_test() -> None:
    """Continuous integration is one executable file that runs what a person runs."""
    runner = ROOT / ".ci" / "run"
    assert os.access(runner, os.X_OK)
    assert "make test" in runner.read_text()
