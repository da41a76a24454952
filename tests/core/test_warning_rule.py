"""The warning rule: what a provider cannot do is one WARNING per voice and method, and an empty result at once."""

from __future__ import annotations

import logging
import os
import subprocess
import sys

import pytest
from conversation import FRAME, scenario
from vivavoce import CompositeVoice, Voice, hookimpl
from vivavoce.errors import NotConnectedError, UnsupportedError
from vivavoce.provider import ListenerInfo
from vivavoce.streams import AudioStream, Response
from vivavoce.testing import ScriptedProvider, current_clock

CALLS = {
    "connect": lambda voice: voice.connect(),
    "send": lambda voice: voice.send(FRAME),
    "send_text": lambda voice: voice.send_text("hi"),
    "answer": lambda voice: voice.answer(),
    "interrupt": lambda voice: voice.interrupt(),
    "commit_input": lambda voice: voice.commit_input(),
    "clear_input": lambda voice: voice.clear_input(),
    "speak": lambda voice: voice.speak("hi"),
    "listen": lambda voice: voice.listen(FRAME),
    "add_tools": lambda voice: voice.add_tools([]),
    "add_instructions": lambda voice: voice.add_instructions("x"),
    "update_config": lambda voice: voice.update_config(a=1),
    "get_speakers": lambda voice: voice.get_speakers(),
    "get_listener": lambda voice: voice.get_listener(),
    "send_event": lambda voice: voice.send_event("x"),
}


async def is_empty(method, result):
    if method == "answer":
        assert isinstance(result, Response)
        assert (await result.text(), (await result.done()).status) == ("", "completed")
        assert [chunk async for chunk in result.audio] == []
    elif method == "speak":
        assert isinstance(result, AudioStream)
        assert (result.end_reason, [chunk async for chunk in result]) == ("completed", [])
    else:
        empty = {"listen": "", "get_speakers": [], "get_listener": ListenerInfo(enabled=False)}
        assert result == empty.get(method)


def levels(caplog):
    return [(record.name, record.levelname) for record in caplog.records]


@pytest.mark.parametrize("method", CALLS)
@pytest.mark.parametrize("kind", ["null", "class", "nothing"])
@scenario
async def test_one_warning_then_debug(method, kind, caplog):
    """The first call warns and names provider and method; later ones are DEBUG; each returns the empty value at once."""
    caplog.set_level(logging.DEBUG, "vivavoce")
    voice = Voice({"null": "null", "class": Nothing, "nothing": Nothing()}[kind])
    for _ in range(3):
        await is_empty(method, await CALLS[method](voice))
    assert levels(caplog) == [("vivavoce", "WARNING"), ("vivavoce", "DEBUG"), ("vivavoce", "DEBUG")]
    assert f"provider {voice.provider!r} cannot {method}()" in caplog.messages[0]
    assert (voice.state, current_clock().now) == ("idle", 0)
    await voice.close()
    assert voice.state == "idle"


class Nothing:
    api = 1
    capabilities = frozenset()


@scenario
async def test_each_method_and_each_voice_warn(caplog):
    """The warning is once per voice and method: other methods and other voices warn themselves."""
    for voice in (Voice("null"), Voice("null")):
        for call in CALLS.values():
            await call(voice)
    assert levels(caplog) == [("vivavoce", "WARNING")] * len(CALLS) * 2


@pytest.mark.parametrize("method", CALLS)
@scenario
async def test_strict(method, caplog):
    """With strict=True the call raises UnsupportedError, and nothing is logged."""
    for provider in ("null", Nothing):
        voice = Voice(provider, strict=True)
        with pytest.raises(UnsupportedError, match=rf"cannot {method}\(\)") as raised:
            await CALLS[method](voice)
        assert isinstance(raised.value, NotImplementedError)
        assert (raised.value.provider, raised.value.retryable) == (voice.provider, False)
    assert caplog.records == []


@scenario
async def test_silent_methods(caplog):
    """on, once, off, events and close never warn."""
    voice = Voice("null", strict=True)
    voice.on("x", print)
    voice.once("x", print)
    voice.off("x")
    await voice.events().aclose()
    await voice.close()
    assert caplog.records == []


@pytest.mark.parametrize(
    ("capability", "methods"),
    [
        ("realtime", {"connect", "send", "answer", "send_event", "update_config", "add_instructions"}),
        ("turns", {"answer", "commit_input", "clear_input"}),
        ("text", {"send_text"}),
        ("interrupt", {"interrupt"}),
        ("tools", {"add_tools"}),
        ("speak", {"speak", "get_speakers"}),
        ("listen", {"listen", "get_listener"}),
        ("vad", set()),
        ("truncate", set()),
        ("transcripts", set()),
        ("replay", set()),
        ("telepathy", set()),
    ],
)
@scenario
async def test_what_needs_which_capability(capability, methods):
    """A method is there when its capability is declared; the capability is asked for before the state."""
    for method, call in CALLS.items():
        voice = Voice(ScriptedProvider(capabilities={capability}), strict=True)
        try:
            await call(voice)
            done = True
        except UnsupportedError:
            done = False
        except NotConnectedError:
            done = True
        assert done == (method in methods), method
        await voice.close()


@scenario
async def test_declared_but_not_implemented(caplog):
    """A capability without its hook is no capability."""

    class Promises:
        api = 1
        capabilities = frozenset({"realtime", "turns", "speak", "text", "interrupt", "listen", "tools"})

    voice = Voice(Promises)
    for method in ("connect", "send", "answer", "speak", "listen", "send_text", "add_tools"):
        await is_empty(method, await CALLS[method](voice))
    assert {record.levelname for record in caplog.records} == {"WARNING"}
    assert voice.state == "idle"


@scenario
async def test_implemented_but_not_declared(caplog):
    """A hook without its capability is not called."""
    called = []

    class Shy:
        api = 1
        capabilities = frozenset()

        @hookimpl
        async def speak(self, text):
            called.append(text)

    stream = await Voice(Shy()).speak("hi")
    assert (stream.end_reason, called, len(caplog.records)) == ("completed", [], 1)


@scenario
async def test_context_manager_of_null(caplog):
    """An app written for a provider runs over null: it says what it cannot do and goes on."""
    async with Voice("null") as voice:
        await voice.send(FRAME)
        response = await voice.answer()
        await response.text()
        async for _ in response.audio:
            raise AssertionError
    assert levels(caplog) == [("vivavoce", "WARNING")] * 3


def test_visible_without_any_logging_set_up():
    """The warning is on stderr of a program that set nothing up."""
    program = "import asyncio, vivavoce\nasyncio.run(vivavoce.Voice('null').connect())"
    environment = {key: value for key, value in os.environ.items() if not key.startswith("VIVAVOCE_")}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=True
    )
    assert "provider 'null' cannot connect()" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_common_keys_that_null_cannot_use(caplog):
    """A common key that a provider cannot use is one WARNING that names it."""
    Voice("null", model="x", instructions="y", session=None)
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    assert "'model'" in caplog.messages[0]
    assert "'instructions'" in caplog.messages[1]


@scenario
async def test_composite_over_nothing(caplog):
    """A composite whose parts cannot follows the same rule."""
    composite = CompositeVoice(realtime="null")
    for method, call in CALLS.items():
        await is_empty(method, await call(composite))
    assert levels(caplog) == [("vivavoce", "WARNING")] * len(CALLS)
    await composite.close()
