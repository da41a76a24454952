"""The shapes of a session, an item and a response's parameters, and the ways from one to another.

There are three: GA's (nested under `audio`), beta's (flat), and xAI's (GA's, but voice and turn detection on top).
GA's is the one this package thinks in; `to_ga` accepts any of them, also mixed, as users' configurations are.
Source: the Realtime API's migration guide from beta to GA, and docs.x.ai for xAI.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .values import JSON

__all__ = [
    "FLAT_NAMES",
    "FLAT_PLACES",
    "Moved",
    "deep_merge",
    "is_ga",
    "item_to_flat",
    "item_to_ga",
    "response_to_flat",
    "response_to_ga",
    "to_flat",
    "to_ga",
    "to_xai",
]

Moved = tuple[str, str | None]
"""A field that was moved, and where to: a dotted path, or `None` if that service has no place for it."""

Path = tuple[str, ...]

_FORMATS = {"pcm16": "audio/pcm", "g711_ulaw": "audio/pcmu", "g711_alaw": "audio/pcma"}
_FLAT_FORMATS = {ga: flat for flat, ga in _FORMATS.items()}


def _format_to_ga(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    name = _FORMATS.get(value, value)
    return {"type": name, "rate": 24_000} if name == "audio/pcm" else {"type": name}


def _format_to_flat(value: Any) -> Any:
    name = value.get("type") if isinstance(value, Mapping) else value
    return _FLAT_FORMATS.get(name, name) if isinstance(name, str) else name


def _modalities_to_ga(value: Any) -> Any:
    """GA never takes both: audio always comes with its transcript."""
    return ["audio"] if isinstance(value, list | tuple) and "audio" in value else value


def _modalities_to_flat(value: Any) -> Any:
    """Beta refuses `audio` alone."""
    return ["text", "audio"] if value == ["audio"] else value


def _same(value: Any) -> Any:
    return value


Convert = Callable[[Any], Any]

# flat name: GA path, flat -> GA, GA -> flat
_SESSION: dict[str, tuple[Path, Convert, Convert]] = {
    "modalities": (("output_modalities",), _modalities_to_ga, _modalities_to_flat),
    "voice": (("audio", "output", "voice"), _same, _same),
    "speed": (("audio", "output", "speed"), _same, _same),
    "input_audio_format": (("audio", "input", "format"), _format_to_ga, _format_to_flat),
    "output_audio_format": (("audio", "output", "format"), _format_to_ga, _format_to_flat),
    "input_audio_transcription": (("audio", "input", "transcription"), _same, _same),
    "input_audio_noise_reduction": (("audio", "input", "noise_reduction"), _same, _same),
    "turn_detection": (("audio", "input", "turn_detection"), _same, _same),
    "max_response_output_tokens": (("max_output_tokens",), _same, _same),
}
_RESPONSE = {
    name: _SESSION[name]
    for name in ("modalities", "voice", "output_audio_format", "max_response_output_tokens")
}
_XAI = {name: _SESSION[name] for name in ("voice", "turn_detection")}

FLAT_PLACES = {name: ".".join(path) for name, (path, _, _) in _SESSION.items()}
"""Beta's names, and where they are in GA."""

FLAT_NAMES = frozenset((*_SESSION, "instructions", "tools", "tool_choice", "temperature", "tracing", "model"))
"""All that a session of beta may hold."""

_NOT_GA = ("temperature", "client_secret")
_NOT_FLAT = ("type", "parallel_tool_calls", "reasoning", "truncation", "prompt", "include", "audio")

_CONTENT = {"text": "output_text", "audio": "output_audio"}
_FLAT_CONTENT = {ga: flat for flat, ga in _CONTENT.items()}
_PLAIN = frozenset((str, int, float, bool, type(None)))


def _copy(value: Any) -> Any:
    """JSON values, with mappings and lists of their own."""
    kind = type(value)
    if kind in _PLAIN:
        return value  # most of them, and a look at their abstract classes is dear
    if kind is dict or isinstance(value, Mapping):
        return {key: _copy(inner) for key, inner in value.items()}
    return [_copy(inner) for inner in value] if isinstance(value, list | tuple) else value


def deep_merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> JSON:
    """A new mapping: `over` on `base`, mapping by mapping. Anything else, lists and `None` included, replaces.

    A mapping whose `type` changes replaces too: the settings of one kind of turn detection or audio format do not
    belong to another.
    """
    merged: JSON = _copy(base)
    for key, value in over.items():
        old = merged.get(key)
        if (
            isinstance(old, dict)
            and isinstance(value, Mapping)
            and old.get("type") == value.get("type", old.get("type"))
        ):
            merged[key] = deep_merge(old, value)
        else:
            merged[key] = _copy(dict(value) if isinstance(value, Mapping) else value)
    return merged


