"""The pipe protocol."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vivavoce_local_provider._frames import HEADER, MAX_FRAME, body_size, decode, encode


@given(
    st.integers(0, 2**31),
    st.text(max_size=20),
    st.one_of(st.none(), st.binary(), st.text(), st.lists(st.integers(0, 9))),
)
def test_a_frame_is_read_as_it_was_written(id: int, kind: str, payload: object) -> None:
    """What goes in comes out, and the header tells how long it is."""
    frame = encode(id, kind, payload)
    assert body_size(frame[:HEADER]) == len(frame) - HEADER
    assert decode(frame[HEADER:]) == (id, kind, payload)


def test_a_length_that_cannot_be_is_refused() -> None:
    """A pipe that holds something else is noticed before its length is allocated."""
    with pytest.raises(ValueError, match="frame"):
        body_size(struct.pack("<I", MAX_FRAME + 1))


def test_a_body_that_is_no_frame_is_refused() -> None:
    """Anything but the three fields is an error."""
    with pytest.raises(ValueError):
        decode(b"\x01\x02")
