"""The configuration of a voice: common keys, `realtime_config`, provider keys, environment, TOML.

Every key is checked before anything is opened: an unknown one, or one that is given twice with different values, is
a `ConfigError` which names the key and the nearest known one.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import attrs

from vivavoce.errors import ConfigError, ProviderLoadError, VoiceError
from vivavoce.redaction import redact, remember_secret

__all__ = [
    "COMMON_KEYS",
    "CommonConfig",
    "build_config",
    "deep_merge",
    "find_credentials",
    "load_mapping",
    "nearest",
]


def _text(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if value is not None and not isinstance(value, str):
        raise ConfigError(f"{attribute.name}={value!r} is not text: give a str", option=attribute.name)


def _mapping(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, (dict, Mapping)):  # a dict is told at once, another mapping is dear
        raise ConfigError(f"{attribute.name} is not a mapping: give a dict", option=attribute.name)


def _secret(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if value is not None and not isinstance(value, str):
        # The value may be a key in the wrong wrapping, so it is not shown.
        raise ConfigError(
            f"{attribute.name} is a {type(value).__name__}, not text: give a str", option=attribute.name
        )


def _tools(value: Any) -> tuple[Any, ...]:
    if isinstance(value, (list, tuple)):
        return tuple(value)
    if isinstance(value, Mapping):
        value = value.values()
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        raise ConfigError(f"tools={value!r}: give a list of tools", option="tools")
    return tuple(value)


@attrs.frozen(kw_only=True)
class CommonConfig:
    """The keys that every provider knows. A provider that has its own derives from this class and adds fields."""

    model: str | None = attrs.field(default=None, validator=_text)
    api_key: str | None = attrs.field(default=None, repr=False, validator=_secret)
    url: str | None = attrs.field(default=None, validator=_text, repr=lambda url: redact(repr(url)))
    speaker: str | None = attrs.field(default=None, validator=_text)
    instructions: str | None = attrs.field(default=None, validator=_text)
    tools: Sequence[Any] = attrs.field(default=(), converter=_tools)
    session: Mapping[str, Any] = attrs.field(factory=dict, validator=_mapping)


COMMON_KEYS = frozenset(field.name for field in attrs.fields(CommonConfig))


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that `word` was probably meant to be, or `None`."""
    import difflib  # only where something was misspelt

    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return found[0] if found else None


