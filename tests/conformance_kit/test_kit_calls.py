"""The kit over WebRTC: the checks that are about calls, and what it hears by ear."""

from __future__ import annotations

import asyncio
import importlib.util
from itertools import pairwise

import pytest
import wrong_calls
from vivavoce import AudioFormat
from vivavoce.audio import Converter
from vivavoce.testing import ramp
from vivavoce_conformance import Profile, judge
from vivavoce_conformance.bench import Bench, Target
from vivavoce_conformance.checks import CHECKS
from vivavoce_conformance.ear import arrived, lasts, melody, notes, sound, sounding_ms
from vivavoce_conformance.reference import as_markdown
from vivavoce_conformance.registry import Unmet, applicable
from wrong_calls import WRONG_CALLS
from wrong_run import judge_pairs

FORMAT = AudioFormat(24_000)
PROFILE = "vivavoce_conformance.profiles:REALTIME_WEBRTC"
CALLS = {check.id for check in CHECKS.values() if check.over == {"webrtc"}}


def has_network() -> bool:
    """ICE leaves the loopback out."""
    if importlib.util.find_spec("aiortc") is None:
        return False
    from aioice.ice import get_host_addresses

    return bool(get_host_addresses(True, True))


needs_calls = pytest.mark.skipif(not has_network(), reason="aiortc is not installed, or there is no network")


@needs_calls
@pytest.mark.timeout(400)
def test_same_tier_as_over_a_websocket() -> None:
    """`openai-realtime` with `transport="webrtc"` is gold; no check is left out but those about other transports."""
    report = judge("openai-realtime", profile=PROFILE, workers=4)
    failed = {result.id for result in report.results if result.status == "failed"}
    if failed:  # a busy machine is no reason for an alarm: twice is
        again = judge("openai-realtime", profile=PROFILE, only=sorted(failed), workers=1)
        assert {r.id: r.seen for r in again.results if r.status != "passed" and r.id in failed} == {}
    assert report.tier == "gold" or failed, report.verdict
    over_websocket = {c.id for c in applicable(report.capabilities, has_peer=True, transport="websocket")}
    ran = {result.id for result in report.results if result.status in ("passed", "failed")}
    not_about_calls = {check.id for check in CHECKS.values() if check.over == {"websocket", "tcp"}}
    assert {id[-3:] for id in not_about_calls} == {"082", "088", "089", "090", "129", "155"}
    assert over_websocket - ran == not_about_calls
    assert ran - over_websocket == CALLS


@pytest.fixture(scope="module")
def caught() -> dict[str, str | None]:
    """All wrong providers, judged once."""
    pairs = [f"{wrong_calls.__name__}:{name}={check}" for name, check in WRONG_CALLS.items()]
    seen = asyncio.run(judge_pairs(pairs, processes=len(pairs)))
    return {pair.partition("=")[0].partition(":")[2]: what for pair, what in seen.items()}


@needs_calls
@pytest.mark.timeout(200)
@pytest.mark.parametrize("name", WRONG_CALLS)
def test_wrong_call_is_caught(name: str, caught: dict[str, str | None]) -> None:
    """Each check about calls has a provider that it catches."""
    seen = caught[name]
    assert seen
    assert "peer could not go on" not in seen


def test_every_check_about_calls_has_a_wrong_provider() -> None:
    """A check that nobody fails would prove nothing."""
    assert set(WRONG_CALLS.values()) == CALLS


def test_checks_about_calls_hold_for_calls_alone() -> None:
    """A provider over another transport is not asked for them, and none is counted as passed."""
    everything = ("realtime", "turns", "text", "interrupt", "vad")
    for transport in ("", "websocket", "tcp"):
        found = {check.id for check in applicable(everything, has_peer=True, transport=transport)}
        assert not found & CALLS
    over_webrtc = {check.id for check in applicable(everything, has_peer=True, transport="webrtc")}
    assert over_webrtc >= CALLS


def test_page_says_what_is_heard_by_ear() -> None:
    """Each check that cannot compare bits over WebRTC says so."""
    page = as_markdown()
    for check in CHECKS.values():
        section = page.partition(f"### {check.id}\n")[2].partition("###")[0]
        assert ("by ear over WebRTC" in section) == check.by_ear


def lossy() -> Bench:
    return Bench(
        Target("x", "x", None, Profile(dialect="vivavoce_conformance.peer.calls:RealtimeCallDialect")), None
    )


def codec(pcm: bytes) -> bytes:
    """What a codec does at least: another rate and back, a delay, silence around, and not a bit the same."""
    there, back = Converter(FORMAT, AudioFormat(48_000, 2)), Converter(AudioFormat(48_000, 2), FORMAT)
    changed = back.feed(there.feed(pcm) + there.flush()) + back.flush()
    return bytes(2 * 317) + changed + bytes(2 * 2_000)


@needs_calls
def test_ear_knows_what_arrived() -> None:
    """A melody that went through a codec is the same melody; from any place in it."""
    for start in (0, 1_300, 24_000 * 95):
        told = melody(700, FORMAT, start)
        assert codec(told) != told
        arrived(lossy(), codec(told), told, FORMAT)


@needs_calls
@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda pcm: pcm[: len(pcm) // 2], "tones"),
        (lambda pcm: pcm[9_600:] + pcm[:9_600], "tones"),
        (lambda pcm: pcm[:9_600] + pcm, "tones"),
        (lambda pcm: pcm[:9_600] + pcm[14_400:], "tones"),
        (lambda pcm: bytes(len(pcm)), "tones"),
        (lambda pcm: louder(pcm, 0.5), "dB"),
        (lambda pcm: pcm[:4_800] + pcm[:4_800] + pcm[4_800:], "ms of"),
    ],
    ids=["half", "out of order", "twice", "a gap", "silence", "too quiet", "too long"],
)
def test_ear_notices(spoil: object, words: str) -> None:
    """What a listener would notice is no arrival."""
    told = melody(800, FORMAT)
    with pytest.raises(Unmet, match=words):
        arrived(lossy(), codec(spoil(told)), told, FORMAT)  # type: ignore[operator]


def louder(pcm: bytes, by: float) -> bytes:
    return b"".join(
        int(sample * by).to_bytes(2, "little", signed=True) for sample in memoryview(pcm).cast("h")
    )


def test_bits_are_bits_where_they_can_be() -> None:
    """Over a transport that carries bytes nothing is left to the ear."""
    bench = Bench(
        Target("x", "x", None, Profile(dialect="vivavoce_conformance.peer.realtime:RealtimeDialect")), None
    )
    told = sound(bench, 100, FORMAT)
    assert told == ramp(100, FORMAT)
    arrived(bench, told, told, FORMAT)
    lasts(bench, told, 100, FORMAT)
    with pytest.raises(Unmet, match="from byte 10 on"):
        arrived(bench, told[:10] + b"\x01\x01" + told[12:], told, FORMAT)
    with pytest.raises(Unmet, match="4798 arrived"):
        arrived(bench, told[:-2], told, FORMAT)
    with pytest.raises(Unmet, match="bytes came"):
        lasts(bench, told[:-2], 100, FORMAT)


def test_melody_goes_on_where_it_was() -> None:
    """Pieces of it joined are the whole; no tone follows itself."""
    whole = melody(500, FORMAT, 100)
    assert melody(200, FORMAT, 100) + melody(300, FORMAT, 4_900) == whole
    heard = notes(melody(2_000, FORMAT), FORMAT)
    assert len(heard) == 20
    assert all(one != other for one, other in pairwise(heard))
    assert sounding_ms(bytes(4_800) + whole, FORMAT) == pytest.approx(500, abs=20)
