"""A call that is joined by WebSocket (`call_id`): nothing is changed, replayed or answered that is not ours."""

from __future__ import annotations

import logging
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from openai_realtime.provider.service import Line, Service, speak, talk
from vivavoce import tool
from vivavoce.errors import ConfigError, ConnectError
from vivavoce.items import Item


def query(line: Line) -> dict[str, list[str]]:
    assert line.peer.request is not None
    return parse_qs(urlsplit(line.peer.request.path).query)


async def test_call_is_joined_as_it_is() -> None:
    """No model in the address, no settings of ours, no history: the call goes on as it was."""
    async with Service() as service:
        history = [Item(type="message", role="user", text="hello", id="item_old")]
        voice, heard = service.voice(call_id="rtc_1", model="gpt-realtime-2.1", history=history)
        await voice.connect()
        await heard.until("open")
        line = service.lines[0]
        assert query(line) == {"call_id": ["rtc_1"]}
        assert line.events == []


async def test_what_was_given_is_set() -> None:
    """Instructions and tools that the voice was given are the session's, and nothing else is sent."""

    @tool
    def look_up(word: str) -> str:
        """Look a word up."""
        return "found"

    async with Service() as service:
        voice, _ = service.voice(call_id="rtc_1", instructions="Be brief.", tools=[look_up])
        await voice.connect()
        (update,) = service.lines[0].sent("session.update")
        assert set(update["session"]) == {"type", "instructions", "tools"}


async def test_audio_is_not_appended(caplog: pytest.LogCaptureFixture) -> None:
    """What is sent is dropped, with one warning for all of it."""
    async with Service() as service:
        voice, _ = service.voice(call_id="rtc_1")
        await voice.connect()
        with caplog.at_level(logging.WARNING, "vivavoce.openai_realtime"):
            for _ in range(3):
                await voice.send(bytes(9_600))
        await voice.send_text("still there?")
        assert len([record for record in caplog.records if "takes no audio" in record.message]) == 1
        assert "input_audio_buffer.append" not in service.lines[0].types()


async def test_only_own_tools_are_answered() -> None:
    """A function that the call's user side runs is left to it; one of ours is run, and the reply goes on."""
    ran: list[str] = []

    @tool
    def look_up(word: str) -> str:
        """Look a word up."""
        ran.append(word)
        return "found"

    async with Service() as service:
        voice, _ = service.voice(call_id="rtc_1", tools=[look_up])
        await voice.connect()
        line = service.lines[0]
        for name, call_id in (("foreign", "call_1"), ("look_up", "call_2")):
            reply = line.protocol.begin_response()
            line.protocol.function_call(name, '{"word": "x"}', call_id, reply)
            line.protocol.finish_response(response_id=reply)
            await line.flush()
        await line.until("response.create")
        outputs = [event["item"]["call_id"] for event in line.sent("conversation.item.create")]
        assert (outputs, ran) == (["call_2"], ["x"])


async def test_texts_and_interruption() -> None:
    """What is said is heard of as text; interrupting stops the service's playing, and deletes nothing that it said."""
    async with Service() as service:
        voice, heard = service.voice(call_id="rtc_1")
        await voice.connect()
        line = service.lines[0]
        speak(line, "Hello there", ms=0)  # its sound goes over the call
        await line.flush()
        assert (await heard.until("turn")).text == "Hello there"
        running = line.protocol.begin_response()
        line.protocol.text("And", running)
        await line.flush()
        await heard.until("response.created", 2)
        await voice.interrupt()
        await line.until("output_audio_buffer.clear")
        assert line.types() == ["response.cancel", "output_audio_buffer.clear"]


async def test_lost_sideband_joins_again() -> None:
    """The connection is made anew to the same call, which needs no replay."""

    async def drop(line: Line) -> None:
        await line.open()
        line.peer.drop()

    async with Service(drop, talk) as service:
        voice, heard = service.voice(call_id="rtc_1")
        await voice.connect(reconnect=True)
        await heard.until("reconnected")
        assert query(service.lines[1]) == {"call_id": ["rtc_1"]}
        assert service.lines[1].events == []


async def test_call_that_is_over() -> None:
    """The service knows no such call: an error that need not be tried again."""

    async def refuse(line: Line) -> None:
        await line.peer.refuse(404, "no such call")

    async with Service(refuse) as service:
        voice, _ = service.voice(call_id="rtc_gone")
        with pytest.raises(ConnectError, match="no such call") as caught:
            await voice.connect()
        assert caught.value.retryable is False


@pytest.mark.parametrize(
    ("options", "option"),
    [
        ({"sideband": True}, "sideband"),
        ({"sideband": "yes", "transport": "webrtc"}, "sideband"),
        ({"call_id": 7}, "call_id"),
    ],
)
def test_options_that_do_not_fit(options: dict[str, Any], option: str) -> None:
    """Each is an error that names the option."""
    from vivavoce import Voice

    with pytest.raises(ConfigError) as caught:
        Voice("openai-realtime", api_key="any", **options)
    assert caught.value.option == option
