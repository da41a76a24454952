"""Gives the model a function of this program: it may book a table.

python examples/own_tool.py [PROVIDER]
"""

from __future__ import annotations

import asyncio
import sys

from vivavoce import Voice, tool

BOOKINGS: list[tuple[str, int]] = []


@tool
async def book_table(name: str, people: int) -> str:
    """Book a table at the restaurant.

    Args:
        name: Who the table is for
        people: How many will come
    """
    BOOKINGS.append((name, people))
    return f"a table for {people}, under {name}"


async def main(provider: object) -> list[str]:
    """Ask for a table; returns what the assistant said."""
    said: list[str] = []
    calls: list[object] = []
    async with Voice(provider, tools=[book_table], instructions="You take bookings.") as voice:
        voice.on("tool-call-start", lambda call: print(f"-> {call.name} {call.arguments}"))
        voice.on("tool-call-start", calls.append)
        done = voice.events("response.done")
        turns = voice.events("turn")
        await voice.send_text("Book a table for two people, name Ada, please.")
        await voice.answer()
        await anext(done)
        if calls:
            await anext(done)  # the continuation, which tells what came of it
    async for turn in turns:
        if turn.role == "assistant":
            said.append(turn.text)
            print(turn.text)
    return said


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "local"))
