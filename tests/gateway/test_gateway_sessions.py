"""A session's events, one request at a time, with a provider that does what the test says."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from gateways import Client, Script
from vivavoce.errors import ConfigError, ConnectError, ConnectionLostError, ProviderError
from vivavoce.events import Usage, Writing
from vivavoce.provider import CAPABILITIES
from vivavoce.testing import Reply, Step
from vivavoce_gateway import GatewayConfig

SPOKEN = [
    "response.created",
    "response.output_item.added",
    "conversation.item.added",
    "response.content_part.added",
    "response.output_audio_transcript.delta",
    "response.output_audio.delta",
    "response.output_audio.done",
    "response.output_audio_transcript.done",
    "response.content_part.done",
    "conversation.item.done",
    "response.output_item.done",
    "response.done",
    "rate_limits.updated",
]
MANUAL = {"audio": {"input": {"turn_detection": None}}}


def b64(audio: bytes) -> str:
    return base64.b64encode(audio).decode()


def spoken_bytes(client: Client) -> bytes:
    return b"".join(
        base64.b64decode(event["delta"])
        for event in client.seen
        if event["type"] == "response.output_audio.delta"
    )


async def test_session_is_introduced_whole(serve: Any, script: Script) -> None:
    """`session.created` comes by itself, with every setting and when the session ends."""
    gateway = await serve(script.config())
    client = await gateway.open()
    session = client.seen[0]["session"]
    assert (session["type"], session["object"], session["model"]) == (
        "realtime",
        "realtime.session",
        "gpt-realtime",
    )
    assert session["audio"]["input"]["turn_detection"]["type"] == "server_vad"
    assert session["audio"]["output"]["format"] == {"type": "audio/pcm", "rate": 24_000}
    assert session["expires_at"] > 1_700_000_000


async def test_text_turn_is_answered_in_order(serve: Any, script: Script) -> None:
    """A text message and a request: the reply's events in the service's order, its audio whole."""
    script.replies = [Reply("Nearly noon.", 200)]
    client = await (await serve(script.config())).open()
    await client.say("What time is it?")
    await client.send("response.create")
    done = await client.until("rate_limits.updated")
    assert done["rate_limits"] == []
    assert client.types("response.created") == SPOKEN
    assert client.types()[1:3] == ["conversation.item.added", "conversation.item.done"]
    assert spoken_bytes(client) == bytes(script.last.spoken)
    assert [call.args for call in script.last.called("send_text")] == [("What time is it?", "user")]
    response = client.seen[-2]["response"]
    assert response["status"] == "completed"
    assert response["output"][0]["content"] == [{"type": "output_audio", "transcript": "Nearly noon."}]
    assert response["usage"]["output_token_details"]["audio_tokens"] == 4


async def test_written_reply_has_text_alone(serve: Any, script: Script) -> None:
    """`output_modalities: ["text"]`: text events, no audio, and the provider is asked for text."""
    script.replies = [Reply("Noon.", 0)]
    client = await (await serve(script.config())).open()
    await client.send(
        "response.create",
        response={"output_modalities": ["text"], "metadata": {"a": "b"}, "instructions": None},
    )
    done = await client.until("response.done")
    assert done["response"]["output"][0]["content"] == [{"type": "output_text", "text": "Noon."}]
    assert done["response"]["metadata"] == {"a": "b"}
    assert "response.output_text.delta" in client.types()
    assert script.last.called("answer")[0].args == ({"text_only": True},)


async def test_manual_turn_reaches_the_provider_bit_for_bit(serve: Any, script: Script) -> None:
    """Without turn detection the client commits; the provider gets exactly that audio, then the request."""
    client = await (await serve(script.config())).open()
    await client.configure(**MANUAL)
    audio = bytes(range(256)) * 30
    for start in range(0, len(audio), 960):
        await client.send("input_audio_buffer.append", audio=b64(audio[start : start + 960]))
    await client.send("input_audio_buffer.commit")
    item = (await client.until("conversation.item.done"))["item"]
    assert client.types("input_audio_buffer.committed") == [
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
    ]
    await client.send("conversation.item.retrieve", item_id=item["id"])
    kept = await client.until("conversation.item.retrieved")
    assert base64.b64decode(kept["item"]["content"][0]["audio"]) == audio
    assert bytes(script.last.heard) == audio
    await client.send("response.create")
    await client.until("response.done")
    assert [call.hook for call in script.last.calls if call.hook in ("commit_input", "answer")] == [
        "commit_input",
        "answer",
    ]


async def test_transcript_belongs_to_its_item(serve: Any, script: Script) -> None:
    """The provider's transcript arrives under the id of the item that the client was told, if it asked for one."""
    client = await (await serve(script.config())).open()
    await client.configure(audio={"input": {"turn_detection": None, "transcription": {"model": "whisper-1"}}})
    await client.send("input_audio_buffer.append", audio=b64(bytes(9600)))
    await client.send("input_audio_buffer.commit")
    item = (await client.until("input_audio_buffer.committed"))["item_id"]
    await client.nothing()
    script.last.context.emit(Writing("hello", "user", "user-1", final=True))
    told = await client.until("conversation.item.input_audio_transcription.completed")
    assert (told["item_id"], told["transcript"]) == (item, "hello")
    assert told["usage"] == {"type": "duration", "seconds": 0.2}


