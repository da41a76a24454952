"""Tools: the schema from the hints, arguments checked, calls in parallel, and exactly one output for each."""

from __future__ import annotations

import asyncio
import enum
import time
from typing import Annotated, Literal

import msgspec
import pytest
from conversation import Stage, provider, scenario, turns
from vivavoce import Tool, tool
from vivavoce.errors import ConfigError
from vivavoce.events import ResponseDone, ToolCallResult, ToolCallStart
from vivavoce.testing import Reply, Step, current_clock
from vivavoce.tools import as_tools


class Unit(enum.Enum):
    C = "celsius"
    F = "fahrenheit"


@tool
async def weather(
    city: str, days: int = 1, unit: Unit = Unit.C, detail: Literal["low", "high"] | None = None
) -> str:
    """Tell the weather.

    It is often right.

    Args:
        city: Where, as people
            call it.
        days (int): How many days ahead.

    Returns:
        A sentence.
    """
    return f"{city} {days} {unit.name} {detail}"


def test_schema_from_type_hints():
    """Name, description, types, defaults, enums and the words about each argument become the schema."""
    assert (weather.name, weather.description) == ("weather", "Tell the weather. It is often right.")
    schema = weather.parameters
    assert (schema["type"], schema["required"], schema["additionalProperties"]) == ("object", ["city"], False)
    assert schema["properties"]["city"] == {"type": "string", "description": "Where, as people call it."}
    assert schema["properties"]["days"] == {
        "type": "integer",
        "default": 1,
        "description": "How many days ahead.",
    }
    assert set(schema["properties"]) == {"city", "days", "unit", "detail"}
    assert "celsius" in str(schema)


def test_schema_of_structures():
    """Nested types, lists and constraints are described, with their definitions."""

    class Point(msgspec.Struct):
        x: float
        y: float

    def draw(points: list[Point], scale: Annotated[float, msgspec.Meta(gt=0)] = 1.0) -> None:
        """:param points: Where to draw."""

    globals()["Point"] = Point
    try:
        made = tool(draw)
    finally:
        del globals()["Point"]
    assert made.parameters["properties"]["points"]["items"]["$ref"].startswith("#/$defs/")
    assert "Point" in str(made.parameters["$defs"])
    assert made.parameters["properties"]["scale"]["exclusiveMinimum"] == 0
    assert made.parameters["properties"]["points"]["description"] == "Where to draw."


def test_tool_is_still_a_function():
    """A decorated function can be called as before."""

    @tool(name="add", description="Add numbers.", timeout=3)
    def plus(a: int, b: int = 2) -> int:
        return a + b

    assert (plus(1), plus(1, b=1), plus.name, plus.description, plus.timeout) == (
        3,
        2,
        "add",
        "Add numbers.",
        3,
    )


def no_hint(a):
    pass


def positional(a: int, /):
    pass


def starred(*a: int):
    pass


def keywords(**a: int):
    pass


@pytest.mark.parametrize("function", [no_hint, positional, starred, keywords])
def test_functions_that_cannot_be_tools(function):
    """A function whose arguments have no hints, or no names, is refused at decoration."""
    with pytest.raises(ConfigError, match="argument 'a'"):
        tool(function)


def test_bad_tools():
    """What is no tool, has a bad name, two of a name, no function or no time, is refused."""
    for bad in ([3], ["x"], [None], [weather, weather]):
        with pytest.raises(ConfigError):
            as_tools(bad)
    for name in ("", "a b", "x" * 65, "ä", 3):
        with pytest.raises(ConfigError):
            Tool(name, execute=print)
    with pytest.raises(ConfigError):
        Tool("x")
    with pytest.raises(ConfigError):
        Tool("x", execute=print, timeout=0)
    with pytest.raises(ConfigError):
        as_tools(3)


def test_forms_of_tools():
    """Tools come as `Tool`s, functions, or a mapping, which names its functions; a `Tool` keeps its name."""

    def look(where: str) -> str:
        """Look."""
        return where

    assert [entry.name for entry in as_tools([weather, look])] == ["weather", "look"]
    assert [entry.name for entry in as_tools({"a": weather, "b": look})] == ["weather", "b"]


@pytest.mark.parametrize(
    ("raw", "values"),
    [
        ('{"city": "Bonn"}', {"city": "Bonn", "days": 1, "unit": Unit.C, "detail": None}),
        (
            b'{"city": "Bonn", "unit": "fahrenheit"}',
            {"city": "Bonn", "days": 1, "unit": Unit.F, "detail": None},
        ),
        ({"city": "Bonn", "days": 3}, {"city": "Bonn", "days": 3, "unit": Unit.C, "detail": None}),
    ],
)
def test_arguments(raw, values):
    """Arguments are decoded, converted and completed by defaults."""
    assert weather.read_arguments(raw) == values


