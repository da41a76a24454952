"""The scripted provider does what it is told, records what it is asked, and is a healthy service otherwise."""

from __future__ import annotations

import asyncio

import pytest
from vivavoce.audio import AudioFormat
from vivavoce.errors import ConnectionLostError, NotConnectedError, QuotaError
from vivavoce.events import (
    ItemAdded,
    ProviderMessage,
    ResponseCreated,
    ResponseDone,
    SessionCreated,
    Speaking,
    SpeakingDone,
    SpeechStarted,
    SpeechStopped,
    ToolCallStart,
    Writing,
)
from vivavoce.provider import Interruption
from vivavoce.testing import (
    RecordingContext,
    Reply,
    ScriptedProvider,
    Step,
    current_clock,
    no_leaks,
    ramp,
    virtual_run,
)


def scenario(test):
    """Run a test on the virtual clock, with nothing left over."""

    def run():
        async def guarded():
            async with no_leaks():
                await test()

        virtual_run(guarded())

    run.__doc__, run.__name__ = test.__doc__, test.__name__
    return run


async def connected(**options):
    provider, context = ScriptedProvider(**options), RecordingContext()
    await provider.connect(context, {})
    return provider, context


@scenario
async def test_healthy_connect():
    """Without a script connect names the session and says so."""
    provider, context = await connected()
    assert context.session.id == "session-1"
    assert context.of(SessionCreated) == [SessionCreated("session-1")]
    assert provider.connected
    assert provider.called("connect")[0].session == 1


@scenario
async def test_script_is_taken_call_by_call():
    """A list of steps is used up in order: fail, be slow, and then healthy."""
    provider = ScriptedProvider({"connect": [QuotaError("none left"), Step(delay=2), None]})
    with pytest.raises(QuotaError, match="none left"):
        await provider.connect(RecordingContext(), {})
    assert not provider.connected
    await provider.connect(RecordingContext(), {})
    await provider.connect(RecordingContext(), {})
    assert provider.connected
    assert [call.at for call in provider.called("connect")] == [0.0, 0.0, 2.0]


@scenario
async def test_single_step_is_for_every_call():
    """A step that is not in a list is what every call does."""
    provider = ScriptedProvider({"get_speakers": Step(returns=[])})
    assert await provider.get_speakers(RecordingContext()) == []
    assert await provider.get_speakers(RecordingContext()) == []


@scenario
async def test_hanging_step_waits_until_cancelled():
    """A hook that hangs never returns by itself."""
    provider = ScriptedProvider({"connect": Step(hangs=True)})
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(10):
            await provider.connect(RecordingContext(), {})
    assert current_clock().now == 10.0


@scenario
async def test_step_can_do_anything():
    """`does` gets the context and the arguments; its result is the hook's."""

    async def does(context, text, options):
        return [type(context), text, options]

    provider = ScriptedProvider({"speak": [Step(does=does)]})
    result = await provider.speak(RecordingContext(), "hi", {"speaker": None})
    assert result == [RecordingContext, "hi", {"speaker": None}]


@scenario
async def test_step_emits_and_loses():
    """A step may emit events and then lose the connection."""
    gone = ConnectionLostError("gone")
    provider, context = await connected(
        script={"send_text": [Step(emits=[ProviderMessage("a", {})], loses=gone)]}
    )
    with pytest.raises(ConnectionLostError):
        await provider.send_text(context, "hello", "user")
    assert context.of(ProviderMessage) == [ProviderMessage("a", {})]
    assert context.losses == [gone]
    assert not provider.connected


def test_unknown_hook_in_a_script_is_refused():
    """A misspelt hook is an error that lists the hooks."""
    with pytest.raises(ValueError, match=r"no such hook: conect\. Hooks are answer, attach"):
        ScriptedProvider({"conect": None})
    with pytest.raises(ValueError, match="no such hook"):
        ScriptedProvider().script.add("conect", None)


@scenario
async def test_steps_can_be_added_later():
    """`script.add` puts steps behind those that are left."""
    provider, context = await connected()
    provider.script.add("send_text", RuntimeError("second thoughts"))
    with pytest.raises(RuntimeError, match="second thoughts"):
        await provider.send_text(context, "hello", "user")


@scenario
async def test_reply_is_a_whole_sequence_in_order():
    """A reply is created, spoken, written, and done; its audio says its own place."""
    provider, context = await connected()
    context.events.clear()
    reply = provider.reply("hello there", audio_ms=50)
    await provider.idle()
    assert [event.type for event in context.events] == [
        "response.created",
        "*item",
        "writing",
        *["speaking"] * 3,
        "speaking.done",
        "writing",
        "response.done",
    ]
    assert (
        b"".join(event.audio for event in context.of(Speaking))
        == ramp(50, AudioFormat())
        == bytes(provider.spoken)
    )
    assert context.of(Writing)[-1] == Writing("hello there", "assistant", "item-1", reply, final=True)
    assert context.of(ResponseDone)[0].status == "completed"
    assert context.of(ResponseDone)[0].usage.output_seconds == 0.05


