"""A service for the tutorial: shouts back what it was told last, letter by letter, with a note for each.

    -> hello(instructions)     <- welcome(session)
    -> audio(data) text(role, text) commit clear
    -> shout                   <- begin(id) letter(id, text) note(id, data) done(id, status)
    -> hush

Each message is a line of JSON.
"""

import array
import asyncio
import base64
import itertools
import json
import math

RATE = 16_000
numbers = itertools.count(1)


def note(letter: str) -> bytes:
    """A tenth of a second of PCM16."""
    hertz = 220 * 2 ** ((ord(letter) % 24) / 12)
    wave = (round(6_000 * math.sin(2 * math.pi * hertz * n / RATE)) for n in range(RATE // 10))
    return array.array("h", wave).tobytes()


async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One connection."""

    def say(type: str, **fields: object) -> None:
        writer.write(json.dumps({"type": type, **fields}).encode() + b"\n")

    async def shout(text: str) -> None:
        reply, status = f"reply_{next(numbers)}", "cancelled"
        say("begin", id=reply)
        try:
            for letter in text.upper():
                say("letter", id=reply, text=letter)
                say("note", id=reply, data=base64.b64encode(note(letter)).decode())
                await writer.drain()
                await asyncio.sleep(0.01)
            status = "completed"
        finally:
            say("done", id=reply, status=status)

    told, reply = "", None
    session = f"session_{next(numbers)}"
    while line := await reader.readline():
        message = json.loads(line)
        if message["type"] == "hello":
            say("welcome", session=session)
        elif message["type"] == "text":
            told = message["text"]
        elif message["type"] == "shout" and told != "quit":
            reply = asyncio.create_task(shout(told))
        elif message["type"] == "shout":
            break
        elif message["type"] == "hush" and reply is not None:
            reply.cancel()
    writer.close()


async def serve() -> asyncio.Server:
    """Listen on a free port of this machine."""
    return await asyncio.start_server(talk, "127.0.0.1", 0)
