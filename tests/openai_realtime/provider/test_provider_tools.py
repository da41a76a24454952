"""Tools over the wire: one output a call, one continuation when all are in, never beside another reply."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from openai_realtime.provider.service import PCM_20_MS, Heard, Line, Service, speak
from vivavoce import Voice, tool
from vivavoce_openai_realtime.protocol import client_events as wire

pytestmark = [pytest.mark.virtual_clock, pytest.mark.usefixtures("no_leaks")]


@tool
async def slow(name: str) -> str:
    """Takes two seconds."""
    await asyncio.sleep(2)
    return f"slow {name}"


@tool
async def quick(name: str) -> dict[str, str]:
    """Takes no time."""
    return {"quick": name}


@tool
async def broken() -> str:
    """Fails."""
    raise RuntimeError("the secret of the database")


async def connected(service: Service) -> tuple[Voice, Heard, Line]:
    voice, heard = service.voice(tools=[slow, quick, broken])
    voice.on("speaking", lambda event: None)
    await voice.connect()
    return voice, heard, service.lines[-1]


async def call(line: Line, *calls: tuple[str, str], spoken: bool = False, end: bool = True) -> None:
    """A reply with these calls: (tool, arguments)."""
    line.protocol.begin_response()
    if spoken:
        line.protocol.audio(PCM_20_MS)
        line.protocol.text("Let me see.")
    for number, (name, arguments) in enumerate(calls):
        line.protocol.function_call(name, arguments, f"call_{number}")
    if end:
        line.protocol.finish_response()
    await line.flush()


def outputs(line: Line) -> dict[str, Any]:
    items = [event["item"] for event in line.sent("conversation.item.create")]
    return {item["call_id"]: item["output"] for item in items if item["type"] == "function_call_output"}


async def test_parallel_calls_and_one_continuation() -> None:
    """Two calls run at once; when both outputs are acknowledged one reply is asked for."""
    async with Service() as service:
        voice, heard, line = await connected(service)
        service.replies.append("Both done.")
        await call(line, ("slow", '{"name":"a"}'), ("slow", '{"name":"b"}'), ("quick", '{"name":"c"}'))
        turn = await heard.until("turn")
        assert asyncio.get_running_loop().time() == pytest.approx(2, abs=0.1)
        assert outputs(line) == {"call_2": '{"quick":"c"}', "call_0": "slow a", "call_1": "slow b"}
        assert line.types() == ["session.update", "conversation.item.create", "response.create"]
        assert len(line.sent("response.create")) == 1
        assert turn.text == "Both done."
        started = [(e.call_id, e.name, e.arguments) for e in heard.all("tool-call-start")]
        assert started == [
            ("call_0", "slow", {"name": "a"}),
            ("call_1", "slow", {"name": "b"}),
            ("call_2", "quick", {"name": "c"}),
        ]
        assert {e.call_id: e.result for e in heard.all("tool-call-result")} == {
            "call_0": "slow a",
            "call_1": "slow b",
            "call_2": {"quick": "c"},
        }
        assert [item.type for item in voice.history].count("tool_result") == 3


async def test_continuation_waits_for_the_end_of_the_reply() -> None:
    """A call that is done before its reply is: no continuation until `response.done`."""
    async with Service() as service:
        _, heard, line = await connected(service)
        await call(line, ("quick", '{"name":"a"}'), end=False)
        await heard.until("tool-call-result")
        await line.until("conversation.item.create")
        await asyncio.sleep(5)
        assert line.sent("response.create") == []
        line.protocol.finish_response()
        await line.flush()
        await line.until("response.create")


async def test_continuation_waits_for_another_reply() -> None:
    """The user spoke meanwhile and the service answers: the continuation comes after that reply."""
    async with Service() as service:
        _, heard, line = await connected(service)
        await call(line, ("slow", '{"name":"a"}'))
        line.protocol.begin_response()
        line.protocol.audio(PCM_20_MS)
        await line.flush()
        await line.until("conversation.item.create")
        await asyncio.sleep(5)
        assert line.sent("response.create") == []
        line.protocol.finish_response()
        await line.flush()
        await line.until("response.create")
        assert heard.all("error") == []


async def test_reply_that_crosses_ours() -> None:
    """The service begins a reply while our `response.create` is on its way: refused, and asked again afterwards."""
    async with Service() as service:
        voice, heard, line = await connected(service)
        service.replies.append("First")  # by which the service shows that it keeps our marks
        await (await voice.answer()).done()
        task = asyncio.ensure_future(voice.answer())
        line.protocol.begin_response()
        line.protocol.audio(PCM_20_MS)
        await line.until("response.create", 2)
        await heard.until("response.created", 2)
        assert not task.done()
        line.protocol.finish_response()
        await line.flush()
        event = await line.until("response.create", 3)
        mine = line.protocol.begin_response(wire.ResponseCreate(response=event["response"]))
        line.protocol.text("Now")
        line.protocol.finish_response()
        await line.flush()
        assert await (await task).text() == "Now"
        assert (await task).id == mine
        assert heard.all("error") == []


async def test_refused_reply_that_ended_in_the_same_moment() -> None:
    """The refusal and the end of the reply in the way come in one packet: asked again, not waited for without end."""
    async with Service() as service:
        voice, heard, line = await connected(service)
        service.replies.append("First")
        await (await voice.answer()).done()
        line.deaf.add("response.create")
        task = asyncio.ensure_future(voice.answer())
        event = await line.until("response.create", 2)
        detail = {
            "type": "invalid_request_error",
            "code": "conversation_already_has_active_response",
            "message": "Conversation already has an active response in progress: resp_x",
            "param": None,
            "event_id": event["event_id"],
        }
        begun = {"id": "resp_x", "status": "in_progress", "output": []}
        frames = [
            {"type": "response.created", "response": begun},
            {"type": "error", "error": detail},
            {"type": "response.done", "response": {**begun, "status": "completed"}},
        ]
        for frame in frames:
            line.peer._protocol.send_text(json.dumps(frame).encode())
        await line.peer._flush()
        line.deaf.clear()
        service.replies.append("Now")
        assert await (await task).text() == "Now"
        assert asyncio.get_running_loop().time() < 1
        assert heard.all("error") == []


async def test_failures_have_outputs_too() -> None:
    """Unknown tools, bad arguments and exceptions: each call has its output, and nothing of the exception's text."""
    async with Service() as service:
        _, heard, line = await connected(service)
        await call(
            line, ("nothing", "{}"), ("quick", '{"nam":1}'), ("quick", "{oops"), ("broken", ""), spoken=True
        )
        await line.until("response.create")
        told = outputs(line)
        assert sorted(told) == ["call_0", "call_1", "call_2", "call_3"]
        assert all(set(json.loads(output)) == {"error"} for output in told.values())
        assert "secret" not in str(told)
        assert len(line.sent("response.create")) == 1
        assert all(event.error for event in heard.all("tool-call-result"))


