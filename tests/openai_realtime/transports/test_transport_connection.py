"""An open WebSocket: messages both ways, every way it can end, and who is told."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest
from faults import FaultServer, Peer, PeerGone, Recorder
from vivavoce.errors import ConfigError, ConnectionLostError, NotConnectedError
from vivavoce_openai_realtime.transports import _wire, open_websocket

CHUNK = b"x" * 16 * 1024


async def _echo(peer: Peer) -> None:
    await peer.accept()
    while True:
        message = await peer.receive()
        assert isinstance(message, str)
        await peer.send(message)


async def _deaf(peer: Peer) -> None:
    await peer.accept()
    await peer.stall()


def _after_accept(*steps: Callable[[Peer], Any]) -> Callable[[Peer], Any]:
    async def script(peer: Peer) -> None:
        await peer.accept()
        for step in steps:
            result = step(peer)
            if result is not None:
                await result
        await peer.until_gone()

    return script


async def _fill(transport: Any) -> Any:
    """Write until the high-water mark; return what the last write returned."""
    while (room := transport.write(CHUNK)) is None:
        pass
    return room


# Messages.


async def test_text_both_ways(recorder: Recorder) -> None:
    """What is written arrives, what arrives is given on, in order and as it was."""
    async with FaultServer(_echo) as server:
        transport = await open_websocket(server.url, recorder)
        for text in ("first", "zweite é", "x" * 200, "y" * 70_000):
            assert transport.write(text.encode()) is None or len(text) > 60_000
        await recorder.until(4)
        await transport.close()
    assert recorder.texts == [b"first", "zweite é".encode(), b"x" * 200, b"y" * 70_000]
    assert recorder.losses == []


async def test_fragments_are_joined(recorder: Recorder) -> None:
    """A message in frames is one message, also when a ping comes in between and a frame is empty."""
    script = _after_accept(
        lambda peer: peer.frame(1, b"one ", fin=False),
        lambda peer: peer.ping(b"between"),
        lambda peer: peer.frame(0, b"", fin=False),
        lambda peer: peer.frame(0, b"message", fin=True),
        lambda peer: peer.send_fragments(b"\x00", b"\x01", binary=True),
        lambda peer: peer.send("next"),
    )
    async with FaultServer(script) as server:
        transport = await open_websocket(server.url, recorder)
        await recorder.until(3)
        await transport.close()
    assert recorder.texts == [b"one message", b"next"]
    assert recorder.binaries == [b"\x00\x01"]


async def test_binary_frames_are_told_apart(recorder: Recorder) -> None:
    """A binary message goes to `receive_binary`."""
    async with FaultServer(_after_accept(lambda peer: peer.send_binary(b"\xff\x00"))) as server:
        transport = await open_websocket(server.url, recorder)
        await recorder.until(1)
        await transport.close()
    assert (recorder.texts, recorder.binaries) == ([], [b"\xff\x00"])


async def test_text_that_is_no_utf8_is_passed_on(recorder: Recorder) -> None:
    """Malformed text does not end the connection: its decoder reports it."""
    script = _after_accept(lambda peer: peer.send(b"\xff\xfe"), lambda peer: peer.send("fine"))
    async with FaultServer(script) as server:
        transport = await open_websocket(server.url, recorder)
        await recorder.until(2)
        await transport.close()
    assert recorder.texts == [b"\xff\xfe", b"fine"]


async def test_a_large_message(recorder: Recorder) -> None:
    """12 MB in one message are below the default bound."""
    async with FaultServer(_after_accept(lambda peer: peer.send(b"z" * 12_000_000))) as server:
        transport = await open_websocket(server.url, recorder)
        await recorder.until(1)
        await transport.close()
    assert [len(text) for text in recorder.texts] == [12_000_000]


@pytest.mark.parametrize("fragments", [False, True])
async def test_a_message_beyond_the_bound(recorder: Recorder, fragments: bool) -> None:
    """A message over `max_size` ends the connection with 1009 on both sides, whether in one frame or in several."""

    async def script(peer: Peer) -> None:
        await peer.accept()
        if fragments:
            await peer.frame(1, b"x" * 600, fin=False)
            await peer.frame(0, b"x" * 600, fin=True)
        else:
            await peer.frame(1, b"x" * 10, length=1001)
        codes.append(await peer.until_gone())

    codes: list[int | None] = []
    async with FaultServer(script) as server:
        transport = await open_websocket(server.url, recorder, max_size=1000)
        loss = await recorder.until_lost()
        await transport.close()
    assert (loss.code, loss.close_code, loss.retryable) == ("protocol", 1009, False)
    assert "max_size" in loss.message
    assert codes == [1009]


async def test_a_receiver_that_raises_loses_only_that_message(caplog: pytest.LogCaptureFixture) -> None:
    """The error is logged without the message, and reading goes on, to the very end."""
    recorder = Recorder(raising=RuntimeError("a bug"))
    script = _after_accept(
        lambda peer: peer.send("private 1"),
        lambda peer: peer.send_binary(b"2"),
        lambda peer: peer.close(1001),
    )
    with caplog.at_level(logging.ERROR, "vivavoce"):
        async with FaultServer(script) as server:
            transport = await open_websocket(server.url, recorder)
            await recorder.until_lost()
            await transport.close()
    assert (recorder.texts, recorder.binaries, len(recorder.losses)) == ([b"private 1"], [b"2"], 1)
    assert len(caplog.records) == 3
    assert "private" not in caplog.text


async def test_compression_when_asked_for(recorder: Recorder) -> None:
    """permessage-deflate is offered only on request, and then works both ways."""

    async def script(peer: Peer) -> None:
        offers.append((await peer.accept()).headers.get("Sec-WebSocket-Extensions", ""))
        message = await peer.receive()
        await peer.send(message)
        await peer.until_gone()

    offers: list[str] = []
    async with FaultServer(script, deflate=True) as server:
        transport = await open_websocket(server.url, recorder, compression="deflate")
        transport.write(b"again and " * 100)
        await recorder.until(1)
        await transport.close()
    assert offers[0].startswith("permessage-deflate")
    assert recorder.texts == [b"again and " * 100]


async def test_a_compressed_bomb(recorder: Recorder) -> None:
    """What grows beyond `max_size` when it is unpacked ends the connection like any other."""
    async with FaultServer(_after_accept(lambda peer: peer.send(b"0" * 5_000_000)), deflate=True) as server:
        transport = await open_websocket(server.url, recorder, compression="deflate", max_size=100_000)
        loss = await recorder.until_lost()
        await transport.close()
    assert (loss.close_code, recorder.texts) == (1009, [])


# How it ends.


@pytest.mark.parametrize(
    ("code", "retryable"),
    [
        (1000, False),
        (1001, True),
        (1003, False),
        (1008, False),
        (1011, True),
        (1012, True),
        (1013, True),
        (3000, False),
        (4000, False),
    ],
)
async def test_closed_by_the_peer(recorder: Recorder, code: int, retryable: bool) -> None:
    """A close frame is told once, with its code and reason, after what came before it; `write` then raises it."""
    script = _after_accept(lambda peer: peer.send("last"), lambda peer: peer.close(code, "why"))
    async with FaultServer(script) as server:
        transport = await open_websocket(server.url, recorder)
        loss = await recorder.until_lost()
        with pytest.raises(ConnectionLostError, match="why") as caught:
            transport.write(b"x")
        await transport.close()
    assert (loss.code, loss.close_code, loss.retryable) == ("closed_by_peer", code, retryable)
    assert "why" in loss.message
    assert (caught.value.code, caught.value.close_code) == (loss.code, code)
    assert caught.value is not loss
    assert recorder.texts == [b"last"]
    assert recorder.losses == [loss]
    assert server.peers[0].close_code == code


async def test_closed_without_a_code(recorder: Recorder) -> None:
    """An empty close frame is 1005, and worth another try."""
    async with FaultServer(_after_accept(lambda peer: peer.close(None))) as server:
        transport = await open_websocket(server.url, recorder)
        loss = await recorder.until_lost()
        await transport.close()
    assert (loss.code, loss.close_code, loss.retryable) == ("closed_by_peer", 1005, True)


@pytest.mark.parametrize(
    "step",
    [
        lambda peer: peer.drop(),
        lambda peer: peer.end(),
        lambda peer: peer.half_close(),
        lambda peer: peer.frame(1, b"ha", length=9),
    ],
    ids=["reset", "fin", "half-close", "mid-frame"],
)
async def test_ended_without_a_close_frame(recorder: Recorder, step: Callable[[Peer], Any]) -> None:
    """A reset, an end of the stream, also in the middle of a frame: 1006, and worth another try."""
    async with FaultServer(_after_accept(step, lambda peer: peer.end())) as server:
        transport = await open_websocket(server.url, recorder)
        loss = await recorder.until_lost()
        await transport.close()
    assert (loss.code, loss.close_code, loss.retryable) == ("connection_lost", 1006, True)
    assert recorder.losses == [loss]
    assert recorder.texts == []


@pytest.mark.parametrize(
    ("frame", "close_code"),
    [
        ({"opcode": 1, "data": b"x", "rsv": 4}, 1002),
        ({"opcode": 3, "data": b"x"}, 1002),
        ({"opcode": 0, "data": b"x"}, 1002),
        ({"opcode": 9, "data": b"x" * 126}, 1002),
        ({"opcode": 9, "data": b"x", "fin": False}, 1002),
        ({"opcode": 8, "data": b"\x03"}, 1002),
        ({"opcode": 8, "data": b"\x00\x01"}, 1002),
        ({"opcode": 8, "data": b"\x03\xe8\xff"}, 1007),
        ({"opcode": 1, "data": b"", "length": 2**62}, 1009),
    ],
    ids=[
        "rsv",
        "opcode",
        "continuation",
        "long ping",
        "split ping",
        "short close",
        "close code",
        "close reason",
        "2**62",
    ],
)
async def test_frames_that_websocket_forbids(
    recorder: Recorder, frame: dict[str, Any], close_code: int
) -> None:
    """An illegal frame ends the connection here, says so to the peer, and is no reason for another try."""

    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.frame(**frame)
        codes.append(await peer.until_gone())

    codes: list[int | None] = []
    async with FaultServer(script) as server:
        transport = await open_websocket(server.url, recorder)
        loss = await recorder.until_lost()
        await transport.close()
    assert (loss.code, loss.close_code, loss.retryable) == ("protocol", close_code, False)
    assert codes == [close_code]


async def test_garbage(recorder: Recorder) -> None:
    """Bytes that are no frames end the connection as a breach of the protocol."""
    async with FaultServer(_after_accept(lambda peer: peer.raw(b"HTTP/1.1 500 Oops\r\n\r\n" * 50))) as server:
        transport = await open_websocket(server.url, recorder)
        loss = await recorder.until_lost()
        await transport.close()
    assert loss.code == "protocol"


async def test_a_peer_that_closes_and_keeps_the_socket(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss is told at the close frame; the socket is freed soon after, with nobody asking for it."""
    monkeypatch.setattr(_wire, "_LINGER", 0.02)

    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.send_close(1001)
        with pytest.raises(PeerGone):
            await peer.receive()
        assert await peer._reader.read() == b""
        freed.set()

    freed = asyncio.Event()
    async with FaultServer(script) as server:
        await open_websocket(server.url, recorder)
        assert (await recorder.until_lost()).close_code == 1001
        await freed.wait()


