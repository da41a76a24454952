"""Every hook reaches the plugin that implements it, with the arguments of its spec, in their order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from vivavoce import ListenerInfo, SpeakerInfo, Voice, events, hookimpl
from vivavoce.items import Interruption

pytestmark = pytest.mark.virtual_clock
FRAME = bytes(960)


class Everything:
    """Implements every hook, and writes down what it was called with."""

    api = 1
    name = "everything"
    capabilities = frozenset(
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

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.context: Any = None

    @hookimpl
    async def connect(self, context: Any, options: Any) -> None:
        self.context = context
        self.calls.append(("connect", context.session.generation, dict(options)))

    @hookimpl
    def send(self, context: Any, audio: bytes) -> None:
        self.calls.append(("send", audio))

    @hookimpl
    async def answer(self, context: Any, options: Any) -> str:
        self.calls.append(("answer", dict(options)))
        context.emit(events.ResponseCreated("r1"))
        return "r1"

    @hookimpl
    async def close(self, context: Any, reason: str) -> None:
        self.calls.append(("close", reason))

    @hookimpl
    def on(self, event: str, listener: Any) -> None:
        self.calls.append(("on", event, listener))

    @hookimpl
    def off(self, event: str, listener: Any) -> None:
        self.calls.append(("off", event, listener))

    @hookimpl
    async def interrupt(self, context: Any, interruption: Interruption) -> None:
        self.calls.append(("interrupt", interruption))

    @hookimpl
    async def commit_input(self, context: Any) -> None:
        self.calls.append(("commit_input",))

    @hookimpl
    def clear_input(self, context: Any) -> None:
        self.calls.append(("clear_input",))

    @hookimpl
    def send_text(self, context: Any, text: str, role: str) -> None:
        self.calls.append(("send_text", text, role))

    @hookimpl
    async def return_tool_result(self, context: Any, call_id: str, output: str) -> None:
        self.calls.append(("return_tool_result", call_id, output))

    @hookimpl
    def update_config(self, context: Any, changes: Any) -> None:
        self.calls.append(("update_config", dict(changes)))

    @hookimpl
    async def speak(self, context: Any, text: str, options: Any) -> bytes:
        self.calls.append(("speak", text, dict(options)))
        return FRAME

    @hookimpl
    async def listen(self, context: Any, audio: AsyncIterator[bytes], options: Any) -> str:
        heard = b"".join([chunk async for chunk in audio])
        self.calls.append(("listen", heard, dict(options)))
        return "heard"

    @hookimpl
    def get_speakers(self, context: Any) -> list[SpeakerInfo]:
        self.calls.append(("get_speakers",))
        return [SpeakerInfo("ada")]

    @hookimpl
    def get_listener(self, context: Any) -> ListenerInfo:
        self.calls.append(("get_listener",))
        return ListenerInfo(enabled=True, model="m")

    @hookimpl
    def send_event(self, context: Any, type: str, fields: Any) -> None:
        self.calls.append(("send_event", type, dict(fields)))

    @hookimpl
    def attach(self, voice: Voice) -> None:
        self.calls.append(("attach", voice))


@pytest.fixture
def provider() -> Everything:
    return Everything()


@pytest.fixture
async def voice(provider: Everything) -> AsyncIterator[Voice]:
    voice = Voice(provider)
    provider.calls.clear()
    await voice.connect()
    yield voice
    await voice.close()


async def test_hook_connect(voice: Voice, provider: Everything) -> None:
    """`connect` gets the context of the new session and the options."""
    assert provider.calls == [("connect", 1, {})]


async def test_hook_send(voice: Voice, provider: Everything) -> None:
    """`send` gets the audio as it is."""
    await voice.send(FRAME)
    assert provider.calls[-1] == ("send", FRAME)


async def test_hook_answer(voice: Voice, provider: Everything) -> None:
    """`answer` gets the options, and what it returns is the reply's id."""
    assert (await voice.answer(instructions="brief")).id == "r1"
    assert provider.calls[-1] == ("answer", {"instructions": "brief"})


async def test_hook_close(voice: Voice, provider: Everything) -> None:
    """`close` gets the reason."""
    await voice.close()
    assert provider.calls[-1] == ("close", "closed")


async def test_hook_on(voice: Voice, provider: Everything) -> None:
    """`on` hears who listens to what."""
    listener = voice.on("turn", lambda event: None)
    assert provider.calls[-1] == ("on", "turn", listener)


async def test_hook_off(voice: Voice, provider: Everything) -> None:
    """`off` hears who listens no more."""
    listener = voice.on("turn", lambda event: None)
    voice.off("turn", listener)
    assert provider.calls[-1] == ("off", "turn", listener)


async def test_hook_interrupt(voice: Voice, provider: Everything) -> None:
    """`interrupt` gets what to stop."""
    await voice.answer()
    await voice.interrupt()
    assert provider.calls[-1] == ("interrupt", Interruption("r1", True, ()))


async def test_hook_commit_input(voice: Voice, provider: Everything) -> None:
    """`commit_input` is called with the context alone."""
    await voice.commit_input()
    assert provider.calls[-1] == ("commit_input",)


async def test_hook_clear_input(voice: Voice, provider: Everything) -> None:
    """`clear_input` is called with the context alone."""
    await voice.clear_input()
    assert provider.calls[-1] == ("clear_input",)


async def test_hook_send_text(voice: Voice, provider: Everything) -> None:
    """`send_text` gets the text and who says it."""
    await voice.send_text("hello", role="system")
    assert provider.calls[-1] == ("send_text", "hello", "system")


async def test_hook_return_tool_result(voice: Voice, provider: Everything) -> None:
    """`return_tool_result` gets the one output of a call."""
    provider.context.emit(events.ToolCallStart("c1", "nowhere", "{}"))
    await asyncio.sleep(1)
    assert ("return_tool_result", "c1") in [call[:2] for call in provider.calls]


async def test_hook_update_config(voice: Voice, provider: Everything) -> None:
    """`update_config` gets what changed."""
    await voice.update_config(speaker="ada", speed=2)
    assert provider.calls[-1] == ("update_config", {"speaker": "ada", "session": {"speed": 2}})


async def test_hook_speak(voice: Voice, provider: Everything) -> None:
    """`speak` gets the text and the speaker, and what it returns is the stream."""
    stream = await voice.speak("hello", speaker="ada")
    assert b"".join([chunk async for chunk in stream]) == FRAME
    assert provider.calls[-1] == ("speak", "hello", {"speaker": "ada"})


async def test_hook_listen(voice: Voice, provider: Everything) -> None:
    """`listen` gets the audio as chunks."""
    assert await voice.listen(FRAME) == "heard"
    assert provider.calls[-1] == ("listen", FRAME, {})


async def test_hook_get_speakers(voice: Voice, provider: Everything) -> None:
    """`get_speakers` gives the voices."""
    assert await voice.get_speakers() == [SpeakerInfo("ada")]


async def test_hook_get_listener(voice: Voice, provider: Everything) -> None:
    """`get_listener` tells whether speech to text is there."""
    assert await voice.get_listener() == ListenerInfo(enabled=True, model="m")


async def test_hook_send_event(voice: Voice, provider: Everything) -> None:
    """`send_event` gets the service's own message."""
    await voice.send_event("custom.thing", value=1)
    assert provider.calls[-1] == ("send_event", "custom.thing", {"value": 1})


async def test_hook_attach(provider: Everything) -> None:
    """`attach` is called once, at construction, with the voice."""
    voice = Voice(provider)
    assert provider.calls == [("attach", voice)]
