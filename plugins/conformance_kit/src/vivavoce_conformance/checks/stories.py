"""The grammar of what is told; and speech without a session."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Iterable

from vivavoce.errors import VoiceError
from vivavoce.events import ItemAdded, Reconnected, ResponseDone, SpeakingDone, Writing
from vivavoce.testing import ramp, validate

from vivavoce_conformance.bench import Bench, within
from vivavoce_conformance.peer.script import Plan, Reply
from vivavoce_conformance.registry import expect, family

__all__ = [
    "emits_core_events_alone",
    "emits_whole_values",
    "ends_texts",
    "leaves_nothing_of_speech",
    "listens",
    "lists_speakers",
    "orders_audio",
    "orders_responses",
    "orders_speech",
    "speaks",
    "speaks_nothing",
    "speaks_pieces",
    "stops_speaking",
    "tells_a_valid_story",
    "tells_that_it_listens",
]

grammar = family("event-stream grammar")


class _Story:
    """One conversation, which all rules of the grammar judge."""

    def __init__(self, emitted: list[object], received: list[object]) -> None:
        self.emitted = emitted
        self.received = received


_told: dict[str, _Story] = {}


async def _story(bench: Bench) -> _Story:
    """A whole conversation: what the provider emitted into its session, and what listeners received."""
    spec = bench.target.spec
    if spec not in _told:
        _told[spec] = await _converse(bench)
    return _told[spec]


async def _converse(bench: Bench) -> _Story:
    plan = Plan(replies=[Reply(), Reply(audio_ms=0), Reply(status="incomplete")]) if bench.has_peer else None
    async with bench.session(plan) as voice:
        for _ in range(2):
            await within((await bench.ask(voice)).done(), "done()", 15)
        if bench.has_peer and "vad" in bench.capabilities:
            await voice.send(ramp(200, voice.input_format))
            await bench.peer.act("speech", text="And now?", at_ms=40, ends_ms=160)
        await within((await bench.ask(voice)).done(), "done()", 15)
        await asyncio.sleep(0.05)
    return _Story(bench.sessions[-1], bench.events)


def _rules(emitted: Iterable[object], *prefixes: str) -> None:
    broken = [v for v in validate(emitted, of="provider") if v.rule.startswith(prefixes)]
    expect(not broken, "; ".join(map(str, broken[:3])))


@grammar("VV-CON-170", needs="realtime turns")
async def orders_responses(bench: Bench) -> None:
    """The provider tells each reply from its beginning to its end, in order: `ResponseCreated`, its parts, `ResponseDone`."""
    _rules((await _story(bench)).emitted, "response.", "session.")


@grammar("VV-CON-171", needs="realtime turns")
async def orders_audio(bench: Bench) -> None:
    """Audio of a reply ends once, with `SpeakingDone`, and nothing of it follows."""
    _rules((await _story(bench)).emitted, "audio.", "speaker.")


@grammar("VV-CON-172", needs="realtime vad turns")
async def orders_speech(bench: Bench) -> None:
    """Beginnings and ends of the user's speech alternate, in time and for one item."""
    _rules((await _story(bench)).emitted, "speech.")


@grammar("VV-CON-173", needs="realtime turns")
async def ends_texts(bench: Bench) -> None:
    """Each text has at most one end, and nothing of it follows; each turn is told once."""
    _rules((await _story(bench)).emitted, "writing.", "turn.")


_ROLES = ("user", "assistant")
_WORDS: dict[type, dict[str, tuple[str, ...]]] = {
    Writing: {"role": _ROLES},
    ItemAdded: {"role": _ROLES},
    ResponseDone: {"status": ("completed", "cancelled", "failed", "incomplete")},
    SpeakingDone: {"reason": ("completed", "cancelled", "interrupted", "lost")},
}


@grammar("VV-CON-174", needs="realtime turns")
async def emits_whole_values(bench: Bench) -> None:
    """Single values make sense: audio is whole samples and never empty, times are not negative, roles and statuses are known."""
    emitted = (await _story(bench)).emitted
    _rules(emitted, "value")
    for event in emitted:
        for name, known in _WORDS.get(type(event), {}).items():
            word = getattr(event, name)
            expect(word in known, f"{type(event).__name__}.{name} is {word!r}, none of {', '.join(known)}")


@grammar("VV-CON-175", needs="realtime turns")
async def tells_a_valid_story(bench: Bench) -> None:
    """What listeners receive of a whole conversation follows the grammar of events, and ends closed."""
    broken = validate((await _story(bench)).received, closed=True)
    expect(not broken, "; ".join(map(str, broken[:3])))


