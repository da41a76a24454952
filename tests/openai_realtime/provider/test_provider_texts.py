"""The final text of an item is told once, when the item is complete."""

from __future__ import annotations

from vivavoce.events import Writing
from vivavoce_openai_realtime.protocol.events import TextDelta, TextFinal
from vivavoce_openai_realtime.texts import ItemTexts


def part(
    text: str, index: int = 0, *, item: str = "a", role: str = "assistant", reply: str | None = "r"
) -> TextFinal:
    return TextFinal(text, role, role == "user", item, reply, index)


def final(text: str, item: str = "a") -> Writing:
    return Writing(text, "assistant", item, "r", final=True)


def test_item_with_one_part() -> None:
    """The item's end tells it; the reply's end does not repeat it."""
    texts = ItemTexts()
    assert list(texts.final(part("Hello"))) == []
    assert list(texts.done("a")) == [final("Hello")]
    assert list(texts.finished("r")) == []


def test_item_with_several_parts() -> None:
    """The parts are joined in their order, whichever came first."""
    texts = ItemTexts()
    assert [*texts.final(part("world", 1)), *texts.final(part("Hello ", 0))] == []
    assert list(texts.done("a")) == [final("Hello world")]


def test_items_that_are_never_ended() -> None:
    """A service that ends no items: the reply's end tells all of its own."""
    texts = ItemTexts()
    for event in (part("One"), part("Two", item="b"), part("Other", item="c", reply="s")):
        assert list(texts.final(event)) == []
    assert list(texts.finished("r")) == [final("One"), final("Two", "b")]


def test_words_of_the_user() -> None:
    """They have one part, which is told at once, and once."""
    texts = ItemTexts()
    spoken = part("Hi", role="user", reply=None)
    assert list(texts.final(spoken)) == [Writing("Hi", "user", "a", None, final=True)]
    assert list(texts.final(spoken)) == []


def test_text_after_the_end() -> None:
    """Deltas and parts of an item that is complete say nothing."""
    texts = ItemTexts()
    delta = TextDelta("He", "assistant", True, "a", "r", 0)
    assert texts.delta(delta) == Writing("He", "assistant", "a", "r")
    list(texts.final(part("Hello")))
    list(texts.done("a"))
    assert texts.delta(delta) is None
    assert list(texts.final(part("Again", 1))) == []
    assert list(texts.done("a")) == []


def test_memory_is_bounded() -> None:
    """A service that opens items without end has the oldest told."""
    texts = ItemTexts()
    told = [text for number in range(300) for text in texts.final(part(str(number), item=f"i{number}"))]
    assert [text.text for text in told] == [str(number) for number in range(44)]
