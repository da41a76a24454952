"""Who may come in, what is beside the WebSocket, and what limits hold."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

import httpx
import pytest
import websockets
from gateways import Script, check_official
from openai import AsyncOpenAI
from openai.types.realtime import ClientSecretCreateResponse
from vivavoce import ConfigError
from vivavoce.testing import Reply
from vivavoce_gateway import GatewayConfig, Limits, Route
from vivavoce_gateway.access import Access, origin_allowed
from vivavoce_gateway.limits import Bucket

KEY = "sk-test-0123456789abcdef"


def bearer(key: str) -> dict[str, Any]:
    return {"additional_headers": {"Authorization": f"Bearer {key}"}}


@pytest.mark.parametrize("options", [{}, bearer("sk-wrong-0123456789"), bearer(""), bearer("ek_forged")])
async def test_wrong_key_is_told_after_the_upgrade(serve: Any, script: Script, options: Any) -> None:
    """No key or a wrong one: an error, then 3000, as the service does; no provider is bothered."""
    client = await (await serve(script.config(keys=[KEY]))).dial(**options)
    assert await client.closed() == (3000, "invalid_request_error.invalid_api_key")
    assert client.seen[0]["error"]["code"] == "invalid_api_key"
    assert script.made == []


async def test_key_by_header_or_subprotocol(serve: Any, script: Script) -> None:
    """Bearer, Azure's header, and a browser's subprotocol; `realtime` is selected, the key never echoed."""
    gateway = await serve(script.config(keys=[KEY]))
    await gateway.open(**bearer(KEY))
    await gateway.open(additional_headers={"api-key": KEY})
    offered = ["realtime", f"openai-insecure-api-key.{KEY}"]
    client = await gateway.open(subprotocols=offered)
    assert client.connection.subprotocol == "realtime"


async def test_ephemeral_key(serve: Any, script: Script) -> None:
    """The official client makes one; it opens sessions with its settings, and lets nobody make more."""
    gateway = await serve(script.config(keys=[KEY]))
    official = AsyncOpenAI(api_key=KEY, base_url=f"{gateway.http}/v1")
    settings: Any = {"type": "realtime", "model": "gpt-realtime", "instructions": "Be brief."}
    made = await official.realtime.client_secrets.create(
        expires_after={"anchor": "created_at", "seconds": 60}, session=settings
    )
    assert isinstance(made, ClientSecretCreateResponse)
    assert made.value.startswith("ek_")
    client = await gateway.open("", **bearer(made.value))
    assert client.seen[0]["session"]["instructions"] == "Be brief."
    await client.nothing()
    assert script.last.called("update_config")[0].args[0] == {"instructions": "Be brief."}
    async with httpx.AsyncClient() as http:
        for key in (made.value, "wrong", ""):
            headers = {"Authorization": f"Bearer {key}"} if key else {}
            refused = await http.post(f"{gateway.http}/v1/realtime/client_secrets", headers=headers)
            assert refused.status_code == 401
    await official.close()


def test_ephemeral_keys_end() -> None:
    """A key lives as long as it was asked for, and the oldest go when there are too many."""
    now = [1000.0]
    access = Access([KEY], most=2, clock=lambda: now[0])
    first, _ = access.issue(60, {}, "me")
    second, _ = access.issue(600, {}, "me")
    assert (access.owner(first), access.owner(second)) == ("me", "me")
    now[0] += 61
    assert (access.owner(first), access.owner(second)) == (None, "me")
    for _ in range(2):
        access.issue(600, {}, "me")
    assert access.owner(second) is None


SECRET_BODIES: list[tuple[Any, str]] = [
    ({"expires_after": {"anchor": "created_at", "seconds": 5}}, "expires_after.seconds"),
    ({"expires_after": 7}, "expires_after.seconds"),
    ({"session": {"type": "realtime", "nonsense": 1}}, "session.nonsense"),
    ({"session": {"type": "other"}}, "session.type"),
    ({"session": "x"}, "session"),
    ({"session": {"type": "realtime", "model": "unknown"}}, "session.model"),
]


@pytest.mark.parametrize(("body", "param"), SECRET_BODIES)
async def test_bad_ephemeral_request(serve: Any, script: Script, body: Any, param: str) -> None:
    """400, in the service's shape, with the field at fault."""
    gateway = await serve(script.config())
    async with httpx.AsyncClient() as http:
        answer = await http.post(f"{gateway.http}/v1/realtime/client_secrets", json=body)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
        for raw in (b"{", b"[]", b'"', b"[" * 100_000):
            answer = await http.post(f"{gateway.http}/v1/realtime/client_secrets", content=raw)
            assert answer.status_code == 400
        too_long = await http.post(f"{gateway.http}/v1/realtime/client_secrets", content=b" " * 300_000)
        assert too_long.status_code == 400


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("http://evil.example", False),
        ("null", False),
        ("http://127.0.0.1.evil.example", False),
        ("https://app.example", True),
        ("own", True),
    ],
)
async def test_origin(serve: Any, script: Script, origin: str, allowed: bool) -> None:
    """A page of another site gets 403, whether a key is needed or not; the gateway's own and listed ones come in."""
    gateway = await serve(script.config(origins=["https://app.example"]))
    if origin == "own":
        origin = gateway.http
    if allowed:
        await gateway.open(origin=origin)
        return
    with pytest.raises(websockets.InvalidStatus) as refused:
        await gateway.dial(origin=origin)
    assert refused.value.response.status_code == 403
    assert script.made == []


