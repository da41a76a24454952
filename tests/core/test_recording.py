"""Recorders: both sides on one clock, every event, and what they are."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest
from sounds import loud_spans, read_wav, tone
from vivavoce import AudioStream, ConfigError, Voice, VoiceError
from vivavoce.audio import AudioFormat
from vivavoce.errors import AuthenticationError, ConnectionLostError
from vivavoce.recording import AudioRecorder, Recorder
from vivavoce.sinks import SilentSink
from vivavoce.testing import Reply, ScriptedProvider, VirtualClock

pytestmark = pytest.mark.virtual_clock


def events_of(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (directory / "events.jsonl").read_text().splitlines()]


def spans(file: Path) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Where the user and the assistant are heard."""
    format, (user, assistant) = read_wav(file)
    return loud_spans(user, format.rate), loud_spans(assistant, format.rate)


async def test_sides_lie_where_they_were_sent_and_heard(tmp_path: Path, clock: VirtualClock) -> None:
    """What is sent lies at the moment of sending; a reply that arrives at once is heard for as long as it lasts."""
    provider = ScriptedProvider()
    async with Voice(provider, plugins=[Recorder(tmp_path / "rec")]) as voice:
        await clock.advance(1)
        await voice.send(tone(500, 24_000), pace=True)
        await clock.advance(1)
        provider.reply("hi", 800)
        await clock.advance(2)
    user, assistant = spans(tmp_path / "rec/audio.wav")
    assert user == [(1000, 1500)]
    assert assistant == [(2480, 3280)]


async def test_interrupted_reply_is_cut_where_it_was_heard(tmp_path: Path, clock: VirtualClock) -> None:
    """Of a reply that is interrupted after 700 ms, 700 ms are in the sound."""
    provider = ScriptedProvider(replies=[Reply("a long story", 3_000)])
    sink = SilentSink()
    async with Voice(provider, plugins=[Recorder(tmp_path / "rec")]) as voice:

        @voice.on("speaker")
        async def play(stream: AudioStream) -> None:
            await stream.pipe(sink)

        await voice.answer()
        await clock.advance(0.7)
        await voice.interrupt()
        await clock.advance(1)
    _, assistant = spans(tmp_path / "rec/audio.wav")
    assert assistant == [(0, 700)]
    (cut,) = (line for line in events_of(tmp_path / "rec") if line["event"] == "interrupted")
    assert (cut["t_ms"], cut["payload"]["played_ms"]) == (700.0, pytest.approx(700))


async def test_events_hold_sizes_instead_of_audio(tmp_path: Path, clock: VirtualClock) -> None:
    """Every event is a line with its time; audio is told by its bytes, duration and place."""
    provider = ScriptedProvider()
    async with Voice(provider, plugins=[Recorder(tmp_path / "rec")]) as voice:
        await voice.send(bytes(960))
        await voice.send_text("hello")
        provider.reply("hi", 40)
        await clock.advance(1)
    lines = events_of(tmp_path / "rec")
    names = [line["event"] for line in lines]
    assert names[:3] == ["session.created", "session.updated", "open"]
    assert names[-1] == "close"
    assert lines[names.index("input")] == {
        "t_ms": 0.0,
        "event": "input",
        "payload": {"audio": {"bytes": 960, "ms": 20.0, "at_ms": 0.0}},
    }
    spoken = [line["payload"]["audio"] for line in lines if line["event"] == "speaking"]
    assert spoken == [{"bytes": 960, "ms": 20.0, "at_ms": 0.0}, {"bytes": 960, "ms": 20.0, "at_ms": 20.0}]


async def test_keys_are_nowhere_in_a_recording(tmp_path: Path, clock: VirtualClock) -> None:
    """Neither the credential nor a setting that names one gets into a file."""
    secret = "a-very-secret-credential"
    provider = ScriptedProvider()
    voice = Voice(
        provider,
        plugins=[Recorder(tmp_path / "rec")],
        api_key=secret,
        instructions=f"never say {secret}",
        session={"auth_token": "another-secret", "depth": {"a": 1}},
    )
    async with voice:
        provider.emit(VoiceError(f"refused {secret}"))
        await clock.advance(1)
    written = b"".join(path.read_bytes() for path in (tmp_path / "rec").iterdir())
    assert [word for word in (secret, "another-secret") if word.encode() in written] == []
    about = json.loads((tmp_path / "rec/recording.json").read_text())
    assert about["settings"] == {"auth_token": "[redacted]", "depth": {"a": 1}}


