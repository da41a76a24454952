"""What `vivavoce doctor` looks at besides providers. Nothing here is imported that it looks for."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from typing import Literal

import attrs

from vivavoce import __version__, registry
from vivavoce.cli.probe import probe
from vivavoce.errors import VoiceError

__all__ = ["Check", "check_environment", "check_extras", "check_plugins", "check_python"]

_LISTS = ("VIVAVOCE_PLUGINS", "VIVAVOCE_DISABLE_PLUGINS")


@attrs.frozen
class Check:
    """One line of the doctor's: `hint` is what to do about it."""

    state: Literal["ok", "missing", "broken"]
    what: str
    found: str = ""
    hint: str = ""

    def as_json(self) -> dict[str, str]:
        shown: dict[str, str] = attrs.asdict(self)
        return shown


def check_python() -> list[Check]:
    """The interpreter and the core."""
    python = Check("ok", "Python", f"{platform.python_version()} ({sys.executable})")
    checks = [python, Check("ok", "vivavoce", __version__)]
    try:
        installed = version("vivavoce")
    except PackageNotFoundError:
        return [*checks, Check("broken", "metadata", "none found", "pip install vivavoce")]
    if installed != __version__:
        found = f"the metadata says {installed}: two installations are mixed"
        checks.append(Check("broken", "metadata", found, "pip install --force-reinstall vivavoce"))
    return checks


def check_extras(name: str = "vivavoce") -> list[Check]:
    """What a distribution requires, extra by extra: there, or how to install it."""
    checks = []
    for extra, requirements in _requirements(name).items():
        have = {requirement: _installed(requirement) for requirement in requirements}
        missing = [requirement for requirement, found in have.items() if found is None]
        label = extra or "required"
        target = f'"{name}[{extra}]"' if extra else name
        if missing:
            state: Literal["missing", "broken"] = "missing" if extra else "broken"
            checks.append(
                Check(state, label, f"not installed: {', '.join(missing)}", f"pip install {target}")
            )
        else:
            checks.append(Check("ok", label, ", ".join(f"{key} {value}" for key, value in have.items())))
    return checks


def _requirements(name: str) -> dict[str, list[str]]:
    """Extra -> names of distributions; the empty extra is what is always required."""
    found: dict[str, list[str]] = {}
    for requirement in distribution(name).requires or ():
        match = re.match(r"([A-Za-z0-9._-]+)(\[[^\]]*\])?", requirement)
        extra = re.search(r"extra\s*==\s*[\"']([^\"']+)", requirement)
        # An extra that only gathers others says nothing new.
        if match is not None and (extra is None or extra[1] != "all"):
            found.setdefault(extra[1] if extra else "", []).append(match[1])
    return dict(sorted(found.items()))


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def check_plugins() -> list[Check]:
    """Wrappers and commands of other distributions: do they load?"""
    checks = []
    for group in (registry.PLUGINS, registry.COMMANDS):
        found = registry.entries(group)
        allowed = [entry.name for entry in registry.allowed(found)]
        results = probe(dict.fromkeys(allowed), group)
        for entry in found:
            what = f"{entry.name} ({entry.distribution} {entry.version})"
            if entry.name not in results:
                checks.append(Check("missing", what, "not allowed by the environment"))
            elif results[entry.name].error is not None:
                checks.append(Check("broken", what, results[entry.name].error or ""))
            else:
                checks.append(Check("ok", what, group.partition(".")[2]))
    return checks or [Check("ok", "none", "no wrappers or commands of other distributions")]


def check_environment() -> list[Check]:
    """The variables of vivavoce that are in force, and whether they contradict each other."""
    checks = list(_default())
    installed = {
        registry.normalize(entry.name)
        for group in (registry.PROVIDERS, registry.PLUGINS, registry.COMMANDS)
        for entry in registry.entries(group)
    }
    listed = {variable: _names(variable) for variable in _LISTS}
    for variable, names in listed.items():
        unknown = sorted(names - installed)
        if unknown:
            checks.append(Check("missing", variable, f"names what is not installed: {', '.join(unknown)}"))
        elif names:
            checks.append(Check("ok", variable, ", ".join(sorted(names))))
    both = sorted(listed["VIVAVOCE_PLUGINS"] & listed["VIVAVOCE_DISABLE_PLUGINS"])
    if both:
        checks.append(Check("broken", "allow- and block-list", f"both name {', '.join(both)}: it is blocked"))
    checks += _trace()
    return checks or [Check("ok", "none", "no VIVAVOCE_ variable is set")]


def _names(variable: str) -> set[str]:
    return {registry.normalize(name) for name in os.environ.get(variable, "").split(",") if name.strip()}


def _default() -> Iterator[Check]:
    name = os.environ.get("VIVAVOCE_PROVIDER", "").strip()
    if not name:
        return
    try:
        registry.find(name)
    except VoiceError as bad:
        yield Check("broken", "VIVAVOCE_PROVIDER", str(bad), "vivavoce providers")
    else:
        yield Check("ok", "VIVAVOCE_PROVIDER", name)


def _trace() -> Iterator[Check]:
    file = os.environ.get("VIVAVOCE_TRACE", "").strip()
    if not file:
        return
    target = Path(file)
    writable = os.access(target if target.exists() else target.resolve().parent, os.W_OK)
    if writable and not target.is_dir():
        yield Check("ok", "VIVAVOCE_TRACE", file)
    else:
        yield Check(
            "broken", "VIVAVOCE_TRACE", f"{file} cannot be written", "name a file in a directory of yours"
        )
