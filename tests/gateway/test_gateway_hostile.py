"""Clients that do what they may not: nothing escapes, others do not notice, nothing is left."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from typing import Any

import pytest
import websockets
from gateways import Client, MemoryChannel, Script, hold
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from vivavoce.testing import Reply
from vivavoce_gateway import Limits

MESSAGES: list[tuple[Any, str]] = [
    ("", "invalid_json"),
    ("{", "invalid_json"),
    ("[]", "invalid_json"),
    ("null", "invalid_json"),
    ("[" * 50_000, "invalid_json"),
    ('{"type":"response.create","response":' + '{"metadata":' * 3000 + "{}" + "}" * 3001, ""),
    ("{}", "missing_required_parameter"),
    ('{"type":7}', "invalid_value"),
    ('{"type":"session.destroy"}', "invalid_value"),
    ('{"type":"input_audio_buffer.append"}', "missing_required_parameter"),
    ('{"type":"input_audio_buffer.append","audio":"***"}', "invalid_value"),
    ('{"type":"input_audio_buffer.append","audio":7}', "invalid_type"),
    ('{"type":"input_audio_buffer.commit"}', "input_audio_buffer_commit_empty"),
    ('{"type":"response.cancel"}', "response_cancel_not_active"),
    ('{"type":"conversation.item.delete","item_id":"x"}', "item_delete_invalid_item_id"),
    ('{"type":"conversation.item.truncate","item_id":"x","content_index":0,"audio_end_ms":-1}', ""),
    ('{"type":"conversation.item.create","item":{"type":"message","role":"user","content":7}}', ""),
    ('{"type":"conversation.item.create","item":{"type":"message","role":"user","content":[7]}}', ""),
    (
        '{"type":"conversation.item.create","item":{"type":"function_call_output","call_id":"x","output":"y"}}',
        "",
    ),
    ('{"type":"response.create","response":{"input":[7]}}', ""),
    ('{"type":"response.create","response":{"input":[{}]}}', ""),
    ('{"type":"response.create","response":{"tool_choice":{"type":"function"}}}', ""),
    ('{"type":"session.update","session":{"type":"realtime","audio":7}}', ""),
    ('{"type":"session.update","session":{"type":"realtime","audio":{"input":{"turn_detection":7}}}}', ""),
    ('{"type":"session.update","session":{"type":"realtime","tools":[7]}}', ""),
    ('{"type":"session.update","session":{}}', "missing_required_parameter"),
    ('{"type":"session.close"}', "invalid_value"),
    (b"\x00\xff", "invalid_event"),
]


@pytest.mark.parametrize(("message", "code"), MESSAGES, ids=[str(m)[:40] for m, _ in MESSAGES])
async def test_wrong_message_is_answered(serve: Any, script: Script, message: Any, code: str) -> None:
    """Every wrong message gets its error, and the session goes on as it was."""
    client = await (await serve(script.config())).open()
    await client.connection.send(message)
    error = (await client.until("error", "response.done"))["error"]
    assert error["type"] == "invalid_request_error"
    if code:
        assert error["code"] == code
    await client.send("response.create")
    assert (await client.until("response.done"))["response"]["status"] == "completed"


@pytest.mark.parametrize("content", [[[7]], ["x"], 7, None, [{"type": []}]], ids=repr)
@pytest.mark.parametrize("beta", [False, True])
async def test_content_where_none_belongs(serve: Any, script: Script, content: Any, beta: bool) -> None:
    """Unknown fields of an item are no reason to refuse it, whatever they hold, nor to end the session."""
    headers = {"OpenAI-Beta": "realtime=v1"} if beta else {}
    client = await (await serve(script.config())).open(official=False, additional_headers=headers)
    item = {"type": "function_call", "id": "call", "name": "look", "arguments": "{}", "content": content}
    await client.send("conversation.item.create", item=item)
    await client.send("conversation.item.retrieve", item_id="call")
    assert (await client.until("conversation.item.retrieved"))["item"]["id"] == "call"
    await client.send("response.create")
    assert (await client.until("response.done"))["response"]["status"] == "completed"


async def test_message_that_is_too_long(serve: Any, script: Script) -> None:
    """A message over the limit closes its own session with 1009; another one goes on."""
    gateway = await serve(script.config(), ws_max_size=100_000)
    other, client = await gateway.open(), await gateway.open()
    with contextlib.suppress(websockets.ConnectionClosed):
        await client.connection.send("x" * 200_000)
    assert (await client.closed())[0] == 1009
    await other.send("response.create")
    assert (await other.until("response.done"))["response"]["status"] == "completed"


async def test_client_that_vanishes_mid_reply(serve: Any, script: Script) -> None:
    """A connection that breaks in the middle of a reply frees its place, and its provider is closed."""
    script.replies = [Reply("long", 60_000, paced=True)]
    gateway = await serve(script.config())
    client = await gateway.open()
    await client.send("response.create")
    await client.until("response.output_audio.delta")
    client.connection.transport.abort()
    async with asyncio.timeout(5):
        while gateway.gateway.sessions or not script.last.called("close"):
            await asyncio.sleep(0.01)
    assert gateway.gateway.places.taken == 0


async def test_items_are_bounded(serve: Any, script: Script) -> None:
    """A client may create so many items; beyond that it is refused, and the session goes on."""
    client = await (await serve(script.config(limits=Limits(items=5)))).open()
    for number in range(7):
        await client.say(f"number {number}")
    assert (await client.until("error"))["error"]["code"] == "item_limit_exceeded"
    assert (await client.until("error"))["error"]["code"] == "item_limit_exceeded"
    await client.send("response.create")
    assert (await client.until("response.done"))["response"]["status"] == "completed"
    assert len(script.last.called("send_text")) == 5


async def test_ten_thousand_items_disturb_nobody(serve: Any, script: Script) -> None:
    """A flood of items from one client; another one's reply comes meanwhile."""
    gateway = await serve(script.config(limits=Limits(items=10_000, events_per_second=100_000)))
    flooding, other = await gateway.open(), await gateway.open()
    part = [{"type": "input_text", "text": "x"}]
    message = json.dumps(
        {"type": "conversation.item.create", "item": {"type": "message", "role": "user", "content": part}}
    )

    async def read() -> None:
        told = 0
        while told < 10_000:
            told += '"conversation.item.done"' in str(await flooding.connection.recv())

    reading = asyncio.create_task(read())
    for _ in range(5_000):
        await flooding.connection.send(message)
    await other.send("response.create")
    assert (await other.until("response.done"))["response"]["status"] == "completed"
    for _ in range(5_000):
        await flooding.connection.send(message)
    async with asyncio.timeout(30):
        await reading


