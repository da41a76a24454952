"""What a provider raises or returns that it should not: the app gets an error of the tree, without keys in its causes."""

from __future__ import annotations

import traceback

import pytest
from conversation import FRAME, Stage, provider, scenario
from vivavoce import ListenerInfo, ReconnectPolicy, Voice
from vivavoce.errors import ConnectError, ConnectionLostError, ProviderError, VoiceError
from vivavoce.testing import ScriptedProvider, Step

KEY = "abcd1234efgh5678ijkl"
CALLS = {
    "send_text": ("hi",),
    "answer": (),
    "commit_input": (),
    "clear_input": (),
    "listen": (FRAME,),
    "speak": ("hi",),
    "get_speakers": (),
    "get_listener": (),
    "send_event": ("x",),
}


@pytest.mark.parametrize("method", CALLS)
@scenario
async def test_bug_in_a_hook(method):
    """A foreign exception becomes a `VoiceError` of code `provider_bug`, chained to it, with provider and session."""
    bug = ValueError("boom")
    async with Stage(provider(script={method: [Step(fails=bug)]})) as stage:
        with pytest.raises(VoiceError, match=rf"ValueError in {method}\(\) of provider .*: boom") as error:
            await getattr(stage.voice, method)(*CALLS[method])
        assert (error.value.code, error.value.__cause__) == ("provider_bug", bug)
        assert (error.value.provider, error.value.session_id) == ("scripted", "session-1")
        assert stage.voice.state == "open"


@scenario
async def test_refusal_knows_its_session():
    """An error that the provider raises itself is passed on, completed by provider and session."""
    refusal = ProviderError("no", code="bad", param="x")
    async with Stage(provider(script={"answer": [Step(fails=refusal)]})) as stage:
        with pytest.raises(ProviderError) as error:
            await stage.voice.answer()
        assert error.value is refusal
        assert (refusal.provider, refusal.session_id) == ("scripted", "session-1")


@scenario
async def test_request_without_a_connection():
    """A `ConnectionError` of the standard library becomes the one of the tree."""
    async with Stage(provider(script={"send_text": [Step(fails=BrokenPipeError("pipe"))]})) as stage:
        with pytest.raises(ConnectionLostError, match="pipe"):
            await stage.voice.send_text("hi")


@pytest.mark.parametrize("audio", [FRAME, [FRAME]])
@pytest.mark.parametrize("waits", [False, True])
@scenario
async def test_frame_into_a_broken_socket(audio, waits):
    """A `ConnectionError` while sending is a loss, also where the provider did not tell one."""

    class Broken(ScriptedProvider):
        def __init__(self) -> None:
            super().__init__(script={"send": Step(does=self._reset) if waits else Step(fails=self._gone())})

        def _gone(self):
            return ConnectionResetError("reset by peer")

        async def _reset(self, *_):
            raise self._gone()

    stage = Stage(Broken())
    await stage.voice.connect()
    with pytest.raises(ConnectionLostError, match="reset by peer"):
        await stage.voice.send(audio)
    assert stage.voice.state == "closed"
    await stage.voice.connect(reconnect=ReconnectPolicy(initial_delay_ms=50))
    await stage.voice.send(audio)
    assert stage.voice.state == "reconnecting"
    await stage.voice.close()


@scenario
async def test_bug_in_send():
    """Any other failure of `send` leaves the session as it is."""
    async with Stage(provider(script={"send": [Step(fails=ValueError("boom"))]})) as stage:
        with pytest.raises(VoiceError, match=r"ValueError in send\(\) of provider .*: boom") as error:
            await stage.voice.send(FRAME)
        assert error.value.code == "provider_bug"
        await stage.voice.send(FRAME)


@scenario
async def test_source_of_listen():
    """What the app's own source raises comes out of listen() as it is."""

    async def bad():
        yield FRAME
        raise RuntimeError("microphone is gone")

    async with Stage() as stage:
        with pytest.raises(RuntimeError, match="microphone"):
            await stage.voice.listen(bad())


@pytest.mark.parametrize(
    ("method", "result"),
    [
        ("answer", 5),
        ("listen", 5),
        ("speak", [b"\0\0"]),
        ("speak", "text"),
        ("get_speakers", 5),
        ("get_speakers", ["marin"]),
        ("get_speakers", [{"nme": "marin"}]),
        ("get_listener", "yes"),
        ("get_listener", {"model": "x"}),
    ],
)
@scenario
async def test_wrong_result(method, result):
    """A result of a wrong kind is named at once, with what is wanted instead."""
    async with Stage(provider(script={method: [Step(returns=result)]})) as stage:
        with pytest.raises(VoiceError, match=f"returned a .* from {method}: it must return") as error:
            await getattr(stage.voice, method)(*CALLS[method])
        assert error.value.code == "provider_bug"


@pytest.mark.parametrize(
    ("result", "info"),
    [
        (False, ListenerInfo(enabled=False)),
        (True, ListenerInfo(enabled=True)),
        ({"enabled": False}, ListenerInfo(enabled=False)),
        ({"enabled": True, "model": "small"}, ListenerInfo(enabled=True, model="small")),
    ],
)
@scenario
async def test_forms_of_a_listener(result, info):
    """`get_listener` may return a bool or a mapping, and it counts."""
    async with Stage(provider(script={"get_listener": [Step(returns=result)]})) as stage:
        assert await stage.voice.get_listener() == info


def chain(error: BaseException) -> str:
    """Everything that a traceback, a log or an error tracker would show of it."""
    shown, node = [], error
    while node is not None:
        shown += [str(node), repr(node), "".join(traceback.format_exception(node))]
        node = node.__cause__ or (None if node.__suppress_context__ else node.__context__)
    return "\n".join(shown)


@pytest.mark.parametrize("kind", [ValueError, OSError, ConnectionRefusedError, ConnectError, ProviderError])
@pytest.mark.parametrize("hook", ["connect", "send_text"])
@scenario
async def test_no_key_in_a_cause(kind, hook):
    """The url that a library puts into its error is shown without the key, all along the chain of causes."""

    def fails(*_):
        try:
            raise OSError(f"deeper: wss://host/?api-key={KEY}")
        except OSError as deeper:
            raise kind(f"cannot open wss://host/?api-key={KEY}") from deeper

    voice = Voice(ScriptedProvider(script={hook: [Step(does=fails)]}), api_key=KEY)
    if hook != "connect":
        await voice.connect()
    with pytest.raises(VoiceError) as error:
        await (voice.connect() if hook == "connect" else voice.send_text("hi"))
    shown = chain(error.value)
    assert KEY not in shown
    assert "deeper: wss://host/?api-key=[redacted]" in shown
    await voice.close()
