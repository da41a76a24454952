"""How many sessions one gateway process carries at real-time pace, the delay it adds, and what a session costs.

    python tests/bench/gateway_load.py [--sessions 1 10 25 50 100] [--seconds 5] [--churn 1000] [--json]

Every session sends a frame of 20 ms 50 times a second and gets it back from a provider that echoes, so 50 frames a second go
each way. The delay of a frame is from its send to its receipt, through sockets and two event loops: the gateway's part is less.
The gateway runs in a process on a core of its own, the clients in another.

`--vad`: conversations. The gateway looks for speech in every session (`server_vad`); each client sends recorded speech in the noise
of a quiet room, every session at another place of it, and every turn is answered by four seconds of audio at real-time pace. Ten
times a second a client asks something that is answered at once, after all that it sent before: the delay is until that answer.

`--churn`: sessions opened and closed, half of them with turn detection and speech, then memory, descriptors and tasks compared.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import re
import struct
import subprocess
import sys
import time
import wave
from functools import cache
from pathlib import Path
from typing import Any

import pybase64
from vivavoce.audio import PCM16_24K, AudioFormat, Converter

ROOT = Path(__file__).resolve().parents[2]
FRAME = 960
DELAY_MS = 20
HEAD = struct.Struct("<d")
SERVER = """
import asyncio, os
from vivavoce.events import ResponseCreated, ResponseDone, Speaking
from vivavoce.hookspecs import hookimpl
from vivavoce_gateway import GatewayConfig, Limits, Route
from vivavoce_gateway.app import create_app
from vivavoce_gateway.serve import bind
import uvicorn

class Echo:
    api, name, capabilities = 1, "echo", frozenset(["realtime"])
    @hookimpl
    def connect(self, context): pass
    @hookimpl
    def send(self, context, audio): context.emit(Speaking(audio))

class Talker:
    "Leaves the turns to the gateway, which then looks for speech; answers each with four seconds at real-time pace."
    api, name, capabilities = 1, "talker", frozenset(["realtime", "turns", "interrupt"])
    task = None
    @hookimpl
    def connect(self, context): pass
    @hookimpl
    def send(self, context, audio): pass
    @hookimpl
    def commit_input(self, context): pass
    @hookimpl
    def answer(self, context):
        self.number = getattr(self, "number", 0) + 1
        id = f"r{self.number}"
        context.emit(ResponseCreated(id))
        self.task = asyncio.get_running_loop().create_task(self.talk(context, id))
        return id
    async def talk(self, context, id):
        loop = asyncio.get_running_loop()
        due, status = loop.time(), "cancelled"
        try:
            for _ in range(200):
                context.emit(Speaking(bytes(960), id, id + "i"))
                due += 0.02
                await asyncio.sleep(max(0, due - loop.time()))
            status = "completed"
        finally:
            context.emit(ResponseDone(id, status))
    @hookimpl
    def interrupt(self, context):
        if self.task: self.task.cancel()
    @hookimpl
    def close(self, context):
        if self.task: self.task.cancel()

config = GatewayConfig(provider=Echo, models={"vad": Route(provider=Talker)}, limits=Limits(
    sessions=100_000, sessions_per_key=100_000, audio_rate=1e6, events_per_second=1e6, session_seconds=1e6))
app = create_app(config)
async def state(scope, receive, send):
    import gc; gc.collect()
    rss = int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    cpu = sum(os.times()[:2])
    text = f"{rss} {len(os.listdir('/proc/self/fd'))} {len(asyncio.all_tasks())} {cpu}".encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": text})
async def root(scope, receive, send):
    await (state if scope["path"] == "/state" else app)(scope, receive, send)
listening = bind("127.0.0.1", 0)
print(listening.getsockname()[1], flush=True)
uvicorn.Server(uvicorn.Config(root, lifespan="off", log_level="error", access_log=False, ws_per_message_deflate=False,
    ws_ping_interval=None)).run(sockets=[listening])
"""


class Gateway:
    """The process under load."""

    def __enter__(self) -> Gateway:
        pin = ["taskset", "-c", "0"] if (os.cpu_count() or 1) > 1 else []
        self._process = subprocess.Popen(
            [*pin, sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        if (os.cpu_count() or 1) > 1:
            os.sched_setaffinity(0, {1})
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(20)

    async def state(self) -> tuple[int, int, int, float]:
        """Resident bytes, descriptors, tasks, CPU seconds."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(b"GET /state HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        body = await reader.read()
        writer.close()
        found = re.search(rb"(\d+) (\d+) (\d+) ([\d.]+)", body.split(b"\r\n\r\n", 1)[1])
        assert found is not None
        return int(found[1]), int(found[2]), int(found[3]), float(found[4])