@scenario
async def test_answer_gives_the_replies_in_order():
    """`answer` begins the next reply and returns its id at once; then there is a plain one each time."""
    provider, context = await connected(replies=[Reply("one", 0), Reply("two", 0)])
    ids = [await provider.answer(context, {"text_only": True}) for _ in range(3)]
    await provider.idle()
    finals = {event.response_id: event.text for event in context.of(Writing) if event.final}
    assert finals == dict(zip(ids, ["one", "two", "ok"], strict=True))
    assert provider.called("answer")[0].args == ({"text_only": True},)


@scenario
async def test_paced_reply_takes_the_time_of_speech():
    """A paced reply of one second takes one second of the loop's clock."""
    provider, context = await connected()
    provider.reply("slow", audio_ms=1000, paced=True)
    await current_clock().advance(0.5)
    assert len(context.of(Speaking)) == 26
    await provider.idle()
    assert current_clock().now == pytest.approx(1.0)


@scenario
async def test_interrupt_stops_the_reply():
    """An interruption that cancels ends the running reply as cancelled, and no more audio comes."""
    provider, context = await connected()
    reply = provider.reply("long", audio_ms=1000, paced=True)
    await current_clock().advance(0.1)
    await provider.interrupt(context, Interruption(reply, cancel=True))
    sent = len(context.of(Speaking))
    await current_clock().advance(2)
    assert len(context.of(Speaking)) == sent
    assert context.of(ResponseDone) == [ResponseDone(reply, "cancelled", "client_cancelled")]
    assert context.of(SpeakingDone) == []


@scenario
async def test_interruption_without_cancel_stops_nothing():
    """An interruption that only cuts leaves the reply running."""
    provider, context = await connected()
    reply = provider.reply("long", audio_ms=100, paced=True)
    await provider.interrupt(context, Interruption(reply, cancel=False))
    await provider.idle()
    assert context.of(ResponseDone)[0].status == "completed"


@pytest.mark.parametrize(("server_interrupts", "status"), [(True, "cancelled"), (False, "completed")])
def test_user_speech_ends_the_reply_if_the_session_says_so(server_interrupts, status):
    """The service interrupts by itself only in a session that has it so."""

    async def main():
        provider, context = await connected()
        context.session.server_interrupts = server_interrupts
        provider.reply("long", audio_ms=500, paced=True)
        await current_clock().advance(0.1)
        provider.user_says("stop")
        await provider.idle()
        assert [event.status for event in context.of(ResponseDone)] == [status]

    virtual_run(main())


@scenario
async def test_user_says():
    """An utterance starts, stops, takes its place and is transcribed."""
    provider, context = await connected()
    context.events.clear()
    item = provider.user_says("what time is it?", at_ms=100)
    assert context.events == [
        SpeechStarted(item, 100),
        SpeechStopped(item, 1100),
        ItemAdded(item, "user"),
        Writing("what time is it?", "user", item, final=True),
    ]


@scenario
async def test_user_without_a_transcript():
    """Without text the item says that none will follow."""
    provider, context = await connected()
    item = provider.user_says(None)
    assert context.of(ItemAdded) == [ItemAdded(item, "user", transcribed=False)]
    assert context.of(Writing) == []


@scenario
async def test_tool_calls_come_before_the_end_of_the_reply():
    """A reply with tool calls names each, and results are kept by call id."""
    provider, context = await connected()
    provider.reply("", 0, tool_calls=[("time", "{}"), ("date", {"zone": "UTC"})])
    await provider.idle()
    calls = context.of(ToolCallStart)
    assert [(call.name, call.arguments) for call in calls] == [("time", "{}"), ("date", {"zone": "UTC"})]
    assert isinstance(context.events[-1], ResponseDone)
    await provider.return_tool_result(context, calls[0].call_id, "noon")
    assert provider.tool_results == {"call-1": "noon"}


@scenario
async def test_held_reply_ends_when_told():
    """A held reply is open until `finish`."""
    provider, context = await connected()
    reply = provider.reply("wait", 20, hold=True)
    await provider.idle()
    assert context.of(ResponseDone) == []
    provider.finish(reply, "incomplete", "max_output_tokens")
    assert context.of(ResponseDone) == [ResponseDone(reply, "incomplete", "max_output_tokens")]


@scenario
async def test_lose_after_frames():
    """The connection breaks with the third frame, and what is sent later is refused."""
    provider, context = await connected()
    provider.lose(after_frames=3)
    for _ in range(3):
        assert provider.send(context, b"\0\0") is None
    assert len(context.losses) == 1
    with pytest.raises(ConnectionLostError):
        provider.send(context, b"\0\0")
    assert bytes(provider.heard) == b"\0\0" * 3


