"""What a server of the protocol has to keep, rule by rule: each is one sentence, said by one exchange."""

from __future__ import annotations

import base64
import logging
from typing import Any

import pytest
from gateways import Client, Script
from vivavoce.events import Writing
from vivavoce.testing import Reply

MANUAL = {"audio": {"input": {"turn_detection": None, "transcription": {"model": "whisper-1"}}}}
PCM_100_MS = bytes(4800)


def b64(audio: bytes) -> str:
    return base64.b64encode(audio).decode()


def message(id: str | None = None, text: str = "hello", role: str = "user") -> dict[str, Any]:
    part = {"type": "output_text" if role == "assistant" else "input_text", "text": text}
    item = {"type": "message", "role": role, "content": [part]}
    return item if id is None else {**item, "id": id}


@pytest.fixture
async def client(serve: Any, script: Script) -> Client:
    script.replies = [Reply("one two three", 500)]
    opened: Client = await (await serve(script.config())).open()
    return opened


async def error(client: Client, type: str, **fields: Any) -> dict[str, Any]:
    """What is answered to an event that is wrong."""
    await client.send(type, **fields)
    found = await client.next()
    assert found["type"] == "error", found
    detail: dict[str, Any] = found["error"]
    return detail


async def answered(client: Client, **response: Any) -> dict[str, Any]:
    await client.send("response.create", **({"response": response} if response else {}))
    done: dict[str, Any] = (await client.until("response.done"))["response"]
    await client.until("rate_limits.updated")
    return done


# Session.

WRONG_UPDATES = [
    ({"output_modalities": ["text", "audio"]}, "invalid_value", "session.output_modalities"),
    ({"output_modalities": []}, "invalid_value", "session.output_modalities"),
    ({"modalities": ["text"]}, "unknown_parameter", "session.modalities"),
    ({"voice": "alloy"}, "unknown_parameter", "session.voice"),
    ({"temperature": 0.8}, "unknown_parameter", "session.temperature"),
    ({"max_output_tokens": 5000}, "invalid_value", "session.max_output_tokens"),
    ({"type": "transcription"}, "invalid_parameter", "session.type"),
    ({"model": "gpt-realtime-2"}, "invalid_value", "session.model"),
    ({"audio": {"output": {"speed": 9}}}, "invalid_value", "session.audio.output.speed"),
    (
        {"audio": {"input": {"format": {"type": "audio/pcm", "rate": 16_000}}}},
        "invalid_value",
        "session.audio.input.format.rate",
    ),
    (
        {"audio": {"input": {"turn_detection": {"type": "server_vad", "threshold": 2}}}},
        "invalid_value",
        "session.audio.input.turn_detection.threshold",
    ),
    (
        {"audio": {"input": {"turn_detection": {"type": "server_vad", "idle_timeout_ms": 100}}}},
        "invalid_value",
        "session.audio.input.turn_detection.idle_timeout_ms",
    ),
    (
        {"audio": {"input": {"turn_detection": {"type": "semantic_vad", "threshold": 0.5}}}},
        "unknown_parameter",
        "session.audio.input.turn_detection.threshold",
    ),
]


@pytest.mark.parametrize(("wrong", "code", "param"), WRONG_UPDATES, ids=[w[2] for w in WRONG_UPDATES])
async def test_one_bad_field_discards_the_whole_update(
    client: Client, wrong: dict[str, Any], code: str, param: str
) -> None:
    """The error names the field and the event; what was right beside it is not applied either."""
    session = {"type": "realtime", "instructions": "be kind", **wrong}
    found = await error(client, "session.update", session=session, event_id="mine")
    assert (found["code"], found["param"], found["event_id"]) == (code, param, "mine")
    assert (await client.configure())["session"]["instructions"] == ""


async def test_update_changes_only_what_it_names(client: Client) -> None:
    """`session.updated` holds the whole session; a new kind of turn detection brings its defaults; `null` ends it."""
    semantic = {"audio": {"input": {"turn_detection": {"type": "semantic_vad", "eagerness": "high"}}}}
    session = (await client.configure(instructions="be kind", **semantic))["session"]
    assert session["audio"]["input"]["turn_detection"] == {
        "type": "semantic_vad",
        "eagerness": "high",
        "create_response": True,
        "interrupt_response": True,
    }
    session = (await client.configure(audio={"input": {"turn_detection": None}}))["session"]
    assert (session["instructions"], session["audio"]["input"]["turn_detection"]) == ("be kind", None)
    assert session["audio"]["input"]["format"] == {"type": "audio/pcm", "rate": 24_000}
    assert (await client.configure(instructions=""))["session"]["instructions"] == ""


