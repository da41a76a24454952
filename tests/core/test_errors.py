"""Errors: one tree, each with its fields, a next step, and never a key."""

from __future__ import annotations

import asyncio
import copy
import inspect
import logging
import pickle
from collections import OrderedDict

import hypothesis
import hypothesis.strategies as st
import pytest
from conversation import Stage, provider, scenario
from vivavoce import Voice, errors, tool
from vivavoce.redaction import redact, remember_secret
from vivavoce.testing import Reply, ScriptedProvider, Step

TREE = {
    "ConfigError": (errors.VoiceError, ValueError),
    "ProviderNotFoundError": (errors.VoiceError, LookupError),
    "ProviderLoadError": (errors.VoiceError,),
    "ConnectError": (errors.VoiceError, ConnectionError),
    "ConnectTimeoutError": (errors.ConnectError, TimeoutError),
    "AuthenticationError": (errors.ConnectError,),
    "QuotaError": (errors.ConnectError,),
    "NotConnectedError": (errors.VoiceError, RuntimeError),
    "ConnectionLostError": (errors.VoiceError, ConnectionError),
    "ProviderError": (errors.VoiceError,),
    "ProtocolError": (errors.VoiceError,),
    "UnsupportedError": (errors.VoiceError, NotImplementedError),
    "AudioError": (errors.VoiceError, ValueError),
}
ALL = [errors.VoiceError, *(getattr(errors, name) for name in TREE)]
RETRYABLE = {"ConnectError", "ConnectTimeoutError", "ConnectionLostError"}


def test_tree_is_whole():
    """Every error of the module is in the tree."""
    found = {
        name
        for name, member in vars(errors).items()
        if inspect.isclass(member) and issubclass(member, Exception)
    }
    assert found == {*TREE, "VoiceError"} == set(errors.__all__)


@pytest.mark.parametrize("name", TREE)
def test_bases(name):
    """Each class is also what a Python programmer would catch."""
    kind = getattr(errors, name)
    assert all(issubclass(kind, base) for base in TREE[name])
    assert issubclass(kind, errors.VoiceError)


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_fields(kind):
    """Every error has code, provider, session_id and retryable; its text is what was given."""
    error = kind("what to do next")
    assert (str(error), error.message, error.provider, error.session_id) == (
        "what to do next",
        "what to do next",
        None,
        None,
    )
    assert isinstance(error.code, str)
    assert error.retryable == (kind.__name__ in RETRYABLE)
    assert "what to do next" in repr(error)


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_copies(kind):
    """An error survives copying and pickling (a process pool, a queue)."""
    error = kind("text", code="c", provider="p")
    for other in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert (type(other), str(other), other.code, other.provider, other.retryable) == (
            kind, "text", "c", "p", error.retryable,
        )  # fmt: skip


def test_own_fields():
    """Some errors tell more."""
    connect = errors.ConnectError("x", status=401, close_code=3000, retryable=False)
    assert (connect.status, connect.close_code, connect.retryable) == (401, 3000, False)
    refused = errors.ProviderError("x", param="voice", event_id="e")
    assert (refused.param, refused.event_id) == ("voice", "e")
    assert errors.ConnectionLostError("x", close_code=1006).close_code == 1006
    assert errors.ConfigError("x", option="model").option == "model"


# Keys

KEY = "planted-4f9a8c7e6d5b"
letters = st.text(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-", min_size=12, max_size=60
)


@hypothesis.given(letters, st.text(max_size=20), st.text(max_size=20), st.sampled_from(ALL))
def test_no_error_holds_a_known_key(key, before, after, kind):
    """Whatever text an error is given, a key this process knows is not in it."""
    with pytest.MonkeyPatch.context() as patch:
        # What is generated may be an ordinary word of another test.
        patch.setattr("vivavoce.redaction._known", OrderedDict())
        remember_secret(key)
        error = kind(before + key + after)
        for shown in (str(error), repr(error), error.message, str(error.args), str(vars(error))):
            assert key not in shown


