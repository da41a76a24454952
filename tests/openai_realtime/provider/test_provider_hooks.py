"""The hooks of the provider, called without a core: what it refuses, waits for and leaves behind."""

from __future__ import annotations

import asyncio
import gc
import json
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import vivavoce_openai_realtime.transports as transports
from openai_realtime.provider.service import KEY, Line, Service, talk
from vivavoce.errors import ConnectError, NotConnectedError, ProviderError
from vivavoce.events import ItemAdded
from vivavoce.items import Interruption
from vivavoce.testing import RecordingContext
from vivavoce_openai_realtime.config import OpenAIRealtimeConfig
from vivavoce_openai_realtime.provider import OpenAIRealtimeProvider

pytestmark = [pytest.mark.virtual_clock, pytest.mark.usefixtures("no_leaks")]

HOOKS: dict[str, Callable[[OpenAIRealtimeProvider, Any], Any]] = {
    "answer": lambda provider, context: provider.answer(context, {}),
    "interrupt": lambda provider, context: provider.interrupt(context, Interruption(None, True, ())),
    "commit_input": lambda provider, context: provider.commit_input(context),
    "clear_input": lambda provider, context: provider.clear_input(context),
    "send_text": lambda provider, context: provider.send_text(context, "Hello", "user"),
    "return_tool_result": lambda provider, context: provider.return_tool_result(context, "call_1", "{}"),
    "update_config": lambda provider, context: provider.update_config(context, {"instructions": "Sing."}),
    "send_event": lambda provider, context: provider.send_event(context, "response.cancel", {}),
}


def context_for(service: Service, **session: Any) -> RecordingContext:
    context = RecordingContext(OpenAIRealtimeConfig(api_key=KEY, url=service.url, proxy=None))
    context.session.settings = session
    return context


async def begin(service: Service, **session: Any) -> tuple[OpenAIRealtimeProvider, RecordingContext, Line]:
    """A session of a provider that no voice owns."""
    provider, context = OpenAIRealtimeProvider(), context_for(service, **session)
    await provider.connect(context)
    return provider, context, service.lines[-1]


@pytest.mark.parametrize("hook", HOOKS)
async def test_hook_of_another_session(hook: str) -> None:
    """What belongs to a session that is not the open one is refused, and the open one goes on."""
    async with Service() as service:
        provider, context, line = await begin(service)
        before = len(line.events)
        with pytest.raises(NotConnectedError, match="the session has ended"):
            await HOOKS[hook](provider, context_for(service))
        await provider.close(context_for(service), "closed")
        await provider.send_text(context, "Still here", "user")
        assert [event["type"] for event in line.events[before:]] == ["conversation.item.create"]
        await provider.close(context, "closed")


@pytest.mark.parametrize("hook", HOOKS)
async def test_hook_of_a_lost_session(hook: str) -> None:
    """After the loss of the connection there is nothing to ask, though the session was not closed yet."""
    async with Service() as service:
        provider, context, line = await begin(service)
        line.peer.drop()
        while not context.losses:
            await asyncio.sleep(0.01)
        with pytest.raises(NotConnectedError, match="the session has ended"):
            await HOOKS[hook](provider, context)
        await provider.close(context, "lost")


@pytest.mark.parametrize("hook", HOOKS)
async def test_hook_of_a_closed_session(hook: str) -> None:
    """Nor before the first session, nor after the last."""
    async with Service() as service:
        provider = OpenAIRealtimeProvider()
        with pytest.raises(NotConnectedError, match="the session has ended"):
            await HOOKS[hook](provider, context_for(service))
        provider, context, _ = await begin(service)
        await provider.close(context, "closed")
        with pytest.raises(NotConnectedError, match="the session has ended"):
            await HOOKS[hook](provider, context)
        assert provider.send(context, bytes(4_800)) is None


async def test_close_ends_what_waits_to_be_joined() -> None:
    """A few milliseconds of audio wait for more; after the close they are not sent, and no timer runs."""
    async with Service() as service:
        provider, context, line = await begin(service)
        link = provider._link
        assert link is not None
        provider.send(context, bytes(240))
        assert link._flush_timer is not None
        await provider.close(context, "closed")
        assert link._flush_timer is None
        await line.until_gone()
        assert line.appends == []


class Leaving:
    """A transport that notes how it is left."""

    def __init__(self) -> None:
        self.timeouts: list[float] = []

    async def close(self, *, timeout: float = 9.0) -> None:
        self.timeouts.append(timeout)


@pytest.mark.parametrize(("lost", "seconds"), [(False, 2.0), (True, 0)])
async def test_leave_is_taken_of_those_who_are_there(lost: bool, seconds: float) -> None:
    """A service has two seconds to answer a close; a connection that is gone has none."""
    async with Service() as service:
        provider, context, _ = await begin(service)
        link = provider._link
        assert link is not None
        left = Leaving()
        real, link.transport = link.transport, left
        link.lost = lost
        await provider.close(context, "closed")
        assert left.timeouts == [seconds]
        assert real is not None
        await real.close(timeout=0)