@pytest.mark.parametrize("kind", ["audio/pcmu", "audio/pcma"])
async def test_g711_both_ways(serve: Any, script: Script, kind: str) -> None:
    """µ-law and A-law: 8 kHz, one byte a sample, converted for the provider and back."""
    script.replies = [Reply("ok", 1000)]
    client = await (await serve(script.config())).open()
    answer = await client.configure(
        audio={
            "input": {"format": {"type": kind}, "turn_detection": None},
            "output": {"format": {"type": kind}},
        }
    )
    assert answer["session"]["audio"]["output"]["format"] == {"type": kind}
    await client.send("input_audio_buffer.append", audio=b64(b"\xd5" * 8000))
    await client.send("input_audio_buffer.commit")
    await client.send("response.create")
    await client.until("response.done")
    assert len(script.last.heard) == 48_000  # one second at 24 kHz
    assert len(spoken_bytes(client)) == 8_000


async def test_function_call_goes_to_the_client_and_back(serve: Any, script: Script) -> None:
    """A call is told as an item; its output goes to the provider; the continuation comes when the client asks."""
    script.replies = [Reply("", 0, tool_calls=[("dim", '{"room":"kitchen"}')]), Reply("Done.", 20)]
    client = await (await serve(script.config())).open()
    tool = {"type": "function", "name": "dim", "parameters": {"type": "object", "properties": {}}}
    await client.configure(tools=[tool])
    await client.send("response.create")
    done = await client.until("rate_limits.updated")
    call = client.seen[-2]["response"]["output"][0]
    assert (call["type"], call["name"], json.loads(call["arguments"])) == (
        "function_call",
        "dim",
        {"room": "kitchen"},
    )
    output = {"type": "function_call_output", "call_id": call["call_id"], "output": '{"ok":true}'}
    await client.send("conversation.item.create", item=output)
    assert await client.nothing() == ["conversation.item.added", "conversation.item.done"]
    assert done["type"] == "rate_limits.updated"
    assert script.last.tool_results == {call["call_id"]: '{"ok":true}'}
    assert len(script.last.called("answer")) == 1
    await client.send("response.create")
    assert (await client.until("response.done"))["response"]["output"][0]["content"][0][
        "transcript"
    ] == "Done."


async def test_tools_of_one_response(serve: Any, script: Script) -> None:
    """Tools given with a request are for that response: its calls reach the client, later requests are without them."""
    script.replies = [Reply("", 0, tool_calls=[("once", "{}")]), Reply("ok", 0)]
    client = await (await serve(script.config())).open()
    await client.send("response.create", response={"tools": [{"type": "function", "name": "once"}]})
    done = await client.until("response.done")
    assert done["response"]["output"][0]["name"] == "once"
    await client.send("response.create")
    await client.until("response.done")
    first, second = (call.args[0] for call in script.last.called("answer"))
    assert [tool.name for tool in first["tools"]] == ["once"]
    assert [tool.name for tool in second["tools"]] == []
    assert script.last.tool_results == {}


