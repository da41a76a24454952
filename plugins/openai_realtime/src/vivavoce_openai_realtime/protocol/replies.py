"""The replies of a client's session: what they say, and until when anything they say still counts.

A service may send any part of a reply in any order, twice, under GA's name or beta's or both, or not at all. Whatever
comes, each audio delta is told once, each text and each call at most once complete, and the end of a reply once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from . import response_events as wire
from . import states
from .events import (
    Audio,
    AudioDone,
    Event,
    ResponseFinished,
    ResponseStarted,
    TextDelta,
    TextFinal,
    ToolCallReady,
)
from .reply import Bounded, Reply, Track
from .requests import TAG, Pending, Requests
from .states import ResponseState, step
from .values import (
    JSON,
    AudioFormat,
    ContentPart,
    Item,
    Response,
    StatusDetails,
    Unset,
    audio_format,
    error_detail,
    given,
    view,
)

__all__ = ["Replies"]


_MOST_OPEN = 64
"""Replies at a time, the default conversation's and those out of band; services run a handful."""


class Replies:
    """All replies of one session. Every method returns the events that its news means."""

    HANDLERS: ClassVar[Mapping[type, str]] = {
        wire.ResponseCreated: "created",
        wire.ResponseOutputItemAdded: "item_added",
        wire.ResponseOutputItemDone: "item_done",
        wire.ResponseContentPartDone: "part_done",
        wire.ResponseOutputAudioDelta: "audio_delta",
        wire.ResponseAudioDelta: "audio_delta",
        wire.ResponseOutputAudioDone: "audio_done",
        wire.ResponseAudioDone: "audio_done",
        wire.ResponseOutputTextDelta: "text_delta",
        wire.ResponseTextDelta: "text_delta",
        wire.ResponseOutputAudioTranscriptDelta: "text_delta",
        wire.ResponseAudioTranscriptDelta: "text_delta",
        wire.ResponseOutputTextDone: "text_done",
        wire.ResponseTextDone: "text_done",
        wire.ResponseOutputAudioTranscriptDone: "transcript_done",
        wire.ResponseAudioTranscriptDone: "transcript_done",
        wire.ResponseFunctionCallArgumentsDone: "arguments_done",
    }
    """The method for each event."""

    def __init__(self, requests: Requests) -> None:
        self.requests = requests
        self.format = AudioFormat(rate=24_000)
        self.active: str | None = None
        self.tracks: dict[str, Track] = {}  # the parts that audio may still arrive for, by item
        self.stale = 0
        self.doubled = 0
        self._open: dict[str, Reply] = {}
        self._done: Bounded[str, None] = Bounded()
        self._owner: Bounded[str, str] = Bounded()  # item: reply
        self._received: Bounded[str, dict[int, Track]] = Bounded()
        self._names: Bounded[str, tuple[str | None, str | None]] = Bounded()  # item: call id, function
        self._called: Bounded[str, None] = Bounded()
        self._cut: Bounded[str, None] = Bounded()

    # --- what the application asks and does

    def is_open(self, response_id: str) -> bool:
        return response_id in self._open

    def received_ms(self, item_id: str, content_index: int = 0) -> int:
        track = self._received.get(item_id, {}).get(content_index)
        return track.milliseconds if track is not None else 0

    def cancel(self, response_id: str | None) -> None:
        """From here on, what arrives of the reply is stale."""
        reply = self._open.get(response_id or self.active or "")
        if reply is not None:
            reply.state = step(states.RESPONSE, reply.state, "cancel")
            self._drop_tracks(reply)

    def cut(self, item_id: str) -> None:
        """The item was truncated or deleted: what still arrives of its audio is stale."""
        self._cut[item_id] = None
        self.tracks.pop(item_id, None)

    def owns(self, item_id: str) -> bool:
        """Whether the item is known to be part of a reply."""
        return item_id in self._owner

    def note_item(self, item: Item) -> None:
        """A call may be named nowhere but in the conversation."""
        item_id = given(item.id)
        if item_id and item.type == "function_call":
            self._names.setdefault(item_id, (given(item.call_id), given(item.name)))

    # --- the life of a reply

    def created(self, event: wire.ResponseCreated) -> list[Event]:
        response = view(Response, event.response)
        response_id = given(response.id)
        if not response_id or response_id in self._open:
            return []
        self._done.pop(response_id, None)
        return self._begin(response_id, event.response)

    def done(self, event: wire.ResponseDone) -> list[Event]:
        response = view(Response, event.response)
        response_id = given(response.id) or self.active
        if response_id is None or response_id in self._done:
            self.stale += 1
            return []
        events = [] if response_id in self._open else self._begin(response_id, event.response)
        reply = self._open[response_id]
        metadata = given(response.metadata) or reply.metadata
        status = given(response.status) or "completed"
        for mapping in given(response.output) or ():
            events += self._output(reply, mapping, calls=status == "completed")
        usage = given(response.usage) or given(event.usage)
        return events + self._finish(
            reply, status, given(response.status_details) or StatusDetails(), usage, metadata
        )

    def item_added(self, event: wire.ResponseOutputItemAdded) -> list[Event]:
        item = view(Item, event.item)
        reply, events = self._reply(event.response_id, given(item.id))
        if reply is not None:
            self._note(reply, item)
        return events

    def item_done(self, event: wire.ResponseOutputItemDone) -> list[Event]:
        reply, events = self._reply(event.response_id, given(view(Item, event.item).id), late=True)
        return events if reply is None else events + self._output(reply, event.item, calls=True)

    # --- audio and text

    def audio_delta(self, event: wire.ResponseOutputAudioDelta) -> list[Event]:
        """The first delta of a part, and the odd ones; the others take the short way in `ClientProtocol`."""
        reply, events = self._reply(event.response_id, event.item_id)
        if reply is None:
            return events
        name = str(event.__struct_config__.tag)
        if event.item_id in self._cut:
            self.stale += 1
            return events
        if not reply.first_family("audio", name):
            self.doubled += 1
            return events
        index = given(event.content_index) or 0
        parts = self._received.setdefault(event.item_id, {})
        track = parts.get(index)
        if track is None or track.response_id != reply.id:
            track = parts[index] = Track(name, reply.id, event.item_id, index, reply.format)
        self.tracks[event.item_id] = track
        reply.audio.setdefault((event.item_id, index), True)
        audio = track.align(event.delta)
        track.size += len(audio)
        return [*events, Audio(audio, reply.id, event.item_id, index)] if audio else events

    def audio_done(self, event: wire.ResponseOutputAudioDone) -> list[Event]:
        reply, events = self._reply(event.response_id, event.item_id, late=True)
        if reply is None:
            return events
        return events + self._end_audio(reply, event.item_id, given(event.content_index) or 0)

    def text_delta(
        self, event: wire.ResponseOutputTextDelta | wire.ResponseOutputAudioTranscriptDelta
    ) -> list[Event]:
        reply, events = self._reply(event.response_id, event.item_id)
        if reply is None:
            return events
        spoken = isinstance(event, wire.ResponseOutputAudioTranscriptDelta)
        if not reply.first_family("transcript" if spoken else "text", str(event.__struct_config__.tag)):
            self.doubled += 1
            return events
        index = given(event.content_index) or 0
        part = (event.item_id, index, spoken)
        if part in reply.finals or event.item_id in self._cut:
            self.stale += 1
            return events
        reply.texts.setdefault(part, []).append(event.delta)
        return [*events, TextDelta(event.delta, "assistant", spoken, event.item_id, reply.id, index)]

    def text_done(self, event: wire.ResponseOutputTextDone) -> list[Event]:
        return self._text_done(event, event.text, spoken=False)

    def transcript_done(self, event: wire.ResponseOutputAudioTranscriptDone) -> list[Event]:
        return self._text_done(event, event.transcript, spoken=True)

    def part_done(self, event: wire.ResponseContentPartDone) -> list[Event]:
        reply, events = self._reply(event.response_id, event.item_id, late=True)
        if reply is None:
            return events
        return events + self._part(
            reply, event.item_id, given(event.content_index) or 0, view(ContentPart, event.part)
        )

    # --- calls

    def arguments_done(self, event: wire.ResponseFunctionCallArgumentsDone) -> list[Event]:
        """A name or an id that is missing is that of the item; if that is not known either, the item's end tells."""
        item_id = given(event.item_id)
        reply, events = self._reply(event.response_id, item_id, late=True)
        if reply is None:
            return events
        call_id, name = self._names.get(item_id or "", (None, None))
        return events + self._call(
            reply, item_id, given(event.call_id) or call_id, given(event.name) or name, event.arguments
        )

    # --- inside

    def _reply(
        self, response_id: str | Unset | None, item_id: str | None, *, late: bool = False
    ) -> tuple[Reply | None, list[Event]]:
        """The reply that news is about; `None` if it is dead. `late`: this news still counts while cancelling."""
        known = given(response_id) or self._owner.get(item_id or "") or self.active
        if known is None or known in self._done:
            self.stale += 1
            return None, []
        events: list[Event] = [] if known in self._open else self._begin(known, None)
        reply = self._open[known]
        if item_id:
            self._owner[item_id] = known
        if reply.state is ResponseState.CANCELLING and not late:
            self.stale += 1
            return None, events
        return reply, events

    def _begin(self, response_id: str, response: JSON | None) -> list[Event]:
        """`response` is `None` where a reply is heard of before it was announced."""
        metadata = given(view(Response, response).metadata) or {}
        in_band = response is None or response.get("conversation_id", "") is not None
        request: Pending | None = None
        if response is not None:
            request = self.requests.take_response(metadata, out_of_band=not in_band)
        elif self.active is None:  # begun without a word: then it is what was asked for, if anything was
            request = self.requests.take("response.create")
        # Some services never name the conversation: only what was asked for, or marked, is out of band.
        out_of_band = request.out_of_band if request is not None else not in_band and bool(metadata)
        metadata = {k: v for k, v in metadata.items() if k != TAG}
        events: list[Event] = []
        if not out_of_band:
            events += self._supersede(announced=response is not None)
            self.active = response_id if self.active is None else self.active
        if len(self._open) >= _MOST_OPEN:
            oldest = next(iter(self._open.values()))
            events += self._finish(
                oldest, "incomplete", StatusDetails(reason="superseded"), None, oldest.metadata
            )
        reply = Reply(response_id, self._format(response), out_of_band=out_of_band, metadata=metadata)
        reply.state = step(states.RESPONSE, None, "begin")
        self._open[response_id] = reply
        return [*events, ResponseStarted(request.id if request else None, response_id, out_of_band, metadata)]

    def _supersede(self, *, announced: bool) -> list[Event]:
        """One reply at a time: a service that announces another one has ended the first."""
        if self.active is None or not announced:
            return []
        old = self._open[self.active]
        return self._finish(old, "incomplete", StatusDetails(reason="superseded"), None, old.metadata)

    def _finish(
        self, reply: Reply, status: str, details: StatusDetails, usage: JSON | None, metadata: JSON
    ) -> list[Event]:
        events: list[Event] = []
        for (item_id, index), running in list(reply.audio.items()):
            if running:
                events += self._end_audio(reply, item_id, index)
        for item_id, index, spoken in list(reply.texts):
            events += self._final(reply, item_id, index, None, spoken=spoken)
        reply.state = step(states.RESPONSE, reply.state, "done")
        self._drop_tracks(reply)
        del self._open[reply.id]
        self._done[reply.id] = None
        if self.active == reply.id:
            self.active = None
        self.requests.take("response.cancel", reply.id)
        reason = given(details.reason)
        error = error_detail(details.error) if given(details.error) is not None else None
        metadata = {k: v for k, v in metadata.items() if k != TAG}
        return [
            *events,
            ResponseFinished(reply.id, status, reason, error, usage, reply.out_of_band, metadata),
        ]

    def _output(self, reply: Reply, mapping: JSON, *, calls: bool) -> list[Event]:
        """An item that is complete: whatever of it was not told yet."""
        item = view(Item, mapping)
        self._note(reply, item)
        item_id = given(item.id)
        if item.type == "function_call":
            complete = calls and given(item.status) not in ("incomplete", "in_progress")
            arguments = given(item.arguments)
            if not complete or arguments is None:
                return []
            return self._call(reply, item_id, given(item.call_id), given(item.name), arguments)
        events: list[Event] = []
        if item_id is None:
            return events
        for index, part in enumerate(given(item.content) or ()):
            events += self._part(reply, item_id, index, part)
        return events

    def _part(self, reply: Reply, item_id: str, index: int, part: ContentPart) -> list[Event]:
        events: list[Event] = []
        if text := given(part.text):
            events += self._final(reply, item_id, index, text, spoken=False)
        if transcript := given(part.transcript):
            events += self._final(reply, item_id, index, transcript, spoken=True)
        return events

    def _text_done(
        self,
        event: wire.ResponseOutputTextDone | wire.ResponseOutputAudioTranscriptDone,
        text: str | Unset,
        *,
        spoken: bool,
    ) -> list[Event]:
        reply, events = self._reply(event.response_id, event.item_id, late=True)
        if reply is None:
            return events
        return events + self._final(
            reply, event.item_id, given(event.content_index) or 0, given(text), spoken=spoken
        )

    def _final(
        self, reply: Reply, item_id: str, index: int, text: str | None, *, spoken: bool
    ) -> list[Event]:
        part = (item_id, index, spoken)
        heard = "".join(reply.texts.pop(part, ()))
        whole = text or heard
        if part in reply.finals or not whole:
            return []
        reply.finals.add(part)
        return [TextFinal(whole, "assistant", spoken, item_id, reply.id, index)]

    def _end_audio(self, reply: Reply, item_id: str, index: int) -> list[Event]:
        if not reply.audio.get((item_id, index)):
            return []
        reply.audio[item_id, index] = False
        return [AudioDone(reply.id, item_id, index)]

    def _call(
        self, reply: Reply, item_id: str | None, call_id: str | None, name: str | None, arguments: str
    ) -> list[Event]:
        if not call_id or not name or call_id in self._called:
            return []
        self._called[call_id] = None
        return [ToolCallReady(reply.id, item_id, call_id, name, arguments)]

    def _note(self, reply: Reply, item: Item) -> None:
        item_id = given(item.id)
        if not item_id:
            return
        self._owner[item_id] = reply.id
        if item.type == "function_call":
            self._names[item_id] = (given(item.call_id), given(item.name))
        if given(item.status) == "in_progress":
            self._cut.pop(item_id, None)  # a service that uses its ids again

    def _drop_tracks(self, reply: Reply) -> None:
        for item_id, _ in reply.audio:
            track = self.tracks.get(item_id)
            if track is not None and track.response_id == reply.id:
                del self.tracks[item_id]

    def _format(self, response: JSON | None) -> AudioFormat:
        return audio_format(response or {}, "output") or self.format
