"""The hooks of `local`, called without a core, over parts that note what is asked of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import attrs
import pytest
from vivavoce import AudioFormat, ListenerInfo, ProviderError, SpeakerInfo, VoiceError
from vivavoce.errors import NotConnectedError
from vivavoce.events import SessionCreated, SessionUpdated
from vivavoce.testing import RecordingContext
from vivavoce_local_provider import _talk
from vivavoce_local_provider.config import LocalConfig
from vivavoce_local_provider.provider import LocalProvider

pytestmark = [pytest.mark.virtual_clock, pytest.mark.usefixtures("no_leaks")]

MOUTH = AudioFormat(22_050)


class Stream:
    """What a mouth gives: two pieces, then its end."""

    format = MOUTH

    def __init__(self, end_reason: str) -> None:
        self.end_reason = end_reason

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"\1\0"
        yield b"\2\0"


class Part:
    """Ears and mouth in one."""

    provider = "part"
    output_format = MOUTH

    def __init__(self) -> None:
        self.listeners: list[tuple[str, Callable[[Any], None]]] = []
        self.asked: list[tuple[Any, ...]] = []
        self.delay = 0.0
        self.fails: Exception | None = None
        self.loaded = 0
        self.closed = 0
        self.end_reason = "completed"

    def on(self, event: str, listener: Callable[[Any], None]) -> None:
        self.listeners.append((event, listener))

    def off(self, event: str, listener: Callable[[Any], None]) -> None:
        self.listeners.remove((event, listener))

    async def _load(self) -> None:
        await asyncio.sleep(self.delay)
        if self.fails is not None:
            raise self.fails
        self.loaded += 1

    async def get_listener(self) -> ListenerInfo:
        await self._load()
        return ListenerInfo(enabled=True)

    async def get_speakers(self) -> list[SpeakerInfo]:
        await self._load()
        return [SpeakerInfo("one")]

    async def speak(self, text: Any, **options: Any) -> Any:
        self.asked.append(("speak", text, options))
        return Stream(self.end_reason)

    async def listen(self, audio: Any, **options: Any) -> str:
        self.asked.append(("listen", audio, options))
        return "words"

    async def close(self) -> None:
        self.closed += 1


@attrs.frozen(kw_only=True)
class Config(LocalConfig):
    """Gives the test's parts, new ones whenever it is asked."""

    made: list[Part] = attrs.field(factory=list)
    prepare: Callable[[Part], None] = attrs.field(default=lambda part: None)

    def ears(self) -> Any:
        self.made.append(Part())
        self.prepare(self.made[-1])
        return self.made[-1]

    mouth = ears


@pytest.fixture(autouse=True)
def detector(monkeypatch: pytest.MonkeyPatch) -> None:
    """Speech is what is not silent."""
    monkeypatch.setattr(_talk, "load_detector", lambda: lambda frame: float(any(frame)))


def context_for(**config: Any) -> RecordingContext:
    return RecordingContext(Config(responder="echo", **config))


async def test_connect_loads_both_parts_and_tells_the_session() -> None:
    """The engines are there before the session is, which has the mouth's format and its settings."""
    provider, context = LocalProvider(), context_for()
    await provider.connect(context, {})
    assert [part.loaded for part in context.config.made] == [1, 1]
    (created,) = context.of(SessionCreated)
    assert created.id == context.session.id
    assert created.id.startswith("local_")
    assert created.config is not None
    assert created.config["silence_ms"] == 500
    assert context.session.output_format == MOUTH
    provider.update_config(context, {})
    assert context.of(SessionUpdated)[0].config == created.config
    await provider.close(context, "closed")


async def test_failing_part_is_told_when_both_have_ended() -> None:
    """No engine is left loading behind a connect that failed."""
    parts: list[Part] = []

    def prepare(part: Part) -> None:
        parts.append(part)
        part.fails, part.delay = (RuntimeError("no engine"), 0.0) if len(parts) == 1 else (None, 3.0)

    provider, context = LocalProvider(), context_for(prepare=prepare)
    with pytest.raises(RuntimeError, match="no engine"):
        await provider.connect(context, {})
    assert parts[1].loaded == 1
    assert context.events == []
    await provider.close(context, "connect failed")
    assert [part.closed for part in parts] == [1, 1]


async def test_errors_of_the_parts_are_told() -> None:
    """As those of this provider, in its session; after the close nobody listens to them."""
    provider, context = LocalProvider(), context_for()
    await provider.connect(context, {})
    for number, part in enumerate(context.config.made):
        ((event, listener),) = part.listeners
        assert event == "error"
        listener(VoiceError(f"trouble {number}"))
    assert [str(error) for error in context.of(VoiceError)] == ["trouble 0", "trouble 1"]
    await provider.close(context, "closed")
    assert [(part.listeners, part.closed) for part in context.config.made] == [([], 1), ([], 1)]


async def test_close_is_the_end_of_parts_and_conversation() -> None:
    """Once, and also of a session that never began; what comes later has parts of its own."""
    provider, context = LocalProvider(), context_for()
    await provider.close(context, "closed")
    await provider.connect(context, {})
    await provider.close(context, "closed")
    await provider.close(context, "closed")
    assert [part.closed for part in context.config.made] == [1, 1]
    for hook in (provider.commit_input, provider.clear_input):
        with pytest.raises(NotConnectedError, match="the session is over"):
            hook(context)
    assert (await provider.get_listener(context)).enabled
    assert len(context.config.made) == 4
    await provider.close(context, "closed")
    assert [part.closed for part in context.config.made] == [1, 1, 1, 1]


async def test_close_ends_a_reply() -> None:
    """A responder that thinks for ever is not left behind."""

    async def thinking(conversation: Any, tools: Any) -> AsyncIterator[str]:
        yield "Well. "
        await asyncio.sleep(3600)

    provider, context = LocalProvider(), RecordingContext(Config(responder=thinking))
    await provider.connect(context, {})
    provider.send_text(context, "Hello", "user")
    before = asyncio.all_tasks()
    await provider.answer(context, {})
    await asyncio.sleep(1)
    assert asyncio.all_tasks() > before
    await provider.close(context, "closed")
    await asyncio.sleep(0)
    assert {task for task in asyncio.all_tasks() if not task.done()} <= before


async def test_speaking_and_listening_are_handed_over() -> None:
    """With their options, and with the rate of what comes in."""
    provider, context = LocalProvider(), context_for()
    speech = await provider.speak(context, "Hello", {"speaker": "one"})
    assert (speech.format, [chunk async for chunk in speech.chunks]) == (MOUTH, [b"\1\0", b"\2\0"])
    heard = object()
    assert await provider.listen(context, heard, {"phrases": ["a"]}) == "words"  # type: ignore[arg-type]
    ears, mouth = context.config.made
    assert mouth.asked == [("speak", "Hello", {"speaker": "one"})]
    assert ears.asked == [("listen", heard, {"rate": 16_000, "phrases": ["a"]})]
    await provider.close(context, "closed")


async def test_mouth_that_fails_while_it_speaks() -> None:
    """What came is passed on, then the loss is an error."""

    def prepare(part: Part) -> None:
        part.end_reason = "lost"

    provider, context = LocalProvider(), context_for(prepare=prepare)
    speech = await provider.speak(context, "Hello", {})
    heard: list[bytes] = []

    async def read() -> None:
        async for chunk in speech.chunks:
            heard.append(chunk)

    with pytest.raises(ProviderError, match="part failed while speaking"):
        await read()
    assert heard == [b"\1\0", b"\2\0"]
    await provider.close(context, "closed")
