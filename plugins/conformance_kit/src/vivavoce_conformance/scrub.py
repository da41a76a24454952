"""Takes secrets out of what is written down: requests, messages, bytes.

Three nets: the values that this run was given as credentials, the shapes that keys are known to have, and the names
under which secrets travel. Headers are the other way round: only those that are known to be harmless keep their value.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from vivavoce.redaction import redact

__all__ = ["HIDDEN", "Scrubber"]

HIDDEN = "[redacted]"
_SHORTEST = 6
"""Shorter values would erase ordinary words."""
_NAMES = re.compile(
    r"(?i)(?:api[-_]?key|secret|password|passwd|authorization|credential|signature|access[-_]?token)|^(?:key|token|auth|sig|jwt)$|[-_](?:key|token)$"
)
_NAMED = re.compile(
    rb'(?i)"[\w-]*(?:api[-_]?key|secret|password|passwd|authorization|credential|signature|token)"\s*:\s*"((?:[^"\\]|\\.){6,})"'
    rb'|"(?:key|auth|sig|jwt)"\s*:\s*"((?:[^"\\]|\\.){6,})"'
)
_HARMLESS = frozenset(
    [
        *[
            "accept",
            "connection",
            "content-type",
            "date",
            "host",
            "openai-beta",
            "origin",
            "server",
            "upgrade",
        ],
        *["sec-websocket-extensions", "sec-websocket-version", "user-agent"],
    ]
)
_PLAIN = re.compile(r"[a-z][a-z.\-]*[a-z0-9.\-]{0,8}")
"""A subprotocol that is a name, not a token: words, with a short number at the end."""


class Scrubber:
    """`secrets`: values to take out wherever they stand, in whatever form they travel."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        forms: set[str] = set()
        for secret in secrets:
            if len(secret) >= _SHORTEST:
                forms |= {secret, quote(secret, safe=""), json.dumps(secret)[1:-1]}
                forms.add(base64.b64encode(secret.encode()).decode().rstrip("="))
        self._forms = sorted(forms, key=len, reverse=True)

    def text(self, text: str) -> str:
        """A text that is no message: an error, a line of a log."""
        for form in self._forms:
            text = text.replace(form, HIDDEN)
        return redact(text)

    def message(self, text: str) -> str:
        """A message: as JSON where it is JSON, which it then still is; what holds no secret comes back as it was."""
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return self.data(self.text(text).encode()).decode(errors="replace")
        clean = self._value(value)
        return text if clean == value else json.dumps(clean, ensure_ascii=False)

    def _value(self, value: Any, name: str = "") -> Any:
        if isinstance(value, dict):
            return {self.text(key): self._value(item, key) for key, item in value.items()}
        if isinstance(value, list):
            return [self._value(item, name) for item in value]
        if not isinstance(value, str):
            return value
        return HIDDEN if len(value) >= _SHORTEST and _NAMES.search(name) else self.text(value)

    def data(self, data: bytes) -> bytes:
        """Bytes, blanked in place: a protocol that counts its bytes still counts right."""
        for form in self._forms:
            data = data.replace(form.encode(), b"*" * len(form.encode()))
        for found in reversed(list(_NAMED.finditer(data))):
            place = found.span(found.lastindex or 0)
            data = data[: place[0]] + b"*" * (place[1] - place[0]) + data[place[1] :]
        return data

    def pieces(self, pieces: Sequence[bytes]) -> list[bytes]:
        """The pieces of one stream: a secret that lies across two of them is found too."""
        whole = self.data(b"".join(pieces))
        cut, at = [], 0
        for piece in pieces:
            cut.append(whole[at : at + len(piece)])
            at += len(piece)
        return cut

    def address(self, url: str) -> str:
        """A URL or a request's path: no user, no value of a parameter that is named like a secret."""
        parts = urlsplit(url)
        query = [
            (name, HIDDEN if _NAMES.search(name) else self.text(value))
            for name, value in parse_qsl(parts.query, keep_blank_values=True)
        ]
        return urlunsplit(
            (
                parts.scheme,
                parts.netloc.rpartition("@")[2],
                self.text(parts.path),
                urlencode(query, safe="[]"),
                "",
            )
        )

    def headers(self, headers: Iterable[tuple[str, str]]) -> Mapping[str, str]:
        """Headers with small letters; of those that may hold something, the name alone. Subprotocols have a place of
        their own."""
        return {
            name.lower(): self.text(value) if name.lower() in _HARMLESS else HIDDEN
            for name, value in headers
            if name.lower() not in ("sec-websocket-protocol", "sec-websocket-key", "sec-websocket-accept")
        }

    def subprotocols(self, offered: Iterable[str]) -> list[str]:
        """Subprotocols: browsers hide keys among them."""
        return [self._subprotocol(name) for name in offered]

    def _subprotocol(self, name: str) -> str:
        shown = self.text(name)
        if shown != name or _PLAIN.fullmatch(name):
            return shown
        return HIDDEN
