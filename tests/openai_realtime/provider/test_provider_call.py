"""Audio beside events: whose it is, and when a reply is over. On a virtual clock, without WebRTC."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from vivavoce import AudioFormat, VoiceError
from vivavoce.events import ResponseDone, Speaking
from vivavoce.items import Cut, Interruption
from vivavoce.provider import Session
from vivavoce_openai_realtime.calllink import CallLink
from vivavoce_openai_realtime.protocol.client import ClientProtocol
from vivavoce_openai_realtime.protocol.dialects import GA

OPUS = AudioFormat(48_000, 2)
LOUD = (b"\x00\x10" * 2) * 960
QUIET = (b"\x02\x00" * 2) * 960


class Told:
    """A context that keeps what it is told."""

    def __init__(self) -> None:
        self.session = Session(provider="openai-realtime", output_format=AudioFormat(48_000, 2))
        self.events: list[Any] = []
        self.config = None

    def emit(self, event: Any) -> None:
        self.events.append(event)

    def lost(self, cause: VoiceError | BaseException | None = None) -> None:
        self.events.append(cause)

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


@pytest.fixture
async def told() -> Told:
    return Told()


@pytest.fixture
async def link(told: Told) -> CallLink:
    link = CallLink(ClientProtocol(GA), told, None)
    say(link, "session.created", session={"type": "realtime", "id": "sess_1"})
    return link


def say(link: CallLink, type: str, **fields: Any) -> None:
    link.receive_text(json.dumps({"type": type, "event_id": "event_1", **fields}).encode())


def begin(link: CallLink, reply: str = "resp_1", item: str = "item_1") -> None:
    """A reply that speaks is announced, and its words come."""
    response = {"id": reply, "object": "realtime.response", "status": "in_progress", "output": []}
    say(link, "response.created", response=response)
    message = {"id": item, "type": "message", "role": "assistant", "content": []}
    say(link, "response.output_item.added", response_id=reply, output_index=0, item=message)
    say(link, "conversation.item.added", item=message)
    place = {"response_id": reply, "item_id": item, "output_index": 0, "content_index": 0}
    say(link, "response.output_audio_transcript.delta", **place, delta="hello")


def done(link: CallLink, reply: str = "resp_1", status: str = "completed") -> None:
    say(link, "response.done", response={"id": reply, "status": status, "output": []})


async def test_reply_is_over_when_it_was_heard(clock: Any, link: CallLink, told: Told) -> None:
    """It is finished long before: the core is told once the service has sent the last of it, and that has arrived."""
    begin(link)
    say(link, "output_audio_buffer.started", response_id="resp_1")
    done(link)
    link.receive_audio(LOUD, OPUS)
    assert told.of(ResponseDone) == []
    say(link, "output_audio_buffer.stopped", response_id="resp_1")
    link.receive_audio(LOUD, OPUS)  # it was in the jitter buffer
    await asyncio.sleep(0.3)
    link.receive_audio(LOUD, OPUS)  # nobody's
    assert [event.id for event in told.of(ResponseDone)] == ["resp_1"]
    assert [(event.response_id, event.item_id) for event in told.of(Speaking)] == [("resp_1", "item_1")] * 2


async def test_finished_before_it_begins_to_be_heard(clock: Any, link: CallLink, told: Told) -> None:
    """A reply whose words came waits for its sound, but not for ever."""
    begin(link)
    done(link)
    await asyncio.sleep(1.9)
    assert told.of(ResponseDone) == []
    await asyncio.sleep(0.2)
    assert [event.id for event in told.of(ResponseDone)] == ["resp_1"]


@pytest.mark.parametrize("status", ["incomplete", "failed"])
async def test_broken_off_before_it_begins_to_be_heard(
    clock: Any, link: CallLink, told: Told, status: str
) -> None:
    """What there is of a reply that was broken off is heard before its end is told."""
    begin(link)
    done(link, status=status)
    say(link, "output_audio_buffer.started", response_id="resp_1")
    link.receive_audio(LOUD, OPUS)
    say(link, "output_audio_buffer.stopped", response_id="resp_1")
    await asyncio.sleep(0.3)
    assert [type(event) for event in told.events if isinstance(event, (Speaking, ResponseDone))] == [
        Speaking,
        ResponseDone,
    ]


async def test_silence_before_the_reply_does_not_count(clock: Any, link: CallLink, told: Told) -> None:
    """The position in a reply counts from its first sound; silence within it belongs to it."""
    begin(link)
    say(link, "output_audio_buffer.started", response_id="resp_1")
    for frame in (QUIET, QUIET, LOUD, QUIET):
        link.receive_audio(frame, OPUS)
    heard = told.session.output_format.milliseconds(sum(len(event.audio) for event in told.of(Speaking)))
    assert 38 < heard <= 40  # the converter holds back less than a millisecond


async def test_audio_before_its_event(clock: Any, link: CallLink, told: Told) -> None:
    """The event that a reply begins was lost and sent again: what came before it belongs to the reply."""
    begin(link)
    for frame in (QUIET, LOUD, LOUD, QUIET, LOUD):
        link.receive_audio(frame, OPUS)
    assert told.of(Speaking) == []
    say(link, "output_audio_buffer.started", response_id="resp_1")
    heard = told.session.output_format.milliseconds(sum(len(event.audio) for event in told.of(Speaking)))
    assert 78 < heard <= 80
    assert {event.item_id for event in told.of(Speaking)} == {"item_1"}


async def test_audio_of_nobody_is_kept_neither_long_nor_much(clock: Any, link: CallLink, told: Told) -> None:
    """Half a second of quiet ends what was said before it; of endless sound the last seconds are kept."""
    for frame in (LOUD, *[QUIET] * 25):
        link.receive_audio(frame, OPUS)
    say(link, "output_audio_buffer.started", response_id="resp_1")
    assert told.of(Speaking) == []
    say(link, "output_audio_buffer.cleared", response_id="resp_1")
    await asyncio.sleep(0.3)
    for _ in range(1_000):
        link.receive_audio(LOUD, OPUS)
    say(link, "output_audio_buffer.started", response_id="resp_2")
    assert len(told.of(Speaking)) == 200


async def test_rest_of_a_cleared_reply_is_not_the_next_ones(clock: Any, link: CallLink, told: Told) -> None:
    """What was still on its way when a reply was cleared is nobody's, also when the next begins at once."""
    begin(link)
    say(link, "output_audio_buffer.started", response_id="resp_1")
    say(link, "output_audio_buffer.cleared", response_id="resp_1")
    link.receive_audio(LOUD, OPUS)
    say(link, "output_audio_buffer.started", response_id="resp_2")
    assert told.of(Speaking) == []


