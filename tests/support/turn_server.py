"""A TURN server on 127.0.0.1 for tests (RFC 8656): long-term credentials, UDP, channels; as much as a client here needs."""

from __future__ import annotations

import asyncio
import struct
from typing import Any

from aioice import stun
from aioice.turn import make_integrity_key

__all__ = ["TurnServer"]

USER, PASSWORD, REALM = "me", "secret", "example"


class TurnServer(asyncio.DatagramProtocol):
    """`relayed` datagrams so far; `allocations` that exist."""

    def __init__(self) -> None:
        self.relayed = 0
        self.refused = 0
        self.allocations: dict[Any, Relay] = {}
        self._key = make_integrity_key(USER, REALM, PASSWORD)

    async def __aenter__(self) -> TurnServer:
        loop = asyncio.get_running_loop()
        self._socket, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", 0))
        self.url = f"turn:127.0.0.1:{self._socket.get_extra_info('sockname')[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        for relay in self.allocations.values():
            relay.socket.close()
        self._socket.close()
        await asyncio.sleep(0.01)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if data[0] & 0xC0 == 0x40:
            number, length = struct.unpack("!HH", data[:4])
            if (relay := self.allocations.get(addr)) is not None and number in relay.peers:
                self.relayed += 1
                relay.socket.sendto(data[4 : 4 + length], relay.peers[number])
            return
        request = stun.parse_message(data)
        if "USERNAME" not in request.attributes or not request.check_message_integrity(self._key):
            self.refused += 1
            challenge = {"ERROR-CODE": (401, "Unauthorized"), "NONCE": b"nonce", "REALM": REALM}
            self._answer(request, addr, stun.Class.ERROR, challenge)
        else:
            asyncio.get_running_loop().create_task(self._serve(request, addr))

    async def _serve(self, request: stun.Message, addr: Any) -> None:
        found: dict[str, Any] = {}
        if request.message_method == stun.Method.ALLOCATE:
            loop = asyncio.get_running_loop()
            relay = self.allocations[addr] = Relay(self, addr)
            relay.socket, _ = await loop.create_datagram_endpoint(lambda: relay, local_addr=("127.0.0.1", 0))
            found = {
                "LIFETIME": 600,
                "XOR-MAPPED-ADDRESS": addr,
                "XOR-RELAYED-ADDRESS": relay.socket.get_extra_info("sockname"),
            }
        elif request.message_method == stun.Method.CHANNEL_BIND:
            peer = request.attributes["XOR-PEER-ADDRESS"]
            self.allocations[addr].peers[request.attributes["CHANNEL-NUMBER"]] = peer
        elif request.message_method == stun.Method.REFRESH:
            found = {"LIFETIME": request.attributes["LIFETIME"]}
            if not found["LIFETIME"]:
                self.allocations.pop(addr).socket.close()
        self._answer(request, addr, stun.Class.RESPONSE, found)

    def _answer(self, request: stun.Message, addr: Any, kind: Any, attributes: dict[str, Any]) -> None:
        answer = stun.Message(request.message_method, kind, request.transaction_id)
        answer.attributes.update(attributes)
        if kind == stun.Class.RESPONSE:
            answer.add_message_integrity(self._key)
        self._socket.sendto(bytes(answer), addr)

    def back(self, client: Any, number: int, data: bytes) -> None:
        self.relayed += 1
        self._socket.sendto(struct.pack("!HH", number, len(data)) + data, client)


class Relay(asyncio.DatagramProtocol):
    """One allocation."""

    socket: Any

    def __init__(self, server: TurnServer, client: Any) -> None:
        self.peers: dict[int, Any] = {}
        self._server, self._client = server, client

    def datagram_received(self, data: bytes, addr: Any) -> None:
        for number, peer in self.peers.items():
            if peer == addr:
                self._server.back(self._client, number, data)
