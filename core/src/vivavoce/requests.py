"""What an app asks of a session: each as one function over the runtime, with its deadline.

All of them end with `NotConnectedError` (code `closed`) when the voice is closed, with `ConnectionLostError` when the
session is lost, and with a `VoiceError` of code `timeout` when the provider does not finish in time. Cancelling one
leaves the session as it is.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from vivavoce import failures
from vivavoce.audio import AudioFormat
from vivavoce.config import deep_merge
from vivavoce.errors import AudioError, NotConnectedError, VoiceError
from vivavoce.events import Role, ToolCallResult, ToolCallStart
from vivavoce.failures import REQUEST_DEADLINE
from vivavoce.live import Live
from vivavoce.provider import ListenerInfo, SpeakerInfo, Speech
from vivavoce.redaction import get_logger
from vivavoce.streams import AudioStream, Response
from vivavoce.tasks import patient
from vivavoce.toolloop import ToolLoop
from vivavoce.tools import Tool

if TYPE_CHECKING:
    from vivavoce.session import Runtime

__all__ = [
    "add_tools",
    "as_speech",
    "ask",
    "clear_input",
    "commit_input",
    "interrupt",
    "listen",
    "listener",
    "request",
    "return_tool_result",
    "send_all",
    "send_text",
    "sent",
    "speak",
    "speakers",
    "tool_loop",
    "update",
]

logger = get_logger("vivavoce")

REPLY_DEADLINE = 300.0
"""Seconds that `answer()` waits for the end of the reply before it."""
_SPEECH_AHEAD = 1024 * 1024
_speech_ids = itertools.count(1)


async def request(
    runtime: Runtime, live: Live, hook: str, *args: Any, timeout: float | None = REQUEST_DEADLINE
) -> Any:
    """Call a hook of the provider within the deadline. What it raises becomes an error of ours."""
    try:
        async with live.calls.guard(timeout, partial(runtime.late, hook)):
            work = runtime.relay.call(hook, live.context, *args)
            # This one would hold up every later change; any other hook that never ends, only its caller.
            return await (patient(work, "update_config()") if hook == "update_config" else work)
    except Exception as failed:
        problem = failures.refused(runtime.provider, hook, failed, live.session.id)
    except asyncio.CancelledError:
        if asyncio.current_task().cancelling():  # type: ignore[union-attr]
            raise
        text = f"{hook}() of provider {runtime.provider!r} was cancelled by the provider itself"
        problem = VoiceError(text, code="provider_bug", provider=runtime.provider, session_id=live.session.id)
    raise problem  # out here, so that nothing is chained but what is meant to be


async def ask(runtime: Runtime, live: Live, options: Mapping[str, Any]) -> Response:
    """Ask for a reply, once the one before it has ended; manual turns are committed first. One beside the conversation
    waits for nothing and commits nothing."""
    if options.get("out_of_band"):
        return await _begin(runtime, live, options)
    async with live.calls.guard(REPLY_DEADLINE, partial(runtime.late, "answer", REPLY_DEADLINE)), live.asking:
        await live.idle()
        await runtime.inflow.flush()
        manual = live.session.manual_turns and runtime.relay.implements("commit_input")
        if manual and runtime.input_bytes and "input" not in options:
            await commit_input(runtime, live)
        return await _begin(runtime, live, options)


async def _begin(runtime: Runtime, live: Live, options: Mapping[str, Any]) -> Response:
    begins = live.expect_reply()
    try:
        async with live.calls.guard(REQUEST_DEADLINE, partial(runtime.late, "answer")):
            id = await request(runtime, live, "answer", options, timeout=None)
            if id is not None and not isinstance(id, str):
                raise failures.odd_result(runtime.provider, "answer", id, "the reply's id as a str, or None")
            return live.find_response(id) if isinstance(id, str) else await begins
    finally:
        live.claimed(begins)


async def commit_input(runtime: Runtime, live: Live) -> None:
    """The user's turn ends here."""
    await runtime.inflow.flush()
    runtime.input_bytes = 0
    await request(runtime, live, "commit_input")


async def clear_input(runtime: Runtime, live: Live) -> None:
    """Forget the audio since the last turn."""
    runtime.inflow.reset()
    runtime.input_bytes = 0
    await request(runtime, live, "clear_input")


