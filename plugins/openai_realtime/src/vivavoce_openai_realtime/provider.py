"""The `openai-realtime` provider: OpenAI's Realtime API, Azure's, and services that speak the same protocol.

A provider for another such service is a subclass with a `dialect`, a `name` and its `credentials`.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from vivavoce import hookimpl
from vivavoce.errors import ConfigError, ConnectError, NotConnectedError, ProviderError
from vivavoce.items import Interruption
from vivavoce.provider import Context
from vivavoce.trace import open_trace

from vivavoce_openai_realtime import shapes
from vivavoce_openai_realtime.calllink import CallLink
from vivavoce_openai_realtime.config import OpenAIRealtimeConfig
from vivavoce_openai_realtime.joined import JoinedLink
from vivavoce_openai_realtime.link import Link
from vivavoce_openai_realtime.protocol.client import ClientProtocol
from vivavoce_openai_realtime.protocol.dialects import GA, Dialect
from vivavoce_openai_realtime.protocol.shaping import deep_merge

if TYPE_CHECKING:
    from vivavoce_openai_realtime.transports.base import Receiver, Transport
    from vivavoce_openai_realtime.transports.webrtc import CallTransport

__all__ = ["OpenAIRealtimeProvider"]

logger = logging.getLogger("vivavoce.openai_realtime")

_INTRODUCTION = 3.0
"""Seconds to wait for `session.created`: some services introduce the session only after our `session.update`."""
_ITEM_ACK = 5.0
"""Seconds to wait for an item's acknowledgement, which some services never send. A refusal still arrives as an error."""
_LEAVE = 2.0
"""Seconds the service has to answer the close."""
_ACTIVE = "conversation_already_has_active_response"


class OpenAIRealtimeProvider:
    """Hooks over one `Link` at a time."""

    api = 1
    name = "openai-realtime"
    capabilities = frozenset(
        ["realtime", "turns", "vad", "interrupt", "truncate", "tools", "transcripts", "text", "replay"]
    )
    config_class = OpenAIRealtimeConfig
    credentials: ClassVar[Mapping[str, str]] = {"api_key": "OPENAI_API_KEY"}
    dialect: ClassVar[Dialect] = GA

    def __init__(self) -> None:
        self._link: Link | None = None
        self._raw_listeners = 0

    @hookimpl
    async def connect(self, context: Context) -> None:
        config: OpenAIRealtimeConfig = context.config
        dialect = config.spoken(self.dialect)
        key = config.key(dialect)
        address = config.address(dialect)
        link = self._link = _kind(config)(ClientProtocol(dialect), context, open_trace(self.name))
        link.raw = self._raw_listeners > 0
        headers = config.request_headers(dialect, key)
        if isinstance(link, CallLink):
            link.transport = await _call(link, config, address, headers)
            if config.sideband:
                beside = config.sideband_address(dialect, link.transport.call_id)
                receiver = link.transport.beside()
                opened = await _dial(receiver, config, beside, headers, dialect.subprotocols(key))
                link.transport.join(opened)
        else:
            link.transport = await _dial(link, config, address, headers, dialect.subprotocols(key))
        await self._configure(link, context, dialect, config.model)
        if not isinstance(link, JoinedLink):
            await self._replay(link, context)

    async def _configure(self, link: Link, context: Context, dialect: Dialect, model: str | None) -> None:
        # A service that introduces the session only after our update is not waited for longer.
        timer = asyncio.get_running_loop().call_later(_INTRODUCTION, link.introduced)
        try:
            await link.ready
        finally:
            timer.cancel()
        if isinstance(link, JoinedLink):
            wanted = shapes.given_config(context.session, dialect)
        else:
            wanted = shapes.session_config(context.session, dialect, model)
        if not wanted:
            return
        shapes.warn_of_lost(wanted, dialect)
        try:
            await self._update(link, wanted)
        except ProviderError as refused:
            raise ConnectError(
                f"the service refused the session's configuration: {refused} (param {refused.param})",
                code=refused.code,
                retryable=False,
            ) from refused

    async def _update(self, link: Link, changes: Mapping[str, Any]) -> None:
        """Change the session; when the service refuses, it stays as it was."""
        before = link.wanted
        link.wanted = deep_merge(before, changes) if before else dict(changes)
        try:
            await link.request(_queued(link.protocol.send_session, changes))
        except BaseException:
            link.wanted = before
            raise

    async def _replay(self, link: Link, context: Context) -> None:
        """The conversation so far, as items; the last acknowledgement stands for all.

        An item that the service does not take is reported, and the session goes on without it.
        """
        items = [shaped for entry in context.session.history if (shaped := shapes.item(entry)) is not None]
        for shaped in items[:-1]:
            link.protocol.send_item(_named(shaped))
        if items:
            try:
                await self._item(link, items[-1])
            except ProviderError as refused:
                context.emit(refused)

    @hookimpl
    def send(self, context: Context, audio: bytes) -> Awaitable[None] | None:
        return self._link.append(audio) if self._link is not None else None

    @hookimpl
    async def answer(self, context: Context, options: Mapping[str, Any]) -> str:
        link = self._linked(context)
        params = shapes.reply_options(options)
        out_of_band = params.get("conversation") == "none"
        unknown = 0
        while True:
            if not out_of_band:
                await link.reply_ended()
            try:
                started = await link.request(_queued(link.protocol.send_response, params))
            except ProviderError as refused:
                # The service began a reply of its own while ours was on its way: ours comes after it.
                if refused.code != _ACTIVE or out_of_band or unknown > 1:
                    raise
                unknown += link.protocol.active_response is None
            else:
                return str(started.response_id)

    @hookimpl
    async def interrupt(self, context: Context, interruption: Interruption) -> None:
        link = self._linked(context)
        if isinstance(link, CallLink | JoinedLink):
            link.cut(interruption)
            await link.flush()
            return
        if interruption.cancel:
            link.protocol.send_cancel(interruption.response_id)
        for cut in interruption.cuts:
            if cut.played_ms >= 1:
                link.protocol.send_truncate(cut.item_id, int(cut.played_ms))
            else:
                link.protocol.send_delete(cut.item_id)
        await link.flush()

    @hookimpl
    async def commit_input(self, context: Context) -> None:
        link = self._linked(context)
        if isinstance(link, CallLink):
            await link.spoken()
        await link.request(link.protocol.send_commit())

    @hookimpl
    async def clear_input(self, context: Context) -> None:
        link = self._linked(context)
        await link.request(link.protocol.send_clear())

    @hookimpl
    async def send_text(self, context: Context, text: str, role: str) -> None:
        kind = "output_text" if role == "assistant" else "input_text"
        await self._item(
            self._linked(context),
            {"type": "message", "role": role, "content": [{"type": kind, "text": text}]},
        )

    @hookimpl
    async def return_tool_result(self, context: Context, call_id: str, output: str) -> None:
        await self._item(
            self._linked(context), {"type": "function_call_output", "call_id": call_id, "output": output}
        )

    async def _item(self, link: Link, item: Mapping[str, Any]) -> None:
        try:
            async with asyncio.timeout(_ITEM_ACK):
                await link.request(link.protocol.send_item(_named(item)))
        except TimeoutError:
            logger.debug("the service did not acknowledge an item within %s s", _ITEM_ACK)

    @hookimpl
    async def update_config(self, context: Context, changes: Mapping[str, Any]) -> None:
        link = self._linked(context)
        await self._update(link, shapes.session_changes(changes, context.session, link.protocol.dialect))

    @hookimpl
    async def send_event(self, context: Context, type: str, fields: Mapping[str, Any]) -> None:
        link = self._linked(context)
        _queued(link.protocol.send_event, type, **fields)
        await link.flush()

    @hookimpl
    def on(self, event: str, listener: Callable[..., Any]) -> None:
        self._count(event, 1)

    @hookimpl
    def off(self, event: str, listener: Callable[..., Any]) -> None:
        self._count(event, -1)

    def _count(self, event: str, step: int) -> None:
        """Raw messages are decoded once more for those who listen to them, and for nobody else."""
        if ":" in event:
            self._raw_listeners += step
            if self._link is not None:
                self._link.raw = self._raw_listeners > 0

    @hookimpl
    async def close(self, context: Context, reason: str) -> None:
        link = self._link
        if link is None or link.context is not context:
            return  # of a session that is not the one that is closing
        self._link = None
        link.end()
        if link.transport is not None:
            # A connection that is gone is not taken leave of: a lazy peer would hold up the reconnect.
            await link.transport.close(timeout=0 if link.lost else _LEAVE)
            link.transport = None  # they hold each other, and all that they know

    def _linked(self, context: Context) -> Link:
        link = self._link
        if link is None or link.context is not context or link.lost:
            raise NotConnectedError("the session has ended: `await voice.connect()` first")
        return link


