"""What calls may use, and how they end with the gateway: the same rules as over a WebSocket."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

pytest.importorskip("aiortc", reason="aiortc is not installed")

from gateways import Script
from vivavoce.testing import Reply
from vivavoce_gateway.config import Limits
from webrtc_peer import SDP, Peer, calling


async def offered() -> str:
    peer = Peer()
    try:
        return await peer.offer()
    finally:
        await peer.close()


async def post(http: str, sdp: str, key: str = "any-key") -> httpx.Response:
    headers = {"Authorization": f"Bearer {key}", "Content-Type": SDP}
    async with httpx.AsyncClient(base_url=http) as client:
        return await client.post("/v1/realtime/calls?model=gpt-realtime", content=sdp, headers=headers)


def figure(gateway: Any, name: str) -> float:
    """A figure of the gateway, as its scrapers read it."""
    found = re.search(rf"^{re.escape(name)} (\S+)$", gateway.gateway.metrics.text().decode(), re.MULTILINE)
    return float(found.group(1)) if found else 0.0


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


async def test_calls_and_sockets_share_the_places(serve_calls: Any, script: Script) -> None:
    """A key's places and all places are the same for both transports; a place is free again when its session ends."""
    limits = Limits(sessions=3, sessions_per_key=2)
    gateway = await serve_calls(script.config(keys=("one", "two", "three"), limits=limits))
    sdp = await offered()
    headers = {"Authorization": "Bearer one"}
    client = await gateway.open(additional_headers=headers)
    async with calling(gateway.http, key="one") as peer:
        assert code(await post(gateway.http, sdp, "one")) == (503, "session_limit_exceeded")
        async with calling(gateway.http, key="two"):
            assert code(await post(gateway.http, sdp, "three")) == (503, "session_limit_exceeded")
        await client.connection.close()
        peer.send("input_audio_buffer.clear")
        await peer.until("input_audio_buffer.cleared")
    assert figure(gateway, 'vivavoce_refused_total{reason="session_limit_exceeded"}') == 2
    async with asyncio.timeout(10):
        while gateway.gateway.places.taken:
            await asyncio.sleep(0.02)


