"""Calls: our client against the gateway over UDP, and what the gateway refuses."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import re
from typing import Any

import httpx
import pytest

pytest.importorskip("aiortc", reason="aiortc is not installed")

from aiortc import RTCConfiguration, RTCPeerConnection
from client_speech import speech
from gateways import Script, check_official
from vivavoce import Voice, tool
from vivavoce.audio import PCM16_24K
from vivavoce.testing import Reply
from vivavoce_gateway import GatewayConfig
from vivavoce_gateway.config import Limits
from webrtc_calls import caller

ENGINES = all(importlib.util.find_spec(name) is not None for name in ("pocketsphinx", "ttspico"))
PHRASES = {"phrases": ["go forward ten meters", "eight plus three", "hello"]}


class Raw:
    """The raw events that a voice receives."""

    def __init__(self, voice: Voice) -> None:
        self.seen: list[dict[str, Any]] = []
        self._more = asyncio.Event()
        voice.on("openai-realtime:*", self._take)

    def _take(self, event: Any) -> None:
        check_official(dict(event))
        self.seen.append(dict(event))
        self._more.set()

    async def until(self, type: str) -> dict[str, Any]:
        async with asyncio.timeout(15):
            while True:
                for event in self.seen:
                    if event["type"] == type:
                        return event
                self._more.clear()
                await self._more.wait()

    def types(self) -> list[str]:
        return [event["type"] for event in self.seen]


@pytest.mark.real_speech
@pytest.mark.skipif(not ENGINES, reason="the speech engines are not installed")
async def test_conversation_over_webrtc(serve_calls: Any) -> None:
    """The same code as over a WebSocket: real speech in, the right words, a tool call, an audible reply, the end."""
    gateway = await serve_calls(GatewayConfig(config=PHRASES))
    walked: list[int] = []

    @tool
    def go_forward(meters: int) -> str:
        """Go forward some meters."""
        walked.append(meters)
        return "arrived"

    voice = caller(gateway.url, tools=[go_forward])
    raw = Raw(voice)
    turns: asyncio.Queue[Any] = asyncio.Queue()
    audio = bytearray()
    voice.on("turn", turns.put_nowait)
    voice.on("speaking", lambda event: audio.extend(event.audio))
    async with voice:
        await voice.send(speech("go-forward-ten-meters"))
        async with asyncio.timeout(20):
            user, assistant = await turns.get(), await turns.get()
    assert (user.role, user.text) == ("user", "go forward ten meters")
    assert (assistant.role, walked) == ("assistant", [10])
    assert "arrived" in assistant.text
    assert len(audio) > PCM16_24K.bytes_for(300)
    loudest = max(map(abs, memoryview(bytes(audio)).cast("h")))
    assert loudest > 8_000
    assert "response.output_audio.delta" not in raw.types()
    heard = [name.removeprefix("output_audio_buffer.") for name in raw.types() if name.startswith("output")]
    assert heard == ["started", "stopped"]


async def test_user_speech_cuts_the_reply_where_it_was_heard(serve_calls: Any, script: Script) -> None:
    """Barge-in: what was not heard is dropped, the item is cut there, and the client does nothing for it."""
    script.replies = [Reply("a long answer", 20_000), Reply("a short one", 200)]
    gateway = await serve_calls(script.config())
    voice = caller(gateway.url)
    raw = Raw(voice)
    interrupted = asyncio.Event()
    voice.on("interrupted", lambda event: interrupted.set())
    async with voice:
        await voice.send(speech("hello", silence_ms=700))
        await raw.until("output_audio_buffer.started")
        await voice.send(speech("hello", silence_ms=100))
        cleared = await raw.until("output_audio_buffer.cleared")
        cut = await raw.until("conversation.item.truncated")
        async with asyncio.timeout(10):
            await interrupted.wait()
    started = await raw.until("output_audio_buffer.started")
    assert cleared["response_id"] == started["response_id"]
    assert 200 < cut["audio_end_ms"] < 6_000
    assert raw.types().index("input_audio_buffer.speech_started") < raw.types().index(
        "output_audio_buffer.cleared"
    )


async def test_app_interrupts_over_webrtc(serve_calls: Any, script: Script) -> None:
    """`interrupt()` stops the reply at the gateway, also when it was generated long before."""
    script.replies = [Reply("a long answer", 20_000)]
    gateway = await serve_calls(script.config())
    voice = caller(gateway.url)
    raw = Raw(voice)
    audio: asyncio.Queue[Any] = asyncio.Queue()
    voice.on("speaking", audio.put_nowait)
    async with voice:
        await voice.send_text("hello")
        reply = await voice.answer()
        async with asyncio.timeout(10):
            for _ in range(20):
                await audio.get()
        await voice.interrupt()
        cut = await raw.until("conversation.item.truncated")
        await raw.until("output_audio_buffer.cleared")
        assert 300 <= cut["audio_end_ms"] < 3_000
        assert reply.audio.end_reason == "interrupted"
        assert not [event for event in raw.seen if event["type"] == "error"]
        assert script.last.called("interrupt")[-1].args[0].cuts != ()


async def test_second_reply_follows_the_first(serve_calls: Any, script: Script) -> None:
    """Replies are heard one after the other, each whole and with its own audio."""
    script.replies = [Reply("one", 400), Reply("two", 300)]
    gateway = await serve_calls(script.config())
    voice = caller(gateway.url)
    heard: dict[str | None, int] = {}

    def hear(event: Any) -> None:
        heard[event.response_id] = heard.get(event.response_id, 0) + len(event.audio)

    voice.on("speaking", hear)
    async with voice:
        for _ in range(2):
            await voice.send_text("say something")
            reply = await voice.answer()
            async with asyncio.timeout(10):
                await reply.done()
    first, second = (PCM16_24K.milliseconds(size) for size in heard.values())
    assert 380 <= first < 900
    assert 280 <= second < 800


async def test_manual_turns_over_webrtc(serve_calls: Any, script: Script) -> None:
    """Without turn detection the client ends the turn; what it said has arrived by then."""
    script.replies = [Reply("fine", 100)]
    gateway = await serve_calls(script.config())
    voice = caller(gateway.url, session={"turn_detection": None})
    async with voice:
        await voice.send(speech("hello", silence_ms=0))
        reply = await voice.answer()
        async with asyncio.timeout(10):
            assert await reply.text() == "fine"
    heard = sum(len(call.args[0]) for call in script.last.called("send"))
    assert heard >= len(speech("hello", silence_ms=0)) * 0.95


async def test_hanging_up_ends_both_sides(serve_calls: Any, script: Script) -> None:
    """The hang-up of a third party ends the session, and the client is told; a second one finds no call."""
    gateway = await serve_calls(script.config())
    voice = caller(gateway.url)
    closed: asyncio.Queue[Any] = asyncio.Queue()
    voice.on("close", closed.put_nowait)
    await voice.connect()
    call_id = next(iter(gateway.gateway.calls._calls))
    async with httpx.AsyncClient(base_url=gateway.http) as http:
        address = f"/v1/realtime/calls/{call_id}"
        assert (await http.post(f"{address}/hangup")).status_code == 200
        async with asyncio.timeout(10):
            lost = await closed.get()
        assert (lost.clean, lost.code) == (False, "closed_by_peer")
        await gateway.gateway.calls.ended(5)
        assert (await http.delete(address)).status_code == 404
    assert voice.state == "closed"
    assert gateway.gateway.places.taken == 0


async def test_reconnecting_makes_a_new_call(serve_calls: Any, script: Script) -> None:
    """After a loss there is a new call, with the conversation so far; the app goes on."""
    script.replies = [Reply("still here", 100)]
    gateway = await serve_calls(script.config())
    voice = caller(gateway.url)
    back: asyncio.Queue[Any] = asyncio.Queue()
    voice.on("reconnected", back.put_nowait)
    await voice.connect(reconnect=True)
    await voice.send_text("remember me")
    (call,) = gateway.gateway.calls._calls.values()
    call.hang_up()
    async with asyncio.timeout(15):
        assert (await back.get()).replayed_items == 1
        reply = await voice.answer()
        assert await reply.text() == "still here"
    await voice.close()


async def nothing(*args: Any) -> None:
    """What a network does that is down."""


async def test_peer_that_vanishes(serve_calls: Any, script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a packet more, without a goodbye: both sides find out by themselves, and the loss is one to try again."""
    monkeypatch.setattr("aioice.ice.CONSENT_INTERVAL", 0.1)
    monkeypatch.setattr("aioice.ice.CONSENT_FAILURES", 2)
    gateway = await serve_calls(script.config())
    voice = caller(gateway.url)
    closed: asyncio.Queue[Any] = asyncio.Queue()
    voice.on("close", closed.put_nowait)
    await voice.connect()
    call = next(iter(gateway.gateway.calls._calls.values()))
    for protocol in call._pc.sctp.transport.transport._connection._protocols:
        monkeypatch.setattr(protocol, "send_stun", lambda *args: None)
        monkeypatch.setattr(protocol, "send_data", nothing)
        monkeypatch.setattr(protocol, "datagram_received", lambda *args: None)
    async with asyncio.timeout(15):
        lost = await closed.get()
        while gateway.gateway.sessions:
            await asyncio.sleep(0.02)
    assert (lost.clean, lost.code) == (False, "connection_lost"), lost
    await voice.close()


