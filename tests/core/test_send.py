"""send(): every kind of audio, in order, at the speed of the service, and nothing without bound."""

from __future__ import annotations

import array
import asyncio
import io

import numpy
import pytest
import soundfile
from conversation import FRAME, Stage, provider, scenario, turns
from vivavoce.audio import PCM16_16K, PCM16_24K, AudioFormat
from vivavoce.errors import AudioError, ConnectionLostError, NotConnectedError
from vivavoce.testing import ScriptedProvider, Step, current_clock, ramp

SECOND = ramp(1000, PCM16_24K)


def wav(tmp_path, pcm=SECOND, rate=24_000):
    path = tmp_path / "speech.wav"
    soundfile.write(path, numpy.frombuffer(pcm, "<i2"), rate, subtype="PCM_16")
    return path


def pieces(*sizes):
    left = SECOND
    for size in sizes:
        yield left[:size]
        left = left[size:]
    yield left


async def stream(parts):
    for part in parts:
        await asyncio.sleep(0.01)
        yield part


class Source:
    format = PCM16_24K

    async def __aiter__(self):
        for part in pieces(1001, 7, 4000):
            yield part


FORMS = {
    "bytes": lambda path: SECOND,
    "bytearray": lambda path: bytearray(SECOND),
    "memoryview": lambda path: memoryview(SECOND),
    "array": lambda path: array.array("h", SECOND),
    "int16": lambda path: numpy.frombuffer(SECOND, "<i2"),
    "float32": lambda path: numpy.frombuffer(SECOND, "<i2").astype("float32") / 32768,
    "column": lambda path: numpy.frombuffer(SECOND, "<i2").reshape(-1, 1),
    "str path": str,
    "path": lambda path: path,
    "file": lambda path: io.BytesIO(path.read_bytes()),
    "source": lambda path: Source(),
    "list": lambda path: list(pieces(960, 960)),
    "generator": lambda path: pieces(960, 2, 40_000),
    "odd chunks": lambda path: pieces(1, 3, 959, 5),
    "async": lambda path: stream(pieces(961, 33)),
    "frames": lambda path: [SECOND[at : at + 960] for at in range(0, len(SECOND), 960)],
}


@pytest.mark.parametrize("form", FORMS)
@scenario
async def test_every_form_of_audio(form, tmp_path):
    """Whatever holds the audio, the service hears the same bytes, in pieces of at most 100 ms."""
    async with Stage() as stage:
        await stage.voice.send(FORMS[form](wav(tmp_path)))
        assert bytes(stage.provider.heard) == SECOND
        assert max(len(call.args[0]) for call in stage.provider.called("send")) <= 4800


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
@scenario
async def test_rate_and_channels_are_converted(rate, channels):
    """Raw audio of another rate arrives as a second at the session's format."""
    pcm = ramp(1000, AudioFormat(rate, channels))
    async with Stage() as stage:
        await stage.voice.send(pcm, rate=rate, channels=channels)
        assert len(stage.provider.heard) == len(SECOND)


@scenario
async def test_session_may_have_another_format():
    """Audio goes out in the format the provider set for the session."""

    def sets(context, options):
        context.session.input_format = PCM16_16K

    async with Stage(provider(script={"connect": Step(does=lambda c, o: sets(c, o) or UNSET)})) as stage:
        assert stage.voice.input_format == PCM16_16K
        await stage.voice.send(SECOND, rate=24_000)
        assert len(stage.provider.heard) == 32_000


from vivavoce.testing.script import UNSET  # noqa: E402


@scenario
async def test_odd_byte_at_the_very_end():
    """An odd byte at the end is an AudioError, once all the rest was sent."""
    async with Stage() as stage:
        with pytest.raises(AudioError, match="1 byte over"):
            await stage.voice.send(SECOND + b"x")
        with pytest.raises(AudioError):
            await stage.voice.send([FRAME, b"x"])
        assert bytes(stage.provider.heard) == SECOND + FRAME


