"""Interruption cuts the service's memory to what was really heard, item by item."""

from __future__ import annotations

import asyncio

import pytest
from conversation import Stage, provider, scenario, turns
from sinks import Player
from vivavoce.audio import PCM16_24K
from vivavoce.errors import ConfigError, NotConnectedError, VoiceError
from vivavoce.events import (
    Interrupted,
    ItemAdded,
    ResponseCreated,
    ResponseDone,
    Speaking,
    SpeakingDone,
    SpeechStarted,
    SpeechStopped,
    Turn,
    Writing,
)
from vivavoce.items import Cut, Interruption
from vivavoce.testing import Reply, Step, ramp

LONG = " ".join(f"w{number}" for number in range(10))


def say(stage, response_id, *items):
    """The service says items, given as (id, milliseconds), all at once."""
    for item_id, ms in items:
        stage.provider.emit(ItemAdded(item_id, "assistant"))
        audio = ramp(ms, PCM16_24K)
        for at in range(0, len(audio), 4800):
            stage.provider.emit(Speaking(audio[at : at + 4800], response_id, item_id))
        stage.provider.emit(Writing(LONG, "assistant", item_id, response_id, final=True))


def interruptions(stage):
    return [call.args[0] for call in stage.provider.called("interrupt")]


async def playing(stage, *items, done=False, sink=None):
    """A reply of these items plays on a sink; returns the task that plays it, and the sink."""
    sink = sink or Player()
    task = None

    def play(stream):
        nonlocal task
        task = asyncio.create_task(stream.pipe(sink))

    stage.voice.once("speaker", play)
    stage.provider.emit(ResponseCreated("r"))
    say(stage, "r", *items)
    if done:
        stage.provider.emit(SpeakingDone("completed", "r", items[-1][0]), ResponseDone("r"))
    await turns(3)
    return task, sink


@pytest.mark.parametrize("done", [False, True], ids=["running", "done"])
@pytest.mark.parametrize("by", ["app", "user"])
@scenario
async def test_cut_at_the_played_position(done, by):
    """Heard 1 s of item A and nothing of B: A is cut at 1000 ms, B is deleted; also when the service has said it all."""
    async with Stage() as stage:
        task, _ = await playing(stage, ("A", 3000), ("B", 2000), done=done)
        await asyncio.sleep(1)
        if by == "app":
            await stage.voice.interrupt()
        else:
            stage.provider.emit(SpeechStarted("user-1"))
            await turns(5)
        await task
        (told,) = interruptions(stage)
        assert (told.response_id, told.cancel) == ("r", by == "app" and not done)
        assert [(cut.item_id, cut.received_ms) for cut in told.cuts] == [("A", 3000), ("B", 2000)]
        assert told.cuts[0].played_ms == pytest.approx(1000, abs=6)
        assert told.cuts[1].played_ms == 0
        (event,) = stage.of(Interrupted)
        assert (event.response_id, event.item_id) == ("r", "A")
        assert event.played_ms == pytest.approx(1000, abs=6)
        assert [(t.item_id, t.interrupted, t.text) for t in stage.of(Turn)] == [
            ("A", True, "w0 w1 w2"),
            ("B", True, ""),
        ]
        assert [item.text for item in stage.voice.history] == ["w0 w1 w2"]
        if not done:
            stage.provider.emit(ResponseDone("r", "cancelled"))


@scenario
async def test_cut_in_the_second_item():
    """Items heard to their end are left alone."""
    async with Stage() as stage:
        task, _ = await playing(stage, ("A", 1000), ("B", 2000), ("C", 500), done=True)
        await asyncio.sleep(1.5)
        await stage.voice.interrupt()
        await task
        (told,) = interruptions(stage)
        assert [cut.item_id for cut in told.cuts] == ["B", "C"]
        assert told.cuts[0].played_ms == pytest.approx(500, abs=6)
        assert stage.of(Interrupted)[0].item_id == "B"


@scenario
async def test_sink_at_24100_hz():
    """The position is in milliseconds of the service's audio, whatever the sink's rate."""
    async with Stage() as stage:
        task, _ = await playing(stage, ("A", 3000), done=True, sink=Player(24_100))
        await asyncio.sleep(1)
        await stage.voice.interrupt()
        await task
        assert interruptions(stage)[0].cuts[0].played_ms == pytest.approx(1000, abs=10)


@scenario
async def test_nothing_played_deletes():
    """A reply that somebody holds and has not begun to play is deleted as a whole."""
    async with Stage() as stage:
        stage.provider.emit(ResponseCreated("r"))
        say(stage, "r", ("A", 1000), ("B", 500))
        stage.provider.emit(ResponseDone("r"))
        await stage.voice.interrupt()
        assert interruptions(stage) == [Interruption("r", False, (Cut("A", 0, 1000), Cut("B", 0, 500)))]
        assert stage.voice.history == ()


