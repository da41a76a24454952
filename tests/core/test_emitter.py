"""Listeners: who hears what, in which order, what a bad one may do, and how much a slow one may keep."""

from __future__ import annotations

import asyncio
import functools
import gc
import logging
import weakref

import pytest
from conversation import scenario, turns
from vivavoce.emitter import Emitter
from vivavoce.errors import VoiceError
from vivavoce.events import Closed, Speaking, SpeechStarted, Writing


def control(number: int) -> SpeechStarted:
    return SpeechStarted(str(number))


@scenario
async def test_plain_listeners_run_at_once_and_in_order():
    """Plain listeners have run when emit returns, in the order of registration."""
    emitter, got = Emitter(), []
    emitter.add("x", lambda e: got.append(("first", e)))
    emitter.add("x", lambda e: got.append(("second", e)))
    emitter.emit("x", 1)
    assert got == [("first", 1), ("second", 1)]


@scenario
async def test_async_listener_gets_one_call_at_a_time():
    """An async listener is called again only when its call before has ended, in order."""
    emitter, got = Emitter(), []

    async def slow(number):
        got.append(("begin", number))
        await asyncio.sleep(10 - number)
        got.append(("end", number))

    emitter.add("x", slow)
    for number in range(3):
        emitter.emit("x", number)
    await emitter.finish(100)
    assert got == [(step, number) for number in range(3) for step in ("begin", "end")]


class Callee:
    def __init__(self) -> None:
        self.got: list[object] = []

    async def __call__(self, event: object) -> None:
        await asyncio.sleep(0)
        self.got.append(event)


@scenario
async def test_forms_of_async_listeners():
    """A partial of an async function, an object with an async __call__, and a lambda that returns a coroutine are all awaited."""
    emitter, got, callee = Emitter(), [], Callee()

    async def note(tag, event):
        await asyncio.sleep(0)
        got.append((tag, event))

    emitter.add("x", functools.partial(note, "partial"))
    emitter.add("x", callee)
    emitter.add("x", lambda event: note("lambda", event))
    emitter.emit("x", 1)
    await emitter.finish(1)
    assert (sorted(got), callee.got) == ([("lambda", 1), ("partial", 1)], [1])


@scenario
async def test_raising_plain_listener_harms_nobody(caplog):
    """A plain listener that raises is logged; the others hear the event."""
    emitter, got = Emitter(), []

    def bad(event):
        raise ValueError("bad listener")

    emitter.add("x", bad)
    emitter.add("x", got.append)
    emitter.emit("x", 1)
    assert got == [1]
    assert [r.levelname for r in caplog.records] == ["ERROR"]
    assert "a listener of 'x' raised" in caplog.text


@scenario
async def test_plain_listener_that_raises_cancelled_error_harms_nobody(caplog):
    """CancelledError out of a plain listener (of a future's result, say) does not reach whoever emits."""
    emitter, got = Emitter(), []

    def bad(event):
        raise asyncio.CancelledError

    emitter.add("x", bad)
    emitter.add("x", got.append)
    emitter.emit("x", 1)
    assert got == [1]
    assert len(caplog.records) == 1


@pytest.mark.parametrize("error", [ValueError("bad"), asyncio.CancelledError()])
@scenario
async def test_raising_async_listener_goes_on(caplog, error):
    """An async listener that raises is logged and hears the next event all the same."""
    emitter, got = Emitter(), []

    async def bad(event):
        got.append(event)
        if event == 1:
            raise error

    emitter.add("x", bad)
    emitter.emit("x", 1)
    emitter.emit("x", 2)
    await emitter.finish(1)
    assert got == [1, 2]
    assert len(caplog.records) == 1


@scenario
async def test_once_hears_one_event():
    """A `once` listener hears the next event only, plain or async."""
    emitter, got = Emitter(), []

    async def later(event):
        got.append(("async", event))

    emitter.add("x", lambda event: got.append(("plain", event)), once=True)
    emitter.add("x", later, once=True)
    emitter.emit("x", 1)
    emitter.emit("x", 2)
    await emitter.finish(1)
    assert got == [("plain", 1), ("async", 1)]