async def test_offers_at_once_take_no_more_places_than_there_are(serve_calls: Any, script: Script) -> None:
    """Where one place is left, one of many offers gets it."""
    gateway = await serve_calls(script.config(limits=Limits(sessions=1)))
    sdp = await offered()
    answers = await asyncio.gather(*(post(gateway.http, sdp) for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [201, 503, 503, 503, 503]
    assert gateway.gateway.places.taken == 1


async def test_offer_that_nobody_follows(
    serve_calls: Any, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that never comes costs its place for so long as a call has to open."""
    gateway = await serve_calls(script.config())
    sdp = await offered()
    assert (await post(gateway.http, sdp)).status_code == 201  # loads what calls need
    monkeypatch.setattr("vivavoce_gateway.calls._OPEN_S", 0.2)
    assert (await post(gateway.http, sdp)).status_code == 201
    assert figure(gateway, "vivavoce_calls_open") == 2
    async with asyncio.timeout(10):
        while figure(gateway, 'vivavoce_refused_total{reason="call_not_opened"}') == 0:
            await asyncio.sleep(0.02)
    assert script.made == []


async def test_call_expires(serve_calls: Any, script: Script) -> None:
    """The longest duration: the client and its sideband are told why, and the call ends."""
    script.replies = [Reply("long", 20_000)]
    gateway = await serve_calls(script.config(limits=Limits(session_seconds=1)))
    async with calling(gateway.http) as peer:
        sideband = await gateway.open(f"?call_id={peer.id}")
        assert figure(gateway, "vivavoce_calls_open") == figure(gateway, "vivavoce_sidebands_open") == 1
        peer.send("response.create")
        assert (await peer.until("error"))["error"]["code"] == "session_expired"
        assert (await sideband.closed())[0] == 1001
        async with asyncio.timeout(10):
            await peer.closed.wait()
    assert figure(gateway, 'vivavoce_sessions_total{end="expired",provider="scripted"}') == 1
    await gateway.gateway.calls.ended(5)
    assert figure(gateway, "vivavoce_calls_open") == figure(gateway, "vivavoce_sidebands_open") == 0


async def test_call_that_is_silent_is_not_idle(serve_calls: Any, script: Script) -> None:
    """Its track goes on; what counts as a sign of life over a WebSocket, audio of silence, does so here."""
    gateway = await serve_calls(script.config(limits=Limits(idle_seconds=0.5)))
    async with calling(gateway.http) as peer:
        await asyncio.sleep(1.2)
        peer.send("input_audio_buffer.clear")
        await peer.until("input_audio_buffer.cleared")
    assert figure(gateway, 'vivavoce_audio_seconds_total{direction="in"}') > 0.8


async def test_drain_ends_calls(serve_calls: Any, script: Script) -> None:
    """No new calls; running ones go on until the time is up, and are told then."""
    gateway = await serve_calls(script.config())
    sdp = await offered()
    async with calling(gateway.http) as peer:
        draining = asyncio.create_task(gateway.gateway.drained(0.5))
        await asyncio.sleep(0)
        assert code(await post(gateway.http, sdp)) == (503, "server_shutting_down")
        peer.send("input_audio_buffer.clear")
        await peer.until("input_audio_buffer.cleared")
        assert (await peer.until("error"))["error"]["code"] == "session_expired"
        await draining
    assert len(gateway.gateway.calls) == gateway.gateway.places.taken == 0


PROGRAM = """
import aioice.ice
aioice.ice.get_host_addresses = lambda *args, **kwargs: ["127.0.0.1"]
from vivavoce.testing import ScriptedProvider
from vivavoce_gateway import GatewayConfig, serve as command
class Provider(ScriptedProvider):
    name = "scripted"
command.GatewayConfig.load = lambda *a, **k: GatewayConfig(provider=Provider)
command.serve()
"""


async def listening(http: str) -> None:
    """Wait until the process answers; it tells its address before."""
    async with httpx.AsyncClient(base_url=http) as client:
        while True:
            with contextlib.suppress(httpx.ConnectError):
                await client.get("/healthz")
                return
            await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[tuple[Any, str]]:
    """The command in a process of its own, and its address."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PROGRAM, "--port", "0", "--log-format", "json"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(40):
            found = re.search(rb"http://\S+?(?=/ )", await process.stdout.readline())
            assert found is not None
            http = found.group().decode()
            await listening(http)
            yield process, http
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def ends(process: Any) -> list[str]:
    """Wait until it has ended; how its sessions did."""
    await process.wait()
    logged = (await process.stderr.read()).decode()
    return [json.loads(line)["end"] for line in logged.splitlines() if "session ended" in line]


async def test_sigterm_lets_a_call_end() -> None:
    """SIGTERM: a running call goes on to its end, then the process ends."""
    async with serving() as (process, http):
        async with calling(http) as peer:
            process.send_signal(signal.SIGTERM)
            await process.stderr.readuntil(b"draining: open sessions 1")
            peer.send("response.create")
            await peer.until("response.done")
        assert await ends(process) == ["client"]


async def test_second_sigterm_ends_a_call_at_once() -> None:
    """Who cannot wait sends it twice: the call is hung up, and the process does not wait for its library."""
    async with serving() as (process, http), calling(http) as peer:
        process.send_signal(signal.SIGTERM)
        await process.stderr.readuntil(b"draining: open sessions 1")
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            await peer.closed.wait()
            assert await ends(process) == ["client"]


ENDS_AT_ONCE = """
import asyncio, contextlib, os
import aioice.ice
aioice.ice.get_host_addresses = lambda *args, **kwargs: ["127.0.0.1"]
from gateways import Script, start
from webrtc_peer import calling

async def main():
    gateway = await start(contextlib.AsyncExitStack(), Script().config())
    peer = await calling(gateway.http).__aenter__()
    (held,) = gateway.gateway.calls._tasks
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    await asyncio.wait({held}, timeout=25)
    print(held.done(), flush=True)
    os._exit(0)  # the other end would hang as well

asyncio.run(main())
"""


def test_call_whose_library_was_cancelled() -> None:
    """At the end of a process all tasks are cancelled at once, those of the WebRTC library too: the call still ends."""
    support = {"PYTHONPATH": os.pathsep.join([*sys.path, str(Path(__file__).parents[1] / "support")])}
    command = [sys.executable, "-c", ENDS_AT_ONCE]
    done = subprocess.run(command, env=os.environ | support, capture_output=True, text=True, timeout=40)
    assert done.stdout == "True\n", done.stderr
