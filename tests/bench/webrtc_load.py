"""WebRTC beside WebSocket, in one run: CPU a session, delay from mouth to ear, time to connect.

    python tests/bench/webrtc_load.py [--sessions 4] [--seconds 6] [--connects 10] [--rounds 2] [--json FILE]

Our client in this process, the gateway in another, with a provider that echoes. Every session says a click each second, in
silence, 50 frames a second; the delay is from the frame's `send` to the echo's `speaking`, so it has both ways in it. CPU is of the
process (user and system, all threads) for each second of one session. The transports take turns (A B A B); figures are medians.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import gateway_load

FRAME = bytes(960)
CLICK = b"\x00\x40\x00\xc0" * 240
EVERY = 50
LOOPBACK = """
import aioice.ice
aioice.ice.get_host_addresses = lambda *args, **kwargs: ["127.0.0.1"]
"""


def voice(port: int, transport: str) -> Any:
    from vivavoce import Voice

    options = {"api_key": "any", "model": "echo", "session": {"turn_detection": None}, "proxy": None}
    return Voice(
        "openai-realtime", url=f"http://127.0.0.1:{port}/v1/realtime", transport=transport, **options
    )


class Ear:
    """The delay of each click."""

    def __init__(self, one: Any) -> None:
        self.said: list[float] = []
        self.delays: list[float] = []
        self._quiet = EVERY
        one.on("speaking", self._hear)

    def _hear(self, event: Any) -> None:
        if max(memoryview(event.audio).cast("h"), default=0) < 4_000:
            self._quiet += 1
        elif self._quiet > 5:
            self._quiet = 0
            now = time.monotonic()
            self.delays.append(now - max((t for t in self.said if t <= now), default=now))


async def talk(one: Any, ear: Ear, ends: float, offset: float) -> None:
    due, number = time.monotonic() + offset, 0
    while due < ends:
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        click = number % EVERY == 25
        if click:
            ear.said.append(time.monotonic())
        await one.send(CLICK if click else FRAME)
        due, number = due + 0.02, number + 1
    await asyncio.sleep(0.4)


async def load(
    gateway: gateway_load.Gateway, transport: str, sessions: int, seconds: float
) -> dict[str, float]:
    voices = [voice(gateway.port, transport) for _ in range(sessions)]
    ears = [Ear(one) for one in voices]
    await asyncio.gather(*(one.connect() for one in voices))
    before, ours = await gateway.state(), time.process_time()
    began = time.monotonic()
    ends = began + seconds
    pairs = zip(voices, ears, strict=True)
    await asyncio.gather(*(talk(one, ear, ends, 0.02 * n / sessions) for n, (one, ear) in enumerate(pairs)))
    took = (time.monotonic() - began) * sessions
    client = (time.process_time() - ours) / took
    server = ((await gateway.state())[3] - before[3]) / took
    await asyncio.gather(*(one.close() for one in voices))
    delays = [delay for ear in ears for delay in ear.delays]
    return {
        "client_cpu_percent": client * 100,
        "gateway_cpu_percent": server * 100,
        "delay_ms": statistics.median(delays) * 1000 if delays else float("nan"),
        "clicks_back": len(delays) / max(1, sum(len(ear.said) for ear in ears)),
    }


async def connects(gateway: gateway_load.Gateway, transport: str, count: int) -> dict[str, float]:
    wall, cpu = [], []
    for _ in range(count):
        one = voice(gateway.port, transport)
        began, used = time.perf_counter(), time.process_time()
        await one.connect()
        wall.append(time.perf_counter() - began)
        cpu.append(time.process_time() - used)
        await one.close()
    return {"connect_ms": statistics.median(wall) * 1000, "connect_cpu_ms": statistics.median(cpu) * 1000}


ROWS = {
    "client_cpu_percent": "CPU of the client, % of a core a session",
    "gateway_cpu_percent": "CPU of the gateway, % of a core a session",
    "delay_ms": "delay from mouth to ear, both ways, ms",
    "clicks_back": "clicks that came back, of 1",
    "connect_ms": "connect, ms",
    "connect_cpu_ms": "connect, CPU of the client, ms",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--sessions", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--connects", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    try:
        import aiortc  # noqa: F401
    except ImportError:
        print("aiortc is not installed")
        return
    exec(LOOPBACK, {})
    gateway_load.SERVER = LOOPBACK + gateway_load.SERVER
    found: dict[str, list[dict[str, float]]] = {"websocket": [], "webrtc": []}
    with gateway_load.Gateway() as gateway:
        for transport in found:
            asyncio.run(connects(gateway, transport, 1))  # what is imported and made once
        for _ in range(options.rounds):
            for transport, rounds in found.items():
                row = asyncio.run(load(gateway, transport, options.sessions, options.seconds))
                rounds.append(row | asyncio.run(connects(gateway, transport, options.connects)))
    print(f"{'':44} {'websocket':>10} {'webrtc':>10}")
    medians = {
        transport: {key: statistics.median(row[key] for row in rounds) for key in ROWS}
        for transport, rounds in found.items()
    }
    for key, what in ROWS.items():
        print(f"{what:44} {medians['websocket'][key]:>10.2f} {medians['webrtc'][key]:>10.2f}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
