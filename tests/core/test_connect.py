"""connect(): one budget, one attempt for all, nothing left of a failure, and a voice that works again."""

from __future__ import annotations

import asyncio
import math
import socket
import threading
from datetime import timedelta

import pytest
from conversation import FRAME, Stage, provider, scenario, turns
from vivavoce import ReconnectPolicy, Voice, hookimpl
from vivavoce.errors import (
    AuthenticationError,
    ConfigError,
    ConnectError,
    ConnectionLostError,
    ConnectTimeoutError,
    NotConnectedError,
    QuotaError,
)
from vivavoce.events import Opened
from vivavoce.testing import ScriptedProvider, Step, current_clock


async def works(stage):
    """The voice connects, hears and closes."""
    await stage.voice.connect()
    assert stage.voice.state == "open"
    await stage.voice.send(FRAME)
    await stage.voice.close()
    assert stage.voice.state == "closed"
    stage.check()


@scenario
async def test_open_session():
    """connect opens a session: state, id and events say so."""
    stage = Stage()
    assert (stage.voice.state, stage.voice.session_id) == ("idle", None)
    await stage.voice.connect()
    assert (stage.voice.state, stage.voice.session_id) == ("open", "session-1")
    assert stage.names() == ["session.created", "session.updated", "open"]
    assert stage.of(Opened) == [Opened("session-1")]
    await stage.voice.close()
    stage.check()


@scenario
async def test_connecting_is_a_state():
    """While it dials, the voice is `connecting`, and realtime calls say that there is no session yet."""
    stage = Stage(provider(script={"connect": Step(delay=1)}))
    attempt = asyncio.create_task(stage.voice.connect())
    await turns(3)
    assert stage.voice.state == "connecting"
    with pytest.raises(NotConnectedError, match="connecting"):
        await stage.voice.send(FRAME)
    await attempt
    await stage.voice.close()


@pytest.mark.parametrize(
    ("timeout", "seconds"),
    [(1500, 1.5), (0.5, 0.0005), (timedelta(seconds=2), 2.0), (timedelta(hours=1), 3600)],
)
@scenario
async def test_timeout_is_kept(timeout, seconds):
    """`timeout` is in milliseconds, or a timedelta; it bounds the whole attempt, and nothing is left."""
    stage = Stage(provider(script={"connect": [Step(hangs=True)]}))
    with pytest.raises(ConnectTimeoutError, match=f"within {seconds * 1000:.10g} ms") as raised:
        await stage.voice.connect(timeout=timeout)
    assert current_clock().now == pytest.approx(seconds)
    assert isinstance(raised.value, TimeoutError | ConnectionError)
    assert (raised.value.provider, raised.value.retryable) == ("scripted", True)
    assert stage.voice.state == "idle"
    assert [call.args for call in stage.provider.called("close")] == [("connect failed",)]
    await works(stage)


@pytest.mark.parametrize(
    "timeout", [0, -1, math.nan, math.inf, True, "30", None, timedelta(0), timedelta(seconds=-1), [1]]
)
@scenario
async def test_bad_timeout(timeout):
    """A timeout that is no positive number of milliseconds is refused before anything is dialled."""
    stage = Stage()
    with pytest.raises(ConfigError, match="timeout") as raised:
        await stage.voice.connect(timeout=timeout)
    assert (raised.value.option, stage.voice.state) == ("timeout", "idle")
    assert stage.provider.called("connect") == []


@pytest.mark.parametrize("reconnect", ["yes", 1, None, {}])
@scenario
async def test_bad_reconnect(reconnect):
    """`reconnect` is a bool or a policy."""
    with pytest.raises(ConfigError, match="reconnect"):
        await Stage().voice.connect(reconnect=reconnect)


@pytest.mark.parametrize("value", [0, -1, True, "1", math.nan])
def test_bad_policy(value):
    """A policy's figures are positive numbers of milliseconds."""
    with pytest.raises(ConfigError, match="budget_ms"):
        ReconnectPolicy(budget_ms=value)


@scenario
async def test_unknown_option_names_the_nearest():
    """An option that connect does not know is refused, with the nearest that it knows."""
    stage = Stage()
    with pytest.raises(ConfigError, match="did you mean 'timeout'") as raised:
        await stage.voice.connect(time_out=3)
    assert (raised.value.option, raised.value.provider, stage.voice.state) == ("time_out", "scripted", "idle")
    with pytest.raises(ConfigError, match="known are reconnect, timeout"):
        await stage.voice.connect(zzz=3)


class WithOptions(ScriptedProvider):
    connect_options = frozenset({"transport"})