# Keepalive and back-pressure.


async def test_a_silent_peer_is_noticed(recorder: Recorder) -> None:
    """A half-open connection is lost when a ping is followed by nothing."""
    async with FaultServer(_deaf) as server:
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
        transport = await open_websocket(server.url, recorder, ping_interval=0.005, ping_timeout=0.05)
        await recorder.until(1)
        await transport.close()
    assert recorder.texts == [b"still here"]


async def test_no_pings_when_switched_off(recorder: Recorder) -> None:
    """`ping_interval=None` leaves a silent peer alone."""
    async with FaultServer(_deaf) as server:
        transport = await open_websocket(server.url, recorder, ping_interval=None, ping_timeout=0.01)
        await asyncio.sleep(0.05)
        assert recorder.losses == []
        await transport.close(timeout=0)


async def test_a_peer_that_stops_reading_is_noticed(recorder: Recorder) -> None:
    """Above the high-water mark `write` asks to wait; after the deadline the wait raises and the loss is told."""
    async with FaultServer(_deaf, rcvbuf=4096) as server:
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
    async with FaultServer(_deaf, rcvbuf=4096) as server:
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
            await asyncio.sleep(0.001)

    async with FaultServer(script, rcvbuf=4096) as server:
        transport = await open_websocket(
            server.url, recorder, write_deadline=0.06, ping_interval=0.05, ping_timeout=0.05
        )
        room = transport.write(b"x" * 12_000_000)
        assert room is not None
        began = asyncio.get_running_loop().time()
        await room
        assert asyncio.get_running_loop().time() - began > 0.06
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


