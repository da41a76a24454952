"""Whether the kit and the core are still what they were: a plugin may not change what judges it.

Every function of the core and of the kit is fingerprinted before the plugin is imported, and again after each check.
"""

from __future__ import annotations

import functools
import sys
import types
from collections.abc import Iterator
from typing import Any

__all__ = ["changes", "fingerprint"]

_ROOTS = ("vivavoce", "vivavoce_conformance")
_OTHERS = ("asyncio", "logging", "pluggy")


def fingerprint() -> dict[str, int]:
    """Qualified name -> identity of the code behind it, for everything that is loaded now."""
    found: dict[str, int] = {}
    for name, module in tuple(sys.modules.items()):
        if name.split(".")[0] in _ROOTS and isinstance(module, types.ModuleType):
            for label, code in _codes(name, vars(module), name):
                found[label] = id(code)
    for name in _OTHERS:
        for label, code in _codes(name, vars(sys.modules[name]), None):
            found[label] = id(code)
    return found


def changes(before: dict[str, int]) -> list[str]:
    """The names whose code is another than `before`; what was loaded since does not count."""
    now = fingerprint()
    return sorted(name for name, code in before.items() if now.get(name) != code)


def _codes(prefix: str, names: dict[str, Any], module: str | None) -> Iterator[tuple[str, object]]:
    for name, value in tuple(names.items()):
        label = f"{prefix}.{name}"
        if isinstance(value, type) and (module is None or value.__module__ == module):
            if module is not None:
                yield from _codes(label, dict(vars(value)), module)
            else:
                yield label, value
        elif (code := _code_of(value)) is not None:
            yield label, code


def _code_of(value: Any) -> object | None:
    if isinstance(value, (classmethod, staticmethod)):
        value = value.__func__
    if isinstance(value, property):
        value = value.fget
    if isinstance(value, functools.partial):
        value = value.func
    return getattr(value, "__code__", None)