@scenario
async def test_once_listener_that_emits_again_is_not_called_twice():
    """A `once` listener is gone before it is called."""
    emitter, got = Emitter(), []

    def again(event):
        got.append(event)
        if event < 5:
            emitter.emit("x", event + 1)

    emitter.add("x", again, once=True)
    emitter.emit("x", 1)
    assert got == [1]


@scenario
async def test_listener_removed_while_emitting_is_not_called():
    """A listener that an earlier one removes does not hear the event under way."""
    emitter, got = Emitter(), []
    emitter.add("x", lambda event: emitter.remove("x", got.append))
    emitter.add("x", got.append)
    emitter.emit("x", 1)
    assert got == []


@scenario
async def test_listener_that_removes_itself_harms_nobody():
    """A listener may remove itself; those behind it hear the event."""
    emitter, got = Emitter(), []

    def first(event):
        got.append("first")
        emitter.remove("x", first)

    emitter.add("x", first)
    emitter.add("x", lambda event: got.append("second"))
    emitter.emit("x", 1)
    emitter.emit("x", 2)
    assert got == ["first", "second", "second"]


@scenario
async def test_listener_added_while_emitting_hears_the_next():
    """A listener added by another hears the next event, not this one."""
    emitter, got = Emitter(), []
    emitter.add("x", lambda event: emitter.add("x", got.append), once=True)
    emitter.emit("x", 1)
    emitter.emit("x", 2)
    assert got == [2]


@scenario
async def test_removed_async_listener_hears_no_more():
    """What is queued for an async listener when it is removed is not delivered; a call under way ends."""
    emitter, got = Emitter(), []

    async def slow(event):
        await asyncio.sleep(1)
        got.append(event)

    emitter.add("x", slow)
    for number in range(3):
        emitter.emit("x", number)
    await turns(2)
    emitter.remove("x", slow)
    await asyncio.sleep(10)
    assert got == [0]


@scenario
async def test_remove_takes_the_oldest_registration_or_all():
    """Removing a listener takes one registration of it; removing an event takes all of it; an unknown one takes none."""
    emitter, got = Emitter(), []
    for _ in range(3):
        emitter.add("x", got.append)
    assert emitter.remove("x", print) == []
    assert emitter.remove("x", got.append) == [got.append]
    emitter.emit("x", 1)
    assert got == [1, 1]
    assert len(emitter.remove("x")) == 2
    emitter.emit("x", 2)
    assert got == [1, 1]


@scenario
async def test_stars():
    """`*` hears the events of the table, `<provider>:*` the raw ones of the provider, and neither the other's."""
    emitter, table, raw, one = Emitter(), [], [], []
    emitter.add("*", table.append)
    emitter.add("p:*", raw.append)
    emitter.add("p:a.b", one.append)
    emitter.emit("writing", 1)
    emitter.emit("p:a.b", {"n": 2})
    emitter.emit("p:c", {"n": 3})
    emitter.emit("q:c", {"n": 4})
    assert (table, raw, one) == ([1], [{"n": 2}, {"n": 3}], [{"n": 2}])
    assert [emitter.hears(name) for name in ("turn", "p:z", "q:z")] == [True, True, False]


@scenario
async def test_full_queue_drops_the_oldest_audio_and_tells_once(caplog):
    """A slow listener keeps 1,024 events: the oldest audio goes, control events stay, and one error says so."""
    emitter, got, told = Emitter(), [], []
    gate = asyncio.Event()

    async def slow(event):
        await gate.wait()
        got.append(event)

    emitter.add("speaking", slow)
    emitter.add("error", told.append)
    emitter.emit("speaking", control(0))
    await turns(2)  # the first is in hand now
    emitter.emit("speaking", control(1))
    for number in range(1024 + 50):
        emitter.emit("speaking", Speaking(b"%05d" % number))
    assert emitter.dropped == 51
    assert [error.code for error in told] == ["listener_overflow"]
    gate.set()
    await emitter.finish(1)
    assert got[:3] == [control(0), control(1), Speaking(b"00051")]
    assert len(got) == 1025


