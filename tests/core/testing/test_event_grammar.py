"""The validator of event streams: right streams pass, and each rule is broken by a stream of its own."""

from __future__ import annotations

import pytest
from vivavoce.errors import VoiceError
from vivavoce.events import (
    Closed,
    Interrupted,
    ItemAdded,
    Opened,
    ProviderFallback,
    ProviderMessage,
    Reconnected,
    Reconnecting,
    ResponseCreated,
    ResponseDone,
    SessionCreated,
    SessionUpdated,
    Speaking,
    SpeakingDone,
    SpeechStarted,
    SpeechStopped,
    ToolCallResult,
    ToolCallStart,
    Turn,
    Usage,
    Writing,
)
from vivavoce.testing import (
    EventGrammar,
    RecordingContext,
    Reply,
    ScriptedProvider,
    assert_valid,
    current_clock,
    validate,
    virtual_run,
)


class Stream:
    """What the grammar knows an AudioStream by."""

    def __init__(self, id=None):
        self.id = id
        self.end_reason = None


OPEN, CLOSE = Opened("s"), Closed()
CREATED, DONE = ResponseCreated("r"), ResponseDone("r")
AUDIO, AUDIO_DONE = Speaking(b"\0\0", "r", "a"), SpeakingDone("completed", "r", "a")
TEXT = Writing("hi", "assistant", "a", "r")
FINAL = Writing("hi", "assistant", "a", "r", final=True)
REPLY = [CREATED, Stream("r"), AUDIO, TEXT, AUDIO, AUDIO_DONE, FINAL, DONE]
CALL, RESULT = ToolCallStart("c", "time", {}, "r"), ToolCallResult("c", "noon")
USER = [
    SpeechStarted("u", 0),
    SpeechStopped("u", 500),
    Writing("hello", "user", "u", final=True),
    Turn("user", "hello", "u"),
]

RIGHT = {
    "nothing": [],
    "one conversation": [SessionCreated("s"), SessionUpdated("s"), OPEN, *USER, *REPLY, Turn("assistant", "hi", "a"), CLOSE],
    "two sessions with the same ids": [OPEN, *USER, *REPLY, CLOSE, OPEN, *USER, *REPLY, CLOSE],
    "a failed reconnect": [OPEN, Reconnecting(1, 0), Reconnecting(2, 100), CLOSE],
    "a reconnect": [OPEN, *REPLY, Reconnecting(1, 0), Reconnecting(2, 10), SessionCreated("t"), Reconnected(2, 50), *REPLY, CLOSE],
    "two reconnects": [OPEN, Reconnecting(1, 0), Reconnected(1, 5), Reconnecting(1, 0), Reconnected(1, 5), CLOSE],
    "a count that goes on": [OPEN, Reconnecting(1, 0), Reconnected(1, 5), Reconnecting(2, 9), Reconnected(2, 5), CLOSE],
    "a reply lost": [OPEN, CREATED, AUDIO, Reconnecting(1, 0), SpeakingDone("lost", "r"), Turn("assistant", "h", "a", True), CLOSE],
    "a reply cut": [OPEN, CREATED, AUDIO, SpeakingDone("interrupted", "r"), Interrupted("r", "a", 10), ResponseDone("r", "cancelled"), CLOSE],
    "buffered audio cut after the end": [OPEN, *REPLY, Interrupted("r", "a", 10), CLOSE],
    "what plays of the session before is cut": [OPEN, *REPLY, Reconnecting(1, 0), Reconnected(1, 5), Interrupted("r", "a", 10), CREATED, AUDIO, AUDIO_DONE, DONE, CLOSE],
    "tools": [OPEN, CREATED, CALL, DONE, RESULT, CLOSE],
    "a reply without audio": [OPEN, CREATED, TEXT, FINAL, DONE, CLOSE],
    "stretches of speech": [OPEN, *[Stream(), Speaking(b"\0\0"), SpeakingDone()] * 2, Speaking(b"\0\0"), SpeakingDone(), CLOSE],
    "two replies at once": [OPEN, CREATED, ResponseCreated("q", True), AUDIO, Speaking(b"\0\0", "q"), AUDIO_DONE, DONE, SpeakingDone("completed", "q"), ResponseDone("q"), CLOSE],
    "errors and usage anywhere": [VoiceError("a"), Usage(), OPEN, VoiceError("b"), Usage(), CLOSE, VoiceError("c"), Usage()],
    "what it does not know": [{"type": "x"}, ProviderMessage("x", {}), ItemAdded("i", "user"), ProviderFallback("a", "b"), object()],
    "turns without an item": [OPEN, Turn("user", "a"), Turn("user", "b"), CLOSE],
    "texts without an item": [OPEN, Writing("a", "user", final=True), Writing("b", "user", final=True), CLOSE],
}  # fmt: skip


@pytest.mark.parametrize("stream", RIGHT.values(), ids=RIGHT)
def test_right_streams_pass(stream):
    """A correct stream has no violation."""
    assert validate(stream, closed=True) == []


