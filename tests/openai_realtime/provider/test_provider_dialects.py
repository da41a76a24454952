"""Dialects end to end, each against a server that speaks so; and a provider for another service."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest
from openai_realtime.provider.service import PCM_20_MS, Heard, Line, Service
from vivavoce import Voice, tool
from vivavoce_openai_realtime import DIALECTS, Dialect, OpenAIRealtimeProvider

pytestmark = [pytest.mark.virtual_clock, pytest.mark.usefixtures("no_leaks")]

BETA_ONLY = {"modalities", "voice", "input_audio_format", "output_audio_format", "turn_detection"}


@tool
def weather(city: str) -> str:
    """The weather of a city."""
    return "sun"


def request_of(line: Line) -> tuple[str, dict[str, list[str]], Mapping[str, str]]:
    request = line.peer.request
    assert request is not None
    parts = urlsplit(request.path)
    return parts.path, parse_qs(parts.query), request.headers


async def converse(service: Service, voice: Voice, heard: Heard) -> Line:
    """A whole conversation: speech, text, a tool, a spoken reply, an interruption, a change of the session."""
    voice.on("speaking", lambda event: None)
    await voice.connect()
    line = service.lines[-1]
    await voice.send(PCM_20_MS)
    await voice.send_text("Hi")
    await voice.send_text("Hello.", role="assistant")
    line.protocol.begin_response()
    line.protocol.function_call("weather", '{"city":"Rom"}', "call_1")
    line.protocol.finish_response()
    await line.flush()
    service.replies.append("Sun in Rome.")
    await line.until("response.create")
    await heard.until("turn", 3)
    line.protocol.begin_response()
    for _ in range(5):
        line.protocol.audio(PCM_20_MS)
    line.protocol.text("And so on")
    await line.flush()
    await heard.until("speaking", 10)
    await voice.interrupt()
    await heard.until("response.done", 3)
    await voice.update_config(instructions="Be brief.")
    service.replies.append("Yes.")
    reply = await voice.answer(text_only=True, max_output_tokens=50)
    assert await reply.text() == "Yes."
    assert heard.all("error") == []
    said = [turn.text for turn in heard.all("turn")]
    assert said[:3] == ["Hi", "Hello.", "Sun in Rome."]
    assert b"".join(event.audio for event in heard.all("speaking")) == PCM_20_MS * 10
    return line


def names_of(event: dict[str, Any]) -> set[str]:
    return set(event.get("session") or event.get("response") or {})


@pytest.mark.parametrize("dialect", ["ga", "azure"])
async def test_ga(dialect: str) -> None:
    """OpenAI, and Azure's GA address: GA's names and nothing else."""
    async with Service() as service:
        voice, heard = service.voice(
            dialect=dialect,
            url=f"ws://127.0.0.1:{service.port}",
            model="gpt-realtime",
            speaker="alloy",
            tools=[weather],
        )
        line = await converse(service, voice, heard)
        path, query, headers = request_of(line)
        assert path == {"ga": "/v1/realtime", "azure": "/openai/v1/realtime"}[dialect]
        assert query == {"model": ["gpt-realtime"]}
        assert ("api-key" in headers) == (dialect == "azure")
        assert ("Authorization" in headers) == (dialect == "ga")
        assert not [event for event in line.events if names_of(event) & BETA_ONLY]


@pytest.mark.parametrize("dialect", ["azure-preview", "beta"])
async def test_flat_dialects(dialect: str, caplog: pytest.LogCaptureFixture) -> None:
    """Azure's preview address and servers of the beta: flat sessions, beta's names, no field of GA."""
    caplog.set_level(logging.INFO, "vivavoce")
    async with Service(ga=False, beta=True) as service:
        voice, heard = service.voice(
            dialect=dialect,
            url=f"ws://127.0.0.1:{service.port}",
            deployment="mine" if dialect == "azure-preview" else None,
            api_version="2025-10-01-preview" if dialect == "azure-preview" else None,
            model="gpt-4o-realtime-preview" if dialect == "beta" else None,
            speaker="alloy",
            tools=[weather],
            session={"temperature": 0.7, "turn_detection": {"type": "server_vad", "threshold": 0.6}},
        )
        line = await converse(service, voice, heard)
        path, query, headers = request_of(line)
        if dialect == "beta":
            assert (path, query) == ("/v1/realtime", {"model": ["gpt-4o-realtime-preview"]})
            assert headers["OpenAI-Beta"] == "realtime=v1"
        else:
            assert path == "/openai/realtime"
            assert query == {"api-version": ["2025-10-01-preview"], "deployment": ["mine"]}
        session = line.sent("session.update")[0]["session"]
        assert {key: session[key] for key in session if key != "tools"} == {
            "modalities": ["text", "audio"],
            "voice": "alloy",
            "input_audio_format": "pcm16",
            "output_audio_format": "pcm16",
            "turn_detection": {"type": "server_vad", "threshold": 0.6},
            "temperature": 0.7,
        }
        assert line.sent("response.create")[-1]["response"] == {
            "modalities": ["text"],
            "max_response_output_tokens": 50,
        }
        parts = [event["item"]["content"][0]["type"] for event in line.sent("conversation.item.create")[:2]]
        assert parts == ["input_text", "text"]
    assert [r for r in caplog.records if "session setting" in r.getMessage()] == []


async def test_setting_without_a_place(caplog: pytest.LogCaptureFixture) -> None:
    """What a flat service has no name for is left out with a warning."""
    async with Service(ga=False, beta=True) as service:
        voice, _ = service.voice(dialect="beta", session={"truncation": "disabled"})
        await voice.connect()
        assert "truncation" not in service.lines[0].sent("session.update")[0]["session"]
    assert "session setting 'truncation' has no place in the dialect 'beta': left out" in caplog.text


async def test_xai() -> None:
    """xAI's session has voice and turn detection on top, and greets with a conversation."""

    async def script(line: Line) -> None:
        line.deaf.add("session.update")
        await line.peer.accept()
        await line.say(
            "conversation.created", conversation={"id": "conv_1", "object": "realtime.conversation"}
        )
        while not line.sent("session.update"):
            await line.receive()
        wanted = line.sent("session.update")[0]["session"]
        await line.say("session.updated", session={"id": "sess_x", **wanted})
        await line.serve()

    async with Service(script, ga=False, replies=("Grok",)) as service:
        voice, _ = service.voice(
            dialect="xai",
            url=f"ws://127.0.0.1:{service.port}",
            model="grok-voice",
            speaker="ara",
            session={"turn_detection": None},
        )
        await voice.connect()
        line = service.lines[0]
        path, query, headers = request_of(line)
        assert (path, query) == ("/v1/realtime", {"model": ["grok-voice"]})
        assert headers["Authorization"].startswith("Bearer ")
        session = line.sent("session.update")[0]["session"]
        assert (session["voice"], session["turn_detection"]) == ("ara", None)
        assert "voice" not in session["audio"]["output"]
        assert "turn_detection" not in session["audio"]["input"]
        assert voice._runtime.session.manual_turns is True
        assert asyncio.get_running_loop().time() == 0.0
        reply = await voice.answer()
        assert await reply.text() == "Grok"
        assert "metadata" not in line.sent("response.create")[0].get("response", {})


