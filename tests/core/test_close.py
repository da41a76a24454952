"""close(): from anywhere, at any time, as often as one likes; and nothing of a session is left after it."""

from __future__ import annotations

import asyncio

import pytest
from conversation import FRAME, Stage, provider, scenario, turns
from vivavoce import Voice, hookimpl, tool
from vivavoce.errors import NotConnectedError
from vivavoce.events import Closed
from vivavoce.testing import Reply, ScriptedProvider, Step, current_clock


@scenario
async def test_close_before_connect():
    """Closing a voice that never connected does nothing, says nothing and waits for nothing."""
    stage = Stage()
    await stage.voice.close()
    assert (stage.voice.state, stage.names(), stage.provider.called("close")) == ("idle", [], [])
    async with stage:
        pass


@scenario
async def test_close_says_so_once():
    """`close` is emitted once for an opened session, clean, with its id."""
    stage = Stage()
    await stage.voice.connect()
    await stage.voice.close()
    await stage.voice.close()
    assert stage.of(Closed) == [Closed("closed", "closed by the app", True, "session-1")]
    assert stage.voice.state == "closed"


@scenario
async def test_provider_is_closed_once_a_session():
    """The hook is called once for each session, however often the voice is closed."""
    stage = Stage()
    for _ in range(2):
        await stage.voice.connect()
        await asyncio.gather(*(stage.voice.close() for _ in range(4)))
        await stage.voice.close()
    assert [call.args for call in stage.provider.called("close")] == [("closed",), ("closed",)]


@scenario
async def test_provider_is_closed_once_after_a_loss():
    """A lost session's provider was closed when it was lost; closing the voice does not close it again."""
    stage = Stage()
    stage.voice.on("error", lambda error: None)
    await stage.voice.connect()
    stage.provider.lose()
    await turns(5)
    await stage.voice.close()
    assert [call.args for call in stage.provider.called("close")] == [("lost",)]
    stage.check()


@scenario
async def test_close_while_reconnecting():
    """Closing while it dials again ends the attempt, emits one `close`, and closes each connection once."""
    stage = Stage(provider(script={"connect": [None, Step(hangs=True)]}))
    await stage.voice.connect(reconnect=True)
    stage.provider.lose()
    await asyncio.sleep(1)
    assert stage.voice.state == "reconnecting"
    await stage.voice.close()
    assert stage.voice.state == "closed"
    assert [event.clean for event in stage.of(Closed)] == [True]
    assert [call.args for call in stage.provider.called("close")] == [("lost",), ("connect failed",)]
    assert stage.of(Closed)[0].session_id == "session-1"
    stage.check()
    await stage.voice.connect()
    await stage.voice.close()


@scenario
async def test_close_while_waiting_to_reconnect():
    """Closing in the pause before an attempt ends the reconnecting."""
    stage = Stage(provider(script={"connect": [None, *[ConnectionRefusedError()] * 50]}))
    await stage.voice.connect(reconnect=True)
    stage.provider.lose()
    await asyncio.sleep(3)
    dialled = len(stage.provider.called("connect"))
    await stage.voice.close()
    await asyncio.sleep(60)
    assert len(stage.provider.called("connect")) == dialled
    stage.check()


@scenario
async def test_concurrent_closes_all_wait():
    """Every concurrent close returns when the voice is closed."""
    stage = Stage(provider(script={"close": Step(delay=1)}))
    await stage.voice.connect()
    await asyncio.gather(*(stage.voice.close() for _ in range(3)))
    assert (current_clock().now, stage.names().count("close")) == (1, 1)


@scenario
async def test_cancelled_close_goes_on():
    """Cancelling close does not stop it."""
    stage = Stage(provider(script={"close": Step(delay=1)}))
    await stage.voice.connect()
    closing = asyncio.create_task(stage.voice.close())
    await turns(3)
    closing.cancel()
    await asyncio.wait({closing})
    await stage.voice.close()
    assert (current_clock().now, stage.voice.state) == (1, "closed")
    stage.check()


@pytest.mark.parametrize(
    "step",
    [Step(hangs=True), Step(fails=ValueError("bad")), Step(fails=TimeoutError())],
    ids=["hangs", "raises", "late"],
)
@scenario
async def test_bad_close_hook(step, caplog):
    """A provider that hangs or raises in close is logged; the voice is closed all the same, within 5 s."""
    stage = Stage(provider(script={"close": [step]}))
    await stage.voice.connect()
    await stage.voice.close()
    assert current_clock().now == (5 if step.hangs else 0)
    assert stage.voice.state == "closed"
    assert "close() of provider 'scripted'" in caplog.text
    stage.check()


