"""The far side of a scripted provider: a service that hears, replies, stalls and goes away when a test says so."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable
from typing import Any, Literal

from vivavoce.errors import ConnectionLostError, NotConnectedError, VoiceError
from vivavoce.events import (
    Event,
    ItemAdded,
    ProviderMessage,
    ResponseCreated,
    ResponseDone,
    Speaking,
    SpeakingDone,
    SpeechStarted,
    SpeechStopped,
    ToolCallStart,
    Usage,
    Writing,
)
from vivavoce.provider import Context
from vivavoce.testing.script import Reply, ramp

__all__ = ["ScriptedService"]


class _Running:
    """A reply under way."""

    def __init__(self, id: str, reply: Reply, context: Context) -> None:
        self.id = id
        self.reply = reply
        self.context = context
        self.task: asyncio.Task[None] | None = None


class ScriptedService:
    """What happens on the service's side, one session at a time.

    A service that is not connected cannot reply or hear: `ConnectionLostError`. `emit` is for what should not happen.

    Recorded: `contexts` (one a session), `heard` (the audio sent to it), `spoken` (the audio it sent). Replies run as
    tasks that the service owns: `lose`, the end of the session and an interruption end them.
    """

    name = "scripted"

    def __init__(self) -> None:
        self.contexts: list[Context] = []
        self.heard = bytearray()
        self.spoken = bytearray()
        self._connected = False
        self._running: dict[str, _Running] = {}
        self._numbers: dict[str, itertools.count[int]] = {}
        self._frames_left: tuple[int, BaseException | None] | None = None
        self._stalled: asyncio.Event | None = None
        self._pending_audio = False

    @property
    def context(self) -> Context:
        """The newest session's context. `NotConnectedError` before the first `connect`."""
        if not self.contexts:
            raise NotConnectedError("the scripted provider was never connected", provider=self.name)
        return self.contexts[-1]

    @property
    def connected(self) -> bool:
        """Whether the service's side of the newest session is up."""
        return self._connected

    def emit(self, *events: Event | VoiceError, context: Context | None = None) -> None:
        """Emit in the newest session, or in that of an older `context` (which the core must ignore)."""
        for event in events:
            (context or self.context).emit(event)

    def raw(self, kind: str, **data: Any) -> None:
        """Let a raw message of the service arrive."""
        self.emit(ProviderMessage(kind, data))

    def user_starts(self, *, item_id: str | None = None, at_ms: float | None = None) -> str:
        """The service hears the user begin, and ends its reply if the session says so. Return the item's id."""
        self._check(self.context)
        item_id = item_id or self._new_id("user")
        self.emit(SpeechStarted(item_id, at_ms))
        if self.context.session.server_interrupts:
            for running in list(self._running.values()):
                self._stop(running, "turn_detected")
        return item_id

    def user_stops(self, item_id: str, text: str | None, *, at_ms: float | None = None) -> None:
        """The service hears the user end: the item takes its place, and `text` is its transcript (`None`: none)."""
        self._check(self.context)
        self.emit(SpeechStopped(item_id, at_ms), ItemAdded(item_id, "user", transcribed=text is not None))
        if text is not None:
            self.emit(Writing(text, "user", item_id, final=True))

    def user_says(self, text: str | None, *, at_ms: float | None = None, lasts_ms: float = 1000.0) -> str:
        """A whole utterance of the user is heard at once. Return the item's id."""
        item_id = self.user_starts(at_ms=at_ms)
        self.user_stops(item_id, text, at_ms=None if at_ms is None else at_ms + lasts_ms)
        return item_id

    def reply(self, text: str = "ok", audio_ms: float = 100.0, **options: Any) -> str:
        """The service begins a reply by itself. `options` are those of `Reply`. Return the response's id.

        Only the beginning has been emitted on return; `await idle()` for the rest.
        """
        self._check(self.context)
        return self._begin(Reply(text, audio_ms, **options), self.context)

    def finish(
        self,
        response_id: str,
        status: Literal["completed", "cancelled", "failed", "incomplete"] = "completed",
        reason: str | None = None,
    ) -> None:
        """End a reply that was begun with `hold=True`."""
        running = self._running.pop(response_id)
        if running.task is not None:
            running.task.cancel()
        running.context.emit(ResponseDone(response_id, status, reason))

    async def idle(self) -> None:
        """Wait until every reply that is not held has been emitted to its end."""
        while tasks := [
            running.task for running in self._running.values() if running.task and not running.task.done()
        ]:
            await asyncio.wait(tasks)

    def lose(self, cause: BaseException | None = None, *, after_frames: int = 0) -> None:
        """The connection breaks: now, or when `after_frames` more frames of audio have been sent."""
        if after_frames > 0:
            self._frames_left = (after_frames, cause)
            return
        self._disconnect()
        self.context.lost(cause or ConnectionLostError("the scripted service went away", provider=self.name))

    def stall(self) -> None:
        """The service stops reading: `send` holds its caller back until `resume`, loss or close."""
        self._stalled = asyncio.Event()

    def resume(self) -> None:
        """The service reads again."""
        if self._stalled is not None:
            self._stalled.set()
            self._stalled = None

    def _new_id(self, kind: str) -> str:
        return f"{kind}-{next(self._numbers.setdefault(kind, itertools.count(1)))}"

    def _check(self, context: Context) -> None:
        if not self._connected or context is not self.context:
            raise ConnectionLostError("the scripted service is not connected", provider=self.name)

    def _hear(self, context: Context, audio: bytes) -> Awaitable[None] | None:
        self._check(context)
        self.heard += audio
        self._pending_audio = True
        if self._frames_left is not None:
            left, cause = self._frames_left
            self._frames_left = (left - 1, cause)
            if left <= 1:
                self.lose(cause)
        return _hold_back(self._stalled) if self._stalled is not None else None

    def _begin(self, reply: Reply, context: Context) -> str:
        running = _Running(self._new_id("response"), reply, context)
        self._running[running.id] = running
        context.emit(ResponseCreated(running.id, reply.out_of_band))
        running.task = asyncio.get_running_loop().create_task(
            self._play(running), name=f"scripted {running.id}"
        )
        return running.id

    async def _play(self, running: _Running) -> None:
        reply, emit = running.reply, running.context.emit
        item_id = self._new_id("item")
        if reply.text or reply.audio_ms:
            if not reply.out_of_band:
                emit(ItemAdded(item_id, "assistant"))
            if reply.text:
                emit(Writing(reply.text, "assistant", item_id, running.id))
            await self._send_audio(running, item_id)
            emit(Writing(reply.text, "assistant", item_id, running.id, final=True))
        for name, arguments in reply.tool_calls:
            emit(ToolCallStart(self._new_id("call"), name, arguments, running.id))
        if not reply.hold:
            del self._running[running.id]
            usage = Usage(output_seconds=reply.audio_ms / 1000, response_id=running.id)
            emit(ResponseDone(running.id, reply.status, reply.reason, usage))

    async def _send_audio(self, running: _Running, item_id: str) -> None:
        reply, format = running.reply, running.context.session.output_format
        if not reply.audio_ms:
            return
        audio = ramp(reply.audio_ms, format, len(self.spoken) // format.frame_bytes)
        size = format.bytes_for(reply.chunk_ms)
        for start in range(0, len(audio), size):
            chunk = audio[start : start + size]
            self.spoken += chunk
            running.context.emit(Speaking(chunk, running.id, item_id))
            if reply.paced:
                await asyncio.sleep(format.milliseconds(len(chunk)) / 1000)
        running.context.emit(SpeakingDone("completed", running.id, item_id))

    def _stop(self, running: _Running, reason: str) -> None:
        self.finish(running.id, "cancelled", reason)

    def _disconnect(self) -> None:
        self._connected = False
        self._frames_left = None
        self._pending_audio = False
        self.resume()
        for running in self._running.values():
            if running.task is not None:
                running.task.cancel()
        self._running.clear()


async def _hold_back(stalled: asyncio.Event) -> None:
    await stalled.wait()
