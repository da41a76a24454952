"""What a session may hold, and an update that is applied as a whole or not at all.

The rules are a tree of the same form as the GA session. Source: the session object of the API reference (GA).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from . import shaping
from .faults import Fault, invalid, missing, unknown_parameter
from .shaping import deep_merge
from .values import JSON

__all__ = ["SERVER_VAD", "check_response", "default_session", "updated_session"]

Rule = Callable[[Any, str], None]

SERVER_VAD: JSON = {
    "type": "server_vad",
    "threshold": 0.5,
    "prefix_padding_ms": 300,
    "silence_duration_ms": 500,
    "idle_timeout_ms": None,
    "create_response": True,
    "interrupt_response": True,
}
SEMANTIC_VAD: JSON = {
    "type": "semantic_vad",
    "eagerness": "auto",
    "create_response": True,
    "interrupt_response": True,
}
PCM: JSON = {"type": "audio/pcm", "rate": 24_000}


# --- rules: each raises `Fault` with the path of what is wrong


def _one_of(*values: str) -> Rule:
    def check(value: Any, path: str) -> None:
        if value not in values:
            raise invalid(path, " or ".join(f"'{v}'" for v in values))

    return check


def _a(kind: type | tuple[type, ...], name: str) -> Rule:
    def check(value: Any, path: str) -> None:
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise invalid(path, name)

    return check


def _number(low: float, high: float, *, whole: bool = False) -> Rule:
    def check(value: Any, path: str) -> None:
        kinds = int if whole else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value <= high:
            raise invalid(path, f"{'an integer' if whole else 'a number'} from {low:g} to {high:g}")

    return check


def _nullable(rule: Rule) -> Rule:
    def check(value: Any, path: str) -> None:
        if value is not None:
            rule(value, path)

    return check


def _either(*rules: Rule) -> Rule:
    """The first rule that holds; if none does, what the last one says."""

    def check(value: Any, path: str) -> None:
        for rule in rules[:-1]:
            try:
                return rule(value, path)
            except Fault:
                continue
        return rules[-1](value, path)

    return check


def _mapping(fields: Mapping[str, Rule], required: Collection[str] = ()) -> Rule:
    def check(value: Any, path: str) -> None:
        if not isinstance(value, dict):
            raise invalid(path, "an object")
        for name in required:
            if name not in value:
                raise missing(f"{path}.{name}")
        for name, inner in value.items():
            if name not in fields:
                raise unknown_parameter(f"{path}.{name}")
            fields[name](inner, f"{path}.{name}")

    return check


def _items(rule: Rule) -> Rule:
    def check(value: Any, path: str) -> None:
        if not isinstance(value, list):
            raise invalid(path, "an array")
        for index, inner in enumerate(value):
            rule(inner, f"{path}[{index}]")

    return check


def _by_type(**kinds: Rule) -> Rule:
    """An object whose `type` says which rule it is under."""

    def check(value: Any, path: str) -> None:
        if not isinstance(value, dict):
            raise invalid(path, "an object")
        if "type" not in value:
            raise missing(f"{path}.type")
        rule = kinds.get(str(value["type"]))
        if rule is None:
            raise invalid(f"{path}.type", " or ".join(f"'{k}'" for k in kinds))
        rule(value, path)

    return check


def _metadata(value: Any, path: str) -> None:
    OBJECT(value, path)
    if len(value) > 16:
        raise invalid(path, "at most 16 pairs")
    for name, text in value.items():
        if len(name) > 64 or not isinstance(text, str) or len(text) > 512:
            raise invalid(f"{path}.{name[:64]}", "a key of at most 64 characters and a string of at most 512")


def _anything(value: Any, path: str) -> None:
    """What the service keeps and does not look into."""


TEXT = _a(str, "a string")
FLAG = _a(bool, "a boolean")
OBJECT = _a(dict, "an object")

_pcm = _mapping({"type": TEXT, "rate": _number(24_000, 24_000, whole=True)})
_g711 = _mapping({"type": TEXT})
FORMAT = _by_type(**{"audio/pcm": _pcm, "audio/pcmu": _g711, "audio/pcma": _g711})

_VAD_FLAGS = {"type": TEXT, "create_response": FLAG, "interrupt_response": FLAG}
TURNS = _by_type(
    server_vad=_mapping(
        {
            **_VAD_FLAGS,
            "threshold": _number(0, 1),
            "prefix_padding_ms": _number(0, 60_000, whole=True),
            "silence_duration_ms": _number(0, 60_000, whole=True),
            "idle_timeout_ms": _nullable(_number(5_000, 30_000, whole=True)),
        }
    ),
    semantic_vad=_mapping({**_VAD_FLAGS, "eagerness": _one_of("low", "medium", "high", "auto")}),
)
TOOL = _by_type(
    function=_mapping(
        {"type": TEXT, "name": TEXT, "description": TEXT, "parameters": OBJECT, "strict": _anything},
        ("name",),
    ),
    mcp=lambda value, path: _a(str, "a string")(value.get("server_label"), f"{path}.server_label"),
)
CHOICE = _either(
    _one_of("none", "auto", "required"),
    _by_type(
        function=_mapping({"type": TEXT, "name": TEXT}, ("name",)),
        mcp=_mapping({"type": TEXT, "server_label": TEXT, "name": _nullable(TEXT)}, ("server_label",)),
    ),
)
MODALITIES = _items(_one_of("audio", "text"))
MAX_TOKENS = _either(_one_of("inf"), _number(1, 4096, whole=True))
VOICE = _either(TEXT, _mapping({"id": TEXT}, ("id",)))
TRANSCRIPTION = _mapping(
    {
        "model": TEXT,
        "language": _nullable(TEXT),
        "prompt": _nullable(TEXT),
        "keywords": _anything,
        "languages": _anything,
        "delay": _anything,
    }
)
NOISE = _mapping({"type": _one_of("near_field", "far_field"), "strength": _number(0, 1)})
TRUNCATION = _either(
    _one_of("auto", "disabled"),
    _mapping(
        {"type": _one_of("retention_ratio"), "retention_ratio": _number(0, 1), "token_limits": OBJECT},
        ("type",),
    ),
)

INPUT = _mapping(
    {
        "format": FORMAT,
        "transcription": _nullable(TRANSCRIPTION),
        "noise_reduction": _nullable(NOISE),
        "turn_detection": _nullable(TURNS),
    }
)
OUTPUT = _mapping({"format": FORMAT, "voice": VOICE, "speed": _number(0.25, 1.5)})

SHARED: dict[str, Rule] = {
    "output_modalities": MODALITIES,
    "instructions": TEXT,
    "tools": _items(TOOL),
    "tool_choice": CHOICE,
    "parallel_tool_calls": FLAG,
    "reasoning": _nullable(OBJECT),
    "max_output_tokens": MAX_TOKENS,
    "prompt": _nullable(OBJECT),
}
REALTIME = _mapping(
    {
        **SHARED,
        "type": _one_of("realtime"),
        "model": TEXT,
        "truncation": TRUNCATION,
        "tracing": _nullable(_either(_one_of("auto"), OBJECT)),
        "include": _nullable(_items(TEXT)),
        "audio": _mapping({"input": INPUT, "output": OUTPUT}),
    }
)
TRANSCRIBE = _mapping(
    {
        "type": _one_of("transcription"),
        "include": _nullable(_items(TEXT)),
        "audio": _mapping({"input": INPUT}),
    }
)
RESPONSE = _mapping(
    {
        **SHARED,
        "conversation": _one_of("auto", "none"),
        "input": _items(OBJECT),
        "metadata": _nullable(_metadata),
        "audio": _mapping({"output": OUTPUT}),
    }
)
_FLAT_PLACES = {f"session.{place}": f"session.{name}" for name, place in shaping.FLAT_PLACES.items()}


# --- the session itself


def default_session(
    model: str, *, kind: str = "realtime", voice: str = "marin", instructions: str = ""
) -> JSON:
    """A whole session, as `session.created` shows it; `id` and `expires_at` are added by the caller."""
    hears: JSON = {
        "format": dict(PCM),
        "transcription": None,
        "noise_reduction": None,
        "turn_detection": dict(SERVER_VAD),
    }
    if kind == "transcription":
        return {
            "type": kind,
            "object": "realtime.transcription_session",
            "include": None,
            "audio": {"input": hears},
        }
    return {
        "type": kind,
        "object": "realtime.session",
        "model": model,
        "output_modalities": ["audio"],
        "instructions": instructions,
        "tools": [],
        "tool_choice": "auto",
        "max_output_tokens": "inf",
        "truncation": "auto",
        "tracing": None,
        "prompt": None,
        "include": None,
        "audio": {"input": hears, "output": {"format": dict(PCM), "voice": voice, "speed": 1.0}},
    }


def updated_session(
    session: JSON, changes: Mapping[str, Any], *, flat: bool = False, spoken: bool = False
) -> JSON:
    """The session after `session.update`. `Fault`, and no change, if _anything in it is wrong.

    `flat`: the changes are beta's. `spoken`: the model has spoken, so the voice is settled.
    """
    changes = _nested(changes) if flat else dict(changes)
    kind = session["type"]
    if not flat and "type" not in changes:
        raise missing("session.type")
    if changes.get("type", kind) != kind:
        raise Fault(
            "invalid_parameter", f"This is a {kind} session; its type cannot be changed.", "session.type"
        )
    try:
        (REALTIME if kind == "realtime" else TRANSCRIBE)(changes, "session")
    except Fault as fault:
        if flat and fault.param:
            fault.param = next(
                (
                    fault.param.replace(ga, f, 1)
                    for ga, f in _FLAT_PLACES.items()
                    if fault.param.startswith(ga)
                ),
                fault.param,
            )
        raise
    if kind == "realtime" and changes.get("model", session["model"]) != session["model"]:
        raise Fault("invalid_value", "The model of a session cannot be changed.", "session.model")
    merged = deep_merge(session, changes)
    if spoken and merged["audio"]["output"]["voice"] != session["audio"]["output"]["voice"]:
        message = "The voice cannot be changed once the model has spoken."
        raise Fault("cannot_update_voice", message, "session.voice" if flat else "session.audio.output.voice")
    return _filled(merged)


def check_response(params: Mapping[str, Any], *, flat: bool = False) -> JSON:
    """The parameters of `response.create` in GA's shape, or `Fault`."""
    shaped: JSON = dict(params)
    if flat:
        shaped, _ = shaping.response_to_ga(params)
    # Some clients (LiveKit's) send null for what they leave to the session.
    shaped = {name: value for name, value in shaped.items() if value is not None}
    RESPONSE(shaped, "response")
    return shaped


def _nested(changes: Mapping[str, Any]) -> JSON:
    for name in changes:
        if name not in shaping.FLAT_NAMES:
            raise unknown_parameter(f"session.{name}")
    return shaping.to_ga(changes)[0]


def _filled(session: JSON) -> JSON:
    """The defaults of a kind of turn detection that was just chosen."""
    hears = session["audio"]["input"]
    turns = hears["turn_detection"]
    if turns is not None:
        hears["turn_detection"] = {**(SERVER_VAD if turns["type"] == "server_vad" else SEMANTIC_VAD), **turns}
    if hears["format"]["type"] == "audio/pcm":
        hears["format"].setdefault("rate", 24_000)
    return session
