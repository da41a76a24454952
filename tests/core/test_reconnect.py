"""Losing a session: with a policy it is restored, and says what could not be; without one it ends."""

from __future__ import annotations

import asyncio
import time

import pytest
from conversation import FRAME, Stage, provider, scenario, turns
from vivavoce import ReconnectPolicy, tool
from vivavoce.audio import PCM16_16K, PCM16_24K
from vivavoce.errors import (
    AuthenticationError,
    ConfigError,
    ConnectionLostError,
    ProtocolError,
    ProviderError,
    QuotaError,
    VoiceError,
)
from vivavoce.events import Closed, Reconnected, Reconnecting, ResponseCreated, SessionUpdated, Speaking
from vivavoce.reconnect import Backoff, may_retry
from vivavoce.testing import Reply, ScriptedProvider, Step, current_clock, ramp
from vivavoce.testing.script import UNSET

FOREVER = ReconnectPolicy(budget_ms=3_600_000)


@scenario
async def test_loss_without_policy():
    """Without a policy a loss ends the session: an error, a `close` that is not clean, pending calls raise."""
    stage = Stage(provider(script={"send_text": Step(hangs=True)}))
    errors = []
    stage.voice.on("error", errors.append)
    await stage.voice.connect()
    pending = asyncio.create_task(stage.voice.send_text("hi"))
    await turns(3)
    stage.provider.lose(ConnectionLostError("peer went away", code="1006", close_code=1006))
    assert stage.voice.state == "closed"
    with pytest.raises(ConnectionLostError, match="peer went away") as raised:
        await pending
    assert (raised.value.code, raised.value.close_code, raised.value.session_id) == (
        "1006",
        1006,
        "session-1",
    )
    assert [type(error) for error in errors] == [ConnectionLostError]
    (closed,) = stage.of(Closed)
    assert (closed.code, closed.clean, closed.session_id) == ("1006", False, "session-1")
    await stage.voice.close()
    assert stage.names().count("close") == 1
    stage.check()


@scenario
async def test_restored():
    """With a policy the session is restored; events tell of attempts and outage."""
    stage = Stage()
    await stage.voice.connect(reconnect=True)
    stage.provider.lose(ConnectionLostError("gone"))
    assert stage.voice.state == "reconnecting"
    await asyncio.sleep(1)
    assert (stage.voice.state, stage.voice.session_id) == ("open", "session-2")
    ((attempt, delay, cause),) = [(e.attempt, e.delay_ms, e.cause) for e in stage.of(Reconnecting)]
    assert (attempt, type(cause)) == (1, ConnectionLostError)
    assert 125 <= delay <= 250
    ((attempts, outage, lost),) = [(e.attempts, e.outage_ms, e.lost_audio_ms) for e in stage.of(Reconnected)]
    assert (attempts, lost) == (1, 0)
    assert outage == pytest.approx(delay)
    assert stage.provider.context.session.reconnected
    await stage.voice.close()
    stage.check()


@scenario
async def test_new_session_has_what_the_app_wants():
    """Instructions, tools, speaker and settings, as the app has changed them, and the options of connect, are in the new session."""

    class Optional(ScriptedProvider):
        connect_options = frozenset({"transport"})

    @tool
    def look() -> str:
        """Look."""
        return ""

    stage = Stage(Optional(), instructions="be kind", session={"a": {"b": 1}})
    await stage.voice.connect(reconnect=True, transport="x")
    await stage.voice.update_config(a={"c": 2}, speaker="alma")
    await stage.voice.add_tools([look])
    stage.provider.lose()
    await asyncio.sleep(1)
    session = stage.provider.context.session
    assert (session.instructions, session.speaker, session.tools) == ("be kind", "alma", (look,))
    assert session.settings == {"a": {"b": 1, "c": 2}}
    assert stage.provider.called("connect")[1].args == ({"transport": "x"},)
    await stage.voice.close()


@scenario
async def test_history_is_replayed():
    """The conversation so far is in the new session: what was said, what was heard, tool calls and their results."""

    @tool
    def look(where: str) -> str:
        """Look."""
        return f"nothing in {where}"

    stage = Stage(
        provider(Reply("", 0, tool_calls=[("look", '{"where": "box"}')]), Reply("It is empty.")), tools=[look]
    )
    await stage.voice.connect(reconnect=True)
    stage.provider.user_says("What is in the box?")
    await stage.voice.send_text("Say it.")
    await stage.voice.answer()
    await asyncio.sleep(2)
    stage.provider.lose()
    await asyncio.sleep(1)
    told = [
        (item.type, item.role, item.text or item.output or item.name)
        for item in stage.provider.context.session.history
    ]
    assert told == [
        ("message", "user", "What is in the box?"),
        ("message", "user", "Say it."),
        ("tool_call", None, "look"),
        ("tool_result", None, "nothing in box"),
        ("message", "assistant", "It is empty."),
    ]
    assert stage.of(Reconnected)[0].replayed_items == 5
    assert [item.text for item in stage.voice.history if item.text] == [
        "What is in the box?",
        "Say it.",
        "It is empty.",
    ]
    await stage.voice.close()
    stage.check()


