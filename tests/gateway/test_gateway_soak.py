"""Many sessions, one after the other and side by side: nothing of them stays."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import os
from pathlib import Path
from typing import Any

import pytest
from gateways import Client, Script
from vivavoce.testing import Reply


def footprint() -> tuple[int, int, int]:
    """Resident KiB, open descriptors, tasks."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)  # what is free, but in pieces, is not what is looked for
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return (
        pages * os.sysconf("SC_PAGE_SIZE") // 1024,
        len(os.listdir("/proc/self/fd")),
        len(asyncio.all_tasks()),
    )


async def converse(client: Client) -> None:
    await client.say("hello")
    await client.send("response.create")
    await client.until("response.done")
    await client.connection.close()


async def many(gateway: Any, script: Script, sessions: int) -> None:
    for start in range(0, sessions, 10):
        clients = await asyncio.gather(*(gateway.open() for _ in range(10)))
        if start % 20:
            for client in clients:  # they vanish in the middle of a reply
                await client.send("response.create")
                client.connection.transport.abort()
        else:
            await asyncio.gather(*(converse(client) for client in clients))
        script.made.clear()
    async with asyncio.timeout(10):
        while gateway.gateway.sessions:
            await asyncio.sleep(0.01)


async def soak(serve: Any, script: Script, sessions: int) -> None:
    script.replies = []
    gateway = await serve(script.config())
    await many(gateway, script, 60)
    before = footprint()
    await many(gateway, script, sessions)
    after = footprint()
    assert gateway.gateway.places.taken == 0
    assert after[1] - before[1] <= 2
    assert after[2] - before[2] <= 2
    # The clients' ends are in this process, too: 20 KiB for both.
    # KiB: what the allocator keeps of a busy process, and a little a session; a leaked one holds 160.
    assert after[0] - before[0] < 16_384 + 20 * sessions


async def test_hundreds_of_sessions(serve: Any, script: Script) -> None:
    """Some end well, some vanish mid-reply: no memory, descriptor or task is left of them."""
    await soak(serve, script, 200)


@pytest.mark.soak
async def test_hours_of_sessions(serve: Any, script: Script) -> None:
    """The same for as long as two hours of calls of half a minute each, twenty at a time."""
    await soak(serve, script, 4800)


@pytest.mark.soak
async def test_hours_in_one_session(serve: Any, script: Script) -> None:
    """One session, thousands of turns: what it keeps is bounded."""
    script.replies = []
    gateway = await serve(script.config())
    client = await gateway.open()
    sizes = []
    for _ in range(4):
        for _ in range(1000):
            script.last.replies.append(Reply("ok", 20))
            await client.send("response.create")
            await client.until("response.done")
        client.seen.clear()
        script.last.calls.clear()
        script.last.spoken.clear()
        sizes.append(footprint()[0])
    assert sizes[-1] - sizes[1] < 6000