@scenario
async def test_every_plugin_is_closed_even_if_one_fails():
    """A plugin whose close raises does not keep the provider from being closed."""

    class Bad:
        @hookimpl
        def close(self, reason):
            raise ValueError("bad plugin")

    stage = Stage(plugins=[Bad()])
    await stage.voice.connect()
    await stage.voice.close()
    assert len(stage.provider.called("close")) == 1


# From inside.


def closes_in_task(stage):
    def listener(event):
        stage.closing = asyncio.create_task(stage.voice.close())

    return listener


def closes_in_returned_task(stage):
    return lambda event: asyncio.create_task(stage.voice.close())


def closes_in_coroutine(stage):
    return lambda event: stage.voice.close()


def closes_async(stage):
    async def listener(event):
        await stage.voice.close()
        assert stage.voice.state == "closed"

    return listener


@pytest.mark.parametrize("how", [closes_in_task, closes_in_returned_task, closes_in_coroutine, closes_async])
@pytest.mark.parametrize(
    "event", ["open", "session.created", "response.created", "speaker", "speaking", "turn", "close"]
)
@pytest.mark.parametrize("once", [False, True])
@scenario
async def test_close_from_a_listener(how, event, once):
    """A listener of any kind may close the voice, at any event, without waiting for itself."""
    stage = Stage(provider(Reply(paced=True, audio_ms=200)))
    (stage.voice.once if once else stage.voice.on)(event, how(stage))
    try:
        await stage.voice.connect()
        if stage.voice.state == "open":
            response = await stage.voice.answer()
            await response.done()
    except NotConnectedError:
        pass
    await asyncio.sleep(1)
    await stage.voice.close()
    assert stage.voice.state == "closed"
    assert current_clock().now < 2
    stage.check()
    stage.voice.off(event)
    async with stage:
        pass


@scenario
async def test_connect_from_an_async_listener_of_close():
    """An async listener of `close` may connect again."""
    stage = Stage()
    opened = []

    async def again(event):
        if not opened:
            opened.append(True)
            await stage.voice.connect()

    stage.voice.on("close", again)
    await stage.voice.connect()
    await stage.voice.close()
    await turns(5)
    assert (stage.voice.state, current_clock().now) == ("open", 0)
    await stage.voice.close()
    stage.check()


@scenario
async def test_close_from_a_tool():
    """A tool may close the voice; its result goes nowhere."""
    ended = []

    @tool
    async def hang_up() -> str:
        """End the call."""
        await stage.voice.close()
        ended.append(stage.voice.state)
        return "bye"

    stage = Stage(provider(Reply(tool_calls=[("hang_up", "{}")])), tools=[hang_up])
    await stage.voice.connect()
    await stage.voice.answer()
    await asyncio.sleep(1)
    await stage.voice.close()
    assert (ended, stage.provider.tool_results, current_clock().now) == (["closed"], {}, 1)
    stage.check()


@scenario
async def test_close_from_a_hook_listener_on_a_wrapper():
    """A wrapper's own task may close the voice while a call is inside it."""

    class Wrapper:
        @hookimpl(wrapper=True)
        def answer(self, options):
            seen.append("in")
            try:
                return (yield)
            finally:
                seen.append("out")

    seen = []
    stage = Stage(provider(script={"answer": Step(hangs=True)}), plugins=[Wrapper()])
    await stage.voice.connect()
    asking = asyncio.create_task(stage.voice.answer())
    await turns(3)
    await stage.voice.close()
    with pytest.raises(NotConnectedError):
        await asking
    assert seen == ["in", "out"]


# While something is pending.


PENDING = {
    "answer": lambda voice: voice.answer(),
    "send_text": lambda voice: voice.send_text("hi"),
    "commit_input": lambda voice: voice.commit_input(),
    "clear_input": lambda voice: voice.clear_input(),
    "update_config": lambda voice: voice.update_config(a=1),
    "add_tools": lambda voice: voice.add_tools([]),
    "add_instructions": lambda voice: voice.add_instructions("be brief"),
    "send_event": lambda voice: voice.send_event("x"),
    "speak": lambda voice: voice.speak("hello"),
    "listen": lambda voice: voice.listen(FRAME),
    "get_speakers": lambda voice: voice.get_speakers(),
    "get_listener": lambda voice: voice.get_listener(),
}
HOOK = {"add_tools": "update_config", "add_instructions": "update_config"}