@scenario
async def test_history_given_at_the_beginning():
    """`history=` is in the first session and stays the beginning of the conversation."""
    stage = Stage(history=[{"role": "user", "text": "hi"}, {"role": "assistant", "text": "hello"}])
    async with stage:
        assert [item.text for item in stage.provider.context.session.history] == ["hi", "hello"]
        await stage.voice.send_text("more")
    assert [item.text for item in stage.voice.history] == ["hi", "hello", "more"]


@scenario
async def test_provider_without_replay_replays_nothing():
    """A provider that cannot replay is not said to have."""
    stage = Stage(provider(capabilities={"realtime", "turns", "text"}))
    await stage.voice.connect(reconnect=True)
    await stage.voice.send_text("hi")
    stage.provider.lose()
    await asyncio.sleep(1)
    assert stage.of(Reconnected)[0].replayed_items == 0
    await stage.voice.close()


@scenario
async def test_reply_that_is_cut_by_the_loss():
    """A reply under way ends `lost`; what was heard of it can be read, and is in the history as interrupted."""
    stage = Stage(provider(Reply("one two three four five six seven eight nine ten", 1000, paced=True)))
    await stage.voice.connect(reconnect=True)
    response = await stage.voice.answer()
    got = bytearray()

    async def play():
        async for audio in response.audio:
            got.extend(audio)

    playing = asyncio.create_task(play())
    await asyncio.sleep(0.51)
    stage.provider.lose()
    await playing
    assert response.audio.end_reason == "lost"
    assert len(got) == PCM16_24K.bytes_for(520)
    with pytest.raises(ConnectionLostError):
        await response.done()
    await asyncio.sleep(1)
    (item,) = stage.provider.context.session.history
    assert (item.role, item.interrupted, item.text.startswith("one two three")) == ("assistant", True, True)
    await stage.voice.close()
    stage.check()


@scenario
async def test_unanswered_tool_call():
    """A call whose tool is at work when the session is lost gets its one result, and its answer goes nowhere."""
    ended = []

    @tool
    async def slow() -> str:
        """Take long."""
        try:
            await asyncio.sleep(3600)
        finally:
            ended.append(True)
        return "late"

    stage = Stage(provider(Reply("", 0, tool_calls=[("slow", None)])), tools=[slow])
    await stage.voice.connect(reconnect=True)
    await stage.voice.answer()
    await asyncio.sleep(1)
    stage.provider.lose()
    await asyncio.sleep(1)
    history = stage.provider.context.session.history
    assert [(item.type, item.call_id) for item in history] == [
        ("tool_call", "call-1"),
        ("tool_result", "call-1"),
    ]
    assert "connection was lost" in history[1].output
    assert (ended, stage.provider.tool_results) == ([True], {})
    results = [event for event in stage.seen if getattr(event, "type", "") == "tool-call-result"]
    assert [(event.call_id, event.error is not None) for event in results] == [("call-1", True)]
    await stage.voice.close()
    stage.check()


@pytest.mark.parametrize(
    "cause",
    [
        AuthenticationError("no"),
        QuotaError("no"),
        ConfigError("no"),
        ProviderError("no"),
        ProtocolError("no"),
        ValueError("bug"),
    ],
    ids=lambda cause: type(cause).__name__,
)
@scenario
async def test_final_causes(cause):
    """Authentication, quota, bad requests and bugs are final at once, as the cause of a loss and of a failed attempt."""
    stage = Stage(provider(script={"connect": [None, None, cause]}))
    stage.voice.on("error", lambda error: None)
    await stage.voice.connect(reconnect=True)
    stage.provider.lose(cause)
    assert stage.voice.state == "closed"
    await stage.voice.connect(reconnect=True)
    stage.provider.lose()
    await asyncio.sleep(60)
    assert (stage.voice.state, len(stage.provider.called("connect"))) == ("closed", 3)
    await stage.voice.close()
    stage.check()


def test_what_may_be_retried():
    """Network errors and retryable errors may, everything else may not."""
    assert [
        may_retry(c) for c in (None, OSError(), TimeoutError(), EOFError(), VoiceError("x", retryable=True))
    ] == [True] * 5
    assert [may_retry(c) for c in (VoiceError("x"), QuotaError("x", retryable=True), KeyError())] == [
        False
    ] * 3


