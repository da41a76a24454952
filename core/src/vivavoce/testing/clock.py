"""A virtual clock: an asyncio event loop whose time is a number, not a wait.

Rules
- Time stands still while code runs. When no callback is ready and no file descriptor is, time
  jumps to the next timer. `asyncio.sleep(3600)` and `asyncio.timeout(60)` take no real time.
- What happens outside the loop takes no virtual time, but it takes real time, so before a jump
  the loop really waits for it, a bounded while:
    * an executor job, a child process or a thread in flight: `job_wait` seconds of real time.
      One that gave no sign in all that time is taken to wait for the loop, and gets `io_wait` from then on;
    * a socket or pipe that the loop watches: `io_wait`. Data on a loopback socket is there
      at once; a peer in another process may need a longer `io_wait`.
- No callback, no timer, and nothing outside: nothing can ever happen again. That is a
  `DeadlockError` that names every pending task and where it waits. With something outside, the loop
  gives it `stuck_after` real seconds first.
- Threads that were there before the loop, and idle workers of executors the loop uses, do not count.

The loop belongs in the main thread of a test. Python 3.11 to 3.13, `SelectorEventLoop` only.
"""

from __future__ import annotations

import asyncio
import selectors
import threading
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Executor
from typing import Any, TypeVar, TypeVarTuple, Unpack, cast

from vivavoce.testing._stacks import describe_task

