"""The conversation and its input, as a client hears of them: items, speech, and transcripts of the user's words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from . import server_events as wire
from . import states
from .codec import Malformed
from .events import (
    Audio,
    Cleared,
    Committed,
    Event,
    ItemAdded,
    ItemDeleted,
    ItemDone,
    ItemRetrieved,
    ItemTruncated,
    SpeechStarted,
    SpeechStopped,
    TextDelta,
    TextFinal,
    TranscriptFailed,
)
from .replies import Replies
from .reply import Bounded
from .requests import Pending, Requests
from .states import ItemState, step
from .values import Item, error_detail, given, view

__all__ = ["Items"]


class Items:
    """The items of one session. Every method returns the events that its news means."""

    HANDLERS: ClassVar[Mapping[type, str]] = {
        wire.ConversationItemAdded: "added",
        wire.ConversationItemCreated: "added",
        wire.ConversationItemDone: "done",
        wire.ConversationItemRetrieved: "retrieved",
        wire.ConversationItemTruncated: "truncated",
        wire.ConversationItemDeleted: "deleted",
        wire.InputAudioBufferSpeechStarted: "speech_started",
        wire.InputAudioBufferSpeechStopped: "speech_stopped",
        wire.InputAudioBufferCommitted: "committed",
        wire.InputAudioBufferCleared: "cleared",
        wire.InputAudioTranscriptionDelta: "transcript_delta",
        wire.InputAudioTranscriptionUpdated: "transcript_updated",
        wire.InputAudioTranscriptionCompleted: "transcript_completed",
        wire.InputAudioTranscriptionFailed: "transcript_failed",
        wire.SessionOutputAudioDelta: "translated_audio",
        wire.SessionOutputTranscriptDelta: "translated_text",
        wire.SessionInputTranscriptDelta: "original_text",
    }
    """The method for each event."""

    def __init__(self, requests: Requests, replies: Replies) -> None:
        self._requests = requests
        self._replies = replies
        self._states: Bounded[str, ItemState] = Bounded()
        self._heard: Bounded[str, None] = Bounded()  # items that came of the user's speech
        self._texts: Bounded[tuple[str, int], list[str]] = Bounded()
        self._finals: Bounded[tuple[str, int], None] = Bounded()
        self._stopped: str | None = None

    # --- items

    def added(self, event: wire.ConversationItemAdded | wire.ConversationItemCreated) -> Sequence[Event]:
        item = view(Item, event.item)
        item_id = given(item.id)
        if not item_id:
            return (_nameless(event),)
        self._replies.note_item(item)
        state = self._states.get(item_id)
        request = self._created_by(item_id, item)
        if not states.allowed(states.ITEM, state, "add") and request is None:
            return ()
        self._states[item_id] = step(states.ITEM, state, "add") or ItemState.IN_PROGRESS
        return (ItemAdded(request.id if request else None, item_id, item, given(event.previous_item_id)),)

    def done(self, event: wire.ConversationItemDone) -> Sequence[Event]:
        item = view(Item, event.item)
        item_id = given(item.id)
        if not item_id:
            return (_nameless(event),)
        self._replies.note_item(item)
        state = self._states.get(item_id)
        if not states.allowed(states.ITEM, state, "done"):
            return ()
        events: list[Event] = []
        if state is None:  # `added` never came
            request = self._created_by(item_id, item)
            events.append(
                ItemAdded(request.id if request else None, item_id, item, given(event.previous_item_id))
            )
        self._states[item_id] = step(states.ITEM, state, "done") or ItemState.DONE
        return [*events, ItemDone(item_id, item)]

    def output(self, items: Sequence[Item]) -> list[Event]:
        """The items of a finished reply: told here by services that tell of them nowhere else."""
        events: list[Event] = []
        for item in items:
            item_id = given(item.id)
            if item_id and item_id not in self._states:
                self._states[item_id] = ItemState.DONE
                events += (ItemAdded(None, item_id, item, None), ItemDone(item_id, item))
        return events

    def retrieved(self, event: wire.ConversationItemRetrieved) -> Sequence[Event]:
        item = view(Item, event.item)
        item_id = given(item.id)
        if not item_id:
            return (_nameless(event),)
        return (
            ItemRetrieved(_id(self._requests.take("conversation.item.retrieve", item_id)), item_id, item),
        )

    def truncated(self, event: wire.ConversationItemTruncated) -> Sequence[Event]:
        request = self._requests.take("conversation.item.truncate", event.item_id)
        self._move(event.item_id, "truncate")
        self._replies.cut(event.item_id)
        index, end = given(event.content_index) or 0, given(event.audio_end_ms)
        return (ItemTruncated(_id(request), event.item_id, index, end),)

    def deleted(self, event: wire.ConversationItemDeleted) -> Sequence[Event]:
        request = self._requests.take("conversation.item.delete", event.item_id)
        self._move(event.item_id, "delete")
        self._replies.cut(event.item_id)
        return (ItemDeleted(_id(request), event.item_id),)

    # --- input

    def speech_started(self, event: wire.InputAudioBufferSpeechStarted) -> Sequence[Event]:
        item_id = given(event.item_id)
        if item_id:
            self._heard[item_id] = None
        self._stopped = None
        return (SpeechStarted(item_id, _whole(event.audio_start_ms)),)

    def speech_stopped(self, event: wire.InputAudioBufferSpeechStopped) -> Sequence[Event]:
        item_id = given(event.item_id)
        if item_id is not None and item_id == self._stopped:
            return ()  # said again for the same item by some services
        self._stopped = item_id
        return (SpeechStopped(item_id, _whole(event.audio_end_ms)),)

    def committed(self, event: wire.InputAudioBufferCommitted) -> Sequence[Event]:
        self._heard[event.item_id] = None
        request = self._requests.take("input_audio_buffer.commit")
        if request is None:
            self._requests.turn_ended()
        return (Committed(_id(request), event.item_id, given(event.previous_item_id)),)

    def cleared(self, event: wire.InputAudioBufferCleared) -> Sequence[Event]:
        return (Cleared(_id(self._requests.take("input_audio_buffer.clear"))),)

    # --- the user's words; they come when they come, often after the reply began

    def transcript_delta(self, event: wire.InputAudioTranscriptionDelta) -> Sequence[Event]:
        delta, part = given(event.delta), (event.item_id, given(event.content_index) or 0)
        if not delta or part in self._finals:
            return ()
        self._texts.setdefault(part, []).append(delta)
        return (TextDelta(delta, "user", True, event.item_id, None, part[1]),)

    def transcript_updated(self, event: wire.InputAudioTranscriptionUpdated) -> Sequence[Event]:
        part = (event.item_id, given(event.content_index) or 0)
        before = "".join(self._texts.get(part, ()))
        if part in self._finals or event.transcript == before:
            return ()
        self._texts[part] = [event.transcript]
        if not event.transcript.startswith(before):
            return ()  # earlier words were changed; only the final text can tell
        return (TextDelta(event.transcript[len(before) :], "user", True, event.item_id, None, part[1]),)

    def transcript_completed(self, event: wire.InputAudioTranscriptionCompleted) -> Sequence[Event]:
        part = (event.item_id, given(event.content_index) or 0)
        if part in self._finals:
            return ()
        self._finals[part] = None
        self._texts.pop(part, None)
        return (TextFinal(event.transcript, "user", True, event.item_id, None, part[1], given(event.usage)),)

    def transcript_failed(self, event: wire.InputAudioTranscriptionFailed) -> Sequence[Event]:
        return (TranscriptFailed(event.item_id, given(event.content_index) or 0, error_detail(event.error)),)

    # --- translation sessions, which have neither items nor replies

    def translated_audio(self, event: wire.SessionOutputAudioDelta) -> Sequence[Event]:
        return (Audio(event.delta, None, None, 0),)

    def translated_text(self, event: wire.SessionOutputTranscriptDelta) -> Sequence[Event]:
        return (TextDelta(event.delta, "assistant", True, None, None, 0),)

    def original_text(self, event: wire.SessionInputTranscriptDelta) -> Sequence[Event]:
        return (TextDelta(event.delta, "user", True, None, None, 0),)

    # --- inside

    def _created_by(self, item_id: str, item: Item) -> Pending | None:
        ours = item_id not in self._heard and not self._replies.owns(item_id)
        return self._requests.take_item(item_id, item, ours=ours)

    def _move(self, item_id: str, event: str) -> None:
        state = step(states.ITEM, self._states.get(item_id), event)
        if state is not None:
            self._states[item_id] = state


def _id(request: Pending | None) -> str | None:
    return request.id if request is not None else None


def _whole(ms: Any) -> int | None:
    ms = given(ms)
    return None if ms is None else int(ms)


def _nameless(event: wire.ServerEvent) -> Malformed:
    return Malformed(f"{event.__struct_config__.tag} without item.id")
