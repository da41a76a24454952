"""The protocol's shapes as the core's values, and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from vivavoce import AudioFormat, Item, Tool, VoiceError
from vivavoce.errors import ConnectError, ProviderError
from vivavoce.events import Usage
from vivavoce.redaction import redact
from vivavoce_openai_realtime.protocol.values import AudioFormat as WireFormat

__all__ = [
    "arguments_text",
    "audio_format",
    "error_of",
    "history_item",
    "message_text",
    "reply_options",
    "tools_of",
    "usage_of",
]

JSON = dict[str, Any]
_ENCODINGS = {"audio/pcm": "pcm16", "audio/pcmu": "pcmu", "audio/pcma": "pcma"}


def audio_format(wire: WireFormat) -> AudioFormat:
    """A format of the protocol as one of the core."""
    return AudioFormat(wire.sample_rate, 1, _ENCODINGS[wire.type])  # type: ignore[arg-type]


def tools_of(tools: Iterable[Mapping[str, Any]]) -> list[Tool]:
    """The client's functions, as tools that it runs itself."""
    nothing = {"type": "object", "properties": {}}
    return [
        Tool(tool["name"], tool.get("description") or "", tool.get("parameters") or nothing, None)
        for tool in tools
    ]


def message_text(item: Mapping[str, Any]) -> str:
    """The text of a message: what was written, and the transcripts of what was said."""
    parts = item.get("content") or ()
    return "\n".join(text for part in parts if (text := part.get("text") or part.get("transcript")))


def history_item(item: Mapping[str, Any], transcripts: Mapping[str, str]) -> Item | None:
    """An item of the protocol's conversation as one of the core's, or `None` if there is nothing to keep."""
    kind, id = item.get("type"), item.get("id")
    if kind == "function_call":
        return Item(
            type="tool_call",
            id=id,
            call_id=item.get("call_id") or id,
            name=item["name"],
            arguments=item["arguments"],
        )
    if kind == "function_call_output":
        return Item(type="tool_result", id=id, call_id=item["call_id"], output=item["output"])
    if kind != "message":
        return None
    text = message_text(item) or transcripts.get(str(id), "")
    return Item(role=item["role"], text=text, id=id) if text else None


def reply_options(
    session: Mapping[str, Any], params: Mapping[str, Any], items: Iterable[Item] | None
) -> JSON:
    """`answer()`'s options for a `response.create` with GA's `params`. `items`: what `params["input"]` holds."""
    options: JSON = {}
    if (params.get("output_modalities") or session["output_modalities"]) == ["text"]:
        options["text_only"] = True
    if params.get("instructions") is not None:
        options["instructions"] = params["instructions"]
    if params.get("tools") is not None:
        options["tools"] = tools_of(params["tools"])
    choice = params.get("tool_choice", session["tool_choice"])
    if choice != "auto":
        options["tool_choice"] = choice["name"] if isinstance(choice, dict) else choice
    if items is not None:
        options["input"] = list(items)
    if params.get("conversation") == "none":
        options["out_of_band"] = True
    return options


def arguments_text(arguments: Any) -> str:
    """A call's arguments as the JSON text that the protocol carries."""
    if isinstance(arguments, (str, bytes)):
        return arguments if isinstance(arguments, str) else arguments.decode()
    return msgspec.json.encode(arguments or {}).decode()


def usage_of(usage: Usage | None, output_ms: float) -> JSON:
    """`response.done`'s usage. Where the provider counts no tokens, those that its audio would be at OpenAI: one per 100 ms
    of the user's, one per 50 ms of the model's."""
    usage = usage or Usage()
    heard, spoken = usage.input_audio_tokens, usage.output_audio_tokens
    if not usage.total_tokens:
        heard, spoken = (
            round(usage.input_seconds * 10),
            round((usage.output_seconds or output_ms / 1000) * 20),
        )
    given = usage.input_text_tokens + usage.input_image_tokens + heard
    made = usage.output_text_tokens + spoken
    return {
        "total_tokens": given + made,
        "input_tokens": given,
        "output_tokens": made,
        "input_token_details": {
            "text_tokens": usage.input_text_tokens,
            "audio_tokens": heard,
            "image_tokens": usage.input_image_tokens,
            "cached_tokens": usage.cached_tokens,
            "cached_tokens_details": {
                "text_tokens": usage.cached_text_tokens,
                "audio_tokens": usage.cached_audio_tokens,
                "image_tokens": usage.cached_image_tokens,
            },
        },
        "output_token_details": {"text_tokens": usage.output_text_tokens, "audio_tokens": spoken},
    }


def error_of(error: VoiceError) -> tuple[str, str]:
    """Code and text of a provider's error as a client may see them: without keys, and without where the provider lives."""
    code = error.code or "provider_error"
    if isinstance(error, ConnectError):
        return code, "The provider could not be reached."
    if isinstance(error, ProviderError):
        return code, redact(str(error))
    return code, redact(f"The provider failed: {error}")
