"""The order of turns, decided without I/O."""

from __future__ import annotations

from vivavoce.events import Turn
from vivavoce.items import Cut
from vivavoce.turns import Conversation, cut_items, heard_text


def test_late_words_make_a_turn_after_all() -> None:
    """A service that transcribes without having said so loses no turn: it comes late."""
    conversation = Conversation()
    conversation.add("u1", "user", transcribed=False)
    assert list(conversation.release()) == []
    conversation.write("u1", "user", "hello", final=True)
    assert list(conversation.release()) == [Turn("user", "hello", "u1")]


def test_turn_is_told_once() -> None:
    """More text of a turn that was told changes nothing."""
    conversation = Conversation()
    conversation.write("u1", "user", "hello", final=True)
    assert len(list(conversation.release())) == 1
    conversation.write("u1", "user", "hello again", final=True)
    assert list(conversation.release()) == []


def test_late_transcript_holds_the_turns_behind_it() -> None:
    """The user's turn comes before the reply to it, whenever its words arrive."""
    conversation = Conversation()
    conversation.add("u1", "user")
    conversation.add("a1", "assistant", "u1")
    conversation.write("a1", "assistant", "yes", final=True)
    conversation.end("a1")
    assert (list(conversation.release()), conversation.waiting()) == ([], "u1")
    conversation.write("u1", "user", "really?", final=True)
    assert [turn.text for turn in conversation.release()] == ["really?", "yes"]


def test_cuts_name_every_item_that_was_not_heard_to_its_end() -> None:
    """Heard 1 s of item A and nothing of B: A at 1000 ms, B at 0."""
    assert cut_items([("A", 2000.0), ("B", 500.0)], 1000) == (Cut("A", 1000.0, 2000.0), Cut("B", 0.0, 500.0))
    assert cut_items([("A", 2000.0), ("B", 500.0)], 2100) == (Cut("B", 100.0, 500.0),)
    assert cut_items([("A", 2000.0)], 2000) == ()


def test_heard_text_is_cut_in_proportion_by_whole_words() -> None:
    """Half of the audio is half of the words."""
    assert heard_text("one two three four", 0.5) == "one two"
    assert heard_text("one two three four", 0.0) == ""
    assert heard_text("one two three four", 1.0) == "one two three four"