async def test_closed_session_is_freed_at_once() -> None:
    """Nothing of it waits for the garbage collector."""
    async with Service() as service:
        provider, context, line = await begin(service)
        link = provider._link
        assert link is not None
        freed = weakref.ref(link)
        del link, line
        gc.disable()
        try:
            await provider.close(context, "closed")
            assert freed() is None
        finally:
            gc.enable()


async def test_item_that_is_never_acknowledged() -> None:
    """Some services say nothing about an item: five seconds are enough, and the session goes on."""
    async with Service() as service:
        provider, context, line = await begin(service)
        line.deaf.add("conversation.item.create")
        began = asyncio.get_running_loop().time()
        await provider.send_text(context, "Hello?", "user")
        assert asyncio.get_running_loop().time() - began == pytest.approx(5, abs=0.1)
        line.deaf.clear()
        await provider.send_text(context, "Hello!", "user")
        assert asyncio.get_running_loop().time() - began == pytest.approx(5, abs=0.1)
        await provider.close(context, "closed")


async def test_session_of_a_service_that_repeats_nothing() -> None:
    """What was asked for holds through later changes, and a change that is refused leaves no trace."""
    manual = {"audio": {"input": {"turn_detection": None}}}
    async with Service() as service:
        provider, context, line = await begin(service, **manual)
        line.deaf.add("session.update")
        steps = [
            ({"instructions": "Sing."}, None, True),
            ({"session": {"turn_detection": {"type": "server_vad"}}}, "it cannot", True),
            ({"instructions": "Speak."}, None, True),
            ({"session": {"turn_detection": {"type": "server_vad"}}}, None, False),
        ]
        for number, (changes, refusal, held) in enumerate(steps, 2):
            changing = asyncio.ensure_future(provider.update_config(context, changes))
            event = await line.until("session.update", number)
            if refusal:
                detail = {"type": "invalid_request_error", "message": refusal, "event_id": event["event_id"]}
                await line.say("error", error=detail)
                with pytest.raises(ProviderError, match=refusal):
                    await changing
            else:
                await line.say("session.updated", session={"id": "sess_t"})
                await changing
            assert context.session.manual_turns is held
        await line.say("input_audio_buffer.committed", item_id="item_9", previous_item_id=None)
        while not context.of(ItemAdded):
            await asyncio.sleep(0.01)
        assert context.of(ItemAdded)[0].transcribed  # as the first configuration wanted it
        await provider.close(context, "closed")


def busy(line: Line, event: dict[str, Any]) -> bytes:
    detail = {
        "type": "invalid_request_error",
        "code": "conversation_already_has_active_response",
        "message": "Conversation already has an active response in progress",
        "event_id": event["event_id"],
    }
    return json.dumps({"type": "error", "event_id": "event_raw", "error": detail}).encode()


async def always_busy(line: Line) -> None:
    """A service with a reply of which it never tells; after a while it says nothing more."""
    line.deaf.add("response.create")
    await line.open()
    while len(line.sent("response.create")) < 10:
        event = await line.receive()
        if event["type"] == "response.create":
            await line.peer.send(busy(line, event).decode())
    await line.serve()


@pytest.mark.parametrize(("options", "times"), [({}, 3), ({"out_of_band": True}, 1)])
async def test_reply_in_the_way_that_is_never_told(options: dict[str, Any], times: int) -> None:
    """Asked for again twice, since the reply in the way may have ended; a reply beside the conversation has none in its way."""
    async with Service(always_busy) as service:
        provider, context, line = await begin(service)
        with pytest.raises(ProviderError, match="already has an active response"):
            async with asyncio.timeout(60):
                await provider.answer(context, options)
        assert len(line.sent("response.create")) == times
        await provider.close(context, "closed")


async def test_options_of_the_transport(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each one of the config reaches the WebSocket."""
    dialled: dict[str, Any] = {}

    async def dial(address: str, receiver: Any, **options: Any) -> Any:
        dialled.update(options)
        raise ConnectError("far enough")

    monkeypatch.setattr(transports, "open_websocket", dial)
    given: dict[str, Any] = {
        "proxy": "http://127.0.0.1:1",
        "max_size": 2048,
        "ping_interval": 3.0,
        "ping_timeout": 4.0,
        "write_deadline": 5.0,
    }
    config = OpenAIRealtimeConfig(api_key=KEY, url="ws://127.0.0.1:1/", **given)
    provider, context = OpenAIRealtimeProvider(), RecordingContext(config)
    with pytest.raises(ConnectError, match="far enough"):
        await provider.connect(context)
    assert {name: dialled[name] for name in given} == given
    await provider.close(context, "connect failed")


async def test_answer_gives_the_id_of_its_reply() -> None:
    """The one that the service has begun for it."""
    async with Service(talk, replies=("Fine",)) as service:
        provider, context, line = await begin(service)
        assert (await provider.answer(context, {})).startswith("resp_")
        await provider.close(context, "closed")
        await line.until_gone()
