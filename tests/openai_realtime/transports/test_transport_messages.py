"""An open WebSocket: messages both ways, whole and as they were."""

from __future__ import annotations

import logging

import pytest
from faults import FaultServer, Peer, Recorder, after_accept, echo
from vivavoce_openai_realtime.transports import open_websocket


async def test_text_both_ways(recorder: Recorder) -> None:
    """What is written arrives, what arrives is given on, in order and as it was."""
    async with FaultServer(echo) as server:
        transport = await open_websocket(server.url, recorder)
        for text in ("first", "zweite é", "x" * 200, "y" * 70_000):
            assert transport.write(text.encode()) is None or len(text) > 60_000
        await recorder.until(4)
        await transport.close()
    assert recorder.texts == [b"first", "zweite é".encode(), b"x" * 200, b"y" * 70_000]
    assert recorder.losses == []


async def test_fragments_are_joined(recorder: Recorder) -> None:
    """A message in frames is one message, also when a ping comes in between and a frame is empty."""
    script = after_accept(
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
    async with FaultServer(after_accept(lambda peer: peer.send_binary(b"\xff\x00"))) as server:
        transport = await open_websocket(server.url, recorder)
        await recorder.until(1)
        await transport.close()
    assert (recorder.texts, recorder.binaries) == ([], [b"\xff\x00"])


async def test_text_that_is_no_utf8_is_passed_on(recorder: Recorder) -> None:
    """Malformed text does not end the connection: its decoder reports it."""
    script = after_accept(lambda peer: peer.send(b"\xff\xfe"), lambda peer: peer.send("fine"))
    async with FaultServer(script) as server:
        transport = await open_websocket(server.url, recorder)
        await recorder.until(2)
        await transport.close()
    assert recorder.texts == [b"\xff\xfe", b"fine"]


async def test_a_large_message(recorder: Recorder) -> None:
    """12 MB in one message are below the default bound."""
    async with FaultServer(after_accept(lambda peer: peer.send(b"z" * 12_000_000))) as server:
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
    script = after_accept(
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
    async with FaultServer(after_accept(lambda peer: peer.send(b"0" * 5_000_000)), deflate=True) as server:
        transport = await open_websocket(server.url, recorder, compression="deflate", max_size=100_000)
        loss = await recorder.until_lost()
        await transport.close()
    assert (loss.close_code, recorder.texts) == (1009, [])
