"""AudioStream: one consumer, an end with a reason, bounded memory, and sinks that tell what was heard."""

from __future__ import annotations

import asyncio
import gc
import weakref

import attrs
import pytest
from conversation import FRAME, Stage, provider, scenario, turns
from sinks import Player
from vivavoce.audio import PCM16_24K
from vivavoce.errors import VoiceError
from vivavoce.events import ResponseCreated, ResponseDone, Speaking, SpeakingDone
from vivavoce.streams import UNREAD_LIMIT, AudioStream, Response, Sink
from vivavoce.testing import Reply, current_clock, ramp


async def read(stream):
    return b"".join([audio async for audio in stream])


def stream_of(ms=1000, end="completed"):
    stream = AudioStream("r1", PCM16_24K)
    for at in range(0, int(ms), 100):
        stream._feed(ramp(min(100, ms - at), PCM16_24K, at * 24))
    if end is not None:
        stream._end(end)
    return stream


@scenario
async def test_read_to_its_end():
    """A stream gives its audio in order and ends with its reason."""
    stream = stream_of(end=None)
    reading = asyncio.create_task(read(stream))
    await turns(3)
    stream._feed(FRAME)
    assert stream.end_reason is None
    stream._end("completed")
    assert await reading == ramp(1000, PCM16_24K) + FRAME
    assert stream.end_reason == "completed"


@pytest.mark.parametrize(
    ("reason", "left"), [("completed", True), ("lost", True), ("cancelled", False), ("interrupted", False)]
)
@scenario
async def test_what_an_ended_stream_still_gives(reason, left):
    """What arrived before `completed` and `lost` can be read; after the others it is dropped."""
    stream = stream_of(end=reason)
    assert (bool(await read(stream)), stream.end_reason) == (left, reason)


@scenario
async def test_one_consumer():
    """A second consumer is refused, and the first not disturbed."""
    stream = stream_of(end=None)
    sink = Player()
    piping = asyncio.create_task(stream.pipe(sink))
    await asyncio.sleep(0.5)
    before = stream.played_ms
    assert before > 300
    with pytest.raises(RuntimeError, match="already has its consumer"):
        aiter(stream)
    with pytest.raises(RuntimeError, match="already has its consumer"):
        await stream.pipe(Player())
    assert stream.played_ms == before
    stream._end("completed")
    await piping
    assert sink.heard == ramp(1000, PCM16_24K)


@scenario
async def test_first_end_counts():
    """The first reason stays; only an interruption overrides a completion that was not heard yet."""
    stream = stream_of()
    stream._end("lost")
    assert stream.end_reason == "completed"
    stream._end("interrupted")
    stream._end("completed")
    assert stream.end_reason == "interrupted"


@scenario
async def test_unread_limit():
    """16 MiB unread end the stream as `lost`; what is there can be read."""
    stream = AudioStream("r1", PCM16_24K)
    chunk = bytes(1024 * 1024)
    assert [stream._feed(chunk) for _ in range(17)] == [True] * 16 + [False]
    assert stream.end_reason == "lost"
    stream._feed(chunk)
    assert len(await read(stream)) == UNREAD_LIMIT + len(chunk)


@scenario
async def test_unread_reply_is_told():
    """A reply that is held and not read for 16 MiB ends as `lost`, with one error; the session goes on."""
    stage = Stage()
    errors = []
    stage.voice.on("error", errors.append)
    async with stage:
        held = []
        stage.voice.on("speaker", held.append)
        stage.provider.emit(ResponseCreated("r"))
        for _ in range(20):
            stage.provider.emit(Speaking(bytes(1024 * 1024), "r", "i"))
        assert (held[0].end_reason, [error.code for error in errors]) == ("lost", ["stream_overflow"])
        stage.provider.emit(SpeakingDone("completed", "r", "i"), ResponseDone("r"))
        assert held[0].end_reason == "lost"


@scenario
async def test_stream_taken_by_nobody_is_not_kept():
    """Audio that nobody holds a stream for is not kept."""
    async with Stage(records=False) as stage:
        stage.provider.emit(ResponseCreated("r"))
        refs = []
        stage.voice.once("speaker", lambda stream: refs.append(weakref.ref(stream)))
        stage.provider.emit(Speaking(FRAME, "r", "i"))
        assert refs[0]() is None
        stage.provider.emit(Speaking(FRAME, "r", "i"), ResponseDone("r"))


@scenario
async def test_same_object_everywhere():
    """The `speaker` event carries the object that `Response.audio` is."""
    async with Stage(provider(Reply("hi", 100))) as stage:
        heard = []
        stage.voice.on("speaker", heard.append)
        response = await stage.voice.answer()
        await response.done()
        assert (len(heard), heard[0] is response.audio) == (1, True)
        assert (response.audio.id, response.audio.item_id, response.audio.format) == (
            response.id,
            "item-1",
            PCM16_24K,
        )


