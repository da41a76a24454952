"""The command: where it listens, what it refuses, and how it ends."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
import websockets.asyncio.client
from click.testing import CliRunner
from vivavoce_gateway.serve import bind, serve

PROVIDER = """
from vivavoce.testing import ScriptedProvider
from vivavoce_gateway import GatewayConfig
import vivavoce_gateway.serve as module

class Provider(ScriptedProvider):
    name = "scripted"

load = GatewayConfig.load
GatewayConfig.load = classmethod(lambda cls, source, **changes: load(
    source, **{**changes, "provider": Provider}
))
module.serve()
"""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--host", "0.0.0.0"], "--api-key"),
        (["--host", "::"], "--insecure"),
        (["--host", "example.com"], "--api-key"),
        (["--api-key", "env:VIVAVOCE_NO_SUCH_KEY"], "VIVAVOCE_NO_SUCH_KEY"),
        (["--port", "70000"], "70000"),
        (["--config", "no-such-file.toml"], "no-such-file.toml"),
        (["--host", "192.0.2.1", "--insecure", "--port", "0"], "cannot listen"),
    ],
)
def test_bad_options(arguments: list[str], words: str) -> None:
    """One clear line with what to do, and a status that is not 0."""
    done = CliRunner().invoke(serve, arguments)
    assert done.exit_code in (1, 2)
    assert words in done.output
    assert "Traceback" not in done.output


def test_port_that_is_taken() -> None:
    """One line that names the address and what to do, status 1."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = CliRunner().invoke(serve, ["--port", str(port)])
    assert (done.exit_code, len(done.output.splitlines())) == (1, 1)
    assert f"cannot listen on 127.0.0.1:{port}" in done.output
    assert "--port" in done.output


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("provider = ", "is not a TOML file"),
        ('provider = "nonsense"', "the default provider: no provider is named 'nonsense'"),
        ('[models.mine]\nprovider = "nonsense"', "the provider of mine"),
        ('provider = "null"\n[config]\nrespnder = 1', "respnder"),
    ],
)
def test_bad_config_file(tmp_path: Any, text: str, words: str) -> None:
    """A config with a mistake is one line, before anybody connects."""
    file = tmp_path / "gateway.toml"
    file.write_text(text)
    done = CliRunner().invoke(serve, ["--config", str(file)])
    assert (done.exit_code, words in done.output) == (1, True), done.output
    assert len(done.output.splitlines()) == 1


@pytest.fixture
async def running() -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """The command in a process of its own, and its address."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PROVIDER, "--port", "0", "--log-format", "json"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    async with asyncio.timeout(30):
        line = (await process.stdout.readline()).decode()
    found = re.search(r"ws://\S+", line)
    assert found is not None, line
    url = found.group()
    yield process, url
    if process.returncode is None:
        process.kill()
    await process.wait()


async def test_address_is_told_once_it_can_be_reached(running: Any) -> None:
    """Who reads the line may connect at once: the connection waits for the loop, and is not refused."""
    _, url = running
    client = await websockets.asyncio.client.connect(url + "?model=gpt-realtime")
    assert json.loads(await client.recv())["type"] == "session.created"
    await client.close()


async def test_events_are_sent_at_once() -> None:
    """An accepted connection has TCP_NODELAY: small events that follow each other do not wait for acknowledgements."""
    listening = bind("127.0.0.1", 0)
    accepted: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.set_result(
            writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        )
        writer.close()

    async with await asyncio.start_server(take, sock=listening):
        _, writer = await asyncio.open_connection(*listening.getsockname())
        async with asyncio.timeout(10):
            assert await accepted
        writer.close()


async def test_sigterm_lets_sessions_end(running: Any) -> None:
    """SIGTERM: a running session goes on to its end, nobody new comes in, then the process ends."""
    process, url = running
    client = await websockets.asyncio.client.connect(url + "?model=gpt-realtime")
    assert json.loads(await client.recv())["type"] == "session.created"
    process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(20):
        await process.stderr.readuntil(b"draining: ")
        late = await websockets.asyncio.client.connect(url + "?model=gpt-realtime")
        assert json.loads(await late.recv())["error"]["code"] == "server_shutting_down"
        await client.send(json.dumps({"type": "response.create"}))
        while json.loads(await client.recv())["type"] != "response.done":
            pass
        await client.close()
        assert await process.wait() == -signal.SIGTERM  # as uvicorn has it: how it was ended is told
        logged = (await process.stderr.read()).decode()
    ended = [json.loads(line) for line in logged.splitlines() if "session ended" in line]
    assert [line["end"] for line in ended][-1] == "client"


async def test_second_sigterm_ends_at_once(running: Any) -> None:
    """Who cannot wait sends it twice."""
    process, url = running
    client = await websockets.asyncio.client.connect(url + "?model=gpt-realtime")
    await client.recv()
    process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(20):
        await process.stderr.readuntil(b"draining: ")
        process.send_signal(signal.SIGTERM)
        await client.wait_closed()
        await process.wait()
