"""What a session costs and leaves: cancelling, closing, time."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Self

from vivavoce.events import Speaking
from vivavoce.testing import ramp

from vivavoce_conformance.bench import CONNECT_MS, Bench, within
from vivavoce_conformance.checks.faults import goes_on
from vivavoce_conformance.ear import arrived, sound
from vivavoce_conformance.peer.script import Plan, Reply
from vivavoce_conformance.registry import expect, family

__all__ = [
    "answer_can_be_cancelled",
    "closes_its_connection",
    "closes_quickly",
    "connects_quickly",
    "leaves_nothing",
    "leaves_nothing_of_a_reply",
    "leaves_nothing_to_the_next",
    "never_blocks",
    "send_hands_over",
]

limits = family("cancel, leak and time")


@limits("VV-CON-100", needs="realtime turns", peer=True)
async def answer_can_be_cancelled(bench: Bench) -> None:
    """A cancelled `answer()` leaves a good session: the next reply comes."""
    async with bench.session(Plan(lag=0.03)) as voice:
        for turns in (1, 5, 40):
            task = asyncio.ensure_future(bench.ask(voice))
            for _ in range(turns):
                await asyncio.sleep(0.001)
            task.cancel()
            await asyncio.wait([task], timeout=8)
            expect(task.done(), "answer() did not end when it was cancelled")
        await goes_on(bench, voice, "after a cancelled answer()")
    async with bench.session(Plan(replies=[Reply(late=True)])) as voice:
        task = asyncio.ensure_future(bench.ask(voice))
        await bench.peer.until("respond")
        task.cancel()
        await asyncio.wait([task], timeout=8)
        expect(task.done(), "answer() did not end when it was cancelled while the service had not begun")
        await bench.peer.act("release")
        await goes_on(bench, voice, "after a cancelled answer()")


@limits("VV-CON-101", needs="realtime")
async def leaves_nothing(bench: Bench) -> None:
    """Sessions that were closed leave no task, thread, descriptor, child or connection."""
    async with bench.session():
        pass  # what the first session loads stays
    async with bench.nothing_left("after more sessions"):
        for _ in range(3 if bench.has_peer else 1):
            voice = bench.voice()
            await voice.connect(timeout=8_000)
            if "turns" in bench.capabilities:
                await bench.replies(voice)
            await within(voice.close(), "close()", 12)


@limits("VV-CON-102", needs="realtime turns")
async def leaves_nothing_of_a_reply(bench: Bench) -> None:
    """A session that is closed in the middle of a reply leaves nothing, and nothing of it is told afterwards."""
    async with bench.session():
        pass
    if bench.has_peer:
        await bench.peer.plan(Plan(replies=[Reply(audio_ms=2_000, hold_first=True)]))
    async with bench.nothing_left("after closing in mid-reply"):
        voice = bench.voice()
        await voice.connect(timeout=8_000)
        response = await bench.ask(voice)
        await within(voice.close(), "close()", 12)
        before = len(bench.events)
        await asyncio.sleep(0.1)
    expect(len(bench.events) == before, f"after `close` came {bench.events[-1]!r}")
    reason = response.audio.end_reason
    expect(reason in ("cancelled", "completed"), f"the stream ended as {reason!r}")


@limits("VV-CON-108", needs="realtime turns", peer=True, by_ear=True)
async def leaves_nothing_to_the_next(bench: Bench) -> None:
    """Nothing of a session that was closed reaches the next one of the same voice: its replies are its own."""
    await bench.peer.plan(Plan(replies=[Reply(audio_ms=400, hold=True)]))
    voice = bench.voice()
    await voice.connect(timeout=8_000)
    old = await bench.ask(voice)
    await bench.settle(lambda: bench.of(Speaking), "no audio came")
    await within(voice.close(), "close()", 12)
    await bench.peer.plan(Plan(replies=[Reply(text="Next.", audio_ms=100)]))
    at = len(bench.events)
    await voice.connect(timeout=8_000)
    new = await bench.ask(voice)
    await within(new.done(), "done()")
    told = bench.events[at:]
    await within(voice.close(), "close()", 12)
    heard = b"".join(event.audio for event in told if isinstance(event, Speaking))
    arrived(bench, heard, await bench.peer.spoken(), new.audio.format)
    stale = [
        event for event in told if old.id in (getattr(event, "id", ""), getattr(event, "response_id", ""))
    ]
    expect(not stale, f"of the reply before came {stale[:1]}")


@limits("VV-CON-103", needs="realtime")
async def never_blocks(bench: Bench) -> None:
    """The event loop is never held up: no call of the provider keeps it for 0.3 s."""
    worst = await _longest_hold(bench)
    if worst >= 0.3:  # a busy machine is no reason for an alarm: twice is
        worst = min(worst, await _longest_hold(bench))
    expect(worst < 0.3, f"the loop stood still for {worst:.2f} s")


_TICK = 0.005


class _Ticking:
    """Counts seconds as this process has them: on a busy machine they stand still together with the loop."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._over = False
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._over:
            time.sleep(_TICK)
            self.seconds += _TICK

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._over = True
        self._thread.join()


async def _longest_hold(bench: Bench) -> float:
    holds = [0.0]

    async def beat(ticking: _Ticking) -> None:
        while True:
            ticks, worked = ticking.seconds, time.thread_time()
            await asyncio.sleep(_TICK)
            # Other threads ran while the loop did not, or the loop's own thread worked all the while.
            holds.append(max(ticking.seconds - ticks, time.thread_time() - worked))

    with _Ticking() as ticking:
        beating = asyncio.ensure_future(beat(ticking))
        try:
            async with bench.session() as voice:
                if "turns" in bench.capabilities:
                    await bench.replies(voice)
                for _ in range(20):
                    await voice.send(ramp(20, voice.input_format))
        finally:
            beating.cancel()
    return max(holds)


@limits("VV-CON-104", needs="realtime")
async def closes_quickly(bench: Bench) -> None:
    """`close()` of a healthy session takes less than two seconds."""
    took: list[float] = []
    while len(took) < 2 and (not took or took[-1] >= 2):  # a busy machine is no reason for an alarm: twice is
        voice = bench.voice()
        await voice.connect(timeout=8_000)
        with _Ticking() as ticking:
            await within(voice.close(), "close()", 12)
        took.append(ticking.seconds)
    expect(min(took) < 2, f"it took {min(took):.1f} s")


@limits("VV-CON-105", needs="realtime", peer=True)
async def closes_its_connection(bench: Bench) -> None:
    """When `close()` returns, the service's connection is ended too."""
    async with bench.session():
        pass
    expect(await bench.peer.reaches("closed", 0), "the service still has a connection")


@limits("VV-CON-106", needs="realtime", peer=True, by_ear=True)
async def send_hands_over(bench: Bench) -> None:
    """Audio is handed to the transport as it is sent, not held until more comes."""
    async with bench.session() as voice:
        await voice.send(sound(bench, 100, voice.input_format))
        size = voice.input_format.bytes_for(100)
        expect(await bench.peer.reaches("audio_bytes", size), "100 ms of audio did not arrive")


@limits("VV-CON-107", needs="realtime", level="SHOULD")
async def connects_quickly(bench: Bench) -> None:
    """Opening a session with a service on this machine takes less than two seconds."""
    took: list[float] = []
    while len(took) < 2 and (not took or took[-1] >= 2):  # as above
        with _Ticking() as ticking:
            voice = bench.voice()
            await voice.connect(timeout=CONNECT_MS)
        took.append(ticking.seconds)
        await within(voice.close(), "close()", 12)
    expect(min(took) < 2, f"it took {min(took):.1f} s")