@pytest.mark.parametrize(
    "bad", [None, 5, {"a": 1}, object(), str, "no such file.wav", [1, 2], [None], b"\0\0\0\0".hex]
)
@scenario
async def test_what_is_no_audio(bad):
    """What holds no audio is refused with words that help."""
    async with Stage() as stage:
        with pytest.raises(AudioError):
            await stage.voice.send(bad)


@pytest.mark.parametrize(
    ("rate", "channels"), [(0, 1), (-1, 1), (24_000, 0), ("16k", 1), (1.5, 1), (True, 1), (10**9, 1)]
)
@scenario
async def test_bad_rate_or_channels(rate, channels):
    """Impossible rates and channels are refused before anything is sent."""
    async with Stage() as stage:
        with pytest.raises(AudioError):
            await stage.voice.send(FRAME, rate=rate, channels=channels)
        assert bytes(stage.provider.heard) == b""


@scenario
async def test_nothing_is_nothing():
    """Empty audio sends nothing."""
    async with Stage() as stage:
        for empty in (b"", [], [b""], numpy.zeros(0, "int16")):
            await stage.voice.send(empty)
        assert stage.provider.called("send") == []


@scenario
async def test_not_connected():
    """Before connect and after close send raises NotConnectedError."""
    stage = Stage()
    for audio in (FRAME, [FRAME]):
        with pytest.raises(NotConnectedError, match=r"await voice.connect\(\)"):
            await stage.voice.send(audio)
    async with stage:
        pass
    with pytest.raises(NotConnectedError, match="closed"):
        await stage.voice.send(FRAME)


@pytest.mark.parametrize("audio", [FRAME, SECOND], ids=["frame", "second"])
@scenario
async def test_waits_while_the_service_does_not_read(audio):
    """send holds its caller back while the service does not read, and takes nothing from the source meanwhile."""
    async with Stage() as stage:
        stage.provider.stall()
        sending = asyncio.create_task(stage.voice.send(audio))
        await asyncio.sleep(100)
        assert not sending.done()
        assert len(stage.provider.called("send")) == 1
        stage.provider.resume()
        await sending
        assert bytes(stage.provider.heard) == audio


@scenario
async def test_source_is_read_no_further_than_is_sent():
    """Nothing is read ahead of a service that stalls."""
    read = []

    def source():
        for number in range(100):
            read.append(number)
            yield FRAME

    async with Stage() as stage:
        stage.provider.stall()
        sending = asyncio.create_task(stage.voice.send(source()))
        await asyncio.sleep(10)
        assert len(read) <= 6  # what fits in one chunk
        sending.cancel()
        await asyncio.wait({sending})


@scenario
async def test_paced():
    """`pace=True` sends at the speed of speech, in pieces of 20 ms."""
    async with Stage() as stage:
        await stage.voice.send(SECOND, pace=True)
        assert current_clock().now == pytest.approx(0.98)
        calls = stage.provider.called("send")
        assert [len(call.args[0]) for call in calls] == [960] * 50
        assert [call.at for call in calls] == pytest.approx([n * 0.02 for n in range(50)])


@scenario
async def test_concurrent_sends():
    """Two sends at once both arrive whole, chunk by chunk."""
    async with Stage() as stage:
        await asyncio.gather(stage.voice.send([b"\1\1" * 480] * 5), stage.voice.send([b"\2\2" * 480] * 5))
        assert (stage.provider.heard.count(b"\1\1" * 480), stage.provider.heard.count(b"\2\2" * 480)) == (
            5,
            5,
        )


@scenario
async def test_failing_source():
    """What the source raises comes out of send; what was before it is sent, and the voice goes on."""

    async def bad():
        yield FRAME
        raise RuntimeError("microphone is gone")

    async with Stage() as stage:
        with pytest.raises(RuntimeError, match="microphone"):
            await stage.voice.send(bad())
        assert bytes(stage.provider.heard) == FRAME
        await stage.voice.send(FRAME)


