"""What a provider emits that it should not: it is told as an error, and neither the session nor its close suffers."""

from __future__ import annotations

import pytest
from conversation import FRAME, Stage, scenario
from vivavoce.errors import ConfigError, VoiceError
from vivavoce.events import ResponseCreated, ResponseDone, Speaking, Turn, Usage, Writing


@pytest.mark.parametrize(
    "event",
    [
        Writing(None, "assistant", "i", "r"),
        Writing(5, "assistant", "i", "r", final=True),
        Speaking(None, "r", "i"),
        Speaking("text", "r", "i"),
        Usage(input_seconds="x"),
    ],
)
@scenario
async def test_bad_field(event):
    """A field of a wrong kind is named by its event; the next events are delivered, and close() closes."""
    stage = Stage(records=False)
    errors, turns = [], []
    stage.voice.on("error", errors.append)
    stage.voice.on("turn", turns.append)
    await stage.voice.connect()
    stage.provider.emit(ResponseCreated("r"), event, Turn("user", "hello"))
    (error,) = errors
    assert error.code == "provider_bug"
    assert f"bad {type(event).__name__}" in str(error)
    assert [turn.text for turn in turns] == ["hello"]
    await stage.voice.close()
    assert stage.voice.state == "closed"
    assert len(stage.provider.called("close")) == 1


@pytest.mark.parametrize("kind", [bytearray, memoryview])
@scenario
async def test_audio_of_another_kind(kind):
    """Audio that is bytes-like reaches every listener and stream as `bytes`, which nobody can change any more."""
    buffer = bytearray(FRAME)
    heard = []
    async with Stage(records=False) as stage:
        stage.voice.on("speaking", lambda event: heard.append(event.audio))
        response = await stage.voice.answer()
        stage.provider.emit(Speaking(kind(buffer), response.id, "i"))
        buffer[:] = bytes(len(buffer))
        stage.provider.emit(ResponseDone(response.id))
        chunks = [chunk async for chunk in response.audio]
    assert FRAME in heard
    assert FRAME in chunks


@scenario
async def test_reply_that_reached_its_limit():
    """What was said of a reply that the service left incomplete is heard, and its stream says that the rest is missing."""
    async with Stage(records=False) as stage:
        response = await stage.voice.answer()
        stage.provider.emit(Speaking(FRAME, response.id, "i"), ResponseDone(response.id, "incomplete", "max"))
        audio = b"".join([chunk async for chunk in response.audio])
        assert (audio, response.audio.end_reason) == (FRAME, "lost")
        assert (await response.done()).status == "incomplete"


@pytest.mark.parametrize("sink", [None, 5, print, object()])
@scenario
async def test_pipe_into_no_sink(sink):
    """It is told what is missing, and the stream can still be read."""
    async with Stage(records=False) as stage:
        response = await stage.voice.answer()
        stage.provider.emit(Speaking(FRAME, response.id, "i"), ResponseDone(response.id))
        with pytest.raises(
            ConfigError, match=r"takes a sink; a .* lacks format, played_ms, write, flush, drain"
        ):
            await response.audio.pipe(sink)
        assert b"".join([chunk async for chunk in response.audio]) == FRAME


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ({"type": "tool_call", "call_id": "c"}, "tool_call without name"),
        ({"type": "tool_result"}, "tool_result without call_id and output"),
    ],
)
def test_item_that_lacks_something(item, words):
    """An item of the history that no service would take is refused before anything is opened."""
    with pytest.raises(VoiceError, match=words):
        Stage(history=[item])
