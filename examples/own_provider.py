"""A provider of one's own in one file: it says back what it heard, at half the speed.

python examples/own_provider.py question.wav reply.wav
"""

from __future__ import annotations

import asyncio
import sys

from files import main
from vivavoce import Context, Voice, hookimpl
from vivavoce.events import ResponseCreated, ResponseDone, Speaking, SpeakingDone


class SlowEcho:
    """Turns are the app's: everything that was sent since the last reply is the next one."""

    api = 1
    name = "slow-echo"
    capabilities = frozenset({"realtime", "turns"})

    def __init__(self) -> None:
        self._heard = bytearray()
        self._replies = 0

    @hookimpl
    def connect(self, context: Context) -> None:
        context.session.manual_turns = True

    @hookimpl
    def send(self, audio: bytes) -> None:
        self._heard += audio

    @hookimpl
    def answer(self, context: Context) -> str:
        self._replies += 1
        reply = f"reply_{self._replies}"
        samples = bytes(self._heard)
        self._heard.clear()
        context.emit(ResponseCreated(reply))
        for start in range(0, len(samples), 960):
            piece = memoryview(samples[start : start + 960]).cast("h")
            slow = b"".join(bytes(piece[n : n + 1]) * 2 for n in range(len(piece)))
            context.emit(Speaking(slow, reply))
        context.emit(SpeakingDone(response_id=reply))
        context.emit(ResponseDone(reply))
        return reply

    @hookimpl
    def close(self) -> None:
        self._heard.clear()


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(f"usage: {sys.argv[0]} QUESTION.wav REPLY.wav")
    asyncio.run(main(sys.argv[1], sys.argv[2], Voice(SlowEcho)))