@scenario
async def test_budget_is_spent():
    """When the budget is spent it gives up: one error, one `close`, and pending calls raise ConnectionLostError."""
    stage = Stage(provider(script={"connect": [None, *[ConnectionRefusedError("no")] * 1000]}))
    errors = []
    stage.voice.on("error", errors.append)
    await stage.voice.connect(reconnect=ReconnectPolicy(budget_ms=20_000))
    stage.provider.lose()
    await turns(3)
    pending = [
        asyncio.create_task(call)
        for call in (
            stage.voice.answer(),
            stage.voice.send_text("x"),
            stage.voice.update_config(a=1),
            stage.voice.connect(),
        )
    ]
    results = await asyncio.gather(*pending, return_exceptions=True)
    assert [type(result) for result in results] == [ConnectionLostError] * 4
    assert 10 < current_clock().now <= 20
    assert ([type(e) for e in errors], stage.names().count("close")) == ([ConnectionLostError], 1)
    attempts = [event.attempt for event in stage.of(Reconnecting)]
    assert attempts == list(range(1, len(attempts) + 1))
    assert 5 <= len(attempts) <= 12
    stage.check()
    await stage.voice.close()


@scenario
async def test_new_connect_has_a_new_budget():
    """A connect after giving up begins with a fresh budget."""
    stage = Stage(provider(script={"connect": [None, *[ConnectionRefusedError("no")] * 1000]}))
    stage.voice.on("error", lambda error: None)
    policy = ReconnectPolicy(budget_ms=5_000)
    await stage.voice.connect(reconnect=policy)
    stage.provider.lose()
    await asyncio.sleep(30)
    assert stage.voice.state == "closed"
    stage.provider.script._queues["connect"].clear()
    await stage.voice.connect(reconnect=policy)
    await asyncio.sleep(300)
    stage.provider.lose()
    await asyncio.sleep(1)
    assert stage.voice.state == "open"
    assert stage.of(Reconnecting)[-1].attempt == 1
    await stage.voice.close()


@scenario
async def test_server_that_accepts_and_closes():
    """Against a server that accepts and closes for ever attempts grow rare, and the budget ends them."""
    stage = Stage()
    stage.voice.on("error", lambda error: None)
    stage.voice.on("reconnected", lambda event: asyncio.get_running_loop().call_soon(stage.provider.lose))
    await stage.voice.connect(reconnect=ReconnectPolicy(budget_ms=180_000))
    stage.provider.lose()
    await asyncio.sleep(60)
    assert len(stage.provider.called("connect")) < 20
    await asyncio.sleep(130)
    assert stage.voice.state == "closed"
    stage.check()
    await stage.voice.close()


@pytest.mark.parametrize("healthy", ["time", "reply"])
@scenario
async def test_count_begins_anew_after_proven_health(healthy):
    """Ten seconds of a restored session, or a reply in it, are proof: the next outage counts from one."""
    stage = Stage()
    await stage.voice.connect(reconnect=True)
    for _ in range(3):
        stage.provider.lose()
        await asyncio.sleep(1)
        if healthy == "time":
            await asyncio.sleep(11)
        else:
            await (await stage.voice.answer()).done()
    assert [event.attempt for event in stage.of(Reconnecting)] == [1, 1, 1]
    await stage.voice.close()


@scenario
async def test_unproven_restorations_count_on():
    """Losses in quick succession are one outage."""
    stage = Stage()
    await stage.voice.connect(reconnect=True)
    for _ in range(3):
        stage.provider.lose()
        await asyncio.sleep(2)
    assert [event.attempt for event in stage.of(Reconnecting)] == [1, 2, 3]
    await stage.voice.close()


def test_backoff_doubles_and_is_bounded():
    """Delays double up to the ceiling, half of which is chance."""
    backoff = Backoff(FOREVER)
    backoff.lost(0)
    assert [backoff.next_delay(0, 0) for _ in range(7)] == [250, 500, 1000, 2000, 4000, 8000, 8000]
    backoff.healthy()
    assert backoff.next_delay(0, 0.999999) == pytest.approx(125, abs=0.1)


@scenario
async def test_hanging_attempt_is_given_up():
    """An attempt has `attempt_timeout_ms`; the next one follows."""
    stage = Stage(provider(script={"connect": [None, Step(hangs=True)]}))
    await stage.voice.connect(reconnect=True)
    stage.provider.lose()
    await asyncio.sleep(15)
    assert (stage.voice.state, stage.of(Reconnected)[0].attempts) == ("open", 2)
    assert [call.args for call in stage.provider.called("close")] == [("lost",), ("connect failed",)]
    await stage.voice.close()
    stage.check()