async def send_text(runtime: Runtime, live: Live, text: str, role: Role) -> None:
    """Add a text message; it is a turn of its own."""
    await request(runtime, live, "send_text", text, role)
    live.turns.say(text, role)


async def interrupt(
    runtime: Runtime, lives: Iterable[Live | None], item_id: str | None, played_ms: float | None
) -> None:
    """Silence at once, everywhere; then tell the service."""
    for stream in runtime.speaking():
        stream._stop("interrupted")
    for live in dict.fromkeys(live for live in lives if live is not None):
        for interruption in live.interrupt(cancel=True, item_id=item_id, played_ms=played_ms):
            await runtime.cut(live, interruption)


async def speak(
    runtime: Runtime, live: Live, text: str | AsyncIterator[str], options: Mapping[str, Any]
) -> AudioStream:
    """Text to speech: the stream begins as soon as the provider does."""
    result = await request(runtime, live, "speak", text, options)
    speech = as_speech(result, live.session.output_format)
    if not hasattr(speech.chunks, "__aiter__"):
        wanted = "a Speech or an async iterator of PCM16"
        raise failures.odd_result(runtime.provider, "speak", speech.chunks, wanted)
    stream = AudioStream(f"speech_{next(_speech_ids)}", speech.format)
    runtime.speeches.add(stream)
    runtime.spawn(_pump(runtime, stream, speech.chunks), lasting=True)
    return stream


def as_speech(result: Any, format: AudioFormat) -> Speech:
    """What a `speak` hook returned, as a `Speech`."""
    if isinstance(result, Speech):
        return result
    if result is None or isinstance(result, (bytes, bytearray, memoryview)):
        return Speech(format, _once(bytes(result or b"")))
    return Speech(format, result)


async def _once(audio: bytes) -> AsyncIterator[bytes]:
    if audio:
        yield audio


async def _pump(runtime: Runtime, stream: AudioStream, chunks: AsyncIterator[bytes]) -> None:
    """Move speech into its stream, at most 1 MiB ahead of whoever reads it."""
    try:
        async for audio in chunks:
            if stream.end_reason is not None:
                return
            stream._feed(audio)
            await stream._room(_SPEECH_AHEAD)
        stream._end("completed")
    except asyncio.CancelledError:
        stream._end("cancelled")
        raise
    except VoiceError:
        stream._end("lost")
        raise
    except Exception as bug:
        stream._end("lost")
        raise VoiceError(
            f"provider {runtime.provider!r} failed while speaking: {type(bug).__name__}: {bug}",
            code="speak_failed",
        ) from bug
    finally:
        close = getattr(chunks, "aclose", None)
        if close is not None:
            await close()


async def listen(
    runtime: Runtime, live: Live, audio: AsyncIterator[bytes], options: Mapping[str, Any]
) -> str:
    """Speech to text. It takes as long as the audio does; the provider keeps the deadline of its engine."""
    broken: list[Exception] = []
    try:
        text = await request(runtime, live, "listen", _watched(audio, broken), options, timeout=None)
    except VoiceError:
        if not broken:
            raise
        text = None
    if broken:  # the app's own source, not the provider
        raise broken[0]
    if text is not None and not isinstance(text, str):
        raise failures.odd_result(runtime.provider, "listen", text, "the transcript as a str")
    return text or ""


async def _watched(audio: AsyncIterator[bytes], broken: list[Exception]) -> AsyncIterator[bytes]:
    try:
        async for chunk in audio:
            yield chunk
    except Exception as bad:
        broken.append(bad)
        raise


async def speakers(runtime: Runtime, live: Live) -> list[SpeakerInfo]:
    """The provider's voices."""
    found: Any = await request(runtime, live, "get_speakers") or ()
    try:
        return [
            entry if isinstance(entry, SpeakerInfo) else msgspec.convert(dict(entry), SpeakerInfo)
            for entry in found
        ]
    except (TypeError, ValueError) as bad:  # msgspec's own is a ValueError
        wanted = f"SpeakerInfo values, or mappings with their fields ({bad})"
        raise failures.odd_result(runtime.provider, "get_speakers", found, wanted) from bad


