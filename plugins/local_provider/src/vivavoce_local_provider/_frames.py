"""The pipe protocol between a voice and its worker processes, without I/O.

A frame is four bytes of length (little-endian) and a msgpack array `[id, kind, payload]`.

To the worker, `kind` is what to do; `id` 0 asks for no answer. From the worker it is `more` (a part of the answer, others
follow), `done` (the last one) or `error` (payload: `[code, message]`), with the id of the request.
"""

from __future__ import annotations

import struct
from typing import Any

import msgspec

__all__ = ["HEADER", "MAX_FRAME", "Frame", "body_size", "decode", "encode"]

HEADER = 4
MAX_FRAME = 16 * 1024 * 1024
"""Bytes. Nothing that is sent comes near; a larger length means that the pipe holds something else."""

Frame = tuple[int, str, Any]
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(tuple[int, str, Any])


def encode(id: int, kind: str, payload: Any = None) -> bytes:
    """A frame as it goes over the pipe."""
    body = _encoder.encode((id, kind, payload))
    return struct.pack("<I", len(body)) + body


def body_size(header: bytes) -> int:
    """The bytes that follow a header. Raises `ValueError` for a length that cannot be."""
    (size,) = struct.unpack("<I", header)
    if size > MAX_FRAME:
        raise ValueError(f"a frame of {size} bytes")
    return int(size)


def decode(body: bytes) -> Frame:
    """What follows the header. Raises `ValueError` (msgspec's `DecodeError` is one) for anything else."""
    return _decoder.decode(body)
