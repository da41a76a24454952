"""Numbers as people say them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vivavoce_local_provider.responders._numbers import Number, calculate, find_numbers, show

SMALL = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
TENS = ["", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]


def spell(value: int) -> list[str]:
    if value < 20:
        return [SMALL[value]]
    if value < 100:
        return [TENS[value // 10], *([SMALL[value % 10]] if value % 10 else [])]
    if value < 1000:
        return [SMALL[value // 100], "hundred", *(["and", *spell(value % 100)] if value % 100 else [])]
    return [*spell(value // 1000), "thousand", *(spell(value % 1000) if value % 1000 else [])]


@given(st.integers(0, 999_999))
def test_spelled_numbers_are_read(value: int) -> None:
    """Every number below a million, as it is said."""
    words = spell(value)
    assert find_numbers(words) == [Number(value, 0, len(words))]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("go forward ten meters", [10]),
        ("twenty five and thirty", [25, 30]),
        ("one two three", [1, 2, 3]),
        ("three point one four", [3.14]),
        ("12 and 2.5", [12, 2.5]),
        ("two hundred and five", [205]),
        ("two hundred and no more", [200]),
        ("hundred", []),
        ("nothing here", []),
    ],
)
def test_numbers_are_found_among_words(text: str, values: list[float]) -> None:
    """Numbers in a row stay apart; words between them are left alone."""
    assert [number.value for number in find_numbers(text.split())] == values


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("what is seven plus five", 12),
        ("eight plus three equals", 11),
        ("two plus three times four", 14),
        ("ten divided by four", 2.5),
        ("twenty minus thirty", -10),
        ("six multiplied by seven", 42),
    ],
)
def test_sums_are_done(text: str, value: float) -> None:
    """Products come before sums."""
    found = calculate(text.split())
    assert found is not None
    assert found[1] == value


@pytest.mark.parametrize("text", ["seven", "seven and five", "go forward ten meters", "seven five"])
def test_what_is_no_sum_is_none(text: str) -> None:
    """Two numbers need an operator between them."""
    assert calculate(text.split()) is None


@pytest.mark.parametrize(
    ("value", "text"), [(11, "11"), (2.5, "2.5"), (1 / 3, "0.3333"), (-10, "minus 10"), (4.0, "4")]
)
def test_numbers_are_shown_for_speech(value: float, text: str) -> None:
    """Whole where they are, else short."""
    assert show(value) == text
