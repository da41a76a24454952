"""The responder `chat`: any OpenAI-compatible chat-completions endpoint, streamed, with tools.

    Voice("local", responder="chat", url="http://localhost:11434/v1", model="llama3.2")

The wire format is that of https://platform.openai.com/docs/api-reference/chat/create with `stream=true`, which Ollama,
llama.cpp and vLLM speak as well. Needs the extra `chat` (httpx).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import attrs
import msgspec
from vivavoce import (
    AuthenticationError,
    ConfigError,
    Item,
    ProtocolError,
    ProviderError,
    ProviderLoadError,
    QuotaError,
    Tool,
)
from vivavoce.errors import ConnectError, VoiceError

from vivavoce_local_provider.conversation import Conversation, ToolCallRequest

if TYPE_CHECKING:
    import httpx

__all__ = ["ChatResponder", "endpoint"]

CONNECT_DEADLINE = 10.0
READ_DEADLINE = 60.0
"""Seconds without a byte. A model that is loaded from disk first takes long to begin."""
_MAX_LINE = 1024 * 1024
_SPEECH_HINT = (
    "Your words are spoken aloud: answer briefly, in plain sentences, without markup, lists or emoji."
)


@attrs.define
class _Call:
    name: str = ""
    arguments: str = ""


class ChatResponder:
    """Asks a chat model. `config` gives `url` (up to and with `/v1`), `model`, and `api_key` if the endpoint wants one."""

    def __init__(self, config: Any) -> None:
        if not config.url or not config.model:
            missing = "url" if not config.url else "model"
            raise ConfigError(
                f"the responder 'chat' needs {missing}: e.g. url='http://localhost:11434/v1', model='llama3.2'",
                option=missing,
            )
        if not config.url.startswith(("http://", "https://")):
            raise ConfigError(
                f"url={config.url!r}: give an http or https URL for the responder 'chat'", option="url"
            )
        self._model = config.model
        self._key = config.api_key
        self._url = config.url
        self._client: httpx.AsyncClient | None = None

    async def __call__(
        self, conversation: Conversation, tools: Sequence[Tool]
    ) -> AsyncIterator[str | ToolCallRequest]:
        """Stream the model's words, then its tool calls. Raises the typed errors of `vivavoce.errors`."""
        calls: dict[int, _Call] = {}
        async for delta in self._deltas(_request(self._model, conversation, tools)):
            for part in delta.get("tool_calls") or ():
                _collect(calls, part)
            if delta.get("content"):
                yield str(delta["content"])
        for _, call in sorted(calls.items()):
            yield ToolCallRequest(call.name, _arguments(call))

    async def aclose(self) -> None:
        """Close the connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def _deltas(self, request: Mapping[str, Any]) -> AsyncIterator[Mapping[str, Any]]:
        client = self._open()
        import httpx

        url = httpx.URL(endpoint(self._url))
        try:
            async with client.stream("POST", url, content=msgspec.json.encode(request)) as response:
                if response.status_code != 200:
                    raise _refused(response.status_code, await _body(response), str(url.host))
                async for line in _lines(response):
                    delta = _delta(line)
                    if delta is None:
                        return
                    yield delta
        except httpx.TimeoutException as late:
            raise ProviderError(
                f"the chat endpoint {url.host} gave no answer in time ({type(late).__name__})",
                code="timeout",
                retryable=True,
            ) from late
        except httpx.HTTPError as failed:
            raise ConnectError(
                f"cannot reach the chat endpoint {url.host}: {failed or type(failed).__name__}; is it running?"
            ) from failed

    def _open(self) -> httpx.AsyncClient:
        if self._client is None:
            try:
                import httpx
            except ImportError as missing:
                raise ProviderLoadError(
                    f"the responder 'chat' needs httpx ({missing}): pip install \"vivavoce-local-provider[chat]\"",
                    code="engine_missing",
                ) from missing
            headers = {"Content-Type": "application/json", "Accept": "text/event-stream"}
            if self._key:
                headers["Authorization"] = f"Bearer {self._key}"
            timeout = httpx.Timeout(READ_DEADLINE, connect=CONNECT_DEADLINE)
            self._client = httpx.AsyncClient(headers=headers, timeout=timeout)
        return self._client


def endpoint(url: str) -> str:
    """Where chat completions are asked for, given the base `url`; its query stays."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/chat/completions"))