async def test_update_before_the_session_is_told(serve: Any, script: Script) -> None:
    """Who does not wait for `session.created` loses nothing."""
    client = await (await serve(script.config())).dial()
    await client.send("session.update", session={"type": "realtime", "instructions": "early"})
    assert (await client.next())["type"] == "session.created"
    assert (await client.next())["session"]["instructions"] == "early"


async def test_voice_is_settled_once_the_model_has_spoken(client: Client) -> None:
    """Before the first audio it can be changed; after it not, and the rest of that update is not applied either."""
    assert (await client.configure(audio={"output": {"voice": "cedar"}}))["type"] == "session.updated"
    await answered(client)
    refused = await client.configure(instructions="no", audio={"output": {"voice": "marin"}})
    assert refused["error"]["code"] == "cannot_update_voice"
    session = (await client.configure(audio={"output": {"voice": "cedar"}}))["session"]
    assert (session["audio"]["output"]["voice"], session["instructions"]) == ("cedar", "")


async def test_transcription_with_a_model_is_a_conversation(serve: Any, script: Script) -> None:
    """`intent=transcription` beside `model` opens a conversation, which refuses to become a transcription."""
    client = await (await serve(script.config())).open("?intent=transcription&model=gpt-realtime")
    assert client.seen[0]["session"]["type"] == "realtime"
    found = await error(client, "session.update", session={"type": "transcription"})
    assert found["code"] == "invalid_parameter"


async def test_transcription_model_is_logged_once(serve: Any, script: Script, caplog: Any) -> None:
    """A name of OpenAI's is taken; the log says once who transcribes."""
    caplog.set_level(logging.INFO, "vivavoce.gateway")
    gateway = await serve(script.config())
    for _ in range(2):
        client = await gateway.open()
        await client.configure(audio={"input": {"transcription": {"model": "gpt-4o-mini-transcribe"}}})
    assert caplog.text.count("gpt-4o-mini-transcribe") == 1


# Input audio.


@pytest.mark.parametrize("ms", [0, 99])
async def test_commit_of_less_than_100_ms(client: Client, ms: int) -> None:
    """The error says how much there is."""
    await client.configure(**MANUAL)
    if ms:
        await client.send("input_audio_buffer.append", audio=b64(bytes(48 * ms)))
    found = await error(client, "input_audio_buffer.commit")
    assert found["code"] == "input_audio_buffer_commit_empty"
    assert f"buffer only has {ms}" in found["message"]


async def test_committed_turn_in_order(client: Client, script: Script) -> None:
    """committed, item.added, item.done, each with what it comes after; nothing more until a response is asked for."""
    await client.configure(**MANUAL)
    first = None
    for _ in range(2):
        await client.send("input_audio_buffer.append", audio=b64(PCM_100_MS))
        await client.send("input_audio_buffer.commit")
        committed, added, done = [await client.next() for _ in range(3)]
        assert [e["type"] for e in (committed, added, done)] == [
            "input_audio_buffer.committed",
            "conversation.item.added",
            "conversation.item.done",
        ]
        assert {e["previous_item_id"] for e in (committed, added, done)} == {first}
        assert added["item"]["content"] == [{"type": "input_audio", "transcript": None}]
        first = committed["item_id"]
    assert await client.nothing() == []


async def test_user_audio_is_retrieved_with_its_transcript(client: Client, script: Script) -> None:
    """`conversation.item.retrieve` gives the audio that was committed, bit for bit, and what was understood."""
    await client.configure(**MANUAL)
    audio = bytes(range(256)) * 30
    await client.send("input_audio_buffer.append", audio=b64(audio))
    await client.send("input_audio_buffer.commit")
    item_id = (await client.until("input_audio_buffer.committed"))["item_id"]
    await client.until("conversation.item.done")
    assert await client.nothing() == []
    script.last.context.emit(Writing("well", "user", "user-1", final=True))
    completed = "conversation.item.input_audio_transcription.completed"
    while (await client.until(completed))["transcript"] != "well":
        pass  # the scripted provider tells one of its own before
    await client.send("conversation.item.retrieve", item_id=item_id)
    (part,) = (await client.until("conversation.item.retrieved"))["item"]["content"]
    assert (base64.b64decode(part["audio"]), part["transcript"]) == (audio, "well")