# close().


async def test_close_sends_code_and_reason(recorder: Recorder) -> None:
    """The peer sees code and reason (cut to what fits); the receiver is told nothing."""

    async def script(peer: Peer) -> None:
        await peer.accept()
        try:
            await peer.receive()
        except PeerGone as gone:
            seen.append((gone.code, gone.reason))

    seen: list[tuple[int | None, str]] = []
    async with FaultServer(script) as server:
        transport = await open_websocket(server.url, recorder)
        await transport.close(4001, "é" * 100)
    assert seen == [(4001, "é" * 61)]
    assert recorder.losses == []


async def test_close_is_idempotent_and_concurrent(recorder: Recorder) -> None:
    """Any number of closes, at once or later, end together; writing is over."""
    async with FaultServer() as server:
        transport = await open_websocket(server.url, recorder)
        await asyncio.gather(transport.close(), transport.close(), transport.close())
        await transport.close()
        with pytest.raises(NotConnectedError) as caught:
            transport.write(b"x")
    assert caught.value.code == "closed"


async def test_close_of_a_peer_that_does_not_answer() -> None:
    """`timeout` bounds the close, and the socket is free after it."""
    async with FaultServer(_deaf) as server:
        transport = await open_websocket(server.url, Recorder())
        await transport.close(timeout=0.02)
        assert transport._transport.is_closing()  # type: ignore[attr-defined]


