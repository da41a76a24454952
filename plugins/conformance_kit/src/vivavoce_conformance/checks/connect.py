"""Opening a session: the budget, typed errors, nothing left behind."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qs, urlsplit

from vivavoce import Voice
from vivavoce.errors import (
    AuthenticationError,
    ConnectError,
    ConnectTimeoutError,
    QuotaError,
    VoiceError,
)
from vivavoce.testing import ramp

from vivavoce_conformance.bench import CONNECT_MS, Bench, within
from vivavoce_conformance.peer.script import Plan
from vivavoce_conformance.registry import Unmet, expect, family

__all__ = [
    "can_be_cancelled",
    "can_be_closed_meanwhile",
    "configures",
    "dials_once",
    "keeps_the_query",
    "names_its_session",
    "opens",
    "opens_again_after_close",
    "opens_again_after_failure",
    "tells_of_a_bad_request",
    "tells_of_a_broken_service",
    "tells_of_a_drop_at_once",
    "tells_of_a_drop_while_configuring",
    "tells_of_a_quota",
    "tells_of_a_refused_credential",
    "tells_of_a_refused_port",
    "times_out_on_a_mute_service",
    "times_out_on_a_silent_port",
    "times_out_without_acknowledgement",
    "waits_for_acknowledgement",
]

connect = family("connect")


async def _fails(
    bench: Bench, *accept: str, timeout: float = 5_000, **config: Any
) -> tuple[VoiceError, Voice]:
    """A connect that must fail, with what it raised; nothing may be left."""
    await bench.peer.plan(Plan(accept=list(accept)))
    # What the first attempt loads (certificates, resolvers) is the process's, not the session's.
    warm = bench.voice(**config)
    try:
        await within(warm.connect(timeout=min(timeout, 400)), "connect()", timeout / 1000 + 4)
    except VoiceError:
        pass
    else:
        raise Unmet("connect() succeeded")
    await bench.peer.plan(Plan(accept=list(accept)))
    voice = bench.voice(**config)
    async with bench.nothing_left("after a failed connect()"):
        try:
            await within(voice.connect(timeout=timeout), "connect()", timeout / 1000 + 4)
        except VoiceError as error:
            raised = error
        except Exception as bad:
            raise Unmet(f"connect() raised {type(bad).__name__}, which is no VoiceError: {bad}") from None
        else:
            raise Unmet("connect() succeeded")
    expect(voice.state == "idle", f"after a failed connect() the state is {voice.state!r}")
    return raised, voice


def _is(error: VoiceError, *kinds: type[VoiceError]) -> None:
    names = " or ".join(kind.__name__ for kind in kinds)
    expect(isinstance(error, kinds), f"{type(error).__name__} instead of {names}: {error}")


@connect("VV-CON-030", needs="realtime")
async def opens(bench: Bench) -> None:
    """`connect()` opens a session: the state is `open`, the event `open` comes once, and `close()` ends it with one `close`."""
    async with bench.session() as voice:
        expect(voice.state == "open", f"the state is {voice.state!r}")
    kinds = [getattr(event, "type", "") for event in bench.events]
    for kind in ("open", "close"):
        expect(kinds.count(kind) == 1, f"{kinds.count(kind)} events {kind!r}")
    expect(voice.state == "closed", f"after close() the state is {voice.state!r}")


@connect("VV-CON-031", needs="realtime", peer=True)
async def waits_for_acknowledgement(bench: Bench) -> None:
    """`connect()` returns only when the service has acknowledged the session's configuration."""
    async with bench.session(Plan(lag=0.3), instructions="Be brief.") as voice:
        seen = await bench.peer.seen()
        await voice.send(
            ramp(100, voice.input_format)
        )  # what comes before it was sent before connect() returned
        asked = len((await bench.peer.until("audio_bytes")).of("configure"))
    expect(
        seen.acknowledged >= max(1, asked),
        f"it returned when {seen.acknowledged} of {asked} were acknowledged",
    )


@connect("VV-CON-032", needs="realtime", peer=True)
async def configures(bench: Bench) -> None:
    """The configured instructions reach the service, character by character."""
    words = "Answer in Français: ‘déjà vu’, 日本語, \U0001f600."
    async with bench.session(instructions=words):
        asked = (await bench.peer.until("configure")).of("configure")
    expect(asked[0].get("instructions") == words, f"the service got {asked[0].get('instructions')!r}")