async def test_inworld() -> None:
    """Inworld: basic authentication, the session's own address, the model in the session."""
    async with Service(ga=False, replies=("Yes",)) as service:
        voice, _ = service.voice(
            dialect="inworld",
            url=f"ws://127.0.0.1:{service.port}",
            api_key="user:password-of-mine",
            model="gpt-realtime-2.1",
        )
        await voice.connect()
        path, query, headers = request_of(service.lines[0])
        assert (path, query) == ("/api/v1/realtime/session", {"protocol": ["realtime"]})
        assert headers["Authorization"] == "Basic " + base64.b64encode(b"user:password-of-mine").decode()
        assert service.lines[0].sent("session.update")[0]["session"]["model"] == "gpt-realtime-2.1"
        assert await (await voice.answer()).text() == "Yes"


def test_every_dialect_is_tried() -> None:
    """A new dialect needs a test here."""
    assert set(DIALECTS) == {"ga", "azure", "azure-preview", "beta", "xai", "inworld"}


# A provider for another compatible service, whole.


class AcmeProvider(OpenAIRealtimeProvider):
    """Acme's voice service: its own key, its own name for what is said, a default model."""

    name = "acme"
    credentials: ClassVar[Mapping[str, str]] = {"api_key": "ACME_KEY"}
    dialect: ClassVar[Dialect] = Dialect(
        name="acme",
        key_variables=("ACME_KEY",),
        default_url="wss://voice.acme.example/v2/talk",
        default_model="acme-1",
        headers={"X-Acme-Version": "7"},
        incoming={"acme.sound": "response.output_audio.delta"},
        outgoing={"input_audio_buffer.append": "acme.hear"},
        tags_responses=False,
    )


async def test_provider_for_another_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """A class with a dialect: own key variable, headers, names of events, raw events under its own name."""
    monkeypatch.setenv("ACME_KEY", "acme-0123456789")

    async def script(line: Line) -> None:
        line.deaf.add("acme.hear")
        await line.open()
        await line.serve()

    async with Service(script, ga=False) as service:
        voice, heard = service.voice(AcmeProvider, api_key=None, url=service.url)
        raw: list[str] = []
        voice.on("acme:*", lambda message: raw.append(message["type"]))
        await voice.connect()
        line = service.lines[0]
        await voice.send(PCM_20_MS)
        event = await line.until("acme.hear")
        assert base64.b64decode(event["audio"]) == PCM_20_MS
        _, query, headers = request_of(line)
        assert query == {"model": ["acme-1"]}
        assert headers["Authorization"] == "Bearer acme-0123456789"
        assert headers["X-Acme-Version"] == "7"
        line.protocol.begin_response()
        line.protocol.audio(PCM_20_MS)
        line.protocol.finish_response()
        for frame in line.protocol.data_to_send():
            message = json.loads(frame)
            if message["type"] == "response.output_audio.delta":
                message["type"] = "acme.sound"
            await line.peer.send(json.dumps(message))
        await heard.until("response.done")
        assert [event.audio for event in heard.all("speaking")] == [PCM_20_MS]
        assert "acme.sound" in raw
        assert (voice.provider, heard.all("error")) == ("acme", [])