@pytest.mark.parametrize(
    ("origin", "keyless", "allowed"),
    [
        ("http://127.0.0.1:8080", True, True),
        ("http://localhost:8080", True, True),
        ("http://[::1]:8080", True, True),
        ("http://rebound.example:8080", True, False),
        ("https://voice.example.com", False, True),
    ],
)
def test_own_origin(origin: str, keyless: bool, allowed: bool) -> None:
    """The gateway's own page may connect; by a name only where a key is needed, since any site can have a name for us."""
    headers = {"origin": origin, "host": origin.partition("://")[2]}
    assert origin_allowed(headers, (), keyless=keyless) is allowed


@pytest.mark.parametrize(
    ("query", "close"),
    [
        ("", (4000, "invalid_request_error.missing_model")),
        ("?model=", (4000, "invalid_request_error.missing_model")),
        ("?model=" + "x" * 3000, (4000, "invalid_request_error.invalid_model")),
    ],
)
async def test_bad_model(serve: Any, script: Script, query: str, close: tuple[int, str]) -> None:
    """No model or an unknown one: an error, then 4000."""
    client = await (await serve(script.config())).dial(query)
    assert await client.closed() == close
    check_official(client.seen[0])


async def test_models_health_and_metrics(serve: Any, script: Script) -> None:
    """What monitoring asks: models with a key, health and figures without."""
    script.replies = [Reply("ok", 500)]
    gateway = await serve(script.config(keys=[KEY]))
    client = await gateway.open(**bearer(KEY))
    await client.send("response.create")
    await client.until("response.done")
    await client.send("nonsense")
    await client.until("error")
    async with httpx.AsyncClient() as http:
        assert (await http.get(f"{gateway.http}/v1/models")).status_code == 401
        models = (
            await http.get(f"{gateway.http}/v1/models", headers={"Authorization": f"Bearer {KEY}"})
        ).json()
        assert [model["id"] for model in models["data"]] == ["scripted", "gpt-realtime"]
        health = await http.get(f"{gateway.http}/healthz")
        assert (health.status_code, health.json()) == (200, {"status": "ready", "sessions": 1})
        figures = (await http.get(f"{gateway.http}/metrics")).text
    assert 'vivavoce_sessions_open{provider="scripted"} 1.0' in figures
    assert 'vivavoce_responses_total{status="completed"} 1.0' in figures
    assert 'vivavoce_audio_seconds_total{direction="out"} 0.5' in figures
    assert "vivavoce_reply_seconds_count 1.0" in figures
    assert KEY not in figures


async def test_sessions_are_limited_in_all_and_by_key(serve: Any, script: Script) -> None:
    """One more than allowed is told why and let go with 1013; when one ends there is a place again."""
    other = "sk-other-0123456789"
    limits = Limits(sessions=3, sessions_per_key=2)
    gateway = await serve(script.config(keys=[KEY, other], limits=limits))
    first = await gateway.open(**bearer(KEY))
    await gateway.open(**bearer(KEY))
    refused = await gateway.dial(**bearer(KEY))
    assert (await refused.closed())[0] == 1013
    assert refused.seen[0]["error"]["code"] == "session_limit_exceeded"
    await gateway.open(**bearer(other))
    assert (await (await gateway.dial(**bearer(other))).closed())[0] == 1013
    await first.connection.close()
    while gateway.gateway.places.taken > 2:
        await asyncio.sleep(0)
    await gateway.open(**bearer(other))


