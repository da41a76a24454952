"""Calls that do not come about, and the audio of those that do."""

from __future__ import annotations

import asyncio
import contextlib
import math
import struct
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest

pytest.importorskip("aiortc", reason="aiortc is not installed")

import itertools

from aioice import stun
from aiortc import RTCSessionDescription
from aiortc.codecs.opus import OpusDecoder, OpusEncoder
from aiortc.jitterbuffer import JitterFrame
from vivavoce import AudioFormat
from vivavoce.errors import (
    AuthenticationError,
    ConfigError,
    ConnectError,
    ConnectTimeoutError,
    QuotaError,
)
from vivavoce_openai_realtime.transports._peer import Peer
from vivavoce_openai_realtime.transports.media import OpusEncoder as MonoEncoder
from vivavoce_openai_realtime.transports.media import OutgoingAudio
from vivavoce_openai_realtime.transports.webrtc import calls_url
from webrtc_calls import answering, caller, datagram_sockets, library_tasks, over_loopback


@pytest.fixture(autouse=True)
def _loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    over_loopback(monkeypatch)


async def refusal(url: str, kind: type[Exception], timeout: float = 5_000, **config: Any) -> Any:
    """Connect, which fails; the error. The voice can be used again."""
    voice = caller(url, **config)
    with pytest.raises(kind) as caught:
        await voice.connect(timeout=timeout)
    assert voice.state == "idle"
    await voice.close()
    return caught.value


SDP = b"v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n"


@pytest.mark.parametrize(
    ("status", "body", "kind", "code", "words"),
    [
        (201, b"<html>", ConnectError, "sdp", "no SDP"),
        (201, b"", ConnectError, "sdp", "no SDP"),
        (201, b"\xff" * 300_000, ConnectError, "sdp", "too long"),
        (201, SDP + b"m=application 9 UDP/DTLS/SCTP x\r\n", ConnectError, "sdp", "no audio"),
        (201, SDP + b"m=audio 0 UDP/TLS/RTP/SAVPF 0\r\n", ConnectError, "sdp", "no audio"),
        (201, SDP + b"m=audio 9 UDP/TLS/RTP/SAVPF 0\r\n", ConnectError, "sdp", "no data channel"),
        (201, SDP + b"m=audio 9 X 0\r\nm=application 9 X x\r\n", ConnectError, "sdp", "cannot be used"),
        (401, b"no such key", AuthenticationError, "authentication", "no such key"),
        (429, b"", QuotaError, "quota", "quota"),
        (404, b"", ConnectError, "http_404", "url"),
        (503, b"", ConnectError, "http_503", "moment"),
    ],
)
async def test_answers_that_are_none(
    status: int, body: bytes, kind: type[ConnectError], code: str, words: str
) -> None:
    """What the service answers instead of a call is a typed error with its reason, and nothing is left."""
    async with answering(lambda path, offer: (status, body)) as url:
        error = await refusal(url, kind)
    assert error.code == code
    assert words in str(error)


async def test_service_that_is_not_there() -> None:
    """Nobody listens: an error that may be tried again, which does not show the key."""
    async with answering(lambda path, offer: (500, b"")) as url:
        pass
    error = await refusal(url, ConnectError, api_key="sk-secret")
    assert (error.code, error.retryable) == ("connect", True)
    assert "sk-secret" not in str(error)


async def test_no_path_to_the_service() -> None:
    """The answer's address swallows every packet: connect ends with its budget."""
    silent = await asyncio.get_running_loop().create_datagram_endpoint(
        asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0)
    )
    port = silent[0].get_extra_info("sockname")[1]
    offers: list[str] = []

    def respond(path: str, offer: bytes) -> tuple[int, bytes]:
        offers.append(path)
        return 201, answer.encode()

    answer = await _answer_from(port)
    async with answering(respond) as url:
        loop = asyncio.get_running_loop()
        began = loop.time()
        await refusal(url, ConnectTimeoutError, timeout=1_500)
        assert 1.4 < loop.time() - began < 3
    assert offers[0] == "/v1/realtime/calls?model=gpt-realtime"
    silent[0].close()


