"""Real human speech through the whole of `local`: its engines, its default responder, the demo's recordings."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

import pytest
import vivavoce
from vivavoce import Voice
from vivavoce.testing import no_leaks

pytest.importorskip("pocketsphinx", reason="the engine pocketsphinx is not installed")
pytest.importorskip("ttspico", reason="the engine pico is not installed")


@vivavoce.tool
def go_forward(distance: int, unit: Literal["meters", "feet", "miles"]) -> str:
    """Drive the robot straight on."""
    return f"I went {distance} {unit} forward."


async def test_a_conversation_on_real_speech(clip: dict[str, bytes]) -> None:
    """Open vocabulary: a greeting, a sum and a tool call are understood and answered aloud."""
    async with no_leaks():
        turns: list[tuple[str, str]] = []
        spoken = 0
        answered = asyncio.Event()

        def told(turn: Any) -> None:
            turns.append((turn.role, turn.text))
            if turn.role == "assistant":
                answered.set()

        def count(event: Any) -> None:
            nonlocal spoken
            spoken += len(event.audio)

        async with Voice("local", tools=[go_forward]) as voice:
            voice.on("turn", told)
            voice.on("speaking", count)
            for name in ("hello", "eight-plus-three", "go-forward-ten-meters"):
                answered.clear()
                await voice.send(clip[name] + bytes(16_000 * 2))
                await asyncio.wait_for(answered.wait(), 20)
        assert [text for role, text in turns if role == "user"] == [
            "hello",
            "eight plus three",
            "go forward ten meters",
        ]
        assert [text for role, text in turns if role == "assistant"][1:] == [
            "Eight plus three is 11.",
            "I went 10 meters forward.",
        ]
        assert spoken > 5 * 32_000
