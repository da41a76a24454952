"""Input audio: how it leaves, in which pieces, in which format, and what happens when it cannot."""

from __future__ import annotations

import asyncio

import pytest
from openai_realtime.provider.service import PCM_20_MS, Line, Service
from vivavoce.audio import alaw_to_pcm16, pcm16_to_alaw, pcm16_to_ulaw, ulaw_to_pcm16
from vivavoce.errors import ConnectionLostError, NotConnectedError
from vivavoce.testing import RecordingContext
from vivavoce_openai_realtime.link import Link
from vivavoce_openai_realtime.protocol import ClientProtocol

pytestmark = [pytest.mark.virtual_clock, pytest.mark.usefixtures("no_leaks")]

RAMP = b"".join(value.to_bytes(2, "little", signed=True) for value in range(-12_000, 12_000))  # one second


async def test_frames_of_20_ms_leave_as_they_are() -> None:
    """A frame is one append, at once."""
    async with Service() as service:
        voice, _ = service.voice()
        await voice.connect()
        for place in range(0, 9_600, 960):
            await voice.send(RAMP[place : place + 960])
        await service.lines[0].until("input_audio_buffer.append", 10)
        assert asyncio.get_running_loop().time() == 0.0
        assert service.lines[0].appends == [RAMP[place : place + 960] for place in range(0, 9_600, 960)]


async def test_small_pieces_are_joined() -> None:
    """Pieces under 20 ms are joined to that, and what is left of them waits 20 ms at most."""
    async with Service() as service:
        voice, _ = service.voice()
        await voice.connect()
        line = service.lines[0]
        for place in range(0, 2_050, 50):
            await voice.send(RAMP[place : place + 50])
        await line.until("input_audio_buffer.append", 3)
        assert asyncio.get_running_loop().time() == pytest.approx(0.02)
        assert [len(piece) for piece in line.appends] == [1_000, 1_000, 50]
        assert b"".join(line.appends) == RAMP[:2_050]


@pytest.mark.parametrize("size", [4_802, 9_600, 48_000])
async def test_long_pieces_are_split(size: int) -> None:
    """No append is longer than 100 ms, however much is given at once."""
    async with Service() as service:
        voice, _ = service.voice()
        await voice.connect()
        await voice.send(RAMP[:size])
        line = service.lines[0]
        while sum(map(len, line.appends)) < size:
            await line.until("input_audio_buffer.append", len(line.appends) + 1)
        assert b"".join(line.appends) == RAMP[:size]
        assert all(len(piece) <= 4_800 for piece in line.appends)


async def test_a_long_piece_after_a_short_one() -> None:
    """What waits to be joined does not make an append longer than 100 ms."""
    async with Service() as service:
        voice, _ = service.voice()
        await voice.connect()
        await voice.send(RAMP[:100])
        await voice.send(RAMP[100:4_900])
        line = service.lines[0]
        while sum(map(len, line.appends)) < 4_900:
            await line.until("input_audio_buffer.append", len(line.appends) + 1)
        assert b"".join(line.appends) == RAMP[:4_900]
        assert all(len(piece) <= 4_800 for piece in line.appends)


@pytest.mark.parametrize(
    ("name", "encode", "decode"),
    [("audio/pcmu", pcm16_to_ulaw, ulaw_to_pcm16), ("audio/pcma", pcm16_to_alaw, alaw_to_pcm16)],
)
async def test_g711_both_ways(name: str, encode: object, decode: object) -> None:
    """With G.711 in the session the app still sees PCM16, at 8 kHz, and the wire carries one byte a sample."""
    assert callable(encode)
    assert callable(decode)
    async with Service() as service:
        format = {"format": {"type": name}}
        voice, heard = service.voice(session={"audio": {"input": format, "output": format}})
        await voice.connect()
        assert (voice.input_format.rate, voice.output_format.rate) == (8_000, 8_000)
        line = service.lines[0]
        await voice.send(RAMP[:320])
        await voice.send(RAMP[320:360])  # 2.5 ms, which wait
        await voice.send(RAMP[360:3_560])  # 200 ms
        while sum(map(len, line.appends)) < 1_780:
            await line.until("input_audio_buffer.append", len(line.appends) + 1)
        assert b"".join(line.appends) == encode(RAMP[:3_560])
        assert all(len(piece) <= 800 for piece in line.appends)
        sound = encode(RAMP[:320])
        line.protocol.begin_response()
        line.protocol.audio(sound)
        line.protocol.finish_response()
        await line.flush()
        await heard.until("response.done")
        assert b"".join(event.audio for event in heard.all("speaking")) == decode(sound)
        assert heard.all("speaker")[0].format.rate == 8_000


