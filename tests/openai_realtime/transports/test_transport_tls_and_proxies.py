"""TLS, HTTP CONNECT and SOCKS."""

from __future__ import annotations

import asyncio
import builtins
import ssl
from collections.abc import Callable
from typing import Any

import pytest
from faults import FaultServer, HttpProxy, Peer, Recorder, SocksProxy, echo, refusing_port
from vivavoce.errors import ConfigError, ConnectError, ConnectionLostError
from vivavoce_openai_realtime.transports import open_websocket

Tls = Callable[..., ssl.SSLContext]


async def exchange(url: str, recorder: Recorder, **options: Any) -> None:
    transport = await open_websocket(url, recorder, **options)
    transport.write(b"hello")
    await recorder.until(1)
    await transport.close()
    assert recorder.texts == [b"hello"]


async def refused(url: str, **options: Any) -> ConnectError:
    with pytest.raises(ConnectError) as caught:
        await open_websocket(url, Recorder(), **options)
    return caught.value


async def test_tls(recorder: Recorder, server_tls: Tls, client_tls: ssl.SSLContext) -> None:
    """A context that trusts the server's authority opens wss."""
    async with FaultServer(echo, ssl=server_tls()) as server:
        await exchange(server.url, recorder, ssl=client_tls)


async def test_an_authority_that_nobody_trusts(server_tls: Tls) -> None:
    """The system's roots do not know the throw-away authority: final, and the text says what to pass."""
    async with FaultServer(echo, ssl=server_tls()) as server:
        error = await refused(server.url)
    assert (error.code, error.retryable) == ("tls_certificate", False)
    assert "cafile" in error.message


async def test_a_certificate_for_another_name(
    recorder: Recorder, server_tls: Tls, client_tls: ssl.SSLContext
) -> None:
    """The certificate must show the url's host, or `server_hostname` where that is given."""
    async with FaultServer(echo, ssl=server_tls("other.example")) as server:
        error = await refused(server.url, ssl=client_tls)
        assert error.code == "tls_certificate"
        assert "localhost" in error.message
        await exchange(server.url, recorder, ssl=client_tls, server_hostname="other.example")