@scenario
async def test_report_played():
    """What the app reports is what was heard."""
    async with Stage(provider(Reply(LONG, 2000))) as stage:
        response = await stage.voice.answer()
        response.audio.report_played(0)
        async for _ in response.audio:
            pass
        response.audio.report_played(500)
        await stage.voice.interrupt()
        assert interruptions(stage)[0].cuts == (Cut("item-1", 500, 2000),)
        assert response.audio.end_reason == "interrupted"
        assert [turn.text for turn in stage.of(Turn)] == ["w0 w1"]


@scenario
async def test_consumed_counts_as_heard():
    """Without a sink and a report, what was consumed counts as heard."""
    async with Stage(provider(Reply(LONG, 1000))) as stage:
        response = await stage.voice.answer()
        await response.done()
        reading = aiter(response.audio)
        for _ in range(10):
            await anext(reading)
        await stage.voice.interrupt()
        assert interruptions(stage)[0].cuts == (Cut("item-1", 200, 1000),)
        assert [chunk async for chunk in reading] == []


@pytest.mark.parametrize("listens", [True, False])
@scenario
async def test_pushed_audio_counts_as_heard(listens):
    """Audio given to `speaking` listeners, or to nobody, counts as heard when it came."""
    async with Stage(records=False) as stage:
        if listens:
            stage.voice.on("speaking", lambda event: None)
        stage.provider.emit(ResponseCreated("r"))
        say(stage, "r", ("A", 1000))
        await stage.voice.interrupt()
        assert interruptions(stage) == [Interruption("r", True, ())]
        stage.provider.emit(ResponseDone("r", "cancelled"))


@pytest.mark.parametrize(
    ("item_id", "played_ms", "cuts"),
    [
        (None, 1500, [("B", 500)]),
        ("A", 250, [("A", 250), ("B", 0)]),
        ("B", 100, [("B", 100)]),
        ("B", 99_999, []),
        (None, 0, [("A", 0), ("B", 0)]),
    ],
)
@scenario
async def test_position_given_by_the_app(item_id, played_ms, cuts):
    """`interrupt(item_id=, played_ms=)` says what was heard, clamped to what was received."""
    async with Stage() as stage:
        stage.voice.on("speaking", lambda event: None)
        stage.provider.emit(ResponseCreated("r"))
        say(stage, "r", ("A", 1000), ("B", 1000))
        await stage.voice.interrupt(item_id=item_id, played_ms=played_ms)
        (told,) = interruptions(stage)
        assert [(cut.item_id, cut.played_ms) for cut in told.cuts] == cuts
        stage.provider.emit(ResponseDone("r", "cancelled"))


@pytest.mark.parametrize("bad", [-1, float("nan"), "1", [1]])
@scenario
async def test_bad_position(bad):
    """A position that is no number of milliseconds is refused."""
    async with Stage() as stage:
        with pytest.raises(ConfigError, match="played_ms"):
            await stage.voice.interrupt(played_ms=bad)


@scenario
async def test_nothing_to_interrupt():
    """Without a reply, and with one that was heard to its end, interrupt does nothing and says nothing."""
    async with Stage() as stage:
        await stage.voice.interrupt()
        task, _ = await playing(stage, ("A", 500), done=True)
        await task
        await asyncio.sleep(2)
        await stage.voice.interrupt()
        stage.provider.emit(SpeechStarted("u"), SpeechStopped("u"))
        assert (interruptions(stage), stage.of(Interrupted)) == ([], [])
        assert [(turn.interrupted) for turn in stage.of(Turn)] == [False]


@scenario
async def test_late_audio_of_a_cut_reply_is_dropped():
    """Deltas that come after the cut are not delivered; the next reply is."""
    async with Stage() as stage:
        task, _ = await playing(stage, ("A", 1000))
        await asyncio.sleep(0.2)
        await stage.voice.interrupt()
        count = stage.names().count("speaking")
        stage.provider.emit(Speaking(ramp(100, PCM16_24K), "r", "A"), Writing("late", "assistant", "A", "r"))
        stage.provider.emit(SpeakingDone("completed", "r", "A"), ResponseDone("r", "cancelled"))
        await task
        assert stage.names().count("speaking") == count
        assert stage.names().count("speaking.done") == 1
        stage.provider.reply("next", 100)
        await stage.provider.idle()
        assert stage.names().count("speaking") == count + 5


@scenario
async def test_two_interruptions():
    """A second interruption of the same reply does nothing more."""
    async with Stage() as stage:
        task, _ = await playing(stage, ("A", 2000), done=True)
        await asyncio.sleep(0.5)
        await asyncio.gather(stage.voice.interrupt(), stage.voice.interrupt())
        stage.provider.emit(SpeechStarted("u"), SpeechStopped("u"))
        await task
        assert len(interruptions(stage)) == len(stage.of(Interrupted)) == 1


