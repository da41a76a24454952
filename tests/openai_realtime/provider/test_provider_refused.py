"""What keeps a session from beginning: what the app is told, that nothing is left, and that the next one is clean."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trustme
from faults import FaultServer, Peer, refusing_port
from openai_realtime.provider.service import Line, Service, talk
from vivavoce.errors import AuthenticationError, ConfigError, ConnectError, ConnectTimeoutError
from vivavoce.reconnect import ReconnectPolicy

pytestmark = [pytest.mark.virtual_clock, pytest.mark.usefixtures("no_leaks")]

Script = Callable[[Line], Awaitable[None]]


def facts(error: ConnectError) -> tuple[Any, ...]:
    return type(error).__name__, error.code, error.status, error.close_code, error.retryable


def status(code: int, body: str = "") -> Script:
    async def script(line: Line) -> None:
        await line.peer.refuse(code, body)

    return script


def closes(
    code: int, reason: str = "", *, error: tuple[str, str] | None = None, greet: bool = False
) -> Script:
    """Accept, then an `error` event if there is one, then a close."""

    async def script(line: Line) -> None:
        await line.peer.accept()
        if greet:
            line.protocol.session_created()
        if error is not None:
            line.protocol.fatal(*error)
        await line.flush()
        await line.peer.close(code, reason)

    return script


async def drops(line: Line) -> None:
    await line.peer.accept()
    line.peer.drop()


async def drops_before_the_upgrade(line: Line) -> None:
    await line.peer.read_request()
    line.peer.drop()


async def ends_after_update(line: Line) -> None:
    line.deaf.add("session.update")
    await line.open()
    await line.receive()
    line.peer.end()


async def no_websocket(line: Line) -> None:
    await line.peer.raw(b"SSH-2.0-OpenSSH_9.9\r\n")
    line.peer.end()


async def silent_upgrade(line: Line) -> None:
    await line.peer.read_request()
    await line.peer.until_gone()


async def silent_after_upgrade(line: Line) -> None:
    line.deaf.add("session.update")
    await line.peer.accept()
    await line.serve()


async def never_configured(line: Line) -> None:
    line.deaf.add("session.update")
    await line.open()
    await line.serve()


async def in_trouble(line: Line) -> None:
    await line.peer.accept()
    await line.say("error", error={"type": "server_error", "code": None, "message": "Something broke."})
    await line.peer.close(1011)


CASES: dict[str, tuple[Script, tuple[Any, ...], str]] = {
    "401": (
        status(401, "Incorrect API key"),
        ("AuthenticationError", "authentication", 401, None, False),
        "Incorrect API key. Check the API key",
    ),
    "403": (
        status(403, '{"error":{"message":"no access"}}'),
        ("AuthenticationError", "authentication", 403, None, False),
        "no access",
    ),
    "404": (status(404), ("ConnectError", "http_404", 404, None, False), "Check the url and the model"),
    "429": (status(429, "slow down"), ("QuotaError", "quota", 429, None, False), "slow down"),
    "500": (status(500, "oops"), ("ConnectError", "http_500", 500, None, True), "oops"),
    "no websocket": (no_websocket, ("ConnectError", "handshake", None, None, False), "Check the url"),
    "reset before the upgrade": (
        drops_before_the_upgrade,
        ("ConnectError", "handshake", None, None, True),
        "ended the connection during the WebSocket handshake",
    ),
    "reset after the upgrade": (
        drops,
        ("ConnectError", "connection_lost", None, 1006, True),
        "before the session was ready",
    ),
    "end before the configuration is taken": (
        ends_after_update,
        ("ConnectError", "connect", None, 1006, True),
        "before the session was ready",
    ),
    "bad key, 3000": (
        closes(3000, "invalid_request_error.invalid_api_key", error=("invalid_api_key", "Incorrect API key")),
        ("AuthenticationError", "invalid_api_key", None, 3000, False),
        "Incorrect API key",
    ),
    "bad key after the greeting": (
        closes(3000, error=("invalid_api_key", "Incorrect API key"), greet=True),
        ("AuthenticationError", "invalid_api_key", None, 3000, False),
        "Incorrect API key",
    ),
    "3000 without a word": (
        closes(3000, "invalid_request_error.invalid_api_key"),
        ("AuthenticationError", "authentication", None, 3000, False),
        "invalid_api_key",
    ),
    "bad model, 4000": (
        closes(4000, "invalid_request_error.invalid_model", error=("invalid_model", "No such model")),
        ("ConnectError", "invalid_model", None, 4000, False),
        "No such model (invalid_model)",
    ),
    "server error, 1011": (
        in_trouble,
        ("ConnectError", "server_error", None, 1011, True),
        "Something broke. (server_error)",
    ),
    "no quota": (
        closes(4000, error=("insufficient_quota", "You exceeded your quota")),
        ("QuotaError", "insufficient_quota", None, 4000, False),
        "You exceeded your quota",
    ),
    "1000": (closes(1000), ("ConnectError", "closed_by_peer", None, 1000, False), "normal closure"),
    "1008": (closes(1008, "full"), ("ConnectError", "closed_by_peer", None, 1008, False), "full"),
    "1011": (closes(1011), ("ConnectError", "closed_by_peer", None, 1011, True), "internal error"),
    "1013 after the greeting": (
        closes(1013, greet=True),
        ("ConnectError", "connect", None, 1013, True),
        "try again later",
    ),
    "silent upgrade": (
        silent_upgrade,
        ("ConnectTimeoutError", "connect_timeout", None, None, True),
        "within 30000 ms",
    ),
    "session.created never": (
        silent_after_upgrade,
        ("ConnectTimeoutError", "connect_timeout", None, None, True),
        "within 30000 ms",
    ),
    "session.updated never": (
        never_configured,
        ("ConnectTimeoutError", "connect_timeout", None, None, True),
        "within 30000 ms",
    ),
}


@pytest.mark.parametrize("case", CASES)
async def test_connect_fails(case: str) -> None:
    """A typed error with status, close code and the service's words; the voice is idle again, and works next time."""
    script, wanted, words = CASES[case]
    async with Service(script, talk) as service:
        voice, heard = service.voice()
        with pytest.raises(ConnectError) as caught:
            await voice.connect()
        assert facts(caught.value) == wanted
        assert words in str(caught.value)
        assert (voice.state, caught.value.provider) == ("idle", "openai-realtime")
        assert "open" not in heard.names()
        assert "close" not in heard.names()
        await service.check_next_session(voice, heard)


