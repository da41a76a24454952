"""The grammar of events: in which order a voice may say things, as tables, and a validator that walks them.

    violations = validate(recorded)        # what a listener of `*` received, in order
    assert violations == []

Five small machines, each a table of state and event, one instance for each key:

    session   one                what comes between `open` and `close`, and while reconnecting
    response  for a response     created, then everything of it, then done: last, once
    audio     for a response     speaker, speaking..., speaking.done: once; without responses, again and again
    speech    one                speech.started and speech.stopped alternate
    tool      for a call id      start, then one result

Besides the tables: single values (whole samples, no negative time, attempts that count up), a turn and a final
text only once an item, one `interrupted` a reply and no audio of it afterwards.

Responses, audio, speech and texts begin anew with each connection; turns and tools with each `open`. A reply of the
connection before may still be playing, and be interrupted. An event that is not in a table is allowed there: future
events must not break old validators.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import msgspec

from vivavoce.errors import VoiceError
from vivavoce.events import Event

__all__ = ["EventGrammar", "Violation", "assert_valid", "validate"]


class Violation(msgspec.Struct, frozen=True):
    """What is wrong: at which event of the stream (from 0), its name, a stable rule id, and a sentence."""

    index: int
    event: str
    rule: str
    message: str

    def __str__(self) -> str:
        return f"event {self.index} ({self.event}): {self.message} [{self.rule}]"


class _Broken(msgspec.Struct, frozen=True):
    """A step that breaks a rule; `then` is the state it leads to, chosen so that one fault is told once."""

    rule: str
    message: str
    then: str


Table = Mapping[str, Mapping[str, str | _Broken]]

# Events of a conversation, by what a connection that is down allows: nothing begins, but what began may end.
_BEGINS = (
    "speaker",
    "speaking",
    "writing",
    "speech.started",
    "speech.stopped",
    "response.created",
    "tool-call-start",
)
_ENDS = ("speaking.done", "turn", "response.done", "interrupted", "tool-call-result")


def _all(names: Iterable[str], step: str | _Broken) -> dict[str, str | _Broken]:
    return dict.fromkeys(names, step)


_SESSION: Table = {
    "closed": {
        "open": "open",
        "close": _Broken("close.once", "close without an open before it", "closed"),
        "reconnecting": _Broken("reconnect.open", "reconnecting without an open session", "reconnecting"),
        "reconnected": _Broken("reconnect.order", "reconnected without reconnecting", "open"),
        **_all(
            (*_BEGINS, *_ENDS),
            _Broken("session.closed", "outside of a session: before open or after close", "closed"),
        ),
    },
    "open": {
        "open": _Broken("open.once", "open again without a close", "open"),
        "close": "closed",
        "reconnecting": "reconnecting",
        "reconnected": _Broken("reconnect.order", "reconnected without reconnecting", "open"),
    },
    "reconnecting": {
        "open": _Broken("reconnect.order", "open while reconnecting: reconnected or close ends that", "open"),
        "close": "closed",
        "reconnecting": "reconnecting",
        "reconnected": "open",
        **_all(_BEGINS, _Broken("session.down", "while there is no connection", "reconnecting")),
    },
}

_OF_RESPONSE = ("speaker", "speaking", "speaking.done", "writing", "tool-call-start")
_RESPONSE: Table = {
    "new": {
        "response.created": "running",
        "response.done": _Broken("response.created", "response.done without response.created", "done"),
        "interrupted": _Broken("response.created", "interrupted before response.created", "running"),
        **_all(_OF_RESPONSE, _Broken("response.created", "before response.created of its reply", "running")),
    },
    "running": {
        "response.created": _Broken("response.once", "response.created again", "running"),
        "response.done": "done",
    },
    "done": {
        "response.created": _Broken(
            "response.once", "response.created again, after its response.done", "done"
        ),
        "response.done": _Broken("response.once", "response.done again", "done"),
        **_all(_OF_RESPONSE, _Broken("response.last", "after response.done of its reply", "done")),
    },
}

_UNENDED = "audio.unended"
_UNENDED_STEP = _Broken(_UNENDED, "audio was still running: speaking.done was due before", "ended")
_DUE = dict.fromkeys(("response.done", "reconnected", "close"), _UNENDED_STEP)
_AUDIO: Table = {
    "none": {
        "speaker": "announced",
        "speaking": "speaking",
        "speaking.done": _Broken("audio.done", "speaking.done without speaking", "ended"),
    },
    "announced": {
        "speaker": _Broken("speaker.once", "speaker again for one reply", "announced"),
        "speaking": "speaking",
        "speaking.done": "ended",
        **_DUE,
    },
    "speaking": {
        "speaker": _Broken(
            "speaker.first", "speaker after speaking of its reply began, or again", "speaking"
        ),
        "speaking.done": "ended",
        **_DUE,
    },
    "ended": {
        "speaker": _Broken("speaker.once", "speaker again for one reply", "ended"),
        "speaking": _Broken("audio.last", "speaking after speaking.done of its reply", "ended"),
        "speaking.done": _Broken("audio.done", "speaking.done again", "ended"),
    },
}
# Where there are no responses, one stretch of speech follows another.
_STRETCHES: Table = {**_AUDIO, "ended": _AUDIO["none"]}

_SPEECH: Table = {
    "quiet": {
        "speech.started": "talking",
        "speech.stopped": _Broken("speech.alternate", "speech.stopped without speech.started", "quiet"),
    },
    "talking": {
        "speech.stopped": "quiet",
        "speech.started": _Broken(
            "speech.alternate", "speech.started again without speech.stopped", "talking"
        ),
    },
}

_TOOL: Table = {
    "new": {
        "tool-call-start": "called",
        "tool-call-result": _Broken("tool.start", "tool-call-result without tool-call-start", "answered"),
    },
    "called": {
        "tool-call-start": _Broken("tool.once", "tool-call-start again for one call", "called"),
        "tool-call-result": "answered",
    },
    "answered": {
        "tool-call-start": _Broken("tool.once", "tool-call-start again for one call", "answered"),
        "tool-call-result": _Broken("tool.once", "tool-call-result again for one call", "answered"),
    },
}

# Per kind of event: the attribute that holds the id of its response.
_RESPONSE_ID = {
    **dict.fromkeys(("response.created", "response.done", "speaker"), "id"),
    **dict.fromkeys(
        ("speaking", "speaking.done", "writing", "tool-call-start", "interrupted"), "response_id"
    ),
}
_AUDIO_KINDS = ("speaker", "speaking", "speaking.done", "response.done")


def _whole(event: Any) -> str | None:
    if len(event.audio) % 2:
        return f"{len(event.audio)} bytes are no whole PCM16 samples"
    return None if event.audio else "no audio in it"


def _not_negative(*names: str) -> Callable[[Any], str | None]:
    def check(event: Any) -> str | None:
        bad = [f"{name}={getattr(event, name)}" for name in names if (getattr(event, name) or 0) < 0]
        return f"negative: {', '.join(bad)}" if bad else None

    return check


_VALUES: Mapping[str, Callable[[Any], str | None]] = {
    "speaking": _whole,
    "interrupted": _not_negative("played_ms"),
    "speech.started": _not_negative("at_ms"),
    "speech.stopped": _not_negative("at_ms"),
    "reconnecting": _not_negative("delay_ms"),
    "reconnected": _not_negative("outage_ms", "replayed_items", "lost_audio_ms"),
}


class EventGrammar:
    """Walks a stream event by event; `violations` are all so far.

    `of="voice"`: what listeners of `*` received: `open` first. `of="provider"`: what a provider emitted into one session
    (`RecordingContext.events`): it is open from the start, and ending the audio of a cut reply is the core's part.
    Not events of the core, so passed over: raw messages, and classes it does not know.
    """

    def __init__(self, of: Literal["voice", "provider"] = "voice") -> None:
        self.violations: list[Violation] = []
        self._of = of
        self._index = -1
        self._kind = ""
        self._session = "closed" if of == "voice" else "open"
        self._new_session()

    def _new_session(self) -> None:
        self._attempt = 0
        self._tools: dict[Any, str] = {}
        self._turns: set[str] = set()
        self._new_connection(set())

    def _new_connection(self, before: set[Any]) -> None:
        self._before = before  # replies of the connection before that may be playing
        self._in_outage = False
        self._responses: dict[Any, str] = {}
        self._audio: dict[Any, str] = {}
        self._cut: set[str] = set()
        self._final: set[str] = set()
        self._speech = "quiet"
        self._speech_began: Any = None

    def feed(self, event: object) -> list[Violation]:
        """Take the next event; return what is wrong with it."""
        self._index += 1
        before = len(self.violations)
        self._kind = kind = _kind(event)
        if kind:
            self._session = self._walk(_SESSION, self._session, kind)
            self._check_value(event)
            self._walk_response(event)
            check = _CHECKS.get(kind)
            if check is not None:
                check(self, event)
        return self.violations[before:]

    def finish(self) -> list[Violation]:
        """The stream is over and the voice should be closed; return what is missing."""
        before = len(self.violations)
        if self._session != "closed":
            self._index, self._kind = self._index + 1, "end of stream"
            self._tell("close.missing", "the session was opened and never closed")
        return self.violations[before:]

    def _tell(self, rule: str, message: str) -> None:
        if rule != _UNENDED or self._of == "voice":
            self.violations.append(Violation(self._index, self._kind, rule, message))

    def _walk(self, table: Table, state: str, kind: str, key: str = "") -> str:
        step = table[state].get(kind, state)
        if isinstance(step, str):
            return step
        self._tell(step.rule, f"{step.message}{key}")
        return step.then

    def _check_value(self, event: Any) -> None:
        wrong = _VALUES[self._kind](event) if self._kind in _VALUES else None
        if wrong is not None:
            self._tell("value", wrong)

    def _walk_response(self, event: Any) -> None:
        attribute = _RESPONSE_ID.get(self._kind)
        if attribute is None:
            return
        id = getattr(event, attribute, None)
        key = "" if id is None else f" (response {id!r})"
        if self._kind == "interrupted" and id in self._before and id not in self._responses:
            self._before.discard(id)
            return
        if id is not None:
            self._responses[id] = self._walk(_RESPONSE, self._responses.get(id, "new"), self._kind, key)
        if self._kind in _AUDIO_KINDS:
            table = _AUDIO if id is not None else _STRETCHES
            self._audio[id] = self._walk(table, self._audio.get(id, "none"), self._kind, key)
        if id in self._cut and self._kind in ("speaking", "interrupted"):
            self._tell("interrupted.once", f"{self._kind} after interrupted of its reply{key}")

    def _interrupted(self, event: Any) -> None:
        if event.response_id in self._responses:  # else of the connection before
            self._cut.add(event.response_id)

    def _walk_speech(self, event: Any) -> None:
        self._speech = self._walk(_SPEECH, self._speech, self._kind)
        began, self._speech_began = self._speech_began, event if self._kind == "speech.started" else None
        if began is None or self._kind == "speech.started":
            return
        if None not in (began.item_id, event.item_id) and began.item_id != event.item_id:
            self._tell(
                "speech.item", f"speech of item {event.item_id!r} ends that began as {began.item_id!r}"
            )
        if None not in (began.at_ms, event.at_ms) and event.at_ms < began.at_ms:
            self._tell("speech.time", f"speech ends at {event.at_ms} ms, before it began at {began.at_ms} ms")

    def _walk_tool(self, event: Any) -> None:
        state = self._tools.get(event.call_id, "new")
        self._tools[event.call_id] = self._walk(_TOOL, state, self._kind, f" (call {event.call_id!r})")

    def _turn(self, event: Any) -> None:
        if event.item_id in self._turns:
            self._tell("turn.once", f"a second turn of item {event.item_id!r}")
        elif event.item_id is not None:
            self._turns.add(event.item_id)

    def _writing(self, event: Any) -> None:
        if event.item_id in self._final:
            self._tell("writing.final", f"text after the final text of item {event.item_id!r}")
        elif event.final and event.item_id is not None:
            self._final.add(event.item_id)

    def _reconnecting(self, event: Any) -> None:
        # The count begins anew only once the new connection has proven its health.
        begins_anew = event.attempt == 1 and not self._in_outage
        if event.attempt != self._attempt + 1 and not begins_anew:
            self._tell("reconnect.attempt", f"attempt {event.attempt} follows attempt {self._attempt}")
        self._attempt = event.attempt
        self._in_outage = True

    def _reconnected(self, event: Any) -> None:
        if self._in_outage and event.attempts != self._attempt:
            self._tell("reconnect.attempt", f"attempts={event.attempts} after attempt {self._attempt}")
        self._end_connection()

    def _end_connection(self) -> None:
        for id, state in self._audio.items():
            self._walk(_AUDIO, state, self._kind, "" if id is None else f" (response {id!r})")
        self._new_connection(set(self._responses) - self._cut)

    def _close(self, event: Any) -> None:
        self._end_connection()
        self._new_session()


_CHECKS: Mapping[str, Callable[[EventGrammar, Any], None]] = {
    "interrupted": EventGrammar._interrupted,
    **dict.fromkeys(("speech.started", "speech.stopped"), EventGrammar._walk_speech),
    **dict.fromkeys(("tool-call-start", "tool-call-result"), EventGrammar._walk_tool),
    "turn": EventGrammar._turn,
    "writing": EventGrammar._writing,
    "reconnecting": EventGrammar._reconnecting,
    "reconnected": EventGrammar._reconnected,
    "close": EventGrammar._close,
}


def _kind(event: object) -> str:
    """Return the name an event is delivered under; "" for what the grammar passes over."""
    if isinstance(event, Event):
        return event.type
    if isinstance(event, VoiceError):
        return "error"
    # An AudioStream, by its looks: the values below the runtime do not know its class.
    return "speaker" if hasattr(event, "end_reason") else ""


def validate(
    events: Iterable[object], *, of: Literal["voice", "provider"] = "voice", closed: bool = False
) -> list[Violation]:
    """Return every violation in `events`; `[]` for a correct stream. `closed`: the stream must end closed."""
    grammar = EventGrammar(of)
    for event in events:
        grammar.feed(event)
    if closed:
        grammar.finish()
    return grammar.violations


def assert_valid(
    events: Iterable[object], *, of: Literal["voice", "provider"] = "voice", closed: bool = False
) -> None:
    """Raise `AssertionError` with a line for every violation, and the events before the first."""
    if violations := validate(events := list(events), of=of, closed=closed):
        first = violations[0].index
        story = [
            f"  {n}: {_kind(event) or type(event).__name__}" for n, event in enumerate(events[: first + 1])
        ][-8:]
        raise AssertionError("\n".join([*map(str, violations), "up to the first:", *story]))
