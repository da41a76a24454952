"""Numbers as people say them, and sums of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import pairwise

import msgspec

__all__ = ["Number", "calculate", "find_numbers", "show"]

_SMALL = {
    word: value
    for value, word in enumerate(
        [
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
    )
}
_TENS = {
    word: 10 * value
    for value, word in enumerate(
        ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"], start=2
    )
}
_SCALES = {"thousand": 1_000, "million": 1_000_000, "billion": 1_000_000_000}
_DIGITS = re.compile(r"\d+(?:\.\d+)?\Z")


class Number(msgspec.Struct, frozen=True):
    """A number found in `words[start:end]`."""

    value: int | float
    start: int
    end: int


def find_numbers(words: Sequence[str]) -> list[Number]:
    """Every number in a row of lower-case words: digits, or spoken (`two hundred and five`, `three point one four`)."""
    found = []
    at = 0
    while at < len(words):
        number = _read(words, at)
        if number is None:
            at += 1
        else:
            found.append(number)
            at = number.end
    return found


def _read(words: Sequence[str], start: int) -> Number | None:
    if _DIGITS.match(words[start]):
        value = float(words[start])
        return Number(int(value) if value.is_integer() else value, start, start + 1)
    whole, end = _whole(words, start)
    if whole is None:
        return None
    fraction = ""
    if end < len(words) and words[end] == "point":
        at = end + 1
        while at < len(words) and _SMALL.get(words[at], 10) < 10:
            fraction += str(_SMALL[words[at]])
            at += 1
        if fraction:
            return Number(float(f"{whole}.{fraction}"), start, at)
    return Number(whole, start, end)


def _whole(words: Sequence[str], start: int) -> tuple[int | None, int]:
    """A whole number that begins at `start`, and where it ends."""
    total, group, at = 0, None, start
    while at < len(words):
        word = words[at]
        below, next_at = _below_hundred(words, at)
        if word == "hundred" and group is not None:
            group, at = group * 100, at + 1
        elif word in _SCALES and group is not None:
            total, group, at = total + group * _SCALES[word], 0, at + 1
        elif word == "and" and group and at + 1 < len(words) and group % 100 == 0:
            if _below_hundred(words, at + 1)[0] is None:
                break
            at += 1
        elif below is not None and (group is None or (group % 100 == 0 and at > start)):
            group, at = (group or 0) + below, next_at
        else:
            break
    return (None, start) if group is None else (total + group, at)


def _below_hundred(words: Sequence[str], at: int) -> tuple[int | None, int]:
    word = words[at]
    if word in _TENS:
        unit = _SMALL.get(words[at + 1], 0) if at + 1 < len(words) else 0
        return (_TENS[word] + unit, at + 2) if 0 < unit < 10 else (_TENS[word], at + 1)
    return (_SMALL[word], at + 1) if word in _SMALL else (None, at)


_OPERATORS: dict[tuple[str, ...], str] = {
    ("plus",): "+",
    ("add",): "+",
    ("minus",): "-",
    ("less",): "-",
    ("times",): "*",
    ("multiplied", "by"): "*",
    ("divided", "by"): "/",
    ("over",): "/",
}
_OPERATIONS: dict[str, Callable[[float, float], float]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
}


def calculate(words: Sequence[str]) -> tuple[str, int | float] | None:
    """The sum in a row of words, as text and its value, or `None` if there is none.

    Products come before sums. Raises `ZeroDivisionError`.
    """
    numbers = find_numbers(words)
    if len(numbers) < 2:
        return None
    values: list[float] = [numbers[0].value]
    operators = []
    for before, number in pairwise(numbers):
        operator = _OPERATORS.get(tuple(words[before.end : number.start]))
        if operator is None:
            return None
        operators.append(operator)
        values.append(number.value)
    spoken = " ".join(words[numbers[0].start : numbers[-1].end])
    return spoken, _evaluate(values, operators)


def _evaluate(values: list[float], operators: list[str]) -> int | float:
    for level in ("*/", "+-"):
        left_values, left_operators = [values[0]], []
        for operator, value in zip(operators, values[1:], strict=True):
            if operator in level:
                left_values[-1] = _OPERATIONS[operator](left_values[-1], value)
            else:
                left_operators.append(operator)
                left_values.append(value)
        values, operators = left_values, left_operators
    return values[0]


def show(value: int | float) -> str:
    """A number for speech: whole where it is, else to four digits after the point; `minus` before a negative one."""
    rounded = round(value, 4)
    text = str(int(rounded)) if rounded == int(rounded) else f"{rounded:g}"
    return f"minus {text[1:]}" if text.startswith("-") else text