@connect("VV-CON-033", needs="realtime", peer=True)
async def times_out_on_a_silent_port(bench: Bench) -> None:
    """A service that accepts TCP and says nothing costs no more than the budget: `ConnectTimeoutError`, and nothing is left."""
    error, _ = await _fails(bench, "silent", timeout=400)
    _is(error, ConnectTimeoutError)


@connect("VV-CON-034", needs="realtime", peer=True)
async def times_out_on_a_mute_service(bench: Bench) -> None:
    """A service that takes the connection and never says a word costs no more than the budget: `ConnectTimeoutError`."""
    error, _ = await _fails(bench, "mute", timeout=400)
    _is(error, ConnectTimeoutError)


@connect("VV-CON-035", needs="realtime", peer=True)
async def tells_of_a_refused_port(bench: Bench) -> None:
    """Where nothing listens, `connect()` raises `ConnectError` at once."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        url = bench.target.profile.url.format(port=sock.getsockname()[1])
        error, _ = await _fails(bench, url=url)
    _is(error, ConnectError)
    expect(not isinstance(error, ConnectTimeoutError), "it waited for the timeout, 5 s")


async def _http(bench: Bench, status: int) -> VoiceError:
    error, _ = await _fails(bench, f"http:{status}")
    return error


def _is_websocket(bench: Bench) -> bool:
    """Whether it begins with HTTP: a WebSocket does, and the offer of a WebRTC call."""
    from vivavoce_conformance.profile import load_object

    return bool(load_object(bench.target.profile.dialect or "").transport != "tcp")


@connect("VV-CON-036", needs="realtime", peer=True)
async def tells_of_a_refused_credential(bench: Bench) -> None:
    """A refused credential (HTTP 401) is an `AuthenticationError`, and is not `retryable`."""
    if _is_websocket(bench):
        error = await _http(bench, 401)
        _is(error, AuthenticationError)
        expect(not error.retryable, "it is retryable")


@connect("VV-CON-037", needs="realtime", peer=True)
async def tells_of_a_quota(bench: Bench) -> None:
    """A quota that is used up (HTTP 429) is a `QuotaError`."""
    if _is_websocket(bench):
        _is(await _http(bench, 429), QuotaError)


@connect("VV-CON-038", needs="realtime", peer=True)
async def tells_of_a_broken_service(bench: Bench) -> None:
    """A service that is broken for now (HTTP 503) is a `ConnectError` that is `retryable`."""
    if _is_websocket(bench):
        error = await _http(bench, 503)
        _is(error, ConnectError)
        expect(not isinstance(error, (AuthenticationError, QuotaError)), f"it is a {type(error).__name__}")
        expect(error.retryable, "it is not retryable")


@connect("VV-CON-039", needs="realtime", peer=True)
async def tells_of_a_bad_request(bench: Bench) -> None:
    """A request that can never succeed (HTTP 404) is a `ConnectError` that is not `retryable`."""
    if _is_websocket(bench):
        error = await _http(bench, 404)
        _is(error, ConnectError)
        expect(not error.retryable, "it is retryable")


@connect("VV-CON-040", needs="realtime", peer=True)
async def tells_of_a_drop_at_once(bench: Bench) -> None:
    """A connection that is reset before it is ready is a `ConnectError`, and nothing is left."""
    error, _ = await _fails(bench, "drop")
    _is(error, ConnectError)
    expect(not isinstance(error, (AuthenticationError, QuotaError)), f"it is a {type(error).__name__}")


@connect("VV-CON-041", needs="realtime", peer=True)
async def tells_of_a_drop_while_configuring(bench: Bench) -> None:
    """A connection that is reset while it is configured is a `ConnectError` at once, and nothing is left."""
    error, _ = await _fails(bench, "configured:drop", instructions="Be brief.")
    _is(error, ConnectError)
    expect(not isinstance(error, ConnectTimeoutError), "it waited for the timeout, 5 s")


@connect("VV-CON-042", needs="realtime")
async def can_be_cancelled(bench: Bench) -> None:
    """A cancelled `connect()` leaves nothing behind, at whatever point it was cancelled."""
    if bench.has_peer:
        await bench.peer.plan(Plan(lag=0.02))
    async with bench.session():
        pass  # what the first session loads stays
    # Turns of the loop, without time: while it dials, whatever else the machine is busy with.
    for turns, pause in (
        ((4, 0), (1, 0.001), (4, 0.001), (20, 0.001), (50, 0.001))
        if bench.has_peer
        else ((2, 0), (30, 0.001))
    ):
        voice = bench.voice()
        async with bench.nothing_left(f"connect() cancelled after {turns} turns of the loop"):
            task = asyncio.ensure_future(voice.connect(timeout=CONNECT_MS))
            for _ in range(turns):
                await asyncio.sleep(pause)
            task.cancel()
            await asyncio.wait([task], timeout=8)
            expect(task.done(), "it did not end")
            await voice.close()


@connect("VV-CON-043", needs="realtime", peer=True)
async def dials_once(bench: Bench) -> None:
    """Concurrent and repeated `connect()` calls share one connection."""
    voice = bench.voice()
    await asyncio.gather(*(voice.connect(timeout=CONNECT_MS) for _ in range(3)))
    await voice.connect(timeout=CONNECT_MS)
    seen = await bench.peer.until("connections")
    expect(seen.connections == 1, f"{seen.connections} connections")


@connect("VV-CON-044", needs="realtime")
async def opens_again_after_close(bench: Bench) -> None:
    """After `close()` the same voice connects again, as a new session."""
    voice = bench.voice()
    ids = []
    for _ in range(2):
        await voice.connect(timeout=CONNECT_MS)
        ids.append(voice.session_id)
        await within(voice.close(), "close()")
    expect(ids[0] is None or ids[0] != ids[1], f"both sessions have the id {ids[0]!r}")
    await _one_reply(bench, voice)


async def _one_reply(bench: Bench, voice: Voice) -> None:
    await voice.connect(timeout=CONNECT_MS)
    if "turns" in bench.capabilities:
        await bench.replies(voice)
    await within(voice.close(), "close()")


@connect("VV-CON-045", needs="realtime", peer=True)
async def opens_again_after_failure(bench: Bench) -> None:
    """After a failed `connect()` the same voice connects."""
    _, voice = await _fails(bench, "drop")
    await bench.peer.plan(Plan())
    await _one_reply(bench, voice)


@connect("VV-CON-046", needs="realtime")
async def can_be_closed_meanwhile(bench: Bench) -> None:
    """`close()` during `connect()` ends both, with `NotConnectedError` for the caller of `connect()`, and leaves nothing."""
    from vivavoce.errors import NotConnectedError

    if bench.has_peer:
        await bench.peer.plan(Plan(accept=["configured:mute"]))
    async with bench.nothing_left("close() during connect()"):
        voice = bench.voice()
        task = asyncio.ensure_future(voice.connect(timeout=CONNECT_MS))
        if bench.has_peer:
            await bench.peer.reaches("configure")
        await asyncio.sleep(0.3 if bench.has_peer else 0.02)
        await within(voice.close(), "close()", 12)
        outcome: Sequence[object] = await asyncio.gather(task, return_exceptions=True)
    told = outcome[0]
    expect(told is None or isinstance(told, NotConnectedError), f"connect() raised {told!r}")


@connect("VV-CON-047", needs="realtime", level="SHOULD")
async def names_its_session(bench: Bench) -> None:
    """An open session has an id."""
    async with bench.session() as voice:
        expect(voice.session_id, "voice.session_id is None")


@connect("VV-CON-048", needs="realtime", peer=True)
async def times_out_without_acknowledgement(bench: Bench) -> None:
    """A service that never acknowledges the configuration costs no more than the budget: `ConnectTimeoutError`, and nothing is left."""
    error, _ = await _fails(bench, "configured:mute", timeout=800, instructions="Be brief.")
    _is(error, ConnectTimeoutError)


@connect("VV-CON-049", needs="realtime", peer=True)
async def keeps_the_query(bench: Bench) -> None:
    """An address that has a query keeps it: what the provider adds is joined to it."""
    url = bench.config()["url"]
    if not _is_websocket(bench):
        return
    async with bench.session(url=f"{url}{'&' if '?' in url else '?'}tenant=a%20b"):
        request = (await bench.peer.seen()).requests[0].splitlines()[0]
    query = parse_qs(urlsplit(request).query)
    expect(query.get("tenant") == ["a b"], f"the request was for {request!r}")
