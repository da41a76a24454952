"""A WebRTC call whose events go over a WebSocket beside it (`sideband`), and what calls and their transports share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

pytest.importorskip("aiortc", reason="aiortc is not installed")

from vivavoce.audio import PCM16_24K
from vivavoce.errors import ConnectError
from vivavoce.testing import no_leaks
from webrtc_calls import caller, datagram_sockets, library_tasks, over_loopback
from webrtc_service import CallService

LOUD = (b"\x00\x20" + b"\x00\xe0") * (PCM16_24K.bytes_for(400) // 4)


@pytest.fixture(autouse=True)
async def _loopback(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    over_loopback(monkeypatch)
    async with no_leaks(grace=2.0):
        yield


def heard_by(voice: Any) -> bytearray:
    audio = bytearray()
    voice.on("speaking", lambda event: audio.extend(event.audio))
    return audio


@pytest.mark.parametrize("introduces", [True, False])
async def test_events_go_over_the_websocket(introduces: bool) -> None:
    """The call carries sound alone: the configuration, a reply and its words go over the WebSocket, each once."""
    async with CallService(introduces=introduces) as service:
        service.replies = [("Fine", LOUD)]
        async with caller(service.url, sideband=True, instructions="Be brief.") as voice:
            audio = heard_by(voice)
            turns: asyncio.Queue[Any] = asyncio.Queue()
            voice.on("turn", turns.put_nowait)
            (call,) = service.calls
            (sideband,) = call.sidebands
            assert sideband.request.path == "/v1/realtime?call_id=rtc_1"
            assert sideband.request.headers["Authorization"] == "Bearer any-key"
            reply = await voice.answer()
            async with asyncio.timeout(15):
                assert await reply.text() == "Fine"
                await reply.done()
                assert (await turns.get()).text == "Fine"
            assert turns.empty()
            assert PCM16_24K.milliseconds(len(audio)) > 300
            assert len([event for event in call.events if event["type"] == "session.update"]) == 1
        assert service.hung_up == ["rtc_1"]
        assert call.sidebands == []


async def test_lost_websocket_loses_the_call() -> None:
    """Without its events a call is deaf: it is made anew, with the conversation so far."""
    async with CallService() as service, caller(service.url, sideband=True) as voice:
        back: asyncio.Queue[Any] = asyncio.Queue()
        voice.on("reconnected", back.put_nowait)
        await voice.connect(reconnect=True)
        await voice.send_text("remember me")
        service.calls[0].sidebands[0].drop()
        async with asyncio.timeout(15):
            assert (await back.get()).replayed_items == 1
        assert len(service.calls) == 2
        item = await service.calls[1].until("conversation.item.create")
        assert item["item"]["content"][0]["text"] == "remember me"


async def test_service_that_does_not_name_the_call() -> None:
    """Without a Location nothing can join: a typed error, and nothing is left of the call."""
    async with CallService(locates=False) as service:
        voice = caller(service.url, sideband=True)
        with pytest.raises(ConnectError) as caught:
            await voice.connect()
        assert caught.value.code == "sideband"
        await service.calls[0].end()
        assert (datagram_sockets(), library_tasks()) == ([], [])


async def test_websocket_that_is_refused() -> None:
    """The call is there and the WebSocket is not let in: the connect fails as a whole."""
    async with CallService() as service:
        service.lets_in = False
        voice = caller(service.url, sideband=True)
        with pytest.raises(ConnectError) as caught:
            await voice.connect()
        assert caught.value.code == "http_404"
        await service.calls[0].end()
        assert (datagram_sockets(), library_tasks()) == ([], [])
