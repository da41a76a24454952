"""The server half of the protocol: no I/O, no clock, no loop. For gateways and for tests.

    protocol = ServerProtocol(model="gpt-realtime-2.1")
    protocol.session_created()
    for event in protocol.receive_text(frame): ...     # a client event that is right and waits for the service
    for frame in protocol.data_to_send(): ...

What needs no model is answered here: `session.update`, items, `clear`, and every refusal. What is handed on and waits
for a verb of the service: `InputAudioBufferAppend` (none), `InputAudioBufferCommit` (`commit`), `ResponseCreate`
(`begin_response` or `refuse`), `ResponseCancel` (`finish_response("cancelled", "client_cancelled")`). Everything else
is handed on for information. Nothing a peer sends raises; a verb at the wrong time raises `ValueError`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from . import client_events as wire
from . import shaping, states
from .codec import Frame, Malformed, UnknownEvent, b64encode, decode_client_event, decode_mapping
from .conversation import Conversation
from .faults import Fault, close_for, fault_of_frame, invalid
from .server_replies import ServerReply
from .server_shapes import random_id, to_beta, without_audio
from .session_rules import check_response, default_session, updated_session
from .states import SessionState, step
from .values import JSON, AudioFormat, audio_format, given

__all__ = ["ServerProtocol"]

MAX_AUDIO = 15 * 1024 * 1024
MIN_COMMIT_MS = 100

_encode = msgspec.json.Encoder().encode


class ServerProtocol:
    """One session, as the service's end sees it.

    `kind` is `realtime` or `transcription`. `beta`: speak the flat protocol with its names; `None`: when the first
    `session.update` does. `new_id` is given a prefix (`event`, `sess`, `conv`, `item`, `resp`, `call`) and returns an
    id of at most 32 characters that needs no escaping in JSON. `session` is merged over the defaults. `stored_audio`
    gives the audio of an item for `conversation.item.retrieve`. `check` raises `Fault` for an event (not an append) that
    this service refuses, before anything has changed.
    """

    def __init__(
        self,
        *,
        model: str,
        kind: str = "realtime",
        beta: bool | None = None,
        session: Mapping[str, Any] | None = None,
        expires_at: int | None = None,
        new_id: Callable[[str], str] = random_id,
        stored_audio: Callable[[str], bytes | None] = lambda item_id: None,
        check: Callable[[wire.ClientEvent], None] = lambda event: None,
    ) -> None:
        self.state = SessionState.CONNECTING
        self.beta = bool(beta)
        self._choose = beta is None
        self._new_id = new_id
        self._stored_audio = stored_audio
        self._check = check
        self.session = shaping.deep_merge(default_session(model, kind=kind), session or {})
        self.session |= {"id": new_id("sess")}
        if expires_at is not None:
            self.session["expires_at"] = expires_at
        self.conversation_id = new_id("conv")
        self.conversation = Conversation(new_id)
        self.active_response: str | None = None
        self.buffered = 0
        """Bytes appended since the last commit or clear."""
        self._replies: dict[str, ServerReply] = {}
        self._asked = False  # a response.create was handed on and not begun
        self._spoken = False
        self._out: list[bytes] = []
        self._handlers = self._table()

    def data_to_send(self) -> list[bytes]:
        """The text frames queued since the last call, in order."""
        out = self._out[:]
        self._out.clear()
        return out

    @property
    def input_format(self) -> AudioFormat:
        return audio_format(self.session, "input") or AudioFormat(rate=24_000)

    @property
    def output_format(self) -> AudioFormat:
        return audio_format(self.session, "output") or AudioFormat(rate=24_000)

    # --- receiving

    def receive_text(self, frame: Frame) -> Sequence[wire.ClientEvent]:
        """The client event of a frame, if it is right; a wrong one is answered by `error`. Never raises."""
        event = decode_client_event(frame)
        if event.__class__ is wire.InputAudioBufferAppend and len(event.audio) <= MAX_AUDIO:
            self.buffered += len(event.audio)
            return (event,)
        if isinstance(event, Malformed | UnknownEvent):
            self._reject(frame, event)
            return ()
        try:
            self._check(event)
            self._handlers[type(event)](event)
        except Fault as fault:
            self.error(fault, given(event.event_id))
            return ()
        except RecursionError:
            self.error(Fault("invalid_event", "The event is nested too deeply."), given(event.event_id))
            return ()
        return (event,)

    def receive_binary(self, data: bytes) -> Sequence[wire.ClientEvent]:
        """A binary frame is no event."""
        self.error(Fault("invalid_event", "Events are text frames."))
        return ()

    def receive_eof(self) -> None:
        self.state = step(states.SESSION, self.state, "close") or self.state

    # --- the session

    def session_created(self) -> None:
        """Introduces the session; before anything else."""
        self.state = step(states.SESSION, self.state, "created") or self.state
        name = "transcription_session.created" if self.beta and self._transcribes else "session.created"
        self._emit(name, {"session": self._shown()})

    def error(self, fault: Fault, event_id: str | None = None) -> None:
        """An `error` that does not end the session. `event_id` is that of the client event at fault."""
        self._emit("error", {"error": fault.detail(event_id)})

    def refuse(self, event: wire.ClientEvent, code: str, message: str, param: str | None = None) -> None:
        """Refuses a client event that was handed on."""
        if isinstance(event, wire.ResponseCreate):
            self._asked = False
        self.error(Fault(code, message, param), given(event.event_id))

    def fatal(self, code: str, message: str) -> tuple[int, str]:
        """Ends the session: queues the `error`, and returns the close code and reason to close with."""
        self.error(Fault(code, message))
        self.receive_eof()
        return close_for(code, message)

    # --- input

    def speech_started(self, at_ms: int, item_id: str | None = None) -> str:
        """Speech began `at_ms` into the session's audio; returns the id that the user's item will have."""
        item_id = item_id or self._new_id("item")
        self._emit("input_audio_buffer.speech_started", {"audio_start_ms": at_ms, "item_id": item_id})
        return item_id

    def speech_stopped(self, at_ms: int, item_id: str) -> None:
        self._emit("input_audio_buffer.speech_stopped", {"audio_end_ms": at_ms, "item_id": item_id})

    def timeout_triggered(self, start_ms: int, end_ms: int, item_id: str) -> None:
        """Nobody spoke for `idle_timeout_ms`; `commit(item_id)` follows."""
        fields = {"audio_start_ms": start_ms, "audio_end_ms": end_ms, "item_id": item_id}
        self._emit("input_audio_buffer.timeout_triggered", fields)

    def commit(self, item_id: str | None = None) -> str:
        """Makes the buffer a user item, and returns its id."""
        item: JSON = {
            "id": item_id or self._new_id("item"),
            "object": "realtime.item",
            "type": "message",
            "status": "completed",
            "role": "user",
            "content": [{"type": "input_audio", "transcript": None}],
        }
        previous = self.conversation.add(item)
        self.buffered = 0
        self._emit("input_audio_buffer.committed", {"previous_item_id": previous, "item_id": item["id"]})
        self._item_made(item, previous)
        return str(item["id"])

    def transcription_delta(self, item_id: str, delta: str) -> None:
        self._transcription("delta", item_id, {"delta": delta})

    def transcription_completed(
        self, item_id: str, transcript: str, usage: Mapping[str, Any] | None = None
    ) -> None:
        """`usage` is in tokens or `{"type": "duration", "seconds": ...}`."""
        self.conversation.transcribed(item_id, transcript)
        self._transcription(
            "completed",
            item_id,
            {"transcript": transcript, "usage": usage or {"type": "duration", "seconds": 0}},
        )

    def transcription_failed(self, item_id: str, message: str, code: str | None = None) -> None:
        error = {"type": "transcription_error", "code": code, "message": message, "param": None}
        self._transcription("failed", item_id, {"error": error})

    # --- replies

    def begin_response(self, request: wire.ResponseCreate | None = None) -> str:
        """Begins a reply, asked for or (at the end of speech) not; returns its id."""
        params: JSON = (
            check_response(given(request.response) or {}, flat=self.beta) if request is not None else {}
        )
        if params.get("conversation") != "none":
            if self.active_response is not None:
                raise ValueError(f"the response {self.active_response} is still active")
            self._asked = False
        reply = ServerReply(
            self._emit,
            self._out.append,
            self._new_id,
            self.conversation,
            self.session,
            params,
            conversation_id=self.conversation_id,
            beta=self.beta,
        )
        self._replies[reply.id] = reply
        if not reply.out_of_band:
            self.active_response = reply.id
        return reply.id

    def open_message(self, response_id: str | None = None, *, spoken: bool | None = None) -> str:
        """Begins a message (also after another one in the same reply); returns its item id."""
        return self._reply(response_id).open_message(spoken=spoken)

    def audio(self, pcm: bytes | bytearray | memoryview, response_id: str | None = None) -> None:
        """Audio of the reply, in `output_format`."""
        self._spoken = True
        self._reply(response_id).audio(pcm)

    def text(self, delta: str, response_id: str | None = None) -> None:
        """Text of the reply: of a spoken message the transcript."""
        self._reply(response_id).text(delta)

    def close_message(self, response_id: str | None = None) -> None:
        self._reply(response_id).close_message()

    def function_call(
        self, name: str, arguments: str, call_id: str | None = None, response_id: str | None = None
    ) -> str:
        """A whole function call; returns its call id."""
        return self._reply(response_id).function_call(name, arguments, call_id)

    def finish_response(
        self,
        status: str = "completed",
        reason: str | None = None,
        *,
        error: Mapping[str, Any] | None = None,
        usage: Mapping[str, Any] | None = None,
        response_id: str | None = None,
    ) -> None:
        """Ends the reply as `completed`, `cancelled`, `incomplete` or `failed`."""
        reply = self._reply(response_id)
        reply.finish(status, reason, error, usage)
        del self._replies[reply.id]
        if self.active_response == reply.id:
            self.active_response = None
        self._emit("rate_limits.updated", {"rate_limits": []})

    # --- what clients ask

    def _table(self) -> dict[type, Callable[[Any], None]]:
        return {
            wire.SessionUpdate: self._session_update,
            wire.TranscriptionSessionUpdate: self._session_update,
            wire.InputAudioBufferAppend: self._append_too_large,
            wire.InputAudioBufferCommit: self._check_commit,
            wire.InputAudioBufferClear: self._clear,
            wire.ConversationItemCreate: self._item_create,
            wire.ConversationItemRetrieve: self._item_retrieve,
            wire.ConversationItemTruncate: self._item_truncate,
            wire.ConversationItemDelete: self._item_delete,
            wire.ResponseCreate: self._response_create,
            wire.ResponseCancel: self._response_cancel,
            wire.OutputAudioBufferClear: _nothing,
            wire.SessionInputAudioBufferAppend: _not_here,
            wire.SessionClose: _not_here,
        }

    def _session_update(self, event: wire.SessionUpdate | wire.TranscriptionSessionUpdate) -> None:
        if self._choose and "type" not in event.session and event.session.keys() & shaping.FLAT_PLACES.keys():
            self.beta = True
        self._choose = False
        self.session = updated_session(self.session, event.session, flat=self.beta, spoken=self._spoken)
        self.state = step(states.SESSION, self.state, "updated") or self.state
        name = (
            "transcription_session.updated"
            if isinstance(event, wire.TranscriptionSessionUpdate)
            else "session.updated"
        )
        self._emit(name, {"session": self._shown()})

    def _append_too_large(self, event: wire.InputAudioBufferAppend) -> None:
        raise invalid("audio", f"at most {MAX_AUDIO} bytes of audio")

    def _check_commit(self, event: wire.InputAudioBufferCommit) -> None:
        has = self.input_format.milliseconds(self.buffered)
        if has < MIN_COMMIT_MS:
            message = f"Error committing input audio buffer: buffer too small. Expected at least {MIN_COMMIT_MS}ms of audio, but buffer only has {has}ms of audio."
            raise Fault("input_audio_buffer_commit_empty", message)

    def _clear(self, event: wire.InputAudioBufferClear) -> None:
        self.buffered = 0
        self._emit("input_audio_buffer.cleared", {})

    def _item_create(self, event: wire.ConversationItemCreate) -> None:
        item, previous = self.conversation.create(
            shaping.item_to_ga(event.item), given(event.previous_item_id)
        )
        self._item_made(without_audio(item), previous)

    def _item_retrieve(self, event: wire.ConversationItemRetrieve) -> None:
        item = self.conversation.retrieve(event.item_id)
        audio = self._stored_audio(event.item_id)
        if audio is not None and item.get("content"):
            first = {**item["content"][0], "audio": b64encode(audio).decode()}
            item = {**item, "content": [first, *item["content"][1:]]}
        self._emit("conversation.item.retrieved", {"item": item})

    def _item_truncate(self, event: wire.ConversationItemTruncate) -> None:
        self.conversation.truncate(event.item_id, event.content_index, event.audio_end_ms)
        fields = {
            "item_id": event.item_id,
            "content_index": event.content_index,
            "audio_end_ms": event.audio_end_ms,
        }
        self._emit("conversation.item.truncated", fields)

    def _item_delete(self, event: wire.ConversationItemDelete) -> None:
        self.conversation.delete(event.item_id)
        self._emit("conversation.item.deleted", {"item_id": event.item_id})

    def _response_create(self, event: wire.ResponseCreate) -> None:
        params = check_response(given(event.response) or {}, flat=self.beta)
        if params.get("conversation") == "none":
            return
        if self.active_response is not None or self._asked:
            active = self.active_response or "one that is about to begin"
            message = f"Conversation already has an active response in progress: {active}. Wait until the response is finished before creating a new one."
            raise Fault("conversation_already_has_active_response", message)
        self._asked = True

    def _response_cancel(self, event: wire.ResponseCancel) -> None:
        wanted = given(event.response_id) or self.active_response
        if wanted not in self._replies:
            raise Fault("response_cancel_not_active", "Cancellation failed: no active response found")

    # --- inside

    @property
    def _transcribes(self) -> bool:
        return bool(self.session["type"] == "transcription")

    def _reply(self, response_id: str | None) -> ServerReply:
        reply = self._replies.get(response_id or self.active_response or "")
        if reply is None:
            raise ValueError("no such response is active")
        return reply

    def _shown(self) -> JSON:
        if not self.beta:
            return self.session
        return shaping.to_flat({k: v for k, v in self.session.items() if k != "type"})[0]

    def _item_made(self, item: JSON, previous: str | None) -> None:
        for name in ("conversation.item.added", "conversation.item.done"):
            self._emit(name, {"previous_item_id": previous, "item": item})

    def _transcription(self, name: str, item_id: str, fields: JSON) -> None:
        fields = {"item_id": item_id, "content_index": 0, **fields}
        self._emit(f"conversation.item.input_audio_transcription.{name}", fields)

    def _emit(self, name: str, fields: JSON) -> None:
        if self.beta:
            shaped = to_beta(name, fields)
            if shaped is None:
                return
            name, fields = shaped
        self._out.append(_encode({"type": name, "event_id": self._new_id("event"), **fields}))

    def _reject(self, frame: Frame, event: Malformed | UnknownEvent) -> None:
        raw = event.raw if isinstance(event, UnknownEvent) else decode_mapping(frame)
        event_id = raw.get("event_id") if isinstance(raw, dict) else None
        reason = event.reason if isinstance(event, Malformed) else ""
        self.error(fault_of_frame(raw, reason), event_id if isinstance(event_id, str) else None)


def _nothing(event: wire.ClientEvent) -> None:
    """Nothing to answer."""


def _not_here(event: wire.ClientEvent) -> None:
    raise Fault("invalid_value", "This event belongs to a translation session.", "type")
