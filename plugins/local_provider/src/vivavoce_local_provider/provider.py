"""The `local` provider: speech to speech offline, made of a provider that listens, a responder, and one that speaks."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from typing import Any, ClassVar

import attrs
from vivavoce import (
    AudioFormat,
    AudioStream,
    Context,
    Interruption,
    ListenerInfo,
    ProviderError,
    SpeakerInfo,
    Speech,
    Voice,
    hookimpl,
)
from vivavoce.errors import NotConnectedError, VoiceError
from vivavoce.events import SessionCreated, SessionUpdated

from vivavoce_local_provider._talk import INPUT_RATE, Talk
from vivavoce_local_provider.config import LocalConfig
from vivavoce_local_provider.conversation import find_responder

__all__ = ["LocalProvider"]


class LocalProvider:
    """Voice activity, `input`, `responder`, `output`. The parts are voices of their own, and are closed with this one."""

    api: ClassVar[int] = 1
    name: ClassVar[str] = "local"
    capabilities: ClassVar[frozenset[str]] = frozenset(
        [
            "realtime",
            "turns",
            "vad",
            "interrupt",
            "truncate",
            "tools",
            "transcripts",
            "text",
            "speak",
            "listen",
            "replay",
        ]
    )
    config_class: ClassVar[type] = LocalConfig
    input_format: ClassVar[AudioFormat] = AudioFormat(INPUT_RATE)
    output_format: ClassVar[AudioFormat] = AudioFormat(16_000)

    def __init__(self) -> None:
        self._parts: tuple[Voice, Voice] | None = None
        self._context: Context | None = None
        self._talk: Talk | None = None

    def _voices(self, context: Context) -> tuple[Voice, Voice]:
        """The voices that listen and speak; their errors are told as this one's."""
        self._context = context
        if self._parts is None:
            self._parts = (context.config.ears(), context.config.mouth())
            for part in self._parts:
                part.on("error", self._tell)
        return self._parts

    def _tell(self, error: VoiceError) -> None:
        if self._context is not None:
            self._context.emit(error)

    @hookimpl
    async def connect(self, context: Context, options: Mapping[str, Any]) -> None:
        """Load the engines and begin the conversation, with the history that is there."""
        ears, mouth = self._voices(context)
        responder = find_responder(context.config.responder, context.config)
        # Asking what they can do loads their engines: the first turn does not wait for it.
        loaded = await asyncio.gather(ears.get_listener(), mouth.get_speakers(), return_exceptions=True)
        for failed in loaded:
            if isinstance(failed, BaseException):
                raise failed
        session = context.session
        session.id = f"local_{secrets.token_hex(8)}"
        session.output_format = mouth.output_format
        self._talk = Talk(context, ears, mouth, responder)
        context.emit(SessionCreated(session.id, config=_shown(context)))

    @hookimpl
    def send(self, context: Context, audio: bytes) -> Awaitable[None]:
        """Hear audio."""
        return self._open().send(audio)

    @hookimpl
    async def answer(self, context: Context, options: Mapping[str, Any]) -> str:
        """Begin a reply to what was said."""
        return await self._open().answer(options)

    @hookimpl
    async def close(self, context: Context, reason: str) -> None:
        """End the conversation and the engines."""
        talk, self._talk = self._talk, None
        parts, self._parts = self._parts, None
        if talk is not None:
            await talk.close()
        for part in parts or ():
            part.off("error", self._tell)
            await part.close()

    @hookimpl
    async def interrupt(self, context: Context, interruption: Interruption) -> None:
        """Stop the reply, and remember only what was heard."""
        await self._open().interrupt(interruption)

    @hookimpl
    def commit_input(self, context: Context) -> None:
        """End the user's turn."""
        self._open().commit()

    @hookimpl
    def clear_input(self, context: Context) -> None:
        """Forget the user's turn that was begun."""
        self._open().clear()

    @hookimpl
    def send_text(self, context: Context, text: str, role: str) -> None:
        """Add a message."""
        self._open().add_text(text, role)

    @hookimpl
    def return_tool_result(self, context: Context, call_id: str, output: str) -> None:
        """Add a tool's output; the reply that tells it is asked for by the core."""
        self._open().add_result(call_id, output)

    @hookimpl
    def update_config(self, context: Context, changes: Mapping[str, Any]) -> None:
        """Apply new settings; `instructions`, `tools` and `speaker` hold from the next reply on."""
        self._open().configure(context.session.settings)
        context.emit(SessionUpdated(context.session.id, config=_shown(context)))

    @hookimpl
    async def speak(
        self, context: Context, text: str | AsyncIterator[str], options: Mapping[str, Any]
    ) -> Speech:
        """Speak by the output provider."""
        mouth = self._voices(context)[1]
        stream = await mouth.speak(text, **options)
        return Speech(stream.format, _chunks(stream, mouth.provider))

    @hookimpl
    async def listen(self, context: Context, audio: AsyncIterator[bytes], options: Mapping[str, Any]) -> str:
        """Listen by the input provider."""
        return await self._voices(context)[0].listen(audio, rate=INPUT_RATE, **options)

    @hookimpl
    async def get_speakers(self, context: Context) -> Sequence[SpeakerInfo]:
        """Name the output provider's voices."""
        return await self._voices(context)[1].get_speakers()

    @hookimpl
    async def get_listener(self, context: Context) -> ListenerInfo:
        """Tell of the input provider."""
        return await self._voices(context)[0].get_listener()

    def _open(self) -> Talk:
        if self._talk is None:
            raise NotConnectedError("the session is over", code="closed", provider=self.name)
        return self._talk


def _shown(context: Context) -> dict[str, Any]:
    """The session's settings, as events tell them."""
    return attrs.asdict(context.config.turn_settings.changed(context.session.settings))


async def _chunks(stream: AudioStream, provider: str) -> AsyncIterator[bytes]:
    async for audio in stream:
        yield audio
    if stream.end_reason == "lost":
        raise ProviderError(f"{provider} failed while speaking", code="speak_failed", provider=provider)
