"""Recorded human speech, the `local` provider, and clients that know nothing of this project: the official one, and ours."""

from __future__ import annotations

import asyncio
import base64
import importlib.util
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from client_speech import FRAME, frames, speech
from gateways import Client
from openai import AsyncOpenAI
from vivavoce import Voice, tool
from vivavoce.audio import PCM16_24K
from vivavoce_gateway import GatewayConfig

pytestmark = [
    pytest.mark.real_speech,
    pytest.mark.skipif(
        any(importlib.util.find_spec(name) is None for name in ("pocketsphinx", "ttspico")),
        reason="the speech engines are not installed",
    ),
]
TRANSCRIBED = {"audio": {"input": {"transcription": {"model": "whisper-1"}}}}


async def append(client: Client, audio: bytes) -> None:
    for frame in frames(audio):
        await client.send("input_audio_buffer.append", audio=frame)


@pytest.fixture
async def gateway(serve: Any) -> Any:
    return await serve(
        GatewayConfig(config={"phrases": ["go forward ten meters", "eight plus three", "hello"]})
    )


async def test_vad_turn_in_the_services_order(gateway: Any) -> None:
    """Speech, silence, a transcript and a spoken answer; the events in the order of the service."""
    client = await gateway.open()
    await client.configure(**TRANSCRIBED)
    await append(client, speech("eight-plus-three"))
    done = await client.until("rate_limits.updated")
    names = [
        name for name in client.types("input_audio_buffer.speech_started") if "transcription" not in name
    ]
    assert names[:9] == [
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "response.created",
        "response.output_item.added",
        "conversation.item.added",
        "response.content_part.added",
    ]
    assert names[-4:] == [
        "conversation.item.done",
        "response.output_item.done",
        "response.done",
        "rate_limits.updated",
    ]
    by_type = {event["type"]: event for event in client.seen}
    started, stopped = (by_type[f"input_audio_buffer.speech_{what}"] for what in ("started", "stopped"))
    heard = by_type["conversation.item.input_audio_transcription.completed"]
    assert heard["item_id"] == started["item_id"] == by_type["input_audio_buffer.committed"]["item_id"]
    assert heard["transcript"] == "eight plus three"
    assert 0 <= started["audio_start_ms"] < 500
    assert 2000 < stopped["audio_end_ms"] < 3700
    assert "11" in by_type["response.done"]["response"]["output"][0]["content"][0]["transcript"]
    assert done["type"] == "rate_limits.updated"


async def test_speech_during_a_reply_interrupts_it(gateway: Any) -> None:
    """`interrupt_response`: user speech cancels the reply that is under way, and is answered itself."""
    client = await gateway.open()
    text = "Repeat: " + " ".join(["one two three four five six seven eight nine ten."] * 40)
    await client.configure(**TRANSCRIBED, max_output_tokens="inf")
    await client.say(text)
    await client.send("response.create")
    await client.until("response.output_audio.delta")
    await append(client, speech("hello"))
    done = await client.until("response.done")
    if done["response"]["status"] == "cancelled":  # else it was generated before the speech was recognized
        assert done["response"]["status_details"]["reason"] == "turn_detected"
        assert client.types().index("input_audio_buffer.speech_started") < len(client.types()) - 1
    await client.until("conversation.item.input_audio_transcription.completed")
    while client.types().count("response.done") < 2:
        await client.until("response.done")
    assert client.seen[-1]["response"]["status"] == "completed"


async def test_turns_without_answers(gateway: Any) -> None:
    """`create_response: false`: the turn is taken and transcribed, and nothing is said."""
    client = await gateway.open()
    detection = {
        "type": "semantic_vad",
        "eagerness": "high",
        "create_response": False,
        "interrupt_response": False,
    }
    transcription = {"model": "gpt-4o-mini-transcribe"}
    await client.configure(audio={"input": {"turn_detection": detection, "transcription": transcription}})
    await append(client, speech("hello"))
    heard = await client.until("conversation.item.input_audio_transcription.completed")
    assert heard["transcript"].startswith("hello")
    assert "response.created" not in client.types()


