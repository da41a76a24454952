"""A gateway on a real socket, and a client that holds every event against the official types. For tests."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterable
from typing import Any

import uvicorn
import websockets.asyncio.client
from openai.types.realtime import RealtimeServerEvent
from pydantic import TypeAdapter
from vivavoce.provider import CAPABILITIES
from vivavoce.testing import Reply, ScriptedProvider
from vivavoce_gateway import GatewayConfig, Route, create_app
from vivavoce_gateway.app import Gateway
from vivavoce_gateway.metrics import Metrics
from vivavoce_gateway.serve import bind, server_options
from vivavoce_gateway.session import ClientSession, Opening

_OFFICIAL: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)
DEADLINE = 20.0


def check_official(event: dict[str, Any]) -> None:
    """Hold an event against the official package's types: a known event, no required field missing, nothing mistyped."""
    known = _OFFICIAL.validate_python(event)
    assert known.type == event["type"]


class Client:
    """A plain WebSocket client. `seen` is every event so far."""

    def __init__(
        self, connection: websockets.asyncio.client.ClientConnection, *, official: bool = True
    ) -> None:
        self.connection = connection
        self.seen: list[dict[str, Any]] = []
        self._official = official

    async def send(self, type: str, **fields: Any) -> None:
        """Send an event."""
        await self.connection.send(json.dumps({"type": type, **fields}))

    async def next(self) -> dict[str, Any]:
        """The next event."""
        async with asyncio.timeout(DEADLINE):
            event: dict[str, Any] = json.loads(await self.connection.recv())
        if self._official:
            check_official(event)
        self.seen.append(event)
        return event

    async def until(self, *types: str) -> dict[str, Any]:
        """The next event of one of these types; those before it are in `seen`."""
        while True:
            event = await self.next()
            if event["type"] in types:
                return event

    async def nothing(self) -> list[str]:
        """The types of what comes before the answer to a request that is answered at once."""
        await self.send("input_audio_buffer.clear")
        before = len(self.seen)
        await self.until("input_audio_buffer.cleared")
        return [event["type"] for event in self.seen[before:-1]]

    async def say(self, text: str, role: str = "user") -> None:
        """Add a text message."""
        part = {"type": "output_text" if role == "assistant" else "input_text", "text": text}
        await self.send("conversation.item.create", item={"type": "message", "role": role, "content": [part]})

    async def configure(self, **session: Any) -> dict[str, Any]:
        """Update the session; returns the answer."""
        await self.send("session.update", session={"type": "realtime", **session})
        return await self.until("session.updated", "error")

    def types(self, since: str | None = None) -> list[str]:
        """The types of the events seen, from the last one of type `since` on, without repeats of deltas."""
        names = [event["type"] for event in self.seen]
        if since is not None:
            names = names[len(names) - 1 - names[::-1].index(since) :]
        return [
            name
            for at, name in enumerate(names)
            if not (at and name.endswith("delta") and names[at - 1] == name)
        ]

    async def closed(self) -> tuple[int, str]:
        """Wait for the gateway's close: its code and reason."""
        async with asyncio.timeout(DEADLINE):
            with contextlib.suppress(websockets.ConnectionClosed):
                while True:
                    self.seen.append(json.loads(await self.connection.recv()))
        close = self.connection.protocol.close_rcvd
        assert close is not None
        return close.code, close.reason


