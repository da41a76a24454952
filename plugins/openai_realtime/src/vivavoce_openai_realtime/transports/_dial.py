"""From an address to a connected `asyncio.Protocol`: DNS, TCP, proxy, TLS.

Everything here may be cancelled at each await and then leaves no socket and no task. One thing goes on: a look-up in
DNS that was begun runs in the loop's executor until the system's resolver gives up, as no system can cancel it.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import os
import socket
import ssl as ssl_module
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

from vivavoce.errors import ConfigError, ConnectError
from websockets.headers import build_authorization_basic, build_host
from websockets.uri import WebSocketURI

from vivavoce_openai_realtime.transports.errors import proxy_refused

if TYPE_CHECKING:
    from websockets.proxy import Proxy

__all__ = ["dial", "find_proxy", "limit_unsent", "tls_context"]

# What getaddrinfo gives: family, type, protocol, canonical name, address.
_Address = tuple[int, int, int, str, Any]

# RFC 8305, 5: the recommended delay before the next address is tried beside the first.
_ATTEMPT_DELAY = 0.25
_PROXIES = ("ws_proxy", "socks_proxy", "https_proxy", "http_proxy")
_SECURE_PROXIES = ("wss_proxy", "socks_proxy", "https_proxy")
# What the kernel may hold of what the peer does not read. Below that, filling a socket as fast as it goes costs visibly
# more CPU.
_MOST_UNSENT = 1024 * 1024
_NOTSENT_LOWAT = getattr(socket, "TCP_NOTSENT_LOWAT", None)  # Linux and macOS
_LONGEST_ANSWER = 16 * 1024
_DIGITS = frozenset("0123456789.")


def limit_unsent(transport: asyncio.BaseTransport) -> None:
    """Keep what the peer does not read out of the kernel, which may take megabytes: a minute of speech, gone stale."""
    sock = transport.get_extra_info("socket")
    if _NOTSENT_LOWAT is not None and sock is not None:
        with suppress(OSError):  # no TCP
            sock.setsockopt(socket.IPPROTO_TCP, _NOTSENT_LOWAT, _MOST_UNSENT)


def find_proxy(uri: WebSocketURI, proxy: str | bool | None) -> Proxy | None:
    """The proxy to use: the one given, for `True` the system's (environment, NO_PROXY), for `None` or `False` none.

    Raises `websockets.exceptions.InvalidProxy`.
    """
    if not proxy or (proxy is True and not _system_may_have_proxy(uri)):
        return None
    try:  # loads urllib.request, so only where there may be a proxy
        from websockets.proxy import get_proxy, parse_proxy
    except ImportError:  # before websockets 16
        from websockets.uri import get_proxy, parse_proxy  # type: ignore[attr-defined,no-redef]
    address = get_proxy(uri) if proxy is True else proxy
    return parse_proxy(address) if address else None


def _system_may_have_proxy(uri: WebSocketURI) -> bool:
    """Whether to ask for the system's proxies: macOS and Windows keep them elsewhere than in the environment."""
    return sys.platform in ("darwin", "win32") or any(
        os.environ.get(n) or os.environ.get(n.upper()) for n in (_SECURE_PROXIES if uri.secure else _PROXIES)
    )


@functools.cache
def _system_context() -> ssl_module.SSLContext:
    return ssl_module.create_default_context()


async def tls_context(uri: WebSocketURI, ssl: ssl_module.SSLContext | None) -> ssl_module.SSLContext | None:
    """The context for `uri`: the caller's, or the one of this process, loaded off the loop (it reads every root)."""
    if not uri.secure:
        if ssl is not None:
            raise ConfigError("ssl is given but the url begins with ws://. Use wss://.", option="ssl")
        return None
    if ssl is not None:
        return ssl
    if _system_context.cache_info().currsize:
        return _system_context()
    return await asyncio.get_running_loop().run_in_executor(None, _system_context)


