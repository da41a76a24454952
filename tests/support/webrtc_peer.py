"""A bare WebRTC client of the gateway, which does nothing by itself. For tests."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any, Self

import httpx
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from gateways import DEADLINE, check_official
from vivavoce.audio import PCM16_24K
from vivavoce_openai_realtime.transports.media import OutgoingAudio

SDP = "application/sdp"


class Peer:
    """One call. `seen` is every event so far, `place` where the call is."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []
        self.closed = asyncio.Event()
        self.place = ""
        self.microphone = OutgoingAudio()
        self._pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._pc.addTrack(self.microphone)
        self._channel = self._pc.createDataChannel("oai-events")
        self._channel.on("message", self._take)
        self._channel.on("close", self.closed.set)
        self._more = asyncio.Event()

    @property
    def id(self) -> str:
        """The call's id."""
        return self.place.rpartition("/")[2]

    async def offer(self) -> str:
        """Its offer."""
        await self._pc.setLocalDescription(await self._pc.createOffer())
        return str(self._pc.localDescription.sdp)

    async def accept(self, answer: httpx.Response) -> Self:
        """Take the gateway's answer, and wait for the session."""
        assert answer.status_code == 201, answer.text
        self.place = answer.headers["location"]
        await self._pc.setRemoteDescription(RTCSessionDescription(answer.text, "answer"))
        await self.until("session.created")
        return self

    def _take(self, data: str) -> None:
        event = json.loads(data)
        check_official(event)
        self.seen.append(event)
        self._more.set()

    def send(self, type: str, **fields: Any) -> None:
        """Send an event."""
        self._channel.send(json.dumps({"type": type, **fields}))

    def say(self, pcm: bytes) -> None:
        """PCM16 at 24 kHz, in its real time."""
        self.microphone.put(pcm, PCM16_24K)

    async def until(self, type: str, count: int = 1) -> dict[str, Any]:
        """Wait for the `count`th event of a type."""
        async with asyncio.timeout(DEADLINE):
            while True:
                found = [event for event in self.seen if event["type"] == type]
                if len(found) >= count:
                    return found[count - 1]
                self._more.clear()
                await self._more.wait()

    async def close(self) -> None:
        """Hang up."""
        self.microphone.stop()
        await self._pc.close()


@contextlib.asynccontextmanager
async def calling(http: str, *, model: str = "gpt-realtime", key: str = "any-key") -> Any:
    """A call of the gateway at `http`, with a session; it is hung up at the end."""
    peer = Peer()
    try:
        headers = {"Authorization": f"Bearer {key}", "Content-Type": SDP}
        async with httpx.AsyncClient(base_url=http) as client:
            address = f"/v1/realtime/calls?model={model}"
            answer = await client.post(address, content=await peer.offer(), headers=headers)
        yield await peer.accept(answer)
    finally:
        await peer.close()
