"""Connecting: the session is configured, and acknowledged, before anything else."""

from __future__ import annotations

import pytest
from openai_realtime.provider.service import Service

pytestmark = [pytest.mark.virtual_clock, pytest.mark.usefixtures("no_leaks")]


async def test_text_turn() -> None:
    """A text is said, a reply asked for, and its text and audio come."""
    async with Service(replies=("Hello you",)) as service:
        voice, heard = service.voice(instructions="Be short.", speaker="marin")
        await voice.connect()
        await voice.send_text("Hi")
        reply = await voice.answer()
        assert await reply.text() == "Hello you"
        print(service.lines[0].types(), heard.names(), heard.events)
        assert service.lines[0].types() == []
