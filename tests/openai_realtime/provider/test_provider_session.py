"""An open session: changing it, the service's raw messages both ways, and the trace of the wire."""

from __future__ import annotations

import asyncio
import json
import types
from pathlib import Path
from typing import Any

import pytest
from openai_realtime.provider.service import KEY, PCM_20_MS, Heard, Line, Service, speak
from vivavoce import Voice, tool
from vivavoce.errors import ConfigError, ProviderError
from vivavoce_openai_realtime.provider import OpenAIRealtimeProvider

pytestmark = [pytest.mark.virtual_clock, pytest.mark.usefixtures("no_leaks")]


@tool
def weather(city: str) -> str:
    """The weather of a city."""
    return "sun"


@tool
def clock() -> str:
    """The time."""
    return "noon"


async def connected(service: Service, **config: Any) -> tuple[Voice, Heard, Line]:
    voice, heard = service.voice(**config)
    await voice.connect()
    return voice, heard, service.lines[-1]


def changes(line: Line) -> list[dict[str, Any]]:
    return [event["session"] for event in line.sent("session.update")[1:]]


async def test_update_config() -> None:
    """Only what changes is sent, in GA's shape, and acknowledged."""
    async with Service() as service:
        voice, heard, line = await connected(service)
        await voice.update_config(
            instructions="Sing.", speaker="ash", turn_detection={"type": "semantic_vad"}
        )
        assert changes(line) == [
            {
                "type": "realtime",
                "instructions": "Sing.",
                "audio": {
                    "output": {"voice": "ash"},
                    "input": {"turn_detection": {"type": "semantic_vad"}},
                },
            }
        ]
        updated = heard.all("session.updated")[-1]
        assert updated.config["instructions"] == "Sing."
        assert updated.config["audio"]["output"]["voice"] == "ash"


async def test_update_config_is_acknowledged() -> None:
    """It resolves with the service's answer, not before."""
    async with Service() as service:
        voice, _, line = await connected(service)
        line.deaf.add("session.update")
        task = asyncio.ensure_future(voice.update_config(instructions="Sing."))
        await line.until("session.update", 2)
        await asyncio.sleep(1)
        assert not task.done()
        await line.say("session.updated", session=line.protocol.session)
        await task


async def test_refused_update_changes_nothing() -> None:
    """A refusal is a `ProviderError`, and the next session is configured as before."""
    async with Service() as service:
        service._ga = False  # what is sent is wrong on purpose
        voice, _, _line = await connected(service, instructions="Speak.")
        with pytest.raises(ProviderError) as caught:
            await voice.update_config(instructions="Sing.", audio={"output": {"speed": 99}})
        assert (caught.value.code, caught.value.param) == ("invalid_value", "session.audio.output.speed")
        await voice.close()
        await voice.connect()
        sessions = [line.sent("session.update")[0]["session"] for line in service.lines]
        assert sessions[0] == sessions[1]


async def test_voice_cannot_change_after_it_has_spoken() -> None:
    """`cannot_update_voice` is the error of that call."""
    async with Service() as service:
        voice, heard, line = await connected(service, speaker="marin")
        speak(line, "Hello")
        await line.flush()
        await heard.until("response.done")
        with pytest.raises(ProviderError) as caught:
            await voice.update_config(speaker="ash")
        assert caught.value.code == "cannot_update_voice"
        assert heard.all("error") == []


async def test_add_tools_and_instructions() -> None:
    """Tools add up, the service's own ones stay; both are there after a reconnect."""
    own = {"type": "mcp", "server_label": "docs", "server_url": "https://example.com"}
    async with Service() as service:
        voice, _, line = await connected(service, tools=[weather], session={"tools": [own]})
        await voice.add_tools([clock])
        await voice.add_instructions("Be brief.")
        names = [entry.get("name") for entry in changes(line)[0]["tools"]]
        assert names == ["weather", "clock", None]
        assert changes(line)[1] == {"type": "realtime", "instructions": "Be brief."}
        await voice.close()
        await voice.connect()
        session = service.lines[1].sent("session.update")[0]["session"]
        assert [entry.get("name") for entry in session["tools"]] == names
        assert session["instructions"] == "Be brief."