@pytest.mark.parametrize("raw", ["", None, "{}", b"", {}])
def test_no_arguments(raw):
    """Empty text is no arguments, as some services send it."""
    assert Tool("x", execute=print).read_arguments(raw) == {}


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "{",
        "[]",
        "3",
        '{"city": 3}',
        '{"city": "x", "days": "3"}',
        '{"city": "x", "more": 1}',
        '{"city": "x", "unit": "kelvin"}',
        "\ud800",
        b"\xff",
    ],
)
def test_bad_arguments(raw):
    """What does not fit is a ValueError with words for the model."""
    with pytest.raises(ValueError):
        weather.read_arguments(raw)


def test_ready_schema_is_checked():
    """Against a ready schema required, type, enum and additional properties are checked."""
    made = Tool(
        "x",
        "",
        {
            "type": "object",
            "properties": {
                "a": {"type": "integer"},
                "b": {"enum": [1, 2]},
                "c": {"type": ["string", "null"]},
            },
            "required": ["a"],
            "additionalProperties": False,
        },
        print,
    )
    assert made.read_arguments({"a": 1, "b": 2, "c": None}) == {"a": 1, "b": 2, "c": None}
    for bad in ({}, {"a": "1"}, {"a": True}, {"a": 1, "b": 3}, {"a": 1, "c": 3}, {"a": 1, "d": 1}):
        with pytest.raises(ValueError, match="argument"):
            made.read_arguments(bad)


# The loop.


def calls(*pairs, **options):
    return Reply("", 0, tool_calls=pairs, **options)


def results(stage):
    return {
        event.call_id: event.result if event.error is None else event.error
        for event in stage.of(ToolCallResult)
    }


@scenario
async def test_call_and_continuation():
    """A call runs, its output goes back, and one continuation follows."""
    async with Stage(
        provider(calls(("weather", '{"city": "Bonn"}')), Reply("Rain.")), tools=[weather]
    ) as stage:
        await stage.voice.answer()
        await asyncio.sleep(1)
        assert stage.of(ToolCallStart)[0].arguments == {
            "city": "Bonn",
            "days": 1,
            "unit": Unit.C,
            "detail": None,
        }
        assert results(stage) == {"call-1": "Bonn 1 C None"}
        assert stage.provider.tool_results == {"call-1": "Bonn 1 C None"}
        assert [call.args for call in stage.provider.called("answer")] == [({},), ({},)]
        assert stage.names().count("response.done") == 2


@scenario
async def test_calls_run_in_parallel():
    """Several calls run at the same time; one continuation follows when all are in."""

    @tool
    async def slow(seconds: float) -> str:
        """Take a while."""
        await asyncio.sleep(seconds)
        return f"{seconds:g}"

    async with Stage(provider(calls(*[("slow", {"seconds": n}) for n in (3, 1, 2)])), tools=[slow]) as stage:
        await stage.voice.answer()
        await asyncio.sleep(2.5)
        assert (stage.provider.tool_results, len(stage.provider.called("answer"))) == (
            {"call-2": "1", "call-3": "2"},
            1,
        )
        await asyncio.sleep(1)
        assert stage.provider.tool_results["call-1"] == "3"
        assert [call.at for call in stage.provider.called("answer")] == [0, 3]


@scenario
async def test_continuation_waits_for_the_end_of_the_reply():
    """The continuation is asked for after response.done of the reply that called."""
    async with Stage(provider(calls(("weather", {"city": "Bonn"}), hold=True)), tools=[weather]) as stage:
        await stage.voice.answer()
        await asyncio.sleep(1)
        assert (len(stage.provider.tool_results), len(stage.provider.called("answer"))) == (1, 1)
        stage.provider.finish("response-1")
        await asyncio.sleep(1)
        assert len(stage.provider.called("answer")) == 2


@scenario
async def test_call_announced_after_the_end_of_its_reply():
    """A call that comes after response.done of its reply has its continuation all the same."""
    async with Stage(provider(Reply("", 0)), tools=[weather], records=False) as stage:
        await (await stage.voice.answer()).done()
        stage.provider.emit(ToolCallStart("c1", "weather", {"city": "Bonn"}, "response-1"))
        await asyncio.sleep(1)
        assert (list(stage.provider.tool_results), len(stage.provider.called("answer"))) == (["c1"], 2)


