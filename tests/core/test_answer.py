"""answer(): one reply at a time, manual turns, replies beside the conversation, and the order of turns."""

from __future__ import annotations

import asyncio

import pytest
from conversation import FRAME, Stage, provider, scenario, turns
from vivavoce import hookimpl, tool
from vivavoce.errors import ConfigError, NotConnectedError, ProviderError, VoiceError
from vivavoce.events import (
    ItemAdded,
    ResponseCreated,
    ResponseDone,
    Speaking,
    SpeakingDone,
    Turn,
    Usage,
    Writing,
)
from vivavoce.testing import Reply, ScriptedProvider, Step, current_clock
from vivavoce.testing.script import UNSET


@scenario
async def test_reply():
    """answer resolves when the reply has begun; text, audio and end follow."""
    async with Stage(provider(Reply("Hello there.", 300, paced=True))) as stage:
        response = await stage.voice.answer()
        assert (response.id, current_clock().now) == ("response-1", 0)
        assert stage.names()[-1] == "response.created"
        assert await response.text() == "Hello there."
        done = await response.done()
        assert (done.status, done.usage.output_seconds) == ("completed", pytest.approx(0.3))
        assert current_clock().now == pytest.approx(0.3)


@scenario
async def test_order_of_events():
    """The events of a reply come in the order of the contract."""
    async with Stage(provider(Reply("Hello.", 40))) as stage:
        response = await stage.voice.answer()
        async for _ in response.audio:
            pass
        await response.done()
        assert stage.names()[3:] == [
            "response.created", "writing", "speaker", "speaking", "speaking", "speaking.done", "writing",
            "usage", "response.done", "turn",
        ]  # fmt: skip


@scenario
async def test_options_reach_the_provider():
    """Common options and the provider's own are handed on; tools become tools."""

    @tool
    def look() -> str:
        """Look."""
        return ""

    async with Stage() as stage:
        await stage.voice.answer(
            instructions="short", text_only=True, metadata={"a": "1"}, temperature=0.5, tools=[look]
        )
        (call,) = stage.provider.called("answer")
        assert call.args[0] == {
            "instructions": "short", "text_only": True, "metadata": {"a": "1"}, "temperature": 0.5, "tools": (look,),
        }  # fmt: skip


@scenario
async def test_bad_tools():
    """Tools that are none are refused before the service is asked."""
    async with Stage() as stage:
        with pytest.raises(ConfigError):
            await stage.voice.answer(tools=[3])
        assert stage.provider.called("answer") == []


@pytest.mark.parametrize("state", ["idle", "connecting", "closed"])
@scenario
async def test_not_connected(state):
    """Without a session answer raises NotConnectedError."""
    stage = Stage(provider(script={"connect": Step(delay=1)}))
    attempt = asyncio.create_task(stage.voice.connect()) if state != "idle" else None
    await turns(3)
    if state == "closed":
        await attempt
        await stage.voice.close()
    with pytest.raises(NotConnectedError) as raised:
        await stage.voice.answer()
    assert raised.value.code == "not_connected"
    await stage.voice.close()
    await asyncio.gather(*([attempt] if attempt else []), return_exceptions=True)


@scenario
async def test_refused():
    """A refusal is raised with what the service said; the next answer works."""
    refusal = ProviderError("no such voice", code="invalid_value", param="voice", event_id="e1")
    async with Stage(provider(script={"answer": [refusal]})) as stage:
        with pytest.raises(ProviderError) as raised:
            await stage.voice.answer()
        assert raised.value is refusal
        assert (refusal.code, refusal.param, refusal.event_id) == ("invalid_value", "voice", "e1")
        await (await stage.voice.answer()).done()


