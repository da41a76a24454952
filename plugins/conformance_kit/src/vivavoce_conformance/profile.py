"""How the kit reaches a provider: its config, and the peer that stands for its service."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import attrs
from vivavoce import registry
from vivavoce.errors import ConfigError

__all__ = ["GROUP", "Profile", "find_profile", "load_object", "service_of"]

GROUP = "vivavoce.conformance"
"""The entry-point group of profiles: name = the provider's name."""


@attrs.frozen(kw_only=True)
class Profile:
    """`dialect` names the peer's side of the provider's own protocol, as `module:attribute` (a `PeerDialect` class);
    without one the provider needs no network. `config` is what every voice gets. `url` is the config key `url`, with
    `{port}` where the peer listens. `credential` is the config key that holds the secret, if there is one.

    For `--live`: `service` is the real service's address (without one it is `--service`, or that of the provider's own
    Realtime dialect), and `live` is config on top, to keep its replies short.
    """

    dialect: str | None = None
    url: str = "ws://127.0.0.1:{port}/"
    config: Mapping[str, Any] = attrs.field(factory=dict)
    credential: str | None = None
    service: str | None = None
    live: Mapping[str, Any] = attrs.field(factory=dict)

    @property
    def has_peer(self) -> bool:
        """Whether the kit plays the service."""
        return self.dialect is not None


def load_object(path: str) -> Any:
    """The object at `module:attribute`. Raises `ConfigError`."""
    module, colon, name = path.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as bad:
        raise ConfigError(f"{path!r} cannot be loaded: {bad}; give 'module:attribute'") from bad
    if not colon:
        raise ConfigError(f"{path!r}: give 'module:attribute'")
    return found


def service_of(provider: Any) -> str | None:
    """The address of the service that a provider of the Realtime protocol dials by itself."""
    address = getattr(getattr(provider, "dialect", None), "default_url", None)
    return address if isinstance(address, str) else None


def find_profile(name: str, given: str | None = None) -> Profile:
    """The profile that was given as `module:attribute`, or the one installed for this provider, or an empty one."""
    if given is not None:
        found = load_object(given)
    else:
        known = {registry.normalize(entry.name): entry for entry in registry.entries(GROUP)}
        entry = known.get(registry.normalize(name))
        found = entry.entry_point.load() if entry is not None else Profile()
    if not isinstance(found, Profile):
        raise ConfigError(f"the profile of {name!r} is no vivavoce_conformance.Profile: {found!r}")
    return found
