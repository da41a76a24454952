"""One conversation from beginning to end: each turn is sent, its reply is heard, then the next one begins."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from vivavoce._loudness import SpeechMeter
from vivavoce.cli.console import Failed
from vivavoce.cli.line import Line
from vivavoce.cli.loading import AudioFile
from vivavoce.cli.transcript import Said, Transcript
from vivavoce.errors import ConnectionLostError, VoiceError
from vivavoce.events import (
    Closed,
    Interrupted,
    Reconnected,
    Reconnecting,
    ResponseCreated,
    ResponseDone,
    SpeechStarted,
    SpeechStopped,
    ToolCallResult,
    ToolCallStart,
    Turn,
    Writing,
)
from vivavoce.streams import AudioStream, Sink
from vivavoce.voice import Voice

__all__ = ["Conversation"]

_GRACE_S = 0.3
"""Nothing more has come for so long after a reply was heard: it is the next one's turn."""


class Conversation:
    """`turns` are files and texts, in order; replies are played on `sink`. `wait_ms` bounds how long nothing at all may
    happen while a reply is due. `manual`: the turn is ended by asking for the answer, not by the service hearing it."""

    def __init__(
        self,
        voice: Voice,
        turns: Sequence[AudioFile | str],
        *,
        sink: Sink,
        show: Transcript,
        pace: bool = True,
        manual: bool = False,
        wait_ms: float = 30_000,
        is_fatal: Callable[[VoiceError], bool] = lambda _: False,
    ) -> None:
        self.voice = voice
        self.latencies_ms: list[float] = []
        self.turns = 0
        self._turns = turns
        self._sink = sink
        self._show = show
        self._pace = pace
        self._manual = manual or "vad" not in voice.capabilities
        self._wait_s = wait_ms / 1000
        self._is_fatal = is_fatal
        self._happened = asyncio.Event()
        self._zero = 0.0
        self._line: Line | None = None
        self._due = False  # a reply is owed to the user
        self._user_speaks = False
        self._running: set[str] = set()
        self._calls: dict[str, tuple[ToolCallStart, float]] = {}
        self._playing: set[asyncio.Task[None]] = set()
        self._text: dict[str | None, str] = {}
        self._replies: dict[str | None, tuple[float, float | None]] = {}
        self._asked: float | None = None  # when the turn ended that has had no audio in reply yet
        self._failure: BaseException | None = None
        self._listeners: dict[type, Any] = {
            Writing: self._writing,
            Turn: self._turn,
            SpeechStarted: self._speech_started,
            SpeechStopped: self._speech_stopped,
            ResponseCreated: self._response_created,
            ResponseDone: self._response_done,
            ToolCallStart: self._tool_call,
            ToolCallResult: self._tool_result,
            Interrupted: self._interrupted,
            Reconnecting: self._reconnecting,
            Reconnected: self._reconnected,
            Closed: self._closed,
            AudioStream: self._speaker,
        }

    async def run(self, **connect: Any) -> None:
        """Connect, hold the conversation, close. `Failed` when a reply does not come; `VoiceError`."""
        self.voice.on("*", self._hear)
        self.voice.on("error", lambda _: None)  # told by _hear: without this it would be logged, too
        self._zero = asyncio.get_running_loop().time()
        line: asyncio.Task[None] | None = None
        try:
            await self.voice.connect(**connect)
            took = self._now_ms()
            self._show.note(
                took, "connected", f"connected to {self.voice.provider} in {took:.0f} ms", ms=took
            )
            self._line = Line(self.voice.input_format, pace=self._pace, progress=self._progress)
            if not self._manual and any(isinstance(turn, AudioFile) for turn in self._turns):
                line = asyncio.create_task(self.voice.send(self._line))
                line.add_done_callback(self._line_ended)
            for turn in self._turns:
                await (self._say_text(turn) if isinstance(turn, str) else self._say_file(turn))
                await self._reply_heard()
            self._line.hang_up()
        finally:
            if line is not None:
                line.cancel()
            for playing in self._playing:
                playing.cancel()
            await self.voice.close()

    def _now_ms(self) -> float:
        return (asyncio.get_running_loop().time() - self._zero) * 1000

    def _speech_meter(self) -> SpeechMeter | None:
        """What knows where in the user's sound there was speech."""
        return self._line.meter if self._line is not None else None

    # The user's side.

    async def _say_text(self, text: str) -> None:
        self._due, self._asked = True, self._now_ms()
        await self.voice.send_text(text)
        await self.voice.answer()

    async def _say_file(self, file: AudioFile) -> None:
        assert self._line is not None
        seconds = f" ({file.duration_ms / 1000:.1f} s)" if file.duration_ms else ""
        self._show.note(
            self._now_ms(),
            "sending",
            f"sending {file.path.name}{seconds}",
            file=str(file.path),
            ms=file.duration_ms,
        )
        self._due, self._asked = True, None
        sent = self._line.say(file)
        if not self._manual:
            await self._until(sent)
            return
        manual = Line(self.voice.input_format, pace=self._pace, progress=self._progress)
        manual.say(file)
        manual.hang_up()
        self._line = manual
        await self.voice.send(manual)
        await self.voice.answer()

    async def _until(self, sent: asyncio.Event) -> None:
        """Wait for `sent`, or for what makes that impossible."""
        while not sent.is_set():
            self._raise_failure()
            self._happened.clear()
            waits = [asyncio.ensure_future(event.wait()) for event in (sent, self._happened)]
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()

    def _progress(self, file: AudioFile, ms: float) -> None:
        self._show.sending(file.path.name, ms, file.duration_ms)

    def _line_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self._failure = self._failure or task.exception()
            self._happened.set()

    # Waiting for the reply.

    def _is_settled(self) -> bool:
        return not (self._due or self._user_speaks or self._running or self._calls or self._playing)

    async def _reply_heard(self) -> None:
        while True:
            self._raise_failure()
            settled = self._is_settled()
            self._happened.clear()
            patience = _GRACE_S if settled else None if self._playing else self._wait_s
            try:
                async with asyncio.timeout(patience):
                    await self._happened.wait()
            except TimeoutError:
                if settled:
                    return
                raise Failed(
                    f"no reply within {self._wait_s:g} s: check that the file holds speech, or give --wait more milliseconds"
                ) from None

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    # What happens.

    def _hear(self, payload: Any) -> None:
        listener = self._listeners.get(type(payload))
        if listener is not None:
            listener(payload)
        elif isinstance(payload, VoiceError) and self._is_fatal(payload):
            self._failure = self._failure or payload
        elif isinstance(payload, VoiceError):
            self._show.error(self._now_ms(), str(payload))
        self._happened.set()

    def _speech_started(self, _: SpeechStarted) -> None:
        self._user_speaks = True

    def _speech_stopped(self, _: SpeechStopped) -> None:
        self._user_speaks, self._due, self._asked = False, True, None

    def _response_created(self, event: ResponseCreated) -> None:
        self._due = False
        self._running.add(event.id)

    def _response_done(self, event: ResponseDone) -> None:
        self._running.discard(event.id)
        if event.status in ("failed", "incomplete"):
            self._show.error(
                self._now_ms(), f"the reply ended as {event.status}: {event.reason or 'no reason given'}"
            )

    def _speaker(self, stream: AudioStream) -> None:
        self._due = False
        now = self._now_ms()
        meter = self._speech_meter()
        ended = meter.ended if meter is not None else None
        asked = self._asked if self._asked is not None else ended and (ended - self._zero) * 1000
        latency = now - asked if asked is not None and now > asked and not self._answered(asked) else None
        self._replies[stream.item_id] = (now, latency)
        if latency is not None:
            self.latencies_ms.append(latency)
        playing = asyncio.create_task(stream.pipe(self._sink))
        self._playing.add(playing)
        playing.add_done_callback(self._played)

    def _answered(self, asked_ms: float) -> bool:
        """Whether a reply has begun since: only the first one has a latency."""
        return any(began > asked_ms for began, _ in self._replies.values())

    def _played(self, task: asyncio.Task[None]) -> None:
        self._playing.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._failure = self._failure or task.exception()
        self._happened.set()

    def _writing(self, event: Writing) -> None:
        text = event.text if event.final else self._text.get(event.item_id, "") + event.text
        self._text[event.item_id] = text
        self._show.writing(event.role, text)

    def _turn(self, turn: Turn) -> None:
        self._text.pop(turn.item_id, None)
        self.turns += 1
        now = self._now_ms()
        start, end, latency = now, now, None
        if turn.role == "assistant":
            start, latency = self._replies.get(turn.item_id, (now, None))
        elif (meter := self._speech_meter()) is not None and self._asked is None and meter.ended is not None:
            start = ((meter.began or self._zero) - self._zero) * 1000
            end = (meter.ended - self._zero) * 1000
        self._show.turn(Said(turn.role, turn.text, start, end, latency, turn.interrupted))

    def _tool_call(self, call: ToolCallStart) -> None:
        self._calls[call.call_id] = (call, self._now_ms())

    def _tool_result(self, result: ToolCallResult) -> None:
        call, began = self._calls.pop(result.call_id)
        failed = result.error is not None
        outcome = result.error if failed else result.result
        self._show.tool(began, call.name, call.arguments, outcome, failed, self._now_ms() - began)
        self._due = True  # the core asks for the continuation

    def _interrupted(self, event: Interrupted) -> None:
        heard = f"the reply was cut after {event.played_ms / 1000:.1f} s"
        self._show.note(self._now_ms(), "interrupted", heard, played_ms=event.played_ms)

    def _reconnecting(self, event: Reconnecting) -> None:
        text = f"connection lost ({event.cause}); attempt {event.attempt} in {event.delay_ms:.0f} ms"
        self._show.note(self._now_ms(), "reconnecting", text, attempt=event.attempt, delay_ms=event.delay_ms)

    def _reconnected(self, event: Reconnected) -> None:
        text = f"connected again after {event.outage_ms:.0f} ms"
        self._show.note(self._now_ms(), "reconnected", text, outage_ms=event.outage_ms)
        self._running.clear()
        self._user_speaks = False

    def _closed(self, event: Closed) -> None:
        if not event.clean:
            self._failure = self._failure or ConnectionLostError(event.reason, code=event.code)