# Audio meanwhile.


@pytest.mark.parametrize("failures", [0, 2])
@scenario
async def test_newest_two_seconds_are_held(failures):
    """While reconnecting the newest 2 s are kept, also between attempts; the rest is counted as lost."""
    stage = Stage(
        provider(script={"connect": [None, *[ConnectionRefusedError("no")] * failures, Step(delay=4)]})
    )
    await stage.voice.connect(reconnect=True)
    stage.provider.lose()
    speech = ramp(5000, PCM16_24K)
    await stage.voice.send(speech[: 960 * 10])
    for at in range(960 * 10, len(speech), 960):
        await stage.voice.send(speech[at : at + 960])
        await asyncio.sleep(0.001)
    assert stage.voice.state == "reconnecting"
    await asyncio.sleep(20)
    assert bytes(stage.provider.heard) == speech[-96_000:]
    assert stage.of(Reconnected)[0].lost_audio_ms == pytest.approx(3000)
    await stage.voice.close()
    stage.check()


@scenario
async def test_held_audio_comes_before_newer():
    """What was held is heard before what is sent after the restoration, also when the service is slow to read."""
    stage = Stage(
        provider(script={"connect": [None, Step(delay=0.5)], "send": [None] + [Step(delay=0.1)] * 8})
    )
    await stage.voice.connect(reconnect=True)
    await stage.voice.send(ramp(20, PCM16_24K))
    stage.provider.lose()
    for number in range(1, 4):
        await stage.voice.send(ramp(20, PCM16_24K, number * 480))

    async def goes_on():
        for number in range(4, 8):
            await stage.voice.send(ramp(20, PCM16_24K, number * 480))

    stage.voice.on("reconnected", lambda event: asyncio.get_running_loop().create_task(goes_on()))
    await asyncio.sleep(10)
    assert bytes(stage.provider.heard) == ramp(160, PCM16_24K)
    await stage.voice.close()


@scenario
async def test_lost_again_while_catching_up():
    """What was held and not sent when the session is lost again stays held."""
    stage = Stage()
    await stage.voice.connect(reconnect=True)
    stage.provider.lose()
    await stage.voice.send(ramp(100, PCM16_24K))
    stage.voice.once("reconnected", lambda event: stage.provider.stall())
    await asyncio.sleep(1)
    assert stage.voice.state == "open"
    stage.provider.lose()
    await stage.voice.send(ramp(100, PCM16_24K, 2400))
    stage.provider.heard.clear()
    await asyncio.sleep(5)
    assert bytes(stage.provider.heard)[-4800:] == ramp(100, PCM16_24K, 2400)
    await stage.voice.close()
    stage.check()


@scenario
async def test_audio_held_is_lost_when_it_gives_up():
    """What was held when it gives up is counted in the error."""
    stage = Stage(provider(script={"connect": [None, *[ConnectionRefusedError("no")] * 100]}))
    errors = []
    stage.voice.on("error", errors.append)
    await stage.voice.connect(reconnect=ReconnectPolicy(budget_ms=2000))
    stage.provider.lose()
    await stage.voice.send(ramp(3000, PCM16_24K))
    await asyncio.sleep(10)
    assert "3000 ms of input audio were lost" in str(errors[0])
    await stage.voice.close()
    stage.provider.script._queues["connect"].clear()
    await stage.voice.connect()
    assert bytes(stage.provider.heard) == b""
    await stage.voice.close()


@scenario
async def test_audio_is_held_in_the_format_of_the_session():
    """While reconnecting the format is that of the session that was lost, not the provider's first one."""

    def narrow(context, options):
        context.session.input_format = PCM16_16K
        return UNSET

    stage = Stage(
        provider(
            script={"connect": [Step(does=narrow), ConnectionRefusedError(), Step(does=narrow, delay=1)]}
        )
    )
    await stage.voice.connect(reconnect=True)
    stage.provider.lose()
    await asyncio.sleep(0.6)
    assert stage.voice.input_format == PCM16_16K
    await stage.voice.send(ramp(1000, PCM16_24K), rate=24_000)
    await asyncio.sleep(5)
    assert len(stage.provider.heard) == 32_000
    await stage.voice.close()