@scenario
async def test_continuation_waits_for_another_reply():
    """No continuation is asked for while another reply is active."""

    @tool
    async def slow() -> str:
        """Take a while."""
        await asyncio.sleep(1)
        return "done"

    async with Stage(provider(calls(("slow", None))), tools=[slow]) as stage:
        await (await stage.voice.answer()).done()
        stage.provider.reply("meanwhile", 3000, paced=True)
        await asyncio.sleep(2)
        assert len(stage.provider.called("answer")) == 1
        await asyncio.sleep(2)
        assert len(stage.provider.called("answer")) == 2


async def forever() -> str:
    await asyncio.Event().wait()


async def leaks_its_secret() -> str:
    raise ValueError("password is hunter2")


async def cancelled_inside() -> str:
    raise asyncio.CancelledError


async def no_json() -> object:
    return object()


async def void() -> None:
    return None


async def number() -> int:
    return 7


def plain() -> dict[str, int]:
    time.sleep(0.001)
    return {"a": 1}


def plain_that_returns_a_coroutine() -> str:
    return number()


def exits() -> str:
    raise SystemExit(3)


OUTCOMES = {
    "void": ("null", None),
    "number": ("7", 7),
    "plain": ('{"a":1}', {"a": 1}),
    "plain_that_returns_a_coroutine": ("7", 7),
    "forever": ('{"error":"\'forever\' gave no result within 30 s"}', "'forever' gave no result within 30 s"),
    "leaks_its_secret": ('{"error":"\'leaks_its_secret\' failed"}', "'leaks_its_secret' failed"),
    "cancelled_inside": ('{"error":"\'cancelled_inside\' failed"}', "'cancelled_inside' failed"),
    "exits": ('{"error":"\'exits\' failed"}', "'exits' failed"),
    "no_json": (
        '{"error":"\'no_json\' gave a result that cannot be written as JSON"}',
        "'no_json' gave a result that cannot be written as JSON",
    ),
}


@pytest.mark.parametrize("name", OUTCOMES)
@scenario
async def test_every_call_has_one_output(name, caplog):
    """Whatever a tool does, the service gets one output, in words that hold nothing of the exception, and goes on."""
    function = globals()[name]
    async with Stage(provider(calls((name, "{}"))), tools=[tool(function)]) as stage:
        await stage.voice.answer()
        await asyncio.sleep(40)
        output, shown = OUTCOMES[name]
        assert stage.provider.tool_results == {"call-1": output}
        assert results(stage) == {"call-1": shown}
        assert len(stage.provider.called("answer")) == 2
        assert "hunter2" not in str(stage.seen)


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("forecast", "{}", "there is no tool 'forecast'; the tools are: weather"),
        ("weather", "{", "bad arguments for 'weather'"),
        ("weather", '{"city": 3}', "bad arguments for 'weather'"),
        ("weather", "[]", "not a JSON object"),
    ],
)
@scenario
async def test_calls_that_cannot_run(name, arguments, says):
    """An unknown tool and bad arguments are answered in words, and the model goes on."""
    async with Stage(provider(calls((name, arguments))), tools=[weather]) as stage:
        await stage.voice.answer()
        await asyncio.sleep(1)
        assert says in stage.provider.tool_results["call-1"]
        assert says in results(stage)["call-1"]
        assert (len(stage.of(ToolCallStart)), len(stage.provider.called("answer"))) == (1, 2)


@scenario
async def test_call_that_comes_twice():
    """A call id runs once."""
    ran = []

    @tool
    async def count() -> int:
        """Count."""
        ran.append(1)
        return len(ran)

    async with Stage(tools=[count]) as stage:
        for _ in range(3):
            stage.provider.emit(ToolCallStart("c1", "count", ""))
        await asyncio.sleep(1)
        assert (len(ran), results(stage), len(stage.provider.called("return_tool_result"))) == (
            1,
            {"c1": 1},
            1,
        )
        stage.provider.emit(ToolCallStart("c1", "count", ""))
        await asyncio.sleep(1)
        assert (len(ran), stage.names().count("tool-call-start")) == (1, 1)


@scenario
async def test_interruption_keeps_the_result():
    """A call of a reply that is interrupted still gives its output."""

    @tool
    async def slow() -> str:
        """Take a while."""
        await asyncio.sleep(1)
        return "done"

    async with Stage(provider(Reply("wait", 3000, paced=True)), tools=[slow]) as stage:
        await stage.voice.answer()
        stage.provider.emit(ToolCallStart("c1", "slow", None, "response-1"))
        await asyncio.sleep(0.5)
        await stage.voice.interrupt()
        await asyncio.sleep(2)
        assert stage.provider.tool_results == {"c1": "done"}
        assert len(stage.provider.called("answer")) == 2


