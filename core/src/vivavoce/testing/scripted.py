"""A provider without a service: it does what a test tells it, and records what the core asks of it.

Left alone it is a healthy service with every capability. A `script` says what single calls do
instead (fail, take time, hang, emit, lose the connection), and its methods let things happen that a service
does by itself:

    provider = ScriptedProvider(script={"connect": [QuotaError("none left"), Step(delay=2)]})
    voice = Voice(provider)
    ...
    provider.user_says("What time is it?")
    provider.reply("Nearly noon.", audio_ms=900, paced=True)
    provider.lose(after_frames=3)
    assert [call.args for call in provider.called("send_text")] == [("hello", "user")]

Replies run as tasks which the provider owns: `close`, `lose` and an interruption end them.
"""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

from vivavoce.events import ItemAdded, SessionCreated, SessionUpdated
from vivavoce.hookspecs import hookimpl
from vivavoce.provider import CAPABILITIES, Context, Interruption, ListenerInfo, SpeakerInfo, Speech
from vivavoce.testing.script import UNSET, Call, Entry, Reply, Script, Step, ramp
from vivavoce.testing.service import ScriptedService

__all__ = ["ScriptedProvider"]


class ScriptedProvider(ScriptedService):
    """A provider driven by a test. See the module for how.

    `replies` are what `answer` gives, in order, then `Reply()` each time; `transcript` is what `listen` returns;
    `capabilities` are all unless given. Recorded: `calls`, `contexts` (one a session), `heard` (the audio sent to it),
    `spoken` (the audio it sent), `tool_results` (output by call id), `voice` (of `attach`).
    """

    api: ClassVar[int] = 1
    capabilities: frozenset[str] = CAPABILITIES

    def __init__(
        self,
        script: Mapping[str, Entry | Sequence[Entry]] | None = None,
        *,
        replies: Iterable[Reply] = (),
        transcript: str = "what was heard",
        capabilities: Iterable[str] = CAPABILITIES,
    ) -> None:
        super().__init__()
        self.script = Script(script or {})
        self.replies = deque(replies)
        self.transcript = transcript
        self.capabilities = frozenset(capabilities)
        self.calls: list[Call] = []
        self.tool_results: dict[str, str] = {}
        self.voice: Any = None

    def called(self, hook: str) -> list[Call]:
        """Return the calls of `hook`, in order."""
        return [call for call in self.calls if call.hook == hook]

    # The hooks

    @hookimpl
    def attach(self, voice: Any) -> None:
        """Remember the voice."""
        self._record("attach", voice)
        self.voice = voice

    @hookimpl
    def on(self, event: str, listener: Callable[..., Any]) -> None:
        """Record the listener."""
        self._record("on", event, listener)

    @hookimpl
    def off(self, event: str, listener: Callable[..., Any]) -> None:
        """Record that the listener is gone."""
        self._record("off", event, listener)

    @hookimpl
    async def connect(self, context: Context, options: Mapping[str, Any]) -> None:
        """Begin a session: name it, and tell its settings."""
        self._disconnect()
        self.contexts.append(context)
        self._record("connect", dict(options))

        def ready() -> None:
            self._connected = True
            context.session.id = context.session.id or self._new_id("session")
            context.emit(SessionCreated(context.session.id))
            context.emit(SessionUpdated(context.session.id, config=dict(context.session.settings)))

        await self._perform("connect", context, (options,), ready)

    @hookimpl
    def send(self, context: Context, audio: bytes) -> Awaitable[None] | None:
        """Hear the audio; hold the caller back while stalled."""
        self._record("send", audio)
        step = self.script.next("send")
        if step is not None:
            return self._run(step, context, (audio,), lambda: self._hear(context, audio))
        return self._hear(context, audio)

    @hookimpl
    async def answer(self, context: Context, options: Mapping[str, Any]) -> Any:
        """Begin the next of `replies` and return its id."""
        self._record("answer", dict(options))

        def begin() -> str:
            self._check(context)
            return self._begin(self.replies.popleft() if self.replies else Reply(), context)

        return await self._perform("answer", context, (options,), begin)

    @hookimpl
    async def close(self, context: Context, reason: str) -> None:
        """End the session and its replies."""
        self._record("close", reason)
        if self.contexts and context is self.context:
            self._disconnect()
        await self._perform("close", context, (reason,), lambda: None)

    @hookimpl
    async def interrupt(self, context: Context, interruption: Interruption) -> Any:
        """End the reply, if the interruption cancels."""
        self._record("interrupt", interruption)

        def stop() -> None:
            for running in list(self._running.values()):
                if interruption.cancel and interruption.response_id in (None, running.id):
                    self._stop(running, "client_cancelled")

        return await self._perform("interrupt", context, (interruption,), stop)

    @hookimpl
    async def commit_input(self, context: Context) -> Any:
        """Make pending audio an item of the user."""
        self._record("commit_input")

        def commit() -> None:
            if self._pending_audio:
                self._pending_audio = False
                context.emit(ItemAdded(self._new_id("user"), "user", transcribed=False))

        return await self._perform("commit_input", context, (), commit)

    @hookimpl
    async def clear_input(self, context: Context) -> Any:
        """Forget pending audio."""
        self._record("clear_input")
        self._pending_audio = False
        return await self._perform("clear_input", context, (), lambda: None)

    @hookimpl
    async def send_text(self, context: Context, text: str, role: str) -> Any:
        """Record the text."""
        self._record("send_text", text, role)
        return await self._perform("send_text", context, (text, role), lambda: self._check(context))

    @hookimpl
    async def return_tool_result(self, context: Context, call_id: str, output: str) -> Any:
        """Keep the output in `tool_results`."""
        self._record("return_tool_result", call_id, output)

        def keep() -> None:
            self._check(context)
            self.tool_results[call_id] = output

        return await self._perform("return_tool_result", context, (call_id, output), keep)

    @hookimpl
    async def update_config(self, context: Context, changes: Mapping[str, Any]) -> Any:
        """Acknowledge."""
        self._record("update_config", dict(changes))

        def acknowledge() -> None:
            context.emit(SessionUpdated(context.session.id, config=dict(context.session.settings)))

        return await self._perform("update_config", context, (changes,), acknowledge)

    @hookimpl
    async def speak(
        self, context: Context, text: str | AsyncIterator[str], options: Mapping[str, Any]
    ) -> Any:
        """Speak: 100 ms a word, a word a chunk."""
        self._record("speak", text, dict(options))

        def say() -> Speech:
            return Speech(context.session.output_format, self._chunks(context, text))

        return await self._perform("speak", context, (text, options), say)

    @hookimpl
    async def listen(self, context: Context, audio: AsyncIterator[bytes], options: Mapping[str, Any]) -> Any:
        """Hear all of the audio and return `transcript`."""
        self._record("listen", dict(options))
        async for chunk in audio:
            self.heard += chunk
        return await self._perform("listen", context, (audio, options), lambda: self.transcript)

    @hookimpl
    async def get_speakers(self, context: Context) -> Any:
        """Name two voices."""
        self._record("get_speakers")
        speakers = (SpeakerInfo("alma", language="en"), SpeakerInfo("bruno", language="de"))
        return await self._perform("get_speakers", context, (), lambda: speakers)

    @hookimpl
    async def get_listener(self, context: Context) -> Any:
        """Say that speech to text is there."""
        self._record("get_listener")
        return await self._perform("get_listener", context, (), lambda: ListenerInfo(enabled=True))

    @hookimpl
    async def send_event(self, context: Context, type: str, fields: Mapping[str, Any]) -> Any:
        """Record the message."""
        self._record("send_event", type, dict(fields))
        return await self._perform("send_event", context, (type, fields), lambda: self._check(context))

    # How it works

    def _record(self, hook: str, *args: Any) -> None:
        try:
            now: float | None = asyncio.get_running_loop().time()
        except RuntimeError:
            now = None
        self.calls.append(Call(hook, args, now, len(self.contexts)))

    async def _perform(
        self, hook: str, context: Context, args: tuple[Any, ...], healthy: Callable[[], Any]
    ) -> Any:
        step = self.script.next(hook)
        return await self._run(step, context, args, healthy) if step is not None else healthy()

    async def _run(
        self, step: Step, context: Context, args: tuple[Any, ...], healthy: Callable[[], Any]
    ) -> Any:
        await asyncio.sleep(step.delay)
        for event in step.emits:
            context.emit(event)
        done = step.does(context, *args) if step.does is not None else UNSET
        result = await done if inspect.isawaitable(done) else done
        if step.loses is not None:
            self._disconnect()
            context.lost(step.loses)
        if step.hangs:
            await asyncio.Event().wait()
        if step.fails is not None:
            raise step.fails
        if step.returns is not UNSET or result is not UNSET:
            return result if step.returns is UNSET else step.returns
        result = healthy()
        return await result if inspect.isawaitable(result) else result

    async def _chunks(self, context: Context, text: str | AsyncIterator[str]) -> AsyncIterator[bytes]:
        format = context.session.output_format
        parts = _one(text) if isinstance(text, str) else text
        async for part in parts:
            for _ in part.split():
                chunk = ramp(100, format, len(self.spoken) // format.frame_bytes)
                self.spoken += chunk
                yield chunk


async def _one(text: str) -> AsyncIterator[str]:
    yield text
