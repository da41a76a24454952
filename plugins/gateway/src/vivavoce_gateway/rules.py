"""What a session refuses before anything changes: what its provider cannot do, and what is too much."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from vivavoce_openai_realtime.protocol import Fault, shaping
from vivavoce_openai_realtime.protocol import client_events as wire
from vivavoce_openai_realtime.protocol.values import given

from vivavoce_gateway.backend import Backend

__all__ = ["Rules"]

_LONGEST_ID = 512
_ITEMS = ("message", "function_call", "function_call_output", "item_reference")


class Rules:
    """`check` is what `ServerProtocol` asks of every client event. `provider` is set once there is one."""

    def __init__(self, kind: str, max_items: int) -> None:
        self._kind = kind
        self._items_left = max_items
        self._max_items = max_items
        self.backend: Backend | None = None
        self._checks: Mapping[type, Callable[[Any], None]] = {
            wire.SessionUpdate: self._session,
            wire.TranscriptionSessionUpdate: self._session,
            wire.ConversationItemCreate: self._item,
            wire.InputAudioBufferCommit: self._turns,
            wire.ResponseCreate: self._response,
        }

    def check(self, event: wire.ClientEvent) -> None:
        """Raises `Fault`."""
        if len(given(event.event_id) or "") > _LONGEST_ID:
            raise Fault("invalid_value", f"An event_id has at most {_LONGEST_ID} characters.", "event_id")
        check = self._checks.get(type(event))
        if check is not None:
            check(event)

    def settings(self, session: Mapping[str, Any]) -> None:
        """The settings of a session, in either shape. Raises `Fault`."""
        nested, _ = shaping.to_ga(session)
        self._shared(nested, "session")
        turns = _inside(nested, "audio", "input").get("turn_detection")
        if isinstance(turns, Mapping) and turns.get("idle_timeout_ms") and self._provider.takes_turns:
            raise _cannot("take idle timeouts", "session.audio.input.turn_detection.idle_timeout_ms")

    def _session(self, event: wire.SessionUpdate | wire.TranscriptionSessionUpdate) -> None:
        self.settings(event.session)

    @property
    def _provider(self) -> Backend:
        assert self.backend is not None, "a session answers no event before its provider is there"
        return self.backend

    def _shared(self, nested: Mapping[str, Any], where: str) -> None:
        modalities = nested.get("output_modalities")
        if isinstance(modalities, list) and len(modalities) != 1:
            text = f"Invalid value for '{where}.output_modalities': expected ['audio'] or ['text']."
            raise Fault("invalid_value", text, f"{where}.output_modalities")
        if nested.get("prompt") is not None:
            raise _cannot("use stored prompts", f"{where}.prompt")
        tools = nested.get("tools")
        if tools:
            if not self._provider.can("tools"):
                raise _cannot("call functions", f"{where}.tools")
            self._tools(tools, f"{where}.tools")
        output = _inside(nested, "audio", "output")
        if output.get("speed", 1) not in (1, 1.0):
            raise _cannot("speak at another speed", f"{where}.audio.output.speed")
        voice = output.get("voice")
        if isinstance(voice, Mapping):
            raise _cannot("use custom voices", f"{where}.audio.output.voice")
        if isinstance(voice, str) and not self._provider.knows_voice(voice):
            message = f"Invalid value: '{voice[:64]}'. Supported values are: {self._provider.voice_names}."
            raise Fault("invalid_value", message, f"{where}.audio.output.voice")

    def _tools(self, tools: Any, where: str) -> None:
        for index, tool in enumerate(tools if isinstance(tools, list) else ()):
            if isinstance(tool, Mapping) and tool.get("type") == "mcp":
                raise _cannot("use MCP servers", f"{where}[{index}].type")
            name = tool.get("name") if isinstance(tool, Mapping) else None
            if isinstance(name, str) and not (0 < len(name) <= 64 and name.replace("-", "_").isidentifier()):
                text = f"Invalid value for '{where}[{index}].name': expected 1 to 64 letters, digits, _ or -."
                raise Fault("invalid_value", text, f"{where}[{index}].name")

    def _item(self, event: wire.ConversationItemCreate) -> None:
        if self._items_left <= 0:
            raise Fault(
                "item_limit_exceeded", f"A session takes at most {self._max_items} items of its client."
            )
        self._content([event.item], "item", indexed=False)
        written = any(part.get("type") != "input_audio" for part in _parts(event.item))
        if event.item.get("type") == "message" and written and not self._provider.can("text"):
            raise _cannot("take text", "item.content")
        self._items_left -= 1

    def _turns(self, event: wire.InputAudioBufferCommit) -> None:
        if self._provider.takes_turns:
            raise _cannot("take turns by hand", None)

    def _response(self, event: wire.ResponseCreate) -> None:
        if self._kind == "transcription":
            raise Fault("invalid_value", "A transcription session gives no responses.", "type")
        if not self._provider.can("turns"):
            raise _cannot("be asked for a response: it answers by itself", None)
        params = given(event.response)
        if not isinstance(params, Mapping):
            return
        nested, _ = shaping.response_to_ga(params)
        self._shared(nested, "response")
        items = nested.get("input")
        if isinstance(items, list):
            self._content(items, "response.input", indexed=True)
            for index, item in enumerate(items):
                if any(part.get("type") == "input_audio" for part in _parts(item)):
                    raise _cannot("take audio as a response's input", f"response.input[{index}].content")

    def _content(self, items: Iterable[Any], where: str, *, indexed: bool) -> None:
        for number, item in enumerate(items):
            place = f"{where}[{number}]" if indexed else where
            kind = item.get("type") if isinstance(item, Mapping) else None
            if isinstance(kind, str) and kind.startswith("mcp"):
                raise _cannot("use MCP servers", f"{place}.type")
            if indexed and kind not in _ITEMS:
                text = f"Invalid value for '{place}.type': expected {' or '.join(_ITEMS)}."
                raise Fault("invalid_value", text, f"{place}.type")
            for index, part in enumerate(_parts(item)):
                if part.get("type") == "input_image":
                    raise _cannot("see images", f"{place}.content[{index}].type")


def _parts(item: Any) -> list[Mapping[str, Any]]:
    content = item.get("content") if isinstance(item, Mapping) else None
    return [part for part in content if isinstance(part, Mapping)] if isinstance(content, list) else []


def _inside(settings: Mapping[str, Any], *path: str) -> Mapping[str, Any]:
    found: Any = settings
    for name in path:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _cannot(what: str, param: str | None) -> Fault:
    return Fault("invalid_value", f"The provider behind this model cannot {what}.", param)