async def test_metadata_says_what_it_is(tmp_path: Path, clock: VirtualClock) -> None:
    """recording.json is versioned, and complete once the session has ended."""
    async with Voice(ScriptedProvider(), plugins=[Recorder(tmp_path / "rec")]):
        begun = json.loads((tmp_path / "rec/recording.json").read_text())
        await clock.advance(2)
    about = json.loads((tmp_path / "rec/recording.json").read_text())
    assert (begun["complete"], begun["duration_ms"]) == (False, None)
    assert (about["format"], about["version"], about["complete"]) == ("vivavoce-recording", 1, True)
    assert about["provider"] == "scripted"
    assert about["duration_ms"] == pytest.approx(2000)


async def test_sound_is_playable_while_it_grows(tmp_path: Path, clock: VirtualClock) -> None:
    """A process that is killed leaves a file that plays up to its last second, silence included."""
    voice = Voice(ScriptedProvider(), plugins=[recorder := AudioRecorder(tmp_path / "a.wav")])
    await voice.connect()
    await voice.send(tone(1000, 24_000))
    await clock.advance(5)
    format, (user, _) = read_wav(tmp_path / "a.wav")
    assert len(user) / format.rate == pytest.approx(4.8, abs=0.5)
    assert loud_spans(user, format.rate) == [(0, 1000)]
    await voice.close()
    recorder.close()


async def test_rates_become_one(tmp_path: Path, clock: VirtualClock) -> None:
    """16 kHz in and 24 kHz out are one file at 24 kHz, both sides where they belong."""
    provider = ScriptedProvider()
    provider.input_format = AudioFormat(16_000)  # type: ignore[attr-defined]
    async with Voice(provider, plugins=[AudioRecorder(tmp_path / "a.wav")]) as voice:
        await voice.send(tone(1000, 16_000))
        provider.reply("hi", 500)
        await clock.advance(2)
    format, _ = read_wav(tmp_path / "a.wav")
    assert format == AudioFormat(24_000, 2)
    user, assistant = spans(tmp_path / "a.wav")
    assert user == [(0, 1000)]
    assert assistant == [(0, 500)]


async def test_reply_not_heard_to_its_end_is_kept_on_close(tmp_path: Path, clock: VirtualClock) -> None:
    """Audio that had arrived when the session ended is in the file, though nobody had the time to hear it."""
    provider = ScriptedProvider()
    async with Voice(provider, plugins=[AudioRecorder(tmp_path / "a.wav")]):
        provider.reply("hi", 2_000)
        await clock.advance(0.1)
    assert spans(tmp_path / "a.wav")[1] == [(0, 2000)]