def _kind(config: OpenAIRealtimeConfig) -> type[Link]:
    if config.transport == "webrtc":
        return CallLink
    return JoinedLink if config.call_id is not None else Link


async def _dial(
    receiver: Receiver,
    config: OpenAIRealtimeConfig,
    address: str,
    headers: Mapping[str, str],
    subprotocols: Sequence[str],
) -> Transport:
    from vivavoce_openai_realtime.transports import open_websocket  # loads websockets: only who connects pays

    return await open_websocket(
        address,
        receiver,
        headers=headers,
        subprotocols=subprotocols,
        ssl=config.ssl,
        server_hostname=config.server_hostname,
        proxy=config.proxy,
        compression=config.compression,
        max_size=config.max_size,
        ping_interval=config.ping_interval,
        ping_timeout=config.ping_timeout,
        write_deadline=config.write_deadline,
    )


async def _call(
    link: CallLink, config: OpenAIRealtimeConfig, address: str, headers: Mapping[str, str]
) -> CallTransport:
    try:
        # Half a second of imports: not in the loop.
        webrtc = await asyncio.to_thread(
            importlib.import_module, "vivavoce_openai_realtime.transports.webrtc"
        )
    except ImportError as missing:
        raise ConfigError(
            f'transport="webrtc" needs {missing.name}: pip install "vivavoce-openai-realtime[webrtc]"',
            option="transport",
            provider="openai-realtime",
        ) from missing
    call: CallTransport = await webrtc.open_webrtc(
        webrtc.calls_url(address),
        link,
        session=config.call_session(address, headers),
        headers=headers,
        ice_servers=config.ice_servers,
        ssl=config.ssl,
        proxy=config.proxy,
        write_deadline=config.write_deadline,
    )
    return call


def _queued(verb: Callable[..., str], *args: Any, **fields: Any) -> str:
    """Have the protocol queue a request. What cannot be written as JSON is the app's mistake, and nothing is sent."""
    try:
        return verb(*args, **fields)
    except ValueError as bad:
        raise ConfigError(str(bad), provider="openai-realtime") from bad


def _named(item: Mapping[str, Any]) -> dict[str, Any]:
    """The item with an id of ours, by which its acknowledgement is known. The service takes 32 characters at most."""
    return {"id": f"item_{os.urandom(10).hex()}", **item}
