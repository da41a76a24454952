"""Pending calls: ended from outside by an error of their own, and never at the cost of somebody's cancellation."""

from __future__ import annotations

import asyncio

import pytest
from conversation import scenario, turns
from vivavoce.calls import PendingCalls
from vivavoce.errors import NotConnectedError, ProviderError, VoiceError


def closed():
    return NotConnectedError("closed")


async def waits(calls, timeout=None, error=None, body=None):
    async with calls.guard(timeout, error):
        await (body or asyncio.Event().wait())
    return "done"


@scenario
async def test_deadline():
    """After its time a call raises its error."""
    with pytest.raises(VoiceError, match="late"):
        await waits(PendingCalls(), 5, lambda: VoiceError("late"))
    assert asyncio.get_running_loop().time() == 5
    with pytest.raises(TimeoutError):
        await waits(PendingCalls(), 5)


@scenario
async def test_in_time():
    """A call that ends in time leaves no timer."""
    assert await waits(PendingCalls(), 5, closed, asyncio.sleep(1)) == "done"
    assert [h for h in asyncio.get_running_loop()._scheduled if not h.cancelled()] == []


@scenario
async def test_fail_ends_every_call_with_an_error_of_its_own():
    """Every pending call raises, each an object of its own; a later call is not touched."""
    calls = PendingCalls()
    pending = [asyncio.create_task(waits(calls)) for _ in range(3)]
    await turns(2)
    calls.fail(closed)
    results = await asyncio.gather(*pending, return_exceptions=True)
    assert [type(result) for result in results] == [NotConnectedError] * 3
    assert len(set(map(id, results))) == 3
    assert await waits(calls, body=asyncio.sleep(1)) == "done"


@scenario
async def test_nested_guards():
    """The innermost deadline and the outer failure each raise their own error, and the task is left uncancelled."""
    calls = PendingCalls()

    async def nested():
        async with calls.guard(10, closed), calls.guard(5, lambda: ProviderError("inner")):
            await asyncio.Event().wait()

    for ends in (5, 2):
        task = asyncio.create_task(nested())
        if ends == 2:
            asyncio.get_running_loop().call_later(2, calls.fail, closed)
        result = (await asyncio.gather(task, return_exceptions=True))[0]
        assert type(result) is (ProviderError if ends == 5 else NotConnectedError)
        assert task.cancelling() == 0


@scenario
async def test_cancellation_by_others_passes():
    """Somebody else's cancellation passes, also when it comes together with a failure, in either order."""
    for order in ("cancel", "cancel fail", "fail cancel"):
        calls = PendingCalls()
        task = asyncio.create_task(waits(calls))
        await turns(2)
        for step in order.split():
            task.cancel() if step == "cancel" else calls.fail(closed)
        await asyncio.wait({task})
        assert task.cancelled(), order


@scenario
async def test_failure_in_the_turn_in_which_the_call_ends():
    """A call that ends by itself in the very turn of the failure raises the failure, and its task goes on uncancelled."""
    calls = PendingCalls()
    gate = asyncio.get_running_loop().create_future()

    async def then_goes_on():
        try:
            await waits(calls, body=gate)
        except NotConnectedError:
            await asyncio.sleep(1)
            return "went on"

    async def swallows():
        try:
            await gate
        except asyncio.CancelledError:
            return

    task = asyncio.create_task(then_goes_on())
    other = asyncio.create_task(waits(calls, body=swallows()))
    await turns(2)
    gate.set_result(None)
    calls.fail(closed)
    assert await task == "went on"
    with pytest.raises(NotConnectedError):
        await other


@scenario
async def test_error_of_the_body_wins():
    """What the body itself raises while it is being ended is what comes out."""
    calls = PendingCalls()

    async def body():
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise ProviderError("refused") from None

    task = asyncio.create_task(waits(calls, body=body()))
    await turns(2)
    calls.fail(closed)
    with pytest.raises(ProviderError):
        await task


@scenario
async def test_first_failure_counts():
    """A second failure changes nothing."""
    calls = PendingCalls()
    task = asyncio.create_task(waits(calls))
    await turns(2)
    calls.fail(closed)
    calls.fail(lambda: ProviderError("second"))
    with pytest.raises(NotConnectedError):
        await task


@scenario
async def test_failure_that_the_call_brings_upon_itself():
    """It fails in the last step of the call, which waits for nothing more: the failure is raised there, and nothing of it
    comes later; with somebody's cancellation beside it, that one counts."""
    calls = PendingCalls()

    async def fails(*, cancelled):
        async with calls.guard():
            calls.fail(closed)
            if cancelled:
                asyncio.current_task().cancel()

    with pytest.raises(NotConnectedError):
        await fails(cancelled=False)
    await asyncio.sleep(1)
    task = asyncio.create_task(fails(cancelled=True))
    await asyncio.wait({task})
    assert task.cancelled()
