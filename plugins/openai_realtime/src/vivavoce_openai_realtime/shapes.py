"""From the core's values to the service's, and back: sessions, items, tools, usage, reply options. No I/O, no state."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from vivavoce.audio import PCM16_24K, AudioFormat
from vivavoce.config import nearest
from vivavoce.errors import ConfigError
from vivavoce.events import Usage
from vivavoce.items import Item
from vivavoce.provider import Session
from vivavoce.tools import Tool

from vivavoce_openai_realtime.protocol.dialects import GA, Dialect
from vivavoce_openai_realtime.protocol.shaping import FLAT_PLACES, Moved, deep_merge, to_ga
from vivavoce_openai_realtime.protocol.values import AudioFormat as WireFormat

__all__ = [
    "core_format",
    "given_config",
    "item",
    "read_session",
    "reply_options",
    "session_changes",
    "session_config",
    "tool",
    "usage",
    "warn_of_lost",
]

logger = logging.getLogger("vivavoce.openai_realtime")

TRANSCRIPTION_MODEL = "gpt-transcribe"
"""What transcribes the user's side on OpenAI, unless `session` says otherwise (guide "Realtime transcription")."""

_REPLY_FIELDS = frozenset(
    [
        "audio",
        "conversation",
        "input",
        "instructions",
        "max_output_tokens",
        "metadata",
        "output_modalities",
        "parallel_tool_calls",
        "prompt",
        "reasoning",
        "tool_choice",
        "tools",
        "modalities",
        "voice",
        "output_audio_format",
        "max_response_output_tokens",
        "temperature",
    ]
)
_COMMON = frozenset({"instructions", "text_only", "tools", "tool_choice", "input", "metadata", "out_of_band"})


def tool(entry: Tool) -> dict[str, Any]:
    """A tool as the service wants it: flat, with its JSON schema."""
    return {
        "type": "function",
        "name": entry.name,
        "description": entry.description,
        "parameters": dict(entry.parameters),
    }


def item(entry: Item) -> dict[str, Any] | None:
    """A history item as the service takes it back. Speech comes back as text: audio cannot be supplied. `None`: nothing to say."""
    if entry.type == "tool_call":
        return {
            "type": "function_call",
            "call_id": entry.call_id,
            "name": entry.name or "",
            "arguments": entry.arguments or "{}",
        }
    if entry.type == "tool_result":
        return {"type": "function_call_output", "call_id": entry.call_id, "output": entry.output or ""}
    if not entry.text:
        return None
    kind = "output_text" if entry.role == "assistant" else "input_text"
    return {"type": "message", "role": entry.role, "content": [{"type": kind, "text": entry.text}]}


def session_config(session: Session, dialect: Dialect, model: str | None) -> dict[str, Any]:
    """The whole session as it is wanted, in GA names: `session=` over the common keys over the defaults."""
    given = _moved(session.settings, dialect)
    defaults: dict[str, Any] = {
        "output_modalities": ["audio"],
        "audio": {
            "input": {"format": {"type": "audio/pcm", "rate": 24_000}},
            "output": {"format": {"type": "audio/pcm", "rate": 24_000}},
        },
    }
    if dialect is GA or dialect.name == GA.name:
        defaults["audio"]["input"]["transcription"] = {"model": TRANSCRIPTION_MODEL}
    if dialect.model_parameter is None and (model or dialect.default_model):
        defaults["model"] = model or dialect.default_model  # the address does not name it
    if session.instructions is not None:
        defaults["instructions"] = session.instructions
    if session.speaker is not None:
        defaults["audio"]["output"]["voice"] = session.speaker
    wanted = deep_merge(defaults, given) if given else defaults
    if session.tools:
        # Tools that the service runs itself (MCP) come from `session`, ours beside them.
        wanted["tools"] = [*map(tool, session.tools), *(given.get("tools") or ())]
    return wanted


def given_config(session: Session, dialect: Dialect) -> dict[str, Any]:
    """What was asked for of a session that somebody else has set up: no defaults. Empty if nothing was."""
    wanted: dict[str, Any] = {}
    if session.instructions is not None:
        wanted["instructions"] = session.instructions
    if session.speaker is not None:
        wanted["audio"] = {"output": {"voice": session.speaker}}
    given = _moved(session.settings, dialect)
    wanted = deep_merge(wanted, given)
    if session.tools:
        wanted["tools"] = [*map(tool, session.tools), *(given.get("tools") or ())]
    return wanted


def session_changes(changes: Mapping[str, Any], session: Session, dialect: Dialect) -> dict[str, Any]:
    """What `update_config` sends: only what changed, in GA names."""
    wanted: dict[str, Any] = {}
    if "instructions" in changes:
        wanted["instructions"] = changes["instructions"] or ""
    if "speaker" in changes:
        wanted["audio"] = {"output": {"voice": changes["speaker"]}}
    given = _moved(changes.get("session", {}), dialect)
    wanted = deep_merge(wanted, given)
    if "tools" in changes or "tools" in given:
        server_side = session.settings.get("tools") or ()
        wanted["tools"] = [*map(tool, session.tools), *server_side]
    return wanted


