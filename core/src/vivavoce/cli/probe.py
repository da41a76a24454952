"""Imports providers where it can do no harm: in a process of its own, each with a deadline.

One worker loads one provider after the other and tells what it found, a line of JSON each. When one ends the process
(`os._exit`, a crash) or takes too long, that one is broken and a new worker goes on with the rest.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
import traceback
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

__all__ = ["DEADLINE_S", "Probe", "probe"]

DEADLINE_S = 10.0
"""Seconds that one import may take."""
_START_S = 60.0
"""... and that Python and the core may take to start, before the first one."""


class Probe(msgspec.Struct, frozen=True, omit_defaults=True):
    """What importing one plugin gave. `error` is one line; without one it can be used."""

    name: str
    capabilities: tuple[str, ...] = ()
    credentials: Mapping[str, str] = msgspec.field(default_factory=dict)
    config_keys: tuple[str, ...] = ()
    connect_options: tuple[str, ...] = ()
    hooks: tuple[str, ...] = ()
    import_ms: float = 0.0
    error: str | None = None
    trace: str | None = None


def probe(
    names: Iterable[str], group: str = "vivavoce.providers", deadline: float = DEADLINE_S
) -> dict[str, Probe]:
    """Load each of `names`; what goes wrong with one is in its `Probe`."""
    found: dict[str, Probe] = {}
    left = list(names)
    while left:
        for result in _one_worker(tuple(left), group, deadline):
            found[result.name] = result
            left.remove(result.name)
    return found


def _one_worker(names: tuple[str, ...], group: str, deadline: float) -> Iterable[Probe]:
    command = [sys.executable, "-m", __name__, group, *names]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
    ) as worker:
        assert worker.stdout is not None
        try:
            if not _line(worker.stdout.fileno(), time.monotonic() + _START_S):
                yield Probe(
                    names[0], error="no process could be started to import it: see `python -m vivavoce`"
                )
                return
            for name in names:
                line = _line(worker.stdout.fileno(), time.monotonic() + deadline)
                if line is None:
                    yield Probe(name, error=f"its import took more than {deadline:g} s and was ended")
                    return
                if not line:
                    status = worker.wait()
                    yield Probe(name, error=f"its import ended the process (status {status})")
                    return
                yield msgspec.json.decode(line, type=Probe)
        finally:
            worker.kill()


def _line(descriptor: int, until: float) -> bytes | None:
    """The next line; empty at the end of the output, `None` when time is up. A worker writes a line at once, whole."""
    line = b""
    while not line.endswith(b"\n"):
        ready, _, _ = select.select([descriptor], [], [], max(0.0, until - time.monotonic()))
        if not ready:
            return None
        byte = os.read(descriptor, 1)
        if not byte:
            return b""
        line += byte
    return line


def _work(group: str, names: list[str]) -> None:
    """The worker: stdout is kept for the answers, whatever a plugin prints."""
    out = os.dup(1)
    os.dup2(2, 1)
    from vivavoce import registry

    registry.entries(group)
    os.write(out, b"ready\n")
    for name in names:
        os.write(out, msgspec.json.encode(_load(name, group)) + b"\n")


def _load(name: str, group: str) -> Probe:
    from vivavoce import registry
    from vivavoce.relay import HOOKS

    began = time.perf_counter()
    try:
        plugin, _ = registry.load(name, group)
    except Exception as bad:
        trace = "".join(traceback.format_exception(bad))
        return Probe(name, error=" ".join(str(bad).split()), trace=trace)
    owner = plugin if isinstance(plugin, type) else type(plugin)
    marked = [hook for hook in HOOKS if hasattr(getattr(owner, hook, None), "vivavoce_impl")]
    return Probe(
        name,
        tuple(sorted(registry.capabilities_of(plugin))),
        dict(registry.credentials_of(plugin)),
        _config_keys(plugin),
        tuple(sorted(getattr(plugin, "connect_options", ()))),
        tuple(marked),
        round((time.perf_counter() - began) * 1000, 1),
    )


def _config_keys(plugin: Any) -> tuple[str, ...]:
    import inspect

    config_class = getattr(plugin, "config_class", None)
    return tuple(inspect.signature(config_class).parameters) if config_class is not None else ()


if __name__ == "__main__":
    _work(sys.argv[1], sys.argv[2:])
