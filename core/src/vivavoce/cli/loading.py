"""What the command line is pointed at: tools in a module or a file, a provider class, audio files."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs

from vivavoce.cli.console import Failed
from vivavoce.files import AudioReader
from vivavoce.tools import Tool

__all__ = ["AudioFile", "load_attribute", "load_tools", "look_into"]


@attrs.frozen
class AudioFile:
    """A file that can be read, and how long it is (0: it does not say)."""

    path: Path
    duration_ms: float


def look_into(path: Path) -> AudioFile:
    """Open a file, so that a bad one is told before anything is dialled. `AudioError`."""
    with AudioReader(path) as reader:
        return AudioFile(path, reader.frames * 1000 / reader.format.rate)


def load_attribute(reference: str) -> Any:
    """`package.module:name`, from the installed packages or the current directory."""
    module, _, attribute = reference.partition(":")
    if not attribute:
        raise Failed(f"{reference!r}: write module:name")
    return _attribute(_import(module, reference), attribute, reference)


def load_tools(reference: str) -> list[Any]:
    """`module:name`, `file.py:name`, or `file.py`: all tools in it. The name may stand for a tool, a typed function,
    or several of them."""
    file, colon, name = reference.rpartition(":") if not reference.endswith(".py") else (reference, "", "")
    if not file.endswith(".py"):
        found = load_attribute(reference)
    elif colon:
        found = _attribute(_run_file(file), name, reference)
    else:
        found = [value for value in vars(_run_file(file)).values() if isinstance(value, Tool)]
        if not found:
            raise Failed(f"--tools {reference}: no tool in it; decorate a typed function with @vivavoce.tool")
    if isinstance(found, Mapping):
        return list(found.values())
    return [found] if callable(found) or not isinstance(found, Iterable) else list(found)


def _attribute(module: ModuleType, name: str, reference: str) -> Any:
    try:
        return getattr(module, name)
    except AttributeError:
        raise Failed(f"{reference}: there is no {name!r} in {module.__file__}") from None


def _import(module: str, reference: str) -> ModuleType:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(module)
    except (Exception, SystemExit) as bad:
        raise Failed(f"{reference} cannot be imported: {type(bad).__name__}: {bad}") from bad


def _run_file(file: str) -> ModuleType:
    path = Path(file)
    if not path.is_file():
        raise Failed(f"--tools {file}: there is no such file")
    spec = importlib.util.spec_from_file_location(path.stem.replace("-", "_"), path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # type hints of tools are looked up there
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as bad:
        raise Failed(f"--tools {file} cannot be run: {type(bad).__name__}: {bad}") from bad
    return module