async def test_changes_before_connect() -> None:
    """What is added before `connect()` is in the first configuration."""
    async with Service() as service:
        voice, _ = service.voice()
        await voice.add_tools([weather])
        await voice.add_instructions("Be brief.")
        await voice.update_config(turn_detection=None)
        await voice.connect()
        (event,) = service.lines[0].sent("session.update")
        assert [entry["name"] for entry in event["session"]["tools"]] == ["weather"]
        assert event["session"]["instructions"] == "Be brief."
        assert event["session"]["audio"]["input"]["turn_detection"] is None


async def test_turns_become_manual_in_an_open_session() -> None:
    """After `turn_detection=None` `answer()` commits."""
    async with Service(replies=("Heard",)) as service:
        voice, _, line = await connected(service)
        await voice.update_config(turn_detection=None)
        for _ in range(5):
            await voice.send(PCM_20_MS)
        await (await voice.answer()).done()
        assert len(line.sent("input_audio_buffer.commit")) == 1


@pytest.mark.parametrize("flat_first", [True, False])
async def test_one_setting_under_two_names(flat_first: bool) -> None:
    """Given under one name and changed under the other, a setting is in the next session as it was given last."""
    old, new = {"type": "semantic_vad", "eagerness": "low"}, {"type": "server_vad", "threshold": 0.7}
    flat = {"turn_detection": old if flat_first else new}
    nested = {"audio": {"input": {"turn_detection": new if flat_first else old}}}
    async with Service() as service:
        voice, _, _ = await connected(service, session=flat if flat_first else nested)
        await voice.update_config(**(nested if flat_first else flat))
        await voice.close()
        await voice.connect()
        session = service.lines[1].sent("session.update")[0]["session"]
        assert session["audio"]["input"]["turn_detection"] == new


async def test_acknowledgement_that_repeats_nothing() -> None:
    """A service that acknowledges with a bare session is taken at what was asked for."""

    async def terse(line: Line) -> None:
        line.deaf.add("session.update")
        await line.peer.accept()
        await line.say("session.created", session={"id": "sess_t"})
        await line.receive()
        await line.say("session.updated", session={"id": "sess_t"})
        line.protocol.session["audio"]["input"]["turn_detection"] = None
        await line.serve()

    async with Service(terse, replies=("Heard",)) as service:
        voice, _, line = await connected(service, session={"turn_detection": None})
        for _ in range(5):
            await voice.send(PCM_20_MS)
        await (await voice.answer()).done()
        assert len(line.sent("input_audio_buffer.commit")) == 1


async def test_raw_messages() -> None:
    """Every message of the service, by its type or all, and only while someone listens."""
    async with Service() as service:
        voice, heard, line = await connected(service)
        everything: list[str] = []
        deltas: list[Any] = []
        listener = voice.on("openai-realtime:*", lambda message: everything.append(message["type"]))
        voice.on("openai-realtime:response.output_audio.delta", deltas.append)
        speak(line, "Hello", ms=40)
        await line.say("brand.new", field={"deep": [1]})
        await line.flush()
        await heard.until("response.done")
        assert everything[0] == "brand.new"
        assert everything[1:4] == [
            "response.created",
            "response.output_item.added",
            "conversation.item.added",
        ]
        assert [delta["delta"] for delta in deltas] == [deltas[0]["delta"]] * 2
        voice.off("openai-realtime:*", listener)
        voice.off("openai-realtime:response.output_audio.delta")
        count = len(everything)
        speak(line, "Again", ms=40)
        await line.flush()
        await heard.until("response.done", 2)
        assert (len(everything), len(deltas)) == (count, 2)


def test_raw_messages_are_decoded_for_those_who_listen() -> None:
    """They cost something, so they are off until somebody listens to one, and off again after the last."""
    provider = OpenAIRealtimeProvider()
    link: Any = types.SimpleNamespace(raw=False)
    provider._link = link
    seen = []
    for hook, event in (
        (provider.on, "open"),
        (provider.on, "openai-realtime:*"),
        (provider.on, "openai-realtime:error"),
        (provider.off, "openai-realtime:*"),
        (provider.off, "openai-realtime:error"),
        (provider.off, "open"),
    ):
        hook(event, print)
        seen.append(link.raw)
    assert seen == [False, True, True, True, False, False]