@scenario
async def test_option_of_the_provider():
    """A provider's own options reach its hook."""
    stage = Stage(WithOptions())
    async with stage:
        await stage.voice.connect(transport="x")
    await stage.voice.connect(transport="y")
    await stage.voice.close()
    assert [call.args[0] for call in stage.provider.called("connect")] == [{}, {"transport": "y"}]
    with pytest.raises(ConfigError, match="did you mean 'transport'"):
        await stage.voice.connect(transprt="x")


@scenario
async def test_connect_twice_changes_nothing():
    """On an open voice connect dials nothing and emits nothing."""
    async with Stage() as stage:
        before = stage.names()
        await stage.voice.connect()
        assert (stage.names(), len(stage.provider.called("connect"))) == (before, 1)


@scenario
async def test_connect_on_open_voice_sets_the_reconnect_policy():
    """On an open voice connect takes the new reconnect policy, on and off."""
    async with Stage() as stage:
        await stage.voice.connect(reconnect=True)
        stage.provider.lose()
        assert stage.voice.state == "reconnecting"
        await asyncio.sleep(1)
        assert stage.voice.state == "open"
        await stage.voice.connect(reconnect=False)
        stage.voice.on("error", lambda error: None)
        stage.provider.lose()
        assert stage.voice.state == "closed"


@scenario
async def test_concurrent_callers_share_one_attempt():
    """Callers at the same time wait for the same attempt."""
    stage = Stage(provider(script={"connect": Step(delay=1)}))
    await asyncio.gather(*(stage.voice.connect() for _ in range(5)))
    assert (len(stage.provider.called("connect")), stage.names().count("open")) == (1, 1)
    await stage.voice.close()


@scenario
async def test_concurrent_callers_share_the_failure():
    """When the shared attempt fails, every caller is told."""
    stage = Stage(provider(script={"connect": [Step(delay=1, fails=QuotaError("none left"))]}))
    results = await asyncio.gather(*(stage.voice.connect() for _ in range(3)), return_exceptions=True)
    assert [type(result) for result in results] == [QuotaError] * 3
    assert stage.voice.state == "idle"
    await works(stage)


@scenario
async def test_one_of_several_callers_is_cancelled():
    """Cancelling one caller leaves the attempt to the others."""
    stage = Stage(provider(script={"connect": Step(delay=1)}))
    first, second = (asyncio.create_task(stage.voice.connect()) for _ in range(2))
    await asyncio.sleep(0.5)
    first.cancel()
    await second
    assert (first.cancelled(), stage.voice.state) == (True, "open")
    await stage.voice.close()


@scenario
async def test_every_caller_is_cancelled():
    """When all callers are cancelled the attempt is given up, and nothing of it is left."""
    stage = Stage(provider(script={"connect": [Step(hangs=True)]}))
    callers = [asyncio.create_task(stage.voice.connect()) for _ in range(3)]
    await asyncio.sleep(0.5)
    for caller in callers:
        caller.cancel()
    await asyncio.wait(callers)
    assert (stage.voice.state, len(stage.provider.called("close"))) == ("idle", 1)
    await works(stage)


@scenario
async def test_joining_caller_keeps_its_own_time():
    """A caller that joins an attempt waits no longer than its own timeout; the attempt goes on for the others."""
    stage = Stage(provider(script={"connect": Step(delay=10)}))
    first = asyncio.create_task(stage.voice.connect())
    await turns(2)
    with pytest.raises(ConnectTimeoutError, match="within 1000 ms"):
        await stage.voice.connect(timeout=1000)
    assert stage.voice.state == "connecting"
    await first
    assert stage.voice.state == "open"
    await stage.voice.close()


@scenario
async def test_last_caller_to_give_up_ends_the_attempt():
    """When the last caller's time is over nobody waits for the attempt: it ends, and the voice is idle."""
    stage = Stage(provider(script={"connect": [Step(delay=10)]}))
    first = asyncio.create_task(stage.voice.connect())
    await turns(2)
    second = asyncio.create_task(stage.voice.connect(timeout=1000))
    await turns(2)
    first.cancel()
    with pytest.raises(ConnectTimeoutError):
        await second
    assert stage.voice.state == "idle"
    await works(stage)


@scenario
async def test_connect_while_an_attempt_is_given_up():
    """Who comes while it is being cleared away is no part of it, and gets one of its own."""

    async def slow_to_end(*_: object) -> None:
        try:
            await asyncio.sleep(9)
        finally:
            await asyncio.sleep(2)

    stage = Stage(provider(script={"connect": [Step(does=slow_to_end)]}))
    first = asyncio.create_task(stage.voice.connect())
    await turns(3)
    first.cancel()
    await turns(3)
    await stage.voice.connect()
    assert (stage.voice.state, current_clock().now) == ("open", 2)
    with pytest.raises(asyncio.CancelledError):
        await first
    await stage.voice.close()