@scenario
async def test_waits_for_the_reply_before():
    """While another reply runs answer waits for its end, whoever asked for that."""
    async with Stage(provider(Reply("one", 500, paced=True), Reply("two", 500, paced=True))) as stage:
        stage.provider.reply("by itself", 500, paced=True)
        responses = await asyncio.gather(stage.voice.answer(), stage.voice.answer())
        assert [call.at for call in stage.provider.called("answer")] == pytest.approx([0.5, 1.0])
        assert [response.id for response in responses] == ["response-2", "response-3"]
        await responses[1].done()


@scenario
async def test_reply_before_that_never_ends():
    """A reply that never ends does not hold answer for ever."""
    async with Stage() as stage:
        stage.provider.reply(hold=True)
        with pytest.raises(VoiceError) as raised:
            await stage.voice.answer()
        assert (raised.value.code, current_clock().now) == ("timeout", 300)
        stage.provider.finish("response-1")


class Announces(ScriptedProvider):
    """Says that a reply has begun by the event alone, `delay` seconds later."""

    delay = 0.5

    @hookimpl
    async def answer(self, context, options):
        self._record("answer", dict(options))
        asyncio.get_running_loop().call_later(self.delay, self._begin, Reply("announced", 40), context)


@scenario
async def test_reply_announced_by_event():
    """Where the hook returns no id, the next ResponseCreated is the reply."""
    async with Stage(Announces()) as stage:
        response = await stage.voice.answer()
        assert (response.id, current_clock().now) == ("response-1", 0.5)
        assert await response.text() == "announced"


@scenario
async def test_reply_that_is_never_announced():
    """A reply that does not begin within the deadline is a timeout, and does not claim a later one."""
    provider = Announces()
    provider.delay = 40
    async with Stage(provider) as stage:
        with pytest.raises(VoiceError) as raised:
            await stage.voice.answer()
        assert (raised.value.code, current_clock().now) == ("timeout", 30)
        await asyncio.sleep(20)


@scenario
async def test_cancelled_answer_claims_no_later_reply():
    """An answer that was cancelled leaves the next reply to the next answer, even if it begins in the same turn."""
    async with Stage(Announces()) as stage:
        asking = asyncio.create_task(stage.voice.answer())
        asyncio.get_running_loop().call_later(0.5, asking.cancel)
        await asyncio.wait({asking})
        await asyncio.sleep(1)
        response = await stage.voice.answer()
        assert response.id == "response-2"


@scenario
async def test_out_of_band():
    """A reply beside the conversation does not wait for the one that runs, nor for an answer that waits; it is no turn."""
    async with Stage(provider(Reply("aside", 0, out_of_band=True), Reply("main", 0))) as stage:
        stage.provider.reply("long", 1000, paced=True)
        waiting = asyncio.create_task(stage.voice.answer())
        await turns(5)
        response = await stage.voice.answer(out_of_band=True)
        assert (await response.text(), current_clock().now) == ("aside", 0)
        assert await (await waiting).text() == "main"
        await asyncio.sleep(3)
        assert [turn.text for turn in stage.of(Turn)] == ["long", "main"]


@scenario
async def test_reply_without_audio():
    """A text-only reply announces no speaker; its stream ends empty."""
    async with Stage(provider(Reply("only text", 0))) as stage:
        response = await stage.voice.answer(text_only=True)
        assert await response.text() == "only text"
        assert [chunk async for chunk in response.audio] == []
        assert "speaker" not in stage.names()


@pytest.mark.parametrize(
    ("status", "reason"),
    [("completed", "completed"), ("cancelled", "cancelled"), ("failed", "lost"), ("incomplete", "lost")],
)
@scenario
async def test_end_of_a_reply(status, reason):
    """However a reply ends, its stream ends, and done() says how."""
    async with Stage() as stage:
        stage.provider.script.add("answer", Step(does=lambda context, options: "r"))
        stage.provider.emit(ResponseCreated("r"))
        streams = []
        stage.voice.on("speaker", streams.append)
        stage.provider.emit(Speaking(FRAME, "r", "i"), ResponseDone("r", status, "because"))
        assert streams[0].end_reason == reason


