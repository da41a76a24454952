"""Calls over a network that loses, delays and reorders: words, delay, recovery. Both ways of a call go through it."""

from __future__ import annotations

import asyncio
import functools
import importlib.util
import math
import statistics
import struct
from fractions import Fraction
from typing import Any

import pytest

pytest.importorskip("aiortc", reason="aiortc is not installed")

from aiortc import RTCRtpCodecParameters
from aiortc.codecs.opus import OpusEncoder
from av import AudioFrame
from client_speech import speech
from vivavoce import Voice
from vivavoce.audio import PCM16_24K, AudioFormat, Converter
from vivavoce_openai_realtime.transports.receive import ReceivedAudio
from webrtc_calls import caller, over_loopback
from webrtc_service import CallService, Network

ENGINES = all(importlib.util.find_spec(name) is not None for name in ("pocketsphinx", "ttspico"))
WORDS = "go forward ten meters"
PHRASES = ["go forward ten meters", "eight plus three", "hello"]
EVERY_MS = 1_000


@pytest.fixture(autouse=True)
def _loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    over_loopback(monkeypatch)


def bursts(seconds: float) -> bytes:
    """A tone of 80 ms every second."""
    tone = [int(12_000 * math.sin(2 * math.pi * 600 * n / 24_000)) for n in range(1_920)]
    one = struct.pack(f"<{len(tone)}h", *tone).ljust(PCM16_24K.bytes_for(EVERY_MS), b"\0")
    return one * int(seconds * 1000 / EVERY_MS)


class Ear:
    """When each burst began to be heard."""

    def __init__(self, voice: Voice) -> None:
        self.begun: list[float] = []
        self.bytes = 0
        self._silence = 1_000.0
        voice.on("speaking", self._hear)

    def _hear(self, event: Any) -> None:
        self.bytes += len(event.audio)
        if max(memoryview(event.audio).cast("h"), default=0) > 4_000:
            if self._silence > 150:
                self.begun.append(asyncio.get_running_loop().time())
            self._silence = 0
        else:
            self._silence += PCM16_24K.milliseconds(len(event.audio))

    def delays(self, start: float) -> list[float]:
        """Milliseconds from when each was said."""
        return [(time - start) * 1000 % EVERY_MS for time in self.begun]


async def delays_over(network: Network, seconds: float) -> tuple[list[float], float]:
    """Talk through this network: the delay of each burst, and milliseconds heard in all."""
    async with CallService(network=network) as service, caller(service.url) as voice:
        ear = Ear(voice)
        service.replies = [("beeps", bursts(seconds))]
        start = asyncio.get_running_loop().time()
        reply = await voice.answer()
        async with asyncio.timeout(seconds + 30):
            await reply.done()
        return ear.delays(start), PCM16_24K.milliseconds(ear.bytes)


NETWORKS = {
    "5 %": {"loss": 0.05},
    "20 %": {"loss": 0.2},
    "100 ms": {"jitter_s": 0.1},
    "20 % and 100 ms": {"loss": 0.2, "jitter_s": 0.1},
}


@functools.cache
def encoded_bursts() -> list[bytes]:
    """20 s of them as Opus."""
    encoder, pcm, packets = OpusEncoder(), bursts(20), []
    stereo = Converter(PCM16_24K, AudioFormat(48_000, 2)).feed(pcm)
    for at in range(0, len(stereo), 3_840):
        frame = AudioFrame(format="s16", layout="stereo", samples=960)
        frame.planes[0].update(stereo[at : at + 3_840].ljust(3_840, b"\0"))
        frame.sample_rate, frame.pts, frame.time_base = 48_000, at // 4, Fraction(1, 48_000)
        packets += encoder.encode(frame)[0]
    assert len(packets) == 1_000
    return packets


class Packet:
    """As the library's, as far as it is looked at."""

    payload_type = 96

    def __init__(self, number: int, data: bytes) -> None:
        self.sequence_number = number & 0xFFFF
        self._data = data


async def simulated_delays(network: Network, seconds: float) -> tuple[list[float], ReceivedAudio]:
    """Packets that are sent and received on a virtual clock: the delay of each burst."""
    loop = asyncio.get_running_loop()
    begun: list[float] = []
    silence_ms = 1_000.0

    def take(pcm: bytes, format: AudioFormat) -> None:
        nonlocal silence_ms
        silence_ms += format.milliseconds(len(pcm))
        if max(memoryview(pcm).cast("h")) > 4_000:
            if silence_ms > 150:
                begun.append(loop.time())
            silence_ms = 0

    received = ReceivedAudio({96: RTCRtpCodecParameters("audio/opus", 48_000)}, take)
    start = loop.time()
    for number in range(int(seconds * 50)):
        packet = Packet(65_000 + number, encoded_bursts()[number % 1_000])
        network.passing(lambda packet=packet: received.add(packet))  # type: ignore[misc]
        await asyncio.sleep(start + (number + 1) * 0.02 - loop.time())
    await asyncio.sleep(1)
    received.stop()
    return [(time - start) * 1000 % EVERY_MS for time in begun], received