@scenario
async def test_user_speech_leaves_a_reply_alone_that_has_not_begun_to_speak():
    """The service decides about a reply without audio yet."""
    async with Stage() as stage:
        stage.provider.emit(ResponseCreated("r"), SpeechStarted("u"), SpeechStopped("u"))
        await turns(5)
        assert interruptions(stage) == []
        say(stage, "r", ("A", 100))
        stage.provider.emit(ResponseDone("r"))
        assert stage.names().count("speaking") == 1


@scenario
async def test_session_without_server_interruptions():
    """Where user speech does not interrupt, the reply plays on."""

    def no_interruption(context, options):
        from vivavoce.testing.script import UNSET

        context.session.server_interrupts = False
        return UNSET

    async with Stage(provider(script={"connect": Step(does=no_interruption)})) as stage:
        task, sink = await playing(stage, ("A", 1000), done=True)
        await asyncio.sleep(0.3)
        stage.provider.emit(SpeechStarted("u"), SpeechStopped("u"))
        await task
        assert (interruptions(stage), len(sink.heard)) == ([], PCM16_24K.bytes_for(1000))


@scenario
async def test_interrupted_by_the_service():
    """A reply that the service says was cancelled by user speech is cut at the played position."""
    async with Stage() as stage:
        task, _ = await playing(stage, ("A", 2000))
        await asyncio.sleep(0.5)
        stage.provider.emit(ResponseDone("r", "cancelled", "turn_detected"))
        await task
        await turns(3)
        (told,) = interruptions(stage)
        assert (told.cancel, told.cuts[0].played_ms) == (False, pytest.approx(500, abs=6))


@scenario
async def test_out_of_band_reply_is_left_alone():
    """A reply beside the conversation is not interrupted by user speech, and is no turn."""
    async with Stage() as stage:
        stage.provider.reply("aside", 100, out_of_band=True, hold=True)
        await asyncio.sleep(0.2)
        stage.provider.emit(SpeechStarted("u"), SpeechStopped("u"))
        assert interruptions(stage) == []
        stage.provider.finish("response-1")


@scenario
async def test_interrupt_refused_by_the_service():
    """A refusal is raised to the app, or told as an error when user speech interrupted; the sound is off either way."""
    refused = VoiceError("too late", code="refused")
    stage = Stage(provider(script={"interrupt": refused}))
    errors = []
    stage.voice.on("error", errors.append)
    async with stage:
        task, sink = await playing(stage, ("A", 2000), done=True)
        await asyncio.sleep(0.5)
        with pytest.raises(VoiceError, match="too late"):
            await stage.voice.interrupt()
        await task
        assert sink.played_ms < 600
        stage.provider.emit(ResponseCreated("s"))
        say(stage, "s", ("B", 100))
        stage.provider.emit(SpeechStarted("u"), SpeechStopped("u"))
        await turns(5)
        assert errors == [refused]
        stage.provider.emit(ResponseDone("s", "cancelled"))


@scenario
async def test_provider_without_interrupt_is_not_asked(caplog):
    """User speech silences the reply of a provider that cannot interrupt, without a warning the app did not cause."""
    from vivavoce import hookimpl

    class Simple:
        api = 1
        name = "simple"
        capabilities = frozenset({"realtime", "turns", "vad"})

        @hookimpl
        def connect(self, context):
            self.context = context

        @hookimpl
        def send(self, audio):
            pass

    simple = Simple()
    stage = Stage(simple)
    async with stage:
        stage.provider.emit = lambda *events: [simple.context.emit(event) for event in events]
        task, sink = await playing(stage, ("A", 2000), done=True)
        await asyncio.sleep(0.5)
        stage.provider.emit(SpeechStarted("u"), SpeechStopped("u"))
        await task
        assert sink.played_ms < 600
        await turns(3)
    assert caplog.records == []


@scenario
async def test_not_connected():
    """Without a session there is nothing to interrupt: NotConnectedError."""
    with pytest.raises(NotConnectedError):
        await Stage().voice.interrupt()


@scenario
async def test_stretches_without_turns():
    """Where there are no replies, a stretch of speech that was cut does not silence the next one."""
    async with Stage() as stage:
        streams = []
        stage.voice.on("speaker", streams.append)
        stage.provider.emit(Speaking(ramp(500, PCM16_24K), None, None))
        stage.provider.emit(SpeechStarted("u"))
        stage.provider.emit(Speaking(ramp(100, PCM16_24K), None, None))  # late
        stage.provider.emit(SpeechStopped("u"))
        stage.provider.emit(Speaking(ramp(200, PCM16_24K), None, None))
        stage.provider.emit(SpeakingDone("completed", None, None))
        assert [stream.end_reason for stream in streams] == ["interrupted", "completed"]
