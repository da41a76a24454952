"""Dialects: where a service differs from OpenAI's Realtime API (GA), as a value that anybody can make.

    MINE = Dialect(name="mine", default_url="wss://voice.example.com/v1/realtime", key_variables=("MINE_API_KEY",))

Everything else defaults to GA. `dataclasses.replace(GA, ...)` works too.
"""

from __future__ import annotations

import base64
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal
from urllib.parse import SplitResult, parse_qsl, quote, urlencode, urlsplit, urlunsplit

from . import shaping
from .shaping import Moved, deep_merge
from .values import JSON

__all__ = ["AZURE", "AZURE_PREVIEW", "BETA", "DIALECTS", "GA", "INWORLD", "XAI", "Auth", "Dialect"]

Auth = Literal["bearer", "api-key", "basic", "subprotocol", "none"]
Shape = Callable[[Mapping[str, Any]], tuple[JSON, list[Moved]]]

_SCHEMES = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """One service's way of speaking the Realtime protocol.

    `incoming` and `outgoing` rename event types: the service's name to ours (a GA or beta name), and ours to the
    service's. `session`, `response` and `item` bring what is sent into the service's shape (see `shaping`).
    """

    name: str
    key_variables: tuple[str, ...] = ("OPENAI_API_KEY",)
    default_url: str | None = None
    """`None`: the service has no address of its own; the option `url` is needed."""
    path: str = "/v1/realtime"
    """Appended to a URL without a path; its last segment to an `http(s)` base URL."""
    default_model: str | None = None
    model_parameter: str | None = "model"
    """The query parameter that names the model; `None`: it is not in the URL."""
    query: Mapping[str, str] = field(default_factory=dict)
    """Further query parameters, unless the URL has them already."""
    auth: Auth = "bearer"
    headers: Mapping[str, str] = field(default_factory=dict)
    incoming: Mapping[str, str] = field(default_factory=dict)
    outgoing: Mapping[str, str] = field(default_factory=dict)
    session_type: str | None = "realtime"
    """`session.type` of a configuration that names none; `None`: the service knows no such field."""
    session: Shape = shaping.to_ga
    response: Shape = shaping.response_to_ga
    item: Callable[[Mapping[str, Any]], JSON] = shaping.item_to_ga
    flat: bool = False
    """The service speaks beta: flat sessions, beta's event names."""
    audio_formats: tuple[str, ...] = ("audio/pcm", "audio/pcmu", "audio/pcma")
    pcm_rates: tuple[int, ...] = (24_000,)
    tags_responses: bool = True
    """The service keeps `metadata` of `response.create`: a reply is then matched to its request exactly."""

    def url(self, config: Mapping[str, Any]) -> str:
        """The address to dial.

        `config`: `url`, `model`, `intent`, `call_id`, and any query parameter of this dialect by name with `_` for `-`
        (`api_version`, `deployment`). A query in `url` is kept and wins. `ValueError` names what is missing or wrong.
        """
        address = config.get("url") or self.default_url
        if not address:
            raise ValueError(f"the dialect {self.name!r} has no address of its own: give the option `url`")
        return _address(str(address), self.path, tuple(self._parameters(config).items()))

    def _parameters(self, config: Mapping[str, Any]) -> dict[str, str]:
        found = {k: str(v) for k in ("intent", "call_id") if (v := config.get(k))}
        for name, default in self.query.items():
            value = config.get(name.replace("-", "_")) or default
            if value:
                found[name] = str(value)
        model = config.get("model") or self.default_model
        # A transcription session or a call to join is not asked for by model.
        if self.model_parameter and model and not (found.keys() & {"intent", "call_id"}):
            found.setdefault(self.model_parameter, str(model))
        return found

    def request_headers(self, key: str | None) -> dict[str, str]:
        """The headers of the upgrade request, credential included: never log them."""
        headers = dict(self.headers)
        if key is None:
            return headers
        if self.auth == "bearer":
            headers["Authorization"] = f"Bearer {key}"
        elif self.auth == "api-key":
            headers["api-key"] = key
        elif self.auth == "basic":
            # Inworld's keys are handed out already encoded; `user:password` is encoded here.
            encoded = base64.b64encode(key.encode()).decode() if ":" in key else key
            headers["Authorization"] = f"Basic {encoded}"
        return headers

    def subprotocols(self, key: str | None) -> tuple[str, ...]:
        """What to offer as WebSocket subprotocols: the browser's way to authenticate. Holds the key."""
        if self.auth != "subprotocol" or key is None:
            return ()
        offered = ("realtime", f"openai-insecure-api-key.{key}")
        return (*offered, "openai-beta.realtime-v1") if self.flat else offered

    def shape_session(
        self, session: Mapping[str, Any], defaults: Mapping[str, Any] | None = None
    ) -> tuple[JSON, list[Moved]]:
        """`session` (GA names, flat names, or both) over `defaults`, in this service's shape.

        Also returned: the names that were moved, with their new place, or `None` where the service has none for them.
        """
        if self.session is shaping.to_ga and not defaults and not self.flat and shaping.is_ga(session):
            return dict(session), []  # most are, and to copy them through and through is dear
        nested, moved = shaping.to_ga(session)
        merged = deep_merge(shaping.to_ga(defaults)[0], nested) if defaults else nested
        if self.flat:  # what GA has no place for is at home here
            merged.update({k: v for k, v in session.items() if k == "temperature"})
            moved = []
        elif self.session is shaping.to_ga:
            return merged, moved
        shaped, lost = self.session(merged)
        return shaped, [*moved, *lost]


