"""Replies as a service sends them: every event of one, in the order in which OpenAI sends them.

    response.created
      per item      output_item.added, conversation.item.added, then per part content_part.added, deltas,
                    output_audio.done, output_audio_transcript.done, content_part.done,
                    conversation.item.done, output_item.done
    response.done, rate_limits.updated

Out of band there are no `conversation.item.*`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from . import shaping, states
from .codec import b64encode
from .conversation import Conversation
from .states import ResponseState, step
from .values import JSON, AudioFormat, audio_format, present

__all__ = ["Emit", "ServerReply"]

Emit = Callable[[str, JSON], None]
"""Queues an event: its GA name, and its fields."""


class ServerReply:
    """One response being given. The caller sees to it that the verbs come in an order that makes sense."""

    def __init__(
        self,
        emit: Emit,
        write: Callable[[bytes], None],
        new_id: Callable[[str], str],
        conversation: Conversation,
        session: Mapping[str, Any],
        params: Mapping[str, Any],
        *,
        conversation_id: str,
        beta: bool,
    ) -> None:
        self.id = new_id("resp")
        self.out_of_band = params.get("conversation") == "none"
        self.state = step(states.RESPONSE, None, "begin")
        self._emit, self._write, self._new_id = emit, write, new_id
        self._conversation = conversation
        self._beta = beta
        self._params = params
        self.modalities: list[str] = params.get("output_modalities") or session["output_modalities"]
        output = shaping.deep_merge(
            session["audio"]["output"], (params.get("audio") or {}).get("output") or {}
        )
        self.format = audio_format({"audio": {"output": output}}, "output") or AudioFormat(rate=24_000)
        self._voice = output.get("voice")
        self._max_tokens = params.get("max_output_tokens", session.get("max_output_tokens"))
        self._conversation_id = None if self.out_of_band else conversation_id
        self._output: list[JSON] = []
        self._message: JSON | None = None
        self._spoken = False
        self._text: list[str] = []
        self._audio_head = b""
        self._emit("response.created", {"response": self._object("in_progress")})

    # --- messages

    def open_message(self, *, spoken: bool | None = None) -> str:
        """Begins a message item with one part; `spoken` by default as the response's modalities say."""
        self.close_message()
        self._spoken = "audio" in self.modalities if spoken is None else spoken
        item: JSON = {
            "id": self._new_id("item"),
            "object": "realtime.item",
            "type": "message",
            "status": "in_progress",
            "role": "assistant",
            "content": [],
        }
        self._message, self._text = item, []
        self._add(item)
        part = {"type": "audio", "transcript": ""} if self._spoken else {"type": "text", "text": ""}
        self._emit("response.content_part.added", {**self._place(), "part": part})
        self._audio_head = self._head()
        return str(item["id"])

    def audio(self, pcm: bytes | bytearray | memoryview) -> None:
        """Audio in `format`; opens a message if none is open."""
        if self._message is None:
            self.open_message(spoken=True)
        assert self._message is not None
        event_id = self._new_id("event").encode()
        self._write(b"".join((self._audio_head, event_id, b'","delta":"', b64encode(pcm), b'"}')))
        self._conversation.heard(self._message["id"], len(pcm), self.format)

    def text(self, delta: str) -> None:
        """Text, or in a spoken message its transcript; opens a message if none is open."""
        if self._message is None:
            self.open_message()
        self._text.append(delta)
        name = "response.output_audio_transcript.delta" if self._spoken else "response.output_text.delta"
        self._emit(name, {**self._place(), "delta": delta})

    def close_message(self, *, complete: bool = True) -> None:
        """Ends the open message, if there is one."""
        if self._message is None:
            return
        place, whole = self._place(), "".join(self._text)
        if self._spoken:
            self._emit("response.output_audio.done", place)
            self._emit("response.output_audio_transcript.done", {**place, "transcript": whole})
            part: JSON = {"type": "audio", "transcript": whole}
            content: JSON = {"type": "output_audio", "transcript": whole}
        else:
            self._emit("response.output_text.done", {**place, "text": whole})
            part = {"type": "text", "text": whole}
            content = {"type": "output_text", "text": whole}
        self._emit("response.content_part.done", {**place, "part": part})
        done = {**self._message, "status": "completed" if complete else "incomplete", "content": [content]}
        self._message = None
        self._finish_item(done)

    # --- calls

    def function_call(self, name: str, arguments: str, call_id: str | None = None) -> str:
        """A whole call; `arguments` is a JSON text. Returns its call id."""
        self.close_message()
        call_id = call_id or self._new_id("call")
        item: JSON = {
            "id": self._new_id("item"),
            "object": "realtime.item",
            "type": "function_call",
            "status": "in_progress",
            "call_id": call_id,
            "name": name,
            "arguments": "",
        }
        self._add(item)
        place = {
            "response_id": self.id,
            "item_id": item["id"],
            "output_index": len(self._output),
            "call_id": call_id,
        }
        self._emit("response.function_call_arguments.delta", {**place, "delta": arguments})
        self._emit("response.function_call_arguments.done", {**place, "name": name, "arguments": arguments})
        self._finish_item({**item, "status": "completed", "arguments": arguments})
        return call_id

    # --- the end

    def finish(
        self,
        status: str,
        reason: str | None,
        error: Mapping[str, Any] | None,
        usage: Mapping[str, Any] | None,
    ) -> None:
        """`response.done`; a message that is still open ends with it."""
        self.close_message(complete=status == "completed")
        self.state = step(states.RESPONSE, self.state, "done") or ResponseState.DONE
        details = None if status == "completed" else present(type=status, reason=reason, error=error)
        self._emit("response.done", {"response": self._object(status, details, usage)})

    # --- inside

    def _place(self) -> JSON:
        item_id = self._message["id"] if self._message is not None else ""
        return {
            "response_id": self.id,
            "item_id": item_id,
            "output_index": len(self._output),
            "content_index": 0,
        }

    def _head(self) -> bytes:
        place = self._place()
        name = "response.audio.delta" if self._beta else "response.output_audio.delta"
        return (
            f'{{"type":"{name}","response_id":"{place["response_id"]}","item_id":"{place["item_id"]}",'
            f'"output_index":{place["output_index"]},"content_index":0,"event_id":"'
        ).encode()

    def _add(self, item: JSON) -> None:
        self._emit(
            "response.output_item.added",
            {"response_id": self.id, "output_index": len(self._output), "item": item},
        )
        if not self.out_of_band:
            previous = self._conversation.add(item)
            self._emit("conversation.item.added", {"previous_item_id": previous, "item": item})

    def _finish_item(self, item: JSON) -> None:
        if not self.out_of_band and self._conversation.get(item["id"]) is not None:
            order = self._conversation.order
            at = order.index(item["id"])
            self._conversation.finish(item["id"], item)
            self._emit(
                "conversation.item.done", {"previous_item_id": order[at - 1] if at else None, "item": item}
            )
        self._emit(
            "response.output_item.done",
            {"response_id": self.id, "output_index": len(self._output), "item": item},
        )
        self._output.append(item)

    def _object(
        self, status: str, details: JSON | None = None, usage: Mapping[str, Any] | None = None
    ) -> JSON:
        common: JSON = {
            "object": "realtime.response",
            "id": self.id,
            "status": status,
            "status_details": details,
            "output": list(self._output) if status != "in_progress" else [],
            "conversation_id": self._conversation_id,
            "usage": usage,
            "metadata": self._params.get("metadata"),
        }
        shape = {
            "format": present(
                type=self.format.type, rate=self.format.sample_rate if self.format.sample_bytes == 2 else None
            )
        }
        nested: JSON = {
            "output_modalities": self.modalities,
            "max_output_tokens": self._max_tokens,
            "audio": {"output": {**shape, "voice": self._voice}},
        }
        return {**common, **(shaping.response_to_flat(nested)[0] if self._beta else nested)}
