"""A conversation by microphone and speaker, until the user has had enough."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import aclosing, suppress
from typing import Any

from vivavoce._loudness import SpeechMeter
from vivavoce.cli.conversation import Conversation
from vivavoce.cli.keyboard import LineEditor, keys
from vivavoce.cli.livescreen import LiveScreen, LiveState
from vivavoce.cli.quiet import only_python_on_stderr
from vivavoce.cli.transcript import Transcript
from vivavoce.devices import DeviceEvent, Microphone, Speaker
from vivavoce.errors import VoiceError
from vivavoce.events import Turn, Usage, Writing
from vivavoce.sources import AudioSource
from vivavoce.turntaking import LocalTurns
from vivavoce.voice import Voice

__all__ = ["LiveTalk"]

_REFRESH_S = 0.1


class _Metered:
    """The microphone, and where in what it hears there was speech."""

    def __init__(self, microphone: Microphone) -> None:
        self.format = microphone.format
        self.meter = SpeechMeter(microphone.format)
        self._microphone = microphone

    async def __aiter__(self) -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        async with aclosing(aiter(self._microphone)) as audio:  # type: ignore[type-var]
            async for chunk in audio:
                self.meter.feed(chunk, loop.time())
                yield chunk


class LiveTalk(Conversation):
    """`run` opens the devices, connects, and talks until `q`, Ctrl-C, or the end of the session. With `local_turns` the
    user's turns are found here."""

    def __init__(
        self,
        voice: Voice,
        *,
        microphone: Microphone,
        speaker: Speaker,
        show: Transcript,
        local_turns: bool = False,
        **rest: Any,
    ) -> None:
        super().__init__(voice, (), sink=speaker, show=show, **rest)
        self._manual = self._manual and not local_turns
        self._local_turns = local_turns
        self._microphone = microphone
        self._speaker_device = speaker
        self._metered = _Metered(microphone)
        self._quit = asyncio.Event()
        self._editor = LineEditor()
        self._tasks: set[asyncio.Task[None]] = set()
        self._trouble = ""
        if isinstance(show, LiveScreen):
            show.look = self.look
        microphone.push_to_talk = microphone.push_to_talk or self._manual

    def _speech_meter(self) -> SpeechMeter | None:
        return self._metered.meter

    async def run(self, **connect: Any) -> None:
        """As `Conversation.run`; also `AudioError`: a device that cannot be opened, before anything is dialled."""
        loop = asyncio.get_running_loop()
        self.voice.on("*", self._hear)
        self.voice.on("error", lambda _: None)
        self._zero = loop.time()
        with suppress(NotImplementedError):  # Windows
            loop.add_signal_handler(signal.SIGINT, self._asked_to_stop)
        try:
            with only_python_on_stderr(), keys(self._pressed):
                await self._speaker_device.open()
                await self._microphone.open()
                if isinstance(self._show, LiveScreen):
                    self._spawn(self._keep_drawn(self._show))
                await self.voice.connect(**connect)
                took = self._now_ms()
                text = f"connected to {self.voice.provider} in {took:.0f} ms"
                self._show.note(took, "connected", text, ms=took)
                self._spawn(self.voice.send(self._source()))
                await self._until(self._quit)
        finally:
            for task in [*self._tasks, *self._playing]:
                task.cancel()
            await self.voice.close()
            await self._microphone.close()
            await self._speaker_device.close()

    def _source(self) -> AudioSource:
        if not self._local_turns:
            return self._metered
        return LocalTurns(
            self.voice,
            self._metered,
            on_speech=self._user_spoke,
            on_error=lambda failed: self._show.error(self._now_ms(), str(failed)),
        )

    def _asked_to_stop(self) -> None:
        """The first Ctrl-C ends the conversation, a second one does not wait for that."""
        self._quit.set()
        asyncio.get_running_loop().remove_signal_handler(signal.SIGINT)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(self._line_ended)

    # What the user does.

    def _pressed(self, character: str) -> None:
        if self._editor.text is not None:
            text = self._editor.press(character)
            if text is not None:
                self._act(self._say_text(text))
            return
        action = _KEYS.get(character.lower())
        if action is not None:
            action(self)

    def _act(self, work: Coroutine[Any, Any, Any]) -> None:
        async def attempt() -> None:
            try:
                await work
            except VoiceError as bad:
                self._show.error(self._now_ms(), str(bad))

        self._spawn(attempt())

    def _leave(self) -> None:
        self._quit.set()

    def _mute(self) -> None:
        self._microphone.muted = not self._microphone.muted

    def _push_to_talk(self) -> None:
        self._microphone.push_to_talk = self._manual or not self._microphone.push_to_talk
        self._microphone.talking = False

    def _talk(self) -> None:
        if not self._microphone.push_to_talk:
            return
        self._microphone.talking = not self._microphone.talking
        if self._manual and not self._microphone.talking:
            self._act(self.voice.answer())

    def _interrupt(self) -> None:
        self._act(self.voice.interrupt())

    def _type(self) -> None:
        self._editor.text = ""

    # What is shown.

    def device_event(self, event: DeviceEvent) -> None:
        """What a device tells; also lost devices and breaks in the sound."""
        self._trouble = event.text if event.kind == "lost" else ""
        self._show.note(self._now_ms(), "device", event.text, device=event.device, what=event.kind)

    def _writing(self, event: Writing) -> None:
        super()._writing(event)
        if event.role == "user" and event.final and not event.text:
            self._due = False  # nothing was understood: most services do not reply to that

    def _user_spoke(self, speaks: bool) -> None:
        """What turns found on this side tell."""
        self._user_speaks = speaks
        if not speaks:
            self._due, self._asked = True, None

    def _turn(self, turn: Turn) -> None:
        super()._turn(turn)
        if turn.role == "user":
            self._metered.meter.began = None

    async def _keep_drawn(self, screen: LiveScreen) -> None:
        while True:
            screen.refresh()
            await asyncio.sleep(_REFRESH_S)

    def look(self) -> LiveState:
        """The state of things, for the screen."""
        microphone, speaker = self._microphone, self._speaker_device
        return LiveState(
            state=self._state(),
            microphone=microphone.level,
            speaker=speaker.level,
            muted=microphone.muted,
            push_to_talk=microphone.push_to_talk,
            talking=microphone.talking,
            gated=microphone.is_silenced and not microphone.muted,
            latencies_ms=self.latencies_ms,
            usage=_used(self.voice.usage),
            typing=self._editor.text,
            trouble=self._trouble,
        )

    def _state(self) -> str:
        if self.voice.state != "open":
            return "connecting" if self.voice.state == "idle" else self.voice.state
        if self._user_speaks:
            return "you speak"
        if self._playing:
            return "speaking"
        return "thinking" if self._due or self._running or self._calls else "listening"


_KEYS: dict[str, Callable[[LiveTalk], None]] = {
    "m": LiveTalk._mute,
    "p": LiveTalk._push_to_talk,
    " ": LiveTalk._talk,
    "i": LiveTalk._interrupt,
    "t": LiveTalk._type,
    "q": LiveTalk._leave,
}


def _used(usage: Usage) -> str:
    if usage.total_tokens:
        return f"{usage.total_tokens} tokens"
    seconds = usage.input_seconds + usage.output_seconds
    return f"{seconds:.0f} s of sound" if seconds else ""