async def test_audio_in_odd_pieces(client: Client, script: Script) -> None:
    """Any chunking is allowed, also in the middle of a sample."""
    await client.configure(**MANUAL)
    audio = bytes(range(250)) * 40
    for at in range(0, len(audio), 333):
        await client.send("input_audio_buffer.append", audio=b64(audio[at : at + 333]))
    await client.send("input_audio_buffer.commit")
    await client.until("conversation.item.done")
    assert await client.nothing() == []
    assert bytes(script.last.heard) == audio


# Items.


async def test_items_go_where_they_are_put(client: Client) -> None:
    """Without a place at the end, `root` at the start, an id after that one; each event says what it comes after."""
    places = [("a", {}), ("b", {}), ("c", {"previous_item_id": "root"}), ("d", {"previous_item_id": "a"})]
    seen = {}
    for id, place in places:
        await client.send("conversation.item.create", item=message(id), **place)
        added, done = await client.next(), await client.next()
        assert added["previous_item_id"] == done["previous_item_id"]
        seen[id] = added["previous_item_id"]
    assert seen == {"a": None, "b": "a", "c": None, "d": "a"}


WRONG_ITEMS = [
    ({"item": message(), "previous_item_id": "x"}, "invalid_value", "previous_item_id"),
    ({"item": message("taken")}, "item_create_duplicate_item_id", "item.id"),
    ({"item": message("x" * 33)}, "invalid_value", "item.id"),
    ({"item": {"type": "nothing"}}, "invalid_value", "item.type"),
    (
        {
            "item": {
                "type": "message",
                "role": "assistant",
                "content": [{"type": "output_audio", "audio": "AAAA"}],
            }
        },
        "missing_required_parameter",
        "item.content[0].text",
    ),
    (
        {"item": {"type": "function_call_output", "call_id": "call_x", "output": "1"}},
        "invalid_value",
        "item.call_id",
    ),
]


@pytest.mark.parametrize(("fields", "code", "param"), WRONG_ITEMS, ids=[w[2] for w in WRONG_ITEMS])
async def test_item_that_is_refused(client: Client, fields: dict[str, Any], code: str, param: str) -> None:
    """The error names the field; the conversation is as it was."""
    await client.send("conversation.item.create", item=message("taken"))
    await client.until("conversation.item.done")
    found = await error(client, "conversation.item.create", **fields)
    assert (found["code"], found["param"]) == (code, param)
    await client.send("conversation.item.create", item=message("next"))
    assert (await client.next())["previous_item_id"] == "taken"


@pytest.mark.parametrize("verb", ["retrieve", "delete", "truncate"])
async def test_item_that_is_not_there(client: Client, verb: str) -> None:
    """Each verb has its code."""
    more = {"content_index": 0, "audio_end_ms": 0} if verb == "truncate" else {}
    found = await error(client, f"conversation.item.{verb}", item_id="nobody", **more)
    assert (found["code"], found["param"]) == (f"item_{verb}_invalid_item_id", None)


async def test_truncate_is_for_the_models_audio(client: Client) -> None:
    """Not a user's message, not past the end, no other part; what is right forgets the words."""
    await client.send("conversation.item.create", item=message("mine"))
    await client.until("conversation.item.done")
    cut = {"content_index": 0, "audio_end_ms": 10}
    found = await error(client, "conversation.item.truncate", item_id="mine", **cut)
    assert found["message"] == "Only model output audio messages can be truncated"
    spoken = (await answered(client))["output"][0]["id"]
    for wrong in ({"audio_end_ms": 501}, {"content_index": 1}, {"audio_end_ms": -1}):
        found = await error(client, "conversation.item.truncate", item_id=spoken, **{**cut, **wrong})
        assert (found["code"], found["param"]) == ("invalid_value", next(iter(wrong)))
    await client.send("conversation.item.truncate", item_id=spoken, **cut)
    assert (await client.next())["type"] == "conversation.item.truncated"
    await client.send("conversation.item.retrieve", item_id=spoken)
    assert "transcript" not in (await client.next())["item"]["content"][0]