def _moved(settings: Mapping[str, Any], dialect: Dialect) -> dict[str, Any]:
    """Flat names of the beta at their place in GA, with a note: the original's own example uses them.

    One setting under both names is as it was given last: an update may name it otherwise than the session did.
    """
    nested: dict[str, Any] = {}
    moved: list[Moved] = []
    for name, value in settings.items():
        one, places = to_ga({name: value})
        nested = deep_merge(nested, one)
        moved += places
    if dialect.flat:  # there they are at home, those that GA has no place for too
        return nested | {name: settings[name] for name, place in moved if place is None}
    for name, place in moved:
        if place is not None:
            logger.info("session setting %r is the beta's name: sent as %r", name, place)
        else:
            logger.warning("session setting %r does not exist any more: left out", name)
    return nested


def warn_of_lost(wanted: Mapping[str, Any], dialect: Dialect) -> None:
    """Say which settings this service has no place for."""
    if dialect.session is to_ga:
        return
    for name, place in dialect.shape_session(wanted)[1]:
        if place is None:
            logger.warning("session setting %r has no place in the dialect %r: left out", name, dialect.name)


def read_session(
    session: Session,
    config: Mapping[str, Any],
    wanted: Mapping[str, Any],
    input: WireFormat,
    output: WireFormat,
) -> bool:
    """Take what the core needs from the service's effective session; returns whether user speech is transcribed.

    What the service does not tell is as it was `wanted`: some acknowledge without repeating it.
    """
    side = {**_input_side(wanted), **_input_side(config)}
    if "turn_detection" in side:
        detection = side["turn_detection"]
        session.manual_turns = detection is None
        session.server_interrupts = (
            isinstance(detection, dict) and detection.get("interrupt_response") is not False
        )
    session.input_format, session.output_format = core_format(input), core_format(output)
    return side.get("transcription") is not None


def _input_side(config: Mapping[str, Any]) -> dict[str, Any]:
    flat = not FLAT_PLACES.keys().isdisjoint(config)
    audio = (to_ga(config)[0] if flat else config).get("audio")
    side = audio.get("input") if isinstance(audio, dict) else None
    return side if isinstance(side, dict) else {}


def core_format(wire: WireFormat) -> AudioFormat:
    """The PCM16 format the app sees: G.711 is decoded here, at its 8 kHz."""
    if wire.type == "audio/pcm" and wire.sample_rate == PCM16_24K.rate:
        return PCM16_24K
    return AudioFormat(rate=wire.sample_rate)


def reply_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """`answer()`'s options as parameters of `response.create`. Raises `ConfigError` for an unknown one."""
    for name in options:
        if name not in _COMMON and name not in _REPLY_FIELDS:
            known = sorted(_COMMON | _REPLY_FIELDS)
            meant = nearest(name, known)
            hint = f"did you mean {meant!r}?" if meant else f"known are {', '.join(known)}"
            raise ConfigError(
                f"unknown option {name!r} of answer(): {hint}", option=name, provider="openai-realtime"
            )
    params = {name: value for name, value in options.items() if name in _REPLY_FIELDS and value is not None}
    if options.get("text_only"):
        params["output_modalities"] = ["text"]
    if options.get("out_of_band"):
        params["conversation"] = "none"
    if "tools" in params:
        params["tools"] = [tool(entry) if isinstance(entry, Tool) else entry for entry in params["tools"]]
    choice = params.get("tool_choice")
    if isinstance(choice, str) and choice not in ("auto", "none", "required"):
        params["tool_choice"] = {"type": "function", "name": choice}
    if "input" in params:
        params["input"] = _input(params["input"])
    return params


def _input(entries: Iterable[Any]) -> list[Mapping[str, Any]]:
    """The items a reply is given: the core's, or the service's own mappings. Those that say nothing are left out."""
    shaped = [item(entry) if isinstance(entry, Item) else entry for entry in entries]
    for entry in shaped:
        if entry is not None and not isinstance(entry, Mapping):
            raise ConfigError(
                f"input holds {entry!r}: give Items, or mappings such as the service takes",
                option="input",
                provider="openai-realtime",
            )
    return [entry for entry in shaped if entry is not None]


def usage(raw: object, response_id: str | None = None) -> Usage | None:
    """The service's token counts; it leaves out what is zero, and some services more."""
    if not isinstance(raw, Mapping):
        return None
    if raw.get("type") == "duration":
        return Usage(input_seconds=_number(raw.get("seconds")), response_id=response_id)
    given, made = _inner(raw, "input_token_details"), _inner(raw, "output_token_details")
    cached = _inner(given, "cached_tokens_details")
    counts = {
        "input_text_tokens": given.get("text_tokens", 0 if given else raw.get("input_tokens")),
        "input_audio_tokens": given.get("audio_tokens"),
        "input_image_tokens": given.get("image_tokens"),
        "cached_text_tokens": cached.get("text_tokens", 0 if cached else given.get("cached_tokens")),
        "cached_audio_tokens": cached.get("audio_tokens"),
        "cached_image_tokens": cached.get("image_tokens"),
        "output_text_tokens": made.get("text_tokens", 0 if made else raw.get("output_tokens")),
        "output_audio_tokens": made.get("audio_tokens"),
    }
    return Usage(**{name: int(_number(count)) for name, count in counts.items()}, response_id=response_id)


def _inner(mapping: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    inner = mapping.get(key)
    return inner if isinstance(inner, Mapping) else {}


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else 0.0
