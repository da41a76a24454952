"""Addresses, credentials and shapes of each service, and a dialect that somebody else made."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from vivavoce_openai_realtime.protocol import DIALECTS, ClientProtocol, Dialect, UnknownEvent
from vivavoce_openai_realtime.protocol import events as e
from vivavoce_openai_realtime.protocol.shaping import deep_merge, to_flat, to_ga

AZURE = {"url": "https://res.openai.azure.com"}
URLS: list[tuple[str, dict[str, Any], str]] = [
    ("ga", {}, "wss://api.openai.com/v1/realtime?model=gpt-realtime-2.1"),
    ("ga", {"model": "gpt realtime/2"}, "wss://api.openai.com/v1/realtime?model=gpt%20realtime%2F2"),
    ("ga", {"intent": "transcription"}, "wss://api.openai.com/v1/realtime?intent=transcription"),
    ("ga", {"call_id": "rtc_1", "model": "m"}, "wss://api.openai.com/v1/realtime?call_id=rtc_1"),
    ("ga", {"url": "ws://localhost:8000", "model": "m"}, "ws://localhost:8000/v1/realtime?model=m"),
    ("ga", {"url": "ws://localhost/a/b?x=1&model=own", "model": "m"}, "ws://localhost/a/b?x=1&model=own"),
    ("ga", {"url": "http://localhost/v1/", "model": "m"}, "ws://localhost/v1/realtime?model=m"),
    ("ga", {"url": "https://h/v1/realtime?a=", "model": "m"}, "wss://h/v1/realtime?a=&model=m"),
    ("ga", {"url": "ws://user@[::1]:9/", "model": "m"}, "ws://user@[::1]:9/v1/realtime?model=m"),
    ("azure", {**AZURE, "model": "mine"}, "wss://res.openai.azure.com/openai/v1/realtime?model=mine"),
    (
        "azure-preview",
        {**AZURE, "model": "mine"},
        "wss://res.openai.azure.com/openai/realtime?api-version=2025-04-01-preview&deployment=mine",
    ),
    (
        "azure-preview",
        {**AZURE, "api_version": "2024-10-01-preview", "deployment": "d", "model": "m"},
        "wss://res.openai.azure.com/openai/realtime?api-version=2024-10-01-preview&deployment=d",
    ),
    ("beta", {"url": "ws://h", "model": "m"}, "ws://h/v1/realtime?model=m"),
    ("xai", {}, "wss://api.x.ai/v1/realtime"),
    ("xai", {"model": "grok-voice"}, "wss://api.x.ai/v1/realtime?model=grok-voice"),
    (
        "inworld",
        {"key": "s1", "model": "m"},
        "wss://api.inworld.ai/api/v1/realtime/session?key=s1&protocol=realtime",
    ),
]


@pytest.mark.parametrize(("dialect", "config", "url"), URLS)
def test_url(dialect: str, config: dict[str, Any], url: str) -> None:
    """The address is built by parsing: a query in it stays and wins."""
    assert DIALECTS[dialect].url(config) == url


@pytest.mark.parametrize(
    ("dialect", "url"),
    [
        ("azure", None),
        ("ga", "localhost:80"),
        ("ga", "ftp://h"),
        ("ga", "ws://"),
        ("ga", "ws://["),
        ("ga", "ws://h:no"),
    ],
)
def test_bad_url(dialect: str, url: str | None) -> None:
    """An address that is missing or none is refused in words that name the option."""
    with pytest.raises(ValueError, match="url"):
        DIALECTS[dialect].url({"url": url})


@pytest.mark.parametrize(
    ("dialect", "headers"),
    [
        ("ga", {"Authorization": "Bearer k"}),
        ("azure", {"api-key": "k"}),
        ("azure-preview", {"api-key": "k"}),
        ("beta", {"OpenAI-Beta": "realtime=v1", "Authorization": "Bearer k"}),
        ("xai", {"Authorization": "Bearer k"}),
        ("inworld", {"Authorization": "Basic k"}),
    ],
)
def test_headers(dialect: str, headers: dict[str, str]) -> None:
    """Each service gets the credential where it looks for it; only beta gets beta's header."""
    assert DIALECTS[dialect].request_headers("k") == headers


def test_credentials_elsewhere() -> None:
    """A pair is encoded for Basic; a subprotocol carries the key without a header; no key, no header."""
    assert DIALECTS["inworld"].request_headers("user:pass") == {"Authorization": "Basic dXNlcjpwYXNz"}
    browser = replace(DIALECTS["ga"], auth="subprotocol")
    assert (browser.request_headers("k"), browser.subprotocols("k")) == (
        {},
        ("realtime", "openai-insecure-api-key.k"),
    )
    assert (
        browser.subprotocols(None),
        DIALECTS["ga"].subprotocols("k"),
        DIALECTS["ga"].request_headers(None),
    ) == ((), (), {})