# Sinks.


@pytest.mark.parametrize("rate", [8_000, 16_000, 24_000, 24_100, 48_000])
@scenario
async def test_pipe_converts_to_the_sink(rate):
    """`pipe` plays the stream at the sink's rate and returns when it was heard."""
    sink = Player(rate)
    stream = stream_of()
    await stream.pipe(sink)
    assert len(sink.heard) == rate * 2
    assert current_clock().now == pytest.approx(1.0, abs=0.02)
    assert stream.played_ms == pytest.approx(1000)


@scenario
async def test_played_position_at_24100_hz():
    """While it plays, the position is that of the sink, in milliseconds of the stream."""
    sink = Player(24_100)
    stream = stream_of(2000)
    piping = asyncio.create_task(stream.pipe(sink))
    await asyncio.sleep(0.75)
    assert stream.played_ms == pytest.approx(750, abs=15)
    await piping


@scenario
async def test_two_streams_one_sink():
    """Two streams piped to one sink are played one after the other, and each knows its own position."""
    sink = Player()
    first, second = stream_of(), stream_of(500)
    both = asyncio.gather(first.pipe(sink), second.pipe(sink))
    await asyncio.sleep(0.9)
    assert (first.played_ms, second.played_ms) == (pytest.approx(900, abs=10), 0)
    await asyncio.sleep(0.3)
    assert (first.played_ms, second.played_ms) == (pytest.approx(1000), pytest.approx(200, abs=15))
    await both
    assert sink.heard == ramp(1000, PCM16_24K) + ramp(500, PCM16_24K)


@pytest.mark.parametrize("reason", ["interrupted", "cancelled"])
@scenario
async def test_cut_while_playing(reason):
    """A stream that is cut falls silent at once and keeps its position; the next one plays from its own begin."""
    sink = Player()
    first, second = stream_of(2000), stream_of(500)
    both = asyncio.gather(first.pipe(sink), second.pipe(sink))
    await asyncio.sleep(0.5)
    first._end(reason)
    heard = len(sink.heard)
    assert first.played_ms == pytest.approx(500, abs=10)
    await both
    assert first.played_ms == pytest.approx(500, abs=10)
    assert len(sink.heard) == heard + len(ramp(500, PCM16_24K))
    assert second.played_ms == pytest.approx(500)


class Modest(Player):
    """Tells less than it played, as devices do that take off their latency."""

    @property
    def played_ms(self):
        return max(0.0, super().played_ms - 7)


@scenario
async def test_drained_stream_was_heard():
    """What a sink has drained was heard to its end, whatever its clock says."""
    stream = stream_of()
    await stream.pipe(Modest())
    assert stream.played_ms == 1000


@scenario
async def test_plain_sink():
    """The methods of a sink may be plain."""

    class Plain:
        format = PCM16_24K

        def __init__(self):
            self.got = bytearray()

        @property
        def played_ms(self):
            return self.format.milliseconds(len(self.got))

        def write(self, audio):
            self.got += audio

        def flush(self):
            pass

        def drain(self):
            pass

    sink = Plain()
    assert isinstance(sink, Sink)
    await stream_of().pipe(sink)
    assert bytes(sink.got) == ramp(1000, PCM16_24K)


@attrs.define
class Unhashable:
    """A sink as many would write it: it compares by value, so it has no hash, and slots, so no weak reference."""

    format = PCM16_24K
    got: bytearray = attrs.field(factory=bytearray)

    @property
    def played_ms(self):
        return self.format.milliseconds(len(self.got))

    def write(self, audio):
        self.got += audio

    def flush(self):
        pass

    def drain(self):
        pass


@scenario
async def test_sink_without_hash():
    """Any object can be a sink."""
    sink = Unhashable()
    await asyncio.gather(stream_of().pipe(sink), stream_of(500).pipe(sink))
    assert bytes(sink.got) == ramp(1000, PCM16_24K) + ramp(500, PCM16_24K)


@scenario
async def test_sink_that_raises():
    """What a sink raises comes out of pipe, and the sink is free for the next stream."""

    class Bad(Player):
        def __init__(self):
            super().__init__()
            self.bad = True

        async def write(self, audio):
            if self.bad:
                self.bad = False
                raise OSError("device is gone")
            await super().write(audio)

    sink = Bad()
    stream = stream_of()
    with pytest.raises(OSError, match="device is gone"):
        await stream.pipe(sink)
    second = stream_of(500)
    await second.pipe(sink)
    assert sink.heard == ramp(500, PCM16_24K)


@scenario
async def test_cancelled_pipe_lets_the_next_play():
    """A cancelled pipe gives the sink free."""
    sink = Player()
    first, second = stream_of(), stream_of(500)
    piping = asyncio.create_task(first.pipe(sink))
    waiting = asyncio.create_task(second.pipe(sink))
    await asyncio.sleep(0.3)
    piping.cancel()
    await waiting
    assert piping.cancelled()
    assert sink.heard.endswith(ramp(500, PCM16_24K))


