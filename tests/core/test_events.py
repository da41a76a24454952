"""The table of events: each with its name, its fields, frozen, and the same from every provider."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from conversation import FRAME, Stage, provider, scenario
from vivavoce import AudioStream, events
from vivavoce.errors import VoiceError
from vivavoce.events import (
    Closed,
    Event,
    Interrupted,
    Opened,
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
from vivavoce.testing import Reply

TABLE = {
    "speaking": (Speaking, {"audio", "response_id", "item_id"}),
    "speaking.done": (SpeakingDone, {"reason"}),
    "writing": (Writing, {"text", "role", "item_id", "response_id", "final"}),
    "turn": (Turn, {"role", "text", "item_id", "interrupted"}),
    "speech.started": (SpeechStarted, {"item_id", "at_ms"}),
    "speech.stopped": (SpeechStopped, {"item_id", "at_ms"}),
    "response.created": (ResponseCreated, {"id"}),
    "response.done": (ResponseDone, {"id", "status", "reason", "usage"}),
    "interrupted": (Interrupted, {"response_id", "item_id", "played_ms"}),
    "tool-call-start": (ToolCallStart, {"call_id", "name", "arguments"}),
    "tool-call-result": (ToolCallResult, {"call_id", "result", "error"}),
    "usage": (Usage, {"input_text_tokens", "input_audio_tokens", "cached_audio_tokens", "output_seconds"}),
    "open": (Opened, {"session_id"}),
    "close": (Closed, {"code", "reason", "clean"}),
    "reconnecting": (Reconnecting, {"attempt", "delay_ms", "cause"}),
    "reconnected": (Reconnected, {"attempts", "outage_ms", "replayed_items", "lost_audio_ms"}),
    "session.created": (SessionCreated, {"id", "expires_at", "config"}),
    "session.updated": (SessionUpdated, {"id", "expires_at", "config"}),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLE)
def test_payloads(name):
    """Each class states its name and has the fields of the contract, and cannot be changed."""
    kind, fields = TABLE[name]
    assert kind.type == name
    assert fields <= set(kind.__struct_fields__)
    assert kind.__struct_config__.frozen
    made = msgspec.convert(
        {"audio": b"", "text": "", "role": "user", "id": "x", "call_id": "c", "name": "n", "attempt": 1,
         "delay_ms": 1, "attempts": 1, "outage_ms": 1}, kind, strict=False,
    )  # fmt: skip
    with pytest.raises(AttributeError):
        setattr(made, kind.__struct_fields__[0], None)


def test_every_event_has_a_name_of_its_own():
    """No two events share a name; what is for providers only is starred."""
    kinds = [
        kind
        for kind in vars(events).values()
        if isinstance(kind, type) and issubclass(kind, Event) and kind is not Event
    ]
    names = [kind.type for kind in kinds]
    assert len(set(names)) == len(names)
    assert {name for name in names if not name.startswith("*")} == {*TABLE, "provider.fallback"}


@scenario
async def test_a_whole_conversation():
    """Every event of a conversation arrives with its own type, in order, to a listener of its name and to `*`."""
    stage = Stage(provider(Reply("Hello there.", 60)))
    by_name = []
    for name in [*TABLE, "speaker", "error"]:
        stage.voice.on(name, lambda event, name=name: by_name.append((name, event)))
    async with stage:
        stage.provider.user_says("Good day.", at_ms=100)
        response = await stage.voice.answer()
        async for _ in response.audio:
            pass
        await response.done()
        await asyncio.sleep(1)
        stage.provider.emit(VoiceError("a warning of the service"))
    assert [event for _, event in by_name] == stage.seen
    assert [name for name, _ in by_name] == stage.names()
    for name, event in by_name:
        assert isinstance(event, TABLE.get(name, ((AudioStream, VoiceError),))[0])
    assert stage.names() == [
        "session.created", "session.updated", "open", "speech.started", "speech.stopped", "writing", "turn",
        "response.created", "writing", "speaker", "speaking", "speaking", "speaking", "speaking.done", "writing",
        "usage", "response.done", "turn", "error", "close",
    ]  # fmt: skip


@scenario
async def test_decorators():
    """`on` and `once` are decorators, too, and give back the listener."""
    stage = Stage()
    heard = []

    @stage.voice.on("open")
    def opened(event):
        heard.append(event)

    @stage.voice.once("open")
    async def first(event):
        heard.append("once")

    assert stage.voice.on("close", opened) is opened
    for _ in range(2):
        async with stage:
            pass
    assert [getattr(event, "type", event) for event in heard] == ["open", "once", "close", "open", "close"]
    stage.voice.off("open", opened)
    stage.voice.off("open", opened)
    stage.voice.off("close")
    async with stage:
        pass
    assert len(heard) == 5


@pytest.mark.parametrize("bad", [3, "x", []])
def test_bad_listener(bad):
    """What cannot be called is no listener."""
    from vivavoce.errors import ConfigError

    with pytest.raises(ConfigError, match="listener"):
        Stage().voice.on("x", bad)


@scenario
async def test_raw_messages():
    """Raw messages arrive as mappings under `<provider>:<type>` and `<provider>:*`, not under `*`."""
    async with Stage() as stage:
        one, all, other = [], [], []
        stage.voice.on("scripted:response.output_item.added", one.append)
        stage.voice.on("scripted:*", all.append)
        stage.voice.on("other:*", other.append)
        stage.provider.raw("response.output_item.added", index=1)
        stage.provider.raw("rate_limits.updated", left=2)
        assert (one, all, other) == ([{"index": 1}], [{"index": 1}, {"left": 2}], [])
        assert stage.of(ProviderMessage) == []


@scenario
async def test_error_never_ends_the_session(caplog):
    """An error event without a listener is logged, and the session goes on."""
    async with Stage() as stage:
        stage.provider.emit(VoiceError("rate limited", code="rate_limit"))
        assert stage.voice.state == "open"
        await stage.voice.send(FRAME)
    assert "rate limited (rate_limit; session session-1)" in caplog.text


class Broken:
    """Not an event at all."""


@pytest.mark.parametrize(
    "nonsense",
    [None, 3, "text", b"", {"type": "x"}, Broken(), ValueError("bug")],
    ids=lambda value: type(value).__name__,
)
@scenario
async def test_nonsense_from_a_provider(nonsense):
    """What is no event is ignored or told as an error; it never raises into the provider."""
    stage = Stage(records=False)
    stage.voice.on("error", lambda error: None)
    async with stage:
        stage.provider.emit(nonsense)
        assert stage.voice.state == "open"
        await (await stage.voice.answer()).done()


class Later(Event, frozen=True):
    """An event of a newer core."""

    type = "something.later"
    value: int


@scenario
async def test_event_of_another_version():
    """An event this core does not know is delivered under its name."""
    async with Stage() as stage:
        heard = []
        stage.voice.on("something.later", heard.append)
        stage.provider.emit(Later(3))
        assert heard == [Later(3)]


@scenario
async def test_raising_listeners_harm_nothing(caplog):
    """Listeners that raise at every event change nothing for the others and for the session."""
    stage = Stage(provider(Reply("hi", 60)))

    def bad(event):
        raise ValueError("plain")

    async def worse(event):
        raise ValueError("async")

    for name in [*TABLE, "speaker", "error", "*", "scripted:*"]:
        stage.voice.on(name, bad)
        stage.voice.on(name, worse)
    async with stage:
        stage.provider.user_says("hello")
        stage.provider.raw("x")
        await (await stage.voice.answer()).done()
        stage.provider.emit(VoiceError("no"))
        await asyncio.sleep(1)
    assert caplog.text.count("ValueError: plain") == caplog.text.count("ValueError: async") > 20


@scenario
async def test_pull_form():
    """`events()` gives the payloads of the named events, from then on, to its own consumer."""
    stage = Stage()
    pull = stage.voice.events("turn", "speech.started")
    everything = stage.voice.events()
    async with stage:
        stage.provider.user_says("one")
        stage.provider.user_says("two")
        assert [(await anext(pull)).type for _ in range(3)] == ["speech.started", "turn", "speech.started"]
    assert [event.text async for event in pull] == ["two"]
    assert [event async for event in everything] == stage.seen


@scenario
async def test_slow_listener_does_not_hold_up_the_wire():
    """Reading the wire never waits for a listener."""
    stage = Stage()
    errors = []
    stage.voice.on("error", errors.append)

    async def slow(event):
        await asyncio.sleep(3600)

    stage.voice.on("speaking", slow)
    async with stage:
        stage.provider.emit(ResponseCreated("r"))
        for _ in range(3000):
            stage.provider.emit(Speaking(FRAME, "r", "i"))
        stage.provider.emit(ResponseDone("r"))
        assert (stage.names().count("speaking"), asyncio.get_running_loop().time()) == (3000, 0)
        await asyncio.sleep(0)
    assert [error.code for error in errors] == ["listener_overflow"]
