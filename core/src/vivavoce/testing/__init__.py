"""Tools for tests of providers, plugins and apps. The runtime never imports them.

`clock`: an event loop with virtual time. `leaks`: a guard against what is left over.
For pytest: `pytest_plugins = ["vivavoce.testing.pytest_plugin"]` in the root `conftest.py`.
"""

from __future__ import annotations

from vivavoce.testing.clock import DeadlockError, VirtualClock, VirtualClockLoop, current_clock, virtual_run
from vivavoce.testing.leaks import Leak, LeakError, LeakGuard, no_leaks

__all__ = [
    "DeadlockError",
    "Leak",
    "LeakError",
    "LeakGuard",
    "VirtualClock",
    "VirtualClockLoop",
    "current_clock",
    "no_leaks",
    "virtual_run",
]