async def test_next_session_is_another_recording(tmp_path: Path, clock: VirtualClock) -> None:
    """A voice that is connected again writes beside the first; nothing is overwritten."""
    voice = Voice(ScriptedProvider(), plugins=[Recorder(tmp_path / "rec"), AudioRecorder(tmp_path / "a.wav")])
    for _ in range(2):
        async with voice:
            await clock.advance(1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a-2.wav", "a.wav", "rec", "rec-2"]


async def test_reconnect_stays_in_one_recording(tmp_path: Path, clock: VirtualClock) -> None:
    """A lost and restored session is one recording, and the outage is in it."""
    provider = ScriptedProvider()
    voice = Voice(provider, plugins=[Recorder(tmp_path / "rec")])
    await voice.connect(reconnect=True)
    provider.lose(ConnectionLostError("gone"))
    await clock.advance(5)
    await voice.close()
    names = [line["event"] for line in events_of(tmp_path / "rec")]
    assert (names.count("reconnecting"), names.count("reconnected"), names.count("close")) == (1, 1, 1)
    assert list(tmp_path.iterdir()) == [tmp_path / "rec"]


async def test_failed_attempts_to_reconnect_leave_the_recording(tmp_path: Path, clock: VirtualClock) -> None:
    """What was recorded before an outage stays though an attempt to connect again fails."""
    provider = ScriptedProvider({"connect": [None, ConnectionLostError("no"), None]})
    plugins = [Recorder(tmp_path / "rec"), AudioRecorder(tmp_path / "a.wav")]
    voice = Voice(provider, plugins=plugins)
    await voice.connect(reconnect=True)
    await voice.send(tone(500, 24_000), pace=True)
    provider.lose(ConnectionLostError("gone"))
    await clock.advance(20)
    await voice.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.wav", "rec"]
    assert spans(tmp_path / "rec/audio.wav")[0] == spans(tmp_path / "a.wav")[0] == [(0, 500)]


async def test_failed_connect_leaves_nothing(tmp_path: Path) -> None:
    """When there was no session there is no recording, and the same directory can be used again."""
    provider = ScriptedProvider({"connect": [AuthenticationError("no")]})
    voice = Voice(provider, plugins=[Recorder(tmp_path / "rec")])
    with pytest.raises(AuthenticationError):
        await voice.connect()
    assert list(tmp_path.iterdir()) == []


async def test_failed_connect_leaves_what_was_there(tmp_path: Path, clock: VirtualClock) -> None:
    """A file is replaced by a session, not by an attempt, and what is no file of its own is never removed."""
    before, pipe, link = tmp_path / "before.wav", tmp_path / "pipe", tmp_path / "link.wav"
    before.write_bytes(b"an earlier talk")
    link.symlink_to(tmp_path / "linked.wav")
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    for path in (before, pipe, link):
        provider = ScriptedProvider({"connect": [AuthenticationError("no"), None]})
        recorder = AudioRecorder(path)
        voice = Voice(provider, plugins=[recorder])
        with pytest.raises(VoiceError):  # a pipe cannot be a WAV
            await voice.connect()
        assert recorder.recorded is False
    os.close(reader)
    assert (before.read_bytes(), pipe.is_fifo(), link.is_symlink()) == (b"an earlier talk", True, True)
    async with Voice(ScriptedProvider(), plugins=[AudioRecorder(before)]):
        await clock.advance(1)
    assert read_wav(before)[0].channels == 2
    assert [path.name for path in tmp_path.iterdir() if "before" in path.name] == ["before.wav"]


async def test_recording_that_is_there_is_refused(tmp_path: Path) -> None:
    """Nothing is dialled when the directory holds a recording, and that stays as it is."""
    (tmp_path / "recording.json").write_text("{}")
    provider = ScriptedProvider()
    with pytest.raises(ConfigError, match="holds a recording already: name another directory"):
        await Voice(provider, plugins=[Recorder(tmp_path)]).connect()
    assert provider.called("connect") == []
    assert [path.name for path in tmp_path.iterdir()] == ["recording.json"]


async def test_full_disk_ends_the_recording_alone(
    tmp_path: Path, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The failure is one `error` event and stays in `failure`; the conversation goes on."""
    provider, recorder = ScriptedProvider(), Recorder(tmp_path / "rec")
    errors: list[VoiceError] = []
    voice = Voice(provider, plugins=[recorder])
    voice.on("error", errors.append)
    async with voice:
        await voice.send(tone(1000, 24_000))
        await clock.advance(2)

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("vivavoce.files.WavWriter._append", full)
        await clock.advance(2)
        await voice.send(bytes(960))
        assert provider.connected
    assert [error.code for error in errors] == ["disk_full"]
    assert recorder.failure is errors[0]
    assert spans(tmp_path / "rec/audio.wav")[0] == [(0, 1000)]


async def test_speech_without_a_session_is_recorded(tmp_path: Path, clock: VirtualClock) -> None:
    """`speak` before `connect`: its audio is on the right, as it is heard."""
    recorder = AudioRecorder(tmp_path / "a.wav")
    voice = Voice(ScriptedProvider(), plugins=[recorder])
    stream = await voice.speak("one two three")
    assert sum([len(audio) async for audio in stream]) == 300 * 48
    await clock.advance(1)
    await voice.close()
    recorder.close()
    assert spans(tmp_path / "a.wav") == ([], [(0, 300)])


async def test_recorder_belongs_to_one_voice(tmp_path: Path) -> None:
    """The second voice is refused."""
    recorder = Recorder(tmp_path / "rec")
    Voice(ScriptedProvider(), plugins=[recorder])
    with pytest.raises(ConfigError, match="has a voice already"):
        Voice(ScriptedProvider(), plugins=[recorder])


async def test_recording_is_no_ear(tmp_path: Path, clock: VirtualClock) -> None:
    """A recorder does not count as somebody who hears the reply: what nobody took is cut at nothing."""
    provider = ScriptedProvider(replies=[Reply("hello", 1_000, hold=True)])
    async with Voice(provider, plugins=[Recorder(tmp_path / "rec")]) as voice:
        response = await voice.answer()
        await clock.advance(0.3)
        await voice.interrupt()
        assert response.audio.end_reason == "interrupted"
        (call,) = provider.called("interrupt")
        assert [cut.played_ms for cut in call.args[0].cuts] == [0.0]


async def test_slow_network_leaves_no_gaps(tmp_path: Path, clock: VirtualClock) -> None:
    """Chunks that come up to 200 ms late follow each other without a gap; a longer wait is one."""
    provider = ScriptedProvider()
    async with Voice(provider, plugins=[AudioRecorder(tmp_path / "a.wav")]) as voice:
        for wait in (0.1, 0.25, 0.9):
            await voice.send(tone(100, 24_000))
            await clock.advance(wait)
        await voice.send(tone(100, 24_000))
        await asyncio.sleep(1)
    assert spans(tmp_path / "a.wav")[0] == [(0, 300), (1250, 1350)]
