"""Pictures of recordings."""

from __future__ import annotations

import errno
import json
import re
from pathlib import Path
from typing import Any

import pytest
from recordings import Story
from vivavoce import AudioError, ConfigError, VoiceError
from vivavoce.plot import draw
from vivavoce.plot.labels import Shelf, shorten, wrap
from vivavoce.plot.timeline import Said, load


def talk() -> Story:
    story = Story().user(500, 1500, "go forward").tool(1800, 2100, "go", {"meters": 10})
    return story.reply(2200, 4000, "I went", cut=3000).user(2900, 3500, "stop")


def test_timeline_has_every_turn_where_it_was_heard(tmp_path: Path) -> None:
    """The user's speech is found in the sound, the reply's in the events, cut where it was interrupted."""
    timeline = load(talk().write(tmp_path / "rec"))
    parts = [(part.role, part.text, part.interrupted) for part in timeline.said]
    assert parts == [("user", "go forward", False), ("assistant", "I went", True), ("user", "stop", False)]
    first, reply, _ = timeline.said
    assert (first.start_ms, first.end_ms) == (pytest.approx(500, abs=30), pytest.approx(1500, abs=30))
    assert (reply.start_ms, reply.end_ms) == (2200, 3000)
    (call,) = timeline.tools
    assert (call.name, call.start_ms, call.end_ms, call.result) == ("go", 1800, 2100, "done")


def test_latency_is_from_the_end_of_speech_to_the_first_sound(tmp_path: Path) -> None:
    """One for each turn that was answered; a turn without a reply has none."""
    timeline = load(talk().write(tmp_path / "rec"))
    assert [latency.ms for latency in timeline.latencies] == [pytest.approx(700, abs=30)]


def test_written_turn_is_a_moment(tmp_path: Path) -> None:
    """A turn that was not spoken lies where it was written."""
    story = Story().event(800, "turn", role="user", text="hi", item_id="text-1", interrupted=False)
    timeline = load(story.reply(900, 1500, "hello").write(tmp_path / "rec"))
    assert timeline.said[0] == Said("user", 800, 800, "hi")
    assert [latency.ms for latency in timeline.latencies] == [100]


def test_line_cut_short_by_a_crash_is_left_out(tmp_path: Path) -> None:
    """A recording whose process was killed can be drawn."""
    directory = talk().write(tmp_path / "rec")
    with (directory / "events.jsonl").open("a") as file:
        file.write('{"t_ms": 99')
    assert len(load(directory).said) == 3


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("recording.json", None, "holds no recording"),
        ("recording.json", "[]", "does not describe a recording"),
        ("recording.json", '{"format": "other"}', "does not describe a recording"),
        ("events.jsonl", "nonsense\n", "line 1 is no event"),
    ],
)
def test_what_is_no_recording_is_said(tmp_path: Path, name: str, text: str | None, message: str) -> None:
    """A missing or foreign file is a `ConfigError` that names it."""
    directory = talk().write(tmp_path / "rec")
    (directory / name).unlink() if text is None else (directory / name).write_text(text)
    with pytest.raises(ConfigError, match=message):
        load(directory)


def test_newer_version_is_refused(tmp_path: Path) -> None:
    """A recording of a later version is not guessed at."""
    with pytest.raises(ConfigError, match="recording of version 2"):
        load(Story().write(tmp_path / "rec", version=2))


def test_missing_sound_is_an_audio_error(tmp_path: Path) -> None:
    """Without its sound it cannot be drawn."""
    directory = talk().write(tmp_path / "rec")
    (directory / "audio.wav").unlink()
    with pytest.raises(AudioError, match=r"audio\.wav"):
        draw(directory, tmp_path / "a.html")


def test_other_endings_are_refused(tmp_path: Path) -> None:
    """The ending of the file chooses the kind of picture."""
    with pytest.raises(ConfigError, match=r"ends in \.png or \.html"):
        draw(tmp_path, "timeline.gif")


@pytest.mark.parametrize("story", [talk(), Story(opened_ms=0)], ids=["talk", "empty"])
def test_png_is_drawn(story: Story, tmp_path: Path) -> None:
    """A picture comes of it, also when nothing was said."""
    path = draw(story.write(tmp_path / "rec"), tmp_path / "a.png")
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize("name", ["timeline.html", "timeline.png"])
def test_picture_on_a_full_disk_leaves_nothing(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error says why there is no picture, and no beginning of one is left; a file that was there is not removed."""
    recording = talk().write(tmp_path / "rec")
    real = Path.open

    def full(path: Path, mode: str = "r", *args: Any, **options: Any) -> Any:
        if "w" not in mode:
            return real(path, mode, *args, **options)
        real(path, mode, *args, **options).close()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(VoiceError, match=rf"cannot write .*{name}: No space left on device"):
        draw(recording, tmp_path / name)
    assert not (tmp_path / name).exists()
    (tmp_path / name).touch()
    with pytest.raises(VoiceError, match="No space left"):
        draw(recording, tmp_path / name)
    assert (tmp_path / name).exists()


def test_hour_long_recording_is_reduced(tmp_path: Path) -> None:
    """An hour is a picture and a page of bounded size; the sound of the page stays outside."""
    story = Story(rate=4_000)
    for minute in range(60):
        start = minute * 60_000 + 1_000
        story.user(start, start + 900, f"question {minute}").reply(
            start + 1_500, start + 2_500, f"answer {minute}"
        )
    directory = story.write(tmp_path / "rec", duration_ms=3_600_000)
    page = draw(directory, directory / "a.html").read_text()
    assert len(page) < 500_000
    assert 'src="audio.wav"' in page
    assert draw(directory, tmp_path / "a.png").stat().st_size < 2_000_000


def test_page_is_self_contained(tmp_path: Path) -> None:
    """It holds its sound, fetches nothing, and no text can end its data."""
    story = Story().user(500, 1500, "</script><script>alert(1)</script> & <b>")
    page = draw(story.write(tmp_path / "rec"), tmp_path / "a.html").read_text()
    assert page.count("<script") == 2
    assert re.findall(r"https?://(?!www\.w3\.org/2000/svg)", page) == []
    assert 'src="data:audio/wav;base64,UklGR' in page
    data = re.search(r'<script id="data" type="application/json">(.*?)</script>', page, re.DOTALL)
    assert data is not None
    assert json.loads(data[1])["said"][0]["text"] == "</script><script>alert(1)</script> & <b>"


def test_labels_never_overlap() -> None:
    """A label gets room only where nothing else stands."""
    shelf = Shelf(0, 100, 2)
    shelf.block(40, 50)
    assert [shelf.put(*room) for room in ((0, 20), (10, 20), (30, 9), (28, 10), (52, 48), (52, 47))] == [
        True,
        False,
        False,
        True,
        True,
        False,
    ]


def test_text_is_wrapped_and_shortened() -> None:
    """Words stay whole; what does not fit ends in an ellipsis; where there is no room there is nothing."""
    width = len
    assert wrap("one two three four", 9, 2, width) == ["one two", "three fo…"]
    assert wrap("one two", 3, 2, width) == []
    assert shorten("abcdefgh", 5, width) == "abcd…"
