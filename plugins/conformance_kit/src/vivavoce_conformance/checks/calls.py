"""Calls: what can go wrong on the way to a WebRTC session, and what real time asks of one."""

from __future__ import annotations

import asyncio

from vivavoce.errors import ConnectError, ConnectTimeoutError, VoiceError
from vivavoce.events import Speaking

from vivavoce_conformance.bench import Bench, within
from vivavoce_conformance.ear import melody, sounding_ms
from vivavoce_conformance.peer.script import Plan, Reply
from vivavoce_conformance.registry import Unmet, expect, family

__all__ = [
    "closes_when_the_peer_vanished",
    "ends_replies_when_they_were_heard",
    "gives_up_on_a_channel_that_never_opens",
    "gives_up_on_a_dead_path",
    "hangs_up",
    "paces",
    "refuses_an_answer_that_is_none",
    "waits_for_room",
]

calls = family("calls")


async def _fails(bench: Bench, how: str, seconds: float) -> VoiceError:
    """A call that cannot come about, with what `connect()` raised; nothing may be left of it here."""
    raised: list[VoiceError] = []
    for attempt in range(2):  # what the first one loads is the process's
        await bench.peer.plan(Plan(accept=[how]))
        voice = bench.voice()
        async with bench.nothing_left("after a failed call", at_peer=attempt > 0):
            try:
                await within(voice.connect(timeout=seconds * 1000), "connect()", seconds + 5)
            except VoiceError as error:
                raised.append(error)
            else:
                raise Unmet("connect() succeeded")
            await asyncio.sleep(0 if attempt else 0.5)
        expect(voice.state == "idle", f"after a failed connect() the state is {voice.state!r}")
    expect(isinstance(raised[-1], ConnectError), f"{type(raised[-1]).__name__} instead of ConnectError")
    return raised[-1]


@calls("VV-CON-200", needs="realtime", peer=True, over="webrtc")
async def refuses_an_answer_that_is_none(bench: Bench) -> None:
    """An answer that is no SDP is a `ConnectError` at once, and is not `retryable`; nothing is left."""
    error = await _fails(bench, "nonsense", 5)
    expect(not isinstance(error, ConnectTimeoutError), "it waited for the timeout")
    expect(not error.retryable, "it is retryable")


@calls("VV-CON-201", needs="realtime", peer=True, over="webrtc")
async def gives_up_on_a_dead_path(bench: Bench) -> None:
    """A service that answers and cannot be reached by UDP costs no more than the budget: `ConnectError`, and nothing is left."""
    await _fails(bench, "dead", 1.5)


@calls("VV-CON-202", needs="realtime", peer=True, over="webrtc")
async def gives_up_on_a_channel_that_never_opens(bench: Bench) -> None:
    """A call whose data channel never opens costs no more than the budget: `ConnectError`, and nothing is left."""
    await _fails(bench, "shut", 1.5)


@calls("VV-CON-203", needs="realtime", peer=True, over="webrtc")
async def hangs_up(bench: Bench) -> None:
    """`close()` tells the service by its hang-up, which the call's `Location` names."""
    async with bench.session():
        pass
    expect(await bench.peer.reaches("hang_up"), "the service was not told")


@calls("VV-CON-204", needs="realtime", peer=True, over="webrtc")
async def paces(bench: Bench) -> None:
    """What is sent at once is heard in its real time, whole: the track carries a second of audio in a second."""
    async with bench.session() as voice:
        loop = asyncio.get_running_loop()
        began = loop.time()
        await within(voice.send(melody(1_000, voice.input_format)), "send()")
        size = voice.input_format.bytes_for(900)
        expect(await bench.peer.reaches("audio_bytes", size), "it did not arrive")
        took = loop.time() - began
    expect(took > 0.8, f"a second of audio arrived within {took:.2f} s")


@calls("VV-CON-205", needs="realtime turns", peer=True, over="webrtc")
async def ends_replies_when_they_were_heard(bench: Bench) -> None:
    """A reply is over when it was heard, not when it was made: its end comes after its audio, whole."""
    async with bench.session(Plan(replies=[Reply(audio_ms=800)])) as voice:
        response = await bench.ask(voice)
        await within(response.done(), "done()")
        heard = b"".join(event.audio for event in bench.of(Speaking))
        for_ms = sounding_ms(heard, voice.output_format)
    expect(for_ms > 700, f"at the end of the reply {for_ms:g} of 800 ms had been heard")


@calls("VV-CON-206", needs="realtime", peer=True, over="webrtc")
async def waits_for_room(bench: Bench) -> None:
    """`send()` of more than a moment's audio waits while it is said: it does not pile up in memory."""
    async with bench.session() as voice:
        sending = asyncio.ensure_future(_pour(voice, seconds=20))
        await asyncio.wait([sending], timeout=1.0)
        held = not sending.done()
        sending.cancel()
        await asyncio.wait([sending], timeout=5)
    expect(held, "20 s of audio were taken within a second")


async def _pour(voice: object, seconds: int) -> None:
    for _ in range(seconds * 2):
        await voice.send(melody(500, voice.input_format))  # type: ignore[attr-defined]


@calls("VV-CON-207", needs="realtime", peer=True, over="webrtc")
async def closes_when_the_peer_vanished(bench: Bench) -> None:
    """`close()` ends, and leaves nothing here, when no packet of the service comes any more."""
    async with bench.session():
        pass
    async with bench.nothing_left("after closing a call whose peer vanished", at_peer=False):
        voice = bench.voice()
        await voice.connect(timeout=8_000)
        await bench.peer.act("stall")
        await within(voice.close(), "close()", 12)
    expect(voice.state == "closed", f"the state is {voice.state!r}")
