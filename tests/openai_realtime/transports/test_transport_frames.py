"""Frames are cut out of the stream as the library's own parser would have read them, however the bytes arrive."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from vivavoce_openai_realtime.transports._frames import Frames, text_frame
from websockets.client import ClientProtocol
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN, State
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

LIMIT = 70_000
SIZES = [0, 1, 125, 126, 127, 65_535, 65_536, LIMIT, LIMIT + 1]

opcodes = st.sampled_from([*Opcode] + [Opcode.TEXT] * 6)
frames = st.tuples(opcodes, st.booleans(), st.sampled_from(SIZES[:4]), st.booleans())


def wire(opcode: int, fin: bool, size: int, masked: bool = False, reserved: int = 0) -> bytes:
    """One frame as a peer could send it, right or wrong."""
    head = bytes([(0x80 if fin else 0) | reserved | opcode])
    mask = 0x80 if masked else 0
    if size < 126:
        head += bytes([mask | size])
    elif size < 65_536:
        head += bytes([mask | 126]) + size.to_bytes(2, "big")
    else:
        head += bytes([mask | 127]) + size.to_bytes(8, "big")
    return head + (b"\0\0\0\0" if masked else b"") + bytes(range(97, 123)) * (size // 26) + b"x" * (size % 26)


class Reader:
    """The library's parser, by itself or behind `Frames`; `told` is what a receiver would be told."""

    def __init__(self, frames: Frames | None) -> None:
        self._frames = frames
        self.protocol = ClientProtocol(parse_uri("ws://peer/"), state=OPEN, max_size=LIMIT)
        self.told: list[tuple[Opcode, bool, bytes]] = []

    def feed(self, data: bytes) -> None:
        for is_text, piece in self._frames.cut(data) if self._frames is not None else [(False, data)]:
            if is_text:
                if self.protocol.state is State.OPEN:
                    self.told.append((Opcode.TEXT, True, piece))
            else:
                self.protocol.receive_data(piece)
                self._take(self.protocol.events_received())

    def _take(self, events: list[object]) -> None:
        for frame in events:
            assert isinstance(frame, Frame)
            self.told.append((frame.opcode, frame.fin, bytes(frame.data)))

    def outcome(self) -> tuple[object, ...]:
        closed: ConnectionClosed | None = (
            self.protocol.close_exc if self.protocol.state is State.CLOSED else None
        )
        sent = b"".join(self.protocol.data_to_send())
        return self.told, self.protocol.state, type(closed), self.protocol.close_rcvd, sent[:2]


def pieces(data: bytes, cuts: list[int]) -> Iterator[bytes]:
    at = 0
    for cut in sorted(cut % (len(data) + 1) for cut in cuts):
        yield data[at:cut]
        at = cut
    yield data[at:]


@given(st.lists(frames, max_size=12), st.lists(st.integers(0, 10_000), max_size=12))
@example([(Opcode.TEXT, False, 3, False), (Opcode.TEXT, True, 3, False)], [])
@example([(Opcode.TEXT, False, 3, False), (Opcode.PING, True, 3, False), (Opcode.CONT, True, 3, False)], [1])
@example([(Opcode.TEXT, False, 3, False), (Opcode.PING, True, 3, False), (Opcode.TEXT, True, 3, False)], [])
@example([(Opcode.CLOSE, True, 0, False), (Opcode.TEXT, True, 3, False)], [])
@example([(Opcode.TEXT, True, 3, True), (Opcode.TEXT, True, 3, False)], [])
def test_same_as_the_library(sent: list[tuple[Opcode, bool, int, bool]], cuts: list[int]) -> None:
    """Whatever a peer sends, in whatever pieces: the same frames, the same verdict, the same answer."""
    data = b"".join(wire(opcode, fin, size, masked) for opcode, fin, size, masked in sent)
    alone, cutting = Reader(None), Reader(Frames(LIMIT))
    alone.feed(data)
    for piece in pieces(data, cuts):
        cutting.feed(piece)
    assert cutting.outcome() == alone.outcome()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("opcode", [Opcode.TEXT, Opcode.BINARY])
def test_every_length(size: int, opcode: Opcode) -> None:
    """Each form of the length, and one byte more than may be."""
    data = wire(opcode, True, size) + wire(Opcode.TEXT, True, 5)
    alone, cutting = Reader(None), Reader(Frames(LIMIT))
    alone.feed(data)
    for start in range(0, len(data), 1_000):
        cutting.feed(data[start : start + 1_000])
    assert cutting.outcome() == alone.outcome()


@pytest.mark.parametrize("size", SIZES)
def test_every_length_that_is_sent(size: int) -> None:
    """A server's parser, which wants a mask, reads back what was written; and the key is a new one each time."""
    data = wire(Opcode.TEXT, True, size)[-size:] if size else b""
    peer = ServerProtocol(state=OPEN, max_size=None)
    sent = text_frame(data), text_frame(data)
    for frame in sent:
        peer.receive_data(frame)
    assert [(f.opcode, f.fin, bytes(f.data)) for f in peer.events_received()] == [
        (Opcode.TEXT, True, data)
    ] * 2  # type: ignore[union-attr]
    assert size < 4 or sent[0] != sent[1]


@pytest.mark.parametrize("reserved", [0x10, 0x20, 0x40])
def test_reserved_bits_are_not_ours(reserved: int) -> None:
    """A frame of an extension, compressed say, goes to the library as it came."""
    frame = wire(Opcode.TEXT, True, 5, reserved=reserved)
    assert Frames(None).cut(frame) == [(False, frame)]


def test_too_much_is_told_at_once() -> None:
    """A length above the limit is judged when it is read: nothing of it is waited for."""
    head = wire(Opcode.TEXT, True, LIMIT + 1)[:10]
    reader = Reader(Frames(LIMIT))
    reader.feed(head)
    assert reader.protocol.parser_exc is not None


def test_a_long_message_is_joined_once() -> None:
    """What arrives of it is kept as it came: twelve megabytes in small pieces are not copied over and over."""
    cutter, message = Frames(None), wire(Opcode.TEXT, True, 200_000)
    for start in range(0, len(message) - 1, 1_000):
        assert cutter.cut(message[start : min(start + 1_000, len(message) - 1)]) == []
    assert len(cutter._held) == 201
    assert cutter.cut(message[-1:]) == [(True, message[10:])]


@pytest.mark.parametrize("cut", range(1, 30))
def test_head_ends_anywhere(cut: int) -> None:
    """The end of the answer to the upgrade is found wherever the pieces are cut."""
    answer, after = b"HTTP/1.1 101 X\r\nA: b\r\n\r\n", b"\x81\x04\r\n\r\n"
    data, cutter = answer + after, Frames(None)
    first, rest = cutter.head(data[:cut])
    if cut >= len(answer):
        assert (first, rest) == (answer, after[: cut - len(answer)])
        return
    assert (first, rest) == (data[:cut], b"")
    assert cutter.head(data[cut:]) == (answer[cut:], after)
