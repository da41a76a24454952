"""A flood of Realtime frames on loopback: our client beside the barest loop, in one run.

The server (a process of its own) sends `N` audio deltas of 20 ms as fast as they are read, or counts the appends it
gets; frames are serialised beforehand. The bare loop is websockets' sans-I/O protocol under an `asyncio.Protocol`,
msgspec and pybase64: nothing of ours. What counts is CPU of the client's process for an event.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pybase64
from websockets.client import ClientProtocol
from websockets.frames import Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

__all__ = ["main", "measure"]

N = 20_000
PCM = bytes(range(240)) * 4
DELTA = json.dumps(
    {
        "type": "response.output_audio.delta",
        "event_id": "event_0123456789",
        "response_id": "resp_1",
        "item_id": "item_1",
        "output_index": 0,
        "content_index": 0,
        "delta": pybase64.b64encode(PCM).decode(),
    }
).encode()


class Server(asyncio.Protocol):
    """Enough of the service: created, updated, one long reply, and a count of what it was sent."""

    def connection_made(self, transport: Any) -> None:
        self.wire, self.protocol = transport, ServerProtocol(max_size=None)
        self.appended, self.resume = 0, asyncio.Event()
        self.resume.set()

    def pause_writing(self) -> None:
        self.resume.clear()

    def resume_writing(self) -> None:
        self.resume.set()

    def data_received(self, data: bytes) -> None:
        self.protocol.receive_data(data)
        for event in self.protocol.events_received():
            if not hasattr(event, "opcode"):
                self.protocol.send_response(self.protocol.accept(event))
                self.say({"type": "session.created", "session": {"id": "sess_1", "type": "realtime"}})
            elif event.opcode is Opcode.TEXT:
                self.take(event.data)
        self.flush()

    def take(self, data: bytes) -> None:
        message = msgspec.json.decode(data)
        if message["type"] == "input_audio_buffer.append":
            # In bytes, since some libraries join frames before they send them.
            self.appended += len(pybase64.b64decode(message["audio"]))
            if self.appended == N * len(PCM) and self.protocol.state is State.OPEN:
                self.say({"type": "input_audio_buffer.cleared"})
            return
        if message["type"] == "session.update":
            self.say({"type": "session.updated", "session": {"id": "sess_1", "type": "realtime"}})
        elif message["type"] == "response.create":
            asked = message.get("response") or {}
            self.task = asyncio.get_running_loop().create_task(self.reply(asked.get("metadata")))

    async def reply(self, metadata: object) -> None:
        """A reply as protocol §6 has it: some libraries give out audio only in that order."""
        part = {"response_id": "resp_1", "item_id": "item_1", "output_index": 0, "content_index": 0}
        item = {
            "id": "item_1",
            "type": "message",
            "role": "assistant",
            "status": "in_progress",
            "content": [],
        }
        response = {"id": "resp_1", "object": "realtime.response", "status": "in_progress", "output": []}
        response["metadata"] = metadata
        self.say({"type": "response.created", "response": response})
        self.say({"type": "response.output_item.added", **part, "item": item})
        self.say({"type": "conversation.item.added", "item": item})
        content = {"type": "audio", "transcript": ""}
        self.say({"type": "response.content_part.added", **part, "part": content})
        for number in range(N):
            self.protocol.send_text(DELTA)
            if number % 50 == 49:
                self.flush()
                await self.resume.wait()
                await asyncio.sleep(0)
        item = {**item, "status": "completed", "content": [{"type": "output_audio", "transcript": ""}]}
        self.say({"type": "response.output_audio.done", **part})
        self.say({"type": "response.content_part.done", **part, "part": content})
        self.say({"type": "response.output_item.done", **part, "item": item})
        done = {**response, "status": "completed", "output": [item]}
        self.say({"type": "response.done", "response": done})

    def say(self, message: dict[str, Any]) -> None:
        self.protocol.send_text(json.dumps({"event_id": "event_1", **message}).encode())
        self.flush()

    def flush(self) -> None:
        for data in self.protocol.data_to_send():
            if data:
                self.wire.write(data)
            else:  # the sans-I/O protocol's sign for the end of the stream
                self.wire.close()


class Bare(asyncio.Protocol):
    """The loop that does nothing but the wire and the codec."""

    def __init__(self, url: str) -> None:
        self.protocol = ClientProtocol(parse_uri(url), max_size=None)
        self.feed: Callable[[bytes], None] = self.hear
        self.waiting: dict[str, asyncio.Future[None]] = {}
        self.shaken = False
        self.resume = asyncio.Event()
        self.resume.set()
        self.decode = msgspec.json.Decoder(Audio).decode
        self.heard = 0

    def connection_made(self, transport: Any) -> None:
        self.wire = transport
        self.protocol.send_request(self.protocol.connect())
        self.flush()

    def pause_writing(self) -> None:
        self.resume.clear()

    def resume_writing(self) -> None:
        self.resume.set()

    def data_received(self, data: bytes) -> None:
        self.protocol.receive_data(data)
        events = self.protocol.events_received()
        if not self.shaken and events:
            self.shaken, events = True, events[1:]
        for event in events:
            if event.opcode is Opcode.TEXT:  # type: ignore[union-attr]
                self.feed(event.data)  # type: ignore[union-attr]

    def hear(self, data: bytes) -> None:
        if b"output_audio.delta" in data[:60]:
            self.heard += len(pybase64.b64decode(self.decode(data).delta))
            return
        name = msgspec.json.decode(data)["type"]
        if name in self.waiting and not self.waiting[name].done():
            self.waiting[name].set_result(None)

    def send(self, data: bytes) -> None:
        self.protocol.send_text(data)
        self.flush()

    def flush(self) -> None:
        for data in self.protocol.data_to_send():
            if data:
                self.wire.write(data)

    async def until(self, name: str) -> None:
        self.waiting[name] = asyncio.get_running_loop().create_future()
        await self.waiting[name]


class Audio(msgspec.Struct):
    delta: str


async def bare(url: str, port: int, mode: str) -> float:
    loop = asyncio.get_running_loop()

    async def connect() -> Bare:
        _, protocol = await loop.create_connection(lambda: Bare(url), "127.0.0.1", port)
        await protocol.until("session.created")
        protocol.send(b'{"type":"session.update","session":{"type":"realtime"}}')
        await protocol.until("session.updated")
        return protocol

    if mode == "connect":
        begun = time.process_time()
        for _ in range(200):
            (await connect()).wire.abort()
        return (time.process_time() - begun) / 200
    client = await connect()
    begun = time.process_time()
    if mode == "receive":
        client.send(b'{"type":"response.create"}')
        await client.until("response.done")
        assert client.heard == N * len(PCM)
    else:
        done = loop.create_task(client.until("input_audio_buffer.cleared"))
        for _ in range(N):
            client.send(b'{"type":"input_audio_buffer.append","audio":"' + pybase64.b64encode(PCM) + b'"}')
            if not client.resume.is_set():
                await client.resume.wait()
        await done
    return (time.process_time() - begun) / N


async def ours(url: str, port: int, mode: str) -> float:
    import vivavoce

    def make() -> vivavoce.Voice:
        return vivavoce.Voice("openai-realtime", url=url, api_key="not-a-real-key", model="bench")

    warm = make()
    await warm.connect()
    await warm.close()
    if mode == "connect":
        spent = 0.0
        for _ in range(200):
            begun = time.process_time()
            voice = make()
            await voice.connect()
            spent += time.process_time() - begun
            await voice.close()
        return spent / 200
    voice = make()
    await voice.connect()
    heard = 0

    def hear(event: vivavoce.events.Speaking) -> None:
        nonlocal heard
        heard += len(event.audio)

    voice.on("speaking", hear)
    begun = time.process_time()
    if mode == "receive":
        done = asyncio.Event()
        voice.on("response.done", lambda event: done.set())
        await voice.answer()
        await done.wait()
        assert heard == N * len(PCM)
    else:
        counted = asyncio.Event()
        voice.on("openai-realtime:input_audio_buffer.cleared", lambda event: counted.set())
        for _ in range(N):
            await voice.send(PCM)
        await counted.wait()
    spent = (time.process_time() - begun) / N
    await voice.close()
    return spent


def serve() -> None:
    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", 0)
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()

    asyncio.run(run())


def measure(rounds: int = 3) -> dict[str, tuple[float, float]]:
    """Mode -> CPU seconds of the bare loop and of ours, each the best of `rounds`, interleaved."""
    server = subprocess.Popen([sys.executable, __file__, "serve"], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    port = int(server.stdout.readline())
    try:
        best: dict[tuple[str, str], float] = {}
        for _ in range(rounds):
            for mode in ("receive", "send", "connect"):
                for who in ("bare", "ours"):
                    done = subprocess.run(
                        [sys.executable, __file__, who, mode, str(port)],
                        capture_output=True,
                        text=True,
                        check=True,
                    )
                    best[mode, who] = min(float(done.stdout), best.get((mode, who), 1e9))
        return {mode: (best[mode, "bare"], best[mode, "ours"]) for mode in ("receive", "send", "connect")}
    finally:
        server.terminate()
        server.wait(10)


def main() -> None:
    if sys.argv[1] == "serve":
        serve()
        return
    who, mode, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
    url = f"ws://127.0.0.1:{port}/v1/realtime"
    print(asyncio.run((bare if who == "bare" else ours)(url, port, mode)))


if __name__ == "__main__":
    main()
