"""Connecting: the session is configured, and acknowledged, before anything else."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import trustme
from openai_realtime.provider.service import KEY, PCM_20_MS, Line, Script, Service, talk
from vivavoce import Voice, tool
from vivavoce.errors import ConnectError

pytestmark = [pytest.mark.virtual_clock, pytest.mark.usefixtures("no_leaks")]


def query(line: Line) -> dict[str, list[str]]:
    assert line.peer.request is not None
    return parse_qs(urlsplit(line.peer.request.path).query)


async def session_of(service: Service, **config: Any) -> dict[str, Any]:
    """Connect with `config` and return the session as it was asked for."""
    voice, _ = service.voice(**config)
    await voice.connect()
    session: dict[str, Any] = service.lines[-1].sent("session.update")[0]["session"]
    return session


@tool
def weather(city: str) -> str:
    """The weather of a city."""
    return "sun"


async def test_session_is_configured_with_the_defaults() -> None:
    """Without options: speech both ways at 24 kHz, the user's words transcribed, the service's own turn detection."""
    async with Service() as service:
        session = await session_of(service)
        assert session == {
            "type": "realtime",
            "output_modalities": ["audio"],
            "audio": {
                "input": {
                    "format": {"type": "audio/pcm", "rate": 24000},
                    "transcription": {"model": "gpt-transcribe"},
                },
                "output": {"format": {"type": "audio/pcm", "rate": 24000}},
            },
        }
        assert query(service.lines[0]) == {"model": ["gpt-realtime-2.1"]}


async def test_session_is_configured_as_the_app_wants_it() -> None:
    """Speaker, instructions, tools and `session` are all in the one configuration, `session` over the others."""
    async with Service() as service:
        session = await session_of(
            service,
            model="gpt-realtime-mini",
            speaker="marin",
            instructions="Be short.",
            tools=[weather],
            session={
                "audio": {
                    "input": {
                        "turn_detection": {"type": "semantic_vad", "eagerness": "low"},
                        "noise_reduction": {"type": "near_field"},
                        "transcription": {"model": "whisper-1", "language": "de"},
                    },
                    "output": {"speed": 1.25},
                },
                "max_output_tokens": 500,
                "tools": [{"type": "mcp", "server_label": "docs", "server_url": "https://example.com/mcp"}],
            },
        )
        assert session == {
            "type": "realtime",
            "output_modalities": ["audio"],
            "instructions": "Be short.",
            "max_output_tokens": 500,
            "tools": [
                {
                    "type": "function",
                    "name": "weather",
                    "description": "The weather of a city.",
                    "parameters": {
                        "type": "object",
                        "properties": {"city": {"type": "string"}},
                        "required": ["city"],
                        "additionalProperties": False,
                    },
                },
                {"type": "mcp", "server_label": "docs", "server_url": "https://example.com/mcp"},
            ],
            "audio": {
                "input": {
                    "format": {"type": "audio/pcm", "rate": 24000},
                    "turn_detection": {"type": "semantic_vad", "eagerness": "low"},
                    "noise_reduction": {"type": "near_field"},
                    "transcription": {"model": "whisper-1", "language": "de"},
                },
                "output": {
                    "format": {"type": "audio/pcm", "rate": 24000},
                    "voice": "marin",
                    "speed": 1.25,
                },
            },
        }
        assert query(service.lines[0]) == {"model": ["gpt-realtime-mini"]}


async def test_config_of_the_original(caplog: pytest.LogCaptureFixture) -> None:
    """The original's own example works as it stands: flat names move to their place, with a note in the log."""
    caplog.set_level(logging.INFO, "vivavoce")
    detection = {"type": "server_vad", "threshold": 0.6, "silence_duration_ms": 1200}
    async with Service() as service:
        session = await session_of(
            service,
            api_key=None,
            realtime_config={
                "model": "gpt-4o-mini-realtime",
                "api_key": KEY,
                "options": {"session_config": {"turn_detection": detection}},
            },
            speaker="alloy",
        )
        assert session["audio"]["input"]["turn_detection"] == detection
        assert session["audio"]["output"]["voice"] == "alloy"
        assert "turn_detection" not in session
        assert query(service.lines[0]) == {"model": ["gpt-4o-mini-realtime"]}
    assert [r.message for r in caplog.records if r.name == "vivavoce.openai_realtime"] == [
        "session setting 'turn_detection' is the beta's name: sent as 'audio.input.turn_detection'"
    ]


async def test_flat_names_of_the_beta_move(caplog: pytest.LogCaptureFixture) -> None:
    """Every flat name has its GA place; what GA has no more is left out with a warning."""
    caplog.set_level(logging.INFO, "vivavoce")
    async with Service() as service:
        session = await session_of(
            service,
            session={
                "modalities": ["text", "audio"],
                "voice": "ash",
                "input_audio_format": "g711_ulaw",
                "output_audio_format": "g711_alaw",
                "input_audio_transcription": {"model": "whisper-1"},
                "input_audio_noise_reduction": {"type": "far_field"},
                "turn_detection": None,
                "max_response_output_tokens": 200,
                "temperature": 0.7,
            },
        )
        assert session == {
            "type": "realtime",
            "output_modalities": ["audio"],
            "max_output_tokens": 200,
            "audio": {
                "input": {
                    "format": {"type": "audio/pcmu"},
                    "transcription": {"model": "whisper-1"},
                    "noise_reduction": {"type": "far_field"},
                    "turn_detection": None,
                },
                "output": {"format": {"type": "audio/pcma"}, "voice": "ash"},
            },
        }
    noted = {r.args[0]: r.levelname for r in caplog.records if isinstance(r.args, tuple) and r.args}
    assert noted["temperature"] == "WARNING"
    assert noted["voice"] == "INFO"