@pytest.mark.parametrize("case", ["401", "429", "bad key, 3000", "bad model, 4000"])
async def test_first_connect_is_tried_once(case: str) -> None:
    """A policy is for sessions that were lost: the first connect fails at once."""
    async with Service(CASES[case][0]) as service:
        voice, heard = service.voice()
        with pytest.raises(ConnectError):
            await voice.connect(reconnect=True)
        assert (len(service.lines), heard.all("reconnecting")) == (1, [])


async def test_refused_port() -> None:
    """Nothing listens there."""
    async with Service() as service:
        with refusing_port() as port:
            voice, _ = service.voice(url=f"ws://127.0.0.1:{port}/v1/realtime")
            with pytest.raises(ConnectError) as caught:
                await voice.connect()
        assert facts(caught.value) == ("ConnectError", "refused", None, None, True)
        assert f"127.0.0.1:{port}" in str(caught.value)


async def test_name_that_cannot_be_resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name of the service is unknown."""

    async def fail(*args: Any, **kwargs: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", fail)
    async with Service() as service:
        voice, _ = service.voice(url="wss://nowhere.invalid/v1/realtime")
        with pytest.raises(ConnectError) as caught:
            await voice.connect()
        assert facts(caught.value) == ("ConnectError", "dns", None, None, True)
        assert "nowhere.invalid" in str(caught.value)


def server_tls(authority: trustme.CA, name: str = "localhost") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


async def test_certificate_of_an_unknown_authority() -> None:
    """The certificate cannot be verified: final, and with the way out."""
    async with FaultServer(ssl=server_tls(trustme.CA())) as server, Service() as service:
        voice, _ = service.voice(url=f"wss://localhost:{server.port}/v1/realtime")
        with pytest.raises(ConnectError) as caught:
            await voice.connect()
        assert facts(caught.value) == ("ConnectError", "tls_certificate", None, None, False)
        assert "cafile" in str(caught.value)


async def test_certificate_of_another_name() -> None:
    """The certificate is for someone else; `server_hostname` says whose it must be."""
    authority = trustme.CA()
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    async with Service(talk, server={"ssl": server_tls(authority, "voice.example")}) as service:
        voice, _ = service.voice(ssl=trusting)
        with pytest.raises(ConnectError) as caught:
            await voice.connect()
        assert facts(caught.value) == ("ConnectError", "tls_certificate", None, None, False)
        voice, _ = service.voice(ssl=trusting, server_hostname="voice.example")
        await voice.connect()
        assert voice.state == "open"


async def test_port_that_speaks_no_tls() -> None:
    """`wss://` to a server without TLS."""

    async def script(peer: Peer) -> None:
        await peer.raw(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        peer.end()

    async with FaultServer(script) as server, Service() as service:
        voice, _ = service.voice(url=f"wss://127.0.0.1:{server.port}/v1/realtime")
        with pytest.raises(ConnectError) as caught:
            await voice.connect()
        assert (caught.value.code, caught.value.retryable) == ("tls", False)


async def test_budget_is_in_milliseconds_over_all_phases() -> None:
    """One budget: upgrade, greeting and acknowledgement share it."""

    async def slow(line: Line) -> None:
        await asyncio.sleep(0.4)
        await line.peer.accept()
        await asyncio.sleep(0.4)
        line.protocol.session_created()
        await line.flush()
        line.deaf.add("session.update")
        await line.serve()

    async with Service(slow, talk) as service:
        voice, heard = service.voice()
        loop = asyncio.get_running_loop()
        began = loop.time()
        with pytest.raises(ConnectTimeoutError) as caught:
            await voice.connect(timeout=1000)
        assert loop.time() - began == pytest.approx(1.0, abs=0.01)
        assert "within 1000 ms" in str(caught.value)
        await service.lines[0].until_gone()
        await service.check_next_session(voice, heard)


async def test_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a key no socket is opened, and the error names the variable of the dialect."""
    for name in ("OPENAI_API_KEY", "AZURE_OPENAI_API_KEY", "XAI_API_KEY"):
        monkeypatch.setenv(name, "   ")
    async with Service() as service:
        for dialect, variable in (
            ("ga", "OPENAI_API_KEY"),
            ("azure", "AZURE_OPENAI_API_KEY"),
            ("xai", "XAI_API_KEY"),
        ):
            voice, _ = service.voice(api_key=None, dialect=dialect)
            with pytest.raises(ConfigError) as caught:
                await voice.connect()
            assert (caught.value.option, caught.value.code) == ("api_key", "missing_credential")
            assert f"set {variable}," in str(caught.value)
            assert voice.state == "idle"
        assert service.lines == []