def _request(model: str, conversation: Conversation, tools: Sequence[Tool]) -> dict[str, Any]:
    system = "\n\n".join(text for text in (conversation.instructions, _SPEECH_HINT) if text)
    messages = [{"role": "system", "content": system}, *_messages(conversation.items)]
    request: dict[str, Any] = {"model": model, "messages": messages, "stream": True}
    if tools:
        request["tools"] = [
            {
                "type": "function",
                "function": {
                    "name": tool.name,
                    "description": tool.description,
                    "parameters": dict(tool.parameters),
                },
            }
            for tool in tools
        ]
    return request


def _messages(items: Sequence[Item]) -> list[dict[str, Any]]:
    """The items as chat messages. Tool calls in a row are one message; a call without its result is left out, since
    endpoints refuse it."""
    answered = {item.call_id for item in items if item.type == "tool_result"}
    messages: list[dict[str, Any]] = []
    for item in items:
        if item.type == "tool_call" and item.call_id in answered:
            call = {
                "id": item.call_id,
                "type": "function",
                "function": {"name": item.name, "arguments": item.arguments or "{}"},
            }
            if messages and "tool_calls" in messages[-1]:
                messages[-1]["tool_calls"].append(call)
            else:
                messages.append({"role": "assistant", "content": None, "tool_calls": [call]})
        elif item.type == "tool_result":
            messages.append({"role": "tool", "tool_call_id": item.call_id, "content": item.output})
        elif item.type == "message" and item.text:
            messages.append({"role": item.role, "content": item.text})
    return messages


async def _lines(response: httpx.Response) -> AsyncIterator[str]:
    """The data of the server-sent events, one at a time; a line is bounded."""
    held = b""
    async for chunk in response.aiter_bytes():
        held += chunk
        *whole, held = held.split(b"\n")
        if len(held) > _MAX_LINE:
            raise ProtocolError("the chat endpoint sent a line of more than 1 MiB")
        for line in whole:
            if line.startswith(b"data:"):
                yield line[5:].strip().decode("utf-8", "replace")
    if held.startswith(b"data:"):
        yield held[5:].strip().decode("utf-8", "replace")


def _delta(line: str) -> Mapping[str, Any] | None:
    """What a server-sent event adds; `None` for the last one."""
    if line == "[DONE]":
        return None
    try:
        event = msgspec.json.decode(line)
        if event.get("error"):
            raise ProviderError(f"the chat endpoint failed: {_reason(event)}", code="chat_failed")
        choices = event.get("choices") or [{}]
        return choices[0].get("delta") or {}
    except (msgspec.DecodeError, AttributeError, IndexError, TypeError) as bad:
        raise ProtocolError(f"the chat endpoint sent what is no chat completion: {bad}") from bad


def _collect(calls: dict[int, _Call], part: Mapping[str, Any]) -> None:
    """Add a piece of a tool call. Pieces name their call by index; some servers send whole calls without one."""
    index = part.get("index")
    call = calls.setdefault(len(calls) if index is None else int(index), _Call())
    function = part.get("function") or {}
    call.name += function.get("name") or ""
    arguments = function.get("arguments")
    if isinstance(arguments, Mapping):
        arguments = msgspec.json.encode(arguments).decode()
    call.arguments += arguments or ""


def _arguments(call: _Call) -> dict[str, Any]:
    try:
        return msgspec.json.decode(call.arguments or "{}", type=dict[str, Any])
    except msgspec.DecodeError as bad:
        raise ProtocolError(
            f"the chat model called {call.name!r} with arguments that are no JSON object"
        ) from bad


async def _body(response: httpx.Response) -> bytes:
    body = b""
    async with asyncio.timeout(CONNECT_DEADLINE):
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > _MAX_LINE:
                break
    return body


def _refused(status: int, body: bytes, host: str) -> VoiceError:
    try:
        reason = _reason(msgspec.json.decode(body))
    except (msgspec.DecodeError, AttributeError):
        reason = body[:200].decode("utf-8", "replace").strip()
    text = f"the chat endpoint {host} refused the request with status {status}: {reason or 'no reason given'}"
    if status in (401, 403):
        return AuthenticationError(f"{text}. Give api_key=", status=status)
    if status == 429:
        return QuotaError(text, status=status)
    return ProviderError(text, code=f"http_{status}", retryable=status >= 500)


def _reason(event: Any) -> str:
    error = event.get("error") or event.get("message") or ""
    return str(error.get("message") or error) if isinstance(error, Mapping) else str(error)
