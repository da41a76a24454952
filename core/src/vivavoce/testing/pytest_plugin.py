"""Fixtures and markers for pytest, on request: `pytest_plugins = ["vivavoce.testing.pytest_plugin"]`.

- `pytest.mark.virtual_clock`, on a test, class or module (`pytestmark`): its async tests and
  function-scoped fixtures run on a virtual clock. Arguments are those of `VirtualClock`.
- fixture `clock`: the `VirtualClock` of the test; asking for it is enough, no marker needed.
- fixture `no_leaks`: fails the test for every task, thread, descriptor, child process left over.

Needs pytest-asyncio 1.4 or later, whose hook `pytest_asyncio_loop_factories` chooses the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Generator, Mapping

import pytest
import pytest_asyncio

from vivavoce.testing.clock import VirtualClock, current_clock
from vivavoce.testing.leaks import LeakGuard

__all__ = ["clock", "no_leaks", "pytest_asyncio_loop_factories", "pytest_configure"]

LoopFactories = Mapping[str, Callable[[], asyncio.AbstractEventLoop]]


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker, and refuse a pytest-asyncio that would leave virtual tests on real time."""
    config.addinivalue_line(
        "markers",
        "virtual_clock(job_wait=1.0, io_wait=0.02, stuck_after=10.0): run the test's event loop on virtual time",
    )
    if not hasattr(config.hook, "pytest_asyncio_loop_factories"):
        raise pytest.UsageError(
            "vivavoce.testing.pytest_plugin needs pytest-asyncio 1.4 or later; upgrade it."
        )


@pytest.hookimpl(wrapper=True, optionalhook=True)
def pytest_asyncio_loop_factories(item: pytest.Item) -> Generator[None, LoopFactories | None, LoopFactories]:
    """Choose the virtual loop for tests that ask for it; leave the others to whoever else has a say."""
    others = yield
    marker = item.get_closest_marker("virtual_clock")
    if marker is None and "clock" not in getattr(item, "fixturenames", ()):
        return others or {"asyncio": asyncio.new_event_loop}
    options = marker.kwargs if marker is not None else {}
    return {"virtual": lambda: VirtualClock(**options).new_loop()}


@pytest_asyncio.fixture
async def clock() -> VirtualClock:
    """The virtual clock of the test, at 0 seconds."""
    return current_clock()


@pytest_asyncio.fixture
async def no_leaks() -> AsyncIterator[LeakGuard]:
    """Guard the test: what it leaves over fails it, at teardown."""
    async with LeakGuard() as guard:
        yield guard