@grammar("VV-CON-176", needs="realtime turns")
async def emits_core_events_alone(bench: Bench) -> None:
    """A provider emits events of the core and `VoiceError`s, nothing else."""
    from vivavoce.events import Closed, Event, Interrupted, Opened, Reconnecting, ToolCallResult

    own = (Opened, Closed, Reconnecting, Reconnected, Interrupted, ToolCallResult)
    for event in (await _story(bench)).emitted:
        expect(isinstance(event, (Event, VoiceError)), f"it emitted {event!r}, which is no event")
        expect(not isinstance(event, own), f"it emitted {type(event).__name__}, which is the core's own")


speech = family("speech without a session")


@speech("VV-CON-180", needs="speak")
async def speaks(bench: Bench) -> None:
    """`speak()` gives a stream of whole samples that ends as `completed`."""
    stream = await within(bench.voice().speak("Good morning."), "speak()", 20)
    async with asyncio.timeout(20):
        audio = b"".join([chunk async for chunk in stream])
    expect(audio, "there was no audio")
    expect(len(audio) % 2 == 0, f"{len(audio)} bytes are no whole samples")
    expect(stream.end_reason == "completed", f"it ended as {stream.end_reason!r}")


@speech("VV-CON-181", needs="speak")
async def speaks_pieces(bench: Bench) -> None:
    """`speak()` takes text that is still being written."""

    async def pieces() -> AsyncIterator[str]:
        for piece in ("Good ", "morning. ", "How are you?"):
            yield piece
            await asyncio.sleep(0.01)

    stream = await within(bench.voice().speak(pieces()), "speak()", 20)
    async with asyncio.timeout(20):
        audio = b"".join([chunk async for chunk in stream])
    expect(
        audio and stream.end_reason == "completed", f"{len(audio)} bytes; it ended as {stream.end_reason!r}"
    )


@speech("VV-CON-182", needs="speak")
async def speaks_nothing(bench: Bench) -> None:
    """`speak("")` gives a stream that ends."""
    stream = await within(bench.voice().speak(""), "speak()", 20)
    async with asyncio.timeout(20):
        async for _ in stream:
            pass
    expect(stream.end_reason == "completed", f"it ended as {stream.end_reason!r}")


@speech("VV-CON-183", needs="speak")
async def stops_speaking(bench: Bench) -> None:
    """Closing the voice while it speaks ends the stream and leaves nothing."""
    warm = bench.voice()
    stream = await within(warm.speak("Yes."), "speak()", 20)
    async with asyncio.timeout(20):
        async for _ in stream:
            pass
    await within(warm.close(), "close()", 12)
    async with bench.nothing_left("after closing while speaking"):
        voice = bench.voice()
        stream = await within(voice.speak("This is a long sentence. " * 40), "speak()", 20)
        await within(voice.close(), "close()", 12)
        async with asyncio.timeout(20):
            async for _ in stream:
                pass
    expect(stream.end_reason in ("cancelled", "completed"), f"the stream ended as {stream.end_reason!r}")


@speech("VV-CON-184", needs="speak")
async def lists_speakers(bench: Bench) -> None:
    """`get_speakers()` names at least one voice, each once."""
    found = [speaker.id for speaker in await within(bench.voice().get_speakers(), "get_speakers()", 20)]
    expect(found, "there is none")
    expect(len(set(found)) == len(found), f"some are named twice: {found}")


@speech("VV-CON-185", needs="listen")
async def listens(bench: Bench) -> None:
    """`listen()` gives text for audio, and "" or words for noise and silence; it does not raise."""
    noise = random.Random(7).randbytes(16_000)
    voice = bench.voice()
    for audio in (bytes(8_000), noise[:8_000], b""):
        text = await within(voice.listen(audio, rate=16_000), "listen()", 20)
        expect(isinstance(text, str), f"it gave {type(text).__name__}")


@speech("VV-CON-186", needs="listen")
async def tells_that_it_listens(bench: Bench) -> None:
    """`get_listener()` says that listening is enabled."""
    info = await within(bench.voice().get_listener(), "get_listener()", 20)
    expect(info.enabled, "it is not")


@speech("VV-CON-187", any_of="speak listen")
async def leaves_nothing_of_speech(bench: Bench) -> None:
    """A voice that spoke or listened and was closed leaves nothing."""
    for turn in range(2):
        async with contextlib.AsyncExitStack() as stack:
            if turn:  # what the first use loads stays
                await stack.enter_async_context(bench.nothing_left("after speaking and listening"))
            voice = bench.voice()
            if "speak" in bench.capabilities:
                stream = await within(voice.speak("Yes."), "speak()", 20)
                async for _ in stream:
                    pass
            if "listen" in bench.capabilities:
                await within(voice.listen(bytes(3_200), rate=16_000), "listen()", 20)
            await within(voice.close(), "close()", 12)
