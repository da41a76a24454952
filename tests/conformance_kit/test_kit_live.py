"""Against a real service: the same ids in a column of their own, within a budget, recorded and replayed.

The service is a gateway on a real socket, since nobody has a key here; the kit knows it by its address alone.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import gateways
import pytest
import websockets.asyncio.client
import websockets.asyncio.server
from vivavoce.errors import ConfigError
from vivavoce_conformance.checks import CHECKS
from vivavoce_conformance.columns import Live
from vivavoce_conformance.judging import judge_async
from vivavoce_conformance.live import LIVE, REPLAYED, why_not
from vivavoce_conformance.peer.observer import Budget, Job, Overspent, Purse
from vivavoce_conformance.peer.proxy import Proxy
from vivavoce_conformance.tape import read_cassette
from vivavoce_conformance.verdict import Column, Result

KEY = "sk-live-0123456789abcdefgh"
CHOSEN = ["VV-CON-032", "VV-CON-051", "VV-CON-056", "VV-CON-162", "VV-CON-173"]


@pytest.fixture
async def service(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[gateways.Running]:
    """A gateway that wants a key, which the environment has."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    async with contextlib.AsyncExitStack() as stack:
        yield await gateways.start(stack, gateways.Script().config(keys=[KEY]))


def by_id(column: Column) -> dict[str, Result]:
    return {result.id: result for result in column.results}


async def judged(only: list[str], *, spec: str = "openai-realtime", **how: object) -> Column:
    """The further column of a report on some checks."""
    report = await judge_async(spec, only=only, **how)  # type: ignore[arg-type]
    return report.columns[0]


@pytest.mark.timeout(240)
async def test_live_then_recorded(service: gateways.Running, tmp_path: Path) -> None:
    """What passes against the service passes against its recording, which holds no key and needs no service."""
    live = await judged(CHOSEN, live=Live(service=service.url, record=tmp_path))
    assert {id: by_id(live)[id].status for id in CHOSEN} == dict.fromkeys(CHOSEN, "passed")
    assert (live.name, live.source) == ("live", service.url)
    assert live.spent["sessions"] == 5
    assert live.spent["replies"] == 5
    assert live.spent["audio"] == pytest.approx(1.0)

    tapes = sorted(tmp_path.glob("*.jsonl"))
    assert [path.stem for path in tapes] == CHOSEN
    assert not [path.name for path in tapes if "0123456789" in path.read_text()]
    opened = read_cassette(tapes[0]).entries[0].open
    assert opened is not None
    assert opened["headers"]["authorization"] == "[redacted]"

    recorded = await judged(CHOSEN, cassettes=tmp_path)
    wanted = dict.fromkeys(CHOSEN, "passed")
    assert {id: by_id(recorded)[id].status for id in CHOSEN} == wanted
    assert (recorded.name, recorded.source) == ("recorded", str(tmp_path))


@pytest.mark.timeout(240)
async def test_a_recording_catches_what_is_wrong(service: gateways.Running, tmp_path: Path) -> None:
    """A provider that no longer says what it said is caught by the cassette: the service does not go on, or the check sees it."""
    only = ["VV-CON-032", "VV-CON-055"]
    await judged(only, live=Live(service=service.url, record=tmp_path))
    column = await judged(only, spec="wrong_states:DropsInstructions", cassettes=tmp_path)
    assert by_id(column)["VV-CON-032"].status == "failed"
    assert "--cassettes" in by_id(column)["VV-CON-032"].rerun

    tape = tmp_path / "VV-CON-055.jsonl"
    lines = tape.read_text().splitlines()
    first = next(n for n, line in enumerate(lines) if "session.update" in line and '"provider"' in line)
    tape.write_text("\n".join([*lines[: first + 1], lines[first], *lines[first + 1 :]]) + "\n")
    column = await judged(["VV-CON-055"], cassettes=tmp_path)
    failed = by_id(column)["VV-CON-055"]
    assert failed.status == "failed"
    assert "the provider asked more before the service went on: 1 × configure" in failed.seen


@pytest.mark.timeout(120)
async def test_the_budget_holds(service: gateways.Running) -> None:
    """What would go beyond it never reaches the service; the check is not run, and the column says what was spent."""
    budget = Budget(replies=1)
    column = await judged(["VV-CON-056"], live=Live(service=service.url, budget=budget))
    result = by_id(column)["VV-CON-056"]
    assert (result.status, column.spent["replies"]) == ("not-run", 1)
    assert "the budget is spent (replies): at most 80 sessions, 1 replies" in result.seen


@pytest.mark.timeout(120)
async def test_a_wrong_key_is_told(service: gateways.Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal of the real service reaches the provider as it is; the key stands nowhere in the report."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-wrong-0123456789abcdef")
    column = await judged(["VV-CON-030"], live=Live(service=service.url))
    result = by_id(column)["VV-CON-030"]
    assert result.status == "failed"
    assert "AuthenticationError" in result.seen
    assert "0123456789" not in repr(column)