@scenario
async def test_service_without_response_created():
    """A service that never says that a reply has begun still gives a whole one."""
    async with Stage() as stage:
        stage.provider.emit(Speaking(FRAME, "r", "i"), SpeakingDone("completed", "r", "i"), ResponseDone("r"))
        assert stage.names()[3:] == [
            "response.created",
            "speaker",
            "speaking",
            "speaking.done",
            "response.done",
        ]


@scenario
async def test_doubled_events_of_a_reply():
    """A reply that begins or ends twice is told once."""
    async with Stage() as stage:
        for _ in range(2):
            stage.provider.emit(ResponseCreated("r"))
        stage.provider.emit(Speaking(FRAME, "r", "i"))
        for _ in range(2):
            stage.provider.emit(SpeakingDone("completed", "r", "i"))
        for _ in range(2):
            stage.provider.emit(ResponseDone("r", usage=Usage(output_text_tokens=3)))
        stage.provider.emit(ResponseCreated("r"), Speaking(FRAME, "r", "i"))
        assert stage.names()[3:] == [
            "response.created", "speaker", "speaking", "speaking.done", "usage", "response.done",
        ]  # fmt: skip
        assert stage.voice.usage.output_text_tokens == 3
        await (await stage.voice.answer()).done()


# Manual turns.


def manual(context, options):
    context.session.manual_turns = True
    return UNSET


@scenario
async def test_manual_turns_that_need_no_commit(caplog):
    """A provider whose turns end with answer() alone has no hook for it, and nothing is said about that."""

    class Parrot:
        api = 1
        name = "parrot"
        capabilities = frozenset({"realtime", "turns"})

        @hookimpl
        def connect(self, context):
            context.session.manual_turns = True

        @hookimpl
        def send(self, audio):
            """Heard."""

        @hookimpl
        def answer(self, context):
            context.emit(ResponseCreated("r"))
            return "r"

    async with Stage(Parrot(), records=False) as stage:
        await stage.voice.send(FRAME)
        await stage.voice.answer()
    assert not caplog.records


@scenario
async def test_manual_turns_commit_first():
    """With manual turns answer commits what was sent since the last turn, once."""
    async with Stage(provider(script={"connect": Step(does=manual)})) as stage:
        await stage.voice.send(FRAME)
        await stage.voice.answer()
        await asyncio.sleep(1)
        await stage.voice.answer()
        hooks = [
            call.hook for call in stage.provider.calls if call.hook in ("send", "commit_input", "answer")
        ]
        assert hooks == ["send", "commit_input", "answer", "answer"]
        await asyncio.sleep(1)


@pytest.mark.parametrize("method", ["commit_input", "clear_input"])
@scenario
async def test_manual_turns_by_hand(method):
    """What was committed or cleared by hand is not committed again."""
    async with Stage(provider(script={"connect": Step(does=manual)})) as stage:
        await stage.voice.send([FRAME, FRAME])
        await getattr(stage.voice, method)()
        await stage.voice.answer()
        assert len(stage.provider.called("commit_input")) == (method == "commit_input")
        await asyncio.sleep(1)


@scenario
async def test_no_commit_with_service_turns():
    """Where the service ends turns, answer commits nothing."""
    async with Stage() as stage:
        await stage.voice.send(FRAME)
        await stage.voice.answer()
        assert stage.provider.called("commit_input") == []
        await asyncio.sleep(1)


# Turns.


def told(stage):
    return [(turn.role, turn.text) for turn in stage.of(Turn)]


@scenario
async def test_turns_come_in_order_with_late_transcripts():
    """A transcript that comes after the reply does not change the order of turns."""
    async with Stage() as stage:
        emit = stage.provider.emit
        emit(ItemAdded("u1", "user"), ResponseCreated("r1"), ItemAdded("a1", "assistant", "u1"))
        emit(Writing("answer one", "assistant", "a1", "r1", True), ResponseDone("r1"))
        emit(ItemAdded("u2", "user", "a1"), Writing("question two", "user", "u2", None, True))
        assert told(stage) == []
        emit(Writing("question one", "user", "u1", None, True))
        assert told(stage) == [
            ("user", "question one"),
            ("assistant", "answer one"),
            ("user", "question two"),
        ]
        assert [item.text for item in stage.voice.history] == ["question one", "answer one", "question two"]