async def test_cancel_ends_the_response_at_once(serve: Any, script: Script) -> None:
    """`response.cancel`: the items end incomplete, the provider stops, and what it still says is dropped."""
    script.replies = [Reply("long", 500, hold=True)]
    client = await (await serve(script.config())).open()
    await client.send("response.create")
    await client.until("response.output_audio_transcript.delta")
    await client.send("response.cancel")
    done = await client.until("response.done")
    assert done["response"]["status"] == "cancelled"
    assert done["response"]["status_details"] == {"type": "cancelled", "reason": "client_cancelled"}
    assert done["response"]["output"][0]["status"] == "incomplete"
    await client.until("rate_limits.updated")
    assert await client.nothing() == []
    assert len(script.last.called("interrupt")) == 1
    await client.send("response.create")
    assert (await client.until("response.done"))["response"]["status"] == "completed"


async def test_second_response_is_refused_while_one_is_active(serve: Any, script: Script) -> None:
    """One response at a time in the conversation; one beside it is allowed."""
    script.replies = [Reply("first", 20, hold=True), Reply("aside", 0, out_of_band=True)]
    client = await (await serve(script.config())).open()
    await client.send("response.create")
    await client.until("response.output_audio_transcript.delta")
    await client.send("response.create", event_id="mine")
    refused = await client.until("error")
    assert refused["error"]["code"] == "conversation_already_has_active_response"
    assert refused["error"]["event_id"] == "mine"
    await client.send(
        "response.create", response={"conversation": "none", "output_modalities": ["text"], "input": []}
    )
    aside = await client.until("response.done")
    assert aside["response"]["conversation_id"] is None
    assert script.last.called("answer")[1].args[0] == {"text_only": True, "input": [], "out_of_band": True}
    script.last.finish("response-1")
    assert (await client.until("response.done"))["response"]["status"] == "completed"


async def test_truncate_tells_the_provider_what_was_heard(serve: Any, script: Script) -> None:
    """After the reply the client truncates what it did not play; the provider's memory is cut there."""
    script.replies = [Reply("a b c d", 1000)]
    client = await (await serve(script.config())).open()
    await client.send("response.create")
    done = await client.until("rate_limits.updated")
    item = client.seen[-2]["response"]["output"][0]["id"]
    await client.send("conversation.item.truncate", item_id=item, content_index=0, audio_end_ms=400)
    await client.until("conversation.item.truncated")
    await client.nothing()
    (cut,) = script.last.called("interrupt")[0].args[0].cuts
    assert (done["type"], cut.played_ms, cut.received_ms) == ("rate_limits.updated", 400, 1000)
    await client.send("conversation.item.truncate", item_id=item, content_index=0, audio_end_ms=900)
    assert "already shorter" in (await client.until("error"))["error"]["message"]


async def test_edited_conversation_is_told_whole(serve: Any, script: Script) -> None:
    """After a deletion or an insertion the provider is given the conversation as the client has it now."""
    script.replies = [Reply("first answer", 20), Reply("second answer", 20)]
    client = await (await serve(script.config())).open()
    for text in ("one", "two"):
        await client.say(text)
    first = (await client.until("conversation.item.done"))["item"]["id"]
    await client.until("conversation.item.done")
    await client.send("response.create")
    await client.until("response.done")
    assert "input" not in script.last.called("answer")[0].args[0]
    await client.send("conversation.item.delete", item_id=first)
    part = {"type": "input_text", "text": "be kind"}
    item = {"type": "message", "role": "system", "content": [part]}
    await client.send("conversation.item.create", item=item, previous_item_id="root")
    await client.send("response.create")
    await client.until("response.done")
    told = script.last.called("answer")[1].args[0]["input"]
    assert [(item.role, item.text) for item in told] == [
        ("system", "be kind"),
        ("user", "two"),
        ("assistant", "first answer"),
    ]


async def test_longest_response_is_kept(serve: Any, script: Script) -> None:
    """`max_output_tokens` ends a reply as incomplete, whatever the provider knows of it."""
    script.replies = [Reply("", 10_000, hold=True)]
    client = await (await serve(script.config())).open()
    await client.send("response.create", response={"max_output_tokens": 20})
    done = await client.until("response.done")
    assert done["response"]["status_details"] == {"type": "incomplete", "reason": "max_output_tokens"}
    assert 960 <= len(spoken_bytes(client)) / 48 <= 1100