async def dial(
    protocol: asyncio.Protocol,
    uri: WebSocketURI,
    *,
    ssl: ssl_module.SSLContext | None,
    server_hostname: str | None,
    proxy: Proxy | None,
) -> None:
    """Connect `protocol` to `uri`, through `proxy` if there is one; return after its `connection_made`.

    Raises `OSError` (`ssl.SSLError` among them), for a proxy `ConnectError` with code `proxy`, and `ConfigError`
    when a SOCKS proxy is wanted and python-socks is not installed. Cancellation leaves no socket; the caller
    aborts `protocol`, which may have been connected in the same turn of the loop.
    """
    name = (server_hostname or uri.host) if ssl is not None else None
    if proxy is None:
        await _connect(protocol, uri.host, uri.port, ssl=ssl, server_hostname=name)
    elif proxy.scheme.startswith("socks"):
        sock = await _through_socks(proxy, uri)
        await asyncio.get_running_loop().create_connection(
            lambda: protocol, sock=sock, ssl=ssl, server_hostname=name
        )
    else:
        await _through_http(protocol, proxy, uri, ssl=ssl, server_hostname=name)


async def _connect(
    protocol: asyncio.Protocol,
    host: str,
    port: int,
    *,
    ssl: ssl_module.SSLContext | None,
    server_hostname: str | None,
) -> asyncio.Transport:
    loop = asyncio.get_running_loop()
    if not (":" in host or _DIGITS.issuperset(host)):  # a name, which may stand for several addresses
        # create_connection takes the socket over before its first await, so it closes it, whatever comes.
        sock = await _race(await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        transport, _ = await loop.create_connection(
            lambda: protocol, sock=sock, ssl=ssl, server_hostname=server_hostname
        )
    else:
        transport, _ = await loop.create_connection(
            lambda: protocol, host, port, ssl=ssl, server_hostname=server_hostname
        )
    return transport


async def _race(addresses: Sequence[_Address]) -> socket.socket:
    """Connect to the address that answers first, each begun a moment after the one before (RFC 8305).

    asyncio has this too, but leaves the winner's socket open when it is cancelled in the turn of the victory (seen
    in 3.11, 3.12 and 3.13).
    """
    if len(addresses) == 1:
        return await _attempt(addresses[0])
    waiting = _alternate(addresses)
    attempts: set[asyncio.Task[socket.socket]] = set()
    failures: list[BaseException] = []
    winner: asyncio.Task[socket.socket] | None = None
    try:
        running: set[asyncio.Task[socket.socket]] = set()
        while waiting or running:
            if waiting:
                running.add(asyncio.create_task(_attempt(waiting.pop(0))))
                attempts |= running
            pause = _ATTEMPT_DELAY if waiting else None
            done, running = await asyncio.wait(running, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
            for attempt in done:
                failure = attempt.exception()
                if failure is None:
                    winner = attempt
                    return attempt.result()
                failures.append(failure)
    finally:
        for attempt in attempts:
            lost = attempt is not winner and not attempt.cancel() and not attempt.cancelled()
            if lost and attempt.exception() is None:
                attempt.result().close()
    if len({type(failure) for failure in failures}) == 1:
        raise failures[0]
    raise OSError("; ".join(str(failure) for failure in failures))


def _alternate(addresses: Sequence[_Address]) -> list[_Address]:
    """Address families in turn, so that a broken one delays by one attempt only; else in the system's order."""
    families: dict[int, list[_Address]] = {}
    for address in addresses:
        families.setdefault(address[0], []).append(address)
    rounds = itertools.zip_longest(*families.values())
    return [address for turn in rounds for address in turn if address is not None]


async def _attempt(address: _Address) -> socket.socket:
    family, kind, proto, _, where = address
    sock = socket.socket(family, kind, proto)
    try:
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, where)
    except BaseException:
        sock.close()
        raise
    return sock


async def _through_socks(proxy: Proxy, uri: WebSocketURI) -> socket.socket:
    try:
        from python_socks import ProxyError, ProxyType
        from python_socks.async_.asyncio import Proxy as SocksProxy
    except ImportError:
        raise ConfigError(
            "A SOCKS proxy is configured but python-socks is not installed. "
            "Run `pip install 'vivavoce-openai-realtime[socks]'`, or pass proxy=None.",
            option="proxy",
        ) from None
    version = ProxyType.SOCKS5 if proxy.scheme.startswith("socks5") else ProxyType.SOCKS4
    names_there = proxy.scheme in ("socks5h", "socks4a")
    socks = SocksProxy(version, proxy.host, proxy.port, proxy.username, proxy.password, names_there)
    try:
        sock: socket.socket = await socks.connect(uri.host, uri.port)
    except (OSError, ProxyError) as exc:
        raise _unusable(proxy, exc) from exc
    return sock


async def _through_http(
    protocol: asyncio.Protocol,
    proxy: Proxy,
    uri: WebSocketURI,
    *,
    ssl: ssl_module.SSLContext | None,
    server_hostname: str | None,
) -> None:
    loop = asyncio.get_running_loop()
    tunnel = _Tunnel(proxy, uri)
    try:
        to_proxy = proxy.scheme == "https"
        try:
            transport = await _connect(
                tunnel,
                proxy.host,
                proxy.port,
                ssl=ssl_module.create_default_context() if to_proxy else None,
                server_hostname=proxy.host if to_proxy else None,
            )
        except OSError as exc:
            raise _unusable(proxy, exc) from exc
        await tunnel.open
        transport.set_protocol(protocol)
        if ssl is not None:
            secured = await loop.start_tls(transport, protocol, ssl, server_hostname=server_hostname)
            if secured is None:  # typeshed: when the transport was closed meanwhile
                raise ConnectionResetError("the proxy closed the connection")
            transport = secured
        protocol.connection_made(transport)
    except BaseException:
        tunnel.abort()
        raise


def _unusable(proxy: Proxy, exc: BaseException) -> ConnectError:
    return ConnectError(
        f"The proxy at {build_host(proxy.host, proxy.port, proxy.scheme == 'https')} cannot be used: {exc}. "
        "Check its address, or pass proxy=None.",
        code="proxy",
        retryable=True,
    )


class _Tunnel(asyncio.Protocol):
    """HTTP CONNECT (RFC 9110, 9.3.6). `open` is done when the proxy agreed."""

    def __init__(self, proxy: Proxy, uri: WebSocketURI) -> None:
        self._proxy = proxy
        self._target = build_host(uri.host, uri.port, uri.secure, always_include_port=True)
        self._answer = bytearray()
        self._transport: asyncio.Transport | None = None
        self.open: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def abort(self) -> None:
        if not self.open.cancel() and not self.open.cancelled():
            self.open.exception()  # nobody else will ask for it
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        request = f"CONNECT {self._target} HTTP/1.1\r\nHost: {self._target}\r\n"
        if self._proxy.user_info is not None:
            request += f"Proxy-Authorization: {build_authorization_basic(*self._proxy.user_info)}\r\n"
        self._transport.write(f"{request}\r\n".encode())

    def data_received(self, data: bytes) -> None:
        self._answer += data
        head, end, rest = self._answer.partition(b"\r\n\r\n")
        if end:
            self._decide(head, rest)
        elif len(self._answer) > _LONGEST_ANSWER:
            self._fail(_unusable(self._proxy, ValueError("its answer is no HTTP")))

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(_unusable(self._proxy, exc or ConnectionResetError("it closed the connection")))

    def _decide(self, head: bytearray, rest: bytearray) -> None:
        version, _, line = head.split(b"\r\n", 1)[0].decode("latin-1").partition(" ")
        status, _, phrase = line.partition(" ")
        if not version.startswith("HTTP/1.") or not (status.isascii() and status.isdigit()):
            self._fail(_unusable(self._proxy, ValueError("its answer is no HTTP")))
        elif not 200 <= int(status) < 300:
            self._fail(proxy_refused(int(status), phrase, target=self._target))
        elif rest:  # nobody may speak before the client has
            self._fail(_unusable(self._proxy, ValueError("it sent data after its answer")))
        elif not self.open.done():
            self.open.set_result(None)

    def _fail(self, error: ConnectError) -> None:
        if not self.open.done():
            self.open.set_exception(error)