async def test_different_formats_in_and_out() -> None:
    """Input in G.711, output in PCM."""
    async with Service() as service:
        voice, _ = service.voice(session={"input_audio_format": "g711_alaw"})
        await voice.connect()
        assert (voice.input_format.rate, voice.output_format.rate) == (8_000, 24_000)


async def test_other_rates_are_converted() -> None:
    """16 kHz audio is resampled to the session's rate."""
    async with Service() as service:
        voice, _ = service.voice()
        await voice.connect()
        await voice.send(RAMP[:16_000], rate=16_000)
        line = service.lines[0]
        while sum(map(len, line.appends)) < 24_000:
            await line.until("input_audio_buffer.append", len(line.appends) + 1)
        assert sum(map(len, line.appends)) == 24_000


async def test_send_waits_while_the_service_does_not_read() -> None:
    """Memory is bounded: beyond what the socket holds `send` waits, and goes on when the service reads again."""
    read = asyncio.Event()

    async def lazy(line: Line) -> None:
        await line.open()
        await line.receive()
        line.peer._writer.transport.pause_reading()  # type: ignore[attr-defined]
        await read.wait()
        line.peer._writer.transport.resume_reading()  # type: ignore[attr-defined]
        await line.serve()

    async with Service(lazy, server={"rcvbuf": 4096}) as service:
        voice, _ = service.voice()
        await voice.connect()
        line = service.lines[0]
        await line.until("session.update")
        loop = asyncio.get_running_loop()
        task: asyncio.Task[None] | None = None
        sent = 0
        while task is None or task.done():
            task = asyncio.ensure_future(voice.send(PCM_20_MS * 5))
            sent += 1
            for _ in range(5):
                await asyncio.sleep(0)
            assert sent < 2_000
        assert sent * 4_800 < 8 * 1024 * 1024
        await asyncio.sleep(3)
        assert not task.done()
        began = loop.time()
        read.set()
        await task
        await line.until("input_audio_buffer.append", sent)
        assert loop.time() - began < 20
        assert len(line.appends) == sent


async def test_close_ends_a_send_that_waits() -> None:
    """A `send` under back-pressure ends when the voice is closed."""

    async def stops(line: Line) -> None:
        await line.open()
        await line.receive()
        await line.peer.stall()

    async with Service(stops, server={"rcvbuf": 4096}) as service:
        voice, _ = service.voice()
        await voice.connect()

        async def flood() -> None:
            while True:
                await voice.send(PCM_20_MS * 5)

        task = asyncio.ensure_future(flood())
        await asyncio.sleep(1)
        await voice.close()
        with pytest.raises(NotConnectedError):
            await task


async def test_nothing_is_written_to_a_connection_that_is_gone() -> None:
    """Audio that waits to be joined is not written once the connection was lost, however late the core closes it."""
    written: list[bytes] = []

    class Wire:
        def write(self, data: bytes) -> None:
            written.append(data)

    context = RecordingContext()
    link = Link(ClientProtocol(), context, None)
    link.transport = Wire()  # type: ignore[assignment]
    link.append(RAMP[:100])
    link.connection_lost(ConnectionLostError("gone"))
    await asyncio.sleep(1)
    assert (written, len(context.losses)) == ([], 1)


async def test_joined_audio_is_not_sent_into_another_session() -> None:
    """What waited to be joined when the connection broke belongs to the past."""
    async with Service() as service:
        voice, heard = service.voice()
        await voice.connect()
        await voice.send(RAMP[:100])
        service.lines[0].peer.drop()
        await heard.until("close")
        await asyncio.sleep(1)
        await voice.connect()
        await voice.send(PCM_20_MS)
        await service.lines[1].until("input_audio_buffer.append")
        assert service.lines[1].appends == [PCM_20_MS]