async def offer(*, audio: bool = True, channel: bool = True) -> str:
    pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    try:
        if audio:
            pc.addTransceiver("audio")
        if channel:
            pc.createDataChannel("oai-events")
        await pc.setLocalDescription(await pc.createOffer())
        return pc.localDescription.sdp
    finally:
        await pc.close()


SDP = {"Content-Type": "application/sdp"}


async def test_offers_that_are_refused(serve_calls: Any) -> None:
    """What is no call is refused with the reason, and takes no place."""
    gateway = await serve_calls(GatewayConfig(keys=("right",), limits=Limits(sessions=1)))
    key = {"Authorization": "Bearer right"}
    good = await offer()
    foreign = re.sub(r"(a=rtpmap:\d+) \w+/", r"\1 vorbis/", good)
    cases: list[tuple[dict[str, Any], int, str]] = [
        ({"content": good, "headers": SDP}, 401, "invalid_api_key"),
        ({"content": "hello", "headers": SDP | key}, 400, "invalid_offer"),
        ({"content": "", "headers": SDP | key}, 400, "invalid_offer"),
        ({"content": await offer(audio=False), "headers": SDP | key}, 400, "invalid_offer"),
        ({"content": await offer(channel=False), "headers": SDP | key}, 400, "invalid_offer"),
        ({"content": good[: len(good) // 3], "headers": SDP | key}, 400, "invalid_offer"),
        ({"content": foreign, "headers": SDP | key}, 400, "invalid_offer"),
        ({"content": "v=0\n" * 100_000, "headers": SDP | key}, 400, "invalid_value"),
        ({"json": {"sdp": good}, "headers": key}, 400, "invalid_value"),
        ({"files": {"session": (None, "{}")}, "headers": key}, 400, "missing_required_parameter"),
        ({"files": {"sdp": (None, good), "session": (None, "{")}, "headers": key}, 400, "invalid_json"),
        ({"files": {"sdp": (None, good), "session": (None, "[]")}, "headers": key}, 400, "invalid_type"),
    ]
    for session, code in (({"model": "none"}, "invalid_model"), ({"modalities": []}, "unknown_parameter")):
        full = {"type": "realtime", "model": "gpt-realtime"} | session
        files = {"sdp": (None, good), "session": (None, json.dumps(full))}
        cases.append(({"files": files, "headers": key}, 400, code))
    query = "/v1/realtime/calls?model=gpt-realtime"
    async with httpx.AsyncClient(base_url=gateway.http) as http:
        for request, status, code in cases:
            path = "/v1/realtime/calls" if code == "invalid_model" else query
            answer = await http.post(path, **request)
            assert answer.status_code != 201, request
            assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text
        for more in ("m=audio 9 UDP/TLS/RTP/SAVPF 0\r\n" * 9, "a=candidate:x\r\n" * 200):
            answer = await http.post(query, content=good + more, headers=SDP | key)
            assert "too large" in answer.json()["error"]["message"]
        assert gateway.gateway.places.taken == 0
        taken = await http.post(query, content=good, headers=SDP | key)
        assert taken.status_code == 201
        assert taken.headers["location"].startswith("/v1/realtime/calls/rtc_")
        full_answer = await http.post(query, content=good, headers=SDP | key)
        assert (full_answer.status_code, full_answer.json()["error"]["code"]) == (
            503,
            "session_limit_exceeded",
        )
        hung_up = await http.post(taken.headers["location"] + "/hangup", headers=key)
        assert hung_up.status_code == 200
        await gateway.gateway.calls.ended(5)
    assert gateway.gateway.places.taken == 0


async def test_names_of_a_local_network_are_not_asked_for(
    serve_calls: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A browser that hides its addresses behind names is answered at once, and nothing is sent to find them."""
    asked: list[Any] = []

    async def ask(subscriber: Any) -> Any:
        asked.append(subscriber)
        raise OSError("no network")

    monkeypatch.setattr("aioice.ice.get_or_create_mdns_protocol", ask)
    gateway = await serve_calls(GatewayConfig())
    name = "1b4d3f6e-5a0c-4c55-8a7b-0d5c5a3a9a11.local"
    hidden = re.sub(r"(a=candidate:\S+ 1 udp \d+) \S+", rf"\1 {name}", await offer())
    assert name in hidden
    async with httpx.AsyncClient(base_url=gateway.http) as http:
        answer = await http.post("/v1/realtime/calls?model=local", content=hidden, headers=SDP)
    assert (answer.status_code, asked) == (201, [])


async def test_call_with_an_ephemeral_key(serve_calls: Any, script: Script) -> None:
    """An offer alone, with a key that has the session's settings."""
    gateway = await serve_calls(script.config(keys=("right",)))
    async with httpx.AsyncClient(base_url=gateway.http) as http:
        settings = {"type": "realtime", "model": "gpt-realtime", "instructions": "Be brief."}
        made = await http.post(
            "/v1/realtime/client_secrets",
            json={"session": settings},
            headers={"Authorization": "Bearer right"},
        )
    voice = caller(gateway.url, api_key=made.json()["value"])
    raw = Raw(voice)
    async with voice:
        created = await raw.until("session.created")
    assert created["session"]["instructions"] == "Be brief."