@pytest.mark.parametrize("method", PENDING)
@scenario
async def test_pending_call_raises(method):
    """A call that is pending when the voice closes raises NotConnectedError with code closed."""
    stage = Stage(provider(script={HOOK.get(method, method): Step(hangs=True)}))
    await stage.voice.connect()
    pending = asyncio.create_task(PENDING[method](stage.voice))
    await turns(5)
    await stage.voice.close()
    with pytest.raises(NotConnectedError) as raised:
        await pending
    assert (raised.value.code, raised.value.session_id) == ("closed", "session-1")
    stage.check()


@pytest.mark.parametrize("method", ["speak", "listen", "get_speakers", "get_listener"])
@scenario
async def test_pending_call_without_session_raises(method):
    """Calls that need no session end the same way."""
    stage = Stage(provider(script={method: Step(hangs=True)}))
    pending = asyncio.create_task(PENDING[method](stage.voice))
    await turns(5)
    await stage.voice.close()
    with pytest.raises(NotConnectedError) as raised:
        await pending
    assert raised.value.code == "closed"


@pytest.mark.parametrize("method", PENDING)
@scenario
async def test_call_waiting_for_reconnection_raises(method):
    """A call that waits for a reconnection raises NotConnectedError (code closed) when the voice closes."""
    stage = Stage(
        provider(script={"connect": [None, Step(hangs=True)], HOOK.get(method, method): Step(hangs=True)})
    )
    await stage.voice.connect(reconnect=True)
    stage.provider.lose()
    pending = asyncio.create_task(PENDING[method](stage.voice))
    await asyncio.sleep(1)
    await stage.voice.close()
    with pytest.raises(NotConnectedError) as raised:
        await pending
    assert raised.value.code == "closed"
    stage.check()


@pytest.mark.parametrize("one_frame", [True, False])
@scenario
async def test_pending_send_returns(one_frame):
    """send returns when the voice closes, also while the service does not read."""
    stage = Stage()
    await stage.voice.connect()
    stage.provider.stall()
    pending = asyncio.create_task(stage.voice.send(FRAME if one_frame else [FRAME] * 3))
    await turns(5)
    assert not pending.done()
    await stage.voice.close()
    assert await pending is None


@scenario
async def test_endless_send_returns():
    """send of a source that never ends returns when the voice closes, and closes the source."""
    closed = []

    async def endless():
        try:
            while True:
                yield FRAME
                await asyncio.sleep(0.02)
        finally:
            closed.append(True)

    stage = Stage()
    await stage.voice.connect()
    pending = asyncio.create_task(stage.voice.send(endless()))
    await asyncio.sleep(1)
    await stage.voice.close()
    await pending
    assert closed == [True]
    assert len(stage.provider.heard) >= 40 * len(FRAME)


@scenario
async def test_silent_source_is_closed():
    """send that waits for its source returns when the voice closes."""

    async def silent():
        await asyncio.Event().wait()
        yield FRAME

    stage = Stage()
    await stage.voice.connect()
    pending = asyncio.create_task(stage.voice.send(silent()))
    await turns(5)
    await stage.voice.close()
    await pending


@scenario
async def test_running_reply_ends_cancelled():
    """A reply under way ends: its stream `cancelled`, its awaitables with NotConnectedError."""
    stage = Stage(provider(Reply("hello", 1000, paced=True)))
    await stage.voice.connect()
    response = await stage.voice.answer()
    got = []

    async def play():
        async for audio in response.audio:
            got.append(audio)

    playing = asyncio.create_task(play())
    waiting = [asyncio.create_task(response.text()), asyncio.create_task(response.done())]
    await asyncio.sleep(0.5)
    await stage.voice.close()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert [(type(r), r.code) for r in results] == [(NotConnectedError, "closed")] * 2
    await playing
    assert response.audio.end_reason == "cancelled"
    assert len(got) < 50
    stage.check()