async def _answer_from(port: int) -> str:
    """An answer whose only candidate is this port of the loopback."""
    ours, theirs = (Peer() for _ in range(2))
    try:
        ours.addTransceiver("audio")
        ours.createDataChannel("oai-events")
        await theirs.setRemoteDescription(RTCSessionDescription(await ours.offer(), "offer"))
        await theirs.setLocalDescription(await theirs.createAnswer())
        lines = theirs.localDescription.sdp.split("\r\n")
    finally:
        await ours.close()
        await theirs.close()
    moved = []
    for line in lines:
        words = line.split(" ")
        if line.startswith("a=candidate:"):
            words[5] = str(port)
        moved.append(" ".join(words))
    return "\r\n".join(moved)


@pytest.mark.parametrize("wishes", [1, 3])
async def test_connect_is_cancelled(monkeypatch: pytest.MonkeyPatch, wishes: int) -> None:
    """Cancelled in whichever turn of the loop, once or again: neither socket nor task is left by then."""
    over_loopback(monkeypatch, addresses=3)  # sockets are opened and closed one by one
    silent = await _answer_from(9)
    async with answering(lambda path, offer: (201, silent.encode())) as url:
        for turns in range(0, 240, 4):
            async with cancelled_connect(url, wishes) as connecting:
                # From the beginning, and from when there are sockets: a thread and a server take part in between.
                while turns >= 120 and not datagram_sockets() and not connecting.done():
                    await asyncio.sleep(0)
                for _ in range(turns % 120):
                    await asyncio.sleep(0)
                connecting.cancel()


async def test_connect_is_cancelled_while_a_path_is_sought(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cancelled after the answer, in the midst of ICE: nothing is left either."""
    over_loopback(monkeypatch, addresses=3)
    silent = await _answer_from(9)
    asked = asyncio.Event()

    def respond(path: str, offer: bytes) -> tuple[int, bytes]:
        asked.set()
        return 201, silent.encode()

    async with answering(respond) as url:
        for milliseconds in (0, 2, 5, 30, 100):
            asked.clear()
            async with cancelled_connect(url) as connecting:
                await asked.wait()
                await asyncio.sleep(milliseconds / 1000)
                connecting.cancel()


@contextlib.asynccontextmanager
async def cancelled_connect(url: str, wishes: int = 1, **config: Any) -> AsyncIterator[asyncio.Task[None]]:
    """A connect that the block cancels; then nothing of a call is left, without a moment's grace."""
    voice = caller(url, **config)
    connecting = asyncio.create_task(voice.connect(timeout=10_000))
    yield connecting
    for _ in range(wishes - 1):
        await asyncio.sleep(0)
        connecting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await connecting
    assert (datagram_sockets(), library_tasks()) == ([], [])
    assert voice.state == "idle"
    await voice.close()


class StunServer(asyncio.DatagramProtocol):
    """Tells who asks by which address it is seen: here one that it is known by nowhere else."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        request = stun.parse_message(data)
        answer = stun.Message(request.message_method, stun.Class.RESPONSE, request.transaction_id)
        answer.attributes["XOR-MAPPED-ADDRESS"] = ("203.0.113.7", addr[1])
        self.transport.sendto(bytes(answer), addr)


async def test_stun_server_is_asked() -> None:
    """The address that a STUN server tells is offered beside the machine's own."""
    loop = asyncio.get_running_loop()
    server, _ = await loop.create_datagram_endpoint(StunServer, local_addr=("127.0.0.1", 0))
    offers: list[bytes] = []

    def respond(path: str, offer: bytes) -> tuple[int, bytes]:
        offers.append(offer)
        return 500, b""

    async with answering(respond) as url:
        port = server.get_extra_info("sockname")[1]
        await refusal(url, ConnectError, ice_servers=f"stun:127.0.0.1:{port}")
    candidates = [line for line in offers[0].decode().splitlines() if line.startswith("a=candidate:")]
    assert any(" 203.0.113.7 " in line and "typ srflx" in line for line in candidates)
    assert any(" 127.0.0.1 " in line and "typ host" in line for line in candidates)
    server.close()
    await asyncio.sleep(0)


@pytest.mark.parametrize("kind", ["stun", "turn"])
async def test_server_that_does_not_answer(kind: str) -> None:
    """A STUN or TURN server that is silent holds up neither the budget of a connect nor its cancellation."""
    loop = asyncio.get_running_loop()
    silent, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0))
    port = silent.get_extra_info("sockname")[1]
    servers = [{"urls": f"{kind}:127.0.0.1:{port}", "username": "me", "credential": "secret"}]
    ours = datagram_sockets()
    async with answering(lambda path, offer: (500, b"")) as url:
        began = loop.time()
        await refusal(url, ConnectTimeoutError, timeout=700, ice_servers=servers)
        assert loop.time() - began < 4  # the library itself would wait for five
        assert (datagram_sockets(), library_tasks()) == (ours, [])
    silent.close()
    await asyncio.sleep(0)