@scenario
async def test_send_source_over_an_outage():
    """A source that is being sent goes on over an outage."""

    async def microphone():
        for number in range(200):
            yield ramp(20, PCM16_24K, number * 480)
            await asyncio.sleep(0.02)

    stage = Stage(provider(script={"connect": [None, Step(delay=0.5)]}))
    await stage.voice.connect(reconnect=True)
    sending = asyncio.create_task(stage.voice.send(microphone()))
    await asyncio.sleep(1)
    stage.provider.lose()
    await sending
    assert stage.voice.state == "open"
    assert bytes(stage.provider.heard) == ramp(4000, PCM16_24K)
    await stage.voice.close()


# Calls meanwhile.


@scenario
async def test_calls_wait_for_the_outcome():
    """Calls made while reconnecting wait, and go to the new session."""
    stage = Stage(provider(script={"connect": [None, Step(delay=1)]}))
    await stage.voice.connect(reconnect=True)
    stage.provider.lose()
    await asyncio.gather(stage.voice.send_text("hi"), stage.voice.answer(), stage.voice.update_config(a=1))
    assert [call.session for call in stage.provider.called("send_text")] == [2]
    await asyncio.sleep(1)
    await stage.voice.close()
    stage.check()


@scenario
async def test_speech_outlives_the_session():
    """What `speak` is saying needs no session: it goes on when the session is lost."""
    stage = Stage()
    await stage.voice.connect(reconnect=True)
    stream = await stage.voice.speak("word " * 400)
    await turns(2)
    stage.provider.lose()
    read = 0
    async for audio in stream:
        read += len(audio)
    assert (stream.end_reason, read) == ("completed", PCM16_24K.bytes_for(40_000))
    await asyncio.sleep(1)
    await stage.voice.close()


@scenario
async def test_late_events_of_the_lost_session():
    """What the old connection still says is ignored, in whatever way its provider kept the context."""
    stage = Stage()
    await stage.voice.connect(reconnect=True)
    context, emit, lost = stage.provider.context, stage.provider.context.emit, stage.provider.context.lost
    stage.provider.lose()
    await asyncio.sleep(1)
    before = stage.names()
    for say in (emit, context.emit):
        say(ResponseCreated("late"))
        say(Speaking(FRAME, "late", "x"))
        say(SessionUpdated("late"))
        say(VoiceError("late"))
    lost(ConnectionLostError("late"))
    context.lost()
    assert (stage.names(), stage.voice.state, stage.voice.session_id) == (before, "open", "session-2")
    await stage.voice.close()


# Renewal.


def expires(seconds):
    def say(context, options):
        context.session.expires_at = time.time() + seconds
        return UNSET

    return Step(does=say)


@scenario
async def test_session_is_renewed_before_it_expires():
    """A minute before the service's limit an idle session moves to a new one."""
    stage = Stage(provider(script={"connect": expires(600)}))
    await stage.voice.connect(reconnect=True)
    await asyncio.sleep(530)
    assert stage.voice.session_id == "session-1"
    await asyncio.sleep(15)
    assert (stage.voice.state, stage.voice.session_id) == ("open", "session-2")
    assert stage.of(Reconnecting)[0].cause.code == "session_expiring"
    await stage.voice.close()
    stage.check()


@scenario
async def test_renewal_waits_while_someone_speaks():
    """A reply, the user's speech and a tool put the renewal off until they have ended."""
    stage = Stage(provider(Reply("long", 20_000, paced=True), script={"connect": [expires(70)]}))
    await stage.voice.connect(reconnect=True)
    response = await stage.voice.answer()
    await asyncio.sleep(15)
    assert stage.voice.session_id == "session-1"
    await response.done()
    await asyncio.sleep(3)
    assert (response.audio.end_reason, stage.voice.session_id) == ("completed", "session-2")
    await stage.voice.close()


@scenario
async def test_no_renewal_without_a_policy_and_with_one_given_later():
    """Renewal is reconnecting: it needs the policy, which may come after the session."""
    stage = Stage(provider(script={"connect": [expires(600), expires(600)]}))
    await stage.voice.connect()
    await asyncio.sleep(100)
    await stage.voice.connect(reconnect=True)
    await asyncio.sleep(600)  # the time of day stands still on the virtual clock
    assert stage.voice.session_id == "session-2"
    await stage.voice.connect(reconnect=False)
    await asyncio.sleep(700)
    assert stage.voice.session_id == "session-2"
    await stage.voice.close()


@scenario
async def test_renewal_plans_end_with_the_voice():
    """A closed voice plans nothing."""
    stage = Stage(provider(script={"connect": expires(600)}))
    for _ in range(5):
        await stage.voice.connect(reconnect=True)
        await stage.voice.close()
    pending = [handle for handle in asyncio.get_running_loop()._scheduled if not handle.cancelled()]
    assert pending == []