@scenario
async def test_close_while_connecting():
    """close ends the attempt: its callers get NotConnectedError (code closed), and no session event comes."""
    stage = Stage(provider(script={"connect": [Step(hangs=True)]}))
    callers = [asyncio.create_task(stage.voice.connect()) for _ in range(2)]
    await asyncio.sleep(0.1)
    await stage.voice.close()
    results = await asyncio.gather(*callers, return_exceptions=True)
    assert [(type(r), r.code) for r in results] == [(NotConnectedError, "closed")] * 2
    assert (stage.voice.state, stage.names()) == ("closed", [])
    assert current_clock().now == pytest.approx(0.1)
    await works(stage)


@scenario
async def test_close_in_the_same_turn_as_connect():
    """close called right behind connect, before the attempt has begun, ends it all the same."""
    stage = Stage(provider(script={"connect": [Step(hangs=True)]}))
    results = await asyncio.gather(stage.voice.connect(), stage.voice.close(), return_exceptions=True)
    assert [type(r) for r in results] == [NotConnectedError, type(None)]
    assert current_clock().now == 0
    await works(stage)


@scenario
async def test_connect_while_closing_waits_and_opens():
    """connect called while the voice closes opens a new session afterwards."""
    stage = Stage(provider(script={"close": [Step(delay=1)]}))
    await stage.voice.connect()
    closing = asyncio.create_task(stage.voice.close())
    await turns(2)
    await stage.voice.connect()
    assert (stage.voice.state, stage.voice.session_id) == ("open", "session-2")
    await closing
    await stage.voice.close()
    stage.check()


@scenario
async def test_connect_works_again_after_close():
    """A voice connects again after close; generations count on."""
    stage = Stage()
    for _ in range(3):
        await works(stage)
    assert [context.session.generation for context in stage.provider.contexts] == [1, 2, 3]
    assert stage.names().count("open") == stage.names().count("close") == 3


@scenario
async def test_connect_works_again_after_loss():
    """A voice whose session was lost connects again."""
    stage = Stage()
    stage.voice.on("error", lambda error: None)
    await stage.voice.connect()
    stage.provider.lose()
    assert stage.voice.state == "closed"
    await works(stage)