@pytest.mark.parametrize("name", NETWORKS)
async def test_delay_does_not_grow(clock: Any, name: str) -> None:
    """Loss, jitter and disorder cost a moment and not an ever longer one: 40 s on a virtual clock."""
    delays, received = await simulated_delays(Network(**NETWORKS[name]), 40)
    half = len(delays) // 2
    first, last = statistics.median(delays[:half]), statistics.median(delays[-half:])
    print(f"{name}: median {first:.0f} ms at first, {last:.0f} at last, {max(delays):.0f} at most")
    assert len(delays) >= 36
    assert last <= first + 40
    assert max(delays) <= 320  # jitter, and the longest wait for a packet
    sent = 40 * 50
    assert received.order.lost / sent == pytest.approx(NETWORKS[name].get("loss", 0), abs=0.03)


async def test_calm_network_costs_no_delay(clock: Any) -> None:
    """Where nothing is lost or late, nothing waits."""
    delays, received = await simulated_delays(Network(), 20)
    assert max(delays) <= 30
    assert received.order.lost == 0


async def test_recovery_from_disorder(clock: Any) -> None:
    """When a bad network becomes good, the delay goes back within a second, and the readiness to wait within a minute and a half."""
    network = Network(loss=0.2, jitter_s=0.1)
    asyncio.get_running_loop().call_later(20, lambda: vars(network).update(loss=0.0, jitter_s=0.0))
    delays, received = await simulated_delays(network, 110)
    assert statistics.median(delays[:20]) > 40
    assert max(delays[-88:]) <= 30
    assert received.order.patience <= 2


@pytest.mark.soak  # real time, real sockets: the figures are the machine's, too
@pytest.mark.parametrize("name", NETWORKS)
async def test_delay_over_sockets(name: str) -> None:
    """The same over UDP, in two minutes."""
    delays, heard_ms = await delays_over(Network(**NETWORKS[name]), 120)
    half = len(delays) // 2
    first, last = statistics.median(delays[:half]), statistics.median(delays[-half:])
    print(f"{name}: {len(delays)} bursts, delay {first:.0f} ms at first, {last:.0f} ms at last")
    assert len(delays) >= 0.9 * 120
    assert last < first + 100
    assert last < 500
    # Its end is told by an event, which may be lost and sent again.
    assert -500 < heard_ms - 120_000 < 4_000


@pytest.mark.real_speech
@pytest.mark.skipif(not ENGINES, reason="the speech engines are not installed")
async def test_words_are_recognised_both_ways() -> None:
    """With 5 % lost and 100 ms of jitter, real speech still says the same, to the service and from it."""
    said = speech("go-forward-ten-meters", silence_ms=400)
    heard = bytearray()
    async with CallService(network=Network(loss=0.05, jitter_s=0.1)) as service:
        async with caller(service.url) as voice:
            voice.on("speaking", lambda event: heard.extend(event.audio))
            service.replies = [("go forward", said)]
            reply = await voice.answer()
            await voice.send(said)
            async with asyncio.timeout(30):
                await reply.done()
                await asyncio.sleep(0.5)
        up = service.calls[0].at_24k()
    async with Voice("local", phrases=PHRASES) as listener:
        for audio in (up, bytes(heard)):
            assert await listener.listen(audio, rate=24_000) == WORDS


@pytest.mark.parametrize("outage", [1.5, pytest.param(20.0, marks=pytest.mark.soak)])
async def test_outage_is_ridden_out(outage: float) -> None:
    """Nothing comes through for a while: the same call goes on, at once and no later than before. Events are sent again."""
    network = Network()
    async with CallService(network=network) as service, caller(service.url) as voice:
        ear = Ear(voice)
        losses: list[Any] = []
        voice.on("close", losses.append)
        voice.on("reconnecting", losses.append)
        loop = asyncio.get_running_loop()
        service.replies = [("beeps", bursts(outage + 6))]
        start = loop.time()
        reply = await voice.answer()
        await asyncio.sleep(1.6)
        network.blocked = True
        await voice.send_event("input_audio_buffer.clear")
        await asyncio.sleep(outage)
        network.blocked = False
        back = loop.time()
        async with asyncio.timeout(60):
            await reply.done()
            await service.calls[0].until("input_audio_buffer.clear")
        again = [time for time in ear.begun if time > back]
        assert again[0] - back < 2.5
        before, after = ear.delays(start)[:3], ear.delays(start)[-3:]
        print(
            f"heard {(again[0] - back) * 1000:.0f} ms after the outage; {before} ms before it, {after} ms after"
        )
        assert statistics.median(after) < statistics.median(before) + 150
        assert losses == []
        assert len(service.calls) == 1
