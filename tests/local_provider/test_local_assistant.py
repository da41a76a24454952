"""The rule-based responder and `echo`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from enum import Enum
from typing import Any, Literal

import pytest
import vivavoce
from vivavoce import ConfigError, Item, Tool
from vivavoce_local_provider.conversation import Conversation, ToolCallRequest, find_responder
from vivavoce_local_provider.responders import assistant as module
from vivavoce_local_provider.responders.assistant import assistant
from vivavoce_local_provider.responders.echo import echo


class Room(Enum):
    KITCHEN = "kitchen"
    LIVING = "living_room"


@vivavoce.tool
def go_forward(distance: int, unit: Literal["meters", "feet"] = "meters") -> str:
    """Drive the robot straight on."""
    return f"{distance} {unit}"


@vivavoce.tool
def get_weather(city: str) -> str:
    """Tell the weather forecast of a city."""
    return city


@vivavoce.tool
def set_light(room: Room, on: bool, level: float | None = None) -> None:
    """Switch a lamp."""


@vivavoce.tool
def book_table(name: str, people: int) -> None:
    """Reserve a place to eat."""


TOOLS = (go_forward, get_weather, set_light, book_table)


def say(text: str, *, tools: Sequence[Tool] = TOOLS, before: Sequence[Item] = ()) -> list[Any]:
    items = (*before, *([Item(role="user", text=text)] if text else []))

    async def run() -> list[Any]:
        return [part async for part in assistant(Conversation(tuple(items)), tools)]

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("said", "call"),
    [
        ("go forward ten meters", ToolCallRequest("go_forward", {"distance": 10, "unit": "meters"})),
        (
            "please go forward twenty five feet",
            ToolCallRequest("go_forward", {"distance": 25, "unit": "feet"}),
        ),
        ("go forward three", ToolCallRequest("go_forward", {"distance": 3})),
        (
            "drive the robot straight five meters",
            ToolCallRequest("go_forward", {"distance": 5, "unit": "meters"}),
        ),
        ("what is the weather in new york", ToolCallRequest("get_weather", {"city": "new york"})),
        ("tell the weather in mexico city", ToolCallRequest("get_weather", {"city": "mexico city"})),
        ("what is the weather in the city of rome", ToolCallRequest("get_weather", {"city": "rome"})),
        (
            "book a table for two people, name Ada",
            ToolCallRequest("book_table", {"name": "ada", "people": 2}),
        ),
        ("set the kitchen light on", ToolCallRequest("set_light", {"room": "kitchen", "on": True})),
        (
            "set the light in the living room off",
            ToolCallRequest("set_light", {"room": "living_room", "on": False}),
        ),
    ],
)
def test_a_tool_is_called_by_its_words(said: str, call: ToolCallRequest) -> None:
    """The words choose the tool; types and enums of its schema choose the arguments."""
    assert say(said) == [call]


@pytest.mark.parametrize(
    "call", ["go forward ten meters", "what is the weather in rome", "set the light in the kitchen on"]
)
def test_arguments_pass_the_tools_own_check(call: str) -> None:
    """What the assistant fills in is valid for the schema."""
    (request,) = say(call)
    tool = next(tool for tool in TOOLS if tool.name == request.name)
    assert set(tool.read_arguments(dict(request.arguments))) >= set(request.arguments)


def test_a_missing_argument_is_asked_for() -> None:
    """Without a required argument the tool is not called."""
    assert say("go forward please") == ["To go forward I need the distance. Say it in one sentence, please."]


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("eight plus three", "Eight plus three is 11."),
        ("what is one over zero", "Nothing can be divided by zero."),
        ("repeat after me the sun is up", "The sun is up."),
        ("good bye", "Goodbye!"),
        ("thank you", "You are welcome."),
    ],
)
def test_small_talk(said: str, answer: str) -> None:
    """Sums, repeating, courtesy."""
    assert say(said) == [answer]


def test_a_greeting_is_returned() -> None:
    """It greets back, and when asked for a reply before anyone spoke."""
    assert say("hello") == say("")
    assert say("hello")[0].startswith("Hello!")


def test_it_tells_time_and_date(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the machine's clock."""

    class Noon(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime(2026, 3, 4, 15, 7)

    monkeypatch.setattr(module, "datetime", Noon)
    assert say("what time is it") == ["It is 3:07 PM."]
    assert say("what is the date today") == ["Today is Wednesday, March 4, 2026."]


def test_it_lists_its_tools() -> None:
    """By name, as one would say them."""
    assert say("what can you do")[0].endswith("My tools are: go forward, get weather, set light, book table.")
    assert say("help", tools=())[0].endswith("I have no tools.")


def test_it_says_plainly_what_it_does_not_understand() -> None:
    """It tells what it heard and what it can do."""
    (answer,) = say("purple monkeys dishwasher")
    assert answer.startswith("I heard: purple monkeys dishwasher. I do not understand that. I can ")


def test_it_repeats_its_last_words() -> None:
    """`say that again` gives the last reply."""
    assert say("say that again", before=[Item(role="assistant", text="It is noon.")]) == ["It is noon."]
    assert say("say that again") == ["I have not said anything yet."]


@pytest.mark.parametrize(
    ("output", "spoken"),
    [
        ("Went ten meters.", "Went ten meters."),
        ("42", "42."),
        ("true", "yes."),
        ("null", "Done: go forward."),
        ("", "Done: go forward."),
        ('{"sky_color":"blue","degrees":[1,2]}', "sky color blue, degrees 1, 2."),
        ("[]", "nothing."),
        ('{"error":"\'x\' failed"}', "That did not work: 'x' failed."),
    ],
)
def test_a_tools_output_is_told(output: str, spoken: str) -> None:
    """Text as it is, JSON as words, an error as one."""
    done = [
        Item(role="user", text="go forward one meter"),
        Item(type="tool_call", call_id="c", name="go_forward", arguments="{}"),
        Item(type="tool_result", call_id="c", output=output),
    ]
    assert say("", before=done) == [spoken]


def test_nothing_new_needs_no_words() -> None:
    """Asked again after it has answered, it is silent."""
    assert say("", before=[Item(role="user", text="hi"), Item(role="assistant", text="Hello.")]) == []


async def test_echo_says_what_it_heard() -> None:
    """All that was said since the last reply."""
    items = (
        Item(role="assistant", text="Yes?"),
        Item(role="user", text="one"),
        Item(role="user", text="two"),
    )
    assert [part async for part in echo(Conversation(items), ())] == ["one two"]


def test_responders_are_found() -> None:
    """By name, by path, as a function; a class is made with the config."""

    class Mine:
        def __init__(self, config: object) -> None:
            self.config = config

        async def __call__(self, conversation: Conversation, tools: Sequence[Tool]) -> Any:
            yield ""

    assert find_responder("echo") is echo
    assert find_responder("vivavoce_local_provider.responders.echo:echo") is echo
    assert find_responder(echo) is echo
    made: Any = find_responder(Mine, "config")
    assert made.config == "config"


@pytest.mark.parametrize(
    ("wanted", "hint"),
    [("asistant", "Did you mean 'assistant'"), ("nowhere:x", "cannot be loaded"), (7, "is no function")],
)
def test_a_responder_that_is_none_is_refused(wanted: object, hint: str) -> None:
    """The error says which there are."""
    with pytest.raises(ConfigError, match=hint):
        find_responder(wanted)