class Line(asyncio.Protocol):
    """A WebSocket client as cheap as can be, so that the clients' core is not what is measured: frames are masked with zeros,
    which changes nothing, and only the head of a frame that comes back is looked at."""

    def __init__(self, port: int, model: str) -> None:
        self._hello = f"GET /v1/realtime?model={model} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[None] = loop.create_future()
        self.gone: asyncio.Future[None] = loop.create_future()
        self.delays: list[float] = []
        self.turns = 0
        self.frames = 0
        self._buffer = bytearray()
        self._upgraded = False

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.write(self._hello.encode())

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.gone.done():
            self.gone.set_result(None)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._upgraded:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            assert self._buffer.startswith(b"HTTP/1.1 101")
            del self._buffer[: end + 4]
            self._upgraded = True
        used = 0
        while (frame := self._frame(used)) is not None:
            start, used = frame
            self._take(start, used)
        del self._buffer[:used]

    def _frame(self, at: int) -> tuple[int, int] | None:
        """Where the payload of the frame at `at` begins and ends, if it is there."""
        if len(self._buffer) < at + 2:
            return None
        size, start = self._buffer[at + 1], at + 2
        if size >= 126:
            start += 2 if size == 126 else 8
            if len(self._buffer) < start:
                return None
            size = int.from_bytes(self._buffer[at + 2 : start], "big")
        return (start, start + size) if len(self._buffer) >= start + size else None

    def _take(self, start: int, end: int) -> None:
        if self._buffer.startswith(b'{"type":"error"', start):
            asked = self._buffer.find(b'"at ', start, end) + 4
            assert asked > start, bytes(self._buffer[start:end])
            self.delays.append(time.monotonic() - float(self._buffer[asked : asked + 12]))
        elif self._buffer.startswith(b'{"type":"input_audio_buffer.committed"', start):
            self.turns += 1
        elif self._buffer.startswith(b'{"type":"response.output_audio.delta"', start):
            self.frames += 1
            audio = self._buffer.find(b'"delta":"', start, end) + 9
            sent = HEAD.unpack(pybase64.b64decode(bytes(self._buffer[audio : audio + 12]))[: HEAD.size])[0]
            if sent:
                self.delays.append(time.monotonic() - sent)
        elif not self.ready.done() and self._buffer.startswith(b'{"type":"session.created"', start):
            self.ready.set_result(None)

    def send(self, text: bytes) -> None:
        """A masked text frame of 126 to 65,535 bytes."""
        self.transport.write(b"\x81\xfe" + len(text).to_bytes(2, "big") + bytes(4) + text)

    async def close(self) -> None:
        self.transport.write(b"\x88\x80" + bytes(4))
        await self.gone


async def dial(gateway: Gateway, model: str) -> Line:
    """Open a session."""
    loop = asyncio.get_running_loop()
    _, line = await loop.create_connection(lambda: Line(gateway.port, model), "127.0.0.1", gateway.port)
    await asyncio.wait([line.ready, line.gone], timeout=20, return_when=asyncio.FIRST_COMPLETED)
    if not line.ready.done():
        raise SystemExit("gateway_load: the gateway did not open a session")
    return line


async def echo(line: Line, ends: float, offset: float) -> None:
    """Send at real-time pace until `ends`, each frame with the time in it."""
    rest = bytes(FRAME - HEAD.size)
    due = time.monotonic() + offset
    while due < ends:
        await asyncio.sleep(max(0, due - time.monotonic()))
        audio = pybase64.b64encode(HEAD.pack(time.monotonic()) + rest)
        line.send(b'{"type":"input_audio_buffer.append","audio":"' + audio + b'"}')
        due += 0.02
    await asyncio.sleep(0.3)


async def converse(line: Line, ends: float, offset: float) -> None:
    """Speak at real-time pace until `ends`, beginning `offset` into a frame and somewhere in the recording."""
    frames = recording()
    at, due = int(offset / 0.02 * len(frames)), time.monotonic() + offset
    while due < ends:
        await asyncio.sleep(max(0, due - time.monotonic()))
        line.send(frames[at % len(frames)])
        if at % 5 == 0:
            asked = f"at {time.monotonic():012.3f}".encode()
            line.send(b'{"type":"nothing","event_id":"' + asked + b'","padding":"' + b"." * 64 + b'"}')
        at, due = at + 1, due + 0.02
    await asyncio.sleep(0.3)


