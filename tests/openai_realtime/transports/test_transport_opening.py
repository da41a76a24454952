"""Opening a WebSocket: what goes out, what may come back, and that a failure leaves nothing."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from typing import Any

import pytest
from faults import FaultServer, HttpProxy, Peer, Recorder, refusing_port
from vivavoce.errors import AuthenticationError, ConfigError, ConnectError, QuotaError
from vivavoce_openai_realtime.transports import open_websocket

Raised = type[BaseException]


async def refused(url: str, **options: Any) -> ConnectError:
    with pytest.raises(ConnectError) as caught:
        await open_websocket(url, Recorder(), **options)
    return caught.value


async def test_what_the_server_sees() -> None:
    """Headers, subprotocols, user agent and the url's query arrive as they were given."""
    async with FaultServer(subprotocols=["realtime"]) as server:
        transport = await open_websocket(
            server.url + "v1/realtime?model=a%2Fb&x=1",
            Recorder(),
            headers={"Authorization": "Bearer sk-test-123456", "Host": "other.example"},
            subprotocols=["realtime", "openai-insecure-api-key.ek_123456"],
            user_agent="test/1",
        )
        request = server.peers[0].request
        assert request is not None
        assert request.path == "/v1/realtime?model=a%2Fb&x=1"
        assert request.headers["Authorization"] == "Bearer sk-test-123456"
        assert request.headers["Host"] == "other.example"
        assert request.headers["User-Agent"] == "test/1"
        assert request.headers["Sec-WebSocket-Protocol"] == "realtime, openai-insecure-api-key.ek_123456"
        assert "Sec-WebSocket-Extensions" not in request.headers
        assert transport.subprotocol == "realtime"
        await transport.close()


async def test_what_the_server_answers() -> None:
    """Response headers are there in lower case; repeated ones are joined."""

    async def script(peer: Peer) -> None:
        await peer.accept([("X-Request-Id", "r1"), ("Set-Cookie", "a"), ("Set-Cookie", "b")])
        await peer.until_gone()

    async with FaultServer(script) as server:
        transport = await open_websocket(server.url, Recorder(), headers=[("X-A", "1")])
        assert transport.response_headers["x-request-id"] == "r1"
        assert transport.response_headers["set-cookie"] == "a, b"
        assert transport.subprotocol is None
        await transport.close()


async def test_nothing_listens() -> None:
    """A refused connection says so."""
    with refusing_port() as port:
        error = await refused(f"ws://127.0.0.1:{port}/")
    assert (error.code, error.retryable) == ("refused", True)
    assert f"127.0.0.1:{port}" in error.message


async def test_nothing_listens_on_any_address() -> None:
    """A name with several addresses that all refuse is one ConnectError."""
    with refusing_port() as port:
        error = await refused(f"ws://localhost:{port}/")
    assert error.retryable is True


async def test_unknown_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that DNS does not know is a `dns` error."""

    async def getaddrinfo(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    error = await refused("ws://nowhere.example/", proxy=None)
    assert error.code == "dns"
    assert "nowhere.example" in error.message


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, AuthenticationError),
        (403, AuthenticationError),
        (404, ConnectError),
        (429, QuotaError),
        (500, ConnectError),
        (302, ConnectError),
        (200, ConnectError),
    ],
)
async def test_refused_at_the_upgrade(status: int, kind: type[ConnectError]) -> None:
    """An HTTP answer becomes its error, with the status and the server's own words."""

    async def script(peer: Peer) -> None:
        await peer.refuse(status, '{"error": {"message": "the reason"}}')

    async with FaultServer(script) as server:
        error = await refused(server.url)
    assert (type(error), error.status) == (kind, status)
    assert "the reason" in error.message


async def test_a_body_without_a_length() -> None:
    """A body that ends with the connection is read too."""

    async def script(peer: Peer) -> None:
        await peer.read_request()
        await peer.raw(b"HTTP/1.1 403 Forbidden\r\n\r\nno such project")
        peer.end()

    async with FaultServer(script) as server:
        error = await refused(server.url)
    assert error.status == 403
    assert "no such project" in error.message


async def _garbage(peer: Peer) -> None:
    await peer.raw(b"\x00\xff garbage \r\n\r\n")


async def _ends(peer: Peer) -> None:
    await peer.read_request()
    peer.end()


async def _ends_in_the_answer(peer: Peer) -> None:
    await peer.read_request()
    await peer.raw(b"HTTP/1.1 101 Switching Pro")
    peer.end()


async def _half_closes(peer: Peer) -> None:
    await peer.read_request()
    peer.half_close()
    await peer.until_gone()


async def _drops(peer: Peer) -> None:
    await peer.read_request()
    peer.drop()


async def _wrong_key(peer: Peer) -> None:
    await peer.read_request()
    await peer.raw(
        b"HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n"
    )


async def _no_upgrade(peer: Peer) -> None:
    await peer.read_request()
    await peer.raw(b"HTTP/1.1 101 S\r\n\r\n")


async def _other_subprotocol(peer: Peer) -> None:
    await peer.accept([("Sec-WebSocket-Protocol", "unasked")])


async def _other_extension(peer: Peer) -> None:
    await peer.accept([("Sec-WebSocket-Extensions", "permessage-deflate")])


async def _endless_headers(peer: Peer) -> None:
    await peer.read_request()
    await peer.raw(b"HTTP/1.1 101 S\r\n" + b"X: y\r\n" * 1000)