@scenario
async def test_turns_do_not_wait_for_ever():
    """A transcript that never comes holds the turns behind it for ten seconds, no longer."""
    async with Stage() as stage:
        emit = stage.provider.emit
        emit(ItemAdded("u1", "user"), ResponseCreated("r1"), ItemAdded("a1", "assistant", "u1"))
        emit(Writing("answer", "assistant", "a1", "r1", True), ResponseDone("r1"))
        await asyncio.sleep(9)
        assert told(stage) == []
        await asyncio.sleep(2)
        assert told(stage) == [("assistant", "answer")]


@scenario
async def test_item_that_takes_its_place_late():
    """`previous_id` puts an item where it belongs."""
    async with Stage() as stage:
        emit = stage.provider.emit
        emit(ItemAdded("u1", "user"), ItemAdded("u3", "user"), ItemAdded("u2", "user", "u1"))
        for number in (3, 2, 1):
            emit(Writing(str(number), "user", f"u{number}", None, True))
        assert [text for _, text in told(stage)] == ["1", "2", "3"]


@scenario
async def test_turn_is_told_when_it_was_heard():
    """An assistant turn is finished when its audio was heard, not when it arrived."""
    async with Stage(provider(Reply("hi", 1000))) as stage:
        from sinks import Player

        response = await stage.voice.answer()
        playing = asyncio.create_task(response.audio.pipe(Player()))
        await response.done()
        await asyncio.sleep(0.5)
        assert told(stage) == []
        await playing
        assert told(stage) == [("assistant", "hi")]


@scenario
async def test_texts_without_item_ids():
    """Texts of a service without item ids become turns, one for each final."""
    async with Stage() as stage:
        emit = stage.provider.emit
        emit(Writing("he", "user"), Writing("llo", "user"), Writing("hello", "user", final=True))
        emit(Writing("hi!", "assistant", final=True), Writing("bye", "user", final=True))
        assert told(stage) == [("user", "hello"), ("assistant", "hi!"), ("user", "bye")]
        assert len({turn.item_id for turn in stage.of(Turn)}) == 3


@scenario
async def test_turn_given_by_the_provider():
    """A provider may give finished turns itself."""
    async with Stage() as stage:
        stage.provider.emit(Turn("user", "hello"), Turn("assistant", "hi", "a1"))
        assert told(stage) == [("user", "hello"), ("assistant", "hi")]


@scenario
async def test_send_text():
    """Text is added with its role, is a turn, and asks for nothing."""
    async with Stage() as stage:
        await stage.voice.send_text("hi")
        await stage.voice.send_text("be brief", role="system")
        assert [call.args for call in stage.provider.called("send_text")] == [
            ("hi", "user"),
            ("be brief", "system"),
        ]
        assert told(stage) == [("user", "hi"), ("system", "be brief")]
        with pytest.raises(ConfigError, match="role"):
            await stage.voice.send_text("hi", role="robot")
        with pytest.raises(ConfigError, match="text"):
            await stage.voice.send_text(b"bytes")


@scenario
async def test_usage_adds_up():
    """`voice.usage` is the sum over sessions; each part is an event."""
    stage = Stage()
    for _ in range(2):
        async with stage:
            stage.provider.emit(Usage(input_text_tokens=2, cached_audio_tokens=1, output_seconds=0.5))
    usage = stage.voice.usage
    assert (usage.input_tokens, usage.cached_tokens, usage.total_tokens, usage.output_seconds) == (
        4,
        2,
        4,
        1.0,
    )
    assert len(stage.of(Usage)) == 2
