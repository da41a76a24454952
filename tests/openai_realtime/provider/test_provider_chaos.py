"""Whatever a service sends, in whatever order, however broken: no exception leaves the link, and the events make sense."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openai_realtime.protocol.test_protocol_chaos import SERVER, frames
from vivavoce import Voice, tool
from vivavoce.errors import ConnectionLostError, VoiceError
from vivavoce.testing import validate, virtual_run
from vivavoce_openai_realtime import transports
from vivavoce_openai_realtime.link import Link

KEY = "sk-test-0123456789abcdef"


@tool
async def f() -> str:
    """A tool by the name that the samples call."""
    return "x"


class Wire:
    """A transport without a network: what is written is kept, nothing is answered but the configuration."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.written: list[dict[str, Any]] = []
        self.closed = False
        self.say({"type": "session.created", "session": {"id": "sess_1"}})

    def say(self, event: dict[str, Any]) -> None:
        asyncio.get_running_loop().call_soon(self.link.receive_text, json.dumps(event).encode())

    def write(self, data: bytes) -> None:
        assert not self.closed
        event = json.loads(data)
        self.written.append(event)
        if event["type"] == "session.update" and len(self.written) == 1:
            self.say({"type": "session.updated", "session": {"id": "sess_1"}})

    async def close(self, code: int = 1000, reason: str = "", *, timeout: float = 2.0) -> None:
        self.closed = True


async def converse(steps: list[bytes | str]) -> list[tuple[str, Any]]:
    """A voice that hears `steps`: frames of the service, and what the app does between them."""
    wires: list[Wire] = []

    async def open_websocket(address: str, link: Link, **options: Any) -> Wire:
        wires.append(Wire(link))
        return wires[-1]

    events: list[tuple[str, Any]] = []
    calls: list[asyncio.Future[Any]] = []
    with mock.patch.object(transports, "open_websocket", open_websocket):
        voice = Voice("openai-realtime", api_key=KEY, tools=[f])
        voice.on("*", lambda event: events.append((name_of(event), event)))
        voice.on("openai-realtime:*", lambda message: None)
        voice.on("speaking", lambda event: None)
        await voice.connect()
        acts = {
            "answer": voice.answer,
            "interrupt": voice.interrupt,
            "text": lambda: voice.send_text("Hi"),
            "send": lambda: voice.send(bytes(960)),
            "update": lambda: voice.update_config(instructions="x"),
        }
        for step in steps:
            if voice.state != "open":
                break
            if isinstance(step, bytes):
                wires[0].link.receive_text(step)
            elif step == "lost":
                wires[0].link.connection_lost(ConnectionLostError("gone", retryable=False))
            else:
                calls.append(asyncio.ensure_future(acts[step]()))
            await asyncio.sleep(0)
        await voice.close()
        for outcome in await asyncio.gather(*calls, return_exceptions=True):
            assert (
                outcome is None or not isinstance(outcome, BaseException) or isinstance(outcome, VoiceError)
            )
    return events


def name_of(event: Any) -> str:
    return "error" if isinstance(event, VoiceError) else getattr(event, "type", "speaker")


ACTS = st.sampled_from(["answer", "interrupt", "text", "send", "update", "lost"])


@pytest.mark.property
@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(st.lists(frames(SERVER) | ACTS, max_size=40))
def test_link_survives(caplog: pytest.LogCaptureFixture, steps: list[bytes | str]) -> None:
    """Frames and calls in any order: no exception, no traceback in the log, and events in an order that is legal."""
    caplog.clear()
    events = virtual_run(converse(steps))
    assert [record for record in caplog.records if record.exc_info and record.levelno >= logging.ERROR] == []
    assert [name for name, _ in events].count("close") == 1
    assert validate([payload for _, payload in events]) == []
