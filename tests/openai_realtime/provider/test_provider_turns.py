"""Turns: spoken, written, asked for by hand, beside the conversation; and what the app hears of them."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from openai_realtime.provider.service import PCM_20_MS, Heard, Line, Service, speak
from vivavoce import Voice
from vivavoce.errors import ConfigError, ProviderError
from vivavoce.events import Usage
from vivavoce.items import Item

pytestmark = [pytest.mark.virtual_clock, pytest.mark.usefixtures("no_leaks")]

MANUAL = {"audio": {"input": {"turn_detection": None}}}
SYSTEM = {"type": "message", "role": "system", "content": [{"type": "input_text", "text": "It is late."}]}
USAGE = {
    "total_tokens": 253,
    "input_tokens": 132,
    "output_tokens": 121,
    "input_token_details": {
        "text_tokens": 119,
        "audio_tokens": 13,
        "image_tokens": 0,
        "cached_tokens": 64,
        "cached_tokens_details": {"text_tokens": 64, "audio_tokens": 0, "image_tokens": 0},
    },
    "output_token_details": {"text_tokens": 30, "audio_tokens": 91},
}


async def connected(service: Service, **config: Any) -> tuple[Voice, Heard, Line]:
    voice, heard = service.voice(**config)
    voice.on("speaking", lambda event: None)  # an app that plays what it is pushed
    await voice.connect()
    return voice, heard, service.lines[-1]


def texts(heard: Heard) -> list[tuple[str, str, bool]]:
    return [(turn.role, turn.text, turn.interrupted) for turn in heard.all("turn")]


async def test_spoken_turn() -> None:
    """The order of OpenAI: speech, commit, reply with transcript, the user's own words at last."""
    async with Service() as service:
        voice, heard, line = await connected(service)
        for _ in range(5):
            await voice.send(PCM_20_MS)
        await line.until("input_audio_buffer.append", 5)
        user = line.protocol.speech_started(0)
        line.protocol.speech_stopped(100, user)
        line.protocol.commit(user)
        line.protocol.begin_response()
        line.protocol.text("Good ")
        line.protocol.audio(PCM_20_MS)
        line.protocol.text("morning.")
        line.protocol.audio(PCM_20_MS)
        line.protocol.finish_response(usage=USAGE)
        line.protocol.transcription_delta(user, "Hel")
        line.protocol.transcription_completed(user, "Hello!")
        await line.flush()
        await heard.until("turn", 2)
        assert heard.names() == [
            "session.created",
            "session.updated",
            "open",
            "speech.started",
            "speech.stopped",
            "response.created",
            "writing",
            "speaker",
            "speaking",
            "writing",
            "speaking",
            "writing",
            "speaking.done",
            "usage",
            "response.done",
            "writing",
            "turn",
            "usage",
            "turn",
        ]
        assert texts(heard) == [("user", "Hello!", False), ("assistant", "Good morning.", False)]
        written = [(event.text, event.role, event.final) for event in heard.all("writing")]
        assert written == [
            ("Good ", "assistant", False),
            ("morning.", "assistant", False),
            ("Good morning.", "assistant", True),
            ("Hel", "user", False),
            ("Hello!", "user", True),
        ]
        assert [(e.item_id, e.at_ms) for e in heard.all("speech.started")] == [(user, 0)]
        assert [(e.item_id, e.at_ms) for e in heard.all("speech.stopped")] == [(user, 100)]
        (done,) = heard.all("response.done")
        assert (done.status, done.reason) == ("completed", None)
        assert heard.all("usage")[0] == Usage(
            input_text_tokens=119,
            input_audio_tokens=13,
            cached_text_tokens=64,
            output_text_tokens=30,
            output_audio_tokens=91,
            response_id=done.id,
        )
        assert (voice.usage.total_tokens, voice.usage.cached_tokens) == (253, 64)
        assert [(item.role, item.text) for item in voice.history] == [
            ("user", "Hello!"),
            ("assistant", "Good morning."),
        ]