async def test_url_keeps_its_query() -> None:
    """A `url` with a query keeps it, and what it says wins over the option."""
    async with Service() as service:
        url = f"{service.url}?deployment=a%20b&model=mine"
        await session_of(service, url=url, model="other")
        assert query(service.lines[0]) == {"deployment": ["a b"], "model": ["mine"]}


async def test_http_base_url_is_taken() -> None:
    """A base URL as other OpenAI clients take it leads to the same place."""
    async with Service() as service:
        await session_of(service, url=f"http://127.0.0.1:{service.port}/v1")
        request = service.lines[0].peer.request
        assert request is not None
        assert urlsplit(request.path).path == "/v1/realtime"


async def test_headers_of_the_upgrade() -> None:
    """The key is a bearer token; organization, project, safety identifier and own headers go along; nothing of beta."""
    async with Service() as service:
        await session_of(
            service,
            organization="org-1",
            project="proj-1",
            safety_identifier="user-1",
            headers={"X-Mine": "yes"},
        )
        request = service.lines[0].peer.request
        assert request is not None
        wanted = (
            "Authorization",
            "OpenAI-Organization",
            "OpenAI-Project",
            "OpenAI-Safety-Identifier",
            "X-Mine",
        )
        assert [request.headers.get(name) for name in wanted] == [
            f"Bearer {KEY}",
            "org-1",
            "proj-1",
            "user-1",
            "yes",
        ]
        assert "OpenAI-Beta" not in request.headers
        assert "Sec-WebSocket-Extensions" not in request.headers


async def test_subprotocol_authentication() -> None:
    """With `auth="subprotocol"` the key goes the browser's way, and no header holds it."""
    async with Service(server={"subprotocols": ["realtime"]}) as service:
        await session_of(service, auth="subprotocol")
        request = service.lines[0].peer.request
        assert request is not None
        assert request.headers["Sec-WebSocket-Protocol"] == f"realtime, openai-insecure-api-key.{KEY}"
        assert "Authorization" not in request.headers


async def test_joining_a_call_names_no_model() -> None:
    """`call_id` joins the WebRTC or SIP call."""
    async with Service() as service:
        await session_of(service, call_id="rtc_1", instructions="Be brief.")
        assert query(service.lines[0]) == {"call_id": ["rtc_1"]}


