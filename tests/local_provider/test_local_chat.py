"""The responder `chat` against an HTTP server of the test's own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import vivavoce
from vivavoce import AuthenticationError, ConfigError, Item, ProtocolError, ProviderError, QuotaError
from vivavoce.errors import ConnectError
from vivavoce_local_provider.conversation import Conversation, ToolCallRequest
from vivavoce_local_provider.responders import chat as module
from vivavoce_local_provider.responders.chat import ChatResponder


@vivavoce.tool
def look_up(word: str) -> str:
    """Look a word up."""
    return word


@attrs.define
class Config:
    url: str | None = "http://localhost:1/v1"
    model: str | None = "tiny"
    api_key: str | None = None


@attrs.define
class Server:
    """Answers every request with `status` and `body`, in `pieces`."""

    body: bytes = b""
    status: int = 200
    pieces: int = 1
    requests: list[tuple[str, dict[str, str], Any]] = attrs.field(factory=list)
    silent: bool = False
    port: int = 0

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in head[1:] if line)}
            request = json.loads(await reader.readexactly(int(headers["content-length"])))
            self.requests.append((head[0], headers, request))
            if self.silent:
                await reader.read()
            writer.write(f"HTTP/1.1 {self.status} X\r\nConnection: close\r\n\r\n".encode())
            size = -(-len(self.body) // self.pieces) or 1
            for at in range(0, len(self.body), size):
                writer.write(self.body[at : at + size])
                await writer.drain()
        finally:
            writer.close()


@asynccontextmanager
async def serving(**kwargs: Any) -> AsyncIterator[Server]:
    fake = Server(**kwargs)
    server = await asyncio.start_server(fake.handle, "127.0.0.1", 0)
    fake.port = server.sockets[0].getsockname()[1]
    async with server:
        yield fake


def stream(*deltas: dict[str, Any], done: bool = True) -> bytes:
    lines = [f"data: {json.dumps({'choices': [{'delta': delta}]})}\n\n" for delta in deltas]
    return "".join([": a comment\n\n", *lines, "data: [DONE]\n\n" if done else ""]).encode()


async def ask(server: Server, *items: Item, **config: Any) -> list[Any]:
    url = f"http://127.0.0.1:{server.port}/v1"
    responder = ChatResponder(Config(**{"url": url, **config}))
    try:
        conversation = Conversation(items or (Item(role="user", text="hi"),), "Be brief.")
        return [part async for part in responder(conversation, (look_up,))]
    finally:
        await responder.aclose()


@pytest.mark.parametrize("pieces", [1, 7, 1000])
async def test_text_is_streamed(pieces: int) -> None:
    """Deltas come out as they come in, however the bytes are cut, and non-ASCII text too."""
    async with serving(
        body=stream({"role": "assistant"}, {"content": "Grü"}, {"content": "ß dich."}), pieces=pieces
    ) as server:
        assert await ask(server) == ["Grü", "ß dich."]


async def test_the_request_is_what_the_endpoint_wants() -> None:
    """Model, instructions, conversation, tools, key; tool calls with their results, and none without."""
    items = (
        Item(role="user", text="look up a and b"),
        Item(type="tool_call", call_id="1", name="look_up", arguments='{"word":"a"}'),
        Item(type="tool_call", call_id="2", name="look_up", arguments='{"word":"b"}'),
        Item(type="tool_call", call_id="3", name="look_up", arguments='{"word":"c"}'),
        Item(type="tool_result", call_id="1", output="A"),
        Item(type="tool_result", call_id="2", output="B"),
    )
    async with serving(body=stream({"content": "ok"})) as server:
        await ask(server, *items, api_key="sk-0123456789abcdef")
    line, headers, request = server.requests[0]
    assert line == "POST /v1/chat/completions HTTP/1.1"
    assert headers["authorization"] == "Bearer sk-0123456789abcdef"
    assert (request["model"], request["stream"]) == ("tiny", True)
    assert request["tools"][0]["function"]["name"] == "look_up"
    messages = request["messages"]
    assert messages[0]["content"].startswith("Be brief.")
    assert [m["role"] for m in messages] == ["system", "user", "assistant", "tool", "tool"]
    assert [call["id"] for call in messages[2]["tool_calls"]] == ["1", "2"]


async def test_tool_calls_are_put_together() -> None:
    """Their pieces are joined by index; servers that send whole calls are understood, too."""
    body = stream(
        {"tool_calls": [{"index": 0, "function": {"name": "look_up", "arguments": '{"wo'}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": 'rd": "sun"}'}}]},
        {"tool_calls": [{"index": 1, "function": {"name": "look_up", "arguments": {"word": "moon"}}}]},
        {"tool_calls": [{"function": {"name": "look_up", "arguments": ""}}]},
    )
    async with serving(body=body) as server:
        assert await ask(server) == [
            ToolCallRequest("look_up", {"word": "sun"}),
            ToolCallRequest("look_up", {"word": "moon"}),
            ToolCallRequest("look_up", {}),
        ]


async def test_a_stream_without_its_end_mark_is_whole() -> None:
    """Some servers just close."""
    async with serving(body=stream({"content": "bye"}, done=False)) as server:
        assert await ask(server) == ["bye"]


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, AuthenticationError),
        (403, AuthenticationError),
        (429, QuotaError),
        (404, ProviderError),
        (500, ProviderError),
    ],
)
async def test_a_refusal_is_a_typed_error(status: int, kind: type[Exception]) -> None:
    """With the server's own words, and never the key."""
    body = b'{"error": {"message": "no such thing"}}'
    async with serving(status=status, body=body) as server:
        with pytest.raises(kind, match="no such thing") as caught:
            await ask(server, api_key="sk-0123456789abcdef")
    assert "sk-0123" not in str(caught.value)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"data: {not json\n\n", ProtocolError),
        (b"data: [1, 2]\n\n", ProtocolError),
        (b'data: {"error": {"message": "out of memory"}}\n\n', ProviderError),
        (b"data: " + b"x" * 2_000_000, ProtocolError),
        (
            stream({"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": "[1]"}}]}),
            ProtocolError,
        ),
    ],
)
async def test_what_is_no_completion_is_a_typed_error(body: bytes, kind: type[Exception]) -> None:
    """Nothing a server sends gets through as anything else."""
    async with serving(body=body) as server:
        with pytest.raises(kind):
            await ask(server)


async def test_a_server_that_is_not_there_is_a_connect_error() -> None:
    """The text says what to check."""
    async with serving() as server:
        port = server.port
    with pytest.raises(ConnectError, match="is it running"):
        await ask(Server(port=port))


async def test_a_silent_server_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The wait for a byte has a deadline."""
    monkeypatch.setattr(module, "READ_DEADLINE", 0.05)
    async with serving(silent=True) as server:
        with pytest.raises(ProviderError, match="no answer in time"):
            await ask(server)


@pytest.mark.parametrize(
    ("change", "option"),
    [({"url": None}, "url"), ({"model": None}, "model"), ({"url": "localhost:11434"}, "url")],
)
def test_config_is_checked_before_anything_is_sent(change: dict[str, Any], option: str) -> None:
    """The error names the option and gives an example."""
    with pytest.raises(ConfigError) as caught:
        ChatResponder(Config(**change))
    assert caught.value.option == option


def test_the_url_keeps_its_query() -> None:
    """An endpoint behind a gateway may need one."""
    check: Callable[[str], str] = module.endpoint
    assert check("http://h/v1/?k=1") == "http://h/v1/chat/completions?k=1"
