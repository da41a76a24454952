"""The user's line: files, and the silence between them, as a microphone would give it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing

from vivavoce._loudness import SpeechMeter
from vivavoce.audio import AudioFormat
from vivavoce.cli.loading import AudioFile
from vivavoce.sources import chunks, paced

__all__ = ["Line"]

_SILENCE_MS = 20


class Line:
    """An audio source for `Voice.send`: what is `say`d, in order, then silence until there is more or it is `hang_up`.

    `progress(file, milliseconds)` is called as a file is sent. `meter` knows where in the newest file, on the
    loop's clock, there was speech.
    """

    def __init__(
        self, format: AudioFormat, *, pace: bool, progress: Callable[[AudioFile, float], None]
    ) -> None:
        self.format = format
        self.meter = SpeechMeter(format)
        self._pace = pace
        self._progress = progress
        self._files: deque[tuple[AudioFile, asyncio.Event]] = deque()
        self._sending: AudioFile | None = None
        self._sent_ms = 0.0
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
            self._sent_ms, self.meter = 0.0, SpeechMeter(self.format)
            async with aclosing(chunks(self._sending.path, target=self.format)) as audio:
                async for chunk in audio:
                    yield chunk
            self._sending = None
            sent.set()

    def _measure(self, chunk: bytes) -> None:
        if self._sending is None:
            return
        self.meter.feed(chunk, asyncio.get_running_loop().time())
        self._sent_ms += self.format.milliseconds(len(chunk))
        self._progress(self._sending, self._sent_ms)