@hypothesis.given(st.sampled_from(["sk-", "sk-proj-", "ek_", "xai-", "rk_"]), letters)
def test_no_error_holds_what_looks_like_a_key(prefix, rest):
    """What has the shape of a key is redacted without being known."""
    assert rest not in str(errors.ProviderError(f"Incorrect API key provided: {prefix}{rest}."))


@pytest.mark.parametrize(
    "text",
    [
        f"Authorization: Bearer {KEY}x",
        f"authorization: bearer {KEY}x",
        f"BEARER {KEY}x",
        f"https://host/path?api-key={KEY}x&v=1",
        f"https://host/path?api_key={KEY}x",
        f"https://host/path?key={KEY}x&v=1",
        f"wss://user:{KEY}x@host/path",
        f"{{'api-key': '{KEY}x'}}",
        f'{{"api_key": "{KEY}x"}}',
        f"openai-insecure-api-key.{KEY}x",
        f"api-key: {KEY}x",
    ],
)
def test_shapes_of_keys(text):
    """The usual places of a key are redacted."""
    shown = redact(text)
    assert KEY not in shown
    assert "[redacted]" in shown


def test_ordinary_text_is_left_alone():
    """Words are not taken for keys."""
    text = "skip the key; the api-key is missing: set OPENAI_API_KEY (bearer of bad news) https://host/v1?model=gpt-realtime"
    assert redact(text) == text


@scenario
async def test_no_key_anywhere(caplog):
    """A key planted in config, url and the service's texts is in no error, repr, event or log record."""
    caplog.set_level(logging.DEBUG)
    Voice(
        ScriptedProvider(), api_key="planted-0123456789abcdef"
    )  # the errors below are made when it is known
    key = "planted-0123456789abcdef"
    url = f"wss://host/x?token={key}"

    @tool
    def leak() -> str:
        """Leak."""
        raise ValueError(f"tool knows {key}")

    def bad_listener(event):
        raise ValueError(f"listener knows {key}")

    stage = Stage(
        provider(
            Reply("", 0, tool_calls=[("leak", None)]),
            script={
                "connect": [
                    errors.AuthenticationError(f"bad key {key}"),
                    OSError(f"cannot reach {url}"),
                    ValueError(f"bug {key}"),
                ],
                "send_text": [errors.ProviderError(f"no {key}", code=f"code-{key}", param=key)],
                "close": ValueError(f"close {key}"),
            },
        ),
        api_key=key,
        url=url,
        tools=[leak],
    )
    stage.voice.on("open", bad_listener)
    shown = [repr(stage.voice), repr(stage.voice._runtime.wanted.config)]
    for _ in range(3):
        with pytest.raises(errors.ConnectError) as raised:
            await stage.voice.connect()
        shown += [str(raised.value), repr(raised.value)]
    await stage.voice.connect()
    with pytest.raises(errors.ProviderError) as refused:
        await stage.voice.send_text("x")
    shown += [str(refused.value), repr(refused.value), str(vars(refused.value))]
    await stage.voice.answer()
    await asyncio.sleep(1)
    stage.provider.emit(errors.VoiceError(f"service says {key}"))
    stage.provider.lose(ConnectionResetError(f"reset {key}"))
    await asyncio.sleep(1)
    await stage.voice.close()
    shown += [repr(event) for event in stage.seen]
    formatter = logging.Formatter("%(message)s")
    shown += [formatter.format(record) for record in caplog.records]
    assert [text for text in shown if key in text] == []
    assert len(caplog.records) >= 5


def test_config_error_for_a_key_in_the_wrong_place():
    """A key given where it does not belong is not shown."""
    with pytest.raises(errors.ConfigError) as raised:
        Voice("null", api_key=["sk-proj-planted0123456789"])
    assert "planted" not in str(raised.value)


@scenario
async def test_errors_of_events_name_provider_and_session():
    """Errors that come as events carry provider and session."""
    heard = []
    async with Stage(provider(script={"interrupt": Step()})) as stage:
        stage.voice.on("error", heard.append)
        stage.provider.emit(errors.VoiceError("service says no"))
        assert [(error.provider, error.session_id) for error in heard] == [("scripted", "session-1")]
