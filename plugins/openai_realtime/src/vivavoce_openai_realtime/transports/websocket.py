"""`open_websocket`: a `Transport` over WebSocket (RFC 6455), on the sans-I/O protocol of `websockets`."""

from __future__ import annotations

import functools
import logging
import re
import ssl as ssl_module
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from vivavoce.errors import ConfigError, VoiceError
from websockets.client import ClientProtocol
from websockets.exceptions import InvalidURI, WebSocketException
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.headers import build_host
from websockets.http11 import Request
from websockets.typing import Subprotocol
from websockets.uri import WebSocketURI, parse_uri

from vivavoce_openai_realtime.transports._dial import dial, find_proxy, tls_context
from vivavoce_openai_realtime.transports._wire import Timing, Wire
from vivavoce_openai_realtime.transports.base import Receiver, Transport
from vivavoce_openai_realtime.transports.errors import map_exception

__all__ = ["MAX_SIZE", "open_websocket"]

MAX_SIZE = 16 * 1024 * 1024
"""The default bound of one incoming message, in bytes."""

# At DEBUG the library logs headers and payloads: keys and conversations. So its logger is never at DEBUG.
_library_logger = logging.getLogger("vivavoce.websocket.library")
_library_logger.setLevel(logging.INFO)

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch  # RFC 9110, 5.6.2
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*").fullmatch  # RFC 9110, 5.5
_OURS = frozenset({"connection", "upgrade", "content-length", "transfer-encoding"})


async def open_websocket(
    url: str,
    receiver: Receiver,
    *,
    headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
    subprotocols: Sequence[str] = (),
    ssl: ssl_module.SSLContext | None = None,
    server_hostname: str | None = None,
    proxy: str | bool | None = True,
    compression: Literal["deflate"] | None = None,
    max_size: int | None = MAX_SIZE,
    ping_interval: float | None = 20.0,
    ping_timeout: float = 20.0,
    write_deadline: float = 20.0,
    user_agent: str | None = "vivavoce",
) -> Transport:
    """Open a WebSocket and return when the peer accepted the upgrade.

    `url` is `ws://` or `wss://`, its query kept as it is. `headers` are added to the request or replace what it
    has. `subprotocols` are offered in this order. `ssl` replaces the system's roots, `server_hostname` the name
    that the certificate must show. `proxy`: `True` takes the system's (`HTTPS_PROXY`, `NO_PROXY`, ...), a string
    is `http://`, `https://` or, with python-socks, `socks5h://`, `socks5://`, `socks4a://`, `socks4://`; `None`
    takes none. `compression="deflate"` offers permessage-deflate, which base64 audio hardly profits from.
    `max_size` bounds one incoming message in bytes. Times are in seconds: see `Timing` for what each means;
    `ping_interval=None` sends no pings.

    There is no time budget in here: wrap the call in `asyncio.timeout`. It can be cancelled at every await and
    leaves neither socket nor task; only a look-up in DNS runs on in the loop's executor until the system gives up.

    Raises `ConfigError` for an argument that cannot be used, `AuthenticationError` (HTTP 401, 403), `QuotaError`
    (429), `ConnectTimeoutError` (the system's own limits), and `ConnectError` for everything else, with `status`,
    the server's text, and `retryable`.
    """
    _check_numbers(
        max_size=max_size,
        ping_interval=ping_interval,
        ping_timeout=ping_timeout,
        write_deadline=write_deadline,
    )
    uri = _parse_url(url)
    try:
        through = find_proxy(uri, proxy)
        protocol = ClientProtocol(
            uri,
            extensions=_extensions(compression),
            subprotocols=_subprotocols(subprotocols),
            max_size=max_size,
            logger=_library_logger,
        )
        request = _request(protocol, headers, user_agent)
        context = await tls_context(uri, ssl)
        timing = Timing(ping_interval, ping_timeout, write_deadline)
        wire = Wire(protocol, request, receiver, timing, max_size)
        try:
            await dial(wire, uri, ssl=context, server_hostname=server_hostname, proxy=through)
            await wire.opened
        except (OSError, WebSocketException):
            await wire.close(timeout=0)
            raise
        except BaseException:
            wire.abort()
            raise
    except VoiceError:
        raise
    except (OSError, WebSocketException) as exc:
        raise map_exception(exc, target=build_host(uri.host, uri.port, uri.secure)) from exc
    return wire


def _check_numbers(**numbers: float | None) -> None:
    for option, value in numbers.items():
        if value is None and option in ("max_size", "ping_interval"):
            continue
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
            raise ConfigError(f"{option} is {value!r}; it must be a number above 0.", option=option)


@functools.lru_cache(32)
def _parse_url(url: str) -> WebSocketURI:
    try:
        uri = parse_uri(url)
        uri.host.encode("idna")
    except InvalidURI as exc:
        raise map_exception(exc) from exc
    except ValueError as exc:  # a port out of range, a bad IPv6 address, a label of more than 63 characters
        raise ConfigError(
            f"url is no WebSocket address: {exc}. It looks like wss://host/path?query.", option="url"
        ) from exc
    return uri


def _extensions(compression: str | None) -> list[ClientPerMessageDeflateFactory] | None:
    if compression is None:
        return None
    if compression != "deflate":
        raise ConfigError(
            f"compression is {compression!r}; it must be 'deflate' or None.", option="compression"
        )
    return [ClientPerMessageDeflateFactory(client_max_window_bits=True)]


def _subprotocols(subprotocols: Sequence[str]) -> list[Subprotocol] | None:
    if isinstance(subprotocols, str):
        raise ConfigError("subprotocols is one string; it must be a list of them.", option="subprotocols")
    for place, name in enumerate(subprotocols):
        # A subprotocol may carry a key, so the text does not show it.
        if not _TOKEN(name):
            raise ConfigError(
                f"subprotocols[{place}] holds a character that is not allowed there, such as a space or a line break.",
                option="subprotocols",
            )
    return [Subprotocol(name) for name in subprotocols] or None


def _request(
    protocol: ClientProtocol, headers: Mapping[str, str] | Iterable[tuple[str, str]], user_agent: str | None
) -> Request:
    request = protocol.connect()
    pairs = list(headers.items() if isinstance(headers, (dict, Mapping)) else headers)
    if user_agent is not None:
        request.headers["User-Agent"] = _header_value("User-Agent", user_agent)
    for name, value in pairs:
        if not _TOKEN(name) or name.lower() in _OURS or name.lower().startswith("sec-websocket-"):
            raise ConfigError(f"headers: {name!r} cannot be set.", option="headers")
        if name in request.headers:
            del request.headers[name]
        request.headers[name] = _header_value(name, value)
    return request


def _header_value(name: str, value: str) -> str:
    # A key read from a file often ends in a line break. The text does not show it.
    if not isinstance(value, str) or not _VALUE(value):
        raise ConfigError(
            f"headers: the value of {name} holds a character that is not allowed there, such as a line break. Strip it.",
            option="headers",
        )
    return value