@scenario
async def test_overflow_is_told_again_after_it_was_over():
    """A listener that has caught up and falls behind again is told again."""
    emitter, told = Emitter(), []
    gate = asyncio.Event()

    async def slow(event):
        await gate.wait()

    emitter.add("speaking", slow)
    emitter.add("error", told.append)
    for _ in range(2):
        gate.clear()
        for _ in range(1100):
            emitter.emit("speaking", Speaking(b"00"))
        gate.set()
        await turns(1200)
    assert [error.code for error in told] == ["listener_overflow"] * 2
    await emitter.finish(1)


@pytest.mark.parametrize(
    ("payload", "goes"),
    [
        (Speaking(b"00"), True),
        (Writing("a", "user"), True),
        ({"type": "raw"}, True),
        (Writing("a", "user", final=True), False),
        (Closed(), False),
        (VoiceError("no"), False),
    ],
    ids=lambda value: getattr(value, "type", str(value)),
)
@scenario
async def test_what_may_be_dropped(payload, goes):
    """Audio, deltas and raw events may go; control events never."""
    emitter = Emitter()
    queue = emitter.pull(("x",))
    emitter.add("error", lambda error: None)
    for _ in range(1030):
        emitter.emit("x", payload)
    assert queue.dropped == (6 if goes else 0)
    await queue.aclose()


@scenario
async def test_raw_event_that_is_no_dict_may_be_dropped():
    """A raw message is a mapping of any kind; all are dropped alike."""
    import types

    emitter = Emitter()
    queue = emitter.pull(("p:x",))
    for _ in range(1030):
        emitter.emit("p:x", types.MappingProxyType({}))
    assert queue.dropped == 6
    await queue.aclose()


@scenario
async def test_flood_of_control_events_stays_quick():
    """Control events are never dropped, and keeping them costs no search through all of them."""
    import time

    emitter = Emitter()
    queue = emitter.pull(("x",))
    began = time.process_time()
    for number in range(20_000):
        emitter.emit("x", control(number))
    assert time.process_time() - began < 2
    assert queue.dropped == 0
    await queue.aclose()


@scenario
async def test_coroutines_of_plain_listeners_are_bounded_too():
    """Coroutines that a plain listener returns count as their events do; those dropped are closed."""
    emitter, got = Emitter(), []
    gate = asyncio.Event()
    emitter.add("error", lambda error: got.append(error.code))

    async def work(event):
        await gate.wait()
        got.append(event.audio)

    emitter.add("speaking", lambda event: work(event))
    for number in range(1100):
        emitter.emit("speaking", Speaking(b"%04d" % number))
    assert emitter.dropped == 76
    gate.set()
    await emitter.finish(1)
    assert got[:2] == ["listener_overflow", b"0076"]


@scenario
async def test_task_that_a_listener_returns_is_not_waited_for(caplog):
    """A task has its own life: the next event does not wait for it, and what it raises is logged."""
    emitter, got = Emitter(), []
    gate = asyncio.Event()

    async def work(number):
        got.append(number)
        await gate.wait()
        raise ValueError("in a task")

    emitter.add("x", lambda number: asyncio.create_task(work(number)))
    emitter.emit("x", 1)
    emitter.emit("x", 2)
    await turns(2)
    assert got == [1, 2]
    gate.set()
    await turns(3)
    assert caplog.text.count("ValueError: in a task") == 2
    await emitter.finish(1)