@pytest.mark.parametrize(
    ("script", "code", "retryable"),
    [
        (_garbage, "handshake", False),
        (_ends, "handshake", True),
        (_ends_in_the_answer, "handshake", True),
        (_half_closes, "handshake", True),
        (_drops, "handshake", True),
        (_wrong_key, "handshake", False),
        (_no_upgrade, "handshake", False),
        (_other_subprotocol, "handshake", False),
        (_other_extension, "handshake", False),
        (_endless_headers, "handshake", False),
    ],
)
async def test_a_handshake_that_fails(script: Callable[[Peer], Any], code: str, retryable: bool) -> None:
    """Whatever else comes in place of the upgrade is a ConnectError that names the peer."""
    async with FaultServer(script) as server:
        error = await refused(server.url)
    assert (error.code, error.retryable) == (code, retryable)
    assert "127.0.0.1" in error.message


async def test_silence_is_left_to_the_caller() -> None:
    """A server that never answers the upgrade is ended by the caller's own time budget."""

    async def script(peer: Peer) -> None:
        await peer.read_request()
        await peer.until_gone()
        gone.set()

    gone = asyncio.Event()
    async with FaultServer(script) as server:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await open_websocket(server.url, Recorder())
        await gone.wait()


async def test_one_byte_at_a_time(recorder: Recorder) -> None:
    """How the bytes of handshake and frames are cut does not matter."""

    async def script(peer: Peer) -> None:
        peer.one_byte_at_a_time = True
        await peer.read_request()
        await peer.accept()
        await peer.send("é" * 100)
        await peer.close(1001, "bye")

    async with FaultServer(script) as server:
        transport = await open_websocket(server.url, recorder)
        assert (await recorder.until_lost()).close_code == 1001
        assert recorder.texts == [("é" * 100).encode()]
        await transport.close()


async def test_what_follows_the_upgrade_at_once(recorder: Recorder) -> None:
    """A message and a close in the packet of the upgrade are delivered, and the transport is returned."""

    async def script(peer: Peer) -> None:
        request = await peer.read_request()
        response = peer._protocol.accept(request)
        peer._protocol.send_response(response)
        peer._protocol.send_text(b"refused, because")
        peer._protocol.send_close(3000, "invalid_api_key")
        await peer.raw(b"".join(peer._protocol.data_to_send()))

    async with FaultServer(script) as server:
        transport = await open_websocket(server.url, recorder)
        assert recorder.texts == [b"refused, because"]
        assert [loss.close_code for loss in recorder.losses] == [3000]
        assert "invalid_api_key" in recorder.losses[0].message
        await transport.close(timeout=0)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("max_size", 0),
        ("ping_interval", -1),
        ("ping_timeout", "20"),
        ("write_deadline", None),
        ("compression", "gzip"),
        ("proxy", "ftp://x"),
        ("subprotocols", "realtime"),
        ("subprotocols", ["a b"]),
        ("headers", {"Authorization": "Bearer secret-value\n"}),
        ("headers", {"Bad Name": "x"}),
        ("headers", {"Sec-WebSocket-Key": "x"}),
        ("ssl", ssl.create_default_context()),
    ],
    ids=lambda value: repr(value)[:30],
)
async def test_arguments_that_cannot_be_used(option: str, value: object) -> None:
    """A bad argument is a ConfigError that names it, before a socket opens, and never shows a header's value."""
    with pytest.raises(ConfigError) as caught:
        await open_websocket("ws://127.0.0.1:1/", Recorder(), **{option: value})  # type: ignore[arg-type]
    assert caught.value.option == option
    assert "secret-value" not in caught.value.message


@pytest.mark.parametrize(
    "url",
    [
        "http://x/",
        "ws://",
        "ws://x:99999/",
        "ws://x/#part",
        "ws://[::1/",
        f"ws://{'x' * 70}.example/",
        "ws://user@x/",
    ],
)
async def test_urls_that_cannot_be_used(url: str) -> None:
    """A bad url is a ConfigError that shows what one looks like."""
    with pytest.raises(ConfigError, match="wss://host/path") as caught:
        await open_websocket(url, Recorder())
    assert caught.value.option == "url"


async def test_keys_stay_out_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """With everything at DEBUG neither headers nor messages are logged."""
    caplog.set_level(logging.DEBUG)

    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.receive()
        await peer.send("private answer")
        await peer.close(1000, "done")

    async with FaultServer(script) as server:
        recorder = Recorder()
        transport = await open_websocket(server.url, recorder, headers={"api-key": "very-secret-value"})
        transport.write(b"private words")
        await recorder.until_lost()
        await transport.close()
    ours = [
        record.getMessage() for record in caplog.records if not record.name.startswith("websockets.server")
    ]
    assert not [line for line in ours if "very-secret-value" in line or "private" in line]


@pytest.mark.parametrize("way", ["ws", "wss", "localhost", "ws through http", "wss through http"])
async def test_cancelled_at_each_turn(
    way: str, server_tls: Callable[[str], ssl.SSLContext], client_tls: ssl.SSLContext
) -> None:
    """Cancelled after any number of turns of the loop, opening leaves no socket and no task, and tells nobody."""
    secure = way.startswith("wss")
    options: dict[str, Any] = {"ssl": client_tls if secure else None}
    completed = 0
    async with FaultServer(ssl=server_tls("localhost") if secure else None) as server, HttpProxy() as proxy:
        url = server.url.replace("127.0.0.1", "localhost") if way == "localhost" else server.url
        options["proxy"] = proxy.url if "through" in way else None
        for turns in range(60):
            recorder = Recorder()
            opening = asyncio.ensure_future(open_websocket(url, recorder, **options))
            for _ in range(turns):
                await asyncio.sleep(0.0003 if secure else 0)
            if opening.done():
                completed += 1
                await opening.result().close(timeout=0)
                if completed == 2:
                    break
                continue
            opening.cancel()
            with pytest.raises(asyncio.CancelledError):
                await opening
            assert recorder.losses == []
    assert completed or way != "ws"
