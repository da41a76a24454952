"""What the Python clients share: the audio, the scenario's words, and how results are told. Standard library alone.

Each client is run as `python CLIENT.py URL FOLDER`; FOLDER holds PCM16 at 24 kHz. It prints one JSON object: `transcript` (what
it was told the user said), `reply` (what the assistant said), `audio` (bytes of it), `peak` (its loudest sample), `tool` (the
arguments its function was called with), `interrupted` (its own way to say that user speech stopped a reply), `closed`.
"""

from __future__ import annotations

import array
import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

__all__ = ["FRAME", "Result", "main", "paced", "speech"]

FRAME = 4800  # 100 ms
_SPEED = 1.5
_DEADLINE = 60.0


class Result:
    """What a client saw."""

    def __init__(self) -> None:
        self.seen: dict[str, Any] = {"transcript": [], "reply": [], "audio": 0, "peak": 0, "tool": None}
        self.seen |= {"interrupted": False, "closed": False}

    def audio(self, pcm: bytes) -> None:
        samples = array.array("h", pcm[: len(pcm) - len(pcm) % 2])
        self.seen["audio"] += len(pcm)
        self.seen["peak"] = max(self.seen["peak"], max(samples, default=0))

    async def until(self, condition: Callable[[], Any], what: str) -> None:
        """Wait for what the client's own events tell."""
        limit = time.monotonic() + 15
        while not condition():
            if time.monotonic() > limit:
                raise TimeoutError(f"{what} did not come: {self.seen}")
            await asyncio.sleep(0.02)


def speech(name: str) -> bytes:
    return (Path(sys.argv[2]) / f"{name}.pcm").read_bytes()


async def paced(audio: bytes, send: Callable[[bytes], Any]) -> None:
    """Send audio somewhat faster than it is spoken."""
    for at in range(0, len(audio), FRAME):
        result = send(audio[at : at + FRAME])
        if result is not None:
            await result
        await asyncio.sleep(FRAME / 48_000 / _SPEED)


def main(converse: Callable[[str, Result], Awaitable[None]]) -> None:
    result = Result()

    async def run() -> None:
        async with asyncio.timeout(_DEADLINE):
            await converse(sys.argv[1], result)

    try:
        asyncio.run(run())
    finally:
        print(json.dumps(result.seen), flush=True)
