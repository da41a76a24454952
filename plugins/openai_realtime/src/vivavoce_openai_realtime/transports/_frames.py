"""Cuts what arrives into WebSocket frames (RFC 6455, 5.2), and reads and writes the plainest ones.

Nearly everything a service sends is a whole text message in one frame, and its payload lies where the header says. Such
a frame goes straight to the receiver; any other goes as it came to the protocol object of `websockets`, which alone
judges, joins fragments, unpacks and answers. The parser of that object was a third of what an audio event cost.
Likewise a text message goes out in one frame, whose header takes less than that object's general way to it.
"""

from __future__ import annotations

import os

try:
    from websockets.speedups import apply_mask  # in C; a wheel may lack it
except ImportError:
    from websockets.utils import apply_mask

__all__ = ["Frames", "text_frame"]

_PLAIN = 0x81  # the last fragment, no extension, text
_LONG, _MASKED = 126, 128
_HEAD_END = b"\r\n\r\n"


class Frames:
    """The bytes of one connection: first `head`, till it is whole, then `cut`."""

    def __init__(self, max_size: int | None) -> None:
        self._limit = max_size if max_size is not None else float("inf")
        self._tail = b""
        self._held: list[bytes] = []
        self._missing = 0  # at least that much, till the frame that is held is whole
        self._in_fragments = False
        self._given_up = False

    def head(self, data: bytes) -> tuple[bytes, bytes]:
        """What of `data` belongs to the answer to the upgrade, and what comes after it."""
        seen = self._tail + data
        end = seen.find(_HEAD_END)
        if end < 0:
            self._tail = seen[-len(_HEAD_END) + 1 :]
            return data, b""
        size = end + len(_HEAD_END) - len(self._tail)
        return data[:size], data[size:]

    def cut(self, data: bytes) -> list[tuple[bool, bytes]]:
        """What is whole by now, in order: the payload of a plain text frame (`True`), or a frame of another kind as
        it came. What no peer may send is handed over at once, with all that follows it."""
        if self._given_up:
            return [(False, data)]
        if self._held:
            self._held.append(data)
            self._missing -= len(data)
            if self._missing > 0:
                return []
            data = b"".join(self._held)
            self._held.clear()
        pieces: list[tuple[bool, bytes]] = []
        at, end = 0, len(data)
        while at < end:
            start, stop = _bounds(data, at, end)
            if stop - start > self._limit or (end - at > 1 and data[at + 1] >= _MASKED):
                self._given_up = True
                pieces.append((False, data[at:]))
                return pieces
            if stop > end:
                self._held.append(data[at:])
                self._missing = stop - end
                break
            first = data[at]
            if first == _PLAIN and not self._in_fragments:
                pieces.append((True, data[start:stop]))
            else:
                pieces.append((False, data[at:stop]))
                if not first & 0x08:  # control frames may come in between
                    self._in_fragments = not first & 0x80
            at = stop
        return pieces


def text_frame(data: bytes) -> bytes:
    """A text message of a client: whole, masked by a key that cannot be foretold (RFC 6455, 5.3), no extension."""
    size = len(data)
    if size < _LONG:
        head = bytes((_PLAIN, _MASKED | size))
    elif size < 65_536:
        head = b"\x81\xfe" + size.to_bytes(2, "big")
    else:
        head = b"\x81\xff" + size.to_bytes(8, "big")
    key = os.urandom(4)
    return b"".join((head, key, apply_mask(data, key)))


def _bounds(data: bytes, at: int, end: int) -> tuple[int, int]:
    """Where the payload of the frame at `at` begins and ends; where its header ends, if that is not whole."""
    start = at + 2
    if start > end:
        return start, start
    size = data[at + 1] & 0x7F
    if size < _LONG:
        return start, start + size
    past = start + (2 if size == _LONG else 8)
    if past > end:
        return past, past
    return past, past + int.from_bytes(data[start:past], "big")