async def test_call_told_only_at_the_end() -> None:
    """A service that tells of a call nowhere but in `response.done`."""
    done = {
        "id": "resp_x",
        "status": "completed",
        "output": [
            {
                "id": "fc_1",
                "type": "function_call",
                "status": "completed",
                "call_id": "call_x",
                "name": "quick",
                "arguments": '{"name":"z"}',
            }
        ],
    }
    async with Service() as service:
        _, _, line = await connected(service)
        line.deaf.add("conversation.item.create")
        await line.say("response.created", response={"id": "resp_x", "status": "in_progress"})
        await line.say("response.done", response=done)
        event = await line.until("conversation.item.create")
        assert (event["item"]["call_id"], event["item"]["output"]) == ("call_x", '{"quick":"z"}')


async def test_call_of_a_reply_that_was_cut() -> None:
    """The user interrupts a reply that had called: the call has its output all the same."""
    async with Service() as service:
        _, heard, line = await connected(service)
        await call(line, ("slow", '{"name":"a"}'), spoken=True, end=False)
        await heard.until("tool-call-start")
        line.protocol.speech_started(0)
        line.protocol.finish_response("cancelled", "turn_detected")
        await line.flush()
        await line.until("conversation.item.create")
        assert outputs(line) == {"call_0": "slow a"}


async def test_result_does_not_reach_a_later_session() -> None:
    """A tool that was running when the session was lost has failed, once, and answers nobody later."""
    async with Service() as service:
        voice, heard, line = await connected(service)
        await call(line, ("slow", '{"name":"a"}'))
        await heard.until("tool-call-start")
        line.peer.drop()
        await heard.until("close")
        await voice.connect()
        await asyncio.sleep(10)
        assert list(outputs(service.lines[1])) == ["call_0"]
        assert "lost" in outputs(service.lines[1])["call_0"]
        (told,) = heard.all("tool-call-result")
        assert (told.result, "lost" in told.error) == (None, True)


async def test_tools_that_the_service_runs() -> None:
    """MCP events reach the app as they are; no call of ours runs, and nothing is an error."""
    async with Service() as service:
        voice, heard, line = await connected(service)
        raw: list[Any] = []
        voice.on("openai-realtime:*", lambda message: raw.append(message["type"]))
        sent = [
            ("mcp_list_tools.in_progress", {"item_id": "mcpl_1"}),
            ("mcp_list_tools.completed", {"item_id": "mcpl_1"}),
            (
                "response.mcp_call_arguments.delta",
                {"response_id": "resp_1", "item_id": "m", "output_index": 0, "delta": "{"},
            ),
            (
                "response.mcp_call_arguments.done",
                {"response_id": "resp_1", "item_id": "m", "output_index": 0, "arguments": "{}"},
            ),
            ("response.mcp_call.in_progress", {"item_id": "m", "output_index": 0}),
            ("response.mcp_call.completed", {"item_id": "m", "output_index": 0}),
            (
                "conversation.item.added",
                {
                    "item": {
                        "id": "m",
                        "type": "mcp_call",
                        "server_label": "docs",
                        "name": "search",
                        "arguments": "{}",
                    }
                },
            ),
        ]
        for type, fields in sent:
            await line.say(type, **fields)
        speak(line, "Found it.")
        await line.flush()
        assert (await heard.until("turn")).text == "Found it."
        assert raw[: len(sent)] == [type for type, _ in sent]
        assert heard.all("tool-call-start") == heard.all("error") == []