@scenario
async def test_cancelled_send_closes_its_source():
    """A cancelled send closes the source and leaves the voice open."""
    closed = []

    async def source():
        try:
            while True:
                await asyncio.sleep(0.02)
                yield FRAME
        finally:
            closed.append(True)

    async with Stage() as stage:
        sending = asyncio.create_task(stage.voice.send(source()))
        await asyncio.sleep(1)
        sending.cancel()
        await asyncio.wait({sending})
        assert (closed, stage.voice.state) == ([True], "open")


@scenario
async def test_loss_without_reconnecting():
    """A send that is pending when the session is lost for good raises ConnectionLostError, whatever it waits for."""

    async def silent():
        yield FRAME
        await asyncio.Event().wait()

    for source, stalls in ((FRAME, True), ([FRAME], True), (silent(), False)):
        stage = Stage()
        stage.voice.on("error", lambda error: None)
        await stage.voice.connect()
        if stalls:
            stage.provider.stall()
        sending = asyncio.create_task(stage.voice.send(source))
        await turns(10)
        stage.provider.lose()
        with pytest.raises(ConnectionLostError):
            await sending
        await stage.voice.close()
        stage.check()


class Finds(ScriptedProvider):
    """Finds out by sending that its connection is gone."""

    def gone(self):
        self._disconnect()


@pytest.mark.parametrize("reconnect", [True, False])
@pytest.mark.parametrize("audio", [FRAME, [FRAME]], ids=["frame", "source"])
@scenario
async def test_loss_found_by_sending(reconnect, audio):
    """A provider whose send finds the connection gone has lost it: with a policy the audio is held, without one send raises."""
    stage = Stage(Finds())
    stage.voice.on("error", lambda error: None)
    await stage.voice.connect(reconnect=reconnect)
    stage.provider.gone()
    if reconnect:
        await stage.voice.send(audio)
        assert stage.voice.state == "reconnecting"
        await asyncio.sleep(1)
        assert bytes(stage.provider.heard) == FRAME
    else:
        with pytest.raises(ConnectionLostError):
            await stage.voice.send(audio)
        assert stage.voice.state == "closed"
    await stage.voice.close()
    stage.check()


@scenario
async def test_hook_may_return_anything():
    """What a send hook returns is awaited if it can be, else ignored."""
    async with Stage(provider(script={"send": Step(returns=960)})) as stage:
        await stage.voice.send(FRAME)

    class Plain(ScriptedProvider):
        pass

    from vivavoce import hookimpl

    class Counts(Plain):
        @hookimpl
        def send(self, context, audio):
            return len(audio)

    async with Stage(Counts()) as stage:
        await stage.voice.send(FRAME)
        await stage.voice.send(SECOND)


@pytest.mark.parametrize("rate", [8_000, 16_000, 48_000])
@scenario
async def test_frames_of_another_rate_are_one_stream(rate):
    """Frames sent one by one arrive as if they had been sent in one piece: without seams, and complete."""
    format = AudioFormat(rate)
    pcm, frame = ramp(1000, format), format.bytes_for(20)
    async with Stage() as whole, Stage() as pieces:
        await whole.voice.send(pcm, rate=rate)
        for start in range(0, len(pcm), frame):
            await pieces.voice.send(pcm[start : start + frame], rate=rate)
        await asyncio.sleep(0.2)
        assert bytes(pieces.provider.heard) == bytes(whole.provider.heard)


@scenario
async def test_what_a_converter_holds_goes_before_newer_audio():
    """A frame that needs no conversion does not overtake the end of one that did."""
    async with Stage() as stage:
        await stage.voice.send(bytes(320), rate=8_000)
        await stage.voice.send(b"\x01\x00" * 480)
        assert bytes(stage.provider.heard) == bytes(960) + b"\x01\x00" * 480
