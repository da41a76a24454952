"""Other frameworks on the flood of `flood.py`, each as its documentation shows it. Prints CPU seconds an event.

    python peer_clients.py PEER receive|send PORT

Runs in an environment of the peer's own, so nothing of this project is imported here. Audio has to arrive as PCM in
the app's hands: where a library hands out base64, decoding it is part of its number.
"""

from __future__ import annotations

import asyncio
import base64
import os
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

N = 20_000
PCM = bytes(range(240)) * 4
WANTED = N * len(PCM)


class Clock:
    """CPU of this process, all threads, from the first thing that is asked to the last that arrives."""

    def __init__(self) -> None:
        self.begun = time.process_time()
        self.heard = 0

    def hear(self, pcm: bytes | memoryview) -> None:
        self.heard += len(pcm)

    def result(self, mode: str) -> float:
        if mode == "receive" and self.heard != WANTED:
            raise SystemExit(f"{self.heard} bytes of audio arrived, not {WANTED}")
        return (time.process_time() - self.begun) / N


async def openai(port: int, mode: str) -> float:
    """openai-python: typed events of `client.realtime.connect`."""
    from openai import AsyncOpenAI

    client = AsyncOpenAI(api_key="not-a-real-key", websocket_base_url=f"ws://127.0.0.1:{port}/v1")
    async with client.realtime.connect(model="bench") as connection:
        async for event in connection:
            if event.type == "session.created":
                break
        clock = Clock()
        if mode == "receive":
            await connection.response.create()
        else:
            for _ in range(N):
                await connection.input_audio_buffer.append(audio=base64.b64encode(PCM).decode())
        async for event in connection:
            if event.type == "response.output_audio.delta":
                clock.hear(base64.b64decode(event.delta))
            elif event.type in ("response.done", "input_audio_buffer.cleared"):
                break
        return clock.result(mode)


async def openai_agents(port: int, mode: str) -> float:
    """openai-agents: a `RealtimeSession`, its events in a loop."""
    from agents.realtime import RealtimeAgent, RealtimeRunner
    from agents.realtime.model_inputs import RealtimeModelSendRawMessage

    settings = {"model_name": "bench", "modalities": ["audio"]}
    session = await RealtimeRunner(RealtimeAgent(name="bench", instructions="")).run(
        model_config={
            "api_key": "not-a-real-key",
            "url": f"ws://127.0.0.1:{port}/v1/realtime?model=bench",
            "initial_model_settings": settings,
        }
    )
    async with session:
        await _raw(session, "session.updated")
        clock = Clock()
        if mode == "receive":
            await session.model.send_event(RealtimeModelSendRawMessage(message={"type": "response.create"}))
            async for event in session:
                if event.type == "audio":
                    clock.hear(event.audio.data)
                elif event.type == "agent_end":
                    break
        else:
            for _ in range(N):
                await session.send_audio(PCM)
            await _raw(session, "input_audio_buffer.cleared")
        return clock.result(mode)


async def _raw(session: Any, wanted: str) -> None:
    async for event in session:
        data = getattr(event, "data", None)
        if getattr(data, "type", "") == "raw_server_event" and data.data["type"] == wanted:
            return