@scenario
async def test_report_played():
    """Without a sink the app reports; with neither, what was consumed counts as heard."""
    stream = stream_of()
    reading = aiter(stream)
    await anext(reading)
    assert stream.played_ms == 100
    stream.report_played(40)
    await anext(reading)
    assert stream.played_ms == 40
    stream.report_played(-5)
    assert stream.played_ms == 0
    await reading.aclose()


@scenario
async def test_stream_is_garbage_when_dropped():
    """A stream nobody holds is freed."""
    stream = stream_of()
    gone = weakref.ref(stream)
    await stream.pipe(Player())
    del stream
    gc.collect()
    assert gone() is None


@scenario
async def test_empty_response():
    """The empty response of the warning rule is finished and has no audio."""
    response = Response.empty(PCM16_24K)
    assert (await response.text(), (await response.done()).status, await read(response.audio)) == (
        "",
        "completed",
        b"",
    )


# speak()


@scenario
async def test_speak():
    """`speak` streams what the provider makes, with the speaker and options it was given."""
    stage = Stage(speaker="alma")
    stream = await stage.voice.speak("two words", style="calm")
    assert len(await read(stream)) == PCM16_24K.bytes_for(200)
    await (await stage.voice.speak("x", speaker="bruno")).pipe(Player())
    assert [call.args[1] for call in stage.provider.called("speak")] == [
        {"speaker": "alma", "style": "calm"},
        {"speaker": "bruno"},
    ]
    assert stage.voice.state == "idle"
    await stage.voice.close()


async def words():
    for word in ("one ", "two ", "three"):
        await asyncio.sleep(0.1)
        yield word


@pytest.mark.parametrize(
    "text", ["one two three", ["one ", "two ", "three"], words()], ids=["str", "list", "async"]
)
@scenario
async def test_speak_pieces(text):
    """Text may come in pieces, sync or async."""
    stage = Stage()
    assert len(await read(await stage.voice.speak(text))) == PCM16_24K.bytes_for(300)
    await stage.voice.close()


@pytest.mark.parametrize("bad", [None, 5, b"bytes are no text", object()])
@scenario
async def test_speak_what_is_no_text(bad):
    """What is no text is refused."""
    stage = Stage()
    with pytest.raises(VoiceError):
        await stage.voice.speak(bad)
    await stage.voice.close()


@scenario
async def test_speak_runs_ahead_no_more_than_a_megabyte():
    """Speech is made at most 1 MiB ahead of whoever reads it."""
    made = []

    async def chunks():
        for _ in range(100):
            made.append(1)
            yield bytes(100_000)

    from vivavoce.testing import Step

    stage = Stage(provider(script={"speak": Step(does=lambda context, text, options: chunks())}))
    stream = await stage.voice.speak("x")
    await asyncio.sleep(1)
    assert len(made) <= 12
    assert len(await read(stream)) == 10_000_000
    await stage.voice.close()


@scenario
async def test_speak_that_fails_half_way():
    """Speech that fails ends its stream as `lost`, with an error."""

    async def chunks():
        yield FRAME
        raise ValueError("engine broke")

    from vivavoce.testing import Step

    stage = Stage(provider(script={"speak": Step(does=lambda context, text, options: chunks())}))
    errors = []
    stage.voice.on("error", errors.append)
    stream = await stage.voice.speak("x")
    assert await read(stream) == FRAME
    assert (stream.end_reason, [error.code for error in errors]) == ("lost", ["speak_failed"])
    await stage.voice.close()


@pytest.mark.parametrize("result", [FRAME, bytearray(FRAME), None])
@scenario
async def test_speak_hook_may_return_bytes(result):
    """A speak hook may return all its audio at once, or none."""
    from vivavoce.testing import Step

    stage = Stage(provider(script={"speak": Step(returns=result)}))
    assert await read(await stage.voice.speak("x")) == bytes(result or b"")
    await stage.voice.close()


@pytest.mark.parametrize("connected", [True, False])
@pytest.mark.parametrize("done", [True, False])
@scenario
async def test_interrupt_stops_speech(connected, done):
    """`interrupt` silences what `speak` says, also when it was made whole already, with a session and without."""
    stage = Stage()
    if connected:
        await stage.voice.connect()
    sink = Player()
    stream = await stage.voice.speak("word " * (20 if done else 2000))
    playing = asyncio.create_task(stream.pipe(sink))
    await asyncio.sleep(0.5)
    await stage.voice.interrupt()
    heard = sink.heard
    await playing
    assert (sink.heard == heard, stream.end_reason) == (True, "interrupted")
    assert 400 < sink.played_ms < 600
    await stage.voice.close()