async def test_no_key_needed() -> None:
    """A self-hosted server without authentication: `auth="none"`."""
    async with Service() as service:
        voice, _ = service.voice(api_key=None, auth="none")
        await voice.connect()
        request = service.lines[0].peer.request
        assert request is not None
        assert "Authorization" not in request.headers


@pytest.mark.parametrize("script", [silent_upgrade, silent_after_upgrade, never_configured])
async def test_connect_can_be_cancelled(script: Script) -> None:
    """Cancelled in any phase, nothing is left and the next one works."""
    async with Service(script, talk) as service:
        voice, heard = service.voice()
        task = asyncio.create_task(voice.connect())
        line = await service.line(0)
        if script is never_configured:
            await line.until("session.update")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert voice.state == "idle"
        await service.check_next_session(voice, heard)


@pytest.mark.parametrize("script", [silent_upgrade, silent_after_upgrade, never_configured])
async def test_close_while_connecting(script: Script) -> None:
    """`close()` in any phase ends the pending `connect()` with code `closed`."""
    async with Service(script, talk) as service:
        voice, heard = service.voice()
        task = asyncio.create_task(voice.connect())
        await service.line(0)
        await voice.close()
        with pytest.raises(RuntimeError) as caught:
            await task
        assert getattr(caught.value, "code", None) == "closed"
        await service.check_next_session(voice, heard)


@pytest.mark.parametrize("given", ["option", "variable"])
async def test_key_is_nowhere(
    given: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service that repeats the key in its words: neither error, log nor repr holds it."""
    caplog.set_level("DEBUG")
    key = f"my-{given}-of-no-known-shape"
    if given == "variable":
        monkeypatch.setenv("OPENAI_API_KEY", key)
    for script in (
        status(401, f"bad key {key}"),
        closes(3000, key, error=("invalid_api_key", f"Incorrect API key provided: {key}")),
    ):
        async with Service(script) as service:
            voice, _ = service.voice(api_key=key if given == "option" else None)
            with pytest.raises(AuthenticationError) as caught:
                await voice.connect()
            assert key not in str(caught.value)
            assert key not in repr(caught.value)
            assert key not in repr(voice)
            assert key not in repr(voice._runtime.wanted)
    logged = [record.getMessage() for record in caplog.records if record.name.startswith("vivavoce")]
    assert [text for text in logged if key in text] == []


async def test_quota_while_reconnecting_is_final() -> None:
    """A session that was lost is not restored against a refusal that will not change."""

    async def once(line: Line) -> None:
        await line.open()
        await line.receive()
        line.peer.drop()

    for script, code in ((status(401), "authentication"), (status(429), "quota")):
        async with Service(once, script) as service:
            voice, heard = service.voice()
            await voice.connect(reconnect=ReconnectPolicy())
            error = await heard.until("error")
            assert (len(service.lines), voice.state) == (2, "closed")
            assert (type(error).__name__, error.code, error.retryable) == ("ConnectionLostError", code, False)
            assert [event.code for event in heard.all("close")] == [code]
