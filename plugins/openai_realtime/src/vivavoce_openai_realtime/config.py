"""The options of the `openai-realtime` provider, checked one by one before anything is opened."""

from __future__ import annotations

import dataclasses
import os
import re
import ssl as ssl_module
from collections.abc import Mapping
from typing import Any, Literal, get_args
from urllib.parse import parse_qsl, urlsplit

import attrs
from vivavoce.config import CommonConfig, nearest
from vivavoce.errors import ConfigError, ConnectError
from vivavoce.redaction import remember_secret

from vivavoce_openai_realtime.protocol.dialects import DIALECTS, GA, Auth, Dialect

__all__ = ["OpenAIRealtimeConfig"]

_TransportName = Literal["websocket", "webrtc"]


def _bad(option: str, value: object, allowed: str, meant: str | None = None) -> ConfigError:
    """The error of an option: its name, its value, what is allowed, and what was probably meant."""
    hint = f"; did you mean {meant!r}?" if meant else ""
    return ConfigError(f"{option}={value!r}: give {allowed}{hint}", option=option, provider="openai-realtime")


def _one_of(*allowed: str) -> Any:
    def check(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
        if value is not None and value not in allowed:
            meant = nearest(value, allowed) if isinstance(value, str) else None
            raise _bad(attribute.name, value, " or ".join(map(repr, allowed)), meant)

    return check


def _seconds(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if attribute.name == "ping_interval" and value is None:
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < float("inf"):
        none = ", or None for no pings" if attribute.name == "ping_interval" else ""
        raise _bad(attribute.name, value, f"a positive number of seconds{none}")


def _bytes(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1024:
        raise _bad(attribute.name, value, "a number of bytes, 1024 or more")


def _context(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if value is not None and not isinstance(value, ssl_module.SSLContext):
        raise _bad(attribute.name, value, "an ssl.SSLContext, or None for the system's roots")


def _proxy(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if value is not None and not isinstance(value, bool | str):
        raise _bad(attribute.name, value, "a proxy's URL, True (the system's) or None (no proxy)")


def _headers(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, (dict, Mapping)) or not all(
        isinstance(k, str) and isinstance(v, str) for k, v in value.items()
    ):
        # Values may be credentials, so they are not shown.
        raise ConfigError(
            f"{attribute.name}: give a dict of text to text",
            option=attribute.name,
            provider="openai-realtime",
        )


def _text(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if value is not None and not isinstance(value, str):
        raise _bad(attribute.name, value, "text")


_SERVER = re.compile(
    r"(?P<kind>stun|turns?):(?P<host>[^?:/@\s]+)(:(?P<port>[0-9]{1,5}))?(\?transport=(?P<over>udp|tcp))?"
).fullmatch  # RFC 7064 and 7065, as far as aiortc knows them


def _ice_servers(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    if not all(_is_server({"urls": entry} if isinstance(entry, str) else entry) for entry in value):
        # A server's password may be among them, so none is shown.
        raise ConfigError(
            "ice_servers: give a list of URLs (stun:host:port), or of dicts with urls, username and credential; "
            "turn:host:port, turn:host?transport=tcp and turns:host need both of the latter",
            option="ice_servers",
            provider="openai-realtime",
        )


def _is_server(server: Any) -> bool:
    known = {"urls", "username", "credential"}
    if not isinstance(server, Mapping) or not {"urls"} <= server.keys() <= known:
        return False
    urls = [server["urls"]] if isinstance(server["urls"], str) else server["urls"]
    named = all(isinstance(server.get(name), str) and server[name] for name in ("username", "credential"))
    return isinstance(urls, list) and bool(urls) and all(_is_url(url, named) for url in urls)


def _is_url(url: object, named: bool) -> bool:
    found = _SERVER(url) if isinstance(url, str) else None
    if found is None or not 0 < int(found["port"] or 3478) < 65_536:
        return False
    if found["kind"] == "stun":
        return found["over"] is None
    return named and not (found["kind"] == "turns" and found["over"] == "udp")


def _sideband(instance: Any, attribute: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, bool):
        raise _bad(attribute.name, value, "True or False")
    if value and instance.transport != "webrtc":
        raise _bad(attribute.name, value, 'it with transport="webrtc"; call_id joins a call by WebSocket')


def _as_servers(value: Any) -> Any:
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def _as_dialect(value: object) -> Dialect | None:
    if value is None or isinstance(value, Dialect):
        return value
    name = value.strip().lower().replace("_", "-") if isinstance(value, str) else ""
    if name not in DIALECTS:
        raise _bad(
            "dialect", value, f"{', '.join(map(repr, DIALECTS))} or a Dialect", nearest(name, DIALECTS)
        )
    return DIALECTS[name]


@attrs.frozen(kw_only=True)
class OpenAIRealtimeConfig(CommonConfig):
    """Every option, with its default. Times are in seconds. See docs/reference/openai-realtime.md."""

    dialect: Dialect | None = attrs.field(default=None, converter=_as_dialect)
    transport: _TransportName = attrs.field(default="websocket", validator=_one_of(*get_args(_TransportName)))
    auth: Auth | None = attrs.field(default=None, validator=_one_of(*get_args(Auth)))
    headers: Mapping[str, str] = attrs.field(factory=dict, validator=_headers, repr=False)
    organization: str | None = attrs.field(default=None, validator=_text)
    project: str | None = attrs.field(default=None, validator=_text)
    safety_identifier: str | None = attrs.field(default=None, validator=_text)
    api_version: str | None = attrs.field(default=None, validator=_text)
    deployment: str | None = attrs.field(default=None, validator=_text)
    call_id: str | None = attrs.field(default=None, validator=_text)
    sideband: bool = attrs.field(default=False, validator=_sideband)
    ice_servers: tuple[str | Mapping[str, Any], ...] = attrs.field(
        default=(), converter=_as_servers, validator=_ice_servers, repr=False
    )
    proxy: str | bool | None = attrs.field(default=True, validator=_proxy, repr=False)
    ssl: ssl_module.SSLContext | None = attrs.field(default=None, validator=_context)
    server_hostname: str | None = attrs.field(default=None, validator=_text)
    compression: Literal["deflate"] | None = attrs.field(default=None, validator=_one_of("deflate"))
    max_size: int = attrs.field(default=16 * 1024 * 1024, validator=_bytes)
    ping_interval: float | None = attrs.field(default=20.0, validator=_seconds)
    ping_timeout: float = attrs.field(default=20.0, validator=_seconds)
    write_deadline: float = attrs.field(default=20.0, validator=_seconds)

    def spoken(self, default: Dialect) -> Dialect:
        """The dialect to speak, with the way to authenticate that was chosen."""
        dialect = self.dialect or default
        return dataclasses.replace(dialect, auth=self.auth) if self.auth is not None else dialect

    def key(self, dialect: Dialect) -> str | None:
        """The credential: from the config, else from the environment. Raises `ConfigError` if there is none."""
        if dialect.auth == "none":
            return None
        found = (self.api_key or "").strip() or next(
            (v for name in dialect.key_variables if (v := os.environ.get(name, "").strip())), None
        )
        if not found:
            names = " or ".join(dialect.key_variables)
            whose = "" if dialect.name == GA.name else f" for the dialect {dialect.name!r}"
            raise ConfigError(
                f"no API key{whose}: set {names}, or give api_key=",
                option="api_key",
                code="missing_credential",
                provider="openai-realtime",
            )
        remember_secret(found)
        return found

    def address(self, dialect: Dialect) -> str:
        """The URL to dial. Raises `ConfigError` for one that cannot be."""
        names = ("url", "model", "call_id", "api_version", "deployment")
        try:
            if self.url is not None and not self.url.strip():  # of an empty variable, say
                raise ValueError("the option `url` is blank; leave it out for the address of the dialect")
            return dialect.url(
                {name: getattr(self, name) for name in names if getattr(self, name) is not None}
            )
        except ValueError as wrong:
            # Of a URL that is shown, neither user nor query: they may hold a credential.
            shown = f"url={_shown(self.url)!r}: " if self.url else ""
            raise ConfigError(f"{shown}{wrong}", option="url", provider="openai-realtime") from wrong

    def sideband_address(self, dialect: Dialect, call_id: str | None) -> str:
        """The URL of the WebSocket beside a call. Raises `ConnectError` for a call without an id."""
        if call_id is None:
            raise ConnectError(
                "The service did not name the call (no Location), so no WebSocket can join it. Connect without sideband.",
                code="sideband",
                provider="openai-realtime",
                retryable=False,
            )
        return attrs.evolve(self, transport="websocket", sideband=False, call_id=call_id, model=None).address(
            dialect
        )

    def request_headers(self, dialect: Dialect, key: str | None) -> dict[str, str]:
        """The headers of the upgrade, credential included: never log them."""
        headers = dialect.request_headers(key)
        named = {
            "OpenAI-Organization": self.organization,
            "OpenAI-Project": self.project,
            "OpenAI-Safety-Identifier": self.safety_identifier,
        }
        return headers | {name: value for name, value in named.items() if value} | dict(self.headers)

    def call_session(self, address: str, headers: Mapping[str, str]) -> dict[str, Any] | None:
        """The session that goes with a call's offer, or `None` for an ephemeral key, which has its own.

        It names the model alone: the rest is configured over the data channel, as it is over a WebSocket.
        """
        if self.call_id is not None:
            raise ConfigError(
                'call_id joins a call over a WebSocket: leave out transport="webrtc"',
                option="call_id",
                provider="openai-realtime",
            )
        if "Bearer ek_" in headers.get("Authorization", ""):
            return None
        query = dict(parse_qsl(urlsplit(address).query))
        model = query.get("model") or query.get("deployment") or self.model
        return {"type": "realtime", **({"model": model} if model else {})}


def _shown(url: str) -> str:
    """A URL without its user and its query."""
    scheme, mark, rest = url.partition("?")[0].rpartition("//")
    return f"{scheme}{mark}{rest.rpartition('@')[2]}"
