"""An open WebSocket: keepalive, back-pressure, and a peer that does not read."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from faults import FaultServer, Peer, Recorder, deaf
from vivavoce.errors import ConnectionLostError
from vivavoce_openai_realtime.transports import open_websocket

CHUNK = b"x" * 16 * 1024


async def _fill(transport: Any) -> Any:
    """Write until the high-water mark; return what the last write returned."""
    while (room := transport.write(CHUNK)) is None:
        pass
    return room


async def test_a_silent_peer_is_noticed(recorder: Recorder) -> None:
    """A half-open connection is lost when a ping is followed by nothing."""
    async with FaultServer(deaf) as server:
        transport = await open_websocket(server.url, recorder, ping_interval=0.01, ping_timeout=0.02)
        loss = await recorder.until_lost()
        await transport.close()
    assert (loss.code, loss.close_code, loss.retryable) == ("keepalive", 1006, True)


async def test_a_living_peer_is_pinged_and_kept(recorder: Recorder) -> None:
    """Pings are answered, so the connection lives through many of them."""

    async def script(peer: Peer) -> None:
        await peer.accept()
        while pings < 5:
            await count(peer)
        await peer.send("still here")
        await peer.until_gone()

    pings = 0

    async def count(peer: Peer) -> None:
        nonlocal pings
        frame = await peer._next_event()
        pings += frame.opcode == 9

    async with FaultServer(script) as server:
        transport = await open_websocket(server.url, recorder, ping_interval=0.005, ping_timeout=0.3)
        await recorder.until(1)
        await transport.close()
    assert recorder.texts == [b"still here"]


async def test_no_pings_when_switched_off(recorder: Recorder) -> None:
    """`ping_interval=None` leaves a silent peer alone."""
    async with FaultServer(deaf) as server:
        transport = await open_websocket(server.url, recorder, ping_interval=None, ping_timeout=0.01)
        await asyncio.sleep(0.05)
        assert recorder.losses == []
        await transport.close(timeout=0)


async def test_a_peer_that_stops_reading_is_noticed(recorder: Recorder) -> None:
    """Above the high-water mark `write` asks to wait; after the deadline the wait raises and the loss is told."""
    async with FaultServer(deaf, rcvbuf=4096) as server:
        transport = await open_websocket(server.url, recorder, write_deadline=0.03)
        room = await _fill(transport)
        with pytest.raises(ConnectionLostError) as caught:
            await room
        assert caught.value.code == "write_deadline"
        assert [loss.code for loss in recorder.losses] == ["write_deadline"]
        with pytest.raises(ConnectionLostError):
            await room
        await transport.close()


async def test_what_waits_is_bounded(recorder: Recorder) -> None:
    """Not more than some 1.2 MB are taken for a peer that reads nothing: kernel and loop together."""
    async with FaultServer(deaf, rcvbuf=4096) as server:
        transport = await open_websocket(server.url, recorder)
        taken = len(CHUNK)
        while transport.write(CHUNK) is None:
            taken += len(CHUNK)
        await transport.close(timeout=0)
    assert taken < 1_300_000


async def test_the_wait_ends_when_the_peer_reads(recorder: Recorder) -> None:
    """A peer that reads again wakes all who wait, and nothing is lost."""

    async def script(peer: Peer) -> None:
        await peer.accept()
        await resume.wait()
        while True:
            got.append(len(await peer.receive()))

    got: list[int] = []
    resume = asyncio.Event()
    async with FaultServer(script, rcvbuf=4096) as server:
        transport = await open_websocket(server.url, recorder)
        sent = 1
        while (room := transport.write(CHUNK)) is None:
            sent += 1

        async def wait() -> None:
            await room

        waiting = [asyncio.ensure_future(wait()) for _ in range(3)]
        waiting[0].cancel()
        resume.set()
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert isinstance(results[0], asyncio.CancelledError)
        assert results[1:] == [None, None]
        assert transport.write(b"end") is None
        while len(got) < sent + 1:
            await asyncio.sleep(0)
        await transport.close()
    assert got == [len(CHUNK)] * sent + [3]


async def test_a_slow_reader_is_not_taken_for_a_dead_one(recorder: Recorder) -> None:
    """As long as some bytes are taken within the deadline, and however silent the peer, the connection lives."""

    async def script(peer: Peer) -> None:
        await peer.accept()
        while await peer._reader.read(65_536):
            await asyncio.sleep(0.005)

    async with FaultServer(script, rcvbuf=4096) as server:
        transport = await open_websocket(
            server.url, recorder, write_deadline=0.5, ping_interval=0.2, ping_timeout=0.2
        )
        room = transport.write(b"x" * 12_000_000)
        assert room is not None
        began = asyncio.get_running_loop().time()
        await room
        assert asyncio.get_running_loop().time() - began > 0.5
        assert recorder.losses == []
        await transport.close(timeout=0)


async def test_a_loss_wakes_who_waits(recorder: Recorder) -> None:
    """A writer that waits when the connection drops gets the loss."""

    async def script(peer: Peer) -> None:
        await peer.accept()
        peer._writer.transport.pause_reading()  # type: ignore[attr-defined]
        await full.wait()
        peer.drop()

    full = asyncio.Event()
    async with FaultServer(script, rcvbuf=4096) as server:
        transport = await open_websocket(server.url, recorder)
        room = await _fill(transport)
        full.set()
        with pytest.raises(ConnectionLostError) as caught:
            await room
        assert caught.value.close_code == 1006
        await transport.close()


async def test_a_writer_that_never_yields_is_stopped_by_a_loss(recorder: Recorder) -> None:
    """Writes after a reset, before the loop could tell of it, ask to wait, and the wait raises."""

    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.receive()
        peer.drop()
        dropped.set()

    dropped = asyncio.Event()
    async with FaultServer(script) as server:
        transport = await open_websocket(server.url, recorder)
        transport.write(b"go")
        await dropped.wait()
        room = await _fill(transport)
        with pytest.raises(ConnectionLostError):
            await room
        await transport.close()
