"""One session: hears turns, answers them, and stops when the user speaks."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Awaitable, Coroutine, Mapping
from typing import Any

from vivavoce import Context, Interruption, ProviderError, Voice
from vivavoce.errors import VoiceError
from vivavoce.events import ItemAdded, SpeechStarted, SpeechStopped, Usage, Writing
from vivavoce.vad import (
    Found,
    SpeechAudio,
    SpeechBegan,
    SpeechEnded,
    VoiceActivity,
    load_detector,
)

from vivavoce_local_provider._hearing import Hearing
from vivavoce_local_provider._reply import Ask, Reply
from vivavoce_local_provider.config import TurnSettings
from vivavoce_local_provider.conversation import Responder
from vivavoce_local_provider.dialogue import Dialogue

__all__ = ["Talk"]

LISTEN_DEADLINE = 30.0
"""Seconds the input provider has for its text once the turn is over."""
INPUT_RATE = 16_000


class Talk:
    """Owns the tasks of one session. `close` ends them all."""

    def __init__(self, context: Context, ears: Voice, mouth: Voice, responder: Responder) -> None:
        self._context = context
        self._ears = ears
        self._mouth = mouth
        self._responder = responder
        self._dialogue = Dialogue(context.session.history)
        self._settings: TurnSettings = context.config.turn_settings
        self._activity = VoiceActivity(load_detector(), self._settings)
        self._hearing: Hearing | None = None
        self._listening: dict[Hearing, asyncio.Task[str]] = {}
        self._replies: dict[str, tuple[Reply, asyncio.Task[None]]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._understood = asyncio.Lock()  # turns are understood one after the other
        self._answering = asyncio.Lock()  # and so are they answered
        self._numbers = itertools.count(1)
        self.configure(context.session.settings)

    def configure(self, settings: Mapping[str, Any]) -> None:
        """Apply the session's settings. Raises `ConfigError`, and then nothing changed."""
        self._settings = self._activity.settings = self._context.config.turn_settings.changed(settings)
        self._context.session.manual_turns = self._settings.turns == "manual"
        self._context.session.server_interrupts = self._settings.barge_in and self._settings.turns == "vad"

    # Hearing.

    def send(self, audio: bytes) -> Awaitable[None]:
        """Take input audio: PCM16 at 16 kHz. Awaiting the result holds the sender back while the listener is behind."""
        if self._settings.turns == "manual":
            if self._hearing is None:
                self._hear()
            self._feed(audio)
        else:
            for found in self._activity.feed(audio):
                self._take(found)
        hearing = self._hearing
        # Even with room enough the loop gets its turn: detecting activity costs milliseconds.
        return hearing.room() if hearing is not None and hearing.full else asyncio.sleep(0)

    def _take(self, found: Found) -> None:
        if isinstance(found, SpeechBegan):
            self._hear()
            assert self._hearing is not None
            self._context.emit(SpeechStarted(self._hearing.item_id, found.at_ms))
            if self._settings.barge_in:
                self._stop_replies("turn_detected")
            self._feed(found.audio)
        elif isinstance(found, SpeechAudio):
            self._feed(found.audio)
        else:
            self._end_turn(found.at_ms, answer=True)

    def _hear(self) -> None:
        hearing = self._hearing = Hearing(f"item_{next(self._numbers)}")
        listening = self._listening[hearing] = self._spawn(self._ears.listen(hearing, rate=INPUT_RATE))
        # If it fails early, nobody reads the audio: the sender must not wait for that.
        listening.add_done_callback(lambda _: hearing.end())

    def _feed(self, audio: bytes) -> None:
        if self._hearing is not None:
            self._hearing.feed(audio)

    def _end_turn(self, at_ms: float | None, *, answer: bool) -> None:
        hearing, self._hearing = self._hearing, None
        if hearing is None:
            return
        hearing.end()
        if at_ms is not None:
            self._context.emit(SpeechStopped(hearing.item_id, at_ms))
        self._context.emit(ItemAdded(hearing.item_id, "user"))
        self._spawn(self._understand(hearing, answer))

    async def _understand(self, hearing: Hearing, answer: bool) -> None:
        async with self._understood:
            text = await self._text(hearing)
            if text:
                self._dialogue.add(text, "user", hearing.item_id)
            self._context.emit(Writing(text, "user", hearing.item_id, final=True))
            self._context.emit(Usage(input_seconds=hearing.fed / (2 * INPUT_RATE)))
        # A user who goes on speaking would interrupt the reply: the next turn is answered, and this with it.
        if text and answer and not (self._hearing is not None and self._settings.barge_in):
            self._answer(Ask())

    async def _text(self, hearing: Hearing) -> str:
        listening = self._listening[hearing]
        try:
            async with asyncio.timeout(LISTEN_DEADLINE):
                return (await listening).strip()
        except TimeoutError:
            late = f"{self._ears.provider} gave no text within {LISTEN_DEADLINE:g} s"
            self._context.emit(ProviderError(late, code="timeout"))
        except VoiceError as failed:
            self._context.emit(failed)
        except Exception as bug:
            text = f"{self._ears.provider} failed while listening: {type(bug).__name__}: {bug}"
            self._context.emit(ProviderError(text, code="listen_failed"))
        finally:
            del self._listening[hearing]
        return ""

    def commit(self) -> None:
        """The user's turn ends here, and is not answered before `answer`. Without any audio nothing happens."""
        at_ms = None
        for found in self._activity.end():
            if isinstance(found, SpeechEnded):
                at_ms = found.at_ms
            else:
                self._take(found)
        self._end_turn(at_ms, answer=False)

    def clear(self) -> None:
        """Forget the turn that was begun."""
        ended = self._activity.end()
        hearing, self._hearing = self._hearing, None
        if hearing is None:
            return
        hearing.end()
        self._listening.pop(hearing).cancel()
        if ended:
            self._context.emit(SpeechStopped(hearing.item_id, self._activity.now_ms))

    # Answering.

    async def answer(self, options: Mapping[str, Any]) -> str:
        """Begin a reply; return its id."""
        ask = Ask.of(options)
        if not ask.out_of_band and ask.input is None:
            self.commit()
        reply = self._answer(ask)
        await reply.settled.wait()
        if not reply.begun:
            raise ProviderError("the user spoke before the reply began", code="cancelled", provider="local")
        return reply.id

    def _answer(self, ask: Ask) -> Reply:
        reply = Reply(
            f"resp_{next(self._numbers)}", ask, self._context, self._dialogue, self._mouth, self._spawn
        )
        self._replies[reply.id] = (reply, self._spawn(self._reply(reply)))
        return reply

    async def _reply(self, reply: Reply) -> None:
        try:
            async with contextlib.nullcontext() if reply.ask.out_of_band else self._answering:
                reply.begin()
                async with self._understood:
                    conversation = reply.ask.conversation(self._dialogue, self._context.session.instructions)
                await reply.run(self._responder, conversation)
        finally:
            reply.settled.set()
            self._replies.pop(reply.id, None)

    def _stop_replies(self, reason: str, id: str | None = None) -> list[asyncio.Task[None]]:
        stopped = []
        for reply, task in list(self._replies.values()):
            if (id is None and not reply.ask.out_of_band) or reply.id == id:
                if reply.begun:
                    reply.stop(reason)
                task.cancel()
                stopped.append(task)
        return stopped

    async def interrupt(self, interruption: Interruption) -> None:
        """Stop the reply, and remember only what was heard."""
        if interruption.cancel:
            stopped = self._stop_replies("client_cancelled", interruption.response_id)
            if stopped:
                await asyncio.wait(stopped, timeout=LISTEN_DEADLINE)
        for cut in interruption.cuts:
            self._dialogue.cut(cut)

    def add_text(self, text: str, role: Any) -> None:
        """Add a message to the conversation."""
        self._dialogue.add(text, role)

    def add_result(self, call_id: str, output: str) -> None:
        """Add a tool's output to the conversation."""
        self._dialogue.result(call_id, output)

    # Tasks.

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # told by whoever awaits it

    async def close(self) -> None:
        """Cancel everything, and wait for it."""
        if self._hearing is not None:
            self._hearing.end()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=LISTEN_DEADLINE)
        self._activity.release()
        close = getattr(self._responder, "aclose", None)
        if close is not None:
            await close()
