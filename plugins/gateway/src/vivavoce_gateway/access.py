"""Who may come in: keys, ephemeral keys, and where a browser's page may come from."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

import attrs
from vivavoce.redaction import remember_secret

__all__ = ["Access", "Offer", "Secret", "bearer", "origin_allowed"]

_KEY_PREFIX = "openai-insecure-api-key."
_BETA = "openai-beta.realtime-v1"


@attrs.frozen
class Secret:
    """An ephemeral key's session settings, and when it ends (unix seconds)."""

    expires_at: float
    session: Mapping[str, Any]
    owner: str


@attrs.frozen
class Offer:
    """What a WebSocket client offers: the subprotocol to select, its key, and whether it speaks beta's shape."""

    subprotocol: str | None
    key: str | None = attrs.field(repr=False)
    beta: bool

    @classmethod
    def of(cls, headers: Mapping[str, str], subprotocols: Iterable[str]) -> Offer:
        """Read from the upgrade request. The header's key counts before the subprotocol's."""
        offered = list(subprotocols)
        in_protocol = next((p.removeprefix(_KEY_PREFIX) for p in offered if p.startswith(_KEY_PREFIX)), None)
        beta = "realtime=v1" in headers.get("openai-beta", "") or _BETA in offered
        return cls("realtime" if "realtime" in offered else None, bearer(headers) or in_protocol, beta)


def bearer(headers: Mapping[str, str]) -> str | None:
    """The key of `Authorization: Bearer`, or of Azure's `api-key`."""
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and key.strip():
        return key.strip()
    return headers.get("api-key") or None


def origin_allowed(headers: Mapping[str, str], allowed: Iterable[str], *, keyless: bool) -> bool:
    """Whether the page that connects may. Only browsers send an `Origin`; the gateway's own page, that of the host, may.

    Where no key is needed, the host must be an address or `localhost`: a name could be another site's, which has made its name
    point to this machine (DNS rebinding).
    """
    origin = headers.get("origin")
    if origin is None:
        return True
    allowed = tuple(allowed)
    if "*" in allowed or origin in allowed:
        return True
    own = urlsplit(origin)
    return own.netloc == headers.get("host") and (not keyless or _is_address(own.hostname or ""))


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    return True


class Access:
    """The keys of a gateway, and the ephemeral ones it gave out (at most `most`; the oldest go first)."""

    def __init__(self, keys: Iterable[str], *, most: int, clock: Callable[[], float] = time.time) -> None:
        self._keys = [hashlib.sha256(key.encode()).digest() for key in keys]
        self._secrets: OrderedDict[str, Secret] = OrderedDict()
        self._most = most
        self._clock = clock

    @property
    def open(self) -> bool:
        """Whether no key is needed."""
        return not self._keys

    def owner(self, key: str | None) -> str | None:
        """Whose key this is, as a short name for limits and logs that does not tell the key; `None`: nobody's."""
        if key is not None and (secret := self.secret(key)) is not None:
            return secret.owner
        if self.open:
            return ""
        if key is None:
            return None
        digest = hashlib.sha256(key.encode()).digest()
        known = [hmac.compare_digest(digest, other) for other in self._keys]
        return digest.hex()[:8] if any(known) else None

    def secret(self, key: str) -> Secret | None:
        """The ephemeral key, while it lives."""
        secret = self._secrets.get(key)
        if secret is not None and secret.expires_at <= self._clock():
            del self._secrets[key]
            return None
        return secret

    def issue(self, seconds: float, session: Mapping[str, Any], owner: str) -> tuple[str, Secret]:
        """A new ephemeral key."""
        while len(self._secrets) >= self._most:
            self._secrets.popitem(last=False)
        value = f"ek_{secrets.token_hex(24)}"
        remember_secret(value)
        secret = self._secrets[value] = Secret(self._clock() + seconds, session, owner)
        return value, secret
