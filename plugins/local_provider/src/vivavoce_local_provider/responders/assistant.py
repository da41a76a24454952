"""The responder `assistant`: small, made of rules, and honest about it.

It greets, tells the time and the date, does sums, repeats, lists its tools, and calls a tool whose name or description
the words match, with arguments from the words and the schema's types and enums. When it does not understand, it says so
and what it can do. It knows nothing else and learns nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime

import msgspec
from vivavoce import Tool

from vivavoce_local_provider.conversation import Conversation, ToolCallRequest, ToolOutcome
from vivavoce_local_provider.responders._matching import find_tool, spoken_name, words_of
from vivavoce_local_provider.responders._numbers import calculate, show

__all__ = ["assistant"]

Words = Sequence[str]
_GREETING = "Hello! I can do sums and tell the time. How can I help?"


async def assistant(
    conversation: Conversation, tools: Sequence[Tool]
) -> AsyncIterator[str | ToolCallRequest]:
    """Answer what the user said, or tell what the tools gave."""
    if conversation.outcomes:
        for outcome in conversation.outcomes:
            yield _tell(outcome)
    elif conversation.said:
        yield _reply(conversation, tools, datetime.now())
    elif not conversation.last_reply:
        yield _GREETING


def _reply(conversation: Conversation, tools: Sequence[Tool], now: datetime) -> str | ToolCallRequest:
    words = words_of(conversation.said)
    return (
        _sum(words)
        or _repeat(words, conversation.last_reply)
        or _tools(words, tools)
        or _call(words, tools)
        or _clock(words, now)
        or _courtesy(words)
        or f"I heard: {conversation.said}. I do not understand that. {_abilities(tools)}"
    )


def _has(words: Words, *phrases: str) -> bool:
    text = f" {' '.join(words)} "
    return any(f" {phrase} " in text for phrase in phrases)


def _sum(words: Words) -> str | None:
    try:
        found = calculate(words)
    except ZeroDivisionError:
        return "Nothing can be divided by zero."
    return f"{found[0].capitalize()} is {show(found[1])}." if found is not None else None


def _repeat(words: Words, last: str) -> str | None:
    if _has(words, "repeat that", "say that again", "say it again", "what did you say") or list(words) == [
        "repeat"
    ]:
        return last or "I have not said anything yet."
    for opening in ("repeat after me", "please say", "say"):
        size = len(opening.split())
        if " ".join(words[:size]) == opening and len(words) > size:
            return f"{' '.join(words[size:]).capitalize()}."
    return None


def _tools(words: Words, tools: Sequence[Tool]) -> str | None:
    if not _has(words, "what can you do", "help", "your tools", "which tools", "what tools", "list tools"):
        return None
    return _abilities(tools)


def _abilities(tools: Sequence[Tool]) -> str:
    able = "I can greet you, tell the time and the date, do sums, and repeat what you say."
    if not tools:
        return f"{able} I have no tools."
    return f"{able} My tools are: {', '.join(spoken_name(tool.name) for tool in tools)}."


def _call(words: Words, tools: Sequence[Tool]) -> str | ToolCallRequest | None:
    match = find_tool(words, tools)
    if match is None:
        return None
    if match.missing:
        wanted = " and the ".join(spoken_name(name) for name in match.missing)
        return f"To {spoken_name(match.tool.name)} I need the {wanted}. Say it in one sentence, please."
    return ToolCallRequest(match.tool.name, match.arguments)


def _clock(words: Words, now: datetime) -> str | None:
    if _has(words, "time", "o'clock"):
        return f"It is {now.hour % 12 or 12}:{now.minute:02} {'AM' if now.hour < 12 else 'PM'}."
    if _has(words, "date", "day", "today"):
        return f"Today is {now:%A, %B} {now.day}, {now.year}."
    return None


def _courtesy(words: Words) -> str | None:
    answers: tuple[tuple[tuple[str, ...], str], ...] = (
        (("goodbye", "good bye", "bye"), "Goodbye!"),
        (("thank you", "thanks"), "You are welcome."),
        (("hello", "hi", "hey", "good morning", "good afternoon", "good evening"), _GREETING),
    )
    return next((answer for phrases, answer in answers if _has(words, *phrases)), None)


def _tell(outcome: ToolOutcome) -> str:
    """A tool's output as a sentence."""
    name = spoken_name(outcome.name)
    try:
        value = msgspec.json.decode(outcome.output)
    except msgspec.DecodeError:
        value = outcome.output
    if isinstance(value, dict) and set(value) == {"error"}:
        return f"That did not work: {value['error']}."
    if value is None or value == "":
        return f"Done: {name}."
    text = _say(value)
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _say(value: object) -> str:
    speak: dict[type, Callable[[object], str]] = {
        bool: lambda v: "yes" if v else "no",
        dict: lambda v: ", ".join(f"{spoken_name(str(k))} {_say(x)}" for k, x in v.items()),  # type: ignore[attr-defined]
        list: lambda v: ", ".join(_say(x) for x in v) or "nothing",  # type: ignore[attr-defined]
    }
    return speak.get(type(value), str)(value)
