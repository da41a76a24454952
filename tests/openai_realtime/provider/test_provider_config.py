"""Options: what each takes, and what is said about anything else."""

from __future__ import annotations

import logging
from typing import Any

import attrs
import pytest
from vivavoce import Voice
from vivavoce.config import CommonConfig
from vivavoce.errors import ConfigError
from vivavoce_openai_realtime import DIALECTS, Dialect, OpenAIRealtimeConfig

KEY = "sk-test-0123456789abcdef"

# option: a bad value, what the text must hold
BAD: list[tuple[str, Any, tuple[str, ...]]] = [
    ("dialect", "azur", ("dialect='azur'", "'ga'", "'azure-preview'", "did you mean 'azure'?")),
    ("dialect", 7, ("dialect=7", "or a Dialect")),
    ("transport", "websoket", ("transport='websoket'", "'websocket'", "did you mean 'websocket'?")),
    ("ice_servers", 3, ("ice_servers", "stun:", "credential")),
    ("ice_servers", ["https://stun.example"], ("ice_servers", "stun:")),
    ("ice_servers", [{"url": "stun:stun.example"}], ("ice_servers", "urls")),
    ("ice_servers", [{"urls": 3}], ("ice_servers", "urls")),
    ("ice_servers", [{"urls": []}], ("ice_servers", "urls")),
    ("ice_servers", ["stun:"], ("ice_servers", "stun:host:port")),
    ("ice_servers", ["stun:stun.example:70000"], ("ice_servers", "stun:host:port")),
    ("ice_servers", ["stun:stun.example?transport=udp"], ("ice_servers",)),
    ("ice_servers", ["turn:turn.example"], ("ice_servers", "need both")),
    ("ice_servers", [{"urls": "turn:a.example", "username": "me"}], ("ice_servers", "need both")),
    (
        "ice_servers",
        [{"urls": "turns:a.example?transport=udp", "username": "me", "credential": "x"}],
        ("ice_servers",),
    ),
    ("sideband", 1, ("sideband=1", "True or False")),
    ("sideband", True, ("sideband=True", 'transport="webrtc"')),
    ("auth", "baerer", ("auth='baerer'", "'api-key'", "did you mean 'bearer'?")),
    ("auth", 3, ("auth=3", "'basic'")),
    ("headers", ["X-A: b"], ("headers", "a dict of text to text")),
    ("headers", {"X-A": 1}, ("headers", "a dict of text to text")),
    ("organization", 1, ("organization=1", "text")),
    ("project", 1, ("project=1", "text")),
    ("safety_identifier", 1, ("safety_identifier=1", "text")),
    ("api_version", 2025, ("api_version=2025", "text")),
    ("deployment", 1, ("deployment=1", "text")),
    ("call_id", 1, ("call_id=1", "text")),
    ("proxy", 8080, ("proxy=8080", "URL", "None (no proxy)")),
    ("ssl", True, ("ssl=True", "an ssl.SSLContext")),
    ("server_hostname", 1, ("server_hostname=1", "text")),
    ("compression", "gzip", ("compression='gzip'", "'deflate'")),
    ("max_size", 0, ("max_size=0", "1024 or more")),
    ("max_size", 1e6, ("max_size=1000000.0", "bytes")),
    ("max_size", True, ("max_size=True", "bytes")),
    ("ping_interval", 0, ("ping_interval=0", "positive number of seconds", "None for no pings")),
    ("ping_interval", "20", ("ping_interval='20'", "seconds")),
    ("ping_timeout", -1, ("ping_timeout=-1", "positive number of seconds")),
    ("ping_timeout", None, ("ping_timeout=None", "positive number of seconds")),
    ("write_deadline", True, ("write_deadline=True", "positive number of seconds")),
    ("write_deadline", float("nan"), ("write_deadline=nan", "positive number of seconds")),
    ("write_deadline", float("inf"), ("write_deadline=inf", "positive number of seconds")),
    ("model", 4, ("model=4",)),
    ("speaker", 4, ("speaker=4",)),
    ("instructions", 4, ("instructions=4",)),
    ("url", 4, ("url=4",)),
    ("session", [], ("session",)),
    ("tools", ["weather"], ("tool",)),
]


@pytest.mark.parametrize(("option", "value", "words"), BAD)
def test_bad_value(option: str, value: Any, words: tuple[str, ...]) -> None:
    """The text names the option, the value, what is allowed, and what was probably meant."""
    with pytest.raises(ConfigError) as caught:
        Voice("openai-realtime", **{"api_key": KEY, option: value})
    assert caught.value.option == option
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    "servers",
    [
        "stun:stun.example",
        ["stun:192.0.2.1:19302", {"urls": ["turn:a.example"], "username": "me", "credential": "secret"}],
        {"urls": "turns:a.example:443?transport=tcp", "username": "me", "credential": "secret"},
        {
            "urls": ["turn:a.example?transport=tcp", "stun:a.example"],
            "username": "me",
            "credential": "secret",
        },
    ],
)
def test_ice_servers(servers: Any) -> None:
    """One, or several; none of their passwords is shown."""
    voice = Voice("openai-realtime", api_key=KEY, transport="webrtc", ice_servers=servers)
    assert "secret" not in repr(voice)


