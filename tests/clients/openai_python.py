"""`openai`: client.realtime.connect."""

from __future__ import annotations

import asyncio
import base64
import json

from openai import AsyncOpenAI
from parts import Result, main, paced, speech

WALK = {
    "type": "function",
    "name": "go_forward",
    "description": "Go forward some meters.",
    "parameters": {"type": "object", "properties": {"meters": {"type": "integer"}}, "required": ["meters"]},
}


async def converse(url: str, result: Result) -> None:
    official = AsyncOpenAI(api_key="any", base_url=url.replace("ws://", "http://").removesuffix("/realtime"))
    async with official.realtime.connect(model="gpt-realtime") as connection:
        transcription = {"transcription": {"model": "whisper-1"}}
        await connection.session.update(
            session={"type": "realtime", "tools": [WALK], "audio": {"input": transcription}}
        )
        heard: dict[str, int] = {}
        spoken: list[str] = []
        responding = False

        async def listen() -> None:
            nonlocal responding
            async for event in connection:
                if event.type == "conversation.item.input_audio_transcription.completed":
                    result.seen["transcript"].append(event.transcript)
                elif event.type == "response.output_audio_transcript.done":
                    result.seen["reply"].append(event.transcript)
                elif event.type == "response.output_audio.delta":
                    audio = base64.b64decode(event.delta)
                    result.audio(audio)
                    if event.item_id not in heard:
                        spoken.append(event.item_id)
                    heard[event.item_id] = heard.get(event.item_id, 0) + len(audio)
                elif event.type == "response.function_call_arguments.done":
                    result.seen["tool"] = json.loads(event.arguments)
                    item = {"type": "function_call_output", "call_id": event.call_id, "output": "arrived"}
                    await connection.conversation.item.create(item=item)
                    responding = True
                elif event.type == "response.done" and responding:
                    responding = False
                    await connection.response.create()
                elif event.type == "input_audio_buffer.speech_started" and spoken:
                    await connection.conversation.item.truncate(
                        item_id=spoken[-1], content_index=0, audio_end_ms=min(300, heard[spoken[-1]] // 48)
                    )
                elif event.type == "conversation.item.truncated":
                    result.seen["interrupted"] = True
                elif event.type == "error":
                    raise RuntimeError(event.error.message)

        listening = asyncio.create_task(listen())
        await paced(
            speech("walk"),
            lambda pcm: connection.input_audio_buffer.append(audio=base64.b64encode(pcm).decode()),
        )
        await result.until(lambda: result.seen["reply"], "the reply")
        await paced(
            speech("hello"),
            lambda pcm: connection.input_audio_buffer.append(audio=base64.b64encode(pcm).decode()),
        )
        await result.until(lambda: result.seen["interrupted"], "the interruption")
        await result.until(lambda: len(result.seen["reply"]) > 1, "the second reply")
        listening.cancel()
    result.seen["closed"] = True


main(converse)