def clone_orders() -> dict[str, list[str]]:
    """One spoken turn as several services send it; the ids are those of the fields."""
    user = {"id": "u", "type": "message", "role": "user", "content": [{"type": "input_audio"}]}
    empty = {"id": "a", "type": "message", "role": "assistant", "status": "in_progress", "content": []}
    full = {**empty, "status": "completed", "content": [{"type": "output_audio", "transcript": "Yes."}]}
    place = {"response_id": "r", "item_id": "a", "output_index": 0, "content_index": 0}
    begun = {"id": "r", "status": "in_progress", "output": []}
    ended = {"id": "r", "status": "completed", "output": [full]}
    event = {
        "started": ("input_audio_buffer.speech_started", {"audio_start_ms": 0, "item_id": "u"}),
        "stopped": ("input_audio_buffer.speech_stopped", {"audio_end_ms": 100, "item_id": "u"}),
        "committed": ("input_audio_buffer.committed", {"item_id": "u", "previous_item_id": None}),
        "user added": ("conversation.item.added", {"item": user, "previous_item_id": None}),
        "user created": ("conversation.item.created", {"item": user}),
        "user done": ("conversation.item.done", {"item": user}),
        "begun": ("response.created", {"response": begun}),
        "output added": (
            "response.output_item.added",
            {"response_id": "r", "output_index": 0, "item": empty},
        ),
        "added": ("conversation.item.added", {"item": empty, "previous_item_id": "u"}),
        "audio": ("response.output_audio.delta", {**place, "delta": "AAAA"}),
        "old audio": ("response.audio.delta", {**place, "delta": "AAAA"}),
        "text": ("response.output_audio_transcript.delta", {**place, "delta": "Yes."}),
        "old text": ("response.audio_transcript.delta", {**place, "delta": "Yes."}),
        "audio done": ("response.output_audio.done", place),
        "text done": ("response.output_audio_transcript.done", {**place, "transcript": "Yes."}),
        "output done": ("response.output_item.done", {"response_id": "r", "output_index": 0, "item": full}),
        "done": ("conversation.item.done", {"item": full, "previous_item_id": "u"}),
        "ended": ("response.done", {"response": ended}),
        "ended bare": ("response.done", {"response": {"id": "r", "status": "completed"}}),
        "words": (
            "conversation.item.input_audio_transcription.completed",
            {"item_id": "u", "content_index": 0, "transcript": "Really?"},
        ),
    }
    frames = {name: json.dumps({"type": type, **fields}) for name, (type, fields) in event.items()}
    orders = {
        "openai": "started stopped committed|user added|user done|begun|output added|added|text audio|audio done|"
        "text done|done|output done|ended|words",
        "output_item.done first": "started stopped committed|user added|begun|output added|text audio|text done|"
        "output done|done|ended|words",
        "no ends at all": "started stopped committed|begun|audio text|ended bare|words",
        "words before the reply": "started stopped committed|user added|words|begun|output added|added|audio text|"
        "text done|ended",
        "words amid the reply": "started stopped committed|begun|audio text|words|text done|ended",
        "reply before the commit": "started stopped|begun|audio text|committed|user added|ended|words",
        "beta": "started stopped committed|user created|begun|output added|old text|old audio|ended|words",
        "nothing announced": "started stopped committed|audio text|ended bare|words",
    }
    return {
        name: [frames[step] for part in order.split("|") for step in _steps(part, frames)]
        for name, order in orders.items()
    }


def _steps(part: str, frames: dict[str, str]) -> list[str]:
    return [part] if part in frames else part.split()


ORDERS = clone_orders()


@pytest.mark.parametrize("order", ORDERS)
async def test_orders_of_other_services(order: str) -> None:
    """Whatever comes in whichever order: one reply, its audio once, and the turns of the conversation in its order."""
    async with Service() as service:
        voice, heard, line = await connected(service)
        for frame in ORDERS[order]:
            await line.peer.send(frame)
        await heard.until("turn", 2)
        wanted = [("user", "Really?", False), ("assistant", "Yes.", False)]
        assert texts(heard) == wanted or order == "reply before the commit"
        assert sorted(texts(heard)) == sorted(wanted)
        counts = {n: len(heard.all(n)) for n in ("response.created", "speaker", "speaking", "response.done")}
        assert counts == {"response.created": 1, "speaker": 1, "speaking": 1, "response.done": 1}
        assert heard.all("speaker")[0].end_reason == "completed"
        assert heard.all("error") == []
        assert voice.state == "open"


async def test_transcripts_that_come_late() -> None:
    """Turns are told in conversation order, also when the transcripts come in another."""
    async with Service() as service:
        _, heard, line = await connected(service)
        items = []
        for text in ("First answer.", "Second answer."):
            line.protocol.buffered = 4_800
            items.append(line.protocol.commit())
            speak(line, text)
        line.protocol.transcription_completed(items[1], "Second question?")
        line.protocol.transcription_completed(items[0], "First question?")
        await line.flush()
        await heard.until("turn", 4)
        assert [text for _, text, _ in texts(heard)] == [
            "First question?",
            "First answer.",
            "Second question?",
            "Second answer.",
        ]