async def test_a_port_that_speaks_no_tls(client_tls: ssl.SSLContext) -> None:
    """wss to a plain server is a TLS error that says so."""

    async def script(peer: Peer) -> None:
        await peer.raw(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with FaultServer(script) as server:
        error = await refused(f"wss://localhost:{server.port}/", ssl=client_tls)
    assert (error.code, error.retryable) == ("tls", False)


async def test_dropped_in_the_tls_handshake(client_tls: ssl.SSLContext) -> None:
    """A reset in mid-handshake is worth another try."""

    async def script(peer: Peer) -> None:
        await peer._reader.read(1)
        peer.drop()

    async with FaultServer(script) as server:
        error = await refused(f"wss://localhost:{server.port}/", ssl=client_tls)
    assert error.retryable is True


async def test_a_silent_tls_handshake_is_left_to_the_caller(client_tls: ssl.SSLContext) -> None:
    """A server that never answers the TLS hello is ended by the caller's own time budget."""
    async with FaultServer(Peer.stall) as server:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await open_websocket(f"wss://localhost:{server.port}/", Recorder(), ssl=client_tls)


@pytest.mark.parametrize("end", ["drop", "end"])
async def test_tls_connections_that_end(
    recorder: Recorder, server_tls: Tls, client_tls: ssl.SSLContext, end: str
) -> None:
    """Over TLS too, an end without a close frame is 1006."""

    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.receive()
        getattr(peer, end)()

    async with FaultServer(script, ssl=server_tls()) as server:
        transport = await open_websocket(server.url, recorder, ssl=client_tls)
        transport.write(b"end it")
        assert (await recorder.until_lost()).close_code == 1006
        await transport.close()


async def test_tls_to_a_peer_that_stops_reading(
    recorder: Recorder, server_tls: Tls, client_tls: ssl.SSLContext
) -> None:
    """The write deadline and a bounded close hold over TLS."""

    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.stall()

    async with FaultServer(script, ssl=server_tls(), rcvbuf=4096) as server:
        transport = await open_websocket(server.url, recorder, ssl=client_tls, write_deadline=0.03)
        while (room := transport.write(b"x" * 16_384)) is None:
            pass
        with pytest.raises(ConnectionLostError, match="read nothing"):
            await room
        await transport.close()

        transport = await open_websocket(server.url, Recorder(), ssl=client_tls)
        await transport.close(timeout=0.02)


@pytest.mark.parametrize("secure", [False, True])
async def test_through_an_http_proxy(
    recorder: Recorder,
    server_tls: Tls,
    client_tls: ssl.SSLContext,
    secure: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """CONNECT carries ws and wss, with the credentials of the proxy's address; the environment names it as well."""
    options: dict[str, Any] = {"ssl": client_tls} if secure else {}
    async with FaultServer(echo, ssl=server_tls() if secure else None) as server, HttpProxy() as proxy:
        address = proxy.url.replace("//", "//user:pass@")
        await exchange(server.url, recorder, proxy=address, **options)
        assert proxy.targets == [server.url.split("/")[2]]
        assert "Proxy-Authorization: Basic dXNlcjpwYXNz" in proxy.requests[0]

        monkeypatch.setenv("https_proxy", proxy.url)
        await exchange(server.url, Recorder(), **options)
        assert len(proxy.targets) == 2
        monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
        await exchange(server.url, Recorder(), **options)
        assert len(proxy.targets) == 2


@pytest.mark.parametrize(
    ("answer", "status", "words"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", 407, "user and password"),
        (b"HTTP/1.0 403 Forbidden\r\n\r\n", 403, "proxy=None"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", None, "no HTTP"),
        (b"x" * 20_000, None, "no HTTP"),
        (b"HTTP/1.1 200 ", None, "cannot be used"),
    ],
)
async def test_a_proxy_that_refuses(answer: bytes, status: int | None, words: str) -> None:
    """What a proxy answers in place of agreeing is a ConnectError with code `proxy`."""
    proxy = HttpProxy(answer)
    if b" 200 " in answer:

        async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(answer)

        proxy.negotiate = hang_up  # type: ignore[method-assign]
    async with proxy:
        error = await refused("ws://far.example/", proxy=proxy.url)
    assert (type(error), error.code, error.status) == (ConnectError, "proxy", status)
    assert words in error.message


async def test_a_proxy_that_is_not_there() -> None:
    """The text names the proxy, not the service."""
    with refusing_port() as port:
        error = await refused("ws://far.example/", proxy=f"http://user:secret-password@127.0.0.1:{port}")
    assert error.code == "proxy"
    assert f"127.0.0.1:{port}" in error.message
    assert "secret-password" not in error.message


async def test_a_silent_proxy_is_left_to_the_caller() -> None:
    """A proxy that never answers is ended by the caller's own time budget."""
    async with HttpProxy(b"") as proxy:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await open_websocket("ws://far.example/", Recorder(), proxy=proxy.url)


async def test_through_a_socks_proxy(recorder: Recorder, server_tls: Tls, client_tls: ssl.SSLContext) -> None:
    """With python-socks a SOCKS5 proxy carries ws and wss, and resolves the name for `socks5h`."""
    pytest.importorskip("python_socks")
    async with FaultServer(echo) as server, SocksProxy() as proxy:
        await exchange(server.url, recorder, proxy=proxy.url)
    async with FaultServer(echo, ssl=server_tls()) as server, SocksProxy() as proxy:
        await exchange(server.url, Recorder(), proxy=proxy.url, ssl=client_tls)
        assert proxy.targets == [f"localhost:{server.port}"]


async def test_a_socks_proxy_that_is_not_there() -> None:
    """A SOCKS proxy that cannot be reached is a ConnectError with code `proxy`."""
    pytest.importorskip("python_socks")
    with refusing_port() as port:
        error = await refused("ws://far.example/", proxy=f"socks5h://127.0.0.1:{port}")
    assert error.code == "proxy"


async def test_a_socks_proxy_without_python_socks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without python-socks the error says what to install."""
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("python_socks"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match="pip install 'vivavoce-openai-realtime\\[socks\\]'") as caught:
        await open_websocket("ws://far.example/", Recorder(), proxy="socks5h://127.0.0.1:1")
    assert caught.value.option == "proxy"
