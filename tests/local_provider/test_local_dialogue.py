"""The memory of a session."""

from __future__ import annotations

import pytest
from vivavoce import Cut, Item
from vivavoce_local_provider.conversation import ToolOutcome
from vivavoce_local_provider.dialogue import Dialogue


def spoken() -> Dialogue:
    dialogue = Dialogue()
    dialogue.add("hi", "user", "u1")
    dialogue.say("a1", "One two three four.")
    dialogue.spoke("a1", 1000)
    dialogue.say("a1", "Five six.")
    dialogue.spoke("a1", 500)
    return dialogue


@pytest.mark.parametrize(
    ("played_ms", "text"),
    [
        (1500, "One two three four. Five six."),
        (1250, "One two three four. Five"),
        (1000, "One two three four."),
        (500, "One two"),
    ],
)
def test_memory_is_cut_to_what_was_heard(played_ms: float, text: str) -> None:
    """Sentences that were heard stay; of the one that was cut, the words in proportion."""
    dialogue = spoken()
    dialogue.cut(Cut("a1", played_ms, 1500))
    assert dialogue.view().items[-1] == Item(role="assistant", text=text, id="a1", interrupted=True)


def test_what_was_not_heard_was_not_said() -> None:
    """An item of which nothing was heard is forgotten."""
    dialogue = spoken()
    dialogue.cut(Cut("a1", 0, 1500))
    assert dialogue.view().items == (Item(role="user", text="hi", id="u1"),)


def test_cutting_an_unknown_item_changes_nothing() -> None:
    """Such as one of an earlier session."""
    dialogue = spoken()
    before = dialogue.view()
    dialogue.cut(Cut("nobody", 0, 10))
    assert dialogue.view() == before


def test_a_view_tells_what_is_new() -> None:
    """What the user said, and what tools gave, since the assistant last spoke."""
    dialogue = spoken()
    assert (dialogue.view().said, dialogue.view().last_reply) == ("", "One two three four. Five six.")
    dialogue.add("go on", "user")
    dialogue.call("c1", "walk", {"steps": 2})
    dialogue.result("c1", "done")
    assert dialogue.view("be kind").instructions == "be kind"
    assert dialogue.view().said == "go on"
    assert dialogue.view().outcomes == (ToolOutcome("c1", "walk", '{"steps":2}', "done"),)
