"""An open WebSocket: every way it can end, and who is told."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from faults import FaultServer, Peer, PeerGone, Recorder, after_accept, deaf
from vivavoce.errors import ConfigError, ConnectionLostError, NotConnectedError
from vivavoce_openai_realtime.transports import _wire, open_websocket

CHUNK = b"x" * 16 * 1024


async def _fill(transport: Any) -> Any:
    """Write until the high-water mark; return what the last write returned."""
    while (room := transport.write(CHUNK)) is None:
        pass
    return room


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
    script = after_accept(lambda peer: peer.send("last"), lambda peer: peer.close(code, "why"))
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


async def test_closed_is_freed_at_once() -> None:
    """Nothing waits for the garbage collector: who opens and closes thousands of sessions holds those that are open."""

    class Held(Recorder):
        """A receiver that knows its transport, as a link does."""

        transport: Any = None

    async with FaultServer(after_accept(lambda peer: peer.send("hello"))) as server:
        receiver = Held()
        receiver.transport = await open_websocket(server.url, receiver)
        freed = weakref.ref(receiver.transport), weakref.ref(receiver)
        gc.disable()
        try:
            await receiver.transport.close(timeout=0)
            receiver.transport = receiver = None  # type: ignore[assignment]
            await asyncio.sleep(0)
            assert [ref() for ref in freed] == [None, None]
        finally:
            gc.enable()


async def test_closed_without_a_code(recorder: Recorder) -> None:
    """An empty close frame is 1005, and worth another try."""
    async with FaultServer(after_accept(lambda peer: peer.close(None))) as server:
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
    async with FaultServer(after_accept(step, lambda peer: peer.end())) as server:
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
    async with FaultServer(after_accept(lambda peer: peer.raw(b"HTTP/1.1 500 Oops\r\n\r\n" * 50))) as server:
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
    async with FaultServer(deaf) as server:
        transport = await open_websocket(server.url, Recorder())
        await transport.close(timeout=0.02)
        assert transport._transport.is_closing()  # type: ignore[attr-defined]


async def test_close_that_is_cancelled() -> None:
    """Cancelling a close frees the socket at once."""
    async with FaultServer(deaf) as server:
        transport = await open_websocket(server.url, Recorder())
        closing = asyncio.ensure_future(transport.close(timeout=60))
        await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing


async def test_close_while_a_writer_waits(recorder: Recorder) -> None:
    """A writer that waits is told that the connection was closed; bytes nobody reads do not hold the close up."""
    async with FaultServer(deaf, rcvbuf=4096) as server:
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
        await peer.until_gone()

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