def deep_merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A new dict: `changes` over `base`, mapping by mapping; any other value, lists too, replaces the old one."""
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        merged[key] = (
            deep_merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
        )
    return merged


def _unfold_realtime(values: Mapping[str, Any]) -> dict[str, Any]:
    """Move `realtime_config={"model", "api_key", "options": {"session_config"}}` to the common keys."""
    unfolded = dict(values)
    nested = unfolded.pop("realtime_config", None)
    if nested is None:
        return unfolded
    if not isinstance(nested, Mapping):
        raise ConfigError(
            "realtime_config is not a mapping: give model, api_key, options", option="realtime_config"
        )
    _known("realtime_config", nested, {"model", "api_key", "options"})
    options = nested.get("options") or {}
    if not isinstance(options, Mapping):
        raise ConfigError(
            "realtime_config['options'] is not a mapping: give session_config", option="realtime_config"
        )
    _known("realtime_config['options']", options, {"session_config"})
    given = {key: nested[key] for key in ("model", "api_key") if nested.get(key) is not None}
    if options.get("session_config") is not None:
        given["session"] = options["session_config"]
    for key, value in given.items():
        if unfolded.get(key) is not None and unfolded[key] != value:
            shown = "" if key == "api_key" else f": {unfolded[key]!r} and {value!r}"
            raise ConfigError(f"{key} is given twice with different values{shown}; keep one", option=key)
        unfolded[key] = value
    return unfolded


def _known(where: str, given: Mapping[str, Any], known: Iterable[str]) -> None:
    known = set(known)
    for key in given:
        if key not in known:
            meant = nearest(str(key), known)
            hint = f"did you mean {meant!r}?" if meant else f"known are {', '.join(sorted(known))}"
            raise ConfigError(f"unknown key {key!r} in {where}: {hint}", option=str(key))


@lru_cache(maxsize=256)
def _parameters(config_class: type, given: frozenset[str]) -> frozenset[str]:
    """The keys a config class takes: with `**keys`, all that are given."""
    try:
        parameters = inspect.signature(config_class).parameters.values()
    except ValueError as bad:
        text = f"the config class {config_class.__qualname__} does not tell its keys: {bad}"
        raise ProviderLoadError(text) from bad
    named = frozenset(p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD))
    return named | given if any(p.kind is p.VAR_KEYWORD for p in parameters) else named


def build_config(
    values: Mapping[str, Any], *, provider: str, config_class: type | None, has_capabilities: bool
) -> tuple[Any, tuple[str, ...]]:
    """Check `values` and build the provider's config object from them.

    Returns the object and the common keys that were given but that this provider cannot use.
    """
    values = _unfold_realtime(values)
    given = frozenset(values)
    # A provider without a config class takes the common keys as they are; one that can do nothing takes none.
    takes = (
        _parameters(config_class, given)
        if config_class is not None
        else (COMMON_KEYS if has_capabilities else frozenset())
    )
    for key in values:
        if key not in takes and key not in COMMON_KEYS:
            known = sorted((takes | COMMON_KEYS | {"realtime_config"}) - {"self"})
            meant = nearest(key, [*known, "history", "plugins", "strict"])
            hint = f"did you mean {meant!r}?" if meant else f"it knows {', '.join(known)}"
            raise ConfigError(
                f"unknown key {key!r} for provider {provider!r}: {hint}", option=key, provider=provider
            )
    unused = tuple(key for key, value in values.items() if key not in takes and value is not None)
    if isinstance(values.get("api_key"), str):
        remember_secret(values["api_key"])
    if not (isinstance(config_class, type) and issubclass(config_class, CommonConfig)):
        # A class of another family may look at the common keys in a way of its own, or not at all.
        common = CommonConfig(
            **{key: value for key, value in values.items() if key in COMMON_KEYS and value is not None}
        )
        if config_class is None:
            return common, unused
    try:
        return config_class(
            **{
                # `None` is no value of a common key; of a provider's own it may be one ("no proxy").
                key: value
                for key, value in values.items()
                if key in takes and (value is not None or key not in COMMON_KEYS)
            }
        ), unused
    except VoiceError:
        raise
    except (TypeError, ValueError) as bad:
        raise ConfigError(f"config of provider {provider!r}: {_words(bad)}", provider=provider) from bad


def _words(bad: Exception) -> str:
    """What an error says. A validator of attrs adds the objects that it looked at."""
    return bad.args[0] if bad.args and isinstance(bad.args[0], str) else str(bad)


def find_credentials(
    config: Any, wanted: Mapping[str, str], environ: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The credentials that are there: from the config, else from the environment variables named in `wanted`."""
    environ = os.environ if environ is None else environ
    found = {}
    for key, variable in wanted.items():
        value = getattr(config, key, None) or environ.get(variable, "").strip()
        if value:
            remember_secret(value)
            found[key] = value
    return found


def load_mapping(source: Mapping[str, Any] | str | os.PathLike[str]) -> dict[str, Any]:
    """A config mapping, or the path of a TOML file that holds one."""
    if isinstance(source, Mapping):
        for key in source:
            if not isinstance(key, str):
                raise ConfigError(f"a key of the config is a {type(key).__name__}, not text: {key!r}")
        return dict(source)
    import tomllib  # only apps with a config file pay for these
    from pathlib import Path

    if not isinstance(source, (str, os.PathLike)):
        raise ConfigError(f"a config is a mapping or the path of a TOML file, not {type(source).__name__}")
    path = Path(source)
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as bad:
        raise ConfigError(f"cannot read the config file {path}: {bad.strerror or bad}") from bad
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as bad:
        raise ConfigError(f"{path} is not a TOML file: {bad}") from bad
