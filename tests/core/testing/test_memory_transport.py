"""The faulty network: what it does to messages, when, and that a seed repeats it."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vivavoce.testing import Faults, TransportClosed, current_clock, memory_pair, no_leaks, virtual_run

FAULTY = Faults(delay=0.05, jitter=0.05, drop=0.2, duplicate=0.2, corrupt=0.2, reorder=0.2)


def scenario(test):
    """Run a test on the virtual clock, with nothing left over."""

    def run():
        async def guarded():
            async with no_leaks():
                await test()

        virtual_run(guarded())

    run.__doc__, run.__name__ = test.__doc__, test.__name__
    return run


async def carry(messages, forth, **options):
    """Send all messages one way and return what arrived, with times."""
    first, second = memory_pair(forth, buffer=1_000_000, **options)
    for message in messages:
        await first.send(message)
    first.half_close()
    return [(current_clock().now, message) async for message in second]


@scenario
async def test_healthy_pair_carries_text_and_bytes_both_ways():
    """Without faults everything arrives as it was, in order, at once."""
    first, second = memory_pair()
    await first.send("hello")
    await first.send(b"\0\1")
    await second.send("welcome")
    assert [await second.receive(), await second.receive(), await first.receive()] == [
        "hello",
        b"\0\1",
        "welcome",
    ]
    assert current_clock().now == 0.0


@scenario
async def test_delay_is_on_the_clock_of_the_loop():
    """A message arrives `delay` later, to the moment."""
    assert await carry(["a"], Faults(delay=0.25)) == [(0.25, "a")]


@scenario
async def test_jitter_keeps_the_order():
    """Jitter spreads arrivals within its bounds and never lets one message pass another."""
    arrived = await carry([str(n) for n in range(50)], Faults(delay=1, jitter=0.5))
    assert [message for _, message in arrived] == [str(n) for n in range(50)]
    assert all(1 <= at <= 1.5 for at, _ in arrived)


@scenario
async def test_drop_loses_everything_at_one():
    """With probability 1 nothing arrives but the end."""
    assert await carry(["a", "b"], Faults(drop=1)) == []


@scenario
async def test_duplicate_delivers_twice():
    """With probability 1 every message comes twice."""
    assert await carry(["a", "b"], Faults(duplicate=1)) == [(0, "a"), (0, "a"), (0, "b"), (0, "b")]


@scenario
async def test_corrupt_changes_one_place():
    """One character, or one bit, of every message is another."""
    text, data = "x" * 20, bytes(20)
    (_, bad_text), (_, bad_data) = await carry([text, data], Faults(corrupt=1))
    assert sum(a != b for a, b in zip(text, bad_text, strict=True)) == 1
    assert sum(bin(a ^ b).count("1") for a, b in zip(data, bad_data, strict=True)) == 1


@scenario
async def test_reorder_lets_others_pass():
    """Late messages are passed by others, and none is lost."""
    sent = [str(n) for n in range(50)]
    arrived = [message for _, message in await carry(sent, Faults(reorder=0.3))]
    assert arrived != sent
    assert sorted(arrived) == sorted(sent)


@scenario
async def test_split_one_byte_at_a_time():
    """`split` cuts every message into pieces."""
    assert [m for _, m in await carry([b"abc", "de"], Faults(split=1))] == [b"a", b"b", b"c", "d", "e"]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.one_of(st.text(), st.binary()), max_size=20), st.integers(1, 5))
def test_split_loses_nothing(messages, size):
    """Whatever is cut comes in order, in pieces no longer than asked for."""

    async def main():
        pieces = [message for _, message in await carry(messages, Faults(split=size))]
        assert [len(piece) <= size for piece in pieces] == [True] * len(pieces)
        for kind, empty in ((str, ""), (bytes, b"")):
            whole = empty.join(m for m in messages if isinstance(m, kind))
            assert empty.join(p for p in pieces if isinstance(p, kind)) == whole

    virtual_run(main())


def test_a_seed_repeats_the_damage_and_another_does_other():
    """The same seed and messages give the same arrivals; another seed gives others."""
    sent = [f"message {n}" for n in range(40)]
    once, again, other = (virtual_run(carry(sent, FAULTY, seed=seed)) for seed in (1, 1, 2))
    assert once == again
    assert once != other


@scenario
async def test_directions_have_their_own_luck():
    """The two directions of a pair do not fail alike."""
    first, second = memory_pair(Faults(drop=0.5), Faults(drop=0.5))
    for number in range(40):
        await first.send(str(number))
        await second.send(str(number))
    first.half_close()
    second.half_close()
    assert [m async for m in first] != [m async for m in second]


@scenario
async def test_done_counts_what_happened():
    """Each end counts the faults of what it sent."""
    first, _ = memory_pair(Faults(drop=1))
    await first.send("a")
    await first.send("b")
    assert first.done == {"drop": 2}


@scenario
async def test_peer_that_does_not_read_holds_the_sender_back():
    """Beyond the buffer `send` waits until the peer has read."""
    first, second = memory_pair(buffer=10)
    await first.send(b"x" * 10)
    waiting = asyncio.create_task(first.send(b"y"))
    await current_clock().advance(60)
    assert not waiting.done()
    await second.receive()
    await waiting


@scenario
async def test_messages_lost_on_the_way_do_not_fill_the_buffer():
    """What the network drops is not waiting to be read."""
    first, _ = memory_pair(Faults(drop=1), buffer=1)
    for _ in range(100):
        await first.send(b"xx")


@scenario
async def test_stall_holds_what_is_sent_until_resume():
    """A stalled direction delivers nothing, then everything, in order; the other direction works."""
    first, second = memory_pair()
    await first.send("before")
    first.stall()
    await first.send("a")
    await first.send("b")
    first.half_close()
    await second.send("still heard")
    assert await second.receive() == "before"
    assert await first.receive() == "still heard"
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(100):
            await second.receive()
    first.resume()
    assert [message async for message in second] == ["a", "b"]


@scenario
async def test_stall_after_some_messages():
    """`stall_after=2` lets two messages through."""
    first, second = memory_pair(Faults(stall_after=2))
    for message in "abc":
        await first.send(message)
    await current_clock().advance(100)
    assert [await second.receive(), await second.receive()] == ["a", "b"]
    first.resume()
    assert await second.receive() == "c"


@scenario
async def test_abort_after_some_messages():
    """`abort_after=1`: the second message breaks the connection, for both."""
    first, second = memory_pair(Faults(abort_after=1))
    await first.send("a")
    assert await second.receive() == "a"
    await first.send("b")
    for end in (first, second):
        with pytest.raises(TransportClosed, match="aborted"):
            await end.receive()
    assert first.done == {"abort": 1}


@scenario
async def test_half_close_comes_behind_everything_and_leaves_the_other_way_open():
    """The end arrives last, with its code and reason; the peer may still send."""
    first, second = memory_pair(Faults(delay=1, reorder=1, lateness=5))
    await first.send("last words")
    first.half_close(4000, "enough")
    first.half_close()
    assert await second.receive() == "last words"
    with pytest.raises(TransportClosed) as caught:
        await second.receive()
    assert (caught.value.clean, caught.value.code, caught.value.reason) == (True, 4000, "enough")
    await second.send("reply")
    assert await first.receive() == "reply"
    with pytest.raises(TransportClosed):
        await first.send("more")


@scenario
async def test_abort_overtakes_everything():
    """An abort discards what is under way and wakes readers and senders on both sides."""
    first, second = memory_pair(Faults(delay=5), buffer=1)
    sending = asyncio.create_task(first.send("lost"))
    reading = asyncio.create_task(first.receive())
    await asyncio.sleep(1)
    second.abort()
    second.abort()
    results = await asyncio.gather(sending, reading, second.receive(), return_exceptions=True)
    assert [(type(result), result.clean) for result in results] == [(TransportClosed, False)] * 3
    assert current_clock().now == 1.0
    with pytest.raises(TransportClosed):
        first.write("more")


@scenario
async def test_cancelled_receive_loses_nothing():
    """A message that arrives at the moment of a cancellation is there for the next reader."""
    first, second = memory_pair(Faults(delay=1))
    await first.send("a")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await second.receive()
    assert await second.receive() == "a"


@scenario
async def test_push_mode():
    """Messages are pushed in a later turn, never inside `write`; the end comes once and last."""
    first, second = memory_pair()
    got = []
    second.deliver_to(got.append, got.append)
    assert first.write("a") is None
    assert got == []
    first.half_close(1001)
    await current_clock().settle()
    assert got[0] == "a"
    assert [type(got[1]), got[1].code, len(got)] == [TransportClosed, 1001, 2]


@scenario
async def test_paused_push_holds_the_sender_back():
    """A paused end keeps messages unread; they are pushed when it goes on."""
    first, second = memory_pair(buffer=1)
    got = []
    second.deliver_to(got.append, got.append)
    second.pause()
    waiting = asyncio.create_task(first.send("held"))
    await current_clock().advance(10)
    assert (got, waiting.done()) == ([], False)
    second.deliver_to(got.append, got.append)
    await waiting
    assert got == ["held"]


@scenario
async def test_faults_can_change_during_a_test():
    """The faults of an end can be replaced at any time."""
    first, second = memory_pair()
    first.faults = Faults(drop=1)
    await first.send("lost")
    first.faults = Faults()
    await first.send("found")
    assert await second.receive() == "found"


def test_bad_faults_are_refused():
    """A probability beyond 1 and an empty piece are refused by name."""
    with pytest.raises(ValueError, match="drop=2 is no probability"):
        Faults(drop=2)
    with pytest.raises(ValueError, match="split"):
        Faults(split=0)