async def listener(runtime: Runtime, live: Live) -> ListenerInfo:
    """Whether the provider turns speech to text."""
    info = await request(runtime, live, "get_listener")
    if info is None or isinstance(info, bool):
        return ListenerInfo(enabled=info is not False)
    try:
        return info if isinstance(info, ListenerInfo) else msgspec.convert(dict(info), ListenerInfo)
    except (TypeError, ValueError) as bad:
        wanted = f"a ListenerInfo, or a mapping with its fields ({bad})"
        raise failures.odd_result(runtime.provider, "get_listener", info, wanted) from bad


def tool_loop(runtime: Runtime, live: Live) -> ToolLoop:
    """The tool loop of one connection."""

    def deliver(event: ToolCallStart | ToolCallResult) -> None:
        if live.ended:
            return
        if isinstance(event, ToolCallStart):
            arguments = msgspec.json.encode(event.arguments).decode()
            runtime.memory.record_call(event.call_id, event.name, arguments)
        runtime.emitter.emit(event.type, event)

    async def give_back(call_id: str, output: str) -> None:
        if live.ended:
            return
        await request(runtime, live, "return_tool_result", call_id, output)
        runtime.memory.record_result(call_id, output)

    async def go_on() -> None:
        await ask(runtime, live, {})

    return ToolLoop(
        tools=lambda: live.session.tools,
        deliver=deliver,
        give_back=give_back,
        go_on=go_on,
        spawn=runtime.spawn,
    )


async def add_tools(runtime: Runtime, new: tuple[Tool, ...]) -> None:
    """Add tools; one with a known name replaces it."""
    async with runtime.pending.guard(), runtime.updating:
        names = {tool.name for tool in new}
        kept = tuple(tool for tool in runtime.wanted.tools if tool.name not in names)
        await _update(runtime, {"tools": kept + new})


async def return_tool_result(runtime: Runtime, live: Live, call_id: str, output: str) -> None:
    """The output of a tool call that the app runs."""
    if live is not runtime.live:
        raise runtime.not_connected("return_tool_result")
    await runtime.tools_of(live).take_result(call_id, output)


async def update(runtime: Runtime, changes: Mapping[str, Any]) -> None:
    """Merge changed settings into what every session is configured with, and into the one that is open."""
    async with runtime.pending.guard(), runtime.updating:
        await _update(runtime, changes)


async def _update(runtime: Runtime, changes: Mapping[str, Any]) -> None:
    """One at a time: a change that is refused is taken back, and must not take another one with it."""
    while runtime.state in ("connecting", "reconnecting"):
        await runtime.change()  # its session may have been configured already
    before = runtime.wanted
    runtime.wanted = msgspec.structs.replace(
        before,
        instructions=changes.get("instructions", before.instructions),
        speaker=changes.get("speaker", before.speaker),
        tools=changes.get("tools", before.tools),
        settings=deep_merge(before.settings, changes.get("session", {})),
    )
    live = runtime.live
    if runtime.state != "open" or live is None:
        return  # the next session begins with them
    runtime.wanted.apply(live.session)
    try:
        await request(runtime, live, "update_config", changes)
    except BaseException:
        runtime.wanted = before
        before.apply(live.session)
        raise


async def sent(runtime: Runtime, result: Any) -> None:
    """Wait until a frame was handed over, or the voice is closed."""
    try:
        await runtime.inflow.wait_sent(result)
    except NotConnectedError as ended:
        if ended.code != "closed":
            raise


async def send_all(runtime: Runtime, chunks: AsyncIterator[bytes]) -> int:
    """Send a source to its end, or to that of the voice: then what is left of it is not sent. Returns the bytes sent."""
    left: AudioError | None = None
    size = 0
    try:
        while True:
            async with runtime.pending.guard():
                try:
                    audio = await anext(chunks)
                except StopAsyncIteration:
                    break
                except AudioError as bad:
                    left = bad
                    break
            await runtime.inflow.hand(audio)
            size += len(audio)
    except NotConnectedError as ended:
        if ended.code != "closed":
            raise
    finally:
        close = getattr(chunks, "aclose", None)
        if close is not None:
            await close()
    if left is not None:
        raise left
    return size
