"""A small service that speaks the OpenAI Realtime protocol, to try an app without a key. It answers with a tone.

    service = await serve()
    voice = Voice("openai-realtime", url=service.url, api_key="any")

As a program it serves until it is stopped: `python examples/realtime_service.py`.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import math

from vivavoce_openai_realtime.protocol import ServerProtocol
from vivavoce_openai_realtime.protocol.client_events import (
    ClientEvent,
    InputAudioBufferCommit,
    ResponseCancel,
    ResponseCreate,
)
from websockets.asyncio.server import Server, ServerConnection
from websockets.asyncio.server import serve as listen
from websockets.exceptions import ConnectionClosed

RATE = 24_000
TONE = array.array(
    "h", [round(8_000 * math.sin(2 * math.pi * 440 * n / RATE)) for n in range(RATE // 2)]
).tobytes()


class Service:
    """`url` is where it listens; `sessions` are the protocol objects of all connections so far."""

    def __init__(self) -> None:
        self.url = ""
        self.sessions: list[ServerProtocol] = []
        self._server: Server | None = None

    async def start(self, port: int = 0) -> None:
        self._server = await listen(self._serve, "127.0.0.1", port)
        self.url = f"ws://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1/realtime"

    def drop(self) -> None:
        """Break every connection, as a bad network does."""
        assert self._server is not None
        for connection in self._server.connections:
            connection.transport.abort()

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, connection: ServerConnection) -> None:
        protocol = ServerProtocol(model="example")
        self.sessions.append(protocol)
        protocol.session_created()
        await _flush(connection, protocol)
        with contextlib.suppress(ConnectionClosed):
            async for frame in connection:
                if isinstance(frame, str):
                    for event in protocol.receive_text(frame.encode()):
                        _answer(protocol, event)
                await _flush(connection, protocol)


def _answer(protocol: ServerProtocol, event: ClientEvent) -> None:
    if isinstance(event, InputAudioBufferCommit):
        protocol.commit()
    elif isinstance(event, ResponseCancel):
        protocol.finish_response("cancelled", "client_cancelled")
    elif isinstance(event, ResponseCreate):
        reply = protocol.begin_response(event)
        protocol.text("I can only hum.", reply)
        if protocol.session["output_modalities"] == ["audio"]:
            protocol.audio(TONE, reply)
        protocol.finish_response(response_id=reply)


async def _flush(connection: ServerConnection, protocol: ServerProtocol) -> None:
    for frame in protocol.data_to_send():
        await connection.send(frame, text=True)


async def serve(port: int = 0) -> Service:
    """Begin to serve on this machine; port 0 is any free one."""
    service = Service()
    await service.start(port)
    return service


async def main() -> None:
    service = await serve(8765)
    print(f"a Realtime service at {service.url}; stop it with Ctrl-C")
    await asyncio.Event().wait()


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        print("stopped")
