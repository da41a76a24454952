"""`openai-agents`: a RealtimeSession with a function tool."""

from __future__ import annotations

import asyncio
import os

os.environ["OPENAI_AGENTS_DISABLE_TRACING"] = "1"

from agents import function_tool
from agents.realtime import RealtimeAgent, RealtimeRunner
from parts import Result, main, paced, speech


async def converse(url: str, result: Result) -> None:
    @function_tool
    def go_forward(meters: int) -> str:
        """Go forward some meters."""
        result.seen["tool"] = {"meters": meters}
        return "arrived"

    agent = RealtimeAgent(name="walker", instructions="Walk.", tools=[go_forward])
    settings = {
        "model_name": "gpt-realtime",
        "modalities": ["audio"],
        "input_audio_transcription": {"model": "whisper-1"},
        "turn_detection": {"type": "server_vad", "interrupt_response": True, "create_response": True},
    }
    config = {"api_key": "any", "url": f"{url}?model=gpt-realtime", "initial_model_settings": settings}
    session = await RealtimeRunner(agent).run(model_config=config)
    async with session:

        async def listen() -> None:
            async for event in session:
                if event.type == "audio":
                    result.audio(event.audio.data)
                elif event.type == "audio_interrupted":
                    result.seen["interrupted"] = True
                elif event.type == "error":
                    raise RuntimeError(str(event.error))
                elif event.type in ("history_updated", "history_added"):
                    items = event.history if event.type == "history_updated" else [event.item]
                    for item in items:
                        for part in getattr(item, "content", ()):
                            text = getattr(part, "transcript", None)
                            known = result.seen["transcript" if item.role == "user" else "reply"]
                            if text and text not in known and item.status == "completed":
                                known.append(text)

        listening = asyncio.create_task(listen())
        await paced(speech("walk"), session.send_audio)
        await result.until(
            lambda: result.seen["tool"] and result.seen["audio"] > 20_000, "the tool and the reply"
        )
        await result.until(lambda: result.seen["reply"], "the words of the reply")
        before = result.seen["audio"]
        await paced(speech("hello"), session.send_audio)
        await result.until(lambda: result.seen["interrupted"], "the interruption")
        await result.until(lambda: result.seen["audio"] > before + 20_000, "the second reply")
        listening.cancel()
    result.seen["closed"] = True


main(converse)