@pytest.mark.parametrize(
    ("failure", "kind", "code"),
    [
        (AuthenticationError("no such key"), AuthenticationError, "authentication"),
        (QuotaError("none left"), QuotaError, "quota"),
        (ConfigError("bad model", option="model"), ConfigError, "config"),
        (ConnectionRefusedError(111, "refused"), ConnectError, "connect"),
        (socket.gaierror(-2, "Name or service not known"), ConnectError, "connect"),
        (TimeoutError(), ConnectError, "connect"),
        (EOFError("gone"), ConnectError, None),
        (ValueError("a bug"), ConnectError, "provider_bug"),
        (ZeroDivisionError(), ConnectError, "provider_bug"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
@scenario
async def test_failures_are_typed(failure, kind, code):
    """Whatever the hook raises, connect raises a typed error that names the provider; nothing is left."""
    stage = Stage(provider(script={"connect": [Step(delay=0.1, fails=failure)]}))
    with pytest.raises(kind) as raised:
        await stage.voice.connect()
    assert raised.value.provider == "scripted"
    assert code in (None, raised.value.code)
    assert raised.value.retryable == (kind is ConnectError and raised.value.code == "connect")
    assert (stage.voice.state, stage.names(), len(stage.provider.called("close"))) == ("idle", [], 1)
    await works(stage)


@scenario
async def test_provider_bug_is_chained():
    """A bug of the provider is chained, so that its author finds it."""
    bug = ValueError("a bug")
    stage = Stage(provider(script={"connect": [bug]}))
    with pytest.raises(ConnectError, match="raised ValueError in connect: a bug") as raised:
        await stage.voice.connect()
    assert raised.value.__cause__ is bug


@pytest.mark.parametrize(
    ("cause", "kind"),
    [
        (None, ConnectError),
        (ConnectionLostError("gone"), ConnectError),
        (AuthenticationError("bad key"), AuthenticationError),
    ],
)
@scenario
async def test_connection_lost_while_dialling(cause, kind):
    """A loss before the session is ready ends the attempt, even when its hook hangs on."""
    stage = Stage(
        provider(script={"connect": [Step(does=lambda context, options: context.lost(cause), hangs=True)]})
    )
    with pytest.raises(kind):
        await stage.voice.connect()
    assert (stage.voice.state, stage.names()) == ("idle", [])
    await works(stage)


@scenario
async def test_session_events_of_a_failed_attempt_begin_no_session():
    """An attempt that fails late has emitted no `open`, and no `close` follows."""
    stage = Stage(provider(script={"update_config": None}))
    stage.provider.script.add("connect", Step(does=lambda context, options: None, fails=QuotaError("no")))
    with pytest.raises(QuotaError):
        await stage.voice.connect()
    assert stage.names() == []


class Stubborn(ScriptedProvider):
    @hookimpl
    async def connect(self, context, options):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(1)  # tidies up first
            raise


@scenario
async def test_hook_that_takes_time_to_be_cancelled():
    """A hook may take its time to tidy up when cancelled; connect still raises the timeout."""
    stage = Stage(Stubborn())
    with pytest.raises(ConnectTimeoutError):
        await stage.voice.connect(timeout=100)
    assert stage.voice.state == "idle"


class Swallows(ScriptedProvider):
    @hookimpl
    async def connect(self, context, options):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return


@scenario
async def test_hook_that_swallows_the_cancellation():
    """A hook that returns although its time is over has not connected."""
    stage = Stage(Swallows())
    with pytest.raises(ConnectTimeoutError):
        await stage.voice.connect(timeout=100)
    assert (stage.voice.state, stage.names()) == ("idle", [])


@scenario
async def test_close_hook_that_fails_after_a_failed_connect(caplog):
    """A provider whose close fails or hangs does not hide why connect failed."""
    stage = Stage(
        provider(
            script={"connect": [QuotaError("no")] * 2, "close": [ValueError("bad close"), Step(hangs=True)]}
        )
    )
    for _ in range(2):
        with pytest.raises(QuotaError):
            await stage.voice.connect()
    assert "bad close" in caplog.text
    assert "did not end within" in caplog.text
    await works(stage)


@pytest.mark.parametrize("reconnect", [False, True])
@scenario
async def test_lost_in_the_moment_it_is_ready(reconnect):
    """A session that is lost right after the provider has connected was open: it is restored, or its loss is told."""

    def loses(*_):
        asyncio.get_running_loop().call_soon(stage.provider.lose, ConnectionLostError("gone"))

    stage = Stage(provider(script={"connect": [Step(does=loses)]}))
    await stage.voice.connect(reconnect=reconnect)
    await asyncio.sleep(2)
    assert stage.voice.state == ("open" if reconnect else "closed")
    assert ("reconnected" in stage.names(), "close" in stage.names()) == (reconnect, not reconnect)
    await stage.voice.close()
    stage.check()


@scenario
async def test_context_manager_connects_and_closes():
    """`async with` opens and closes, also when the block raises."""
    stage = Stage()

    async def block():
        async with stage.voice as voice:
            assert (voice is stage.voice, voice.state) == (True, "open")
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        await block()
    assert stage.voice.state == "closed"
    stage.check()


@scenario
async def test_context_manager_whose_connect_fails():
    """`async with` whose connect fails leaves nothing behind."""
    stage = Stage(provider(script={"connect": [QuotaError("no")]}))
    with pytest.raises(QuotaError):
        async with stage.voice:
            raise AssertionError
    assert stage.voice.state == "idle"


@scenario
async def test_plain_connect_hook():
    """A provider's hooks may be plain functions."""

    class Plain:
        api = 1
        capabilities = frozenset({"realtime"})

        @hookimpl
        def connect(self):
            return None

        @hookimpl
        def send(self, audio):
            heard.append(audio)

    heard = []
    async with Voice(Plain()) as voice:
        await voice.send(FRAME)
    assert heard == [FRAME]


@scenario
async def test_no_thread_is_used():
    """A session needs no thread."""
    before = threading.active_count()
    async with Stage() as stage:
        await stage.voice.send(FRAME)
        assert threading.active_count() == before


@scenario
async def test_connect_while_reconnecting_keeps_its_time():
    """connect while reconnecting waits for the outcome, no longer than its timeout, and takes the new policy."""
    stage = Stage(provider(script={"connect": [None, Step(delay=5)]}))
    await stage.voice.connect(reconnect=True)
    stage.provider.lose()
    with pytest.raises(ConnectTimeoutError):
        await stage.voice.connect(timeout=1000, reconnect=True)
    assert stage.voice.state == "reconnecting"
    await stage.voice.connect(reconnect=True)
    assert stage.voice.state == "open"
    await stage.voice.close()
    stage.check()


@scenario
async def test_connect_while_reconnecting_and_closed():
    """connect that waits for a reconnection gets NotConnectedError (code closed) when the voice is closed."""
    stage = Stage(provider(script={"connect": [None, Step(delay=5)]}))
    await stage.voice.connect(reconnect=True)
    stage.provider.lose()
    waiting = asyncio.create_task(stage.voice.connect())
    await turns(3)
    await stage.voice.close()
    with pytest.raises(NotConnectedError) as raised:
        await waiting
    assert raised.value.code == "closed"