# Responses.

WRONG_RESPONSES = [
    ({"modalities": ["text"]}, "unknown_parameter", "response.modalities"),
    ({"output_modalities": ["text", "audio"]}, "invalid_value", "response.output_modalities"),
    ({"conversation": "x"}, "invalid_value", "response.conversation"),
    ({"metadata": {str(n): "" for n in range(17)}}, "invalid_value", "response.metadata"),
    ({"metadata": {"k": "x" * 513}}, "invalid_value", "response.metadata.k"),
    ({"metadata": {"k": 1}}, "invalid_value", "response.metadata.k"),
    ({"max_output_tokens": 0}, "invalid_value", "response.max_output_tokens"),
]


@pytest.mark.parametrize(("wrong", "code", "param"), WRONG_RESPONSES, ids=[w[2] for w in WRONG_RESPONSES])
async def test_response_that_is_refused(client: Client, wrong: dict[str, Any], code: str, param: str) -> None:
    """The error names the field, nothing begins, and the next request is answered."""
    found = await error(client, "response.create", response=wrong)
    assert (found["code"], found["param"]) == (code, param)
    assert (await answered(client))["status"] == "completed"


async def test_what_one_response_overrides(client: Client, script: Script) -> None:
    """Its own instructions, modality and metadata are those of this response alone, and are shown in it."""
    await client.configure(instructions="be kind")
    first = await answered(
        client,
        instructions="be brief",
        output_modalities=["text"],
        metadata={"k": "v"},
        max_output_tokens=100,
    )
    assert (first["output_modalities"], first["metadata"], first["max_output_tokens"]) == (
        ["text"],
        {"k": "v"},
        100,
    )
    second = await answered(client)
    assert (second["output_modalities"], second["metadata"], second["max_output_tokens"]) == (
        ["audio"],
        None,
        "inf",
    )
    options = [call.args[0] for call in script.last.called("answer")]
    assert options == [{"instructions": "be brief", "text_only": True}, {}]


async def test_out_of_band_leaves_the_conversation_alone(serve: Any, script: Script) -> None:
    """No `conversation.item.*`, no conversation id; its metadata tells whose it is; the items stay as they were."""
    script.replies = [Reply("aside", 40, out_of_band=True)]
    client = await (await serve(script.config())).open()
    done = await answered(client, conversation="none", input=[], metadata={"topic": "x"})
    assert (done["conversation_id"], done["metadata"]) == (None, {"topic": "x"})
    assert not [name for name in client.types() if name.startswith("conversation.")]
    await client.send("conversation.item.create", item=message("first"))
    assert (await client.next())["previous_item_id"] is None


async def test_cancel_without_a_response(client: Client) -> None:
    """Neither without an id, nor with that of one that is over."""
    assert (await error(client, "response.cancel"))["code"] == "response_cancel_not_active"
    over = (await answered(client))["id"]
    found = await error(client, "response.cancel", response_id=over, event_id="mine")
    assert (found["code"], found["event_id"]) == ("response_cancel_not_active", "mine")


async def test_ids_are_of_their_kind(client: Client) -> None:
    """Every event has an id of its own; sessions, items and responses theirs, of at most 32 characters."""
    await client.send("conversation.item.create", item=message())
    await answered(client)
    events = [event["event_id"] for event in client.seen]
    assert len(set(events)) == len(events)
    assert all(id.startswith("event_") for id in events)
    done = next(event["response"] for event in client.seen if event["type"] == "response.done")
    items = {event["item"]["id"] for event in client.seen if "item" in event}
    assert client.seen[0]["session"]["id"].startswith("sess_")
    assert done["id"].startswith("resp_")
    assert done["conversation_id"].startswith("conv_")
    assert all(id.startswith("item_") and len(id) <= 32 for id in items)


async def test_event_id_has_a_longest_length(client: Client) -> None:
    """512 characters are taken, one more is refused."""
    await client.send("input_audio_buffer.clear", event_id="x" * 512)
    assert (await client.next())["type"] == "input_audio_buffer.cleared"
    found = await error(client, "input_audio_buffer.clear", event_id="x" * 513)
    assert (found["code"], found["param"]) == ("invalid_value", "event_id")