class SlowSink:
    """Plays at the speed of speech."""

    def __init__(self, format):
        self.format = format
        self.written = 0
        self.flushed = False
        self._began = None

    @property
    def played_ms(self):
        if self._began is None:
            return 0.0
        now = asyncio.get_running_loop().time()
        return min(self.format.milliseconds(self.written), (now - self._began) * 1000)

    async def write(self, audio):
        self.flushed = False
        if self._began is None:
            self._began = asyncio.get_running_loop().time()
        self.written += len(audio)
        while self.format.milliseconds(self.written) - self.played_ms > 200:
            await asyncio.sleep(0.01)

    def flush(self):
        self.flushed = True
        self.written = int(self.played_ms * self.format.rate // 1000) * 2

    async def drain(self):
        while self.format.milliseconds(self.written) - self.played_ms > 0.01:
            await asyncio.sleep(0.01)


@scenario
async def test_complete_reply_still_playing_falls_silent():
    """A reply that arrived whole and is still being played is silent once the voice is closed, and its stream `cancelled`."""
    stage = Stage(provider(Reply("hello", 2000)))
    await stage.voice.connect()
    response = await stage.voice.answer()
    sink = SlowSink(stage.voice.output_format)
    playing = asyncio.create_task(response.audio.pipe(sink))
    await response.done()
    await asyncio.sleep(0.5)
    await stage.voice.close()
    written = sink.written
    await playing
    assert sink.written == written
    assert 400 < sink.format.milliseconds(written) < 700
    assert (sink.flushed, response.audio.end_reason) == (True, "cancelled")


@scenario
async def test_sink_whose_flush_raises(caplog):
    """A sink that fails while it is silenced is logged and keeps nothing from being closed."""

    class Broken(SlowSink):
        def flush(self):
            raise OSError("device is gone")

    stage = Stage(provider(Reply("hello", 2000)))
    await stage.voice.connect()
    response = await stage.voice.answer()
    playing = asyncio.create_task(response.audio.pipe(Broken(stage.voice.output_format)))
    await asyncio.sleep(0.3)
    await stage.voice.close()
    assert stage.voice.state == "closed"
    assert "device is gone" in caplog.text
    await playing
    stage.check()


@scenario
async def test_speech_ends_cancelled():
    """What `speak` is saying ends, with a session and without."""
    for connected in (True, False):
        stage = Stage()
        if connected:
            await stage.voice.connect()
        stream = await stage.voice.speak("word " * 100)
        await turns(3)
        await stage.voice.close()
        assert stream.end_reason == "cancelled"


@scenario
async def test_nothing_reaches_the_next_session():
    """Stale audio, turns, tool results and queued events of a closed session are not seen in the next."""
    release = asyncio.Event()

    @tool
    async def slow() -> str:
        """Take a while."""
        try:
            await release.wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0.5)  # does not go at once
            return "late"
        return "in time"

    stage = Stage(provider(Reply("one", 100, tool_calls=[("slow", None)], hold=True)), tools=[slow])
    await stage.voice.connect()
    await stage.voice.answer()
    await asyncio.sleep(0.2)
    old = stage.provider.context
    emit, lost = old.emit, old.lost
    await stage.voice.close()
    await stage.voice.connect()
    before = stage.names()
    from vivavoce.errors import VoiceError
    from vivavoce.events import ResponseCreated, ResponseDone, Speaking, ToolCallStart, Turn, Writing

    for say in (emit, old.emit):
        for event in (
            ResponseCreated("late"),
            Speaking(FRAME, "late", "i"),
            Writing("late", "assistant", "i", "late"),
            ResponseDone("late"),
            ToolCallStart("c9", "slow", {}),
            Turn("user", "late"),
            VoiceError("late"),
        ):
            say(event)
    lost(ConnectionError("late"))
    old.lost()
    release.set()
    await asyncio.sleep(2)
    assert (stage.names(), stage.voice.state, stage.provider.tool_results) == (before, "open", {})
    await stage.voice.close()
    stage.check()


@scenario
async def test_hanging_async_listener_is_stopped_after_five_seconds():
    """Async listeners have 5 s to finish; then they are cancelled."""
    stage = Stage()

    async def hang(event):
        await asyncio.Event().wait()

    stage.voice.on("open", hang)
    await stage.voice.connect()
    await stage.voice.close()
    assert current_clock().now == 5


@scenario
async def test_events_end_with_close():
    """`events()` gives the `close` and ends."""
    stage = Stage()
    events = stage.voice.events()
    await stage.voice.connect()
    await stage.voice.close()
    assert [event.type async for event in events] == ["session.created", "session.updated", "open", "close"]


@scenario
async def test_events_end_with_a_loss():
    """`events()` ends when the session is lost for good, whatever it listens to."""
    stage = Stage()
    stage.voice.on("error", lambda error: None)
    events = stage.voice.events("speaking")
    await stage.voice.connect()
    stage.provider.lose()
    assert [event async for event in events] == []
    await stage.voice.close()


@scenario
async def test_loop_that_ends_leaves_nothing():
    """A voice that is never closed is cleaned up with its loop: nothing outlives `asyncio.run` but the objects."""

    async def forgets():
        voice = Voice(ScriptedProvider())
        await voice.connect()
        await voice.send(FRAME)

    from vivavoce.testing import virtual_run

    await asyncio.to_thread(virtual_run, forgets())