async def test_close_that_is_cancelled() -> None:
    """Cancelling a close frees the socket at once."""
    async with FaultServer(_deaf) as server:
        transport = await open_websocket(server.url, Recorder())
        closing = asyncio.ensure_future(transport.close(timeout=60))
        await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing


async def test_close_while_a_writer_waits(recorder: Recorder) -> None:
    """A writer that waits is told that the connection was closed; bytes nobody reads do not hold the close up."""
    async with FaultServer(_deaf, rcvbuf=4096) as server:
        transport = await open_websocket(server.url, recorder)
        room = await _fill(transport)

        async def wait() -> None:
            await room

        waiting = asyncio.ensure_future(wait())
        await asyncio.sleep(0)
        await transport.close(timeout=0.02)
        with pytest.raises(NotConnectedError):
            await waiting
    assert recorder.losses == []


async def test_nothing_is_delivered_after_close(recorder: Recorder) -> None:
    """Messages on their way when close begins are dropped."""

    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.receive()
        await peer.frame(1, b"late")
        await peer.frame(2, b"later")
        await peer.frame(8, b"\x03\xf3crash")

    async with FaultServer(script) as server:
        transport = await open_websocket(server.url, recorder)
        transport.write(b"go")
        await transport.close()
    assert (recorder.texts, recorder.losses) == ([], [])


async def test_a_code_that_a_client_may_not_send() -> None:
    """An illegal close code is a ConfigError, and the socket is freed all the same."""
    async with FaultServer() as server:
        transport = await open_websocket(server.url, Recorder())
        with pytest.raises(ConfigError, match="1006"):
            await transport.close(1006)
