"""The virtual clock: time jumps, the outside is waited for, and a hang is an error."""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from vivavoce.testing import DeadlockError, VirtualClock, VirtualClockLoop, current_clock, virtual_run


def run_quickly(main):
    """Run on a virtual clock and insist that no real second passed."""
    began = time.monotonic()
    result = virtual_run(main)
    assert time.monotonic() - began < 0.9
    return result


def test_sleep_takes_no_real_time():
    """An hour's sleep moves the clock by exactly an hour and takes no time."""

    async def main():
        await asyncio.sleep(3600)
        return asyncio.get_running_loop().time()

    assert run_quickly(main()) == 3600.0


def test_a_year_of_ticks_does_not_spin():
    """Large times keep making progress, though a float has few digits left for small steps."""

    async def main():
        await asyncio.sleep(365 * 86400)
        for _ in range(100):
            await asyncio.sleep(0.001)
        return current_clock().now

    assert run_quickly(main()) == pytest.approx(365 * 86400 + 0.1)


def test_timeout_fires_at_its_virtual_time():
    """asyncio.timeout ends a wait that would never end, at its own time."""

    async def main():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(30):
                await asyncio.Event().wait()
        return current_clock().now

    assert run_quickly(main()) == 30.0


def test_sleeps_wake_in_the_order_of_their_times():
    """Tasks wake by virtual time, whatever the order they were started in."""

    async def main():
        woken = []

        async def sleeper(seconds):
            await asyncio.sleep(seconds)
            woken.append((seconds, current_clock().now))

        await asyncio.gather(*(sleeper(seconds) for seconds in (3, 1, 2)))
        return woken

    assert run_quickly(main()) == [(1, 1.0), (2, 2.0), (3, 3.0)]


def test_cancelled_sleep_does_not_move_the_clock():
    """A timer that was cancelled is no reason to jump to it."""

    async def main():
        task = asyncio.create_task(asyncio.sleep(100))
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.wait([task])
        await asyncio.sleep(1)
        return current_clock().now

    assert run_quickly(main()) == 2.0


def test_advance_runs_what_is_due_and_no_more():
    """advance(5) runs everything due within five seconds, in order, and nothing later."""

    async def main():
        clock = current_clock()
        seen = []

        async def ticker():
            while True:
                await asyncio.sleep(2.5)
                seen.append(clock.now)

        task = asyncio.create_task(ticker())
        await clock.advance(5)
        task.cancel()
        return seen, clock.now

    assert run_quickly(main()) == ([2.5, 5.0], 5.0)


def test_settle_lets_everything_run_without_time_passing():
    """settle() returns when a chain of hand-overs is through, at the same time."""

    async def main():
        queue = asyncio.Queue()
        seen = []

        async def relay():
            for _ in range(50):
                seen.append(await queue.get())

        async def feed():
            for number in range(50):
                await asyncio.sleep(0)
                queue.put_nowait(number)
            await asyncio.sleep(10)

        tasks = [asyncio.create_task(relay()), asyncio.create_task(feed())]
        await current_clock().settle()
        tasks[1].cancel()
        return len(seen), current_clock().now

    assert run_quickly(main()) == (50, 0.0)


def test_cancelled_settle_is_harmless():
    """A settle() that was cancelled leaves the clock usable."""

    async def main():
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(asyncio.Event().wait()), 1)
        task = asyncio.create_task(current_clock().settle())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(1)
        return task.cancelled(), current_clock().now

    assert run_quickly(main()) == (True, 2.0)


def test_time_does_not_go_backwards():
    """A negative advance is refused."""

    async def main():
        await current_clock().advance(-1)

    with pytest.raises(ValueError, match="only goes forward"):
        virtual_run(main())


def test_negative_waits_are_refused():
    """A negative real wait is refused when the clock is made."""
    with pytest.raises(ValueError, match="0 or more"):
        VirtualClock(io_wait=-1)


def test_deadlock_names_every_pending_task_and_where_it_waits():
    """A wait for what can never come is an error at once, with task names and the chain of awaits."""

    async def inner():
        await asyncio.Event().wait()

    async def stuck_reader():
        await inner()

    async def main():
        task = asyncio.create_task(stuck_reader(), name="reader")
        await asyncio.sleep(7)
        await task

    with pytest.raises(DeadlockError, match=r"no timer is set at 7\.0 virtual seconds") as caught:
        run_quickly(main())
    assert len(caught.value.tasks) == 2
    reader = next(line for line in caught.value.tasks if line.startswith("task 'reader'"))
    assert "stuck_reader" in reader
    assert "inner" in reader
    assert f"{__file__}:" in reader
    assert reader in str(caught.value)


