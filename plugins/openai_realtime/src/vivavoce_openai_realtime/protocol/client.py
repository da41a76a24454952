"""The client half of the protocol: no I/O, no clock, no loop.

    protocol = ClientProtocol()
    for event in protocol.receive_text(frame): ...      # what the service said, as `events`
    request_id = protocol.send_response()               # what the application wants
    for frame in protocol.data_to_send(): ...           # text frames, in order
    write(protocol.append(pcm))                         # audio goes past the queue

Nothing a peer sends raises. What the application does wrong raises `ValueError` and changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import count
from operator import attrgetter
from typing import Any

import msgspec

from . import response_events as response
from . import server_events as wire
from . import states
from .client_items import Items
from .codec import (
    APPEND_TAIL,
    BAD_INPUT,
    MAX_FRAME,
    Frame,
    Malformed,
    Peek,
    append_head,
    b64decode,
    b64encode,
    decode_peeked,
    encode_json,
    malformed,
    peek,
    too_large,
)
from .dialects import GA, Dialect
from .events import (
    Audio,
    Closed,
    Event,
    RateLimits,
    RequestFailed,
    ResponseFinished,
    ServerError,
    SessionReady,
    SessionUpdated,
)
from .replies import Replies
from .requests import TAG, Pending, Requests
from .states import SessionState, step
from .values import (
    JSON,
    AudioFormat,
    ErrorDetail,
    Item,
    Response,
    Session,
    answers_turns,
    audio_format,
    error_detail,
    given,
    view,
)

__all__ = ["ClientProtocol"]

_NONE: tuple[Event, ...] = ()


class ClientProtocol:
    """One session, as the application's end sees it. Not reusable: a new connection is a new object.

    `new_id` makes the event ids of requests (at most 512 characters, unique in the session).
    """

    def __init__(self, dialect: Dialect = GA, *, new_id: Callable[[], str] | None = None) -> None:
        self.dialect = dialect
        self.state = SessionState.CONNECTING
        self.session: JSON = {}
        """The service's last session object, untouched."""
        self.session_id: str | None = None
        self.input_format = AudioFormat(rate=24_000)
        self._new_id = new_id or map("req_{}".format, count(1)).__next__
        self._out: list[bytes] = []
        name = "input_audio_buffer.append"
        self._append_head = append_head(dialect.outgoing.get(name, name))
        self._last_error: ErrorDetail | None = None
        self._requests = Requests()
        self._replies = Replies(self._requests)
        self._items = Items(self._requests, self._replies)
        self._tracks = self._replies.tracks

    # --- what is known

    @property
    def output_format(self) -> AudioFormat:
        return self._replies.format

    @property
    def active_response(self) -> str | None:
        """The id of the running reply of the default conversation."""
        return self._replies.active

    @property
    def stale(self) -> int:
        """Events dropped because their reply was over, cancelled or cut."""
        return self._replies.stale

    @property
    def doubled(self) -> int:
        """Deltas dropped because the reply came under another name already."""
        return self._replies.doubled

    @property
    def pending(self) -> tuple[str, ...]:
        """Ids of the requests that were not answered yet, oldest first."""
        return self._requests.ids

    def received_ms(self, item_id: str, content_index: int = 0) -> int:
        """Milliseconds of audio received for a part of an item: the most that a truncation may keep."""
        return self._replies.received_ms(item_id, content_index)

    def data_to_send(self) -> list[bytes]:
        """The text frames queued since the last call, in order."""
        out = self._out[:]
        self._out.clear()
        return out

    # --- receiving

    def receive_text(self, frame: Frame) -> Sequence[Event]:
        """What one text frame means: usually one event, often none. Never raises."""
        if len(frame) > MAX_FRAME:
            return (too_large(frame),)
        try:
            head = peek(frame)
        except BAD_INPUT:
            return self._receive(frame, None)
        track = self._tracks.get(head.item_id)
        if (
            track is None
            or head.type != track.type
            or head.response_id != track.response_id
            or head.content_index != track.content_index
        ):
            return self._receive(frame, head)
        try:
            audio = b64decode(head.delta, None, True)
        except ValueError as error:
            return (malformed(frame, error),)
        if track.carry or len(audio) % track.sample_bytes or not audio:
            audio = track.align(audio)
            if not audio:
                return _NONE
        track.size += len(audio)
        self._last_error = None
        return (Audio(audio, track.response_id, track.item_id, track.content_index),)

    def receive_binary(self, data: bytes) -> Sequence[Event]:
        """A binary frame, which the protocol does not know."""
        return (
            _NONE
            if self.state is SessionState.CLOSED
            else (Malformed("a binary frame", f"{len(data)} bytes"),)
        )

    def receive_eof(self, code: int | None = None, reason: str = "") -> Sequence[Event]:
        """The connection has ended: `Closed`, the first time. Later frames mean nothing."""
        if self.state is SessionState.CLOSED:
            return _NONE
        self.state = step(states.SESSION, self.state, "close") or self.state
        closed = Closed(code, reason, self._last_error, self._requests.ids)
        self._requests.clear()
        self._tracks.clear()
        return (closed,)

    def _receive(self, frame: Frame, head: Peek | None) -> Sequence[Event]:
        if self.state is SessionState.CLOSED:
            return _NONE
        event = decode_peeked(frame, head, self.dialect.incoming)
        if isinstance(event, Malformed):
            return (event,)
        if not isinstance(event, wire.Error):
            self._last_error = None
        handler = _HANDLERS.get(type(event))
        return (event,) if handler is None else handler(self)(event)

    # --- sending

    def append(self, audio: bytes | bytearray | memoryview) -> bytes:
        """The frame for a piece of input audio, to be written at once: appends are not queued and never answered.

        Whole samples in `input_format`, at most 15 MiB.
        """
        return b"".join((self._append_head, b64encode(audio), APPEND_TAIL))

    def send_session(self, session: Mapping[str, Any]) -> str:
        """`session.update`, brought into the dialect's shape. Answered by `SessionUpdated` or `RequestFailed`."""
        shaped, _ = self.dialect.shape_session(session)
        if self.dialect.session_type is not None:
            shaped.setdefault("type", self.dialect.session_type)
        request_id = self._request("session.update", {"session": shaped})
        self.state = step(states.SESSION, self.state, "update") or self.state
        return request_id

    def send_item(self, item: Mapping[str, Any], previous_item_id: str | None = None) -> str:
        """`conversation.item.create`. `previous_item_id`: `None` is the end, `root` the beginning."""
        if not isinstance(item.get("type"), str):
            raise ValueError("an item needs a `type`: message, function_call_output, ...")
        shaped = self.dialect.item(item)
        fields: JSON = {"item": shaped}
        if previous_item_id is not None:
            fields["previous_item_id"] = previous_item_id
        key = item.get("id")
        made = key if isinstance(key, str) else None
        return self._request("conversation.item.create", fields, key=made, made=shaped)

    def send_retrieve(self, item_id: str) -> str:
        """`conversation.item.retrieve`. Answered by `ItemRetrieved`."""
        return self._request("conversation.item.retrieve", {"item_id": item_id}, key=item_id)

    def send_delete(self, item_id: str) -> str:
        """`conversation.item.delete`. What still arrives of the item's audio is stale."""
        request_id = self._request("conversation.item.delete", {"item_id": item_id}, key=item_id)
        self._replies.cut(item_id)
        return request_id

    def send_truncate(self, item_id: str, audio_end_ms: int, content_index: int = 0) -> str:
        """`conversation.item.truncate`: what was heard of an item, in whole milliseconds.

        Clamped to what was received, since more is an error at the service (and was seen to silence the session).
        """
        if audio_end_ms < 0 or content_index < 0:
            raise ValueError("`audio_end_ms` and `content_index` cannot be negative")
        end = min(int(audio_end_ms), self.received_ms(item_id, content_index))
        fields = {"item_id": item_id, "content_index": content_index, "audio_end_ms": end}
        request_id = self._request("conversation.item.truncate", fields, key=item_id)
        self._replies.cut(item_id)
        return request_id

    def send_commit(self) -> str:
        """`input_audio_buffer.commit`. Answered by `Committed`; starts no reply."""
        return self._request("input_audio_buffer.commit", {})

    def send_clear(self) -> str:
        """`input_audio_buffer.clear`. Answered by `Cleared`."""
        return self._request("input_audio_buffer.clear", {})

    def send_response(self, options: Mapping[str, Any] | None = None) -> str:
        """`response.create`. Answered by `ResponseStarted` or `RequestFailed`.

        `options` are the service's parameters (`conversation: "none"` is out of band). `ValueError` while another
        reply of the default conversation runs or is asked for: the service would refuse it.
        """
        options = dict(options or {})
        out_of_band = options.get("conversation") == "none"
        if not out_of_band and self._replies.active is not None:
            raise ValueError(
                f"the reply {self._replies.active} is still running; wait for its ResponseFinished"
            )
        if not out_of_band and self._requests.asked_for_reply():
            raise ValueError("a reply was asked for already; wait for its ResponseStarted or RequestFailed")
        params, _ = self.dialect.response(options)
        event_id = self._new_id()
        metadata = params.get("metadata") or {}
        if self.dialect.tags_responses and len(metadata) < 16:
            params["metadata"] = {**metadata, TAG: event_id}
        fields = {"response": params} if params else {}
        return self._request("response.create", fields, event_id=event_id, out_of_band=out_of_band)

    def send_cancel(self, response_id: str | None = None) -> str:
        """`response.cancel`, of the running reply by default. Answered by `ResponseFinished` or `RequestFailed`.

        What still arrives of that reply is stale from now on.
        """
        fields = {"response_id": response_id} if response_id else {}
        request_id = self._request("response.cancel", fields, key=response_id or self._replies.active)
        self._replies.cancel(response_id)
        return request_id

    def send_event(self, type: str, **fields: Any) -> str:
        """Any event, untouched. Its errors come as `RequestFailed` if they name it, its answers as what they are."""
        event_id = fields.pop("event_id", None) or self._new_id()
        self._write(type, event_id, fields)
        return str(event_id)

    def abandon(self, request_id: str) -> None:
        """Waits no longer for the answer to a request; one that still comes belongs to nobody."""
        self._requests.forget(request_id)

    def _request(
        self,
        type: str,
        fields: Mapping[str, Any],
        *,
        key: str | None = None,
        made: JSON | None = None,
        event_id: str | None = None,
        out_of_band: bool = False,
    ) -> str:
        event_id = event_id or self._new_id()
        self._write(type, event_id, fields)
        self._requests.add(Pending(event_id, type, key, made, out_of_band))
        return event_id

    def _write(self, type: str, event_id: str, fields: Mapping[str, Any]) -> None:
        if self.state is SessionState.CLOSED:
            raise ValueError("the session is closed")
        name = self.dialect.outgoing.get(type, type)
        try:
            self._out.append(encode_json({"type": name, "event_id": event_id, **fields}))
        except (TypeError, ValueError, RecursionError, msgspec.MsgspecError) as error:
            raise ValueError(f"{type} holds what JSON cannot: {error}") from None

    # --- what events mean

    def _error(self, event: wire.Error) -> Sequence[Event]:
        detail = error_detail(event.error)
        if given(detail.code) is None and (code := given(event.code)) is not None:
            detail = msgspec.structs.replace(detail, code=str(code))
        self._last_error = detail
        request = self._requests.refuse(detail)
        if request is None:
            return (ServerError(detail),)
        if request.type == "session.update" and not self._requests.any("session.update"):
            self.state = step(states.SESSION, self.state, "refused") or self.state
        return (RequestFailed(request.id, request.type, detail),)

    def _session_created(self, event: wire.SessionCreated) -> Sequence[Event]:
        self._configure(event.session)
        return self._ready("created")

    def _session_updated(self, event: wire.SessionUpdated) -> Sequence[Event]:
        self._configure(event.session)
        request = self._requests.take("session.update")
        ready = self._ready("updated")
        return (*ready, SessionUpdated(request.id if request else None, event.session))

    def _ready(self, event: str) -> Sequence[Event]:
        """`SessionReady`, the first time; and the next state."""
        first = self.state is SessionState.CONNECTING
        self.state = step(states.SESSION, self.state, event) or self.state
        if self._requests.any("session.update"):
            self.state = step(states.SESSION, self.state, "update") or self.state
        if not first:
            return _NONE
        session = view(Session, self.session)
        expires_at = given(session.expires_at)
        self.session_id = given(session.id)
        return (SessionReady(self.session_id, float(expires_at) if expires_at else None, self.session),)

    def _configure(self, session: JSON) -> None:
        self.session = session
        self.input_format = audio_format(session, "input") or self.input_format
        self._replies.format = audio_format(session, "output") or self._replies.format
        self._requests.answers_turns = answers_turns(session)

    def _response_done(self, event: response.ResponseDone) -> Sequence[Event]:
        events = self._replies.done(event)
        finished = events[-1] if events else None
        if not isinstance(finished, ResponseFinished) or finished.out_of_band:
            return events
        output = view(Response, event.response).output
        added = self._items.output([view(Item, item) for item in given(output) or ()])
        return [*events[:-1], *added, finished]

    def _limits(self, event: wire.RateLimitsUpdated) -> Sequence[Event]:
        return (RateLimits(event.rate_limits),)

    def _silent(self, event: Any) -> Sequence[Event]:
        """An event that says nothing another one does not say better."""
        return _NONE


# The dispatch table: the method for an event, of the protocol or of its part that knows about such events.
_HANDLERS: dict[type, Callable[[ClientProtocol], Callable[[Any], Sequence[Event]]]] = {
    kind: attrgetter(method)
    for kind, method in {
        wire.Error: "_error",
        wire.SessionCreated: "_session_created",
        wire.TranscriptionSessionCreated: "_session_created",
        wire.SessionUpdated: "_session_updated",
        wire.TranscriptionSessionUpdated: "_session_updated",
        wire.Ping: "_silent",
        wire.RateLimitsUpdated: "_limits",
        **{kind: f"_items.{name}" for kind, name in Items.HANDLERS.items()},
        **{kind: f"_replies.{name}" for kind, name in Replies.HANDLERS.items()},
        response.ResponseContentPartAdded: "_silent",
        response.ResponseFunctionCallArgumentsDelta: "_silent",
        response.ResponseDone: "_response_done",
    }.items()
}