@cache
def recording() -> list[bytes]:
    """Three short utterances in the noise of a quiet room (about -60 dBFS), 4.5 s between them, as messages of 20 ms."""
    import numpy as np

    quiet = PCM16_24K.bytes_for(4500)
    audio = b""
    for name in ("go-forward-ten-meters", "hello", "eight-plus-three"):
        with wave.open(str(ROOT / "examples" / "audio" / f"{name}.wav")) as file:
            converter = Converter(AudioFormat(file.getframerate()), PCM16_24K)
            audio += converter.feed(file.readframes(file.getnframes())) + converter.flush() + bytes(quiet)
    samples = np.frombuffer(audio, "<i2").astype(np.int32)
    samples = samples + np.random.default_rng(1).normal(0, 30, len(samples)).astype(np.int32)
    audio = np.clip(samples, -32768, 32767).astype("<i2").tobytes()
    pieces = (audio[at : at + FRAME] for at in range(0, len(audio) - FRAME + 1, FRAME))
    head = b'{"type":"input_audio_buffer.append","audio":"'
    return [head + pybase64.b64encode(piece) + b'"}' for piece in pieces]


def at(delays: list[float], part: float) -> float:
    ordered = sorted(delays)
    return ordered[min(len(ordered) - 1, math.ceil(len(ordered) * part) - 1)] * 1000 if ordered else math.nan


async def load(gateway: Gateway, sessions: int, seconds: float, model: str) -> dict[str, Any]:
    """One row."""
    connections = [await dial(gateway, model) for _ in range(sessions)]
    opened = await gateway.state()
    ends = time.monotonic() + seconds
    talk = converse if model == "vad" else echo
    await asyncio.gather(*(talk(c, ends, 0.02 * n / sessions) for n, c in enumerate(connections)))
    after = await gateway.state()
    delays = [delay for connection in connections for delay in connection.delays]
    await asyncio.gather(*(connection.close() for connection in connections))
    cpu = (after[3] - opened[3]) / (seconds + 0.3)
    return {
        "sessions": sessions,
        "p50_ms": round(at(delays, 0.5), 2),
        "p99_ms": round(at(delays, 0.99), 2),
        "cpu_percent": round(cpu * 100),
        "mib": round(after[0] / 1024**2, 1),
        "frames_back": round(sum(c.frames for c in connections) / (sessions * seconds * 50), 3),
        "turns": sum(connection.turns for connection in connections),
    }


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The straight lines through the rows: what one session more costs; and the most sessions that were served in time."""
    import numpy as np

    count = [row["sessions"] for row in rows]
    served = [row["sessions"] for row in rows if row["p99_ms"] < DELAY_MS]
    return {
        "cpu_percent_per_session": round(
            float(np.polyfit(count, [row["cpu_percent"] for row in rows], 1)[0]), 2
        ),
        "kib_per_session": round(float(np.polyfit(count, [row["mib"] for row in rows], 1)[0]) * 1024),
        f"sessions_under_{DELAY_MS}_ms": max(served, default=0),
    }


async def churn(gateway: Gateway, sessions: int) -> dict[str, Any]:
    """Sessions by the thousand: what is left of them."""

    frames = recording()

    async def some(count: int) -> None:
        for number in range(count):
            connection = await dial(gateway, "vad" if number % 2 else "echo")
            for frame in frames[:75] if number % 2 else frames[:1]:
                connection.send(frame)
            await connection.close()

    await some(sessions // 5)  # what is made once
    await asyncio.sleep(0.5)
    before = await gateway.state()
    began = time.monotonic()
    await asyncio.gather(*(some(sessions // 4) for _ in range(4)))
    took = time.monotonic() - began
    await asyncio.sleep(0.5)
    after = await gateway.state()
    return {
        "churned": sessions,
        "per_second": round(sessions / took),
        "kib_more": (after[0] - before[0]) // 1024,
        "descriptors_more": after[1] - before[1],
        "tasks_more": after[2] - before[2],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--sessions", type=int, nargs="*", default=[1, 10, 25, 50, 75, 100])
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--churn", type=int, default=1000)
    parser.add_argument("--vad", type=int, nargs="*", default=[1, 10, 25, 50])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows: dict[str, Any] = {"echo": [], "vad": []}
    with Gateway() as gateway:
        print(f"{'sessions':>9} {'p50 ms':>8} {'p99 ms':>8} {'CPU %':>6} {'MiB':>7} {'back':>6} {'turns':>6}")
        for kind, counts in (("echo", options.sessions), ("vad", options.vad)):
            for count in counts:
                row = asyncio.run(load(gateway, count, options.seconds, kind))
                rows[kind].append(row)
                label = f"{count} vad" if kind == "vad" else str(count)
                print(
                    f"{label:>9} {row['p50_ms']:>8} {row['p99_ms']:>8} {row['cpu_percent']:>6} {row['mib']:>7} {row['frames_back']:>6} {row['turns']:>6}",
                    flush=True,
                )
            if len(counts) > 1:
                rows[f"{kind}_slope"] = summary(rows[kind])
                print(
                    f"{kind}: " + " ".join(f"{k}={v}" for k, v in rows[f"{kind}_slope"].items()), flush=True
                )
        if options.churn:
            rows["churn"] = asyncio.run(churn(gateway, options.churn))
            print(" ".join(f"{key}={value}" for key, value in rows["churn"].items()))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
