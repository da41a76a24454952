"""`Voice("shouter")`: a service that shouts back what it is told, over lines of JSON (see service.py)."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable, Mapping
from typing import Any

import attrs
from vivavoce import AudioFormat, CommonConfig, Context, Interruption, hookimpl
from vivavoce.errors import ConfigError, ConnectionLostError, ProtocolError, ProviderError
from vivavoce.events import (
    EndReason,
    ItemAdded,
    ProviderMessage,
    ResponseCreated,
    ResponseDone,
    SessionCreated,
    SessionUpdated,
    Speaking,
    SpeakingDone,
    Writing,
)

__all__ = ["ShouterConfig", "ShouterProvider"]

LONGEST_LINE = 16 * 1024 * 1024


# region: config
@attrs.frozen(kw_only=True)
class ShouterConfig(CommonConfig):
    """`patience`: seconds that the service has to take leave when we close."""

    patience: float = attrs.field(default=1.0, validator=attrs.validators.gt(0))


# endregion
# region: class
class ShouterProvider:
    """Says everything louder."""

    api = 1
    name = "shouter"
    capabilities = frozenset({"realtime", "turns", "text", "interrupt"})
    config_class = ShouterConfig
    input_format = output_format = AudioFormat(rate=16_000)

    # endregion
    def __init__(self) -> None:
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self._waiting: dict[str, asyncio.Future[str]] = {}
        self._texts: dict[str, str] = {}
        self._spoken: set[str] = set()
        self._patience = 1.0

    # region: connect
    @hookimpl
    async def connect(self, context: Context) -> None:
        host, _, port = (context.config.url or "").rpartition(":")
        if not port.isdigit():
            raise ConfigError(f"url={context.config.url!r}: give host:port", option="url")
        self._patience = context.config.patience
        reader, self._writer = await asyncio.open_connection(host, int(port), limit=LONGEST_LINE)
        self._reading = asyncio.create_task(self._read(context, reader), name="shouter reader")
        await self._ask("welcome", "hello", instructions=context.session.instructions)

    @hookimpl
    async def update_config(self, context: Context) -> None:
        await self._ask("welcome", "hello", instructions=context.session.instructions)

    # endregion
    # region: send
    @hookimpl
    def send(self, audio: bytes) -> Awaitable[None] | None:
        self._write("audio", data=base64.b64encode(audio).decode())
        return self._writer.drain() if self._writer is not None else None

    @hookimpl
    def send_text(self, text: str, role: str) -> None:
        self._write("text", role=role, text=text)

    @hookimpl
    def commit_input(self) -> None:
        self._write("commit")

    @hookimpl
    def clear_input(self) -> None:
        self._write("clear")

    # endregion
    # region: answer
    @hookimpl
    async def answer(self) -> str:
        return await self._ask("begin", "shout")

    @hookimpl
    def interrupt(self, interruption: Interruption) -> None:
        if interruption.cancel:
            self._write("hush")

    # endregion
    # region: close
    @hookimpl
    async def close(self) -> None:
        reading, self._reading = self._reading, None
        writer, self._writer = self._writer, None
        if reading is not None:
            reading.cancel()
            await asyncio.wait([reading])
        if writer is None:
            return
        if writer.transport.get_write_buffer_size():
            writer.transport.abort()  # the service does not read: it would never be flushed
        writer.close()
        try:
            async with asyncio.timeout(self._patience):
                await writer.wait_closed()
        except (OSError, TimeoutError):
            writer.transport.abort()

    # endregion
    # region: wire
    def _write(self, type: str, **fields: Any) -> None:
        if self._writer is not None:
            self._writer.write(json.dumps({"type": type, **fields}).encode() + b"\n")

    async def _ask(self, answer: str, type: str, **fields: Any) -> str:
        """Say something, and wait for the message that answers it."""
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._waiting[answer] = future
        self._write(type, **fields)
        try:
            return await future
        finally:
            self._waiting.pop(answer, None)

    def _answered(self, what: str, value: str) -> None:
        future = self._waiting.get(what)
        if future is not None and not future.done():
            future.set_result(value)

    # endregion
    # region: read
    async def _read(self, context: Context, reader: asyncio.StreamReader) -> None:
        cause: Exception = ConnectionLostError("the service ended the connection")
        try:
            while line := await reader.readline():
                self._take(context, line)
        except (OSError, ValueError) as broken:
            cause = ConnectionLostError(f"the connection broke: {broken}")
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(cause)
        context.lost(cause)

    def _take(self, context: Context, line: bytes) -> None:
        try:
            message = json.loads(line)
            context.emit(ProviderMessage(message["type"], message))
            handler = getattr(self, f"_on_{message['type']}", None)
            if handler is not None:  # what a later version of the service says is passed over
                handler(context, message)
        except (ValueError, KeyError, TypeError, RecursionError) as bad:
            context.emit(ProtocolError(f"a message that cannot be read: {type(bad).__name__}"))

    # endregion
    # region: events
    def _on_welcome(self, context: Context, message: Mapping[str, Any]) -> None:
        kind = SessionCreated if context.session.id is None else SessionUpdated
        context.emit(kind(message["session"]))
        self._answered("welcome", message["session"])

    def _on_begin(self, context: Context, message: Mapping[str, Any]) -> None:
        reply = str(message["id"])
        context.emit(ResponseCreated(reply))
        context.emit(ItemAdded(f"item_{reply}", "assistant"))
        self._texts[reply] = ""
        self._answered("begin", reply)

    def _on_letter(self, context: Context, message: Mapping[str, Any]) -> None:
        reply = str(message["id"])
        self._texts[reply] += message["text"]
        context.emit(Writing(message["text"], "assistant", f"item_{reply}", reply))

    def _on_note(self, context: Context, message: Mapping[str, Any]) -> None:
        reply = str(message["id"])
        self._spoken.add(reply)
        context.emit(Speaking(base64.b64decode(message["data"]), reply, f"item_{reply}"))

    def _on_done(self, context: Context, message: Mapping[str, Any]) -> None:
        reply = str(message["id"])
        if reply in self._spoken:
            self._spoken.discard(reply)
            why: EndReason = "completed" if message["status"] == "completed" else "cancelled"
            context.emit(SpeakingDone(why, reply, f"item_{reply}"))
        context.emit(Writing(self._texts.pop(reply, ""), "assistant", f"item_{reply}", reply, final=True))
        context.emit(ResponseDone(reply, message["status"]))

    # endregion

    def _on_error(self, context: Context, message: Mapping[str, Any]) -> None:
        error = ProviderError(str(message["message"]), code=str(message["code"]))
        future = self._waiting.get("begin")
        if message.get("refuses") and future is not None and not future.done():
            future.set_exception(error)
        else:
            context.emit(error)