class Running:
    """A gateway that listens."""

    def __init__(self, gateway: Gateway, port: int, stack: contextlib.AsyncExitStack) -> None:
        self.gateway = gateway
        self.port = port
        self._stack = stack

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/v1/realtime"

    @property
    def http(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def dial(
        self, query: str = "?model=gpt-realtime", *, official: bool = True, **options: Any
    ) -> Client:
        """Connect; nothing is read yet."""
        options.setdefault("max_size", None)
        connection = await websockets.asyncio.client.connect(self.url + query, **options)
        self._stack.push_async_callback(connection.close)
        return Client(connection, official=official)

    async def open(self, query: str = "?model=gpt-realtime", **options: Any) -> Client:
        """Connect, and wait for the session."""
        client = await self.dial(query, **options)
        assert (await client.next())["type"] in ("session.created", "transcription_session.created")
        return client


class Script:
    """Providers of a test: `made` are those that sessions used, newest last; `replies` and `script` are for the next."""

    def __init__(self, capabilities: Iterable[str] = CAPABILITIES) -> None:
        self.made: list[ScriptedProvider] = []
        self.replies: list[Reply] = []
        self.script: dict[str, Any] = {}
        self.transcript = "what was heard"
        script, given = self, frozenset(capabilities)

        class Provider(ScriptedProvider):
            name = "scripted"
            capabilities = frozenset(given)

            def __init__(self) -> None:
                super().__init__(
                    script.script,
                    replies=script.replies,
                    transcript=script.transcript,
                    capabilities=given,
                )
                script.made.append(self)

        self.provider = Provider

    @property
    def last(self) -> ScriptedProvider:
        """The provider of the newest session."""
        return self.made[-1]

    def config(self, **options: Any) -> GatewayConfig:
        """A gateway that answers with these providers, and takes the turns itself."""
        models = {"gpt-realtime": Route(provider=self.provider, manual={})}
        return GatewayConfig(**{"provider": self.provider, "models": models, **options})


async def start(
    stack: contextlib.AsyncExitStack, config: GatewayConfig | None = None, **uvicorn_options: Any
) -> Running:
    """Start a gateway that ends with `stack`."""
    app = create_app(config)
    options = {**server_options(config or GatewayConfig()), "ws_ping_interval": None, **uvicorn_options}
    server = uvicorn.Server(uvicorn.Config(app, **options))
    listening = bind("127.0.0.1", 0)
    task = asyncio.create_task(server.serve([listening]))

    async def stop() -> None:
        server.should_exit = True
        await task
        listening.close()

    stack.push_async_callback(stop)
    while not server.started:
        await asyncio.sleep(0)
    return Running(app.state.gateway, listening.getsockname()[1], stack)


class MemoryChannel:
    """A client without a socket, for tests on a virtual clock. `stall()`: it reads no more."""

    def __init__(self, *, official: bool = True) -> None:
        self._official = official
        self.sent: list[dict[str, Any]] = []
        self.close_code: int | None = None
        self.close_reason = ""
        self._to_gateway: asyncio.Queue[str | None] = asyncio.Queue()
        self._reading = asyncio.Event()
        self._reading.set()
        self._more = asyncio.Event()

    def say(self, type: str, **fields: Any) -> None:
        """The client sends an event."""
        self._to_gateway.put_nowait(json.dumps({"type": type, **fields}))

    def leave(self) -> None:
        """The client is gone."""
        self._to_gateway.put_nowait(None)

    def stall(self) -> None:
        """The client reads no more."""
        self._reading.clear()

    async def until(self, type: str) -> dict[str, Any]:
        """Wait for an event of this type; the newest one."""
        while not any(event["type"] == type for event in self.sent):
            self._more.clear()
            await self._more.wait()
        return next(event for event in reversed(self.sent) if event["type"] == type)

    async def receive(self) -> str | None:
        return await self._to_gateway.get()

    async def send(self, frame: bytes) -> None:
        await self._reading.wait()
        event = json.loads(frame)
        if self._official:
            check_official(event)
        self.sent.append(event)
        self._more.set()

    async def close(self, code: int, reason: str) -> None:
        await self._reading.wait()
        self.close_code, self.close_reason = code, reason


def hold(
    script: Script, channel: MemoryChannel, *, beta: bool | None = None, **options: Any
) -> asyncio.Task[str]:
    """A session over a memory channel; the task's result is how it ended."""
    config = script.config(**options)
    opening = Opening(model="gpt-realtime", route=config.models["gpt-realtime"], beta=beta)
    return asyncio.create_task(ClientSession(config, opening, channel, Metrics()).run())