def test_every_option_is_tried() -> None:
    """A new option needs its bad values here."""
    options = {field.name for field in attrs.fields(OpenAIRealtimeConfig)}
    assert options - {option for option, _, _ in BAD} == {"api_key"}


def test_key_of_a_wrong_type_is_not_shown() -> None:
    """It may be a key in the wrong wrapping."""
    with pytest.raises(ConfigError) as caught:
        Voice("openai-realtime", api_key=[KEY])
    assert caught.value.option == "api_key"
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    ("option", "meant"),
    [("modle", "model"), ("dialekt", "dialect"), ("ping_intervall", "ping_interval"), ("voice", None)],
)
def test_unknown_option(option: str, meant: str | None) -> None:
    """The nearest name is suggested; else all are listed."""
    with pytest.raises(ConfigError) as caught:
        Voice("openai-realtime", **{option: "x"})
    assert caught.value.option == option
    assert (f"did you mean {meant!r}?" if meant else "it knows ") in str(caught.value)


async def test_unknown_option_of_connect() -> None:
    """`connect()` has two options."""
    voice = Voice("openai-realtime", api_key=KEY)
    with pytest.raises(ConfigError, match="did you mean 'timeout'"):
        await voice.connect(timeot=1)  # type: ignore[call-arg]
    assert voice.state == "idle"


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"url": "api.openai.com"}, ("url='api.openai.com'", "wss://")),
        ({"url": "ftp://example.com"}, ("url='ftp://example.com'", "wss://")),
        ({"url": "wss://"}, ("url='wss://'", "a host")),
        ({"url": ""}, ("`url` is blank", "leave it out")),
        ({"url": "  "}, ("`url` is blank",)),
        ({"url": "wss://example.com:port/"}, ("example.com:port", "wss://")),
        ({"dialect": "azure"}, ("the dialect 'azure' has no address of its own", "`url`")),
        ({"dialect": "beta"}, ("the dialect 'beta' has no address of its own", "`url`")),
    ],
)
async def test_bad_url(config: dict[str, Any], words: tuple[str, ...]) -> None:
    """A URL that cannot be dialled is told before anything is opened."""
    voice = Voice("openai-realtime", api_key=KEY, **config)
    with pytest.raises(ConfigError) as caught:
        await voice.connect()
    assert caught.value.option == "url"
    for word in words:
        assert word in str(caught.value)


async def test_bad_url_shows_no_credential() -> None:
    """Neither the user nor the query of a URL is shown."""
    voice = Voice("openai-realtime", api_key=KEY, url="ftp://me:pass-word@example.com/x?token=t0ken")
    with pytest.raises(ConfigError) as caught:
        await voice.connect()
    assert "url='ftp://example.com/x'" in str(caught.value)
    assert "pass-word" not in str(caught.value)
    assert "t0ken" not in str(caught.value)


@pytest.mark.parametrize(
    ("config", "option"),
    [
        ({"headers": {"X-A": "line\nbreak"}}, "headers"),
        ({"headers": {"Sec-WebSocket-Key": "x"}}, "headers"),
        ({"api_key": "two\nlines-of-a-key"}, "headers"),
        ({"proxy": "nonsense://"}, "proxy"),
        ({"url": "ws://127.0.0.1/", "ssl": True}, "ssl"),
    ],
)
async def test_value_that_cannot_be_sent(config: dict[str, Any], option: str) -> None:
    """What only the transport can judge is a `ConfigError` too, and no socket is opened."""
    with pytest.raises(ConfigError) as caught:
        await Voice("openai-realtime", **{"api_key": KEY, **config}).connect()
    assert caught.value.option == option
    assert "lines-of-a-key" not in str(caught.value)


def test_names_of_dialects_are_taken_as_they_are_written() -> None:
    """Case and underscores do not matter; a `Dialect` is taken as it is."""
    assert OpenAIRealtimeConfig(dialect="Azure_Preview").dialect is DIALECTS["azure-preview"]  # type: ignore[arg-type]
    mine = Dialect(name="mine", default_url="wss://example.com/v1/realtime")
    assert OpenAIRealtimeConfig(dialect=mine).dialect is mine


def test_none_is_a_value_where_it_means_something() -> None:
    """`proxy=None` and `ping_interval=None` reach the transport."""
    voice = Voice("openai-realtime", api_key=KEY, proxy=None, ping_interval=None)
    config = voice._runtime.wanted.config
    assert (config.proxy, config.ping_interval) == (None, None)


def test_key_is_in_no_repr(caplog: pytest.LogCaptureFixture) -> None:
    """Neither keys nor headers nor a proxy with a password are shown."""
    caplog.set_level(logging.DEBUG)
    voice = Voice(
        "openai-realtime",
        api_key=KEY,
        headers={"X-Secret": "header-secret"},
        proxy="http://me:proxy-secret@127.0.0.1:1",
    )
    config = voice._runtime.wanted.config
    shown = repr(config) + repr(voice) + repr(config.spoken(DIALECTS["ga"])) + caplog.text
    assert [secret for secret in (KEY, "header-secret", "proxy-secret") if secret in shown] == []


def test_config_class_is_a_common_config() -> None:
    """Every common key is understood: none is warned about."""
    assert issubclass(OpenAIRealtimeConfig, CommonConfig)
