"""The API as an app and a plugin author write it: checked by the type checker, never run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator, Mapping
from datetime import timedelta
from typing import Any, assert_type

import vivavoce
from vivavoce import AudioFormat, AudioStream, CompositeVoice, Context, Response, Voice, events, hookimpl


async def app() -> None:
    voice = Voice("local", instructions="Be brief.", tools=[weather])
    assert_type(voice.history, tuple[vivavoce.Item, ...])
    await voice.connect(timeout=timedelta(seconds=10), reconnect=vivavoce.ReconnectPolicy(budget_ms=5_000))

    @voice.on("writing")
    def show(event: events.Writing) -> None:
        assert_type(event.text, str)

    voice.on("speaker", play)
    voice.once("open", lambda event: None)
    voice.off("speaker", play)
    await voice.send(b"", rate=16_000)
    response = await voice.answer(text_only=True)
    assert_type(response, Response)
    assert_type(response.audio, AudioStream)
    assert_type(await response.text(), str)
    assert_type(await response.done(), events.ResponseDone)
    async for event in voice.events("turn"):
        print(event)
    stream = await voice.speak("hello", speaker="ada")
    async for chunk in stream:
        assert_type(chunk, bytes)
    assert_type(await voice.listen("question.wav"), str)
    assert_type((await voice.get_listener()).enabled, bool)
    await voice.close()


async def play(stream: AudioStream) -> None:
    await stream.pipe(NullSink())


async def composed() -> None:
    async with CompositeVoice(realtime=["openai-realtime", "local"], output=Voice("pico")) as voice:
        await voice.send_text("hello")


@vivavoce.tool
def weather(city: str, days: int = 1) -> str:
    """What the weather will be."""
    return f"{city}: fine for {days} days"


class NullSink:
    format = AudioFormat()
    played_ms = 0.0

    def write(self, audio: bytes) -> None: ...
    def flush(self) -> None: ...
    async def drain(self) -> None: ...


class Config(vivavoce.CommonConfig):
    """A provider's own config begins with the common one."""


class Provider:
    api = 1
    name = "mine"
    capabilities = frozenset({"realtime", "speak"})
    config_class = Config

    @hookimpl
    async def connect(self, context: Context, options: Mapping[str, Any]) -> None:
        context.session.id = "s1"
        context.emit(events.SessionCreated("s1"))

    @hookimpl
    def send(self, context: Context, audio: bytes) -> None:
        context.emit(events.Speaking(audio))

    @hookimpl
    async def speak(self, context: Context, text: str, options: Mapping[str, Any]) -> vivavoce.Speech:
        return vivavoce.Speech(AudioFormat(16_000), silence())

    @hookimpl
    async def close(self, context: Context, reason: str) -> None:
        context.lost(vivavoce.ConnectionLostError("gone"))


class Wrapper:
    @hookimpl(wrapper=True)
    def send(self, context: Context, audio: bytes) -> Generator[None, Any, Any]:
        return (yield)


async def silence() -> AsyncIterator[bytes]:
    yield bytes(320)
