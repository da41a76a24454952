"""Microphone and speaker on virtual devices: what is written is heard, once and whole."""

from __future__ import annotations

import array
import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from sounds import loud_ms, tone
from soundserver import MONITOR_RATE, SoundServer
from vivavoce import Voice
from vivavoce.audio import AudioFormat
from vivavoce.devices import DeviceEvent, Microphone, Speaker
from vivavoce.events import Turn

pytestmark = pytest.mark.real_speech


async def until_silent(speaker: Speaker) -> None:
    await speaker.drain()
    await asyncio.sleep(0.2)  # the monitor's own way


async def play_and_compare(sound: SoundServer, ms: int) -> None:
    format = AudioFormat(MONITOR_RATE)
    written = array.array("h", tone(ms, MONITOR_RATE, hertz=437))
    with sound.monitor() as monitor:
        async with Speaker(format=format) as speaker:
            for start in range(0, len(written), 4_800):
                await speaker.write(written[start : start + 4_800].tobytes())
            await until_silent(speaker)
            if speaker.xruns:
                pytest.skip(f"this machine kept the sound server waiting {speaker.xruns} times")
    heard = array.array("h", monitor.pcm()[: len(monitor.pcm()) & ~1])
    begin = next(n for n, sample in enumerate(heard) if abs(sample) > 200)
    offset = next(n for n, sample in enumerate(written) if abs(sample) > 200)
    got = heard[begin - offset : begin - offset + len(written)]
    assert max(abs(a - b) for a, b in zip(got, written, strict=True)) <= 2
    assert max(map(abs, heard[begin - offset + len(written) :])) <= 2


@pytest.mark.soak  # the sound server, too, needs a machine that never makes it wait
async def test_tone_comes_back_whole(sound: SoundServer) -> None:
    """No sample of a tone is lost or doubled between `write` and the sink."""
    await play_and_compare(sound, 1_500)


@pytest.mark.soak
async def test_minute_of_tone_comes_back_whole(sound: SoundServer) -> None:
    """The same for 60 s."""
    await play_and_compare(sound, 60_000)


async def test_position_follows_the_sink(sound: SoundServer) -> None:
    """`played_ms` grows with what is heard, and a drained speaker has played all that was written."""
    async with Speaker() as speaker:
        await speaker.write(tone(600, 24_000))
        middle = speaker.played_ms
        await speaker.drain()
        assert 0 < middle < 600
        assert speaker.played_ms == pytest.approx(600, abs=1)


async def test_flush_is_heard_at_once_and_counted_right(sound: SoundServer) -> None:
    """After a flush the sink is silent within the device's latency, having carried what `played_ms` says."""
    with sound.monitor() as monitor:
        async with Speaker() as speaker:
            sounding = asyncio.create_task(speaker.write(tone(3_000, 24_000)))
            await asyncio.sleep(1)
            began = time.monotonic()
            speaker.flush()
            played = speaker.played_ms
            await asyncio.wait_for(sounding, 1)
            await asyncio.sleep(0.5)
            latency = speaker.host_latency_ms
    assert (monitor.sounds(200)[-1] - began) * 1000 < latency + 60
    assert monitor.sound_ms() == pytest.approx(played, abs=30)


async def test_volume_mute_and_ducking(sound: SoundServer) -> None:
    """Volume, ducking and mute hold for what is written next."""
    with sound.monitor() as monitor:
        async with Speaker(format=AudioFormat(MONITOR_RATE)) as speaker:
            speaker.volume = 0.5
            await speaker.write(tone(200, MONITOR_RATE, level=0.8))
            speaker.duck(0.25)
            await speaker.write(tone(200, MONITOR_RATE, level=0.8))
            speaker.muted = True
            await speaker.write(tone(200, MONITOR_RATE, level=0.8))
            await until_silent(speaker)
    samples = array.array("h", monitor.pcm()[: len(monitor.pcm()) & ~1])
    begin = next(n for n, sample in enumerate(samples) if abs(sample) > 200)
    peaks = [max(map(abs, samples[begin + ms * 48 : begin + (ms + 100) * 48])) for ms in (50, 250, 450)]
    assert [round(peak / 32767, 2) for peak in peaks] == [0.4, 0.1, 0.0]


async def test_microphone_hears_what_is_said(sound: SoundServer) -> None:
    """Sound comes from the microphone as a continuous line at its format, and stops with `stop()`."""
    microphone = Microphone(format=AudioFormat(16_000))
    heard = bytearray()
    async for chunk in microphone:
        if not heard:
            sound.say(tone(500, 16_000))
        heard += chunk
        if len(heard) > 16_000 * 2 * 1.5:
            microphone.stop()
    samples = array.array("h", bytes(heard))
    assert loud_ms(samples, 16_000) == pytest.approx(500, abs=25)
    assert (microphone.is_open, microphone.lost_ms) == (False, 0.0)


