"""The tool loop of one session: every call runs once, gets exactly one output, and one continuation follows.

Calls run in parallel, each in a task of the session with a time limit. Plain functions run in a thread, so that they
cannot block the loop. What goes wrong is told to the model in our words: the text of an exception is for the log.
"""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import msgspec

from vivavoce.errors import ConfigError
from vivavoce.events import ToolCallResult, ToolCallStart
from vivavoce.redaction import get_logger
from vivavoce.tools import Tool

__all__ = ["ToolLoop"]

logger = get_logger("vivavoce.tools")

_REMEMBERED = 1024


class _Failed(Exception):
    """A call that failed; the text is for the model."""


class ToolLoop:
    """`tools` gives the tools of the moment, `deliver` emits an event, `give_back` hands one output to the service,
    `go_on` asks for the continuation, `spawn` runs a task of the session."""

    def __init__(
        self,
        *,
        tools: Callable[[], tuple[Tool, ...]],
        deliver: Callable[[ToolCallStart | ToolCallResult], None],
        give_back: Callable[[str, str], Coroutine[Any, Any, None]],
        go_on: Callable[[], Coroutine[Any, Any, None]],
        spawn: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        self._tools = tools
        self._deliver = deliver
        self._give_back = give_back
        self._go_on = go_on
        self._spawn = spawn
        self._seen: dict[str, None] = {}
        self._open: set[str] = set()
        self._running: dict[str, None] = {}  # calls without a result yet, in order
        self._with_the_app: set[str] = set()
        self._replies: set[str] = set()
        self._done: deque[str] = deque(maxlen=64)  # a call may come behind the end of its reply
        self._owes_continuation = False

    @property
    def unanswered(self) -> frozenset[str]:
        """The ids of calls whose output the service does not have yet."""
        return frozenset(self._open)

    def start(self, call: ToolCallStart) -> bool:
        """Run a call, unless one with its id was run. Returns whether it is new."""
        if call.call_id in self._seen:
            return False
        self._seen[call.call_id] = None
        if len(self._seen) > _REMEMBERED:
            del self._seen[next(iter(self._seen))]
        self._open.add(call.call_id)
        self._running[call.call_id] = None
        if call.response_id is not None and call.response_id not in self._done:
            self._replies.add(call.response_id)
        found, arguments, refused = self._read(call)
        self._deliver(ToolCallStart(call.call_id, call.name, arguments, call.response_id))
        if found is not None and found.execute is None:
            self._with_the_app.add(call.call_id)
        else:
            self._spawn(self._run(call.call_id, found, arguments, refused))
        return True

    async def take_result(self, call_id: str, output: str) -> None:
        """The output of a call that the app runs. Raises `ConfigError` if none with this id waits for one."""
        if call_id not in self._with_the_app:
            raise ConfigError(f"no tool call {call_id!r} waits for a result from the app", option="call_id")
        self._with_the_app.remove(call_id)
        self._tell(call_id, output, None)
        try:
            await self._give_back(call_id, output)
        finally:
            self._open.discard(call_id)
        self._continue_if_due()

    def _read(self, call: ToolCallStart) -> tuple[Tool | None, Any, str | None]:
        """The tool that is meant, the arguments as they can be read, and why the call is refused, if it is."""
        found = next((tool for tool in self._tools() if tool.name == call.name), None)
        if found is None:
            known = ", ".join(tool.name for tool in self._tools()) or "none"
            return None, _readable(call.arguments), f"there is no tool {call.name!r}; the tools are: {known}"
        if found.execute is None:
            return found, _readable(call.arguments), None
        try:
            return found, found.read_arguments(call.arguments), None
        except ValueError as bad:
            return found, _readable(call.arguments), f"bad arguments for {call.name!r}: {bad}"

    def _tell(self, call_id: str, result: Any, failure: str | None) -> None:
        if call_id in self._running:
            del self._running[call_id]
            self._deliver(ToolCallResult(call_id, result, failure))

    def abandon(self, why: str) -> None:
        """The session ends: every call has its one result now."""
        for call_id in tuple(self._running):
            self._tell(call_id, None, why)

    def reply_done(self, reply_id: str) -> None:
        """A reply has ended: the continuation may be due."""
        self._replies.discard(reply_id)
        self._done.append(reply_id)
        self._continue_if_due()

    def _continue_if_due(self) -> None:
        if self._owes_continuation and not self._open and not self._replies:
            self._owes_continuation = False
            self._spawn(self._go_on())

    async def _run(self, call_id: str, found: Tool | None, arguments: Any, refused: str | None) -> None:
        result, failure = None, refused
        if found is not None and refused is None:
            try:
                result, output = await _execute(found, arguments)
            except _Failed as failed:
                failure = str(failed)
        if failure is not None:
            output = msgspec.json.encode({"error": failure}).decode()
        self._tell(call_id, result, failure)
        try:
            await self._give_back(call_id, output)
        finally:
            self._open.discard(call_id)
        self._owes_continuation = True
        self._continue_if_due()


def _readable(raw: Any) -> Any:
    """Arguments that were refused, decoded where they can be."""
    if isinstance(raw, Mapping):
        return raw
    try:
        return msgspec.json.decode(raw or "{}")
    except (msgspec.DecodeError, TypeError):
        return raw


async def _execute(tool: Tool, arguments: dict[str, Any]) -> tuple[Any, str]:
    """Run a tool: its result, and the same as text for the service."""
    try:
        async with asyncio.timeout(tool.timeout):
            if inspect.iscoroutinefunction(tool.execute):
                result = await tool.execute(**arguments)
            else:
                result = await asyncio.to_thread(tool, **arguments)
                if inspect.isawaitable(result):
                    result = await result
    except TimeoutError:
        logger.warning("tool %r gave no result within %s s", tool.name, tool.timeout)
        raise _Failed(f"{tool.name!r} gave no result within {tool.timeout:g} s") from None
    except (Exception, SystemExit, asyncio.CancelledError) as bad:
        task = asyncio.current_task()
        if isinstance(bad, asyncio.CancelledError) and task is not None and task.cancelling():
            raise  # it is we who are cancelled, not something inside the tool
        logger.exception("tool %r failed", tool.name)
        raise _Failed(f"{tool.name!r} failed") from bad
    try:
        return result, result if isinstance(result, str) else msgspec.json.encode(result).decode()
    except (TypeError, ValueError, msgspec.MsgspecError) as bad:
        logger.exception("the result of tool %r cannot be written as JSON", tool.name)
        raise _Failed(f"{tool.name!r} gave a result that cannot be written as JSON") from bad