async def test_transcription_session_gives_no_responses(serve: Any) -> None:
    """`intent=transcription`: committed turns are transcribed; a response is refused."""
    script = Script(CAPABILITIES - {"vad"})
    client = await (await serve(script.config())).open("?intent=transcription")
    assert client.seen[0]["session"]["type"] == "transcription"
    await client.send(
        "session.update",
        session={
            "type": "transcription",
            "audio": {"input": {"turn_detection": None, "transcription": {"model": "x"}}},
        },
    )
    await client.until("session.updated")
    await client.send("input_audio_buffer.append", audio=b64(bytes(9600)))
    await client.send("input_audio_buffer.commit")
    await client.nothing()
    script.last.context.emit(Writing("one", "user", "user-1", final=True))
    await client.until("conversation.item.input_audio_transcription.completed")
    await client.send("response.create")
    assert (await client.until("error"))["error"]["code"] == "invalid_value"
    assert script.last.called("answer") == []


async def test_flat_beta_session(serve: Any, script: Script) -> None:
    """A client that speaks the flat beta shape is answered in it."""
    script.replies = [Reply("ok", 40)]
    client = await (await serve(script.config())).dial(
        official=False, additional_headers={"OpenAI-Beta": "realtime=v1"}
    )
    created = await client.next()
    assert created["session"]["modalities"] == ["text", "audio"] or created["session"]["modalities"] == [
        "audio"
    ]
    await client.send("session.update", session={"turn_detection": None, "input_audio_format": "g711_ulaw"})
    updated = await client.until("session.updated")
    assert (updated["session"]["turn_detection"], updated["session"]["input_audio_format"]) == (
        None,
        "g711_ulaw",
    )
    await client.send("response.create")
    await client.until("response.done")
    assert "response.audio.delta" in client.types()
    assert "conversation.item.created" in client.types()


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    (
        "conversation.item.create",
        {
            "item": {
                "type": "message",
                "role": "user",
                "content": [{"type": "input_image", "image_url": "data:image/png;base64,AAAA"}],
            }
        },
        "item.content[0].type",
    ),
    (
        "session.update",
        {"session": {"type": "realtime", "tools": [{"type": "mcp", "server_label": "x"}]}},
        "session.tools[0].type",
    ),
    (
        "session.update",
        {"session": {"type": "realtime", "audio": {"output": {"voice": "nobody"}}}},
        "session.audio.output.voice",
    ),
    (
        "session.update",
        {"session": {"type": "realtime", "audio": {"output": {"speed": 1.5}}}},
        "session.audio.output.speed",
    ),
    ("session.update", {"session": {"type": "realtime", "prompt": {"id": "p"}}}, "session.prompt"),
    ("session.update", {"session": {"type": "realtime", "nonsense": 1}}, "session.nonsense"),
    (
        "response.create",
        {"response": {"tools": [{"type": "function", "name": "a b"}]}},
        "response.tools[0].name",
    ),
    (
        "response.create",
        {"response": {"input": [{"type": "item_reference", "id": "x"}]}},
        "response.input[0].id",
    ),
]


@pytest.mark.parametrize(("event", "fields", "param"), REFUSED, ids=[entry[2] for entry in REFUSED])
async def test_what_the_provider_cannot_do_is_refused(
    serve: Any, script: Script, event: str, fields: dict[str, Any], param: str
) -> None:
    """Never silence: an error that names the field, nothing changed, the session goes on."""
    client = await (await serve(script.config())).open()
    before = client.seen[0]["session"]
    await client.send(event, event_id="e1", **fields)
    error = (await client.until("error"))["error"]
    assert (error["param"], error["event_id"], error["type"]) == (param, "e1", "invalid_request_error")
    assert (await client.configure(instructions=""))["session"] == before


async def test_openai_voices_are_taken_and_the_providers_own(serve: Any, script: Script) -> None:
    """A voice of OpenAI's is spoken by the default one, a mapped or own one by itself."""
    client = await (await serve(script.config(voices={"marin": "alma"}))).open()
    for name, speaker in (("alloy", None), ("bruno", "bruno"), ("marin", "alma")):
        answer = await client.configure(audio={"output": {"voice": name}})
        assert answer["session"]["audio"]["output"]["voice"] == name
        await client.nothing()
        told = script.last.called("update_config")
        assert (told[-1].args[0].get("speaker") if told else None) == speaker