async def test_keys_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each dialect has its own variable; blanks around the key do not count."""
    monkeypatch.setenv("OPENAI_API_KEY", f" {KEY}\n")
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "azure-key-0123456789")
    async with Service() as service:
        await session_of(service, api_key=None)
        await session_of(service, api_key=None, dialect="azure", model="gpt-realtime")
        first, second = (line.peer.request for line in service.lines)
        assert first is not None
        assert second is not None
        assert first.headers["Authorization"] == f"Bearer {KEY}"
        assert second.headers["api-key"] == "azure-key-0123456789"
        assert "Authorization" not in second.headers


async def test_connect_waits_for_the_acknowledgement() -> None:
    """Connecting ends when the service has taken the configuration, and no audio leaves before."""

    async def slow(line: Line) -> None:
        line.deaf.add("session.update")
        await line.open()
        await line.serve()

    async with Service(slow) as service:
        voice, heard = service.voice()
        task = asyncio.create_task(voice.connect())
        line = await service.line(0)
        await line.until("session.update")
        await heard.until("session.created")
        assert (voice.state, task.done()) == ("connecting", False)
        with pytest.raises(RuntimeError):
            await voice.send(PCM_20_MS)
        await line.say("session.updated", session=line.protocol.session)
        await task
        assert (voice.state, voice.session_id) == ("open", "sess_1")
        await voice.send(PCM_20_MS)
        await line.until("input_audio_buffer.append")
        assert line.types() == ["session.update", "input_audio_buffer.append"]


async def test_service_that_introduces_itself_late() -> None:
    """Some services send no `session.created` before they are configured: that is waited for a moment only."""

    async def shy(line: Line) -> None:
        await line.peer.accept()
        await line.serve()

    async with Service(shy) as service:
        voice, heard = service.voice()
        await voice.connect()
        assert voice.state == "open"
        assert heard.names() == ["session.created", "session.updated", "open"]


async def opens(script: Script) -> None:
    """A session of a service like this one opens."""
    async with Service(script) as service:
        voice, _ = service.voice()
        await voice.connect()
        assert voice.state == "open"


async def test_nothing_is_sent_before_the_greeting() -> None:
    """The session is configured when it was introduced: what a service says instead is the reason, not an answer to us."""
    early: list[str] = []

    async def slow(line: Line) -> None:
        await line.peer.accept()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                await line.receive()
        early.extend(line.types())
        await line.introduce()
        await line.serve()

    await opens(slow)
    assert early == []


async def test_service_that_greets_with_a_conversation() -> None:
    """`conversation.created` before `session.created`, and no more, is a greeting too."""

    async def script(line: Line) -> None:
        await line.peer.accept()
        await line.say("conversation.created", conversation={"id": "conv_1"})
        await line.say("ping")
        await line.introduce()
        await line.serve()

    await opens(script)


async def test_second_connect_opens_nothing() -> None:
    """`connect()` on an open voice, and two at once, share one connection."""
    async with Service() as service:
        voice, _ = service.voice()
        await asyncio.gather(voice.connect(), voice.connect())
        await voice.connect()
        assert len(service.lines) == 1


async def test_voice_works_again_after_close() -> None:
    """Close, connect: a new session, with nothing of the old one but the conversation."""
    async with Service(replies=("One", "Two")) as service:
        voice, heard = service.voice()
        for text in ("One", "Two"):
            await voice.connect()
            await voice.send_text("Hi")
            reply = await voice.answer()
            assert await reply.text() == text
            await heard.until("turn", 2)
            await voice.close()
            heard.clear()
        assert [len(line.sent("session.update")) for line in service.lines] == [1, 1]
        said = [
            event["item"]["content"][0]["text"] for event in service.lines[1].sent("conversation.item.create")
        ]
        assert said == ["Hi", "One", "Hi"]


async def test_history_is_replayed() -> None:
    """`history` begins the conversation: speech as text, calls with their outputs, at once and in order."""
    async with Service() as service:
        voice, _ = service.voice()
        voice = Voice(
            "openai-realtime",
            api_key=KEY,
            url=service.url,
            proxy=None,
            history=[
                {"role": "system", "text": "It is night."},
                {"role": "user", "text": "Hello"},
                {"type": "tool_call", "call_id": "call_1", "name": "weather", "arguments": '{"city":"Rom"}'},
                {"type": "tool_result", "call_id": "call_1", "output": "rain"},
                {"role": "assistant", "text": "It rains.", "interrupted": True},
            ],
        )
        service.voices.append(voice)
        began = asyncio.get_running_loop().time()
        await voice.connect()
        assert asyncio.get_running_loop().time() == began
        items = [event["item"] for event in service.lines[0].sent("conversation.item.create")]
        assert all(len(item.pop("id")) <= 32 for item in items)
        assert items == [
            {
                "type": "message",
                "role": "system",
                "content": [{"type": "input_text", "text": "It is night."}],
            },
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hello"}]},
            {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": '{"city":"Rom"}'},
            {"type": "function_call_output", "call_id": "call_1", "output": "rain"},
            {
                "type": "message",
                "role": "assistant",
                "content": [{"type": "output_text", "text": "It rains."}],
            },
        ]


async def test_history_that_is_refused_is_reported() -> None:
    """An item of the history that the service does not take is an `error`; the session stands without it."""
    bad = {"type": "tool_result", "call_id": "call_x", "output": "rain"}
    for history in ([bad, {"role": "user", "text": "Hello"}], [{"role": "user", "text": "Hello"}, bad]):
        async with Service() as service:
            voice = Voice("openai-realtime", api_key=KEY, url=service.url, proxy=None, history=history)
            service.voices.append(voice)
            errors: list[Any] = []
            voice.on("error", errors.append)
            await voice.connect()
            assert voice.state == "open"
            assert [(type(e).__name__, e.code, e.param) for e in errors] == [
                ("ProviderError", "invalid_value", "item.call_id")
            ]


async def test_refused_configuration() -> None:
    """A setting that the service refuses ends `connect()` with the service's words, and is not retried."""
    async with Service() as service:
        service._ga = False  # what is sent is wrong on purpose
        voice, heard = service.voice(session={"audio": {"output": {"speed": 99}}})
        with pytest.raises(ConnectError) as caught:
            await voice.connect(reconnect=True)
        assert (caught.value.code, caught.value.retryable) == ("invalid_value", False)
        assert "session.audio.output.speed" in str(caught.value)
        assert (voice.state, len(service.lines)) == ("idle", 1)
        assert "open" not in heard.names()


async def test_tls(no_leaks: Any) -> None:
    """`wss://` with a private authority."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    async with Service(talk, server={"ssl": context}) as service:
        voice, _ = service.voice(ssl=trusting)
        await voice.connect()
        assert voice.state == "open"


async def test_compression_is_offered_when_asked_for() -> None:
    """`compression="deflate"` offers permessage-deflate, and the session works with it."""
    async with Service(replies=("Yes",), server={"deflate": True}) as service:
        voice, _ = service.voice(compression="deflate")
        await voice.connect()
        assert await (await voice.answer()).text() == "Yes"
        request = service.lines[0].peer.request
        assert request is not None
        assert "permessage-deflate" in request.headers["Sec-WebSocket-Extensions"]
