"""Tools for tests of providers, plugins and apps. The runtime never imports them.

`clock`: an event loop with virtual time. `leaks`: a guard against what is left over.
`scripted`: a provider that does what a test tells it. `context`: a context without a core, for tests of single hooks.
`transport`: a faulty network in memory. `streams`: the grammar of events.
For pytest: `pytest_plugins = ["vivavoce.testing.pytest_plugin"]` in the root `conftest.py`.
"""

from __future__ import annotations

from vivavoce.testing.clock import DeadlockError, VirtualClock, VirtualClockLoop, current_clock, virtual_run
from vivavoce.testing.context import RecordingContext
from vivavoce.testing.leaks import Leak, LeakError, LeakGuard, no_leaks
from vivavoce.testing.script import Call, Reply, Step, ramp
from vivavoce.testing.scripted import ScriptedProvider
from vivavoce.testing.streams import EventGrammar, Violation, assert_valid, validate
from vivavoce.testing.transport import Faults, MemoryEnd, TransportClosed, memory_pair

__all__ = [
    "Call",
    "DeadlockError",
    "EventGrammar",
    "Faults",
    "Leak",
    "LeakError",
    "LeakGuard",
    "MemoryEnd",
    "RecordingContext",
    "Reply",
    "ScriptedProvider",
    "Step",
    "TransportClosed",
    "Violation",
    "VirtualClock",
    "VirtualClockLoop",
    "assert_valid",
    "current_clock",
    "memory_pair",
    "no_leaks",
    "ramp",
    "validate",
    "virtual_run",
]