async def test_reply_that_is_cleared_is_over_at_once(clock: Any, link: CallLink, told: Told) -> None:
    """Nothing of it is heard after that, and its end waits for nothing."""
    begin(link)
    say(link, "output_audio_buffer.started", response_id="resp_1")
    done(link, status="cancelled")
    say(link, "output_audio_buffer.cleared", response_id="resp_1")
    link.receive_audio(LOUD, OPUS)
    assert [event.status for event in told.of(ResponseDone)] == ["cancelled"]
    assert told.of(Speaking) == []


async def test_reply_without_speech_is_not_held(clock: Any, link: CallLink, told: Told) -> None:
    """A reply in text, or a tool call alone, ends when the service says so."""
    say(link, "response.created", response={"id": "resp_1", "status": "in_progress", "output": []})
    done(link)
    assert [event.id for event in told.of(ResponseDone)] == ["resp_1"]


async def test_interruption_stops_the_service_where_it_was_heard(
    clock: Any, link: CallLink, told: Told
) -> None:
    """Cancel while it is generated, clear what waits, truncate where less was heard than sent. Audio is not counted by
    the protocol here, which sees none of it."""
    begin(link)
    link.protocol.data_to_send()
    link.cut(Interruption("resp_1", True, (Cut("item_1", 700.0, 900.0),)))
    sent = [json.loads(frame) for frame in link.protocol.data_to_send()]
    assert [event["type"] for event in sent] == [
        "response.cancel",
        "output_audio_buffer.clear",
        "conversation.item.truncate",
    ]
    assert sent[2]["audio_end_ms"] == 700
    done(link, status="cancelled")
    link.cut(Interruption("resp_1", True, ()))
    (late,) = [json.loads(frame) for frame in link.protocol.data_to_send()]
    assert late["type"] == "output_audio_buffer.clear"


async def test_nothing_is_left_of_a_link_that_ended(clock: Any, link: CallLink, told: Told) -> None:
    """No timer tells of a reply after the session."""
    begin(link)
    done(link)
    link.end()
    await asyncio.sleep(5)
    assert told.of(ResponseDone) == []
