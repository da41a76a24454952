"""Whole calls against a service of the tests: how they fail, how they end, how they are made again."""

from __future__ import annotations

import asyncio
import math
import re
import struct
from collections.abc import AsyncIterator
from typing import Any

import pytest

pytest.importorskip("aiortc", reason="aiortc is not installed")

from turn_server import TurnServer
from vivavoce.audio import PCM16_24K, AudioFormat, Converter
from vivavoce.errors import ConnectError, ConnectTimeoutError
from vivavoce.testing import no_leaks
from webrtc_calls import caller, datagram_sockets, library_tasks, over_loopback
from webrtc_service import CallService, Network


@pytest.fixture(autouse=True)
async def _loopback(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    over_loopback(monkeypatch)
    async with no_leaks(grace=2.0):
        yield


def tone(ms: float, rate: int = 24_000, loud: int = 8_000) -> bytes:
    count = int(rate * ms / 1000)
    return struct.pack(
        f"<{count}h", *(int(loud * math.sin(2 * math.pi * 440 * n / rate)) for n in range(count))
    )


def level(pcm: bytes) -> float:
    """The level of the middle half, in dB of a sine of 8,000."""
    samples = memoryview(pcm).cast("h").tolist()
    middle = samples[len(samples) // 4 : len(samples) * 3 // 4]
    rms = math.sqrt(sum(sample * sample for sample in middle) / len(middle))
    return 20 * math.log10(rms / (8_000 / math.sqrt(2)))


def sounding(pcm: bytes) -> bytes:
    """From the first loud sample to the last."""
    samples = memoryview(pcm).cast("h").tolist()
    loud = [place for place, sample in enumerate(samples) if abs(sample) > 2_000]
    return pcm[loud[0] * 2 : loud[-1] * 2 + 2]


# Calls that do not come about.


def wrong_fingerprint(sdp: str) -> str:
    return re.sub(r"(a=fingerprint:\S+ )([0-9A-F]{2})", lambda m: m[1] + f"{int(m[2], 16) ^ 1:02X}", sdp)


def other_codec(sdp: str) -> str:
    return sdp.replace("opus/48000/2", "PCMU/8000")


def without(section: str) -> Any:
    def cut(sdp: str) -> str:
        first, *sections = re.split(r"(?m)^(?=m=)", sdp)
        return first + "".join(part for part in sections if not part.startswith(f"m={section}"))

    return cut


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        (wrong_fingerprint, "ice", "DTLS"),
        (other_codec, "sdp", "cannot be used"),
        (without("audio"), "sdp", "no audio"),
        (without("application"), "sdp", "no data channel"),
        (lambda sdp: sdp[: len(sdp) // 3], "sdp", "cannot be used"),
        (lambda sdp: re.sub(r"a=ice-pwd:\S+", "", sdp), "sdp", "cannot be used"),
        (lambda sdp: re.sub(r"a=candidate:.*", "a=candidate:x", sdp), "sdp", "cannot be used"),
        (lambda sdp: sdp.replace("a=setup:active", "a=setup:actpass"), "sdp", "cannot be used"),
    ],
)
async def test_answers_that_are_no_call(change: Any, code: str, words: str) -> None:
    """A typed error at once, long before the budget ends; nothing is left of the call."""
    async with CallService() as service:
        service.change = change
        voice = caller(service.url)
        with pytest.raises(ConnectError, match=words) as caught:
            await voice.connect(timeout=30_000)
        assert caught.value.code == code
        assert not isinstance(caught.value, ConnectTimeoutError)
        await service.calls[0].end()
        assert (datagram_sockets(), library_tasks()) == ([], [])
        assert voice.state == "idle"


async def test_channel_that_never_opens(monkeypatch: pytest.MonkeyPatch) -> None:
    """ICE and DTLS come about and the data channel does not: the budget ends the connect."""

    async def never(*args: Any) -> None:
        """The service's SCTP says nothing."""

    async with CallService() as service:
        started = asyncio.Event()

        def change(sdp: str) -> str:
            service.calls[0].peer.sctp.start = never  # type: ignore[union-attr, method-assign]
            started.set()
            return sdp

        service.change = change
        voice = caller(service.url)
        with pytest.raises(ConnectTimeoutError):
            await voice.connect(timeout=1_500)
        assert started.is_set()
        await service.calls[0].end()
        assert (datagram_sockets(), library_tasks()) == ([], [])


async def test_network_that_lets_nothing_through() -> None:
    """UDP is blocked: the budget ends the connect, and the error is one to try again."""
    network = Network()
    network.blocked = True
    async with CallService(network=network) as service:
        voice = caller(service.url)
        with pytest.raises(ConnectError) as caught:
            await voice.connect(timeout=1_500)
        assert caught.value.retryable is True
        await service.calls[0].end()
        assert (datagram_sockets(), library_tasks()) == ([], [])


# Calls that end.


async def test_hanging_up() -> None:
    """Closing tells the service over HTTP, and the peer sees the end at once; nothing is left."""
    async with CallService() as service:
        voice = caller(service.url)
        await voice.connect()
        await voice.close()
        assert service.hung_up == ["rtc_1"]
        async with asyncio.timeout(5):
            await service.calls[0].over.wait()
        await service.calls[0].end()
        assert (datagram_sockets(), library_tasks()) == ([], [])


async def test_peer_that_hangs_up() -> None:
    """The service ends the call: the session is lost, and says how."""
    async with CallService() as service:
        voice = caller(service.url)
        closed: asyncio.Queue[Any] = asyncio.Queue()
        voice.on("close", closed.put_nowait)
        await voice.connect()
        await service.calls[0].end()
        async with asyncio.timeout(10):
            lost = await closed.get()
        assert (lost.clean, lost.code) == (False, "closed_by_peer")
        await voice.close()
        assert (datagram_sockets(), library_tasks()) == ([], [])


async def test_path_that_fails_is_replaced_by_a_new_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Media fails for good while the service lives: a new call, the conversation replayed, and the app goes on speaking."""
    monkeypatch.setattr("aioice.ice.CONSENT_INTERVAL", 0.1)
    monkeypatch.setattr("aioice.ice.CONSENT_FAILURES", 2)
    broken = Network()
    async with CallService(network=broken) as service, caller(service.url) as voice:
        events: asyncio.Queue[Any] = asyncio.Queue()
        voice.on("reconnecting", events.put_nowait)
        voice.on("reconnected", events.put_nowait)
        await voice.connect(reconnect=True)
        await voice.send_text("remember me")
        await service.calls[0].until("conversation.item.create")
        service.network = Network()
        broken.blocked = True
        async with asyncio.timeout(30):
            assert (await events.get()).cause.code == "connection_lost"
            assert (await events.get()).replayed_items == 1
        second = service.calls[1]
        replayed = await second.until("conversation.item.create")
        assert replayed["item"]["content"][0]["text"] == "remember me"
        service.replies = [("Still here", tone(300))]
        reply = await voice.answer()
        async with asyncio.timeout(15):
            assert await reply.text() == "Still here"
        await voice.send(tone(300))
        async with asyncio.timeout(15):
            while not any(second.heard):
                await asyncio.sleep(0.02)
        await service.calls[0].end()


# Sound.


@pytest.mark.parametrize("format", [AudioFormat(24_000), AudioFormat(48_000, 2), AudioFormat(8_000)])
async def test_level_both_ways(format: AudioFormat) -> None:
    """Mono and stereo are as loud at the other end as here, within a decibel, from the microphone and to the ear."""
    async with CallService() as service, caller(service.url) as voice:
        heard = bytearray()
        voice.on("speaking", lambda event: heard.extend(event.audio))
        said = Converter(AudioFormat(24_000), format).feed(tone(1_000))
        await voice.send(said, rate=format.rate, channels=format.channels)
        service.replies = [("tone", tone(1_000))]
        reply = await voice.answer()
        async with asyncio.timeout(20):
            await reply.done()
        assert level(sounding(bytes(service.calls[0].heard))) == pytest.approx(0, abs=1)
        assert level(sounding(bytes(heard))) == pytest.approx(0, abs=1)


async def test_position_played_here_is_what_counts() -> None:
    """Interrupted where a sink of the app's stands: the cut is there, and not where the service has sent to."""
    async with CallService() as service, caller(service.url) as voice:
        service.replies = [("long", tone(20_000))]
        reply = await voice.answer()
        received = 0.0
        async with asyncio.timeout(20):
            async for piece in reply.audio:
                received += PCM16_24K.milliseconds(len(piece))
                if received > 1_000:
                    break
        reply.audio.report_played(400)
        await voice.interrupt()
        call = service.calls[0]
        cut = await call.until("conversation.item.truncate")
        assert cut["audio_end_ms"] == 400
        types = [event["type"] for event in call.events]
        assert types.index("output_audio_buffer.clear") < types.index("conversation.item.truncate")
        assert reply.audio.end_reason == "interrupted"


async def test_position_that_the_service_plays() -> None:
    """The service cuts by what it has sent: the reply is interrupted here, and nothing is told that it knows better."""
    async with CallService() as service, caller(service.url) as voice:
        interrupted: asyncio.Queue[Any] = asyncio.Queue()
        voice.on("interrupted", interrupted.put_nowait)
        service.replies = [("long", tone(20_000))]
        reply = await voice.answer()
        call = service.calls[0]
        async with asyncio.timeout(20):
            async for _ in reply.audio:
                break
            call.tell("input_audio_buffer.speech_started", audio_start_ms=0, item_id="item_user")
            call.tell("output_audio_buffer.cleared", response_id=reply.id)
            call._voice.clear()
            await interrupted.get()
            await reply.done()
        assert reply.audio.end_reason == "interrupted"


# Through a relay.


async def test_call_through_a_turn_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no packet gets out by itself, all of the call goes through the relay, and its end frees what was allocated."""
    addresses = iter([[]])  # the client gathers first, and has none; the service has the loopback
    monkeypatch.setattr("aioice.ice.get_host_addresses", lambda *a, **k: next(addresses, ["127.0.0.1"]))
    async with TurnServer() as relay, CallService() as service:
        servers = [{"urls": relay.url, "username": "me", "credential": "secret"}]
        async with caller(service.url, ice_servers=servers) as voice:
            assert len(relay.allocations) == 1
            heard = bytearray()
            voice.on("speaking", lambda event: heard.extend(event.audio))
            service.replies = [("Fine", tone(500))]
            reply = await voice.answer()
            await voice.send(tone(500))
            async with asyncio.timeout(20):
                assert await reply.text() == "Fine"
                await reply.done()
                while not any(service.calls[0].heard):
                    await asyncio.sleep(0.02)
            assert len(sounding(bytes(heard))) > PCM16_24K.bytes_for(400)
            assert relay.relayed > 60
        async with asyncio.timeout(5):
            while relay.allocations:
                await asyncio.sleep(0.01)
        await service.calls[0].end()


async def test_turn_server_that_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a wrong password there is no relay, and without an address no path: an error about the path, within the budget."""
    addresses = iter([[]])
    monkeypatch.setattr("aioice.ice.get_host_addresses", lambda *a, **k: next(addresses, ["127.0.0.1"]))
    async with TurnServer() as relay, CallService() as service:
        servers = [{"urls": relay.url, "username": "me", "credential": "wrong"}]
        voice = caller(service.url, ice_servers=servers)
        with pytest.raises(ConnectError) as caught:
            await voice.connect(timeout=3_000)
        assert caught.value.retryable is True
        assert "wrong" not in str(caught.value)
        assert relay.refused > 1
        assert relay.allocations == {}
        for call in service.calls:
            await call.end()
