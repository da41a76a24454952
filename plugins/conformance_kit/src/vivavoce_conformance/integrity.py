"""Whether the kit and the core are still what they were: a plugin may not change what judges it.

Everything of the core, the kit, asyncio and what time is read from is noted before the plugin is imported, and compared after
each check. What is changed for a moment only is met as it happens: new code is refused by Python's own audit events, new
meanings of a module's names are noted by the module. A plugin that is set on it can still deceive what runs in its own process: see docs/how-to/conformance.md.
"""

from __future__ import annotations

import functools
import sys
import types
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

__all__ = ["changes", "fingerprint", "overridden", "watch"]

_ROOTS = ("vivavoce", "vivavoce_conformance")
_KIT = "vivavoce_conformance"
_OTHERS = ("asyncio", "logging", "pluggy", "time", "builtins", "msgspec", "json")
_PLAIN = (int, float, str, bytes, tuple, frozenset, type(None))
_CODE = ("__code__", "__defaults__", "__kwdefaults__")


class _Noted(NamedTuple):
    """One name: where it stands, and what was behind it. That is kept, so no identity is used twice."""

    label: str
    names: Mapping[str, Any]
    name: str
    parts: tuple[Any, ...]


def fingerprint() -> list[_Noted]:
    """What is behind every name that is loaded now."""
    found: list[_Noted] = []
    for name, module in tuple(sys.modules.items()):
        root = name.split(".")[0]
        if isinstance(module, types.ModuleType) and root in (*_ROOTS, *_OTHERS):
            found.append(_Noted(name, sys.modules, name, (module,)))
            found += _names(name, vars(module), name, deep=root in _ROOTS or root == "asyncio")
    return found


def changes(before: list[_Noted]) -> list[str]:
    """The names behind which something else is than `before`; what was loaded since does not count."""
    return sorted(
        noted.label for noted in before if not _same(noted.parts, _parts(noted.names.get(noted.name, _GONE)))
    )


_GONE = object()


def _same(before: tuple[Any, ...], now: tuple[Any, ...]) -> bool:
    if len(before) != len(now):
        return False
    return all(
        a is b or (isinstance(a, _PLAIN) and type(a) is type(b) and a == b)
        for a, b in zip(before, now, strict=True)
    )


def _names(prefix: str, names: Mapping[str, Any], module: str, *, deep: bool) -> Iterator[_Noted]:
    for name, value in tuple(names.items()):
        label = f"{prefix}.{name}"
        if isinstance(value, type) and deep and value.__module__ == module:
            yield from _names(label, vars(value), module, deep=True)
        constant = module.startswith(_KIT) and isinstance(value, _PLAIN) and not name.startswith("__")
        if constant or isinstance(value, (type, types.BuiltinFunctionType)) or _code_of(value) is not None:
            yield _Noted(label, names, name, _parts(value))


def _parts(value: Any) -> tuple[Any, ...]:
    code = _code_of(value)
    return (value,) if code is None else tuple(getattr(code, part, None) for part in _CODE)


def _code_of(value: Any) -> Any:
    if isinstance(value, (classmethod, staticmethod)):
        value = value.__func__
    if isinstance(value, property):
        value = value.fget
    if isinstance(value, functools.partial):
        value = value.func
    return value if hasattr(value, "__code__") else None


def overridden(*objects: object) -> list[str]:
    """The methods of these objects that were replaced in the object itself: a loop's `time`, say."""
    return [
        f"{type(one).__name__}.{name}"
        for one in objects
        for name in getattr(one, "__dict__", ())
        if callable(getattr(type(one), name, None))
    ]


class _Watched(types.ModuleType):
    """A module that notes who gives its names another meaning."""

    def __setattr__(self, name: str, value: object) -> None:
        if name in vars(self) and not isinstance(value, types.ModuleType):
            _noted.append(f"{self.__name__}.{name}")
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        _noted.append(f"{self.__name__}.{name}")
        super().__delattr__(name)


_noted: list[str] = []


def watch() -> list[str]:
    """Begin to refuse new code and to note what modules are given, for good; returns the list that grows."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "object.__setattr__" and arguments[1] in _CODE:
            module = getattr(arguments[0], "__module__", None) or ""
            if module.split(".")[0] in (*_ROOTS, "asyncio"):
                _noted.append(f"{module}.{getattr(arguments[0], '__qualname__', '')}")
                raise PermissionError("what judges a provider may not be changed by it")

    sys.addaudithook(hook)
    for name, module in tuple(sys.modules.items()):
        if name.split(".")[0] in _ROOTS and type(module) is types.ModuleType:
            module.__class__ = _Watched
    return _noted
