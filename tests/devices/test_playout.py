"""The ring between threads, and the clock of what was heard."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from vivavoce._playout import PlayoutClock, Ring


@given(st.integers(1, 64), st.lists(st.one_of(st.binary(max_size=80), st.integers(0, 80))))
def test_ring_is_a_queue_of_bytes(capacity: int, steps: list[bytes | int]) -> None:
    """Whatever is written and read in whichever pieces comes out once and in order, never more than fits."""
    ring, expected = Ring(capacity), b""
    for step in steps:
        if isinstance(step, bytes):
            taken = ring.write(step)
            assert taken == min(len(step), capacity - len(expected))
            expected += step[:taken]
        else:
            out = bytearray(step)
            count = ring.read_into(memoryview(out))
            assert bytes(out[:count]) == expected[: min(step, len(expected))]
            expected = expected[count:]
        assert ring.used == len(expected)


def test_skipped_bytes_are_never_read() -> None:
    """After `skip` only what is written later comes out; the room is there once the reader has gone on."""
    ring = Ring(8)
    ring.write(b"old!")
    ring.skip()
    assert (ring.used, ring.room) == (0, 4)
    ring.write(b"new")
    out = bytearray(8)
    assert (ring.read_into(memoryview(out)), bytes(out[:3]), ring.room) == (3, b"new", 8)


def test_clock_counts_what_left_the_device() -> None:
    """Frames count from the moment they are heard, block by block; silence between them does not."""
    clock = PlayoutClock(1_000)
    clock.took(1.0, 10)
    clock.took(1.01, 0)
    clock.took(1.02, 5)
    assert [clock.heard(now) for now in (0.5, 1.0, 1.004, 1.015, 1.0221, 2.0)] == [0, 0, 4, 10, 12, 15]
    assert clock.taken == 15
