"""Providers of other kinds: one that takes the turns itself, one without turns, one without transcripts."""

from __future__ import annotations

import base64
from typing import Any

from gateways import Script
from vivavoce.events import (
    ItemAdded,
    ResponseCreated,
    ResponseDone,
    Speaking,
    SpeakingDone,
    SpeechStarted,
    SpeechStopped,
    Writing,
)
from vivavoce.provider import CAPABILITIES
from vivavoce_gateway import GatewayConfig

AUDIO = base64.b64encode(bytes(9600)).decode()
TRANSCRIBED = {"transcription": {"model": "whisper-1"}}


async def test_provider_that_takes_the_turns(serve: Any, script: Script) -> None:
    """Its speech events, items and replies are the client's, in the service's order; a commit by hand is refused."""
    client = await (await serve(GatewayConfig(provider=script.provider))).open("?model=scripted")
    await client.configure(audio={"input": TRANSCRIBED})
    await client.send("input_audio_buffer.append", audio=AUDIO)
    await client.nothing()
    assert len(script.last.heard) == 9600
    for event in (
        SpeechStarted("u1", 40),
        SpeechStopped("u1", 180),
        ItemAdded("u1", "user"),
        Writing("hello", "user", "u1", final=True),
        ResponseCreated("r1"),
        Writing("hi", "assistant", "a1", "r1"),
        Speaking(bytes(960), "r1", "a1"),
        ResponseDone("r1"),
    ):
        script.last.context.emit(event)
    await client.until("response.done")
    names = client.types("input_audio_buffer.speech_started")
    assert names[:5] == [
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
    ]
    by_type = {event["type"]: event for event in client.seen}
    heard = by_type["conversation.item.input_audio_transcription.completed"]
    assert heard["item_id"] == by_type["input_audio_buffer.committed"]["item_id"]
    assert by_type["response.done"]["response"]["status"] == "completed"
    await client.send("input_audio_buffer.commit")
    assert "turns by hand" in (await client.until("error"))["error"]["message"]


async def test_audio_of_a_turn_that_the_provider_found(serve: Any, script: Script) -> None:
    """What is kept for `conversation.item.retrieve` begins a second before the provider told of the speech, however long it was
    quiet before."""
    client = await (await serve(GatewayConfig(provider=script.provider))).open("?model=scripted")
    second = [bytes([n, 0]) * 24_000 for n in range(6)]
    for pcm in second[:4]:
        await client.send("input_audio_buffer.append", audio=base64.b64encode(pcm).decode())
    await client.configure()  # answered when all before it was taken
    script.last.context.emit(SpeechStarted("u1", 3900))
    for pcm in second[4:]:
        await client.send("input_audio_buffer.append", audio=base64.b64encode(pcm).decode())
    await client.configure()  # answered when all before it was taken
    script.last.context.emit(SpeechStopped("u1", 6000))
    item_id = (await client.until("input_audio_buffer.committed"))["item_id"]
    await client.send("conversation.item.retrieve", item_id=item_id)
    (part,) = (await client.until("conversation.item.retrieved"))["item"]["content"]
    assert base64.b64decode(part["audio"]) == b"".join(second[3:])


async def test_provider_without_turns(serve: Any) -> None:
    """A continuous stream: each stretch of speech is a response of its own; one that is asked for is refused."""
    script = Script({"realtime"})
    client = await (await serve(GatewayConfig(provider=script.provider))).open("?model=scripted")
    await client.send("response.create")
    assert "by itself" in (await client.until("error"))["error"]["message"]
    await client.send(
        "conversation.item.create",
        item={"type": "message", "role": "user", "content": [{"type": "input_text", "text": "x"}]},
    )
    assert "text" in (await client.until("error"))["error"]["message"]
    for stretch in (b"\1\0" * 480, b"\2\0" * 480):
        script.last.context.emit(Speaking(stretch))
        script.last.context.emit(SpeakingDone())
        done = await client.until("response.done")
        assert done["response"]["status"] == "completed"
        delta = [event["delta"] for event in client.seen if event["type"] == "response.output_audio.delta"][
            -1
        ]
        assert base64.b64decode(delta) == stretch


async def test_transcripts_of_a_provider_without_them(serve: Any) -> None:
    """They come from its speech-to-text; without that, too, the client is told that there are none."""
    for capabilities, end in (
        (CAPABILITIES - {"transcripts", "vad"}, "completed"),
        (CAPABILITIES - {"transcripts", "vad", "listen"}, "failed"),
    ):
        script = Script(capabilities)
        client = await (await serve(GatewayConfig(provider=script.provider))).open("?model=scripted")
        await client.configure(audio={"input": {"turn_detection": None, **TRANSCRIBED}})
        await client.send("input_audio_buffer.append", audio=AUDIO)
        await client.send("input_audio_buffer.commit")
        told = await client.until(f"conversation.item.input_audio_transcription.{end}")
        assert told.get("transcript", "what was heard") == "what was heard"
        assert told["item_id"] == next(e["item_id"] for e in client.seen if e["type"].endswith("committed"))