async def test_official_client_speaks_calls_a_function_and_closes(gateway: Any) -> None:
    """`openai`'s own client: real speech in, a function call, its output, the spoken reply, an interruption, close."""
    official = AsyncOpenAI(api_key="any", base_url=f"{gateway.http}/v1")
    async with official.realtime.connect(model="gpt-realtime") as connection:
        assert (await connection.recv()).type == "session.created"
        walk = {
            "type": "function",
            "name": "go_forward",
            "description": "Go forward some meters.",
            "parameters": {
                "type": "object",
                "properties": {"meters": {"type": "integer"}},
                "required": ["meters"],
            },
        }
        settings: Any = {"type": "realtime", "tools": [walk], **TRANSCRIBED}
        await connection.session.update(session=settings)
        for frame in frames(speech("go-forward-ten-meters")):
            await connection.input_audio_buffer.append(audio=frame)
        transcript, call, audio = "", None, b""
        async for event in connection:
            if event.type == "conversation.item.input_audio_transcription.completed":
                transcript = event.transcript
            elif event.type == "response.function_call_arguments.done":
                call = event
            elif event.type == "response.output_audio.delta":
                audio += base64.b64decode(event.delta)
            elif event.type == "response.done" and call is not None and not audio:
                output: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "arrived"}
                await connection.conversation.item.create(item=output)
                await connection.response.create()
            elif event.type == "response.done":
                break
            assert event.type != "error", event
        assert transcript == "go forward ten meters"
        assert call is not None
        assert json.loads(call.arguments) == {"meters": 10}
        assert len(audio) > PCM16_24K.bytes_for(300)
        assert (
            max(
                abs(int.from_bytes(audio[at : at + 2], "little", signed=True))
                for at in range(0, len(audio), 2)
            )
            > 1000
        )


async def paced(audio: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(audio), FRAME):
        yield audio[at : at + FRAME]
        await asyncio.sleep(0)


async def test_our_client_holds_the_same_conversation(gateway: Any) -> None:
    """`Voice("openai-realtime")` against the gateway against `local`: turns, transcripts, a tool, a spoken reply."""
    walked: list[int] = []

    @tool
    def go_forward(meters: int) -> str:
        """Go forward some meters."""
        walked.append(meters)
        return "arrived"

    voice = Voice(
        "openai-realtime", url=gateway.url, api_key="any-key", model="gpt-realtime", tools=[go_forward]
    )
    turns: asyncio.Queue[Any] = asyncio.Queue()
    audio = bytearray()
    voice.on("turn", turns.put_nowait)
    voice.on("speaking", lambda event: audio.extend(event.audio))
    async with voice:
        await voice.send(paced(speech("go-forward-ten-meters")))
        async with asyncio.timeout(30):
            user, assistant = await turns.get(), await turns.get()
    assert (user.role, user.text) == ("user", "go forward ten meters")
    assert (assistant.role, walked) == ("assistant", [10])
    assert "arrived" in assistant.text
    assert len(audio) > PCM16_24K.bytes_for(300)


async def test_gateway_behind_a_gateway(serve: Any, gateway: Any) -> None:
    """The same with another provider: a gateway that answers with `openai-realtime`, which talks to the first gateway. Turns,
    transcript, a function call and its output, the spoken reply, and a manual turn."""
    config = {"url": gateway.url, "api_key": "any-key", "model": "gpt-realtime"}
    outer = await serve(GatewayConfig(provider="openai-realtime", config=config))
    client = await outer.open()
    parameters = {"type": "object", "properties": {"meters": {"type": "integer"}}, "required": ["meters"]}
    walk = {"type": "function", "name": "go_forward", "description": "Go forward.", "parameters": parameters}
    await client.configure(**TRANSCRIBED, tools=[walk])
    await append(client, speech("go-forward-ten-meters"))
    called = await client.until("response.function_call_arguments.done")
    assert json.loads(called["arguments"]) == {"meters": 10}
    await client.until("response.done")
    heard = [e for e in client.seen if e["type"].endswith("transcription.completed")]
    committed = next(e for e in client.seen if e["type"] == "input_audio_buffer.committed")
    if not heard:
        heard = [await client.until("conversation.item.input_audio_transcription.completed")]
    assert (heard[0]["transcript"], heard[0]["item_id"]) == ("go forward ten meters", committed["item_id"])
    output = {"type": "function_call_output", "call_id": called["call_id"], "output": "arrived"}
    await client.send("conversation.item.create", item=output)
    await client.send("response.create")
    done = await client.until("response.done")
    assert "arrived" in done["response"]["output"][0]["content"][0]["transcript"]
    await client.configure(audio={"input": {"turn_detection": None}})
    await append(client, speech("hello", silence_ms=100))
    await client.send("input_audio_buffer.commit")
    await client.send("response.create")
    done = await client.until("response.done")
    assert done["response"]["status"] == "completed"
    assert len(done["response"]["output"]) == 1
