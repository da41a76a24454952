"""Finds the tool that words ask for, and its arguments in them. Words and schemas, no model."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
from vivavoce import Tool

from vivavoce_local_provider.responders._numbers import find_numbers

__all__ = ["Match", "find_tool", "spoken_name", "words_of"]

_FILLERS = frozenset(
    [
        "a",
        "an",
        "the",
        "of",
        "to",
        "in",
        "on",
        "at",
        "for",
        "by",
        "is",
        "are",
        "do",
        "does",
        "can",
        "could",
        "would",
        "will",
        "you",
        "me",
        "my",
        "i",
        "it",
        "this",
        "that",
        "and",
        "or",
        "please",
        "what",
        "which",
        "with",
        "from",
        "how",
        "get",
        "set",
        "tell",
        "show",
        "now",
        "some",
        "want",
        "like",
        "let",
        "us",
        "be",
        "s",
    ]
)
_NEGATIVE = frozenset({"off", "no", "not", "false", "disable", "without", "don't"})
_POSITIVE = frozenset({"on", "yes", "true", "enable", "with"})


@attrs.frozen
class Match:
    """A tool, the arguments found for it, and the names of required ones that were not found."""

    tool: Tool
    arguments: Mapping[str, Any]
    missing: tuple[str, ...]


def words_of(text: str) -> list[str]:
    """Lower-case words and numbers, without punctuation."""
    return re.findall(r"\d+(?:\.\d+)?|[^\W\d_]+(?:'[^\W\d_]+)*", text.lower())


def spoken_name(name: str) -> str:
    """`go_forward` or `goForward` as one would say it."""
    return " ".join(words_of(re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).replace("_", " ").replace("-", " ")))


def find_tool(words: Sequence[str], tools: Sequence[Tool]) -> Match | None:
    """The tool that the words match best: all words of its name, or most of the telling ones in its description."""
    scored = [(score, tool) for tool in tools if (score := _score(words, tool)) > 0]
    if not scored:
        return None
    tool = max(scored, key=lambda entry: entry[0])[1]
    arguments, missing = _fill(words, tool)
    return Match(tool, arguments, missing)


def _stem(word: str) -> str:
    for ending in ("ing", "ies", "es", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word


def _stems(words: Sequence[str]) -> set[str]:
    return {_stem(word) for word in words if word not in _FILLERS}


def _score(words: Sequence[str], tool: Tool) -> float:
    heard = _stems(words)
    name = _stems(spoken_name(tool.name).split()) or set(spoken_name(tool.name).split())
    if name and name <= heard | set(words):
        return 1 + len(name)
    telling = heard - _stems([w for number in find_numbers(words) for w in words[number.start : number.end]])
    common = telling & (_stems(words_of(tool.description)) | name)
    share = len(common) / len(telling) if telling else 0.0
    return share if len(common) >= 2 and share >= 0.5 else 0.0


def _fill(words: Sequence[str], tool: Tool) -> tuple[dict[str, Any], tuple[str, ...]]:
    schema = tool.parameters
    properties: Mapping[str, Any] = schema.get("properties") or {}
    labels = [word for name in properties for word in spoken_name(name).split()]
    left = _Words(words, spoken_name(tool.name).split(), labels)
    rules = {name: _resolved(rule, schema) for name, rule in properties.items()}
    found: dict[str, Any] = {}
    # What can be told apart goes first; free text takes what is left.
    for free in (False, True):
        for name, rule in rules.items():
            if _is_text(rule) == free:
                value = left.take(name, rule)
                if value is not None:
                    found[name] = value
    required = schema.get("required") or ()
    return {name: found[name] for name in rules if name in found}, tuple(
        n for n in required if n not in found
    )


def _resolved(rule: Any, schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The rule itself: behind a `$ref`, or the first that is not null of `anyOf`."""
    if not isinstance(rule, Mapping):
        return {}
    if "$ref" in rule:
        return _resolved((schema.get("$defs") or {}).get(str(rule["$ref"]).rsplit("/", 1)[-1]), schema)
    for option in rule.get("anyOf") or ():
        if isinstance(option, Mapping) and option.get("type") != "null":
            return _resolved(option, schema)
    return rule


def _kinds(rule: Mapping[str, Any]) -> set[str]:
    kind = rule.get("type")
    return {kind} if isinstance(kind, str) else set(kind or ())


def _is_text(rule: Mapping[str, Any]) -> bool:
    return "enum" not in rule and "string" in _kinds(rule)


class _Words:
    """The words of one request, and which of them still may become an argument."""

    def __init__(self, words: Sequence[str], name: Sequence[str], labels: Sequence[str]) -> None:
        self._words = list(words)
        self._numbers = find_numbers(words)
        stems = {_stem(word) for word in name}
        self._free = [_stem(word) not in stems for word in words]
        self._labels = {_stem(word) for word in labels}

    def take(self, name: str, rule: Mapping[str, Any]) -> Any:
        """The value of one argument, or `None`."""
        if "enum" in rule:
            return self._choice(rule["enum"])
        kinds = _kinds(rule)
        if kinds & {"integer", "number"}:
            return self._number(whole="number" not in kinds)
        if "boolean" in kinds:
            return self._yes_or_no(name)
        return self._text(name) if "string" in kinds else None

    def _choice(self, options: Sequence[Any]) -> Any:
        for option in options:
            wanted = [_stem(word) for word in words_of(spoken_name(str(option)))]
            for at in range(len(self._words) - len(wanted) + 1):
                if wanted and [_stem(word) for word in self._words[at : at + len(wanted)]] == wanted:
                    self._use(at, at + len(wanted))
                    return option
        return None

    def _number(self, *, whole: bool) -> int | float | None:
        for number in self._numbers:
            if not whole or isinstance(number.value, int):
                self._numbers.remove(number)
                self._use(number.start, number.end)
                return number.value
        return None

    def _yes_or_no(self, name: str) -> bool | None:
        if _NEGATIVE & set(self._words):
            return False
        positive = _POSITIVE | set(spoken_name(name).split())
        return True if positive & set(self._words) else None

    def _text(self, name: str) -> str | None:
        kept = [
            word for word, free in zip(self._words, self._free, strict=True) if free and word not in _FILLERS
        ]
        self._free = [False] * len(self._words)
        own = {_stem(word) for word in spoken_name(name).split()}
        values = [word for word in kept if _stem(word) not in self._labels - own]
        while values and _stem(values[0]) in own:  # "for two people, name Ada"; but it is "Mexico City"
            del values[0]
        return " ".join(values or kept) or None

    def _use(self, start: int, end: int) -> None:
        self._free[start:end] = [False] * (end - start)