def test_code_under_test_cannot_swallow_a_deadlock():
    """The error leaves the run itself, past any `except` of a task."""

    async def main():
        try:
            await asyncio.Event().wait()
        except Exception:
            return "hidden"

    with pytest.raises(DeadlockError):
        run_quickly(main())


def test_executor_job_is_waited_for_not_jumped_over():
    """A timeout much longer than the job's real work does not fire, and no virtual time passes."""

    async def main():
        async with asyncio.timeout(1):
            await asyncio.to_thread(time.sleep, 0.05)
        return current_clock().now

    assert virtual_run(main()) == 0.0


def test_job_that_waits_for_the_loop_costs_one_job_wait_in_all():
    """A job that gives no sign for job_wait holds the clock up once, not at every tick."""

    async def main():
        gate = threading.Event()
        job = asyncio.get_running_loop().run_in_executor(None, gate.wait)
        for _ in range(20):
            await asyncio.sleep(1)
        gate.set()
        await job
        return current_clock().now

    began = time.monotonic()
    assert virtual_run(main(), clock=VirtualClock(job_wait=0.1, io_wait=0.001)) == 20.0
    assert time.monotonic() - began < 0.8


def test_idle_executor_workers_do_not_hold_up_the_clock():
    """Workers that wait for their next job are not at work."""

    async def main():
        with ThreadPoolExecutor(2) as pool:
            await asyncio.get_running_loop().run_in_executor(pool, int)
            await asyncio.to_thread(int)
            for _ in range(100):
                await asyncio.sleep(60)
        return current_clock().now

    assert run_quickly(main()) == 6000.0


def test_thread_that_calls_back_is_waited_for():
    """A plain thread that hands over by call_soon_threadsafe beats a far timeout."""

    async def main():
        loop = asyncio.get_running_loop()
        arrived = loop.create_future()

        def work():
            time.sleep(0.05)
            loop.call_soon_threadsafe(arrived.set_result, "here")

        thread = threading.Thread(target=work)
        thread.start()
        result = await asyncio.wait_for(arrived, 5)
        thread.join()
        return result, current_clock().now

    assert virtual_run(main()) == ("here", 0.0)


def test_silent_thread_is_named_as_a_deadlock_in_the_end():
    """Nothing to jump to, and a thread that never calls back: an error that names the thread."""

    async def main():
        gate = threading.Event()
        thread = threading.Thread(target=gate.wait, name="mute-thread")
        thread.start()
        try:
            await asyncio.Event().wait()
        finally:
            gate.set()
            thread.join()

    with pytest.raises(DeadlockError, match="mute-thread"):
        virtual_run(main(), clock=VirtualClock(job_wait=0.01, io_wait=0.01, stuck_after=0.05))


def test_loopback_socket_is_read_before_time_jumps():
    """Bytes between two ends in one loop arrive at the time they were sent."""

    async def main():
        left, right = socket.socketpair()
        reader, left_writer = await asyncio.open_connection(sock=left)
        right_reader, writer = await asyncio.open_connection(sock=right)
        times = []
        for number in range(3):
            await asyncio.sleep(10)
            writer.write(bytes([number]))
            async with asyncio.timeout(0.5):
                await reader.readexactly(1)
            times.append(current_clock().now)
        for stream in (writer, left_writer):
            stream.close()
        await right_reader.read()
        return times

    assert run_quickly(main()) == [10.0, 20.0, 30.0]


def test_child_process_is_waited_for():
    """A child's output beats a far timeout, though starting it takes real time."""

    async def main():
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", "print('hello')", stdout=asyncio.subprocess.PIPE
        )
        async with asyncio.timeout(0.5):
            out, _ = await child.communicate()
        return out.strip(), child.returncode

    assert virtual_run(main(), clock=VirtualClock(job_wait=10)) == (b"hello", 0)


def test_real_loop_has_no_virtual_clock():
    """current_clock() on a real loop says how to get a virtual one."""

    async def main():
        current_clock()

    with pytest.raises(RuntimeError, match="virtual_clock"):
        asyncio.run(main())


def test_a_loop_can_be_made_without_a_clock():
    """VirtualClockLoop() alone is a loop factory."""
    with asyncio.Runner(loop_factory=VirtualClockLoop) as runner:
        runner.run(asyncio.sleep(9))
        assert runner.get_loop().time() == 9.0


def test_tasks_left_over_are_cancelled_at_the_end():
    """virtual_run ends like asyncio.run: what is still running is cancelled."""
    ended = []

    async def straggler():
        try:
            await asyncio.sleep(1000)
        finally:
            ended.append(current_clock().now)

    async def main():
        task = asyncio.create_task(straggler())
        await asyncio.sleep(1)
        return task

    assert virtual_run(main()).cancelled()
    assert ended == [1.0]
