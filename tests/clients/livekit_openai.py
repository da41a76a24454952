"""`livekit-plugins-openai`: its RealtimeModel's session."""

from __future__ import annotations

import asyncio
import json

import aiohttp
from livekit import rtc
from livekit.agents import function_tool, llm
from livekit.plugins.openai import realtime
from openai.types.realtime import AudioTranscription
from parts import Result, main, paced, speech


@function_tool
async def go_forward(meters: int) -> str:
    """Go forward some meters."""
    return "arrived"


async def converse(url: str, result: Result) -> None:
    async with aiohttp.ClientSession() as http:
        model = realtime.RealtimeModel(
            model="gpt-realtime",
            base_url=url,
            api_key="any",
            http_session=http,
            input_audio_transcription=AudioTranscription(model="whisper-1"),
        )
        session = model.session()
        await session.update_tools([go_forward])
        spoken: list[str] = []
        tasks: set[asyncio.Task[None]] = set()

        async def follow(generation: llm.GenerationCreatedEvent) -> None:
            async def calls() -> None:
                async for call in generation.function_stream:
                    result.seen["tool"] = json.loads(call.arguments)
                    context = session.chat_ctx.copy()
                    output = llm.FunctionCallOutput(
                        call_id=call.call_id, name=call.name, output="arrived", is_error=False
                    )
                    context.items.append(output)
                    await session.update_chat_ctx(context)
                    session.generate_reply()

            calling = asyncio.create_task(calls())
            async for message in generation.message_stream:
                spoken.append(message.message_id)

                async def read(message: llm.MessageGeneration = message) -> None:
                    result.seen["reply"].append("".join([text async for text in message.text_stream]))

                reading = asyncio.create_task(read())
                async for frame in message.audio_stream:
                    result.audio(bytes(frame.data.cast("B")))
                await reading
            await calling

        def generation_created(event: llm.GenerationCreatedEvent) -> None:
            task = asyncio.create_task(follow(event))
            tasks.add(task)

        def speech_started(event: object) -> None:
            if spoken:
                session.interrupt()
                session.truncate(message_id=spoken[-1], modalities=["audio"], audio_end_ms=300)

        def raw(event: dict[str, object]) -> None:
            if event["type"] == "conversation.item.truncated":
                result.seen["interrupted"] = True

        session.on("generation_created", generation_created)
        session.on("input_speech_started", speech_started)
        session.on("openai_server_event_received", raw)
        session.on(
            "input_audio_transcription_completed",
            lambda event: event.is_final and result.seen["transcript"].append(event.transcript),
        )

        def push(pcm: bytes) -> None:
            session.push_audio(rtc.AudioFrame(pcm, 24_000, 1, len(pcm) // 2))

        await paced(speech("walk"), push)
        await result.until(lambda: result.seen["reply"], "the reply")
        await paced(speech("hello"), push)
        await result.until(lambda: result.seen["interrupted"], "the interruption")
        await result.until(lambda: len(result.seen["reply"]) > 1, "the second reply")
        await session.aclose()
        await asyncio.gather(*tasks, return_exceptions=True)
    result.seen["closed"] = True


main(converse)
