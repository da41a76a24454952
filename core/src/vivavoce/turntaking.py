"""The user's turns, found here: for a session whose service does not look for them.

    await voice.send(LocalTurns(voice, Microphone()))

The service hears speech and nothing else. When the user begins to speak, the reply is silent within a tenth of a second,
whatever the way to the service takes, and the service is cut where it was heard. When the user has been silent for
half a second, the turn is committed and answered. Needs `pip install "vivavoce[vad]"`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any, Final, Protocol

from vivavoce.audio import PCM16_16K, AudioFormat, Converter
from vivavoce.errors import NotConnectedError, VoiceError
from vivavoce.sources import AudioSource
from vivavoce.streams import Response
from vivavoce.vad import Detector, SpeechBegan, SpeechEnded, VadSettings, VoiceActivity

__all__ = ["LocalTurns", "Taken"]

logger = logging.getLogger("vivavoce.turntaking")

_PIECE_MS: Final = 32
_ONSET_MS: Final = 160
"""How far back the beginning of speech may lie when it is found: the detector's frames, and what is held back."""


class Taken(Protocol):
    """What is asked of a `Voice`."""

    async def interrupt(self) -> None: ...

    async def commit_input(self) -> None: ...

    async def answer(self) -> Response: ...


class LocalTurns:
    """An audio source: the speech in `source` (PCM16 in its `format`), for `voice.send`. One use at a time.

    The session's turns must be by hand (`turn_detection: None` at OpenAI, `turns="manual"` of `local`): two who find
    turns cut each other's. `settings`: what is speech and how long the silence is that ends a turn. `detector`: another
    model than Silero's. `on_speech(True)` is called when the user begins to speak, `on_speech(False)` at the end of the
    turn. `on_error` is told what goes wrong with a turn, which is else a WARNING; a lost connection ends the iteration.
    """

    def __init__(
        self,
        voice: Taken,
        source: AudioSource,
        *,
        settings: VadSettings | None = None,
        detector: Detector | None = None,
        on_speech: Callable[[bool], None] | None = None,
        on_error: Callable[[VoiceError], None] | None = None,
    ) -> None:
        self._voice = voice
        self._source = source
        self._settings = settings or VadSettings()
        self._detector = detector
        self._on_speech = on_speech
        self._on_error = on_error
        self._kept = bytearray()
        self._heard_ms = 0.0
        self._turns = 0
        self._answering: set[asyncio.Task[None]] = set()
        self.speaking = False

    @property
    def format(self) -> AudioFormat:
        """The source's."""
        return self._source.format

    async def __aiter__(self) -> AsyncIterator[bytes]:
        activity = VoiceActivity(self._detector, self._settings)
        to_detector = Converter(self.format, PCM16_16K)
        self._kept.clear()
        self._heard_ms = 0.0
        try:
            async with aclosing(aiter(self._source)) as chunks:  # type: ignore[type-var]
                async for chunk in chunks:
                    for piece in _pieces(chunk, self.format.bytes_for(_PIECE_MS)):
                        self._keep(piece)
                        for found in activity.feed(to_detector.feed(piece)):
                            if isinstance(found, SpeechBegan):
                                await self._begin(found.at_ms)
                            elif isinstance(found, SpeechEnded):
                                yield self._take()
                                await self._end()
                        if self.speaking:
                            yield self._take()
            if self.speaking:  # the source ended within a turn
                yield self._take()
                await self._end()
        finally:
            self.speaking = False
            activity.release()

    def _keep(self, piece: bytes) -> None:
        self._kept += piece
        self._heard_ms += self.format.milliseconds(len(piece))
        if not self.speaking:
            del self._kept[: -self.format.bytes_for(self._settings.prefix_ms + _ONSET_MS)]

    def _take(self) -> bytes:
        taken = bytes(self._kept)
        self._kept.clear()
        return taken

    async def _begin(self, at_ms: float) -> None:
        self.speaking = True
        self._turns += 1
        del self._kept[: -self.format.bytes_for(self._heard_ms - at_ms + self._settings.prefix_ms)]
        await self._ask(self._voice.interrupt())
        self._tell(True)

    async def _end(self) -> None:
        self.speaking = False
        self._tell(False)
        await self._ask(self._voice.commit_input())
        answering = asyncio.create_task(self._answer(self._turns))
        self._answering.add(answering)
        answering.add_done_callback(self._answering.discard)

    async def _answer(self, turn: int) -> None:
        try:
            await self._ask(self._voice.answer())
            if turn != self._turns:  # the user went on: this reply is to half of what was said
                await self._ask(self._voice.interrupt())
        except NotConnectedError:
            return  # the conversation is over

    async def _ask(self, request: Any) -> None:
        try:
            await request
        except NotConnectedError:
            raise
        except VoiceError as failed:
            if self._on_error is not None:
                self._on_error(failed)
            else:
                logger.warning("a turn failed: %s", failed)

    def _tell(self, speaks: bool) -> None:
        if self._on_speech is not None:
            self._on_speech(speaks)


def _pieces(chunk: bytes, size: int) -> list[bytes]:
    return [chunk[at : at + size] for at in range(0, len(chunk), size)]