async def test_raw_messages_from_the_first_on() -> None:
    """A listener that was there before `connect()` hears of the greeting."""
    async with Service() as service:
        voice, _ = service.voice()
        types: list[str] = []
        voice.on("openai-realtime:*", lambda message: types.append(message["type"]))
        await voice.connect()
        assert types == ["session.created", "session.updated"]


async def test_send_event() -> None:
    """The app's own message goes out untouched, and its errors come back as `error`."""
    async with Service() as service:
        voice, heard, line = await connected(service)
        await voice.send_event("input_audio_buffer.clear", event_id="mine")
        await voice.send_event("conversation.item.delete", item_id="item_never")
        assert (await line.until("input_audio_buffer.clear"))["event_id"] == "mine"
        error = await heard.until("error")
        assert (error.code, error.event_id) == (
            "item_delete_invalid_item_id",
            line.sent("conversation.item.delete")[0]["event_id"],
        )


async def test_send_event_with_what_json_cannot_hold() -> None:
    """Nothing is sent, and the error says why."""
    async with Service() as service:
        voice, _, line = await connected(service)
        with pytest.raises(ConfigError, match="JSON"):
            await voice.send_event("session.update", session={"metadata": object()})
        with pytest.raises(ConfigError, match="JSON"):
            await voice.update_config(prompt=object())
        await voice.send_text("Hi")
        assert line.types() == ["session.update", "conversation.item.create"]


async def test_settings_that_json_cannot_hold() -> None:
    """In the first configuration they are a `ConfigError` of `connect()`."""
    async with Service() as service:
        voice, _ = service.voice(session={"prompt": object()})
        with pytest.raises(ConfigError, match="JSON"):
            await voice.connect()
        assert voice.state == "idle"


async def test_trace(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`VIVAVOCE_TRACE` has every frame both ways, without audio and without keys."""
    path = tmp_path / "wire.jsonl"
    monkeypatch.setenv("VIVAVOCE_TRACE", str(path))
    async with Service() as service:
        voice, heard, line = await connected(service, instructions=f"The key is {KEY}.")
        await voice.send(PCM_20_MS)
        await voice.send(PCM_20_MS[:40])
        await line.until("input_audio_buffer.append", 2)
        line.protocol.begin_response()
        line.protocol.audio(PCM_20_MS[:8])
        line.protocol.audio(PCM_20_MS)
        line.protocol.text("Hello")
        line.protocol.finish_response()
        await line.flush()
        await heard.until("response.done")
        await voice.close()
    lines = [json.loads(text) for text in path.read_text().splitlines()]
    frames = [(entry["direction"], entry["frame"]["type"]) for entry in lines]
    assert [kind for direction, kind in frames if direction == "sent"] == [
        "session.update",
        "input_audio_buffer.append",
        "input_audio_buffer.append",
    ]
    assert frames.count(("received", "response.output_audio.delta")) == 2
    audio = [
        e["frame"].get("audio") or e["frame"].get("delta") for e in lines if "audio" in e["frame"]["type"]
    ]
    assert [text for text in audio if text and not text.startswith("<") and text != "Hello"] == []
    text = path.read_text()
    assert KEY not in text
    assert "[redacted]" in text
    assert '"delta":"Hello"' in text
    assert {entry["provider"] for entry in lines} == {"openai-realtime"}


async def test_trace_that_cannot_be_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A path that leads nowhere is a warning, and the session works."""
    monkeypatch.setenv("VIVAVOCE_TRACE", str(tmp_path / "no" / "such" / "folder"))
    async with Service(replies=("Yes",)) as service:
        voice, _, _ = await connected(service)
        assert await (await voice.answer()).text() == "Yes"
    assert [r.levelname for r in caplog.records if "VIVAVOCE_TRACE" in r.getMessage()] == ["WARNING"]