__all__ = ["DeadlockError", "VirtualClock", "VirtualClockLoop", "current_clock", "virtual_run"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
# asyncio runs timers that are due within the clock's resolution. 1 µs keeps `now + resolution > now`
# true for floats up to centuries; at 1 ns the loop would spin for ever after some 90 virtual days.
_RESOLUTION = 1e-6


class DeadlockError(RuntimeError):
    """Nothing is ready, no timer is set, nothing outside the loop is at work: the test would hang.

    `tasks` are one line for each pending task. Raised out of `run_until_complete`, `Runner.run` or
    `virtual_run`, not into a task, so no `except` in the code under test can hide it.
    """

    def __init__(self, message: str, tasks: list[str]) -> None:
        super().__init__("\n  ".join([message, *tasks]))
        self.tasks = tasks


class VirtualClock:
    """The time of one virtual loop.

    `job_wait`, `io_wait`, `stuck_after`: the longest real waits, in seconds, of the module's rules.
    """

    def __init__(self, *, job_wait: float = 1.0, io_wait: float = 0.02, stuck_after: float = 10.0) -> None:
        if min(job_wait, io_wait, stuck_after) < 0:
            raise ValueError("job_wait, io_wait and stuck_after are real seconds, 0 or more")
        self.job_wait = job_wait
        self.io_wait = io_wait
        self.stuck_after = stuck_after
        self._now = 0.0
        self._settling: list[asyncio.Future[None]] = []

    @property
    def now(self) -> float:
        """Virtual seconds since the loop was made; the same number as `loop.time()`."""
        return self._now

    def new_loop(self) -> VirtualClockLoop:
        """Return a new event loop on this clock: a `loop_factory` for `asyncio.Runner`."""
        return VirtualClockLoop(self)

    async def advance(self, seconds: float) -> None:
        """Let `seconds` of virtual time pass, and everything due in it run, in order of its time.

        On return the clock is exactly that much later and all that could run at that moment has run. Safe to cancel.
        """
        if seconds < 0:
            raise ValueError(f"time only goes forward; got {seconds} s")
        await asyncio.sleep(seconds)
        await self.settle()

    async def settle(self) -> None:
        """Wait until everything that can run without time passing has run. Safe to cancel."""
        settled = asyncio.get_running_loop().create_future()
        self._settling.append(settled)
        await settled

    def _settled(self) -> bool:
        """Wake those who wait in `settle`; tell whether there were any."""
        waiters = [future for future in self._settling if not future.done()]
        self._settling.clear()
        for future in waiters:
            future.set_result(None)
        return bool(waiters)


class _VirtualSelector(selectors.BaseSelector):
    """Asks the real selector without waiting, and turns a wait for a timer into a jump of the clock."""

    def __init__(self) -> None:
        self._real = selectors.DefaultSelector()
        self.loop: VirtualClockLoop | None = None

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.modify(fileobj, events, data)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return cast("Mapping[Any, selectors.SelectorKey]", self._real.get_map())

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.get_key(fileobj)

    def close(self) -> None:
        self._real.close()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = self._real.select(0)
        if events or self.loop is None or (timeout is not None and timeout <= 0):
            return events
        patience = self.loop.patience()
        # Asked again even without patience: a thread may have woken the loop and ended since the first look.
        events = self._real.select(patience)
        if events:
            return events
        if patience > 0:
            self.loop.waited()
        clock = self.loop.clock
        if clock._settled():
            return []
        if timeout is not None:
            clock._now += timeout
            return []
        if patience > 0:
            events = self._real.select(max(0.0, clock.stuck_after - patience))
            if events:
                return events
        raise self.loop.deadlock()


class VirtualClockLoop(asyncio.SelectorEventLoop):
    """The event loop of a `VirtualClock`; `loop.clock` is its clock."""

    def __init__(self, clock: VirtualClock | None = None) -> None:
        self.clock = clock or VirtualClock()
        selector = _VirtualSelector()
        super().__init__(selector)
        self._clock_resolution = _RESOLUTION
        self._internal = len(selector.get_map())  # the self-pipe, by which threads wake the loop
        self._watched = selector
        self._elders = set(threading.enumerate())
        self._jobs: set[asyncio.Future[Any]] = set()
        self._children: set[asyncio.SubprocessTransport] = set()
        self._executors: set[Any] = set()
        self._silent: set[object] = set()
        selector.loop = self

    def time(self) -> float:
        """Return virtual seconds."""
        return self.clock.now

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[Ts]], T], *args: *Ts
    ) -> asyncio.Future[T]:
        """Run `func` in a real thread or process; time does not pass while it works (see the rules)."""
        job = super().run_in_executor(executor, func, *args)
        self._executors.add(executor if executor is not None else getattr(self, "_default_executor", None))
        self._jobs.add(job)
        job.add_done_callback(self._jobs.discard)
        return job

    async def subprocess_exec(self, *args: Any, **kwargs: Any) -> Any:
        """Start a child process; time does not pass while it works (see the rules)."""
        transport, protocol = await super().subprocess_exec(*args, **kwargs)
        self._children.add(transport)
        return transport, protocol

    async def subprocess_shell(self, *args: Any, **kwargs: Any) -> Any:
        """Start a child process; time does not pass while it works (see the rules)."""
        transport, protocol = await super().subprocess_shell(*args, **kwargs)
        self._children.add(transport)
        return transport, protocol

    def _at_work(self) -> set[object]:
        """Return the jobs, children and threads that may still hand something to the loop."""
        self._children = {child for child in self._children if child.get_returncode() is None}
        workers = {thread for executor in self._executors for thread in getattr(executor, "_threads", ())}
        threads = set(threading.enumerate()) - self._elders - workers - {threading.current_thread()}
        return {*self._jobs, *self._children, *threads}

    def patience(self) -> float:
        """Return for how many real seconds to wait for the outside before time may jump."""
        at_work = self._at_work()
        self._silent &= at_work
        if at_work - self._silent:
            return max(self.clock.job_wait, self.clock.io_wait)
        if at_work or len(self._watched.get_map()) > self._internal:
            return self.clock.io_wait
        return 0.0

    def waited(self) -> None:
        """Note that everything at work outside has let its wait pass without a sign."""
        self._silent |= self._at_work()

    def deadlock(self) -> DeadlockError:
        """Return the error that says who waits for what can never come."""
        tasks = sorted(describe_task(task) for task in asyncio.all_tasks(self))
        outside = [repr(thing) for thing in self._at_work()]
        outside += [f"fd {fd}" for fd in self._watched.get_map()][self._internal :]
        why = f"no callback is ready and no timer is set at {self.clock.now} virtual seconds"
        if outside:
            why += f", and {', '.join(outside)} gave no sign in {self.clock.stuck_after} real seconds"
        return DeadlockError(f"Deadlock: {why}. Pending tasks ({len(tasks)}):", tasks)


def current_clock() -> VirtualClock:
    """Return the clock of the running loop; `RuntimeError` when that is not a virtual one."""
    loop = asyncio.get_running_loop()
    if not isinstance(loop, VirtualClockLoop):
        raise RuntimeError(
            "The running loop has real time. Mark the test with pytest.mark.virtual_clock, or run it by virtual_run()."
        )
    return loop.clock


def virtual_run(
    main: Coroutine[Any, Any, T], *, clock: VirtualClock | None = None, debug: bool | None = None
) -> T:
    """Run `main` to its end on a virtual clock and return its result; `asyncio.run` without the waiting.

    Tasks left over are cancelled, async generators closed and the executor joined, as `asyncio.run` does.
    """
    clock = clock or VirtualClock()
    with asyncio.Runner(debug=debug, loop_factory=clock.new_loop) as runner:
        return runner.run(main)
