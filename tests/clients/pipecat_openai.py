"""`pipecat-ai`: OpenAIRealtimeLLMService in a pipeline."""

from __future__ import annotations

import asyncio
import contextlib

from loguru import logger
from parts import Result, main, paced, speech
from pipecat.adapters.schemas.function_schema import FunctionSchema
from pipecat.adapters.schemas.tools_schema import ToolsSchema
from pipecat.frames.frames import (
    Frame,
    InputAudioRawFrame,
    InterruptionFrame,
    LLMContextFrame,
    TranscriptionFrame,
    TTSAudioRawFrame,
    TTSTextFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.services.llm_service import FunctionCallParams
from pipecat.services.openai.realtime import events
from pipecat.services.openai.realtime.llm import OpenAIRealtimeLLMService
from pipecat.workers.runner import WorkerRunner

logger.remove()


class Watch(FrameProcessor):
    """Takes what goes past."""

    def __init__(self, result: Result) -> None:
        super().__init__()
        self._result = result
        self._words: list[str] = []

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, TTSAudioRawFrame):
            self._result.audio(frame.audio)
        elif isinstance(frame, TranscriptionFrame):
            self._result.seen["transcript"].append(frame.text)
        elif isinstance(frame, TTSTextFrame):
            self._result.seen["reply"].append(frame.text)
        elif isinstance(frame, InterruptionFrame) and self._result.seen["audio"]:
            self._result.seen["interrupted"] = True
        await self.push_frame(frame, direction)


async def converse(url: str, result: Result) -> None:
    walk = FunctionSchema(
        "go_forward", "Go forward some meters.", {"meters": {"type": "integer"}}, ["meters"]
    )

    async def go_forward(params: FunctionCallParams) -> None:
        result.seen["tool"] = dict(params.arguments)
        await params.result_callback("arrived")

    transcription = events.InputAudioTranscription(model="whisper-1")
    properties = events.SessionProperties(
        output_modalities=["audio"],
        audio=events.AudioConfiguration(input=events.AudioInput(transcription=transcription)),
    )
    service = OpenAIRealtimeLLMService(
        api_key="any",
        base_url=url,
        settings=OpenAIRealtimeLLMService.Settings(model="gpt-realtime", session_properties=properties),
    )
    service.register_function("go_forward", go_forward)
    context = LLMContext([], tools=ToolsSchema(standard_tools=[walk]))
    pair = LLMContextAggregatorPair(context)
    pipeline = Pipeline([pair.user(), Watch(result), service, Watch(result), pair.assistant()])
    worker = PipelineWorker(
        pipeline,
        params=PipelineParams(audio_in_sample_rate=24_000, audio_out_sample_rate=24_000),
        enable_rtvi=False,
        idle_timeout_secs=None,
    )
    runner = WorkerRunner(handle_sigint=False)
    running = asyncio.create_task(runner.run(auto_end=False))
    await runner.add_workers(worker)
    await worker.queue_frame(LLMContextFrame(context))  # the service's way to begin: it greets
    await result.until(lambda: result.seen["reply"], "the greeting")
    before = len(result.seen["reply"])

    async def push(pcm: bytes) -> None:
        await worker.queue_frame(InputAudioRawFrame(audio=pcm, sample_rate=24_000, num_channels=1))

    await paced(speech("walk"), push)
    await result.until(lambda: result.seen["tool"], "the tool")
    await result.until(lambda: len(result.seen["reply"]) > before, "the reply")
    await paced(speech("hello"), push)
    await result.until(lambda: result.seen["interrupted"], "the interruption")
    await worker.cancel()
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    result.seen["closed"] = True


main(converse)
