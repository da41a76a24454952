"""Packets that are lost, late, doubled or out of order: what is handed on, and how long it waits."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vivavoce_openai_realtime.transports.jitter import Reorder


def packet(number: int) -> bytes:
    return str(number).encode()


def feed(order: Reorder, *numbers: int) -> list[int | None]:
    """What comes out, by number; `None` for a lost packet."""
    ready = [payload for number in numbers for payload in order.add(number & 0xFFFF, packet(number))]
    return [None if payload is None else int(payload) for payload in ready]


def test_packets_in_order_wait_for_nothing() -> None:
    """Each is handed on as it comes."""
    order = Reorder()
    for number in range(65_530, 65_545):  # the numbers wrap
        assert feed(order, number) == [number]
    assert not order.waits


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ((1, 3, 2, 4), [1, 2, 3, 4]),
        ((1, 4, 3, 2), [1, 2, 3, 4]),
        ((1, 3, 4, 5, 6), [1, None, 3, 4, 5, 6]),  # given up as the third comes after it
        ((1, 4, 5, 6, 7), [1, None, None, 4, 5, 6, 7]),
        ((1, 3, 4, 5, 2, 6), [1, None, 3, 4, 5, 6]),  # too late
        ((1, 1, 2, 2, 3, 1), [1, 2, 3]),
        ((1, 3, 3, 2), [1, 2, 3]),
        ((65_535, 65_537, 65_536), [65_535, 65_536, 65_537]),
        ((1, 40_000, 40_001), [1, 40_000, 40_001]),  # another stream
        ((1, 3, 40_000), [1, None, 3, 40_000]),
        ((1, 102, 103), [1, None, None, None, None, None, 102, 103]),  # an outage is not made up for
    ],
)
def test_packets_out_of_order(numbers: tuple[int, ...], expected: list[int | None]) -> None:
    """They are put right, as far as the wait allows; what is missing is named."""
    assert feed(Reorder(), *numbers) == expected


def test_nothing_more_comes() -> None:
    """What waits is to be had without another packet."""
    order = Reorder()
    assert feed(order, 1, 3) == [1]
    assert order.waits
    assert order.give_up() == [None, b"3"]
    assert not order.waits
    assert order.give_up() == []


def test_wait_grows_with_disorder_and_goes_back() -> None:
    """A packet that was given up and came after all is waited for longer the next time; 10 s of calm take one off."""
    order = Reorder()
    assert feed(order, 1, 3, 4, 5, 6, 2) == [1, None, 3, 4, 5, 6]
    assert (order.patience, order.lost) == (5, 0)
    assert feed(order, 8, 9, 10, 11, 7) == [7, 8, 9, 10, 11]
    feed(order, *range(12, 12 + 500))
    assert order.patience == 4
    feed(order, *range(512, 512 + 5_000))
    assert order.patience == 2


def test_lost_packets_do_not_make_others_wait_longer() -> None:
    """Of every fifth packet lost, the wait stays what it was: losses are no disorder."""
    order = Reorder()
    feed(order, *(number for number in range(2_000) if number % 5))
    assert order.patience <= 3
    assert order.lost == 399  # the first is not known to be missing


@pytest.mark.property
@given(
    seed=st.integers(0, 2**32), loss=st.floats(0, 0.4), jitter=st.floats(0, 12), start=st.integers(0, 65_535)
)
def test_whatever_the_network_does(seed: int, loss: float, jitter: float, start: int) -> None:
    """Numbers only rise, none comes twice, and every one is handed on, named as lost, or was skipped as an outage."""
    chance = random.Random(seed)
    sent = [n for n in range(start, start + 300) if chance.random() >= loss]
    arriving = sorted(sent, key=lambda n: n + chance.random() * jitter)
    order = Reorder()
    out = feed(order, *arriving)
    while order.waits:
        out += [None if p is None else int(p) for p in order.give_up()]
    heard = [number for number in out if number is not None]
    assert heard == sorted(set(heard))
    assert set(heard) <= set(sent)
    if heard:
        span = max(heard) - min(heard) + 1
        assert len(out) <= span
        if jitter <= 1 and loss < 0.2:
            assert len(heard) == len(sent)
