"""G.711 over every sample and every code."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from vivavoce.audio import (
    PCM16_24K,
    AudioFormat,
    Converter,
    alaw_to_pcm16,
    pcm16_to_alaw,
    pcm16_to_ulaw,
    ulaw_to_pcm16,
)

Codec = Callable[[bytes], bytes]

SAMPLES = range(-32768, 32768)
CODES = bytes(range(256))


def pcm(samples: range | list[int]) -> bytes:
    return struct.pack(f"<{len(samples)}h", *samples)


def samples(data: bytes) -> list[int]:
    return list(struct.unpack(f"<{len(data) // 2}h", data))


def ulaw_compress(sample: int) -> int:
    """The compressor of ITU-T G.191 (`ulaw_compress`), one sample at a time."""
    magnitude = min((~sample >> 2 if sample < 0 else sample >> 2) + 33, 0x1FFF)
    segment = (magnitude >> 6).bit_length() + 1
    code = 8 - segment << 4 | 0xF - (magnitude >> segment & 0xF)
    return code | 0x80 if sample >= 0 else code


def alaw_compress(sample: int) -> int:
    """The compressor of ITU-T G.191 (`alaw_compress`), one sample at a time."""
    code = ~sample >> 4 if sample < 0 else sample >> 4
    exponent = max(0, code.bit_length() - 4)
    if exponent:
        code = (code >> exponent - 1) - 16 + (exponent << 4)
    return (code | 0x80 if sample >= 0 else code) ^ 0x55


# ITU-T G.711, tables 1a and 2a, column 7 (values at decoder output), scaled to 16 bits, at the ends of segments.
ULAW_POINTS = {
    0xFF: 0,
    0xFE: 8,
    0xF0: 120,
    0xEF: 132,
    0xE0: 372,
    0x80: 32124,
    0x7F: 0,
    0x7E: -8,
    0x00: -32124,
}
ALAW_POINTS = {0xD5: 8, 0xD4: 24, 0xC5: 264, 0xF5: 528, 0xAA: 32256, 0x55: -8, 0x54: -24, 0x2A: -32256}


@pytest.mark.parametrize(
    ("decode", "points"), [(ulaw_to_pcm16, ULAW_POINTS), (alaw_to_pcm16, ALAW_POINTS)], ids=["ulaw", "alaw"]
)
def test_decoder_gives_the_values_of_the_recommendation(decode: Codec, points: dict[int, int]) -> None:
    """The decoder's output is that of G.711's tables."""
    decoded = samples(decode(CODES))
    assert {code: decoded[code] for code in points} == points


@pytest.mark.parametrize(
    ("encode", "compress"),
    [(pcm16_to_ulaw, ulaw_compress), (pcm16_to_alaw, alaw_compress)],
    ids=["ulaw", "alaw"],
)
def test_encoder_equals_the_reference_for_every_sample(encode: Codec, compress: Callable[[int], int]) -> None:
    """All 65,536 samples get the code of the ITU's reference software."""
    assert encode(pcm(SAMPLES)) == bytes(compress(sample) for sample in SAMPLES)


@pytest.mark.parametrize(
    ("encode", "decode", "clips"),
    [(pcm16_to_ulaw, ulaw_to_pcm16, 32_636), (pcm16_to_alaw, alaw_to_pcm16, 32_768)],
    ids=["ulaw", "alaw"],
)
def test_values_are_in_the_middle_of_their_intervals(encode: Codec, decode: Codec, clips: int) -> None:
    """The samples that share a code, zero and clipping apart, lie evenly around the value it decodes to."""
    values = samples(decode(CODES))
    intervals: dict[int, list[int]] = {}
    for sample, code in zip(SAMPLES, encode(pcm(SAMPLES)), strict=True):
        if -clips <= sample < clips:
            intervals.setdefault(code, []).append(sample)
    middles = {code: (found[0] + found[-1] + 1) // 2 for code, found in intervals.items() if values[code]}
    assert middles == {code: values[code] for code in middles}
    assert len(intervals) == 256


def test_every_code_survives_a_round_trip() -> None:
    """Decoding and encoding again changes nothing but µ-law's negative zero, which becomes zero."""
    assert pcm16_to_alaw(alaw_to_pcm16(CODES)) == CODES
    assert pcm16_to_ulaw(ulaw_to_pcm16(CODES)) == CODES.replace(b"\x7f", b"\xff")


@pytest.mark.parametrize("encoding", ["pcmu", "pcma"])
def test_converter_between_g711_and_pcm16_needs_no_numpy(
    encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At one rate, G.711 is converted by table alone."""
    monkeypatch.setitem(__import__("sys").modules, "vivavoce._resample", None)
    coded = AudioFormat(8_000, 2, encoding)  # type: ignore[arg-type]
    plain = AudioFormat(8_000, 2)
    data = Converter(coded, plain).feed(CODES)
    again = CODES.replace(b"\x7f", b"\xff") if encoding == "pcmu" else CODES
    assert Converter(plain, coded).feed(data) == again


def test_converter_goes_from_one_law_to_the_other() -> None:
    """µ-law to A-law passes through PCM16."""
    converter = Converter(AudioFormat(8_000, 1, "pcmu"), AudioFormat(8_000, 1, "pcma"))
    assert converter.feed(CODES) == pcm16_to_alaw(ulaw_to_pcm16(CODES))


def test_converter_goes_from_a_telephone_to_24_khz() -> None:
    """Encoding and rate change in one pass, to the exact length."""
    converter = Converter(AudioFormat(8_000, 1, "pcmu"), PCM16_24K)
    data = converter.feed(pcm16_to_ulaw(pcm([1000] * 800))) + converter.flush()
    assert len(data) == 2400 * 2
    assert set(samples(data)[200:-200]) == {988}