async def test_drain_lets_running_sessions_end(serve: Any, script: Script) -> None:
    """Draining: not ready, nobody new; who is in may finish, and after the time is let go with 1001."""
    gateway = await serve(script.config())
    staying, leaving = await gateway.open(), await gateway.open()
    gateway.gateway.drain()
    late = await gateway.dial()
    assert (await late.closed())[0] == 1013
    async with httpx.AsyncClient() as http:
        assert (await http.get(f"{gateway.http}/healthz")).status_code == 503
    await leaving.send("response.create")
    assert (await leaving.until("response.done"))["response"]["status"] == "completed"
    await leaving.connection.close()
    drained = asyncio.create_task(gateway.gateway.drained(0.2))
    assert (await staying.closed())[0] == 1001
    await drained
    assert gateway.gateway.sessions == set()


def test_bucket_pays_for_bursts() -> None:
    """A burst is free; after it, time pays."""
    bucket = Bucket(2.0, 10.0, now=0.0)
    assert bucket.wait(10, 0.0) == 0
    assert bucket.wait(2, 0.0) == 1.0
    assert bucket.wait(0, 1.0) == 0
    assert bucket.wait(10, 100.0) == 0


BAD_CONFIGS: list[tuple[dict[str, Any], str]] = [
    ({"provder": "local"}, "did you mean 'provider'"),
    ({"limits": {"session": 1}}, "did you mean 'sessions'"),
    ({"limits": {"sessions": 0}}, "above 0"),
    ({"limits": 3}, "limits"),
    ({"models": {"a": "local"}}, "models.a"),
    ({"keys": ["env:VIVAVOCE_NO_SUCH_KEY"]}, "VIVAVOCE_NO_SUCH_KEY"),
    ({"keys": [1]}, "not text"),
]


@pytest.mark.parametrize(("values", "words"), BAD_CONFIGS)
def test_bad_config(values: dict[str, Any], words: str) -> None:
    """Whatever is wrong in a config is named, with the nearest right name."""
    with pytest.raises(ConfigError, match=words):
        GatewayConfig.load(values)


def test_config_file(tmp_path: Any, monkeypatch: Any) -> None:
    """Routes, voices, limits and keys from a TOML file; the keys of a voice stand beside the route's own."""
    monkeypatch.setenv("GATEWAY_TEST_KEY", KEY)
    file = tmp_path / "gateway.toml"
    file.write_text(
        """
        provider = "local"
        keys = ["env:GATEWAY_TEST_KEY"]
        [limits]
        sessions = 7
        [models.gpt-realtime]
        provider = "openai-realtime"
        model = "gpt-realtime-2.1"
        voices = { alloy = "marin" }
        """
    )
    config = GatewayConfig.load(str(file))
    route = config.route("gpt-realtime")
    assert route == Route(
        provider="openai-realtime", config={"model": "gpt-realtime-2.1"}, voices={"alloy": "marin"}
    )
    assert (config.keys, config.limits.sessions, config.names) == ((KEY,), 7, ("local", "gpt-realtime"))
    assert (config.route("gpt-4o-realtime"), config.route("other")) == (config.default, None)
    assert KEY not in repr(config)


async def test_logs_hold_no_payload(serve: Any, script: Script, caplog: Any) -> None:
    """What is said, written or configured, and keys, are in no log; the session's id is."""
    caplog.set_level("DEBUG", logger="vivavoce")
    script.replies = [Reply("secret answer", 100)]
    gateway = await serve(script.config(keys=[KEY]))
    client = await gateway.open(**bearer(KEY))
    await client.configure(instructions="secret instructions")
    await client.say("secret question")
    await client.send("response.create")
    await client.until("response.done")
    await client.connection.send("secret garbage")
    await client.until("error")
    await client.connection.close()
    while gateway.gateway.sessions:
        await asyncio.sleep(0)
    records = [record for record in caplog.records if record.name.startswith("vivavoce")]
    assert [r.getMessage() for r in records if r.name == "vivavoce.gateway"] == [
        "session opened",
        "session ended",
    ]
    assert records[0].session == client.seen[0]["session"]["id"]
    assert "secret" not in json.dumps([str(vars(record)) for record in records])
    assert KEY not in json.dumps([str(vars(record)) for record in records])


async def test_two_gateways_in_a_process(serve: Any, script: Script) -> None:
    """Nothing of one application is seen in another."""
    first, second = await serve(script.config()), await serve(script.config(keys=[KEY]))
    await first.open()
    with contextlib.suppress(websockets.ConnectionClosed):
        await second.dial()
    assert (len(first.gateway.sessions), len(second.gateway.sessions)) == (1, 0)