async def test_transcript_that_never_comes() -> None:
    """The turns behind it go on after ten seconds."""
    async with Service() as service:
        _, heard, line = await connected(service)
        line.protocol.commit()
        speak(line, "An answer.")
        await line.flush()
        await heard.until("turn")
        assert asyncio.get_running_loop().time() == pytest.approx(10, abs=0.2)
        assert texts(heard) == [("assistant", "An answer.", False)]


async def test_user_who_says_nothing() -> None:
    """After an idle timeout the service speaks by itself: its turn does not wait for words that nobody said."""
    async with Service() as service:
        _, heard, line = await connected(service)
        line.protocol.timeout_triggered(0, 6_000, "item_silence")
        line.protocol.commit("item_silence")
        speak(line, "Are you still there?")
        await line.flush()
        await heard.until("turn")
        assert asyncio.get_running_loop().time() < 1
        assert texts(heard) == [("assistant", "Are you still there?", False)]


async def test_transcript_that_fails() -> None:
    """A failed transcript is an `error`, and holds nobody back."""
    async with Service() as service:
        _, heard, line = await connected(service)
        user = line.protocol.commit()
        line.protocol.transcription_failed(user, "Audio too short", "audio_too_short")
        speak(line, "An answer.")
        await line.flush()
        await heard.until("turn")
        assert asyncio.get_running_loop().time() < 1
        assert [(type(e), e.code, str(e)) for e in heard.all("error")] == [
            (ProviderError, "audio_too_short", "Audio too short")
        ]


async def test_usage_of_a_transcript() -> None:
    """Transcription is counted too: in tokens or in seconds."""
    async with Service() as service:
        voice, heard, line = await connected(service)
        line.protocol.transcription_completed(
            line.protocol.commit(), "One", {"type": "duration", "seconds": 1.5}
        )
        tokens = {
            "type": "tokens",
            "total_tokens": 12,
            "input_tokens": 9,
            "output_tokens": 3,
            "input_token_details": {"text_tokens": 2, "audio_tokens": 7},
        }
        line.protocol.transcription_completed(line.protocol.commit(), "Two", tokens)
        await line.flush()
        await heard.until("usage", 2)
        assert voice.usage == Usage(
            input_seconds=1.5, input_text_tokens=2, input_audio_tokens=7, output_text_tokens=3
        )


async def test_written_turn() -> None:
    """`send_text` is acknowledged; `answer` gives the reply that answers it."""
    async with Service(replies=("Hello you",)) as service:
        voice, heard, line = await connected(service)
        await voice.send_text("Hi")
        await voice.send_text("Be kind.", role="system")
        await voice.send_text("I was.", role="assistant")
        reply = await voice.answer()
        assert await reply.text() == "Hello you"
        assert (await reply.done()).status == "completed"
        assert [
            (event["item"]["role"], event["item"]["content"])
            for event in line.sent("conversation.item.create")
        ] == [
            ("user", [{"type": "input_text", "text": "Hi"}]),
            ("system", [{"type": "input_text", "text": "Be kind."}]),
            ("assistant", [{"type": "output_text", "text": "I was."}]),
        ]
        assert reply.audio is heard.all("speaker")[0]
        await heard.until("turn", 4)
        assert [text for _, text, _ in texts(heard)] == ["Hi", "Be kind.", "I was.", "Hello you"]


async def test_item_that_is_refused() -> None:
    """A text that the service refuses is the error of that call."""
    async with Service() as service:
        voice, heard, line = await connected(service)
        line.deaf.add("conversation.item.create")
        task = asyncio.ensure_future(voice.send_text("Hi"))
        event = await line.until("conversation.item.create")
        detail = {
            "type": "invalid_request_error",
            "code": "content_policy",
            "message": "Not this.",
            "param": None,
            "event_id": event["event_id"],
        }
        await line.say("error", error=detail)
        with pytest.raises(ProviderError) as caught:
            await task
        assert (caught.value.code, caught.value.event_id) == ("content_policy", event["event_id"])
        assert heard.all("error") == heard.all("turn") == []


async def test_manual_turn() -> None:
    """Without turn detection `answer()` commits what was said first."""
    async with Service(replies=("Heard.",)) as service:
        voice, _, line = await connected(service, session=MANUAL)
        for _ in range(10):
            await voice.send(PCM_20_MS)
        await voice.send(PCM_20_MS[:100])
        reply = await voice.answer()
        assert await reply.text() == "Heard."
        assert line.types() == [
            "session.update",
            "input_audio_buffer.append",
            "input_audio_buffer.commit",
            "response.create",
        ]
        assert sum(map(len, line.appends)) == 9_700
        service.replies.append("Again.")
        await (await voice.answer()).done()
        assert len(line.sent("input_audio_buffer.commit")) == 1


