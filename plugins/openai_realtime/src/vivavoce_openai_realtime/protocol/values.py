"""The objects inside events: session, item, content part, response, usage, error, tool.

On the wire they are mappings, and events hold them as such, so that a field nobody here has heard of survives.
`view(Item, mapping)` gives a typed view of one; a field of the wrong type is left out instead of failing the rest.
Every field may be absent (`UNSET`), and an absent field is not written back.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET, Struct, UnsetType

__all__ = [
    "JSON",
    "UNSET",
    "AudioFormat",
    "ContentPart",
    "ErrorDetail",
    "FunctionTool",
    "Item",
    "McpTool",
    "RateLimit",
    "Response",
    "Session",
    "StatusDetails",
    "TokenDetails",
    "TranscriptionUsage",
    "TurnDetection",
    "Unset",
    "Usage",
    "Value",
    "answers_turns",
    "audio_format",
    "error_detail",
    "given",
    "present",
    "view",
]

JSON = dict[str, Any]
Unset = UnsetType
T = TypeVar("T")
S = TypeVar("S", bound=Struct)


class Value(Struct, frozen=True, kw_only=True, repr_omit_defaults=True):
    """The base of every object; an absent field is not encoded."""


class ErrorDetail(Value, frozen=True):
    """`error` of an `error` event, of a failed response, of a failed transcription."""

    type: str | Unset | None = UNSET
    code: str | Unset | None = UNSET
    message: str | Unset | None = UNSET
    param: str | Unset | None = UNSET
    event_id: str | Unset | None = UNSET


class AudioFormat(Value, frozen=True):
    """`audio/pcm` (16 bit little endian, mono) with its rate, or `audio/pcmu`, `audio/pcma` (8,000 Hz, one byte)."""

    type: str = "audio/pcm"
    rate: int | Unset | None = UNSET

    @property
    def sample_rate(self) -> int:
        """Hz; 24,000 for PCM and 8,000 for G.711 where the service names none."""
        if isinstance(self.rate, int) and self.rate > 0:
            return self.rate
        return 24_000 if self.type == "audio/pcm" else 8_000

    @property
    def sample_bytes(self) -> int:
        return 2 if self.type == "audio/pcm" else 1

    def milliseconds(self, size: int) -> int:
        """Whole milliseconds in `size` bytes."""
        return size * 1000 // (self.sample_rate * self.sample_bytes)


class TurnDetection(Value, frozen=True):
    """`server_vad` or `semantic_vad` with their settings (milliseconds; threshold 0 to 1)."""

    type: str | Unset = UNSET
    threshold: float | Unset = UNSET
    prefix_padding_ms: int | Unset = UNSET
    silence_duration_ms: int | Unset = UNSET
    idle_timeout_ms: int | Unset | None = UNSET
    eagerness: str | Unset = UNSET
    create_response: bool | Unset = UNSET
    interrupt_response: bool | Unset = UNSET


class FunctionTool(Value, frozen=True, tag_field="type", tag="function"):
    """A function the model may call; `parameters` is a JSON schema."""

    name: str
    description: str | Unset = UNSET
    parameters: JSON | Unset = UNSET


class McpTool(Value, frozen=True, tag_field="type", tag="mcp"):
    """A remote MCP server whose tools the service calls itself."""

    server_label: str
    server_url: str | Unset = UNSET
    connector_id: str | Unset = UNSET
    tunnel_id: str | Unset = UNSET
    authorization: str | Unset = UNSET
    headers: dict[str, str] | Unset | None = UNSET
    allowed_tools: list[str] | JSON | Unset | None = UNSET
    require_approval: str | JSON | Unset | None = UNSET
    server_description: str | Unset = UNSET
    defer_loading: bool | Unset = UNSET


class Session(Value, frozen=True):
    """The GA session; a flat (beta) one is brought into this shape by `shaping.to_ga`."""

    type: str | Unset = UNSET
    object: str | Unset = UNSET
    id: str | Unset = UNSET
    expires_at: int | float | Unset | None = UNSET
    model: str | Unset = UNSET
    output_modalities: list[str] | Unset = UNSET
    instructions: str | Unset | None = UNSET
    tools: list[JSON] | Unset = UNSET
    tool_choice: str | JSON | Unset = UNSET
    parallel_tool_calls: bool | Unset = UNSET
    reasoning: JSON | Unset | None = UNSET
    max_output_tokens: int | str | Unset | None = UNSET
    truncation: str | JSON | Unset | None = UNSET
    tracing: str | JSON | Unset | None = UNSET
    prompt: JSON | Unset | None = UNSET
    include: list[str] | Unset | None = UNSET
    audio: JSON | Unset = UNSET


class ContentPart(Value, frozen=True):
    """A part of a message. `audio` is base64 as received (user audio comes back with `retrieve` alone)."""

    type: str | Unset = UNSET
    text: str | Unset | None = UNSET
    transcript: str | Unset | None = UNSET
    audio: str | Unset | None = UNSET
    image_url: str | Unset | None = UNSET
    detail: str | Unset | None = UNSET


class Item(Value, frozen=True):
    """A conversation item: message, function call, its output, or one of the MCP kinds."""

    id: str | Unset | None = UNSET
    type: str | Unset = UNSET
    object: str | Unset = UNSET
    status: str | Unset | None = UNSET
    role: str | Unset | None = UNSET
    content: list[ContentPart] | Unset | None = UNSET
    call_id: str | Unset | None = UNSET
    name: str | Unset | None = UNSET
    arguments: str | Unset | None = UNSET
    output: str | Unset | None = UNSET
    server_label: str | Unset = UNSET
    tools: list[JSON] | Unset = UNSET
    approval_request_id: str | Unset | None = UNSET
    approve: bool | Unset = UNSET
    reason: str | Unset | None = UNSET
    error: JSON | Unset | None = UNSET


class TokenDetails(Value, frozen=True):
    """Tokens by kind; `cached_tokens_details` holds the cached ones again by kind."""

    text_tokens: int | Unset | None = UNSET
    audio_tokens: int | Unset | None = UNSET
    image_tokens: int | Unset | None = UNSET
    cached_tokens: int | Unset | None = UNSET
    cached_tokens_details: JSON | Unset | None = UNSET


class Usage(Value, frozen=True):
    """What a response cost."""

    total_tokens: int | Unset | None = UNSET
    input_tokens: int | Unset | None = UNSET
    output_tokens: int | Unset | None = UNSET
    input_token_details: TokenDetails | Unset | None = UNSET
    output_token_details: TokenDetails | Unset | None = UNSET


class TranscriptionUsage(Value, frozen=True):
    """What a transcription cost: `type` is `tokens`, or `duration` with `seconds`."""

    type: str | Unset = UNSET
    total_tokens: int | Unset = UNSET
    input_tokens: int | Unset = UNSET
    output_tokens: int | Unset = UNSET
    input_token_details: TokenDetails | Unset | None = UNSET
    seconds: float | Unset = UNSET


class StatusDetails(Value, frozen=True):
    """Why a response ended as it did."""

    type: str | Unset = UNSET
    reason: str | Unset | None = UNSET
    error: JSON | str | Unset | None = UNSET


class Response(Value, frozen=True):
    """A response; `output`, `usage` and `status_details` are filled when it is done."""

    id: str | Unset = UNSET
    object: str | Unset = UNSET
    status: str | Unset | None = UNSET
    status_details: StatusDetails | Unset | None = UNSET
    output: list[JSON] | Unset | None = UNSET
    conversation_id: str | Unset | None = UNSET
    output_modalities: list[str] | Unset = UNSET
    max_output_tokens: int | str | Unset | None = UNSET
    audio: JSON | Unset | None = UNSET
    output_audio_format: str | Unset | None = UNSET
    usage: JSON | Unset | None = UNSET
    metadata: JSON | Unset | None = UNSET


class RateLimit(Value, frozen=True):
    """`name` is `requests` or `tokens`; `reset_seconds` until the limit is full again."""

    name: str | Unset = UNSET
    limit: int | Unset | None = UNSET
    remaining: int | Unset | None = UNSET
    reset_seconds: float | Unset | None = UNSET


def view(cls: type[S], mapping: object) -> S:
    """`mapping` as a `cls`. Never raises: a field that does not fit is left out, no mapping is an empty object.

    `cls` is an object of this module whose fields may all be absent (not a tool).
    """
    if not isinstance(mapping, (dict, Mapping)):  # a dict is told at once, another mapping is dear
        return cls()
    try:
        return msgspec.convert(mapping, cls)
    except (msgspec.ValidationError, RecursionError):
        return cls(**{f.name: v for f in msgspec.structs.fields(cls) if (v := _fit(mapping, f)) is not UNSET})


def _fit(mapping: Mapping[str, Any], field: msgspec.structs.FieldInfo) -> Any:
    if field.encode_name not in mapping:
        return UNSET
    try:
        return msgspec.convert(mapping[field.encode_name], field.type)
    except (msgspec.ValidationError, RecursionError):
        return UNSET


def error_detail(value: object) -> ErrorDetail:
    """An error in any of its forms: the object, with a number as its code at some services, or a bare text."""
    if isinstance(value, str):
        return ErrorDetail(message=value)
    if isinstance(value, Mapping) and isinstance(value.get("code"), int):
        value = {**value, "code": str(value["code"])}
    return view(ErrorDetail, value)


_FLAT_FORMATS = {"pcm16": "audio/pcm", "g711_ulaw": "audio/pcmu", "g711_alaw": "audio/pcma"}


def audio_format(source: Mapping[str, Any], side: str) -> AudioFormat | None:
    """The `input` or `output` format that a session or a response names, nested (GA) or flat (beta)."""
    audio = source.get("audio")
    half = audio.get(side) if isinstance(audio, dict) else None
    value = half.get("format") if isinstance(half, dict) else source.get(f"{side}_audio_format")
    if isinstance(value, str):
        return AudioFormat(type=_FLAT_FORMATS.get(value, value))
    return view(AudioFormat, value) if isinstance(value, dict) else None


def answers_turns(session: Mapping[str, Any]) -> bool:
    """Whether a session says that the service replies to each end of speech by itself, nested (GA) or flat (beta)."""
    audio = session.get("audio")
    half = audio.get("input") if isinstance(audio, dict) else None
    detection = half.get("turn_detection") if isinstance(half, dict) else session.get("turn_detection")
    return isinstance(detection, dict) and detection.get("create_response") is True


def given(value: T | Unset | None) -> T | None:
    """The value, or `None` where the field is absent."""
    return None if isinstance(value, UnsetType) else value


def present(**fields: Any) -> JSON:
    """A mapping of the fields that are not `None`."""
    return {name: value for name, value in fields.items() if value is not None}