WRONG = {
    "speaking before open": ([AUDIO, OPEN], 0, {"session.closed", "response.created"}),
    "turn after close": ([OPEN, CLOSE, Turn("user", "late", "u")], 2, {"session.closed"}),
    "tool result after close": ([OPEN, CREATED, CALL, CLOSE, RESULT], 4, {"session.closed", "tool.start"}),
    "close twice": ([OPEN, CLOSE, CLOSE], 2, {"close.once"}),
    "close before open": ([CLOSE], 0, {"close.once"}),
    "open twice": ([OPEN, OPEN], 1, {"open.once"}),
    "reconnecting before open": ([Reconnecting(1, 0)], 0, {"reconnect.open"}),
    "reconnected before open": ([Reconnected(1, 0)], 0, {"reconnect.order"}),
    "reconnected out of nothing": ([OPEN, Reconnected(1, 0)], 1, {"reconnect.order"}),
    "open while reconnecting": ([OPEN, Reconnecting(1, 0), OPEN], 2, {"reconnect.order"}),
    "new reply while reconnecting": ([OPEN, Reconnecting(1, 0), CREATED], 2, {"session.down"}),
    "attempts that jump": ([OPEN, Reconnecting(1, 0), Reconnecting(3, 0)], 2, {"reconnect.attempt"}),
    "attempts that begin anew too early": ([OPEN, Reconnecting(1, 0), Reconnecting(1, 0)], 2, {"reconnect.attempt"}),
    "attempts that start late": ([OPEN, Reconnecting(2, 0)], 1, {"reconnect.attempt"}),
    "attempts that do not add up": ([OPEN, Reconnecting(1, 0), Reconnected(5, 0)], 2, {"reconnect.attempt"}),
    "speaking before created": ([OPEN, AUDIO], 1, {"response.created"}),
    "writing before created": ([OPEN, TEXT], 1, {"response.created"}),
    "interrupted before created": ([OPEN, Interrupted("r")], 1, {"response.created"}),
    "interrupted again in the session after": ([OPEN, *REPLY, Interrupted("r"), Reconnecting(1, 0), Reconnected(1, 5), Interrupted("r")], 12, {"response.created"}),
    "done before created": ([OPEN, DONE], 1, {"response.created"}),
    "created twice": ([OPEN, CREATED, CREATED], 2, {"response.once"}),
    "created again after done": ([OPEN, CREATED, DONE, CREATED], 3, {"response.once"}),
    "done twice": ([OPEN, CREATED, DONE, DONE], 3, {"response.once"}),
    "speaking after done": ([OPEN, CREATED, DONE, AUDIO], 3, {"response.last"}),
    "writing after done": ([OPEN, CREATED, DONE, TEXT], 3, {"response.last"}),
    "tool call after done": ([OPEN, CREATED, DONE, CALL], 3, {"response.last"}),
    "done while speaking": ([OPEN, CREATED, AUDIO, DONE], 3, {"audio.unended"}),
    "close while speaking": ([OPEN, CREATED, AUDIO, CLOSE], 3, {"audio.unended"}),
    "reconnected with old audio": ([OPEN, CREATED, AUDIO, Reconnecting(1, 0), Reconnected(1, 0)], 4, {"audio.unended"}),
    "speaking after speaking.done": ([OPEN, CREATED, AUDIO, AUDIO_DONE, AUDIO], 4, {"audio.last"}),
    "speaking.done twice": ([OPEN, CREATED, AUDIO, AUDIO_DONE, AUDIO_DONE], 4, {"audio.done"}),
    "speaking.done without speaking": ([OPEN, CREATED, AUDIO_DONE], 2, {"audio.done"}),
    "a stretch done twice": ([OPEN, Speaking(b"\0\0"), SpeakingDone(), SpeakingDone()], 3, {"audio.done"}),
    "speaker too late": ([OPEN, CREATED, AUDIO, Stream("r")], 3, {"speaker.first"}),
    "speaker twice": ([OPEN, CREATED, Stream("r"), Stream("r")], 3, {"speaker.once"}),
    "speaker after its audio": ([OPEN, CREATED, AUDIO, AUDIO_DONE, Stream("r")], 4, {"speaker.once"}),
    "half a sample": ([OPEN, CREATED, Speaking(b"\0", "r")], 2, {"value"}),
    "audio without audio": ([OPEN, CREATED, Speaking(b"", "r")], 2, {"value"}),
    "negative time": ([OPEN, CREATED, Interrupted("r", "a", -1)], 2, {"value"}),
    "negative delay": ([OPEN, Reconnecting(1, -1)], 1, {"value"}),
    "negative outage": ([OPEN, Reconnecting(1, 0), Reconnected(1, -1)], 2, {"value"}),
    "speech started before the session": ([OPEN, SpeechStarted("u", -20)], 1, {"value"}),
    "stopped without started": ([OPEN, SpeechStopped("u")], 1, {"speech.alternate"}),
    "started twice": ([OPEN, SpeechStarted("u"), SpeechStarted("v")], 2, {"speech.alternate"}),
    "another item stopped": ([OPEN, SpeechStarted("u"), SpeechStopped("v")], 2, {"speech.item"}),
    "stopped before it started": ([OPEN, SpeechStarted("u", 9), SpeechStopped("u", 3)], 2, {"speech.time"}),
    "a turn twice": ([OPEN, Turn("user", "a", "u"), Turn("user", "a", "u")], 2, {"turn.once"}),
    "a turn again after a reconnect": ([OPEN, Turn("user", "a", "u"), Reconnecting(1, 0), Reconnected(1, 0), Turn("user", "a", "u")], 4, {"turn.once"}),
    "text after its final": ([OPEN, CREATED, FINAL, TEXT], 3, {"writing.final"}),
    "result without start": ([OPEN, RESULT], 1, {"tool.start"}),
    "result twice": ([OPEN, CREATED, CALL, RESULT, RESULT], 4, {"tool.once"}),
    "tool started twice": ([OPEN, CREATED, CALL, CALL], 3, {"tool.once"}),
    "tool started again": ([OPEN, CREATED, CALL, RESULT, CALL], 4, {"tool.once"}),
    "speaking after interrupted": ([OPEN, CREATED, AUDIO, Interrupted("r"), AUDIO], 4, {"interrupted.once"}),
    "interrupted twice": ([OPEN, CREATED, Interrupted("r"), Interrupted("r")], 3, {"interrupted.once"}),
}  # fmt: skip


