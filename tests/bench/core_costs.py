"""What the core costs: import, listing, a voice, a hook call, an event, a frame."""

from __future__ import annotations

import asyncio
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import vivavoce
from vivavoce import events, hookimpl, registry
from vivavoce.relay import Relay

__all__ = ["import_cost", "measure"]

FRAME = bytes(960)


class Nothing:
    """A provider that does nothing."""

    api = 1
    name = "nothing"
    capabilities = frozenset({"realtime", "turns"})

    @hookimpl
    def connect(self, context: Any, options: Any) -> None:
        self.context = context

    @hookimpl
    def send(self, context: Any, audio: bytes) -> None:
        pass

    @hookimpl
    async def answer(self, context: Any, options: Any) -> None:
        pass


class Wrapper:
    """A wrapper that does nothing."""

    @hookimpl(wrapper=True)
    def answer(self, context: Any, options: Any) -> Iterator[None]:
        return (yield)  # type: ignore[return-value]


def import_cost(statement: str, rounds: int = 7) -> float:
    """CPU seconds of a fresh interpreter that runs `statement`, less those of one that does nothing.

    With bytecode, as an installed package has it, also where the environment forbids to write it.
    """
    with tempfile.TemporaryDirectory() as bytecode:
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        environment["PYTHONPYCACHEPREFIX"] = bytecode

        def once(code: str) -> float:
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run([sys.executable, "-c", code], check=True, env=environment)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

        once(statement)
        return min(once(statement) for _ in range(rounds)) - min(once("pass") for _ in range(rounds))


def listing_cost(count: int = 100) -> float:
    """Seconds to list `count` installed plugins, metadata unread before."""
    with tempfile.TemporaryDirectory() as folder:
        for number in range(count):
            info = Path(folder, f"dummy_{number}-1.0.dist-info")
            info.mkdir()
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: dummy-{number}\nVersion: 1.0\n")
            (info / "entry_points.txt").write_text(
                f"[vivavoce.providers]\ndummy-{number} = dummy_{number}:P\n"
            )
        sys.path.append(folder)
        try:
            registry.forget()
            begun = time.perf_counter()
            found = registry.entries()
            spent = time.perf_counter() - begun
            assert len(found) >= count
            return spent
        finally:
            sys.path.remove(folder)
            registry.forget()


def each(work: Callable[[], Any], count: int, rounds: int = 5) -> float:
    """CPU seconds of one call, the best of several runs."""
    best = 1e9
    for _ in range(rounds):
        begun = time.process_time()
        for _ in range(count):
            work()
        best = min(best, (time.process_time() - begun) / count)
    return best


async def each_await(work: Callable[[], Any], count: int, rounds: int = 5) -> float:
    best = 1e9
    for _ in range(rounds):
        begun = time.process_time()
        for _ in range(count):
            await work()
        best = min(best, (time.process_time() - begun) / count)
    return best


async def measure() -> list[tuple[str, float]]:
    """(what, CPU seconds) rows."""
    rows = [("a Voice", each(lambda: vivavoce.Voice(Nothing), 500))]
    for count in (0, 1, 3):
        relay = Relay([("p", Nothing()), *((f"w{n}", Wrapper()) for n in range(count))], Nothing())
        rows.append(
            (
                f"a hook call, {count} wrappers",
                await each_await(lambda r=relay: r.call("answer", None, None), 20_000),
            )
        )  # type: ignore[misc]
    for count in (0, 1, 3):
        provider = Nothing()
        voice = vivavoce.Voice(provider)
        await voice.connect()
        for _ in range(count):
            voice.on("speaking", lambda event: None)
        provider.context.emit(events.ResponseCreated("r"))
        emit = provider.context.emit
        rows.append(
            (
                f"an audio event to {count} listeners",
                each(lambda e=emit: e(events.Speaking(FRAME, "r", "i")), 20_000),
            )
        )  # type: ignore[misc]
        if count == 0:
            rows.append(("send of a 20 ms frame", await each_await(lambda v=voice: v.send(FRAME), 20_000)))  # type: ignore[misc]
        await voice.close()
    return rows


if __name__ == "__main__":
    for name, seconds in asyncio.run(measure()):
        print(f"{name:32} {seconds * 1e6:8.2f} µs")
