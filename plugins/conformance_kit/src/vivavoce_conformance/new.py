"""`vivavoce new NAME`: a complete plugin, offline, that is conformant before the first edit."""

from __future__ import annotations

import keyword
import re
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

import click
from vivavoce import registry
from vivavoce.cli.console import Failed

__all__ = ["DIALECTS", "new", "scaffold"]

DIALECTS = ("openai-realtime", "own", "local")
_CORE = '"vivavoce>=0.1,<1"'
_DEPENDENCIES = {"openai-realtime": f'{_CORE}, "vivavoce-openai-realtime>=0.1,<1"'}
_PROFILES = {
    "openai-realtime": "vivavoce_conformance.profiles:REALTIME",
    "own": "vivavoce_wordsmith.conformance:PROFILE",
}


def _replacements(name: str, dialect: str) -> list[tuple[str, str]]:
    """The words of the templates, longest first, and what stands for them."""
    module = re.sub(r"[-.]", "_", name)
    camel = "".join(part.capitalize() for part in module.split("_"))
    profile = _PROFILES.get(dialect)
    entry = f'\n[project.entry-points."vivavoce.conformance"]\nwordsmith = "{profile}"\n' if profile else ""
    return [
        ("@DEPENDENCIES@", _DEPENDENCIES.get(dialect, _CORE)),
        ("@PROFILE@", entry),
        ("vivavoce_wordsmith", f"vivavoce_{module}"),
        ("test_wordsmith", f"test_{module}"),
        ("WORDSMITH", module.upper()),
        ("Wordsmith", camel),
        ("wordsmith", name),
    ]


def scaffold(name: str, dialect: str, into: Path) -> list[Path]:
    """Write the plugin below `into`, which must not exist or be empty; returns its files."""
    if into.exists() and any(into.iterdir()):
        raise Failed(f"{into} exists and is not empty: choose another name, or --into")
    words = _replacements(name, dialect)
    written = []
    for part in ("common", dialect):
        for path, text in _templates(files("vivavoce_conformance") / "_scaffold" / part, Path()):
            target = into / _replaced(str(path), words)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(_replaced(text, words))
            written.append(target)
    return sorted(written)


def _templates(folder: Traversable, below: Path) -> list[tuple[Path, str]]:
    found: list[tuple[Path, str]] = []
    for entry in folder.iterdir():
        if entry.is_dir():
            found += _templates(entry, below / entry.name)
        elif entry.name.endswith(".txt"):
            found.append((below / entry.name.removesuffix(".txt"), entry.read_text(encoding="utf-8")))
    return found


def _replaced(text: str, words: list[tuple[str, str]]) -> str:
    for word, meant in words:
        text = text.replace(word, meant)
    return text


@click.command(name="new")
@click.argument("name")
@click.option(
    "--dialect", type=click.Choice(DIALECTS), default="openai-realtime", show_default=True,
    help="What its service speaks: the OpenAI Realtime protocol, a protocol of its own, or nothing (local).",
)  # fmt: skip
@click.option(
    "--into", type=click.Path(file_okay=False, path_type=Path), metavar="DIR", help="Where to write it."
)
def new(name: str, dialect: str, into: Path | None) -> None:
    """Write a new provider plugin, ready to install, in ./vivavoce-NAME."""
    if not re.fullmatch(r"[a-z][a-z0-9]*([-_.][a-z0-9]+)*", name) or keyword.iskeyword(name):
        raise click.UsageError(
            f"{name!r} is no provider name: small letters, digits and single hyphens, as in my-voice"
        )
    taken = {registry.normalize(found.name): found.distribution for found in registry.entries()}
    if registry.normalize(name) in taken:
        raise Failed(
            f"{name!r} is the name of a provider that is installed ({taken[registry.normalize(name)]}): choose another"
        )
    target = into or Path(f"vivavoce-{name}")
    for path in scaffold(name, dialect, target):
        click.echo(str(path))
    click.echo(f'\nnext: pip install -e "{target}[test]" && vivavoce conformance {name}')
