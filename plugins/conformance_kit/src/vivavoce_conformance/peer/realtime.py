"""The OpenAI Realtime protocol, as a service speaks it: the server half of the protocol's own package."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qs, urlsplit

from vivavoce_openai_realtime.protocol import ServerProtocol, decode_mapping
from vivavoce_openai_realtime.protocol import client_events as wire

from vivavoce_conformance.peer.dialect import Asked, Frame, PeerDialect

__all__ = ["RealtimeDialect"]


def _configured(event: wire.SessionUpdate) -> Asked:
    session = event.session
    tools = [tool.get("name") for tool in session.get("tools") or ()]
    data = {"instructions": session.get("instructions"), "tools": tools, "has_tools": "tools" in session}
    return Asked("configure", data)


def _item(event: wire.ConversationItemCreate) -> Asked:
    item = event.item
    if item.get("type") == "function_call_output":
        return Asked("tool_result", {"call_id": item.get("call_id"), "output": item.get("output")})
    if item.get("type") != "message":
        return Asked("text", {"role": "tool", "text": ""})
    text = "".join(str(part.get("text", "")) for part in item.get("content") or ())
    return Asked("text", {"role": item.get("role"), "text": text})


def _truncate(event: wire.ConversationItemTruncate) -> Asked:
    return Asked("truncate", {"item_id": event.item_id, "ms": event.audio_end_ms})


_ASKED: dict[type, Any] = {
    wire.SessionUpdate: _configured,
    wire.InputAudioBufferAppend: lambda event: Asked("audio", audio=event.audio),
    wire.InputAudioBufferCommit: lambda event: Asked("commit"),
    wire.InputAudioBufferClear: lambda event: Asked("clear"),
    wire.ConversationItemCreate: _item,
    wire.ConversationItemTruncate: _truncate,
    wire.ConversationItemDelete: lambda event: Asked("delete", {"item_id": event.item_id}),
    wire.ResponseCreate: lambda event: Asked("respond", token=event),
    wire.ResponseCancel: lambda event: Asked("cancel"),
}


_OBSERVED = {"session.updated": Asked("ready"), "response.created": Asked("begun")}


def _protocol(model: str) -> ServerProtocol:
    # A service that transcribes says so in its session.
    heard = {"audio": {"input": {"transcription": {"model": "conformance"}}}}
    return ServerProtocol(model=model, session=heard)


class RealtimeDialect(PeerDialect):
    """Over `ServerProtocol`: what it refuses is recorded as `wrong`."""

    def __init__(self) -> None:
        self.protocol = _protocol("conformance")

    def request(self, path: str) -> None:
        asked = parse_qs(urlsplit(path).query).get("model")
        if asked:
            self.protocol = _protocol(asked[0])

    def open(self) -> Sequence[Frame]:
        self.protocol.session_created()
        return self._out()

    def receive(self, frame: Frame) -> tuple[Sequence[Asked], Sequence[Frame]]:
        if isinstance(frame, bytes):
            self.protocol.receive_binary(frame)
            return [Asked("wrong", {"reason": "a binary message"})], self._out()
        asked = [self._asked(event) for event in self.protocol.receive_text(frame.encode())]
        out = self._out()
        for text in out:
            refused = decode_mapping(text.encode())
            if isinstance(refused, dict) and refused.get("type") == "error":
                asked.append(Asked("wrong", {"reason": str(refused["error"].get("message"))}))
        return [one for one in asked if one is not None], out

    def _asked(self, event: Any) -> Asked | None:
        make = _ASKED.get(type(event))
        if isinstance(event, wire.InputAudioBufferCommit):
            self.protocol.commit()
        return make(event) if make is not None else None

    def begin(self, token: Any) -> Sequence[Frame]:
        self.protocol.begin_response(token)
        return self._out()

    def audio(self, pcm: bytes) -> Sequence[Frame]:
        self.protocol.audio(pcm)
        return self._out()

    def text(self, delta: str) -> Sequence[Frame]:
        self.protocol.text(delta)
        return self._out()

    def tool_call(self, name: str, arguments: str, call_id: str) -> Sequence[Frame]:
        self.protocol.function_call(name, arguments, call_id)
        return self._out()

    def finish(self, status: str) -> Sequence[Frame]:
        reasons = {"cancelled": "client_cancelled", "incomplete": "max_output_tokens"}
        self.protocol.finish_response(status, reasons.get(status))
        return self._out()

    def error(self, code: str, message: str) -> Sequence[Frame]:
        from vivavoce_openai_realtime.protocol import Fault

        self.protocol.error(Fault(code, message))
        return self._out()

    def refuse(self, token: Any, code: str, message: str) -> Sequence[Frame]:
        self.protocol.refuse(token, code, message)
        return self._out()

    def speech(self, text: str | None, at_ms: int, ends_ms: int) -> Sequence[Frame]:
        item = self.protocol.speech_started(at_ms)
        self.protocol.speech_stopped(ends_ms, item)
        self.protocol.commit(item)
        if text is not None:
            self.protocol.transcription_delta(item, text[: len(text) // 2])
            self.protocol.transcription_delta(item, text[len(text) // 2 :])
            self.protocol.transcription_completed(item, text)
        return self._out()

    def speech_started(self, at_ms: int) -> Sequence[Frame]:
        self.protocol.speech_started(at_ms)
        return self._out()

    def unknown(self) -> Sequence[Frame]:
        return ['{"type": "response.hologram.delta", "event_id": "event_1", "delta": {"x": [1, 2]}}']

    def malformed(self) -> Sequence[Frame]:
        return ['{"type": "response.done", "response":', "[]", '{"type": 7}', "\u0000"]

    def observe(self, frame: Frame) -> Sequence[Asked]:
        said = decode_mapping(frame.encode()) if isinstance(frame, str) else None
        if not isinstance(said, dict):
            return ()
        if said.get("type") == "error":
            error = said.get("error") or {}
            return [Asked("refused", {"reason": f"{error.get('code')}: {error.get('message')}"})]
        kind = _OBSERVED.get(str(said.get("type")))
        return [kind] if kind is not None else ()

    def _out(self) -> list[str]:
        return [frame.decode() for frame in self.protocol.data_to_send()]
