"""Cancellation at every await: nothing is left, and the voice is of use afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from openai_realtime.provider.service import PCM_20_MS, Heard, Service
from vivavoce import Voice

pytestmark = [pytest.mark.virtual_clock, pytest.mark.usefixtures("no_leaks")]


async def cancel_after(turns: int, call: Awaitable[Any]) -> bool:
    """Cancel `call` after so many turns of the loop; whether it was cancelled."""
    task = asyncio.ensure_future(call)
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        return True
    return False


async def test_connect() -> None:
    """Cancelled at any point, `connect()` leaves the voice idle; closed, if it was done in the same moment."""
    async with Service() as service:
        voice, heard = service.voice(history=[{"role": "user", "text": "Hi"}])
        turns = 0
        while await cancel_after(turns, voice.connect()):
            assert voice.state in ("idle", "closed")
            turns += 1
        assert 5 < turns < 200
        assert voice.state == "open"
        await voice.close()
        told = [name for name in heard.names() if name in ("open", "close")]
        assert told == ["open", "close"] * (len(told) // 2)


async def test_context_manager() -> None:
    """Cancelled on its way in at any point, `async with` leaves nothing open."""
    async with Service() as service:
        voice, _ = service.voice()
        turns = 0
        while await cancel_after(turns, voice.__aenter__()):
            assert voice.state in ("idle", "closed")
            turns += 1
        assert 5 < turns < 200
        assert voice.state == "open"


async def test_close() -> None:
    """Cancelled at any point, `close()` closes all the same."""
    async with Service() as service:
        voice, heard = service.voice()
        turns, again = 0, True
        while again:
            await voice.connect()
            again = await cancel_after(turns, voice.close())
            await voice.close()
            assert voice.state == "closed"
            turns += 1
        assert len(heard.all("close")) == len(heard.all("open")) == turns


CALLS: dict[str, Callable[[Voice], Awaitable[Any]]] = {
    "answer": lambda voice: voice.answer(),
    "send_text": lambda voice: voice.send_text("Hi"),
    "update_config": lambda voice: voice.update_config(instructions="Sing."),
    "send": lambda voice: voice.send(PCM_20_MS * 20),
    "send_event": lambda voice: voice.send_event("input_audio_buffer.clear"),
    "clear_input": lambda voice: voice.clear_input(),
}


@pytest.mark.parametrize("name", CALLS)
async def test_calls(name: str) -> None:
    """Cancelled at any point, a call leaves the session as it is: the next turn works."""
    async with Service() as service:
        voice, heard = service.voice()
        await voice.connect()
        turns = 0
        while True:
            service.replies[:] = ["Maybe"]
            cancelled = await cancel_after(turns, CALLS[name](voice))
            await still_works(service, voice, heard)
            if not cancelled:
                break
            turns += 1
            assert turns < 60
        assert (len(service.lines), heard.all("error")) == (1, [])


async def still_works(service: Service, voice: Voice, heard: Heard) -> None:
    line = service.lines[0]
    await voice.send_text("Still there?")
    service.replies[:] = [*service.replies, "Yes"]
    reply = await voice.answer()
    assert await reply.text() in ("Yes", "Maybe")
    while line.protocol.active_response is not None or voice._runtime.live.replies.running():  # type: ignore[union-attr]
        await asyncio.sleep(0)
    service.replies.clear()
