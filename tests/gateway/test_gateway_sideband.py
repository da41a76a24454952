"""Sidebands: a WebSocket that joins a call sees what the call's client sees, and controls the session beside it."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

pytest.importorskip("aiortc", reason="aiortc is not installed")

from gateways import MemoryChannel, Script
from vivavoce import Voice, tool
from vivavoce.testing import Reply
from vivavoce_gateway.config import Limits
from vivavoce_gateway.sideband import Sideband
from webrtc_peer import calling


async def test_sideband_sees_what_the_client_sees(serve_calls: Any, script: Script) -> None:
    """From its greeting on it gets the client's events, one for one; what it asks for, the client hears."""
    script.replies = [Reply("good morning", 200)]
    gateway = await serve_calls(script.config())
    async with calling(gateway.http) as peer:
        sideband = await gateway.open(f"?call_id={peer.id}")
        (greeting,) = sideband.seen
        assert greeting["session"] == peer.seen[0]["session"]
        before = len(peer.seen)
        await sideband.configure(instructions="Be brief.")
        await sideband.say("hello")
        await sideband.send("response.create")
        await sideband.until("output_audio_buffer.stopped")
        await peer.until("output_audio_buffer.stopped")
        assert sideband.seen[1:] == peer.seen[before:]
        assert "Be brief." in str(script.last.called("update_config")[-1].args)
    types = [event["type"] for event in sideband.seen]
    assert "response.output_audio_transcript.delta" in types
    assert "response.output_audio.delta" not in types
    assert "error" not in types


async def test_late_sideband_is_told_the_settings_as_they_are(serve_calls: Any, script: Script) -> None:
    """The greeting holds what the session was changed to."""
    gateway = await serve_calls(script.config())
    async with calling(gateway.http) as peer:
        peer.send("session.update", session={"type": "realtime", "instructions": "Be kind."})
        await peer.until("session.updated")
        sideband = await gateway.open(f"?call_id={peer.id}")
        assert sideband.seen[0]["session"]["instructions"] == "Be kind."


async def test_sideband_may_not_speak(serve_calls: Any, script: Script) -> None:
    """Appended audio is refused to it alone, with the event's id; everything else goes on."""
    gateway = await serve_calls(script.config())
    async with calling(gateway.http) as peer:
        sideband = await gateway.open(f"?call_id={peer.id}")
        await sideband.send("input_audio_buffer.append", audio="AAAA", event_id="mine")
        refused = (await sideband.until("error"))["error"]
        assert (refused["code"], refused["event_id"]) == ("invalid_value", "mine")
        await sideband.connection.send("no json")
        assert (await sideband.until("error"))["error"]["code"] == "invalid_json"
        await sideband.say("hello")
        await peer.until("conversation.item.done")
        errors = [event["error"]["code"] for event in peer.seen if event["type"] == "error"]
        assert errors == ["invalid_json"]


async def test_sideband_stops_what_is_heard(serve_calls: Any, script: Script) -> None:
    """`output_audio_buffer.clear` works from there, too: the reply is cut where it was heard."""
    script.replies = [Reply("a long answer", 20_000)]
    gateway = await serve_calls(script.config())
    async with calling(gateway.http) as peer:
        sideband = await gateway.open(f"?call_id={peer.id}")
        await sideband.send("response.create")
        await sideband.until("output_audio_buffer.started")
        await sideband.send("output_audio_buffer.clear")
        cut = await sideband.until("conversation.item.truncated")
        assert cut["audio_end_ms"] < 6_000
        await peer.until("output_audio_buffer.cleared")


async def test_tools_run_at_the_sideband(serve_calls: Any, script: Script) -> None:
    """What it is for: this project's client joins the call, and runs the functions that the call's client never sees."""
    script.replies = [Reply("", 0, tool_calls=[("lookup", {"name": "Ada"})]), Reply("fine", 100)]
    gateway = await serve_calls(script.config())
    asked: list[str] = []

    @tool
    def lookup(name: str) -> str:
        """Look somebody up."""
        asked.append(name)
        return "found"

    async with calling(gateway.http) as peer:
        server = Voice("openai-realtime", url=gateway.url, api_key="any-key", call_id=peer.id, tools=[lookup])
        async with server:
            peer.send("response.create")
            await peer.until("output_audio_buffer.stopped")
        assert asked == ["Ada"]
        assert gateway.gateway.sessions


async def test_call_outlives_its_sidebands(serve_calls: Any, script: Script) -> None:
    """One that leaves is missed by nobody; when the call ends, those that are left are told."""
    gateway = await serve_calls(script.config())
    async with calling(gateway.http) as peer:
        leaves, stays = [await gateway.open(f"?call_id={peer.id}") for _ in range(2)]
        await leaves.connection.close()
        await stays.say("hello")
        await peer.until("conversation.item.done")
        async with httpx.AsyncClient(base_url=gateway.http) as http:
            assert (await http.delete(peer.place)).status_code == 200
        assert await stays.closed() == (1000, "the call is over")
        async with asyncio.timeout(10):
            await peer.closed.wait()
    late = await gateway.dial(f"?call_id={peer.id}")
    assert (await late.next())["error"]["code"] == "call_id_not_found"


async def test_sideband_that_does_not_read() -> None:
    """It is let go, and costs no more memory than its limit."""
    channel = MemoryChannel()
    channel.stall()

    async def ask(message: str | bytes) -> None:
        raise AssertionError("it asked for nothing")

    sideband = Sideband(channel, Limits(unsent_bytes=1_000), ask)
    held = asyncio.create_task(sideband.run())
    for _ in range(20):
        sideband.put(b'{"type":"session.updated"}' * 10)
        await asyncio.sleep(0)
    assert not sideband._outbox._frames
    channel._reading.set()
    async with asyncio.timeout(10):
        await held
    assert (channel.close_code, channel.sent) == (1008, [])


async def test_who_may_not_join(serve_calls: Any, script: Script) -> None:
    """No key, a wrong, an ephemeral or somebody else's key, no such call, one too many: an error, and the right close code."""
    gateway = await serve_calls(script.config(keys=("right", "other")))
    async with calling(gateway.http, key="right") as peer:
        async with httpx.AsyncClient(base_url=gateway.http) as http:
            headers = {"Authorization": "Bearer right"}
            made = await http.post("/v1/realtime/client_secrets", json={}, headers=headers)
        join = f"?call_id={peer.id}"
        cases = (
            (join, None, "invalid_api_key", 3000),
            (join, "wrong", "invalid_api_key", 3000),
            (join, made.json()["value"], "invalid_api_key", 3000),
            (join, "other", "call_id_not_found", 4000),
            ("?call_id=rtc_none", "right", "call_id_not_found", 4000),
            ("?call_id=", "right", "call_id_not_found", 4000),
        )
        for query, key, code, close in cases:
            options = {"additional_headers": {"Authorization": f"Bearer {key}"}} if key else {}
            client = await gateway.dial(query, **options)
            told = await client.closed()
            assert client.seen[0]["error"]["code"] == code, (query, key)
            assert told == (close, f"invalid_request_error.{code}")
        allowed = {"additional_headers": {"Authorization": "Bearer right"}}
        for _ in range(4):
            await gateway.open(join, **allowed)
        fifth = await gateway.dial(join, **allowed)
        assert (await fifth.closed())[0] == 1013
        assert fifth.seen[0]["error"]["code"] == "session_limit_exceeded"
