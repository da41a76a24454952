"""One app, two transports: the same code, and the same things happen to it."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
from typing import Any

import pytest

pytest.importorskip("aiortc", reason="aiortc is not installed")

from client_speech import speech
from gateways import start
from vivavoce import Voice, tool
from vivavoce.testing import no_leaks
from vivavoce_gateway import GatewayConfig
from webrtc_calls import over_loopback

ENGINES = all(importlib.util.find_spec(name) is not None for name in ("pocketsphinx", "ttspico"))
PHRASES = {"phrases": ["go forward ten meters", "eight plus three", "hello"]}


async def app(voice: Voice) -> dict[str, Any]:
    """A conversation, as an app has it: speech, a tool, a reply that is heard, another that is interrupted, the end."""
    walked: list[int] = []

    @tool
    def go_forward(meters: int) -> str:
        """Go forward some meters."""
        walked.append(meters)
        return "arrived"

    turns: asyncio.Queue[Any] = asyncio.Queue()
    speakers: asyncio.Queue[Any] = asyncio.Queue()
    voice.on("turn", turns.put_nowait)
    voice.on("speaker", speakers.put_nowait)
    await voice.add_tools([go_forward])
    async with asyncio.timeout(50), voice:
        await voice.send(speech("go-forward-ten-meters"))
        user, assistant = await turns.get(), await turns.get()
        heard = b"".join([piece async for piece in await speakers.get()])
        await voice.send_text("hello")
        reply = await voice.answer()
        async for _ in reply.audio:
            break
        await voice.interrupt()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(10):
                await reply.done()
        outcome = {
            "said": (user.role, user.text),
            "walked": list(walked),
            "answered": (assistant.role, "arrived" in assistant.text),
            "audible": max(map(abs, memoryview(heard).cast("h"))) > 8_000,
            "cut": reply.audio.end_reason,
            "formats": (voice.input_format, voice.output_format),
            "capabilities": sorted(voice.capabilities),
        }
    return outcome | {"state": voice.state}


@pytest.mark.real_speech
@pytest.mark.timeout(150)  # two conversations at the speed of speech
@pytest.mark.skipif(not ENGINES, reason="the speech engines are not installed")
async def test_app_does_not_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the option `transport` differs; what comes of it does not."""
    over_loopback(monkeypatch)
    outcomes = {}
    async with no_leaks(grace=3.0), contextlib.AsyncExitStack() as stack:
        gateway = await start(stack, GatewayConfig(config=PHRASES))
        for transport in ("websocket", "webrtc"):
            voice = Voice(
                "openai-realtime",
                url=gateway.url,
                api_key="any-key",
                model="gpt-realtime",
                transport=transport,
            )
            outcomes[transport] = await app(voice)
        await gateway.gateway.drained(5)
    assert outcomes["webrtc"] == outcomes["websocket"]
    assert outcomes["webrtc"]["said"] == ("user", "go forward ten meters")
    assert outcomes["webrtc"]["walked"] == [10]
    assert outcomes["webrtc"]["answered"] == ("assistant", True)
    assert outcomes["webrtc"]["audible"] is True
    assert outcomes["webrtc"]["cut"] == "interrupted"