@scenario
async def test_result_that_the_service_refuses():
    """A refused output is an error event; the voice goes on."""
    from vivavoce.errors import ProviderError

    stage = Stage(
        provider(
            calls(("weather", {"city": "x"})), script={"return_tool_result": [ProviderError("no such call")]}
        ),
        tools=[weather],
    )
    errors = []
    stage.voice.on("error", errors.append)
    async with stage:
        await stage.voice.answer()
        await asyncio.sleep(1)
        assert [error.message for error in errors] == ["no such call"]
        assert stage.voice.state == "open"


@scenario
async def test_tools_added_later():
    """Tools may be added before and after connect; one with a known name replaces it; the service is told."""

    @tool(name="weather")
    async def better(city: str) -> str:
        """Better."""
        return "sun"

    stage = Stage(provider(calls(("weather", {"city": "x"})), calls(("n", None))))
    await stage.voice.add_tools([weather])
    async with stage:
        assert stage.provider.context.session.tools == (weather,)
        await stage.voice.add_tools([better])
        await stage.voice.add_tools({"n": number})
        changes = [call.args[0] for call in stage.provider.called("update_config")]
        assert [[t.name for t in change["tools"]] for change in changes] == [
            ["weather"],
            ["weather", "n"],
        ]
        await (await stage.voice.answer()).done()
        await asyncio.sleep(1)
        await asyncio.sleep(1)
        assert stage.provider.tool_results == {"call-1": "sun", "call-2": "7"}


@scenario
async def test_concurrent_updates():
    """Concurrent updates are made one after the other; one that is refused takes no other with it."""
    from vivavoce.errors import ProviderError

    stage = Stage(
        provider(script={"update_config": [Step(delay=1, fails=ProviderError("no")), Step(delay=1)]})
    )
    async with stage:
        results = await asyncio.gather(
            stage.voice.update_config(a=1), stage.voice.add_tools([weather]), stage.voice.update_config(b=2),
            return_exceptions=True,
        )  # fmt: skip
        assert [type(result) for result in results] == [ProviderError, type(None), type(None)]
        session = stage.provider.context.session
        assert (session.settings, session.tools) == ({"b": 2}, (weather,))
    async with stage:
        session = stage.provider.context.session
        assert (session.settings, session.tools) == ({"b": 2}, (weather,))


@scenario
async def test_update_while_connecting():
    """What is changed while the voice connects is told to the session when it is ready."""
    stage = Stage(provider(script={"connect": Step(delay=1)}))
    attempt = asyncio.create_task(stage.voice.connect())
    await asyncio.sleep(0.5)
    await stage.voice.add_tools([weather])
    await attempt
    assert stage.provider.context.session.tools == (weather,)
    assert len(stage.provider.called("update_config")) == 1
    await stage.voice.close()


@scenario
async def test_update_config():
    """update_config merges settings, bare or under session=, and resolves when acknowledged."""
    stage = Stage(provider(script={"update_config": Step(delay=1)}), session={"a": {"b": 1, "c": [1, 2]}})
    async with stage:
        await stage.voice.update_config(instructions="x", speaker="alma", session={"a": {"c": [3]}}, d=4)
        assert current_clock().now == 1
        (call,) = stage.provider.called("update_config")
        assert call.args[0] == {"instructions": "x", "speaker": "alma", "session": {"a": {"c": [3]}, "d": 4}}
        session = stage.provider.context.session
        assert session.settings == {"a": {"b": 1, "c": [3]}, "d": 4}
        assert (session.instructions, session.speaker) == ("x", "alma")
        await stage.voice.add_instructions("y")
        assert stage.provider.called("update_config")[1].args == ({"instructions": "y"},)
        await stage.voice.update_config()
        assert len(stage.provider.called("update_config")) == 2


@scenario
async def test_tool_thread_does_not_block():
    """Plain tools run beside the loop, also a slow one."""

    @tool
    def slow() -> str:
        """Sleep."""
        time.sleep(0.05)
        return "slept"

    async with Stage(provider(calls(("slow", None), ("slow", None))), tools=[slow]) as stage:
        await stage.voice.answer()
        await asyncio.sleep(1)
        assert set(stage.provider.tool_results.values()) == {"slept"}
        assert stage.of(ResponseDone)
        await turns(3)
