"""Puts one voice's plugins together: the provider, the wrappers chosen for it, the null provider."""

from __future__ import annotations

import os
import weakref
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import msgspec

from vivavoce import registry
from vivavoce.audio import PCM16_24K, AudioFormat
from vivavoce.errors import ConfigError, ProviderLoadError
from vivavoce.relay import Relay, check_plugin, has_hooks

__all__ = ["Parts", "assemble", "claim", "release"]


_claimed: dict[int, weakref.ref[object]] = {}


class Parts(msgspec.Struct, frozen=True):
    """What a voice is made of."""

    name: str
    provider: Any
    relay: Relay
    capabilities: frozenset[str]
    config_class: type | None
    input_format: AudioFormat
    output_format: AudioFormat
    connect_options: frozenset[str]


def assemble(provider: object | str | None, plugins: Sequence[object | str]) -> Parts:
    """Find, check and register everything. Opens nothing."""
    if isinstance(plugins, str) or not isinstance(plugins, (list, tuple, Sequence)):
        raise ConfigError(f"plugins={plugins!r}: give a list of names or objects", option="plugins")
    name, ready = _provider(provider)
    null = ready if registry.normalize(name) == "null" else _null()
    wrappers = [_wrapper(plugin, number) for number, plugin in enumerate(plugins)]
    taken = [ready]
    for number, (_, wrapper) in enumerate(wrappers):
        if any(wrapper is other for other in taken):
            raise ConfigError(
                f"plugins[{number}] is already a plugin of this voice: give each object once",
                option="plugins",
            )
        taken.append(wrapper)
    relay = Relay([(name, ready), *wrappers], null)
    return Parts(
        name=name,
        provider=ready,
        relay=relay,
        capabilities=registry.capabilities_of(ready),
        config_class=getattr(ready, "config_class", None),
        input_format=getattr(ready, "input_format", PCM16_24K),
        output_format=getattr(ready, "output_format", PCM16_24K),
        connect_options=frozenset(getattr(ready, "connect_options", ())),
    )


def claim(provider: object) -> None:
    """A provider object belongs to one voice: its state is that of one conversation. Raises `ConfigError`."""
    key = id(provider)
    if key in _claimed:
        raise ConfigError(
            f"this {type(provider).__name__} object belongs to another voice: give its class, or a new object",
            option="provider",
        )
    # An object that takes no weak reference cannot be told from a later one at the same place, so it is not checked.
    with suppress(TypeError):
        _claimed[key] = weakref.ref(provider, lambda _: _forget(key))


def release(provider: object) -> None:
    """The voice is closed: its provider object may serve another."""
    _claimed.pop(id(provider), None)


def _forget(key: int) -> None:
    _claimed.pop(key, None)


def _provider(provider: object | str | None) -> tuple[str, Any]:
    if provider is None or (isinstance(provider, str) and not provider.strip()):
        provider = "" if provider is not None else os.environ.get("VIVAVOCE_PROVIDER", "").strip()
        if not provider:
            raise ConfigError(
                "no provider: give its name, e.g. Voice('local'), or set VIVAVOCE_PROVIDER; `vivavoce providers` lists what is installed",
                option="provider",
            )
    if isinstance(provider, str):
        loaded, found = registry.load(provider)
        return found.name, _make(loaded, found, found.name)
    label = provider.__name__ if isinstance(provider, type) else type(provider).__name__
    registry.check_provider(provider, label)
    name = getattr(provider, "name", None)
    if not isinstance(name, str) or not name:
        name = label
    if isinstance(provider, type):
        return name, _make(provider, label, name)
    return name, provider


def _make(plugin: Any, source: registry.Found | str, name: str) -> Any:
    if not isinstance(plugin, type):
        return plugin
    try:
        return plugin()
    except (Exception, SystemExit) as bad:
        origin = source if isinstance(source, str) else source.origin
        text = f"{origin}: its constructor raised {type(bad).__name__}: {bad}"
        raise ProviderLoadError(text, provider=name) from bad


def _null() -> Any:
    loaded, found = registry.load("null")
    return _make(loaded, found, found.name)


def _wrapper(plugin: object | str, number: int) -> tuple[str, object]:
    if isinstance(plugin, str):
        loaded, found = registry.load(plugin, registry.PLUGINS)
        return f"{found.name}#{number}", _make(loaded, found, found.name)
    label = plugin.__name__ if isinstance(plugin, type) else type(plugin).__name__
    check_plugin(plugin, label, provider=False)
    if not has_hooks(plugin):
        raise ConfigError(
            f"plugins[{number}] is no plugin: {label} has no hook; mark its methods with @vivavoce.hookimpl",
            option="plugins",
        )
    return f"{label}#{number}", _make(plugin, label, label)
