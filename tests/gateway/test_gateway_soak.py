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
from client_speech import frames, speech
from gateways import Client, Running, Script
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
    """A spoken turn with its answer, a written one, and goodbye."""
    for frame in frames(speech("hello")):
        await client.send("input_audio_buffer.append", audio=frame)
    await client.until("response.done")
    await client.say("hello")
    await client.send("response.create")
    await client.until("response.done")
    await client.connection.close()


async def vanish(client: Client) -> None:
    """Gone in the middle of a reply."""
    await client.send("response.create")
    client.connection.transport.abort()


async def many(gateway: Any, script: Script, sessions: int) -> None:
    for _ in range(0, sessions, 20):
        async with contextlib.AsyncExitStack() as stack:  # of these alone: it keeps the clients until it ends
            dial = Running(gateway.gateway, gateway.port, stack).open
            clients = await asyncio.gather(*(dial(official=False) for _ in range(20)))
            await asyncio.gather(
                *((converse if number % 4 == 0 else vanish)(client) for number, client in enumerate(clients))
            )
        script.made.clear()
    async with asyncio.timeout(10):
        while gateway.gateway.sessions:
            await asyncio.sleep(0.01)


async def soak(serve: Any, script: Script, sessions: int, *, kib: int) -> None:
    """Memory is compared after a third of the sessions and after all: by then the allocator has its reserves."""
    script.replies = []
    gateway = await serve(script.config())
    await many(gateway, script, sessions // 3)
    before = footprint()
    await many(gateway, script, sessions - sessions // 3)
    after = footprint()
    assert gateway.gateway.places.taken == 0
    assert after[1] - before[1] <= 2
    assert after[2] - before[2] <= 2
    assert after[0] - before[0] < kib


async def test_hundreds_of_sessions(serve: Any, script: Script) -> None:
    """Some hold a conversation, some vanish mid-reply: no memory, descriptor or task is left of them. What is measured has the
    clients in it; a session that leaked would hold 200 KiB."""
    await soak(serve, script, 240, kib=16_384)


@pytest.mark.soak
async def test_hours_of_sessions(serve: Any, script: Script) -> None:
    """The same for as many as in two hours of calls of half a minute each, twenty at a time."""
    await soak(serve, script, 4800, kib=16_384)


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
