"""`SilentSink`: plays in real time, to nobody."""

from __future__ import annotations

import asyncio

import pytest
from vivavoce.audio import AudioFormat
from vivavoce.sinks import SilentSink
from vivavoce.streams import Sink
from vivavoce.testing import VirtualClock

pytestmark = pytest.mark.virtual_clock
SECOND = bytes(48_000)


async def test_it_plays_in_real_time(clock: VirtualClock) -> None:
    """What was written is played as time passes, and not before it was written."""
    sink = SilentSink()
    assert isinstance(sink, Sink)
    await clock.advance(1)
    sink.write(SECOND)
    assert sink.played_ms == 0
    await clock.advance(0.4)
    assert sink.played_ms == pytest.approx(400)
    await clock.advance(5)
    assert sink.played_ms == pytest.approx(1000)


async def test_drain_waits_for_all(clock: VirtualClock) -> None:
    """It ends when the last was played, also what was written meanwhile."""
    sink = SilentSink(AudioFormat(24_000))
    sink.write(SECOND)
    draining = asyncio.ensure_future(sink.drain())
    await clock.advance(0.5)
    sink.write(SECOND)
    await draining
    assert clock.now == pytest.approx(2.0)


async def test_flush_drops_what_was_not_played(clock: VirtualClock) -> None:
    """Flushed audio does not count as played, and a drain ends at once."""
    sink = SilentSink()
    sink.write(SECOND)
    draining = asyncio.ensure_future(sink.drain())
    await clock.advance(0.25)
    sink.flush()
    await draining
    assert (clock.now, sink.played_ms) == (0.25, pytest.approx(250))
    sink.write(SECOND)
    await sink.drain()
    assert sink.played_ms == pytest.approx(1250)