@pytest.mark.parametrize(
    ("spec", "live", "words"),
    [
        ("openai-realtime", Live(), "a live run needs OPENAI_API_KEY"),
        ("local", Live(), "without a dialect nothing can be counted"),
        ("wrong_states:DropsInstructions", Live(), "a live run needs OPENAI_API_KEY"),
    ],
)
async def test_nothing_is_dialled_without(
    spec: str, live: Live, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No credential, or nothing to count with: one line, and nothing is run live."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(ConfigError, match=words):
        await judge_async(spec, only=["VV-CON-011"], live=live)


async def test_a_folder_without_cassettes(tmp_path: Path) -> None:
    """Nothing to replay is told, with how to record."""
    with pytest.raises(ConfigError, match="holds no cassettes; record some with --live"):
        await judge_async("openai-realtime", only=["VV-CON-011"], cassettes=tmp_path)


def test_why_not() -> None:
    """Every check that does not run live says why; what the kit's peer alone can do does not."""
    every = frozenset({"realtime", "turns", "vad", "interrupt", "truncate", "tools", "text", "replay"})
    reasons = {id: why_not(check, every, replayed=False, observes=True) for id, check in CHECKS.items()}
    assert {id for id, reason in reasons.items() if reason is None} == LIVE - {"VV-CON-185"}
    assert reasons["VV-CON-080"] == "it needs a service that misbehaves, or answers, as it is told"
    assert reasons["VV-CON-001"] == "it does not reach the service"
    assert reasons["VV-CON-180"] == "its capability is not declared"
    deaf = {id for id, c in CHECKS.items() if why_not(c, every, replayed=False, observes=False) is None}
    assert LIVE - deaf == {"VV-CON-031", "VV-CON-063"}
    again = {id for id, c in CHECKS.items() if why_not(c, every, replayed=True, observes=True) is None}
    assert again == REPLAYED


@pytest.mark.parametrize(
    ("spend", "what"),
    [
        (lambda purse: [purse.open(), purse.open(), purse.open()], "sessions"),
        (lambda purse: [purse.ask(), purse.ask(), purse.ask()], "replies"),
        (lambda purse: [purse.begin(), purse.begin(), purse.begin()], "replies"),
        (lambda purse: [purse.send(0.6), purse.send(0.6)], "audio"),
    ],
)
def test_purse(spend: object, what: str) -> None:
    """Each of its counts has an end; a reply that was asked for and begun is one."""
    purse = Purse(Budget(sessions=2, replies=2, audio=1.0))
    purse.begin()
    purse.ask()
    assert purse.replies == 1
    with pytest.raises(Overspent, match=f"spent \\({what}\\)"):
        spend(purse)  # type: ignore[operator]


def test_purse_counts_time() -> None:
    """Time counts from the first session on."""
    now = [100.0]
    purse = Purse(Budget(seconds=60), clock=lambda: now[0])
    now[0] = 500.0
    purse.open()
    purse.tick()
    now[0] = 561.0
    with pytest.raises(Overspent, match="time"):
        purse.tick()


async def test_the_proxy_passes_subprotocols_and_closes() -> None:
    """A subprotocol that the service chose, and its close code, reach the provider."""

    async def serve(connection: websockets.asyncio.server.ServerConnection) -> None:
        await connection.send(str(await connection.recv()).upper())
        await connection.close(4_001, "enough")

    async with websockets.asyncio.server.serve(serve, "127.0.0.1", 0, subprotocols=["realtime"]) as server:  # type: ignore[list-item]
        port = next(iter(server.sockets)).getsockname()[1]
        proxy = Proxy(Job(service=f"ws://127.0.0.1:{port}/v1?a=1"))
        url = f"ws://127.0.0.1:{await proxy.start()}/x?b=2"
        async with websockets.asyncio.client.connect(url, subprotocols=["other", "realtime"]) as client:  # type: ignore[list-item]
            assert client.subprotocol == "realtime"
            await client.send("hello")
            assert await client.recv() == "HELLO"
            with pytest.raises(websockets.ConnectionClosed):
                await client.recv()
            assert (client.close_code, client.close_reason) == (4_001, "enough")
        await proxy.close()
    said = [(e.side, e.text) for e in proxy.cassette().entries if e.text is not None]
    assert said == [("provider", "hello"), ("service", "HELLO")]
    assert proxy.cassette().entries[-1].close == {"code": 4_001, "reason": "enough"}


async def test_the_proxy_carries_bytes() -> None:
    """TCP passes as it is, both ways, and ends with the service."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(5))
        writer.close()

    async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        proxy = Proxy(Job(service=f"127.0.0.1:{port}", transport="tcp"))
        reader, writer = await asyncio.open_connection("127.0.0.1", await proxy.start())
        writer.write(b"\x00\x01abc")
        assert await reader.read() == b"\x00\x01abc"
        writer.close()
        await proxy.close()
    assert [e.data for e in proxy.cassette().entries if e.data] == [b"\x00\x01abc"] * 2


async def test_nobody_there() -> None:
    """Where the service cannot be reached, the provider is refused and the record says why."""
    proxy = Proxy(Job(service="ws://127.0.0.1:1/"))
    port = await proxy.start()
    with pytest.raises(websockets.InvalidStatus) as refused:
        await websockets.asyncio.client.connect(f"ws://127.0.0.1:{port}/")
    assert refused.value.response.status_code == 502
    assert "cannot be reached" in proxy.report().failures[0]
    await proxy.close()
