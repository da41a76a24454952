"""Providers for tests of the command line: one that hears turns by loudness and replies, and some that fail."""

from __future__ import annotations

import array
from collections.abc import Awaitable
from typing import Any

from vivavoce.audio import AudioFormat
from vivavoce.errors import AuthenticationError
from vivavoce.testing import Reply, ScriptedProvider, Step

__all__ = ["Deaf", "Hearing", "Listening", "Refusing", "Speaking", "ToolUser"]

LOUD = 1_000
SILENCE_MS = 300


class Hearing(ScriptedProvider):
    """Ends a turn after 300 ms of silence and says 200 ms of "I heard you." in real time."""

    name = "hearing"
    input_format = AudioFormat(16_000)
    output_format = AudioFormat(16_000)
    text = "I heard you."
    tool_calls: tuple[tuple[str, Any], ...] = ()

    def __init__(self) -> None:
        super().__init__()
        self._item: str | None = None
        self._quiet_ms = 0.0

    def _hear(self, context: Any, audio: bytes) -> Awaitable[None] | None:
        held = super()._hear(context, audio)
        if max(map(abs, array.array("h", audio)), default=0) > LOUD:
            self._quiet_ms = 0.0
            self._item = self._item or self.user_starts()
        elif self._item is not None:
            self._quiet_ms += self.input_format.milliseconds(len(audio))
            if self._quiet_ms >= SILENCE_MS:
                item, self._item = self._item, None
                self.user_stops(item, "a question")
                self.reply("" if self.tool_calls else self.text, 0 if self.tool_calls else 200, paced=True,
                           tool_calls=self.tool_calls)  # fmt: skip
        return held


class ToolUser(Hearing):
    """Calls the tool `go` first; its answer to the result follows by `answer()`."""

    name = "tool-user"
    tool_calls = (("go", {"meters": 10}),)

    def __init__(self) -> None:
        super().__init__()
        self.replies.append(Reply("I went 10 meters.", 200, paced=True))


class Deaf(Hearing):
    """Never answers."""

    name = "deaf"

    def _hear(self, context: Any, audio: bytes) -> Awaitable[None] | None:
        return None


class Refusing(ScriptedProvider):
    """Refuses the key."""

    name = "refusing"

    def __init__(self) -> None:
        super().__init__({"connect": AuthenticationError("the key was refused: set a good one")})


class Listening(ScriptedProvider):
    """Speech to text alone."""

    name = "listening"

    def __init__(self) -> None:
        super().__init__(capabilities=["listen"], transcript="go forward")


class Speaking(ScriptedProvider):
    """Text to speech alone."""

    name = "speaking"

    def __init__(self) -> None:
        super().__init__(capabilities=["speak"])


class Slow(Hearing):
    """Takes a while to connect."""

    name = "slow"

    def __init__(self) -> None:
        super().__init__()
        self.script.add("connect", Step(delay=30))
