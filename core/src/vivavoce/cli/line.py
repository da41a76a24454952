"""The user's line: files, and the silence between them, as a microphone would give it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing

from vivavoce.audio import AudioFormat, pcm16_to_float32
from vivavoce.cli.loading import AudioFile
from vivavoce.sources import chunks, paced

__all__ = ["Line"]

_SILENCE_MS = 20
# 26 dB below the loudest so far, and never below -50 dBFS, is no speech.
_BELOW_PEAK, _FLOOR = 0.05, 0.003


class Line:
    """An audio source for `Voice.send`: what is `say`d, in order, then silence until there is more or it is `hang_up`.

    `progress(file, milliseconds)` is called as a file is sent. `speech_began`, `speech_ended` are the loop's times of
    the first and last loud audio of the newest file.
    """

    def __init__(
        self, format: AudioFormat, *, pace: bool, progress: Callable[[AudioFile, float], None]
    ) -> None:
        self.format = format
        self.speech_began: float | None = None
        self.speech_ended: float | None = None
        self._pace = pace
        self._progress = progress
        self._files: deque[tuple[AudioFile, asyncio.Event]] = deque()
        self._sending: AudioFile | None = None
        self._sent_ms = 0.0
        self._peak = 0.0
        self._open = True

    def hang_up(self) -> None:
        """End the source once the files are through."""
        self._open = False

    def say(self, file: AudioFile) -> asyncio.Event:
        """Queue a file; the event is set when it was sent."""
        sent = asyncio.Event()
        self._files.append((file, sent))
        return sent

    async def __aiter__(self) -> AsyncIterator[bytes]:
        source = self._continuous()
        async with aclosing(paced(source, self.format) if self._pace else source) as audio:
            async for chunk in audio:
                self._measure(chunk)
                yield chunk

    async def _continuous(self) -> AsyncGenerator[bytes]:
        silence = bytes(self.format.bytes_for(_SILENCE_MS))
        while self._files or self._open:
            if not self._files:
                yield silence
                if not self._pace:
                    await asyncio.sleep(_SILENCE_MS / 1000)
                continue
            self._sending, sent = self._files.popleft()
            self._sent_ms, self._peak, self.speech_began = 0.0, _FLOOR, None
            async with aclosing(chunks(self._sending.path, target=self.format)) as audio:
                async for chunk in audio:
                    yield chunk
            self._sending = None
            sent.set()

    def _measure(self, chunk: bytes) -> None:
        if self._sending is None:
            return
        now, ms = asyncio.get_running_loop().time(), self.format.milliseconds(len(chunk))
        level = float((pcm16_to_float32(chunk, self.format.channels) ** 2).mean() ** 0.5)
        self._peak = max(self._peak, level)
        if level > max(_FLOOR, self._peak * _BELOW_PEAK):
            self.speech_began = now if self.speech_began is None else self.speech_began
            self.speech_ended = now + ms / 1000
        self._sent_ms += ms
        self._progress(self._sending, self._sent_ms)
