"""Cutting running text into sentences."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vivavoce_local_provider._sentences import MAX_SENTENCE, SentenceSplitter, sentences


async def collect(text: str | AsyncIterator[str]) -> list[str]:
    return [sentence async for sentence in sentences(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("  \n ", []),
        ("Hello", ["Hello"]),
        ("Hello. How are you?", ["Hello.", "How are you?"]),
        ("It is 3.5 degrees. Cold!", ["It is 3.5 degrees.", "Cold!"]),
        ("Mr. Smith is here. Good.", ["Mr. Smith is here.", "Good."]),
        ('He said "stop." Then he left.', ['He said "stop."', "Then he left."]),
        ("one\ntwo", ["one", "two"]),
        ("Wait... what?!", ["Wait...", "what?!"]),
    ],
)
async def test_text_is_cut_at_sentence_ends(text: str, expected: list[str]) -> None:
    """An end mark and white space end a sentence; abbreviations and decimal points do not."""
    assert await collect(text) == expected


def test_a_sentence_is_given_as_soon_as_it_is_complete() -> None:
    """The first sentence does not wait for the second."""
    splitter = SentenceSplitter()
    assert splitter.feed("Hello there") == []
    assert splitter.feed(". And") == ["Hello there."]
    assert splitter.flush() == ["And"]


@given(st.lists(st.text(alphabet="ab. ,!\n", max_size=30), max_size=10))
def test_no_word_is_lost_however_the_text_is_cut(pieces: list[str]) -> None:
    """All words come out, in order."""
    splitter = SentenceSplitter()
    found = [sentence for piece in pieces for sentence in splitter.feed(piece)] + splitter.flush()
    assert "".join("".join(found).split()) == "".join("".join(pieces).split())


def test_endless_text_is_cut() -> None:
    """A text without any end is spoken in bounded pieces."""
    splitter = SentenceSplitter()
    found = splitter.feed("word " * 500) + splitter.flush()
    assert max(map(len, found)) <= MAX_SENTENCE
    assert " ".join(found).split() == ["word"] * 500