@scenario
async def test_error_without_listener_is_logged(caplog):
    """An error that nobody listens to is logged; a listener of `*` does not count, but hears it."""
    emitter, got = Emitter(), []
    emitter.add("*", got.append)
    error = VoiceError("it went wrong", code="odd", session_id="s1")
    emitter.emit_error(error)
    assert got == [error]
    assert [(r.name, r.levelno) for r in caplog.records] == [("vivavoce.events", logging.ERROR)]
    assert "it went wrong (odd; session s1)" in caplog.text


@scenario
async def test_error_with_listener_is_not_logged(caplog):
    """Whoever listens to `error` has it; nothing is logged."""
    emitter, got = Emitter(), []
    emitter.add("error", got.append)
    emitter.emit_error(VoiceError("no"))
    assert (len(got), caplog.records) == (1, [])


@scenario
async def test_pull_gives_events_in_order_and_ends():
    """`events()` gives what came since it was made, also what came before the end."""
    emitter = Emitter()
    emitter.emit("x", 0)
    queue = emitter.pull(("x", "y"))
    emitter.emit("x", 1)
    emitter.emit("y", 2)
    emitter.emit("z", 3)
    emitter.emit("x", 4)
    await emitter.finish(1)
    assert [event async for event in queue] == [1, 2, 4]
    assert [event async for event in queue] == []


@scenario
async def test_pull_waits_and_can_be_cancelled():
    """A cancelled wait for an event loses none."""
    emitter = Emitter()
    queue = emitter.pull(())
    waiting = asyncio.create_task(anext(queue))
    await turns(2)
    waiting.cancel()
    await asyncio.wait({waiting})
    emitter.emit("x", 1)
    assert await anext(queue) == 1
    await queue.aclose()


@scenario
async def test_two_readers_of_one_pull_share_it():
    """Two tasks that read one `events()` both get events, and both end."""
    emitter = Emitter()
    queue = emitter.pull(("x",))

    async def read():
        return [event async for event in queue]

    readers = [asyncio.create_task(read()) for _ in range(2)]
    await turns(2)
    emitter.emit("x", 1)
    emitter.emit("x", 2)
    await turns(3)
    await emitter.finish(1)
    first, second = await asyncio.gather(*readers)
    assert sorted([*first, *second]) == [1, 2]


@scenario
async def test_closed_pull_hears_no_more():
    """After `aclose` nothing is kept for it."""
    emitter = Emitter()
    queue = emitter.pull(("x",))
    emitter.emit("x", 1)
    await queue.aclose()
    emitter.emit("x", 2)
    assert [event async for event in queue] == []
    assert not emitter.hears("x")


@scenario
async def test_forgotten_pull_is_given_up():
    """An `events()` that nobody holds any more is not fed."""
    emitter = Emitter()
    queue = emitter.pull(("x",))
    gone = weakref.ref(queue)
    del queue
    gc.collect()
    assert gone() is None
    emitter.emit("x", 1)
    assert not emitter.hears("x")


@scenario
async def test_finish_stops_a_listener_that_hangs_and_forgets_its_queue():
    """An async listener that does not end is cancelled after the time, and what was queued for it reaches no later session."""
    emitter, got = Emitter(), []

    async def hang(event):
        got.append(event)
        if event < 3:
            await asyncio.Event().wait()

    emitter.add("x", hang)
    emitter.emit("x", 1)
    emitter.emit("x", 2)
    began = asyncio.get_running_loop().time()
    await emitter.finish(5)
    assert asyncio.get_running_loop().time() - began == 5
    emitter.emit("x", 3)
    await emitter.finish(5)
    assert got == [1, 3]


@scenario
async def test_finish_stops_a_once_listener_that_hangs():
    """A `once` listener still at work is the voice's, too: it is waited for, then cancelled."""
    emitter = Emitter()

    async def hang(event):
        await asyncio.Event().wait()

    emitter.add("x", hang, once=True)
    emitter.emit("x", 1)
    await turns(2)
    await emitter.finish(5)
