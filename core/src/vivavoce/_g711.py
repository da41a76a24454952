"""G.711 as in ITU-T G.711 tables 1a, 1b, 2a and 2b: one byte a sample, by table, without numpy.

A sample that lies exactly on a decision value is coded as by the ITU's reference software (G.191, `ulaw_compress`
and `alaw_compress`): it belongs to the interval above it.
"""

from __future__ import annotations

import struct
from functools import cache
from typing import NamedTuple

__all__ = ["alaw_to_pcm16", "pcm16_to_alaw", "pcm16_to_ulaw", "ulaw_to_pcm16"]


class _Tables(NamedTuple):
    low: bytes  # code -> low byte of the sample
    high: bytes  # code -> high byte of the sample
    encode: bytes  # the sample's 16 bits, unsigned -> code


def _ulaw_value(code: int) -> int:
    bits = ~code & 0xFF
    magnitude = (((bits & 0x0F) << 3) + 132 << (bits >> 4 & 7)) - 132
    return -magnitude if bits & 0x80 else magnitude


def _alaw_value(code: int) -> int:
    bits = code ^ 0x55
    segment, step = bits >> 4 & 7, bits & 0x0F
    magnitude = (step << 4) + 8 if segment == 0 else (step << 4) + 264 << segment - 1
    return magnitude if bits & 0x80 else -magnitude


def _tables(values: list[int]) -> _Tables:
    low = bytes(value & 0xFF for value in values)
    high = bytes(value >> 8 & 0xFF for value in values)
    return _Tables(low, high, _encoder(values))


def _encoder(values: list[int]) -> bytes:
    """The code of each sample, indexed by the sample's 16 bits read as unsigned: so non-negative ones first."""
    half: list[bytes] = []
    start = 0
    for value, code in sorted((value, code) for code, value in enumerate(values) if code & 0x80):
        # A decoded value is the middle of its interval, but for µ-law's zero, whose other half is negative zero.
        end = value + (value - start or 4)
        half.append(bytes([code]) * (end - start))
        start = end
    # Beyond the last interval the encoder clips. It ends at 32,768 in A-law and at 32,636 in µ-law.
    upper = b"".join(half).ljust(0x8000, half[-1][:1])
    # G.191 codes a negative sample v as the sign-flipped code of -v-1: -32768 .. -1 mirror 32767 .. 0.
    flip = bytes(code ^ 0x80 for code in range(256))
    return upper + upper[::-1].translate(flip)


@cache
def _ulaw() -> _Tables:
    return _tables([_ulaw_value(code) for code in range(256)])


@cache
def _alaw() -> _Tables:
    return _tables([_alaw_value(code) for code in range(256)])


def _decode(data: bytes, tables: _Tables) -> bytes:
    out = bytearray(2 * len(data))
    out[0::2] = data.translate(tables.low)
    out[1::2] = data.translate(tables.high)
    return bytes(out)


def _encode(pcm: bytes, tables: _Tables) -> bytes:
    table = tables.encode
    return bytes([table[sample] for sample in struct.unpack(f"<{len(pcm) // 2}H", pcm)])


def ulaw_to_pcm16(data: bytes) -> bytes:
    """µ-law bytes to PCM16 little-endian, twice as long."""
    return _decode(data, _ulaw())


def alaw_to_pcm16(data: bytes) -> bytes:
    """A-law bytes to PCM16 little-endian, twice as long."""
    return _decode(data, _alaw())


def pcm16_to_ulaw(pcm: bytes) -> bytes:
    """PCM16 little-endian (whole samples) to µ-law, half as long. Clips beyond ±32,636, as the code has no more."""
    return _encode(pcm, _ulaw())


def pcm16_to_alaw(pcm: bytes) -> bytes:
    """PCM16 little-endian (whole samples) to A-law, half as long."""
    return _encode(pcm, _alaw())
