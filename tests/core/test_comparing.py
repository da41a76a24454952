"""Two recordings of one conversation, compared."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest
from recordings import Story
from vivavoce.comparing import Limits, compare, exchanges, word_errors
from vivavoce.plot.pair import write_pair
from vivavoce.plot.timeline import load


def story(reply_at: float = 2_500, heard: str = "what time is it", reply: str = "It is noon.") -> Story:
    return Story().user(1_000, 2_000, heard).reply(reply_at, reply_at + 800, reply)


@pytest.mark.parametrize(
    ("before", "now", "errors"),
    [
        ("What time is it?", "what TIME is it", 0.0),
        ("what time is it", "what dime is", 0.5),
        ("don't", "dont", 0.0),
        ("", "", 0.0),
        ("", "noise", 1.0),
        ("one", "one two three", 2.0),
    ],
)
def test_word_errors(before: str, now: str, errors: float) -> None:
    """Words that were changed, added or dropped count, case and punctuation do not."""
    assert word_errors(before, now) == errors


def test_exchange_is_a_turn_and_its_replies(tmp_path: Path) -> None:
    """Replies belong to the user's turn before them; a greeting to none."""
    told = Story().reply(200, 700, "Hi.").user(1_000, 2_000, "hello").reply(2_500, 3_000, "Hello!")
    greeting, first = exchanges(load(told.write(tmp_path / "r")))
    assert (greeting.user, greeting.reply, greeting.latency_ms) == (None, "Hi.", None)
    assert (first.reply, first.latency_ms) == ("Hello!", pytest.approx(500, abs=40))


def test_equal_recordings_pass(tmp_path: Path) -> None:
    """A conversation is as good as itself."""
    before, now = load(story().write(tmp_path / "a")), load(story().write(tmp_path / "b"))
    result = compare(before, now, Limits(reply_errors=0.0, slower_ms=0.0))
    assert (result.passed, result.problems, result.differences[0].problems) == (True, (), ())


@pytest.mark.parametrize(
    ("now", "limits", "problem"),
    [
        (story(reply_at=3_400), Limits(), "later than before"),
        (story(heard="nothing of the kind"), Limits(), "100% of the user's words are understood otherwise"),
        (story(reply="It is one."), Limits(reply_errors=0.2), "33% of the reply's words are others"),
        (Story().user(1_000, 2_000, "what time is it"), Limits(), "nothing was replied"),
        (Story(), Limits(), "this turn was not heard"),
        (story().user(4_000, 5_000, "and more"), Limits(), "the user's 1 turns were taken for 2"),
    ],
)
def test_what_got_worse_is_told(tmp_path: Path, now: Story, limits: Limits, problem: str) -> None:
    """Each way to be worse than before fails, in plain words."""
    result = compare(
        load(story().write(tmp_path / "a")), load(now.write(tmp_path / "b", duration_ms=6_000)), limits
    )
    told = [*result.problems, *(text for difference in result.differences for text in difference.problems)]
    assert result.passed is False
    assert any(problem in text for text in told)


def test_replies_may_differ_unless_told_otherwise(tmp_path: Path) -> None:
    """A model says it in other words each time; that is shown, and fails nothing."""
    now = load(story(reply="Noon, my friend.").write(tmp_path / "b"))
    result = compare(load(story().write(tmp_path / "a")), now, Limits())
    assert (result.passed, result.differences[0].reply_errors > 0) == (True, True)


def test_picture_marks_what_became_worse(tmp_path: Path) -> None:
    """What became worse is in the picture, in words, and marked where it is."""
    one = load(story().write(tmp_path / "a"))
    write_pair(one, one, tmp_path / "pair.svg", [(1_000, "turn 1: <nothing> was replied"), (None, "slower")])
    root = ElementTree.parse(tmp_path / "pair.svg").getroot()
    told = [text.text for text in root.iter("{http://www.w3.org/2000/svg}text") if text.get("class") == "e"]
    assert told == ["✗ turn 1: <nothing> was replied", "✗", "✗ slower"]


def test_picture_holds_both_timelines(tmp_path: Path) -> None:
    """The picture is an SVG with the bars of both, whatever the texts hold."""
    now = story(reply='<b>&"noon"')
    write_pair(load(story().write(tmp_path / "a")), load(now.write(tmp_path / "b")), tmp_path / "pair.svg")
    root = ElementTree.parse(tmp_path / "pair.svg").getroot()
    bars = [bar.findtext("{*}title") for bar in root.iter("{http://www.w3.org/2000/svg}rect")]
    assert bars == [None, "what time is it", "It is noon.", "what time is it", '<b>&"noon"']