async def test_commit_and_clear_by_hand() -> None:
    """`commit_input` and `clear_input` are acknowledged, or refused with the service's words."""
    async with Service() as service:
        voice, _, line = await connected(service, session=MANUAL)
        for _ in range(5):
            await voice.send(PCM_20_MS)
        await voice.commit_input()
        await voice.send(PCM_20_MS)
        await voice.clear_input()
        with pytest.raises(ProviderError) as caught:
            await voice.commit_input()
        assert caught.value.code == "input_audio_buffer_commit_empty"
        assert line.types()[1:] == [
            "input_audio_buffer.append",
            "input_audio_buffer.commit",
            "input_audio_buffer.append",
            "input_audio_buffer.clear",
            "input_audio_buffer.commit",
        ]


async def test_options_of_a_reply() -> None:
    """The common options and the service's own reach `response.create` in GA's shape."""
    async with Service(replies=("Written",)) as service:
        voice, heard, line = await connected(service)
        reply = await voice.answer(
            instructions="In one word.",
            text_only=True,
            tool_choice="weather",
            metadata={"purpose": "test"},
            input=[
                Item(role="user", text="Hi"),
                Item(role="user", text=""),
                SYSTEM,
            ],
            tools=[],
            max_output_tokens=50,
        )
        assert await reply.text() == "Written"
        (event,) = line.sent("response.create")
        assert event["response"] == {
            "instructions": "In one word.",
            "output_modalities": ["text"],
            "tool_choice": {"type": "function", "name": "weather"},
            "metadata": {"purpose": "test", "client_event_id": event["event_id"]},
            "input": [
                {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
                SYSTEM,
            ],
            "tools": [],
            "max_output_tokens": 50,
        }
        assert heard.all("speaker") == heard.all("speaking") == []
        assert [event.text for event in heard.all("writing")] == ["Written", "Written"]


async def test_text_only_session() -> None:
    """A session that only writes."""
    async with Service(replies=("Written",)) as service:
        voice, heard, _ = await connected(service, session={"output_modalities": ["text"]})
        assert await (await voice.answer()).text() == "Written"
        assert (await heard.until("turn")).text == "Written"
        assert heard.all("speaker") == []


@pytest.mark.parametrize(
    ("options", "option", "hint"),
    [
        ({"instruction": "x"}, "instruction", "did you mean 'instructions'?"),
        ({"metadata": {"a": object()}}, None, "JSON"),
        ({"tools": [7]}, "tools", ""),
        ({"input": ["Hello"]}, "input", "give Items"),
    ],
)
async def test_bad_options_of_a_reply(options: dict[str, Any], option: str | None, hint: str) -> None:
    """A wrong option is a `ConfigError` before anything is sent."""
    async with Service() as service:
        voice, _, line = await connected(service)
        with pytest.raises(ConfigError) as caught:
            await voice.answer(**options)
        assert caught.value.option == option
        assert hint in str(caught.value)
        assert line.sent("response.create") == []
        service.replies.append("Fine")
        assert await (await voice.answer()).text() == "Fine"


async def test_reply_that_is_refused() -> None:
    """`answer()` raises what the service refused it with."""
    async with Service() as service:
        voice, heard, line = await connected(service)
        with pytest.raises(ProviderError) as caught:
            await voice.answer(max_output_tokens=-5)
        assert caught.value.code == "invalid_value"
        assert caught.value.event_id == line.sent("response.create")[0]["event_id"]
        assert heard.all("error") == []


async def test_reply_that_fails() -> None:
    """A reply that fails is an `error` with the service's code, and a `response.done` that says so."""
    async with Service() as service:
        voice, heard, line = await connected(service)
        task = asyncio.ensure_future(voice.answer())
        await line.until("response.create")
        line.protocol.begin_response()
        error = {"type": "server_error", "code": "rate_limit_exceeded", "message": "Too fast."}
        line.protocol.finish_response("failed", error=error)
        await line.flush()
        done = await (await task).done()
        assert (done.status, done.reason) == ("failed", "rate_limit_exceeded")
        assert [(e.code, str(e)) for e in heard.all("error")] == [("rate_limit_exceeded", "Too fast.")]
        assert voice.state == "open"


async def test_reply_that_stays_incomplete() -> None:
    """The token limit cut it."""
    async with Service() as service:
        _voice, heard, line = await connected(service)
        line.protocol.begin_response()
        line.protocol.audio(PCM_20_MS)
        line.protocol.finish_response("incomplete", "max_output_tokens")
        await line.flush()
        done = await heard.until("response.done")
        assert (done.status, done.reason) == ("incomplete", "max_output_tokens")
        assert heard.all("error") == []
