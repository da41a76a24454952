"""A peer connection of `aiortc` whose `close` waits for everything that it started.

The library starts tasks of which it keeps no handle, and loses sight of sockets when a description is cut short: of those
that it is opening while it gathers, and of all but the first that it closes while it applies an answer. So
descriptions run to their end here, and `close` comes after them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Mapping
from typing import Any

from aiortc import (
    RTCBundlePolicy,
    RTCConfiguration,
    RTCIceServer,
    RTCPeerConnection,
    RTCRtpSender,
    RTCSessionDescription,
)

__all__ = ["Peer", "uncancelled"]

_ASKING = ("server_reflexive_candidate", "relayed_candidate")
"""aioice's coroutines that ask a STUN and a TURN server, each in a task of its own."""
_SETTLING = 2.0
"""Seconds for the library's last steps after its close. They take milliseconds."""


class Peer(RTCPeerConnection):
    """One call's connection: audio and data share one transport. `ice_servers`: URLs, or mappings as in WebRTC."""

    def __init__(self, ice_servers: Iterable[str | Mapping[str, Any]] = ()) -> None:
        servers = [
            RTCIceServer(urls=server) if isinstance(server, str) else RTCIceServer(**server)
            for server in ice_servers
        ]
        super().__init__(RTCConfiguration(iceServers=servers, bundlePolicy=RTCBundlePolicy.MAX_BUNDLE))
        self._describing: asyncio.Task[None] | None = None
        self._connecting: set[asyncio.Task[Any]] = set()

    def only_opus(self) -> None:
        """Offer no other codec: what else the library knows is telephone quality, and an answer with that is none."""
        for transceiver in self.getTransceivers():
            known = RTCRtpSender.getCapabilities(transceiver.kind).codecs
            transceiver.setCodecPreferences([codec for codec in known if codec.mimeType == "audio/opus"])

    async def offer(self) -> str:
        """The SDP to send, once this end's addresses are known. Cancelled, it asks no server any more and ends."""
        await self._whole(self.setLocalDescription(await self.createOffer()))
        return str(self.localDescription.sdp)

    async def accept(self, answer: str) -> None:
        """Take the other end's SDP. Raises whatever the library's parser stumbles over."""
        await self._whole(self.setRemoteDescription(RTCSessionDescription(answer, "answer")))

    async def _whole(self, describing: Coroutine[Any, Any, None]) -> None:
        self._describing = asyncio.get_running_loop().create_task(describing)
        # After a cancellation nobody else looks at what became of it.
        self._describing.add_done_callback(lambda task: task.cancelled() or task.exception())
        try:
            await asyncio.shield(self._describing)
        except asyncio.CancelledError:
            self._ask_no_more()
            raise

    def _ask_no_more(self) -> None:
        # What remains is opening local sockets: milliseconds.
        connections = [transport._connection for transport in _ice_transports(self)]
        for task in asyncio.all_tasks():
            if _asks_for(task, connections):
                task.cancel()

    async def _RTCPeerConnection__connect(self) -> None:  # noqa: N802
        # The library's own, which it starts after each description and forgets.
        task = asyncio.current_task()
        assert task is not None
        self._connecting.add(task)
        try:
            await super()._RTCPeerConnection__connect()  # type: ignore[misc]
        finally:
            self._connecting.discard(task)

    async def close(self) -> None:
        """End everything: afterwards there is no socket, task or thread of this connection. Idempotent."""
        while self._describing is not None and not self._describing.done():
            self._ask_no_more()  # also those that were only begun after the cancellation
            await asyncio.wait({self._describing}, timeout=0.01)
        await super().close()
        await asyncio.sleep(0)  # what was started just now begins, and sees that it is closed
        if self._connecting:
            await asyncio.wait(self._connecting, timeout=_SETTLING)
        # A path that was found in the turn of the close is watched from then on: end that, too.
        for transport in _ice_transports(self):
            await transport._connection.close()


def _ice_transports(peer: RTCPeerConnection) -> set[Any]:
    dtls = {transceiver.receiver.transport for transceiver in peer.getTransceivers()}
    if peer.sctp is not None:
        dtls.add(peer.sctp.transport)
    return {transport.transport for transport in dtls}


def _asks_for(task: asyncio.Task[Any], connections: list[Any]) -> bool:
    """Whether a task of aioice asks a server on behalf of one of these connections."""
    frame = getattr(task.get_coro(), "cr_frame", None)
    if frame is None or frame.f_code.co_name not in _ASKING:
        return False
    if (protocol := frame.f_locals.get("protocol")) is not None:
        return protocol.receiver in connections
    factory = frame.f_locals.get("protocol_factory")
    return any(cell.cell_contents in connections for cell in getattr(factory, "__closure__", None) or ())


async def uncancelled(task: asyncio.Task[None]) -> None:
    """Wait for `task` to its end; a cancellation comes through after it."""
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as wish:
            cancelled = wish
    if cancelled is not None:
        raise cancelled
    task.result()
