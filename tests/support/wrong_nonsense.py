"""Providers that state nonsense."""

from __future__ import annotations


class NoApi:
    """States no API level."""

    capabilities: frozenset[str] = frozenset()


class OtherApi:
    """Is written for an API that does not exist yet."""

    api = 7
    capabilities: frozenset[str] = frozenset()


class Capabilities:
    """States a number."""

    api = 1
    capabilities = 42