async def livekit(port: int, mode: str) -> float:
    """livekit-plugins-openai: `RealtimeModel.session()`. It joins five frames to one append."""
    import aiohttp
    from livekit import rtc
    from livekit.plugins.openai import realtime

    async with aiohttp.ClientSession() as http:
        model = realtime.RealtimeModel(
            model="bench", base_url=f"ws://127.0.0.1:{port}/v1", api_key="not-a-real-key", http_session=http
        )
        session = model.session()
        seen: dict[str, asyncio.Event] = {}

        def saw(event: dict[str, Any]) -> None:
            seen.setdefault(event["type"], asyncio.Event()).set()

        session.on("openai_server_event_received", saw)
        await seen.setdefault("session.updated", asyncio.Event()).wait()
        clock = Clock()
        if mode == "receive":
            generation = await session.generate_reply()
            async for message in generation.message_stream:
                async for frame in message.audio_stream:
                    clock.hear(bytes(frame.data))
        else:
            for number in range(N):
                session.push_audio(rtc.AudioFrame(PCM, 24_000, 1, len(PCM) // 2))
                if number % 50 == 49:
                    await asyncio.sleep(0)  # push_audio never waits: its task has to have a turn
            await seen.setdefault("input_audio_buffer.cleared", asyncio.Event()).wait()
        spent = clock.result(mode)
        await session.aclose()
        return spent


async def pipecat(port: int, mode: str) -> float:
    """pipecat: the service and one processor of the app's in a pipeline, observers and RTVI off."""
    from loguru import logger

    logger.remove()
    from pipecat.frames import frames
    from pipecat.pipeline.pipeline import Pipeline
    from pipecat.pipeline.worker import PipelineParams, PipelineWorker
    from pipecat.processors.aggregators.llm_context import LLMContext
    from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
    from pipecat.services.openai.realtime.events import SessionProperties
    from pipecat.services.openai.realtime.llm import OpenAIRealtimeLLMService
    from pipecat.workers.runner import WorkerRunner

    clock, ready, done = Clock(), asyncio.Event(), asyncio.Event()

    class Service(OpenAIRealtimeLLMService):  # type: ignore[misc]
        async def _handle_evt_session_updated(self, event: Any) -> None:
            await super()._handle_evt_session_updated(event)
            ready.set()

    class App(FrameProcessor):  # type: ignore[misc]
        async def process_frame(self, frame: Any, direction: FrameDirection) -> None:
            await super().process_frame(frame, direction)
            if isinstance(frame, frames.TTSAudioRawFrame):
                clock.hear(frame.audio)
            elif isinstance(frame, frames.LLMFullResponseEndFrame):
                done.set()
            await self.push_frame(frame, direction)

    service = Service(
        api_key="not-a-real-key",
        base_url=f"ws://127.0.0.1:{port}/v1/realtime",
        settings=Service.Settings(
            model="bench", session_properties=SessionProperties(output_modalities=["audio"])
        ),
    )
    worker = PipelineWorker(
        Pipeline([service, App()]),
        params=PipelineParams(audio_in_sample_rate=24_000, audio_out_sample_rate=24_000),
        enable_rtvi=False,
        enable_turn_tracking=False,
        idle_timeout_secs=None,
    )
    runner = WorkerRunner(handle_sigint=False)
    running = asyncio.ensure_future(runner.run(auto_end=False))
    await runner.add_workers(worker)
    await ready.wait()
    clock.begun = time.process_time()
    if mode == "receive":
        context = LLMContext([{"role": "user", "content": "Begin."}])
        await worker.queue_frame(frames.LLMContextFrame(context))
        await done.wait()
        spent = clock.result(mode)
    else:
        for number in range(N):
            await worker.queue_frame(frames.InputAudioRawFrame(PCM, 24_000, 1))
            if number % 50 == 49:
                await asyncio.sleep(0)
        # The end comes after all audio, and the service hangs up: there is no other sign of it.
        await worker.stop_when_done()
        while not worker.has_finished():
            await asyncio.sleep(0.01)
        spent = clock.result(mode)
    await worker.cancel()
    running.cancel()
    return spent


PEERS: dict[str, Callable[[int, str], Awaitable[float]]] = {
    "openai": openai,
    "openai-agents": openai_agents,
    "livekit": livekit,
    "pipecat": pipecat,
}


async def main() -> None:
    peer, mode, port = sys.argv[1:]
    async with asyncio.timeout(120):
        print(await PEERS[peer](int(port), mode))


if __name__ == "__main__":
    os.environ["OPENAI_AGENTS_DISABLE_TRACING"] = "1"
    asyncio.run(main())