@scenario
async def test_lose_ends_the_running_reply():
    """A connection that breaks takes its reply with it: no event and no task follows."""
    provider, context = await connected()
    provider.reply("long", audio_ms=1000, paced=True)
    await current_clock().advance(0.1)
    provider.lose(OSError("cable"))
    seen = len(context.events)
    await current_clock().advance(5)
    assert len(context.events) == seen
    assert isinstance(context.losses[0], OSError)


@scenario
async def test_stalled_service_holds_send_back():
    """While the service does not read, `send` gives something to wait for."""
    provider, context = await connected()
    provider.stall()
    waiting = asyncio.ensure_future(provider.send(context, b"\0\0"))
    await current_clock().advance(60)
    assert not waiting.done()
    provider.resume()
    await waiting
    assert provider.send(context, b"\0\0") is None


@scenario
async def test_close_lets_a_stalled_send_go():
    """Closing ends what waits for the service."""
    provider, context = await connected()
    provider.stall()
    waiting = asyncio.ensure_future(provider.send(context, b"\0\0"))
    await asyncio.sleep(0)
    await provider.close(context, "done")
    await waiting
    assert not provider.connected


@scenario
async def test_close_of_an_old_session_leaves_the_new_one():
    """A late close of a replaced session does not end its successor."""
    provider, old = await connected()
    new = RecordingContext()
    await provider.connect(new, {})
    await provider.close(old, "replaced")
    assert provider.connected
    assert provider.context is new


def test_close_before_connect_is_harmless():
    """The core closes also after a connect that never came to the provider."""
    virtual_run(ScriptedProvider().close(RecordingContext(), "never opened"))


@scenario
async def test_manual_turns():
    """Pending audio becomes one item when committed; none when cleared or empty."""
    provider, context = await connected()
    await provider.commit_input(context)
    provider.send(context, b"\0\0")
    await provider.clear_input(context)
    await provider.commit_input(context)
    assert context.of(ItemAdded) == []
    provider.send(context, b"\0\0")
    await provider.commit_input(context)
    assert context.of(ItemAdded) == [ItemAdded("user-1", "user", transcribed=False)]


@scenario
async def test_speak_and_listen():
    """Speaking gives 100 ms a word, from text or a stream of text; listening returns the transcript."""

    async def words():
        yield "one two"
        yield "three"

    async def recording():
        yield b"\1\0"
        yield b"\2\0"

    provider = ScriptedProvider(transcript="one two")
    context = RecordingContext()
    whole = [chunk async for chunk in (await provider.speak(context, "one two", {})).chunks]
    streamed = [chunk async for chunk in (await provider.speak(context, words(), {})).chunks]
    assert [len(chunk) for chunk in whole] == [4800] * 2
    assert b"".join([*whole, *streamed]) == ramp(500, AudioFormat())
    assert await provider.listen(context, recording(), {}) == "one two"
    assert bytes(provider.heard) == b"\1\0\2\0"


@scenario
async def test_events_of_an_old_session_can_be_emitted():
    """A test may let a late event of an old session arrive."""
    provider, old = await connected()
    await provider.connect(RecordingContext(), {})
    provider.emit(ResponseCreated("late"), context=old)
    provider.raw("ping", n=1)
    assert old.of(ResponseCreated) == [ResponseCreated("late")]
    assert provider.context.of(ProviderMessage) == [ProviderMessage("ping", {"n": 1})]


def test_hooks_without_a_loop_are_recorded():
    """`attach`, `on` and `off` may be called where no loop runs."""
    provider = ScriptedProvider()
    provider.attach("the voice")
    provider.on("speaking", print)
    provider.off("speaking", print)
    assert [(call.hook, call.args, call.at) for call in provider.calls] == [
        ("attach", ("the voice",), None),
        ("on", ("speaking", print), None),
        ("off", ("speaking", print), None),
    ]
    assert provider.voice == "the voice"


def test_no_context_before_the_first_session():
    """Before connect there is no context, and the error says so."""
    with pytest.raises(NotConnectedError, match="never connected"):
        ScriptedProvider().lose()


def test_every_hook_is_implemented():
    """The scripted provider has every hook there is, each with its marker."""
    import pluggy
    from vivavoce.hookspecs import PROJECT, HookSpecs

    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(HookSpecs)
    manager.register(ScriptedProvider())
    manager.check_pending()
    hooks = [name for name in vars(HookSpecs) if not name.startswith("_")]
    assert [len(getattr(manager.hook, name).get_hookimpls()) for name in hooks] == [1] * len(hooks)


def test_ramp_numbers_its_frames():
    """Two channels, 1 kHz: each frame says its number, from the given start, wrapping at 65,536."""
    audio = ramp(3, AudioFormat(rate=1000, channels=2), start=65535)
    assert audio == b"".join(n.to_bytes(2, "little", signed=True) * 2 for n in (32767, -32768, -32767))
