"""Tools that the app runs itself: the core passes calls and outputs on, and asks for nothing."""

from __future__ import annotations

import asyncio

import pytest
from conversation import Stage, provider, scenario
from vivavoce import Tool, tool
from vivavoce.errors import ConfigError
from vivavoce.events import ToolCallResult, ToolCallStart
from vivavoce.testing import Reply

LOOK = Tool("look", "Looks something up.", {"type": "object", "required": ["what"]}, None)


@scenario
async def test_app_gives_the_output():
    """The call is told with its arguments unchecked; the output goes to the provider; no continuation is asked for."""
    calling = Reply("", 0, tool_calls=[("look", '{"where": "up"}')])
    async with Stage(provider(calling, Reply("Found.")), tools=[LOOK]) as stage:
        await stage.voice.answer()
        await asyncio.sleep(1)
        (call,) = stage.of(ToolCallStart)
        assert (call.name, call.arguments) == ("look", {"where": "up"})
        assert stage.provider.tool_results == {}
        await stage.voice.return_tool_result(call.call_id, "it is there")
        await asyncio.sleep(1)
        assert stage.provider.tool_results == {call.call_id: "it is there"}
        assert stage.of(ToolCallResult)[0].result == "it is there"
        assert len(stage.provider.called("answer")) == 1
        assert await (await stage.voice.answer()).text() == "Found."


@scenario
async def test_output_is_given_once():
    """A second output for a call, or one for a call that is not there, is refused."""
    async with Stage(provider(Reply("", 0, tool_calls=[("look", "{}")])), tools=[LOOK]) as stage:
        await stage.voice.answer()
        await asyncio.sleep(1)
        await stage.voice.return_tool_result("call-1", "one")
        with pytest.raises(ConfigError, match="call-1"):
            await stage.voice.return_tool_result("call-1", "two")
        with pytest.raises(ConfigError, match="call-9"):
            await stage.voice.return_tool_result("call-9", "none")
        assert stage.provider.tool_results == {"call-1": "one"}


@scenario
async def test_continuation_waits_for_the_app():
    """Beside a tool that the core runs: its continuation comes when the app's output is in, too."""

    @tool
    def count() -> int:
        """Count."""
        return 3

    calling = Reply("", 0, tool_calls=[("look", "{}"), ("count", "{}")])
    async with Stage(provider(calling), tools=[LOOK, count]) as stage:
        await stage.voice.answer()
        await asyncio.sleep(1)
        assert (stage.provider.tool_results, len(stage.provider.called("answer"))) == ({"call-2": "3"}, 1)
        await stage.voice.return_tool_result("call-1", "there")
        await asyncio.sleep(1)
        assert len(stage.provider.called("answer")) == 2


def test_forgotten_function_is_no_such_tool():
    """Leaving the function out is a mistake; `execute=None` says that it is meant."""
    with pytest.raises(ConfigError, match="execute=None"):
        Tool("look")
    with pytest.raises(TypeError, match="app runs"):
        LOOK(what="this")