async def test_webrtc_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra, the error says what to install."""
    monkeypatch.delitem(sys.modules, "vivavoce_openai_realtime.transports.webrtc")
    monkeypatch.setitem(sys.modules, "aiortc", None)
    error = await refusal("http://127.0.0.1:9", ConfigError)
    assert 'pip install "vivavoce-openai-realtime[webrtc]"' in str(error)


async def test_call_that_is_joined() -> None:
    """A call that is going on is joined over a WebSocket."""
    error = await refusal("http://127.0.0.1:9", ConfigError, call_id="rtc_1")
    assert error.option == "call_id"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("wss://api.openai.com/v1/realtime?model=x", "https://api.openai.com/v1/realtime/calls?model=x"),
        ("ws://127.0.0.1:8000/v1/realtime/", "http://127.0.0.1:8000/v1/realtime/calls"),
    ],
)
def test_address_of_the_calls(url: str, expected: str) -> None:
    """Offers go to `calls` beside the WebSocket's address, by HTTP."""
    assert calls_url(url) == expected


async def test_audio_is_paced_and_keeps_its_level() -> None:
    """Mono in, through Opus, stereo out: the same loudness on both sides; a packet every 20 ms, timestamps without a gap."""
    format = AudioFormat(24_000)
    tone = [int(8_000 * math.sin(2 * math.pi * 440 * n / 24_000)) for n in range(12_000)]
    track = OutgoingAudio()
    played: list[tuple[Any, float]] = []
    track.on_played = lambda tag, ms: played.append((tag, ms))
    held = track.put(struct.pack(f"<{len(tone)}h", *tone), format, "tone")
    assert held is not None
    loop = asyncio.get_running_loop()
    began = loop.time()
    encoder, decoder = OpusEncoder(), OpusDecoder()
    stamps, heard = [], b""
    for _ in range(28):
        packets, stamp = encoder.encode(await track.recv())
        for packet in packets:
            stamps.append(stamp)
            for frame in decoder.decode(JitterFrame(data=packet, timestamp=stamp)):
                heard += bytes(frame.planes[0])[: frame.samples * 4]
    assert loop.time() - began > 0.5
    steps = [later - earlier for earlier, later in itertools.pairwise(stamps)]
    # 20 ms each; where a busy machine held it up for long, the time is left out, and no audio.
    assert {step % 960 for step in steps} == {0}
    assert steps.count(960) >= len(steps) - 3
    assert sum(ms for _, ms in played) == pytest.approx(500)
    middle = memoryview(heard).cast("h")[19_200:38_400]
    left, right = middle[0::2], middle[1::2]
    for side in (left, right):
        rms = math.sqrt(sum(x * x for x in side) / len(side))
        assert 20 * math.log10(rms / (8_000 / math.sqrt(2))) == pytest.approx(0, abs=0.5)
    async with asyncio.timeout(1):
        await held
    track.stop()