# Generated messages: right ones, wrong ones, and those in between.

_ids = st.sampled_from(["item_1", "resp_1", "", "x" * 40, "root"])
_text = st.text(max_size=20)
_audio = st.binary(max_size=2000).map(lambda b: base64.b64encode(b).decode()) | _text
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | _text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_text, inner, max_size=3),
    max_leaves=6,
)
_part = st.fixed_dictionaries(
    {"type": st.sampled_from(["input_text", "input_audio", "output_text", "input_image", "x"])},
    optional={"text": _text | _json, "audio": _audio, "image_url": _text},
)
_item = st.fixed_dictionaries(
    {
        "type": st.sampled_from(
            ["message", "function_call", "function_call_output", "mcp_call", "item_reference", "x"]
        )
    },
    optional={
        "id": _ids | _json,
        "role": st.sampled_from(["user", "assistant", "system", "x"]),
        "content": st.lists(_part | _json, max_size=2) | _json,
        "call_id": _text,
        "name": _text,
        "arguments": _text | _json,
        "output": _text,
    },
)
_tool = st.fixed_dictionaries(
    {"type": st.sampled_from(["function", "mcp"])}, optional={"name": _text, "parameters": _json}
)
_format = st.fixed_dictionaries(
    {"type": st.sampled_from(["audio/pcm", "audio/pcmu", "audio/pcma", "x"])},
    optional={"rate": st.integers(0, 48_000)},
)
_turns = st.none() | st.fixed_dictionaries(
    {"type": st.sampled_from(["server_vad", "semantic_vad", "x"])},
    optional={
        "threshold": st.floats(-1, 2),
        "silence_duration_ms": st.integers(-1, 70_000),
        "prefix_padding_ms": st.integers(-1, 70_000),
        "idle_timeout_ms": st.none() | st.integers(0, 40_000),
        "eagerness": st.sampled_from(["low", "medium", "high", "auto", "x"]),
        "create_response": st.booleans(),
        "interrupt_response": st.booleans(),
    },
)
_settings = st.fixed_dictionaries(
    {"type": st.sampled_from(["realtime", "transcription"])},
    optional={
        "instructions": _text | _json,
        "tools": st.lists(_tool, max_size=2) | _json,
        "tool_choice": st.sampled_from(["auto", "none", "required"]) | _json,
        "output_modalities": st.sampled_from([["audio"], ["text"], ["x"], []]),
        "max_output_tokens": st.sampled_from(["inf", 1, 4096, 0, "x"]),
        "audio": st.fixed_dictionaries(
            {},
            optional={
                "input": st.fixed_dictionaries(
                    {}, optional={"format": _format, "turn_detection": _turns, "transcription": _json}
                ),
                "output": st.fixed_dictionaries(
                    {}, optional={"format": _format, "voice": _text, "speed": st.floats(0, 2)}
                ),
            },
        )
        | _json,
    },
)
_response = st.fixed_dictionaries(
    {},
    optional={
        "conversation": st.sampled_from(["auto", "none", "x"]),
        "input": st.lists(_item | _json, max_size=2) | _json,
        "instructions": _text,
        "metadata": _json,
        "tools": st.lists(_tool, max_size=2),
        "output_modalities": st.sampled_from([["audio"], ["text"]]),
        "max_output_tokens": st.sampled_from(["inf", 1, 50]),
    },
)


