"""A session that ends: idle, in mid-reply, in mid-tool, in mid-reconnect, by every close code and without one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from openai_realtime.provider.service import PCM_20_MS, Heard, Line, Service, talk
from vivavoce import Voice, tool
from vivavoce.errors import ConnectionLostError, NotConnectedError
from vivavoce.reconnect import ReconnectPolicy

pytestmark = [pytest.mark.virtual_clock, pytest.mark.usefixtures("no_leaks")]

End = Callable[[Line], Awaitable[None]]


def closing(code: int, reason: str = "") -> End:
    async def end(line: Line) -> None:
        await line.peer.send_close(code, reason)

    return end


async def dropping(line: Line) -> None:
    line.peer.drop()


async def finishing(line: Line) -> None:
    line.peer.end()


# How it ends: the close code the app sees, whether a reconnect makes sense.
ENDS: dict[str, tuple[End, int, bool]] = {
    "1000": (closing(1000, "bye"), 1000, False),
    "1001": (closing(1001), 1001, True),
    "1006 by a reset": (dropping, 1006, True),
    "1006 by the end of the stream": (finishing, 1006, True),
    "1008": (closing(1008, "policy"), 1008, False),
    "1011": (closing(1011), 1011, True),
    "1012": (closing(1012), 1012, True),
    "1013": (closing(1013), 1013, True),
    "3000": (closing(3000), 3000, False),
    "4000": (closing(4000), 4000, False),
}


async def idle(voice: Voice, line: Line) -> None:
    """Nothing is going on."""


async def mid_reply(voice: Voice, line: Line) -> None:
    """The reply speaks, and the app plays what it is pushed."""
    voice.on("speaking", lambda event: None)
    line.service.tasks.append(asyncio.ensure_future(voice.answer()))
    await line.until("response.create")
    line.protocol.begin_response()
    line.protocol.audio(PCM_20_MS)
    line.protocol.text("Well, ")
    await line.flush()


async def mid_tool(voice: Voice, line: Line) -> None:
    """A tool runs."""
    line.protocol.begin_response()
    line.protocol.function_call("wait", "{}", "call_1")
    line.protocol.finish_response()
    await line.flush()


@tool
async def wait() -> str:
    """Takes its time."""
    await asyncio.sleep(3600)
    return "done"


PHASES = {"idle": idle, "mid-reply": mid_reply, "mid-tool": mid_tool}


async def begin(service: Service, phase: str, **options: Any) -> tuple[Voice, Heard, Line]:
    voice, heard = service.voice(tools=[wait])
    await voice.connect(**options)
    line = service.lines[0]
    await PHASES[phase](voice, line)
    if phase == "mid-reply":
        await heard.until("writing")
    elif phase == "mid-tool":
        await heard.until("response.done")
    return voice, heard, line


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("end", ENDS)
async def test_session_ends(end: str, phase: str) -> None:
    """Without a policy: one `error` and one `close` that say why, streams end as lost, and the next session is clean."""
    how, code, retryable = ENDS[end]
    async with Service() as service:
        voice, heard, line = await begin(service, phase)
        await how(line)
        closed = await heard.until("close")
        (error,) = heard.all("error")
        assert type(error) is ConnectionLostError
        assert (error.close_code, error.retryable, error.session_id) == (code, retryable, "sess_1")
        assert (closed.clean, closed.session_id, voice.state) == (False, "sess_1", "closed")
        with pytest.raises(NotConnectedError):
            await voice.send(PCM_20_MS)
        with pytest.raises(NotConnectedError):
            await voice.answer()
        if phase == "mid-reply":
            assert [stream.end_reason for stream in heard.all("speaker")] == ["lost"]
            assert [event.reason for event in heard.all("speaking.done")] == ["lost"]
            assert [turn.text for turn in heard.all("turn")] == ["Well, "]
            with pytest.raises(ConnectionLostError):
                await (await service.tasks[0]).done()
        await line.until_gone()
        assert len(service.lines) == 1
        await service.check_next_session(voice, heard)


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("end", [end for end in ENDS if ENDS[end][2]])
async def test_session_is_restored(end: str, phase: str) -> None:
    """With a policy: a new session, configured before anything else, with the conversation in it."""
    async with Service() as service:
        voice, heard, line = await begin(service, phase, reconnect=True)
        await ENDS[end][0](line)
        restored = await heard.until("reconnected")
        assert (restored.attempts, restored.lost_audio_ms, voice.state) == (1, 0.0, "open")
        assert restored.outage_ms < 500  # the peer's slow end of TCP is not waited for
        assert heard.all("close") == heard.all("error") == []
        new = service.lines[1]
        items = [event["item"] for event in new.sent("conversation.item.create")]
        assert new.types() == ["session.update", *(["conversation.item.create"] if items else [])]
        assert new.sent("session.update")[0]["session"] == line.sent("session.update")[0]["session"]
        if phase == "mid-reply":
            assert [(item["role"], item["content"][0]["text"]) for item in items] == [("assistant", "Well, ")]
            assert [stream.end_reason for stream in heard.all("speaker")] == ["lost"]
        elif phase == "mid-tool":
            assert [item["type"] for item in items] == ["function_call", "function_call_output"]
            assert "lost" in items[1]["output"]
        assert restored.replayed_items == len(items)
        await line.until_gone()


@pytest.mark.parametrize("end", [end for end in ENDS if not ENDS[end][2]])
async def test_end_that_is_meant_is_not_undone(end: str) -> None:
    """A service that ends the session on purpose is not called again, policy or not."""
    async with Service() as service:
        voice, heard, line = await begin(service, "idle", reconnect=True)
        await ENDS[end][0](line)
        await heard.until("close")
        assert (voice.state, len(service.lines), heard.all("reconnecting")) == ("closed", 1, [])


@pytest.mark.parametrize("end", ENDS)
async def test_end_in_mid_reconnect(end: str) -> None:
    """The new connection ends too: tried again where that makes sense, else final, and clean either way."""
    how, _, retryable = ENDS[end]

    async def broken(line: Line) -> None:
        line.deaf.add("session.update")
        await line.open()
        await line.receive()
        await how(line)

    async with Service(talk, broken, talk) as service:
        voice, heard, line = await begin(service, "idle", reconnect=True)
        line.peer.drop()
        if retryable:
            restored = await heard.until("reconnected")
            assert (restored.attempts, voice.state, len(service.lines)) == (2, "open", 3)
            assert [event.attempt for event in heard.all("reconnecting")] == [1, 2]
        else:
            await heard.until("close")
            assert (voice.state, len(service.lines)) == ("closed", 2)
            await service.check_next_session(voice, heard)


async def test_session_that_expires() -> None:
    """`session_expired`, then 1001: restored."""
    async with Service() as service:
        _voice, heard, line = await begin(service, "idle", reconnect=True)
        code, reason = line.protocol.fatal("session_expired", "Your session hit the maximum duration.")
        await line.flush()
        await line.peer.send_close(code, reason)
        await heard.until("reconnected")
        assert [event.cause.code for event in heard.all("reconnecting")] == ["session_expired"]


async def test_account_that_ends_the_session() -> None:
    """`insufficient_quota`, then a close that alone would be retried: final."""
    async with Service() as service:
        voice, heard, line = await begin(service, "idle", reconnect=True)
        line.protocol.fatal("insufficient_quota", "You exceeded your current quota.")
        await line.flush()
        await line.peer.send_close(1011)
        await heard.until("close")
        assert (voice.state, len(service.lines)) == ("closed", 1)
        assert heard.all("error")[-1].code == "insufficient_quota"
        assert "You exceeded your current quota." in str(heard.all("error")[-1])


@pytest.mark.parametrize("open_for", [0.0, 0.1])
async def test_server_that_accepts_and_closes_for_ever(open_for: float) -> None:
    """Attempts are counted on while nothing is proven: 20 at most in a minute, then it is over."""

    async def once(line: Line) -> None:
        await line.open()
        await line.receive()
        await asyncio.sleep(1)
        line.peer.drop()

    async def accepts_and_closes(line: Line) -> None:
        await line.open()
        await line.receive()
        await asyncio.sleep(open_for)
        await line.peer.send_close(1011)

    async with Service(once, accepts_and_closes) as service:
        voice, heard = service.voice()
        loop = asyncio.get_running_loop()
        began = loop.time()
        await voice.connect(reconnect=True)
        await heard.until("close")
        assert 30 < loop.time() - began <= 61.2
        assert 5 <= len(service.lines) <= 20
        assert (voice.state, len(heard.all("close"))) == ("closed", 1)


async def test_server_that_is_gone_for_good() -> None:
    """The budget of the policy is kept, and the last cause is told."""

    async def once(line: Line) -> None:
        await line.open()
        await line.receive()
        line.peer.drop()

    async def refuses(line: Line) -> None:
        await line.peer.refuse(503, "maintenance")

    async with Service(once, refuses) as service:
        voice, heard = service.voice()
        loop = asyncio.get_running_loop()
        began = loop.time()
        await voice.connect(
            reconnect=ReconnectPolicy(budget_ms=5_000, initial_delay_ms=100, max_delay_ms=500)
        )
        closed = await heard.until("close")
        assert 4 < loop.time() - began <= 5
        assert "maintenance" in closed.reason
        assert voice.state == "closed"


async def test_half_open_connection() -> None:
    """A peer that no longer answers is noticed by the keepalive, within the interval and the timeout."""

    async def vanishes(line: Line) -> None:
        await line.open()
        await line.receive()
        await line.peer.stall()

    async with Service(vanishes, talk) as service:
        voice, heard = service.voice(ping_interval=20.0, ping_timeout=10.0)
        await voice.connect(reconnect=True)
        loop = asyncio.get_running_loop()
        began = loop.time()
        lost = await heard.until("reconnecting")
        assert loop.time() - began == pytest.approx(30, abs=0.01)
        assert lost.cause.code == "keepalive"
        await heard.until("reconnected")
        assert voice.state == "open"


async def test_peer_that_stops_reading() -> None:
    """`send` waits for the peer, and after the write deadline the session is lost: nothing waits for ever."""

    async def stops(line: Line) -> None:
        await line.open()
        await line.receive()
        await line.peer.stall()

    async with Service(stops, talk, server={"rcvbuf": 4096}) as service:
        voice, heard = service.voice(write_deadline=5.0)
        await voice.connect()
        loop = asyncio.get_running_loop()
        began = loop.time()
        sent = 0

        async def flood() -> None:
            nonlocal sent
            while True:
                await voice.send(PCM_20_MS * 5)
                sent += 1

        with pytest.raises(ConnectionLostError) as caught:
            await flood()
        assert loop.time() - began == pytest.approx(5, abs=0.01)
        assert caught.value.code == "write_deadline"
        assert sent * 4800 < 8 * 1024 * 1024
        await heard.until("close")
        assert voice.state == "closed"
        await service.check_next_session(voice, heard)


async def test_connect_from_a_listener_of_close() -> None:
    """An app that connects again as soon as it hears of the loss has a session that works."""
    async with Service(replies=("Back",)) as service:
        voice, heard, line = await begin(service, "idle")
        again: list[asyncio.Task[None]] = []

        @voice.on("close")
        def reconnect(event: Any) -> None:
            again.append(asyncio.ensure_future(voice.connect()))

        line.peer.drop()
        await heard.until("open", 2)
        await asyncio.gather(*again)
        assert await (await voice.answer()).text() == "Back"
        voice.off("close")