async def test_loop_that_was_held_up_sends_no_burst() -> None:
    """After a standstill a silent track goes on at its pace; what it missed is a gap in its timestamps."""
    track = OutgoingAudio()
    await track.recv()
    track._start -= 5  # type: ignore[operator]
    loop = asyncio.get_running_loop()
    began = loop.time()
    stamps = [(await track.recv()).pts for _ in range(4)]
    assert loop.time() - began > 0.05
    assert 4.9 < stamps[0] / 48_000 < 7
    assert {later - earlier for earlier, later in itertools.pairwise(stamps)} == {960}
    track.stop()


@pytest.mark.parametrize(("standstill", "late"), [(0.4, 0), (5.0, 5.0)])
async def test_speech_that_was_held_up_catches_up(standstill: float, late: float) -> None:
    """After a short standstill speech is as late as before it: packets follow faster. What is old is said from now on."""
    track = OutgoingAudio(ahead_ms=10_000)
    track.put(bytes(24_000 * 2 * 4), AudioFormat(24_000))
    await track.recv()
    track._start -= standstill  # type: ignore[operator]
    loop = asyncio.get_running_loop()
    began = loop.time()
    for _ in range(40):
        frame = await track.recv()
    behind = loop.time() - track._start - frame.pts / 48_000  # type: ignore[operator]
    assert behind < 0.3
    assert (loop.time() - began > 0.7) == bool(late)
    track.stop()


async def test_live_source_catches_up_in_a_pause() -> None:
    """A burst of a live source is said whole; the pause after it is shorter by what was late. A file keeps its pauses."""
    format = AudioFormat(24_000)
    loud, pause = b"\x00\x20" * 480, bytes(960)
    for live, sent in ((True, 20 + 2), (False, 40)):
        track = OutgoingAudio(ahead_ms=math.inf, live=live)
        for piece in (loud * 20, *[pause] * 20):  # all at once
            track.put(piece, format)
        count = 0
        while track.queued_ms:
            await track.recv()
            count += 1
        assert count == pytest.approx(sent, abs=1)
        track.stop()


async def test_speech_that_breaks_off_is_waited_for() -> None:
    """A source that is a little late is not put off by silence in its place; one that has ended is followed by silence."""
    track = OutgoingAudio(live=True)
    track.put(b"\x00\x20" * 490, AudioFormat(24_000))
    frames = [await track.recv()]
    asyncio.get_running_loop().call_later(0.08, track.put, b"\x00\x20" * 470, AudioFormat(24_000))
    frames += [await track.recv(), await track.recv()]
    loud = [max(memoryview(bytes(frame.planes[0])).cast("h")) > 4_000 for frame in frames]
    assert loud == [True, True, False]
    track.stop()


async def test_silence_is_encoded_once() -> None:
    """A silent track costs no encoding, and is heard as silence; speech after it is as loud as before."""
    encoder, decoder = MonoEncoder(), OpusDecoder()
    heard = bytearray()
    tone = struct.pack("<960h", *(int(8_000 * math.sin(2 * math.pi * 500 * n / 48_000)) for n in range(960)))
    packets = []
    for number, pcm in enumerate([tone] * 20 + [bytes(1_920)] * 50 + [tone] * 20):
        packet = encoder.encode(pcm, number * 960)
        packets.append(bytes(packet))
        for frame in decoder.decode(JitterFrame(data=bytes(packet), timestamp=number * 960)):
            heard += bytes(frame.planes[0])[: frame.samples * 4]
    assert len(set(packets[30:70])) < 15
    assert all(packets)
    samples = memoryview(bytes(heard)).cast("h")[::2].tolist()
    for first, last, loud in ((5, 18, True), (45, 65, False), (75, 88, True)):
        peak = max(samples[first * 960 : last * 960])
        assert (6_500 < peak < 9_500) if loud else peak < 30