def _event(name: str, **fields: Any) -> Any:
    return st.fixed_dictionaries({"type": st.just(name)}, optional={"event_id": _text | _json, **fields})


_events = st.one_of(
    _event("session.update", session=_settings | _json),
    _event("input_audio_buffer.append", audio=_audio),
    _event("input_audio_buffer.commit"),
    _event("input_audio_buffer.clear"),
    _event("conversation.item.create", item=_item | _json, previous_item_id=_ids),
    _event("conversation.item.retrieve", item_id=_ids),
    _event("conversation.item.delete", item_id=_ids),
    _event(
        "conversation.item.truncate",
        item_id=_ids,
        content_index=st.integers(-1, 2),
        audio_end_ms=st.integers(-1, 9999),
    ),
    _event("response.create", response=_response | _json),
    _event("response.cancel", response_id=_ids),
    st.dictionaries(_text, _json, max_size=3),
)


@pytest.mark.property
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(_events, max_size=12), st.booleans())
def test_no_message_harms_a_session(events: list[Any], beta: bool) -> None:
    """Whatever a client sends, right or wrong: no exception escapes, every answer is an official event, and the session
    answers the next right request."""

    async def converse() -> None:
        script, channel = Script(), MemoryChannel(official=not beta)
        session = hold(script, channel, beta=beta or None)
        for event in events:
            channel.say(event.get("type", ""), **{k: v for k, v in event.items() if k != "type"})
        channel.say("response.cancel")
        channel.say("input_audio_buffer.clear")
        async with asyncio.timeout(100):
            await channel.until("input_audio_buffer.cleared")
            channel.say("response.create", response={"conversation": "none", "input": []})
            await channel.until("response.done")
            channel.leave()
            assert await session == "client"
            assert [
                e for e in channel.sent if e["type"] == "error" and e["error"]["code"] == "server_error"
            ] == []

    with contextlib.closing(asyncio.new_event_loop()) as loop:
        problems: list[Any] = []
        loop.set_exception_handler(lambda _, context: problems.append(context))
        loop.run_until_complete(converse())
        assert problems == []


async def test_sessions_do_not_hear_each_other(serve: Any, script: Script) -> None:
    """Ten sessions at once, each with its own words: every client gets its own reply."""
    script.replies = [Reply(f"reply {number}", 20) for number in range(10)]
    gateway = await serve(script.config())
    clients = [await gateway.open() for _ in range(10)]

    async def converse(client: Client, number: int) -> None:
        await client.say(f"words {number}")
        await client.send("response.create")
        await client.until("response.done")

    await asyncio.gather(*(converse(client, number) for number, client in enumerate(clients)))
    for number, provider in enumerate(script.made):
        assert [call.args[0] for call in provider.called("send_text")] == [f"words {number}"]