@pytest.mark.parametrize(("stream", "index", "rules"), WRONG.values(), ids=WRONG)
def test_each_wrong_stream_breaks_its_rule_alone(stream, index, rules):
    """A wrong event is told at its place, under its rule, and nothing else is."""
    assert {(violation.index, violation.rule) for violation in validate(stream)} == {
        (index, rule) for rule in rules
    }


def test_every_rule_has_a_wrong_stream():
    """No rule of the tables or the code is without a stream that breaks it."""
    import inspect
    import re

    from vivavoce.testing import streams

    source = inspect.getsource(streams)
    named = set(re.findall(r'(?:_Broken|_tell)\(\s*"([a-z.]+)"', source)) | {"audio.unended"}
    assert named == {rule for _, _, rules in WRONG.values() for rule in rules} | {"close.missing"}


def test_session_never_closed():
    """With `closed=True` a stream must end closed."""
    assert [str(violation) for violation in validate([OPEN], closed=True)] == [
        "event 1 (end of stream): the session was opened and never closed [close.missing]"
    ]
    assert validate([OPEN]) == []


def test_violations_name_the_response():
    """The text names event, response and rule."""
    (violation,) = validate([OPEN, CREATED, DONE, AUDIO])
    assert (
        str(violation)
        == "event 3 (speaking): after response.done of its reply (response 'r') [response.last]"
    )


def test_grammar_walks_event_by_event():
    """`feed` returns what is wrong with one event; `violations` keeps all."""
    grammar = EventGrammar()
    assert grammar.feed(OPEN) == []
    (found,) = grammar.feed(OPEN)
    assert found.rule == "open.once"
    assert grammar.violations == [found]


def test_assert_valid_shows_the_way_there():
    """The assertion lists the violations and the events up to the first."""
    assert_valid([OPEN, CLOSE], closed=True)
    with pytest.raises(AssertionError) as caught:
        assert_valid([OPEN, {"raw": 1}, CREATED, DONE, AUDIO, CLOSE])
    assert str(caught.value).splitlines() == [
        "event 4 (speaking): after response.done of its reply (response 'r') [response.last]",
        "event 5 (close): audio was still running: speaking.done was due before (response 'r') [audio.unended]",
        "up to the first:",
        "  0: open",
        "  1: dict",
        "  2: response.created",
        "  3: response.done",
        "  4: speaking",
    ]


def test_what_the_scripted_provider_emits_is_right():
    """A provider's own events are judged without open and close; a cut reply may leave its audio unended."""

    async def main():
        provider, context = (
            ScriptedProvider(replies=[Reply("two", tool_calls=[("time", "{}")])]),
            RecordingContext(),
        )
        await provider.connect(context, {})
        provider.user_says("hello")
        provider.reply("long", audio_ms=500, paced=True)
        await current_clock().advance(0.1)
        provider.user_says("stop")
        await provider.answer(context, {})
        await provider.idle()
        return context.events

    events = virtual_run(main())
    assert len(events) > 20
    assert validate(events, of="provider") == []
    assert [violation.rule for violation in validate([Opened(), *events])] == ["audio.unended"]


def test_a_long_stream_is_walked_quickly():
    """A hundred thousand events are judged in well under the time limit of a test."""
    stream = [OPEN, CREATED, *[AUDIO] * 100_000, AUDIO_DONE, DONE, CLOSE]
    assert validate(stream, closed=True) == []
