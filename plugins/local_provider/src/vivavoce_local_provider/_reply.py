"""One reply: asks the responder, speaks its sentences, starts its tool calls, and says how it ended."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from typing import Any, Literal

import attrs
from vivavoce import AudioStream, ConfigError, Context, ProviderError, Tool, Voice
from vivavoce.audio import Converter
from vivavoce.errors import VoiceError
from vivavoce.events import ResponseCreated, ResponseDone, Speaking, ToolCallStart, Usage, Writing
from vivavoce.items import as_items

from vivavoce_local_provider._sentences import SentenceSplitter
from vivavoce_local_provider.conversation import Conversation, Responder, ToolCallRequest
from vivavoce_local_provider.dialogue import Dialogue

__all__ = ["Ask", "Reply"]

logger = logging.getLogger("vivavoce.local")

RESPONDER_DEADLINE = 120.0
"""Seconds a responder has for each thing it yields."""
SPEECH_DEADLINE = 60.0
"""Seconds a sentence has to be spoken by the output provider, which is faster than it is heard."""

Status = Literal["completed", "cancelled", "failed"]


@attrs.frozen(kw_only=True)
class Ask:
    """What `answer()` may ask for. `metadata` is taken and has no effect."""

    instructions: str | None = None
    text_only: bool = False
    tools: tuple[Tool, ...] | None = None
    tool_choice: Any = None
    input: Any = None
    metadata: Any = None
    out_of_band: bool = False

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Ask:
        """Raises `ConfigError` for an option that is not known."""
        known = [field.name for field in attrs.fields(cls)]
        for key in options:
            if key not in known:
                raise ConfigError(
                    f"unknown option {key!r} of answer(): known are {', '.join(known)}", option=key
                )
        return cls(**options)

    def offered(self, tools: tuple[Tool, ...]) -> tuple[Tool, ...]:
        """The tools a responder may call."""
        return () if self.tool_choice == "none" else (tools if self.tools is None else self.tools)

    def conversation(self, dialogue: Dialogue, instructions: str | None) -> Conversation:
        """What the reply is about."""
        instructions = self.instructions if self.instructions is not None else instructions
        if self.input is not None:
            return Conversation(as_items(self.input), instructions)
        return dialogue.view(instructions)


class Reply:
    """Run it as a task; `stop` ends it."""

    def __init__(
        self,
        id: str,
        ask: Ask,
        context: Context,
        dialogue: Dialogue,
        mouth: Voice,
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
    ) -> None:
        self.id = id
        self.ask = ask
        self.settled = asyncio.Event()  # it has begun, or will not
        self.begun = False
        self.ended = False
        self._item_id = f"item_{id}"
        self._context = context
        # A reply beside the conversation leaves no trace in it.
        self._dialogue = Dialogue() if ask.out_of_band else dialogue
        self._mouth = mouth
        self._spawn = spawn
        self._sentences: list[str] = []
        self._ms = 0.0
        self._calls = 0

    def begin(self) -> None:
        """The reply has begun."""
        self._context.emit(ResponseCreated(self.id, self.ask.out_of_band))
        self.begun = True
        self.settled.set()

    async def run(self, responder: Responder, conversation: Conversation) -> None:
        """Do it all. What goes wrong is told by events; nothing is raised but cancellation, for which see `stop`."""
        try:
            await self._respond(responder, conversation)
            self._end("completed")
        except VoiceError as failed:
            self._fail(failed, failed.code)
        except Exception as bug:
            logger.exception("the responder failed")
            text = f"the responder failed: {type(bug).__name__}: {bug}"
            self._fail(VoiceError(text, code="responder_failed"), "responder_failed")

    def stop(self, reason: str) -> None:
        """Say that the reply was cancelled, and nothing more of it. Its task is then to be cancelled."""
        self._end("cancelled", reason)

    def _fail(self, error: VoiceError, reason: str) -> None:
        if not self.ended:
            self._context.emit(error)
        self._end("failed", reason)

    def _end(self, status: Status, reason: str | None = None) -> None:
        if self.ended:
            return
        self.ended = True
        if self._sentences:
            text = " ".join(self._sentences)
            self._context.emit(Writing(text, "assistant", self._item_id, self.id, final=True))
        usage = Usage(output_seconds=self._ms / 1000, response_id=self.id)
        self._context.emit(ResponseDone(self.id, status, reason, usage))

    async def _respond(self, responder: Responder, conversation: Conversation) -> None:
        splitter = SentenceSplitter()
        tools = self.ask.offered(self._context.session.tools)
        parts = responder(conversation, tools)
        try:
            while (part := await _next(parts)) is not _END:
                await self._take(part, splitter)
        finally:
            close = getattr(parts, "aclose", None)
            if close is not None:
                await close()
        for sentence in splitter.flush():
            await self._say(sentence)

    async def _take(self, part: object, splitter: SentenceSplitter) -> None:
        if isinstance(part, str):
            for sentence in splitter.feed(part):
                await self._say(sentence)
        elif isinstance(part, ToolCallRequest):
            for sentence in splitter.flush():
                await self._say(sentence)
            self._call(part)
        else:
            raise TypeError(f"it yielded a {type(part).__name__}: yield str or ToolCallRequest")

    def _call(self, call: ToolCallRequest) -> None:
        self._calls += 1
        call_id = f"call_{self.id}_{self._calls}"
        self._dialogue.call(call_id, call.name, call.arguments)
        self._context.emit(ToolCallStart(call_id, call.name, dict(call.arguments), self.id))

    async def _say(self, sentence: str) -> None:
        self._dialogue.say(self._item_id, sentence)
        delta = f" {sentence}" if self._sentences else sentence
        self._sentences.append(sentence)
        self._context.emit(Writing(delta, "assistant", self._item_id, self.id))
        if self.ask.text_only:
            return
        try:
            async with asyncio.timeout(SPEECH_DEADLINE):
                stream = await self._mouth.speak(sentence, speaker=self._context.session.speaker)
                # In a task of its own: when this reply is stopped, somebody must still take what the engine gives.
                await asyncio.shield(self._spawn(self._speak(stream)))
        except TimeoutError:
            raise ProviderError(
                f"{self._mouth.provider} did not speak a sentence within {SPEECH_DEADLINE:g} s",
                code="timeout",
            ) from None
        if stream.end_reason == "lost":
            raise ProviderError(f"{self._mouth.provider} failed while speaking", code="speak_failed")

    async def _speak(self, stream: AudioStream) -> None:
        async for audio in _converted(stream, Converter(stream.format, self._context.session.output_format)):
            if self.ended:
                continue
            ms = self._context.session.output_format.milliseconds(len(audio))
            self._ms += ms
            self._dialogue.spoke(self._item_id, ms)
            self._context.emit(Speaking(audio, self.id, self._item_id))


_END = object()


async def _next(parts: AsyncIterator[Any]) -> Any:
    """The next thing a responder yields, or `_END`."""
    try:
        async with asyncio.timeout(RESPONDER_DEADLINE) as deadline:
            return await anext(parts, _END)
    except TimeoutError:
        if not deadline.expired():
            raise  # the responder's own
        text = f"the responder gave nothing for {RESPONDER_DEADLINE:g} s"
        raise VoiceError(text, code="responder_timeout") from None


async def _converted(stream: AudioStream, converter: Converter) -> AsyncIterator[bytes]:
    async for audio in stream:
        if converted := converter.feed(audio):
            yield converted
    if tail := converter.flush():
        yield tail