@pytest.mark.parametrize(
    ("muted", "push_to_talk", "talking", "silent"),
    [(True, False, False, True), (False, True, False, True), (False, True, True, False)],
)
async def test_silenced_microphone_gives_silence(
    sound: SoundServer, muted: bool, push_to_talk: bool, talking: bool, silent: bool
) -> None:
    """Muted, or with the push-to-talk key not held, the line goes on in silence, though the level shows sound."""
    microphone = Microphone(push_to_talk=push_to_talk)
    microphone.muted, microphone.talking = muted, talking
    heard, level = bytearray(), 0.0
    async for chunk in microphone:
        if not heard:
            sound.say(tone(400, 16_000))
        heard += chunk
        level = max(level, microphone.level)
        if len(heard) > 24_000 * 2 * 0.7:
            microphone.stop()
    assert (max(map(abs, array.array("h", bytes(heard)))) < 100) is silent
    assert level > 0.1


async def test_open_speaker_gates_the_microphone(sound: SoundServer) -> None:
    """With `gate`, what the speaker says is not heard by the microphone; without a sound on it, everything is."""
    async with Speaker() as speaker, Microphone(gate=speaker) as microphone:
        await speaker.write(tone(100, 24_000))
        assert microphone.is_silenced is True
        await speaker.drain()
        await asyncio.sleep(0.35)
        assert microphone.is_silenced is False


async def test_lost_server_is_told_and_recovered_from(sound: SoundServer) -> None:
    """When the sound server dies in the middle, the speaker says so, finds the next one and plays on."""
    events: list[DeviceEvent] = []
    async with Speaker(on_event=events.append) as speaker:
        await speaker.write(tone(300, 24_000))
        sound.stop()
        sound.start()
        with sound.monitor() as monitor:
            for _ in range(25):
                await speaker.write(tone(100, 24_000))
            await until_silent(speaker)
    assert [event.kind for event in events if event.kind != "xruns"] == ["lost", "recovered"]
    assert monitor.sound_ms() > 1_000


@pytest.mark.parametrize("forgotten", [False, pytest.param(True, marks=pytest.mark.soak)])
async def test_unplugged_device_is_used_again_when_it_is_back(
    sound: SoundServer, headset: SoundServer, forgotten: bool
) -> None:
    """Unplugged, the sound goes on at the default device; plugged in again, it comes back to the one asked for; also
    where PortAudio has looked for devices meanwhile, and so does not know it any more."""
    events: list[tuple[str, str]] = []
    told = asyncio.Event()

    def tell(event: DeviceEvent) -> None:
        if event.kind != "xruns":
            events.append((event.kind, event.device))
            told.set()

    async def play_until(count: int) -> None:
        async with asyncio.timeout(60):
            while len(events) < count:
                await speaker.write(tone(100, 24_000))

    async with Speaker("headset", on_event=tell) as speaker:
        await speaker.write(tone(100, 24_000))
        headset.stop()
        recovering = asyncio.create_task(play_until(2))
        if forgotten:
            sound.stop()
            await told.wait()
            await asyncio.sleep(2)  # it looks twice a second
            await asyncio.to_thread(sound.start)
        await recovering
        headset.start()
        await play_until(3)
        with headset.monitor() as there:
            await speaker.write(tone(300, 24_000))
            await until_silent(speaker)
    assert events == [("lost", "headset"), ("recovered", "default"), ("returned", "headset")]
    assert there.sound_ms() > 250


async def test_conversation_by_microphone_and_speaker(sound: SoundServer, clip: dict[str, bytes]) -> None:
    """Speech into the microphone reaches the local provider as words, and its reply is heard at the sink, as words."""
    pytest.importorskip("pocketsphinx")
    pytest.importorskip("ttspico")
    texts: dict[str, str] = {}
    replied = asyncio.Event()

    async def responder(conversation: object, tools: object) -> AsyncIterator[str]:
        yield "Eight plus three is eleven."

    with sound.monitor() as monitor:
        microphone = Microphone()
        phrases = ["eight plus three", "eight times three", "go forward ten meters", "hello"]
        async with Speaker() as speaker, Voice("local", responder=responder, phrases=phrases) as voice:
            voice.on("speaker", lambda stream: stream.pipe(speaker))

            @voice.on("turn")
            def turn(turn: Turn) -> None:
                texts.setdefault(turn.role, turn.text)
                if turn.role == "assistant":
                    replied.set()

            sending = asyncio.create_task(voice.send(microphone))
            await asyncio.sleep(0.3)
            sound.say(clip["eight-plus-three"] + bytes(32_000))
            await asyncio.wait_for(replied.wait(), 20)
            await until_silent(speaker)
            microphone.stop()
            await sending
    # Of open vocabulary a voice that is made gives now this word, now that.
    replies = ["eight plus three is eleven", "eight plus three is seven", "it is a fine day", "good morning"]
    heard = await Voice("pocketsphinx", phrases=replies).listen(monitor.pcm(), rate=MONITOR_RATE)
    assert "eight plus three" in texts["user"]
    assert heard.lower() == replies[0]
