"""What a gateway serves: which model name leads to which provider, who may come in, and how much of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import attrs
from vivavoce import ConfigError
from vivavoce.config import load_mapping, nearest
from vivavoce.redaction import remember_secret

__all__ = ["OPENAI_MODELS", "GatewayConfig", "Limits", "Route"]

_LONGEST = 128
OPENAI_MODELS = ("gpt-", "whisper", "chatgpt-")
# Session settings that put a provider into manual turns, so that the gateway can take them as its client asks.
_MANUAL: Mapping[str, Mapping[str, Any]] = {
    "local": {"turns": "manual"},
    "openai-realtime": {"turn_detection": None},
}


def _positive(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value <= 0:
        raise ConfigError(f"{attribute.name}={value!r}: give a number above 0", option=attribute.name)


def _field(default: float) -> Any:
    return attrs.field(default=default, validator=_positive)


@attrs.frozen(kw_only=True)
class Limits:
    """What one session, one key and the whole process may use. Times in seconds, sizes in bytes."""

    sessions: int = _field(100)
    sessions_per_key: int = _field(50)
    session_seconds: float = _field(3600)
    idle_seconds: float = _field(900)
    """A session whose client sends nothing for so long is ended."""
    connect_seconds: float = _field(30)
    """What a provider has for its connect."""
    message_bytes: int = _field(22 * 1024 * 1024)
    """One WebSocket message: 15 MiB of audio in base64, and its envelope."""
    audio_rate: float = _field(20)
    """Seconds of audio a client may send per second, beyond a burst of 60 s; then it is read more slowly."""
    events_per_second: float = _field(500)
    """Client events per second, beyond a burst of ten seconds' worth; then the client is read more slowly."""
    items: int = _field(4096)
    """Conversation items a client may create."""
    unsent_bytes: int = _field(16 * 1024 * 1024)
    """What may wait for a client that does not read; beyond it the session ends."""
    send_seconds: float = _field(30)
    """How long one message may take to a client that does not read; then the session ends."""
    secrets: int = _field(10_000)
    """Ephemeral keys alive at once."""
    drain_seconds: float = _field(30)
    """After SIGTERM: how long running sessions may go on."""


@attrs.frozen(kw_only=True)
class Route:
    """Where a model name leads.

    `provider`: its name, or its class. `config`: the keys of `Voice`. `voices`: a client's voice name -> the provider's.
    `manual`: session settings that make the provider leave the turns to the gateway; the gateway knows them for `local` and
    `openai-realtime`. A provider without them takes its turns itself.
    """

    provider: str | type = "local"
    config: Mapping[str, Any] = attrs.field(factory=dict, repr=False)
    voices: Mapping[str, str] = attrs.field(factory=dict)
    manual: Mapping[str, Any] | None = None

    @property
    def name(self) -> str:
        """The provider's name."""
        return (
            self.provider
            if isinstance(self.provider, str)
            else str(getattr(self.provider, "name", self.provider.__name__))
        )

    @property
    def manual_settings(self) -> Mapping[str, Any] | None:
        """The session settings for turns by hand, or `None` where they are not known."""
        return self.manual if self.manual is not None else _MANUAL.get(self.name)


def _keys(values: Any) -> tuple[str, ...]:
    """Keys as given; `env:NAME` is read from the environment."""
    return tuple(_key(value) for value in ([values] if isinstance(values, str) else values))


def _key(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ConfigError("a key of the gateway is not text", option="keys")
    key = value
    if value.startswith("env:"):
        name = value.removeprefix("env:")
        key = os.environ.get(name, "").strip()
        if not key:
            raise ConfigError(f"the environment variable {name} holds no key", option="keys")
    remember_secret(key)
    return key


@attrs.frozen(kw_only=True)
class GatewayConfig:
    """One gateway.

    `provider`, `config`: what answers where no model is routed. `models`: routes by model name. `voices`: a client's voice
    name -> the provider's, for every route. `keys`: who may come in; without any, everybody. `origins`: web origins besides
    the gateway's own; `*` for all. `any_model`: a model name that is not known leads to the default, too.
    """

    provider: str | type = "local"
    config: Mapping[str, Any] = attrs.field(factory=dict, repr=False)
    models: Mapping[str, Route] = attrs.field(factory=dict)
    voices: Mapping[str, str] = attrs.field(factory=dict)
    keys: tuple[str, ...] = attrs.field(default=(), converter=_keys, repr=False)
    origins: tuple[str, ...] = attrs.field(default=(), converter=tuple)
    any_model: bool = False
    ice_servers: tuple[str, ...] = attrs.field(default=(), converter=tuple)
    """STUN and TURN servers for WebRTC calls; by default the gateway offers its own addresses alone."""
    limits: Limits = attrs.field(factory=Limits)

    @property
    def default(self) -> Route:
        """The route of every name that has none of its own."""
        return Route(provider=self.provider, config=self.config)

    def route(self, model: str) -> Route | None:
        """Where a model leads: its own route, else the default for the provider's name and for OpenAI's models."""
        found = self.models.get(model)
        if found is not None:
            return found
        default = self.default
        if len(model) > _LONGEST:
            return None
        if model == default.name or self.any_model or model.startswith(OPENAI_MODELS):
            return default
        return None

    @property
    def names(self) -> tuple[str, ...]:
        """The models there are, for `GET /v1/models`."""
        return tuple(dict.fromkeys([self.default.name, *self.models]))

    @classmethod
    def load(cls, source: Mapping[str, Any] | str | os.PathLike[str], **changes: Any) -> GatewayConfig:
        """A mapping or a TOML file, with `changes` over it. Raises `ConfigError`, which names what is wrong."""
        values = {**load_mapping(source), **{k: v for k, v in changes.items() if v is not None}}
        _refuse_unknown(values, cls, "the gateway's config")
        if "limits" in values:
            _refuse_unknown(values["limits"], Limits, "limits")
            values["limits"] = Limits(**values["limits"])
        values["models"] = {name: _route(name, entry) for name, entry in values.get("models", {}).items()}
        built: GatewayConfig = _build(cls, values)
        return built


def _route(name: str, entry: Any) -> Route:
    if not isinstance(entry, Mapping):
        raise ConfigError(f"models.{name} is not a table", option="models")
    own = {field.name for field in attrs.fields(Route)}
    values = {key: value for key, value in entry.items() if key in own}
    # The keys of the voice may stand beside the route's own.
    values["config"] = {**values.get("config", {}), **{k: v for k, v in entry.items() if k not in own}}
    route: Route = _build(Route, values)
    return route


def _build(make: Callable[..., Any], values: Mapping[str, Any]) -> Any:
    try:
        return make(**values)
    except (TypeError, AttributeError) as bad:
        raise ConfigError(f"the gateway's config: {bad}") from bad


def _refuse_unknown(values: Any, into: type, where: str) -> None:
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where} is not a table")
    known = [field.name for field in attrs.fields(into)]
    for key in values:
        if key not in known:
            meant = nearest(str(key), known)
            hint = f"did you mean {meant!r}?" if meant else f"known are {', '.join(known)}"
            raise ConfigError(f"unknown key {key!r} in {where}: {hint}", option=str(key))