FLAT = {
    "modalities": ["text", "audio"],
    "voice": "ash",
    "input_audio_format": "pcm16",
    "output_audio_format": "g711_alaw",
    "input_audio_transcription": {"model": "whisper-1"},
    "turn_detection": {"type": "server_vad", "threshold": 0.6},
    "max_response_output_tokens": "inf",
    "instructions": "x",
}
NESTED = {
    "output_modalities": ["audio"],
    "max_output_tokens": "inf",
    "instructions": "x",
    "audio": {
        "input": {
            "format": {"type": "audio/pcm", "rate": 24_000},
            "transcription": {"model": "whisper-1"},
            "turn_detection": {"type": "server_vad", "threshold": 0.6},
        },
        "output": {"voice": "ash", "format": {"type": "audio/pcma"}},
    },
}


def test_flat_names_move_to_their_place() -> None:
    """Beta's names go where GA has them, and what moved is told; the way back gives the same."""
    shaped, moved = to_ga(FLAT)
    assert shaped == NESTED
    assert dict(moved)["turn_detection"] == "audio.input.turn_detection"
    assert len(moved) == 7
    assert to_flat(NESTED) == (FLAT, [])


def test_a_name_without_a_place_is_told() -> None:
    """What a service has no place for is left out, and told."""
    assert to_ga({"temperature": 0.8}) == ({}, [("temperature", None)])
    assert to_flat({"reasoning": {"effort": "low"}, "include": None}) == ({}, [("reasoning", None)])


def test_ga_name_wins_over_the_flat_one() -> None:
    """A setting given both ways is the one in GA's place."""
    assert to_ga({"voice": "ash", "audio": {"output": {"voice": "sage"}}})[0] == {
        "audio": {"output": {"voice": "sage"}}
    }


@pytest.mark.parametrize(
    ("dialect", "expected"),
    [
        ("ga", {"audio": {"output": {"voice": "ash", "speed": 1.1}}, "tools": []}),
        ("azure-preview", {"voice": "ash", "speed": 1.1, "tools": [], "temperature": 0.7}),
        ("xai", {"voice": "ash", "audio": {"output": {"speed": 1.1}}, "tools": []}),
    ],
)
def test_session_takes_the_services_shape(dialect: str, expected: dict[str, Any]) -> None:
    """The same configuration over the same defaults, as each service wants it."""
    defaults = {"audio": {"output": {"voice": "marin", "speed": 1.1}}, "tools": [{}]}
    shaped, _ = DIALECTS[dialect].shape_session({"voice": "ash", "tools": [], "temperature": 0.7}, defaults)
    assert shaped == expected


@pytest.mark.parametrize(
    ("base", "over", "merged"),
    [
        ({"a": {"b": 1, "c": 2}}, {"a": {"c": 3}}, {"a": {"b": 1, "c": 3}}),
        ({"a": [1, 2]}, {"a": []}, {"a": []}),
        ({"a": {"b": 1}}, {"a": None}, {"a": None}),
        ({"a": {"type": "x", "b": 1}}, {"a": {"type": "y"}}, {"a": {"type": "y"}}),
        ({"a": {"type": "x", "b": 1}}, {"a": {"b": 2}}, {"a": {"type": "x", "b": 2}}),
    ],
)
def test_deep_merge(base: dict[str, Any], over: dict[str, Any], merged: dict[str, Any]) -> None:
    """Mappings merge, anything else replaces, and another kind of thing replaces whole."""
    before = json.dumps(base)
    assert deep_merge(base, over) == merged
    assert json.dumps(base) == before


def test_a_dialect_of_somebody_elses() -> None:
    """Names of a service's own are understood and spoken, with no code but the value."""
    mine = Dialect(
        name="mine",
        default_url="wss://voice.example/talk",
        incoming={"audio": "response.output_audio.delta", "hello": "session.created"},
        outgoing={"response.create": "speak"},
    )
    client = ClientProtocol(mine)
    client.send_response()
    assert json.loads(client.data_to_send()[0])["type"] == "speak"
    assert list(client.receive_text('{"type":"hello","session":{"id":"s"}}')) == [
        e.SessionReady("s", None, {"id": "s"})
    ]
    client.receive_text('{"type":"response.created","response":{"id":"r"}}')
    frame = '{"type":"audio","item_id":"a","response_id":"r","delta":"AAECAw=="}'
    assert [list(client.receive_text(frame)) for _ in range(2)] == [[e.Audio(b"\0\1\2\3", "r", "a", 0)]] * 2


def test_translation_is_a_dialect_too() -> None:
    """A translation session has no type, and a name of its own for input audio."""
    name = "session.input_audio_buffer.append"
    client = ClientProtocol(
        Dialect(name="translation", session_type=None, outgoing={"input_audio_buffer.append": name})
    )
    client.send_session({"audio": {"output": {"language": "de"}}})
    frames = [json.loads(frame) for frame in (*client.data_to_send(), client.append(b"\0\1"))]
    assert frames == [
        {"type": "session.update", "event_id": "req_1", "session": {"audio": {"output": {"language": "de"}}}},
        {"type": name, "audio": "AAE="},
    ]


def test_rename_to_a_name_nobody_knows() -> None:
    """A dialect with a mistake in it loses one event, and no more."""
    client = ClientProtocol(Dialect(name="mine", incoming={"a": "no.such.event"}))
    assert list(client.receive_text('{"type":"a"}')) == [UnknownEvent("a", {"type": "a"})]
