"""What of a call's replies is heard, decided without a network."""

from __future__ import annotations

import pytest
from vivavoce_gateway.playout import Playout


@pytest.fixture
def told() -> list[tuple[str, str]]:
    return []


@pytest.fixture
def playout(told: list[tuple[str, str]]) -> Playout:
    return Playout(lambda what, reply: told.append((what, reply)))


def test_reply_from_its_first_sound_to_its_last(playout: Playout, told: list[tuple[str, str]]) -> None:
    """It begins when it is first heard and ends when its last was sent, whichever of the end's two signs came first."""
    assert playout.queue("r1", "a", 40)
    assert told == []
    playout.played("r1", "a", 20)
    playout.finish("r1")
    playout.played("r1", "a", 20)
    assert told == [("started", "r1")]
    playout.drained()
    assert told == [("started", "r1"), ("stopped", "r1")]
    assert playout.cut() == []


def test_provider_that_is_slower_than_speech(playout: Playout, told: list[tuple[str, str]]) -> None:
    """A gap is no end: the reply is over only when the provider has finished it."""
    playout.queue("r1", "a", 20)
    playout.played("r1", "a", 20)
    playout.drained()
    playout.queue("r1", "a", 20)
    playout.played("r1", "a", 20)
    playout.drained()
    assert told == [("started", "r1")]
    playout.finish("r1")
    assert told == [("started", "r1"), ("stopped", "r1")]


def test_replies_that_wait_for_each_other(playout: Playout, told: list[tuple[str, str]]) -> None:
    """One reply ends where the next is first heard."""
    playout.queue("r1", "a", 20)
    playout.finish("r1")
    playout.queue("r2", "b", 20)
    playout.finish("r2")
    playout.played("r1", "a", 20)
    playout.played("r2", "b", 20)
    playout.drained()
    assert told == [("started", "r1"), ("stopped", "r1"), ("started", "r2"), ("stopped", "r2")]


def test_cut_item_by_item(playout: Playout, told: list[tuple[str, str]]) -> None:
    """Heard whole, in part, not at all: only the last two are cut, each where it was heard."""
    for item in ("a", "b", "c"):
        playout.queue("r1", item, 100)
    playout.played("r1", "a", 100)
    playout.played("r1", "b", 40)
    assert playout.cut() == [("b", 40), ("c", 0)]
    assert told[-1] == ("cleared", "r1")
    assert playout.playing is None


def test_rest_of_a_reply_that_was_cut_is_not_heard(playout: Playout, told: list[tuple[str, str]]) -> None:
    """What the provider still sends of it is dropped, until it has finished it; another reply is heard."""
    playout.queue("r1", "a", 100)
    playout.played("r1", "a", 20)
    playout.cut()
    assert not playout.queue("r1", "a", 100)
    assert playout.queue("r2", "b", 100)
    playout.finish("r1")
    assert told == [("started", "r1"), ("cleared", "r1")]


def test_cut_where_nothing_is_heard(playout: Playout, told: list[tuple[str, str]]) -> None:
    """Nothing to drop, nothing to tell; a reply without speech is never heard."""
    playout.finish("r1")
    assert playout.cut() == []
    assert told == []
