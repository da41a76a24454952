"""Where speech begins and ends, by a detector that says what the audio says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vivavoce import ConfigError, vad
from vivavoce.vad import (
    FRAME_BYTES,
    FRAME_MS,
    Found,
    SpeechAudio,
    SpeechBegan,
    SpeechEnded,
    VadSettings,
    VoiceActivity,
    load_detector,
)


def probability(frame: bytes) -> float:
    return frame[0] / 100


def frames(*probabilities: float) -> bytes:
    return b"".join(bytes([round(p * 100)]) * FRAME_BYTES for p in probabilities)


def activity(**settings: float) -> VoiceActivity:
    return VoiceActivity(probability, VadSettings(**settings))  # type: ignore[arg-type]


def marks(found: list[Found]) -> list[tuple[str, float]]:
    return [(type(f).__name__, f.at_ms) for f in found if not isinstance(f, SpeechAudio)]


def test_speech_begins_at_its_first_frame_and_ends_at_its_last() -> None:
    """Times are those of the speech, not of when it was noticed."""
    found = activity(silence_ms=96).feed(frames(0, 0, 0, 1, 1, 1, 0, 0, 0, 0))
    assert marks(found) == [("SpeechBegan", 3 * FRAME_MS), ("SpeechEnded", 6 * FRAME_MS)]


def test_half_a_second_of_silence_ends_speech_by_default() -> None:
    """500 ms are 16 frames of 32 ms."""
    ear = activity()
    assert marks(ear.feed(frames(1, 1, *[0] * 15))) == [("SpeechBegan", 0)]
    assert marks(ear.feed(frames(0))) == [("SpeechEnded", 2 * FRAME_MS)]


def test_a_click_is_no_speech() -> None:
    """One frame alone does not begin speech."""
    assert activity().feed(frames(0, 1, 0, 0, 1, 0)) == []


def test_a_short_pause_does_not_end_speech() -> None:
    """Silence must be as long as the setting says, in one piece."""
    assert marks(activity(silence_ms=96).feed(frames(1, 1, 0, 0, 1, 0, 0, 1))) == [("SpeechBegan", 0)]


def test_speech_goes_on_a_little_below_the_threshold() -> None:
    """Between threshold and threshold - 0.15 nothing begins, and nothing ends."""
    ear = activity(threshold=0.5, silence_ms=64)
    assert ear.feed(frames(0.4, 0.4, 0.4)) == []
    assert marks(ear.feed(frames(0.6, 0.6, 0.4, 0.4, 0.4, 0.4))) == [("SpeechBegan", 3 * FRAME_MS)]


def test_the_prefix_is_given_with_the_speech() -> None:
    """Audio from before the onset comes first, as much as the setting says."""
    began = activity(prefix_ms=64).feed(frames(0.01, 0.02, 0.03, 0.9, 0.91))[0]
    assert isinstance(began, SpeechBegan)
    assert began.audio == frames(0.02, 0.03, 0.9, 0.91)


@given(
    st.lists(st.sampled_from([0.0, 0.1, 0.45, 0.6, 1.0]), max_size=60),
    st.lists(st.integers(1, 3000), max_size=20),
)
def test_how_audio_is_cut_does_not_matter(said: list[float], cuts: list[int]) -> None:
    """Chunks of any size give what one chunk gives; speech begins and ends in turns."""
    audio = frames(*said)
    whole = activity(silence_ms=96).feed(audio)
    ear, found, at = activity(silence_ms=96), list[Found](), 0
    for size in [*cuts, len(audio)]:
        found += ear.feed(audio[at : at + size])
        at += size
    assert found == whole
    kinds = [type(f) for f in whole if not isinstance(f, SpeechAudio)]
    assert kinds == [SpeechBegan, SpeechEnded] * (len(kinds) // 2) + [SpeechBegan] * (len(kinds) % 2)


def test_a_long_pause_is_held_until_speech_goes_on() -> None:
    """Of a pause the first six frames are audio at once; the rest comes with the next speech, or never."""
    ear, pause = activity(), [0.01] * 10
    began, *within = ear.feed(frames(1, 1, *pause))
    assert isinstance(began, SpeechBegan)
    assert within == [SpeechAudio(frames(0.01))] * 6
    assert ear.feed(frames(1, 0.9)) == [SpeechAudio(frames(*pause[6:], 1)), SpeechAudio(frames(0.9))]
    assert ear.feed(frames(*[0] * 16)) == [*[SpeechAudio(frames(0))] * 6, SpeechEnded(14 * FRAME_MS)]
    assert ear.feed(frames(1, 1)) == [SpeechBegan(30 * FRAME_MS, frames(1, 1))]


def test_someone_else_may_end_speech() -> None:
    """The end of a turn by hand gives the audio that was held back, and ends speech."""
    ear = activity()
    ear.feed(frames(1, 1, 1) + b"\x64" * 10)
    assert ear.end() == [SpeechAudio(b"\x64" * 10), SpeechEnded(3 * FRAME_MS)]
    assert ear.end() == []


@pytest.mark.parametrize(
    "bad", [{"threshold": 0}, {"threshold": 1.0}, {"silence_ms": 0}, {"prefix_ms": -1}, {"silence_ms": True}]
)
def test_settings_are_checked(bad: dict[str, float]) -> None:
    """A value out of range is an error that names the option and the range."""
    with pytest.raises(ConfigError, match="give a number from"):
        VadSettings(**bad)  # type: ignore[arg-type]


def test_a_model_goes_from_listener_to_listener(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next listener takes the model of one that has left, which remembers nothing; a detector of the app's is left alone."""
    monkeypatch.setattr(vad, "_idle", [])
    model = load_detector()
    noise = bytes(range(256)) * (FRAME_BYTES // 256)
    first = [model(noise) for _ in range(3)]
    for detector in (model, probability):
        VoiceActivity(detector).release()
    assert vad._idle == [model]
    again = load_detector()
    assert (again, [again(noise) for _ in range(3)]) == (model, first)


def test_the_model_hears_no_speech_in_silence() -> None:
    """The real detector takes frames of this size and gives a probability."""
    detector = load_detector()
    assert [detector(bytes(FRAME_BYTES)) < 0.5 for _ in range(5)] == [True] * 5