@functools.lru_cache(32)
def _address(base: str, place: str, parameters: tuple[tuple[str, str], ...]) -> str:
    """`base` with the path and the parameters that it lacks."""
    parts = _parsed(base)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    for name, value in parameters:
        query.setdefault(name, value)
    path = _path(parts.path, parts.scheme, place)
    return urlunsplit((_SCHEMES[parts.scheme], parts.netloc, path, urlencode(query, quote_via=quote), ""))


def _path(path: str, scheme: str, place: str) -> str:
    if path in ("", "/"):
        return place
    bare = path.rstrip("/")
    if scheme in ("http", "https") and "realtime" not in bare.split("/"):
        return bare + "/" + place.rsplit("/", 1)[-1]
    return path


def _parsed(address: str) -> SplitResult:
    try:
        parts = urlsplit(address)
        valid = parts.scheme in _SCHEMES and bool(parts.hostname) and parts.port != 0
    except ValueError:  # brackets that do not match, a port that is no number
        valid = False
    if not valid:
        raise ValueError("`url` must be ws://, wss://, http:// or https://, then a host")
    return parts


GA = Dialect(name="ga", default_url="wss://api.openai.com/v1/realtime", default_model="gpt-realtime-2.1")

BETA = Dialect(
    name="beta",
    headers={"OpenAI-Beta": "realtime=v1"},
    session=shaping.to_flat,
    response=shaping.response_to_flat,
    item=shaping.item_to_flat,
    session_type=None,
    flat=True,
    tags_responses=False,
)

AZURE = Dialect(
    name="azure",
    key_variables=("AZURE_OPENAI_API_KEY",),
    path="/openai/v1/realtime",
    auth="api-key",
)

AZURE_PREVIEW = Dialect(
    name="azure-preview",
    key_variables=("AZURE_OPENAI_API_KEY",),
    path="/openai/realtime",
    model_parameter="deployment",
    query={"api-version": "2025-04-01-preview", "deployment": ""},
    auth="api-key",
    session=shaping.to_flat,
    response=shaping.response_to_flat,
    item=shaping.item_to_flat,
    session_type=None,
    flat=True,
    tags_responses=False,
)

XAI = Dialect(
    name="xai",
    key_variables=("XAI_API_KEY",),
    default_url="wss://api.x.ai/v1/realtime",
    session=shaping.to_xai,
    pcm_rates=(8_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000),
    tags_responses=False,
)

INWORLD = Dialect(
    name="inworld",
    key_variables=("INWORLD_API_KEY",),
    default_url="wss://api.inworld.ai/api/v1/realtime/session",
    path="/api/v1/realtime/session",
    model_parameter=None,
    query={"key": "", "protocol": "realtime"},
    auth="basic",
    tags_responses=False,
)

DIALECTS: Mapping[str, Dialect] = MappingProxyType(
    {d.name: d for d in (GA, AZURE, AZURE_PREVIEW, BETA, XAI, INWORLD)}
)