async def test_provider_that_cannot_connect(serve: Any, script: Script) -> None:
    """The client is told, without the provider's address, and the connection ends with 1011."""
    script.script = {"connect": [ConnectError("no route to internal.example:9000", code="refused")]}
    client = await (await serve(script.config())).dial()
    code, reason = await client.closed()
    assert code == 1011
    assert client.seen[0]["error"]["code"] == "refused"
    assert "internal.example" not in json.dumps(client.seen) + reason


async def test_provider_without_its_key(serve: Any, script: Script, caplog: Any) -> None:
    """The client is told that the provider is not set up; what is missing is in the log, for who runs the gateway."""
    script.script = {"connect": [ConfigError("no key: set PROVIDER_KEY", option="api_key")]}
    client = await (await serve(script.config())).dial()
    assert (await client.closed())[0] == 1011
    error = client.seen[0]["error"]
    assert (error["code"], "PROVIDER_KEY" in error["message"]) == ("provider_unusable", False)
    (record,) = [record for record in caplog.records if record.message == "the provider did not connect"]
    assert "PROVIDER_KEY" in record.why


async def test_refusal_of_the_provider_fails_the_response(serve: Any, script: Script) -> None:
    """What the provider refuses ends as a failed response; the next one works."""
    script.script = {"answer": [ProviderError("too much of sk-abcdefghijkl", code="quota")]}
    client = await (await serve(script.config())).open()
    await client.send("response.create")
    done = await client.until("response.done")
    assert done["response"]["status"] == "failed"
    assert done["response"]["status_details"]["error"]["code"] == "quota"
    assert "abcdefghijkl" not in json.dumps(client.seen)
    await client.send("response.create")
    assert (await client.until("response.done"))["response"]["status"] == "completed"


async def test_lost_provider_ends_the_session(serve: Any, script: Script) -> None:
    """A provider that is gone for good: an error, then 1011."""
    script.script = {"send_text": Step(loses=ProviderError("gone", code="gone"))}
    client = await (await serve(script.config())).open()
    await client.say("hello")
    code, _ = await client.closed()
    assert code == 1011
    assert [event["error"]["code"] for event in client.seen if event["type"] == "error"][
        -1
    ] == "provider_lost"


async def test_provider_that_comes_back(serve: Any, script: Script) -> None:
    """A lost provider that can be reached again: the reply under way fails, the session goes on with what was said."""
    script.replies = [Reply("long", 100, hold=True), Reply("again", 20)]
    client = await (await serve(script.config())).open()
    await client.say("hello")
    await client.send("response.create")
    await client.until("response.output_audio.delta")
    script.last.lose(ConnectionLostError("broken", retryable=True))
    done = await client.until("response.done")
    assert done["response"]["status"] == "failed"
    assert done["response"]["status_details"]["error"]["code"] == "provider_lost"
    await client.send("response.create")
    assert (await client.until("response.done"))["response"]["status"] == "completed"
    assert [item.text for item in script.last.context.session.history if item.role == "user"] == ["hello"]


async def test_usage_of_the_provider_is_told(serve: Any, script: Script) -> None:
    """Tokens that the provider counts are in the response's usage, also those it tells beside it."""
    script.replies = [Reply("ok", 0, hold=True)]
    client = await (await serve(script.config())).open()
    await client.send("response.create")
    await client.until("response.output_audio_transcript.delta")
    script.last.context.emit(Usage(input_audio_tokens=7, cached_text_tokens=2, input_text_tokens=3))
    script.last.finish("response-1")
    usage = (await client.until("response.done"))["response"]["usage"]
    assert (usage["input_tokens"], usage["input_token_details"]["cached_tokens"]) == (10, 2)


async def test_one_gateway_serves_several_providers(serve: Any, script: Script) -> None:
    """Model names lead where the config says; others of OpenAI's to the default; unknown ones nowhere."""
    other = Script()
    config = GatewayConfig(provider=other.provider, models={"mine": script.config().models["gpt-realtime"]})
    gateway = await serve(config)
    await gateway.open("?model=mine")
    await gateway.open("?model=gpt-realtime-2.1")
    assert (len(script.made), len(other.made)) == (1, 1)
    client = await gateway.dial("?model=elsewhere")
    assert await client.closed() == (4000, "invalid_request_error.invalid_model")
