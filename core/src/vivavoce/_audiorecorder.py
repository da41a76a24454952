"""Records the sound of a conversation: both sides as one stereo file. See `vivavoce.recording`, which adds the events."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Generator
from contextlib import aclosing
from pathlib import Path
from typing import Any

from vivavoce._replaced import Replaced
from vivavoce._stereo import StereoTimeline
from vivavoce.audio import AudioFormat, Converter
from vivavoce.errors import ConfigError, VoiceError
from vivavoce.events import Closed, Interrupted, Speaking
from vivavoce.files import WavWriter
from vivavoce.hookspecs import hookimpl
from vivavoce.provider import Context, Speech

__all__ = ["ASSISTANT", "USER", "AudioRecorder"]

USER, ASSISTANT = 0, 1
_TICK_S = 0.5


class AudioRecorder:
    """A plugin that writes both sides into one stereo WAV at `path`: the user left, the assistant right.

    What the user sends lies where it was sent, replies where they are heard: each after the one before it, cut where
    it was interrupted. The clock starts as `connect()` begins and stops with the session; a voice that is connected
    again begins another file beside the first (`talk-2.wav`). `failure` is what ended the recording early, such as a
    full disk: it is also emitted once as an `error`, and the conversation goes on. `recorded`: whether there is a
    recording at `path`. A file that was there is replaced by it, and stays when there was no session.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.failure: VoiceError | None = None
        self.recorded = False
        self._first = self.path
        self._sessions = 0
        self._voice: Any = None
        self._context: Context | None = None
        self._wav: WavWriter | None = None
        self._before = Replaced()
        self._converters: dict[tuple[int, AudioFormat], Converter] = {}

    @hookimpl
    def attach(self, voice: Any) -> None:
        if self._voice is not None:
            raise ConfigError(
                f"the recorder of {self.path} has a voice already: make another", option="plugins"
            )
        self._voice = voice
        voice.on("*", self._hear)  # listening to `speaking` itself would count as hearing it

    @hookimpl(wrapper=True)
    def connect(self, context: Context) -> Generator[None, Any, Any]:
        has_begun = self._begin(context)  # not when a lost session is restored: that recording stays
        try:
            result = yield
        except BaseException:
            if has_begun:
                self._discard()
            raise
        self._before.forget()
        return result

    @hookimpl(wrapper=True)
    def send(self, context: Context, audio: bytes) -> Generator[None, Any, Any]:
        if self._wav is not None and self.failure is None:
            try:
                self._sent(audio, context.session.input_format)
            except VoiceError as failure:
                self._fail(failure)
        return (yield)

    @hookimpl(wrapper=True)
    def speak(self, context: Context) -> Generator[None, Any, Any]:
        self._begin(context)
        self._before.forget()
        speech = yield
        if isinstance(speech, Speech):
            return Speech(speech.format, self._tap(speech.chunks, speech.format))
        return self._tap(speech, context.session.output_format) if hasattr(speech, "__aiter__") else speech

    async def _tap(self, chunks: AsyncIterator[bytes], format: AudioFormat) -> AsyncIterator[bytes]:
        owner = object()
        async with aclosing(chunks):  # type: ignore[type-var]  # a plain iterator has nothing to close
            async for audio in chunks:
                self._guard(self._place, ASSISTANT, audio, format, owner)
                yield audio

    def close(self) -> None:
        """End the recording: what is still to be heard is added, the files are complete. Idempotent. The end of a
        session does it; only speech without a session (`speak` before `connect`) leaves it to the app."""
        wav, self._wav = self._wav, None
        if wav is None:
            return
        self._timer.cancel()
        self._guard(self._finish, wav)
        wav.close()

    def _discard(self) -> None:
        """There was no session: leave no file but the one that was there."""
        self.close()
        self.recorded = False
        self._before.put_back()

    # Where and when.

    def _begin(self, context: Context) -> bool:
        """Open the files if they are not, before anything is dialled. Returns whether it did."""
        self._context = context
        if self._wav is not None or self.failure is not None:
            return False
        self._sessions += 1
        self._loop = asyncio.get_running_loop()
        self._zero = self._loop.time()
        session = context.session
        rate = max(session.input_format.rate, session.output_format.rate)
        self._timeline, self._converters = StereoTimeline(rate), {}
        if self._sessions > 1:
            self.path = self._first.with_stem(f"{self._first.stem}-{self._sessions}")
        self._wav = self._open(AudioFormat(rate, 2))
        self.recorded = True
        self._timer = self._loop.call_later(_TICK_S, self._tick)
        return True

    def _open(self, format: AudioFormat) -> WavWriter:
        self._before.move(self.path)
        try:
            return WavWriter(self.path, format)
        except VoiceError:
            self._before.put_back()
            raise

    def _now_ms(self) -> float:
        return (self._loop.time() - self._zero) * 1000

    def _frame(self) -> int:
        return int(self._now_ms() * self._timeline.rate / 1000)

    def _place(self, side: int, audio: bytes, format: AudioFormat, owner: object) -> float:
        """Put audio on the clock; return the milliseconds at which it is heard."""
        key = (side, format)
        if key not in self._converters:
            self._converters[key] = Converter(format, AudioFormat(self._timeline.rate))
        start = self._timeline.place(side, self._converters[key].feed(audio), self._frame(), owner)
        return start * 1000 / self._timeline.rate

    def _tick(self) -> None:
        self._guard(self._write, self._frame() - self._timeline.slack)
        if self._wav is not None:
            self._timer = self._loop.call_later(_TICK_S, self._tick)

    def _write(self, until: int) -> None:
        if self._wav is not None:
            for block in self._timeline.take(until):
                self._wav.write(block)

    def _finish(self, wav: WavWriter) -> None:
        for block in self._timeline.take(max(self._timeline.end, self._frame())):
            wav.write(block)

    # What happens.

    def _sent(self, audio: bytes, format: AudioFormat) -> None:
        self._place(USER, audio, format, None)

    def _hear(self, payload: Any) -> None:
        if self._wav is None:
            return
        self._guard(self._take, payload)
        if isinstance(payload, Closed):
            self.close()

    def _take(self, payload: Any) -> float | None:
        """An event. Of reply audio: the milliseconds at which it is heard."""
        if isinstance(payload, Speaking):
            return self._place(ASSISTANT, payload.audio, self._voice.output_format, payload.response_id)
        if isinstance(payload, Interrupted):
            self._timeline.drop(ASSISTANT, payload.response_id, self._frame())
        return None

    def _guard(self, action: Any, *args: Any) -> None:
        """Do something that may fail as files do; the first failure ends the recording."""
        if self.failure is None:
            try:
                action(*args)
            except VoiceError as failure:
                self._fail(failure)

    def _fail(self, failure: VoiceError) -> None:
        self.failure = failure
        self.close()
        if self._context is not None:
            self._context.emit(failure)