def is_ga(session: Mapping[str, Any]) -> bool:
    """Whether a session has no flat name: then it is as GA has it."""
    return _is_nested(session, _SESSION)


def to_ga(session: Mapping[str, Any]) -> tuple[JSON, list[Moved]]:
    """The session with every flat name in its GA place, and what was moved. A GA name given as well wins."""
    return _nest(session, _SESSION)


def to_flat(session: Mapping[str, Any]) -> tuple[JSON, list[Moved]]:
    """The session as beta has it. GA's names move silently; reported is only what beta has no place for."""
    return _flatten(session, _SESSION)


def to_xai(session: Mapping[str, Any]) -> tuple[JSON, list[Moved]]:
    """The session as xAI has it: GA's, with `voice` and `turn_detection` on top."""
    nested, moved = to_ga(session)
    for name, (path, _, back) in _XAI.items():
        found, value = _take(nested, path)
        if found:
            nested[name] = back(value)
    return nested, [(name, new) for name, new in moved if name not in _XAI]


def response_to_ga(response: Mapping[str, Any]) -> tuple[JSON, list[Moved]]:
    """The parameters of `response.create` with flat names in their GA places."""
    nested, moved = _nest(response, _RESPONSE)
    if isinstance(nested.get("input"), list):
        nested["input"] = [item_to_ga(item) for item in nested["input"]]
    return nested, moved


def response_to_flat(response: Mapping[str, Any]) -> tuple[JSON, list[Moved]]:
    """The parameters of `response.create` as beta has them."""
    flat, moved = _flatten(response, _RESPONSE)
    if isinstance(flat.get("input"), list):
        flat["input"] = [item_to_flat(item) for item in flat["input"]]
    return flat, moved


def item_to_ga(item: Mapping[str, Any]) -> JSON:
    """An assistant message's parts are `output_text` and `output_audio` in GA."""
    shaped: JSON = _with_parts(item, _CONTENT)
    return shaped


def item_to_flat(item: Mapping[str, Any]) -> JSON:
    """... and `text` and `audio` in beta."""
    shaped: JSON = _with_parts(item, _FLAT_CONTENT)
    return shaped


def _with_parts(item: Any, names: Mapping[str, str]) -> Any:
    if not isinstance(item, Mapping):
        return item  # no item at all: whoever checks it says so
    shaped = dict(item)
    content = shaped.get("content")
    if shaped.get("role") == "assistant" and isinstance(content, list):
        shaped["content"] = [
            {**part, "type": names.get(str(part.get("type")), part.get("type"))}
            if isinstance(part, Mapping)
            else part
            for part in content
        ]
    return shaped


def _nest(
    source: Mapping[str, Any], names: Mapping[str, tuple[Path, Convert, Convert]]
) -> tuple[JSON, list[Moved]]:
    if _is_nested(source, names):
        return _copy(source), []
    nested: JSON = _copy({k: v for k, v in source.items() if k not in names and k not in _NOT_GA})
    moved: list[Moved] = [(name, None) for name in _NOT_GA if name in source]
    for name, (path, convert, _) in names.items():
        if name in source:
            moved.append((name, ".".join(path)))
            _put(nested, path, convert(_copy(source[name])))
    return nested, moved


def _is_nested(source: Mapping[str, Any], names: Mapping[str, Any]) -> bool:
    return names.keys().isdisjoint(source) and source.keys().isdisjoint(_NOT_GA)


def _flatten(
    source: Mapping[str, Any], names: Mapping[str, tuple[Path, Convert, Convert]]
) -> tuple[JSON, list[Moved]]:
    flat: JSON = _copy(dict(source))
    for name, (path, _, convert) in names.items():
        found, value = _take(flat, path)
        if found:
            flat.setdefault(name, convert(value))
    dropped = [name for name in _NOT_FLAT if name in flat]
    lost: list[Moved] = [(name, None) for name in dropped if name != "type" and flat[name] not in (None, {})]
    for name in dropped:
        del flat[name]
    return flat, lost


def _put(target: JSON, path: Path, value: Any) -> None:
    for key in path[:-1]:
        inner = target.get(key)
        if not isinstance(inner, dict):
            inner = target[key] = {}
        target = inner
    target.setdefault(path[-1], value)


def _take(target: JSON, path: Path) -> tuple[bool, Any]:
    """Removes the value at `path`, and the mappings it leaves empty."""
    key, rest = path[0], path[1:]
    if key not in target:
        return False, None
    if not rest:
        return True, target.pop(key)
    inner = target[key]
    if not isinstance(inner, dict):
        return False, None
    found, value = _take(inner, rest)
    if found and not inner:
        del target[key]
    return found, value
