"""What lasts: reconnecting, secrets, the grammar of events, misuse; and speech without a session."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncIterator, Iterable

from vivavoce import ReconnectPolicy, Voice
from vivavoce.errors import VoiceError
from vivavoce.events import Reconnected
from vivavoce.provider import Session
from vivavoce.testing import RecordingContext, ramp, validate

from vivavoce_conformance.bench import Bench, Recording, within
from vivavoce_conformance.peer.script import Plan, Reply
from vivavoce_conformance.registry import Unmet, expect, family

__all__ = []

misuse = family("misuse")


def _context(bench: Bench) -> RecordingContext:
    return RecordingContext(session=Session(provider=bench.target.name))


async def _hook(provider: object, name: str, **arguments: object) -> object:
    """Call one hook with the arguments that it takes."""
    import inspect

    hook = getattr(provider, name, None)
    if hook is None:
        return None
    taken = inspect.signature(hook).parameters
    result = hook(**{key: value for key, value in arguments.items() if key in taken})
    return await within(result, f"{name}()") if inspect.isawaitable(result) else result


@misuse("VV-CON-070", any_of="realtime speak listen")
async def closes_unopened(bench: Bench) -> None:
    """The hook `close` may come before any `connect`, twice, and concurrently; it never raises."""
    provider = bench.new_provider()
    for _ in range(2):
        await _hook(provider, "close", context=_context(bench), reason="closed")
    await asyncio.gather(
        *(_hook(provider, "close", context=_context(bench), reason="closed") for _ in range(3))
    )


@misuse("VV-CON-071", needs="realtime")
async def closes_twice(bench: Bench) -> None:
    """`close()` twice, concurrently, and from inside a listener ends the session once, without an error in the log."""
    recording = Recording()
    logging.getLogger("vivavoce").addHandler(recording)
    try:
        voice = bench.voice()
        voice.once("open", lambda event: asyncio.ensure_future(voice.close()))
        with contextlib.suppress(VoiceError):
            await voice.connect(timeout=8_000)
        await within(asyncio.gather(voice.close(), voice.close()), "close()", 12)
        await within(voice.close(), "close()", 12)
    finally:
        logging.getLogger("vivavoce").removeHandler(recording)
    closes = sum(getattr(event, "type", "") == "close" for event in bench.events)
    expect(closes == 1, f"{closes} events `close`")
    bad = [record.getMessage() for record in recording.records if record.levelno >= logging.ERROR]
    expect(not bad, f"logged: {bad[:1]}")


@misuse("VV-CON-072", needs="realtime")
async def needs_a_session(bench: Bench) -> None:
    """Realtime calls before `connect()` and after `close()` raise `NotConnectedError`."""
    from vivavoce.errors import NotConnectedError

    voice = bench.voice()
    for moment in ("before connect()", "after close()"):
        try:
            await voice.send(b"\x00\x00" * 480)
        except NotConnectedError:
            pass
        else:
            raise Unmet(f"send() {moment} did not raise")
        if moment == "before connect()":
            await voice.connect(timeout=8_000)
            await within(voice.close(), "close()", 12)


@misuse("VV-CON-073", needs="realtime")
async def refuses_odd_audio(bench: Bench) -> None:
    """Audio that ends in half a sample is an `AudioError`, and the session goes on."""
    from vivavoce.errors import AudioError

    async with bench.session() as voice:
        try:
            await within(voice.send(b"\x00\x00\x00"), "send()")
        except AudioError:
            expect(voice.state == "open", f"the state is {voice.state!r}")
            return
        raise Unmet("send() accepted three bytes")


@misuse("VV-CON-074", needs="realtime")
async def refuses_unknown_options(bench: Bench) -> None:
    """An unknown option of `connect()` is a `ConfigError`."""
    from vivavoce.errors import ConfigError

    try:
        await bench.voice().connect(vivavoce_conformance_unknown=1)
    except ConfigError:
        return
    raise Unmet("it was accepted")


reconnect = family("reconnect")
_POLICY = ReconnectPolicy(initial_delay_ms=20, max_delay_ms=100, budget_ms=3_000)


async def _restored(bench: Bench, voice: Voice, plan: Plan | None = None) -> None:
    """Lose the connection, and have it back."""
    back = len(bench.of(Reconnected))
    await bench.peer.act("drop")
    await bench.settle(
        lambda: len(bench.of(Reconnected)) > back or voice.state == "closed", "it was not restored"
    )
    expect(voice.state == "open", "it gave up")


@contextlib.asynccontextmanager
async def _lasting(bench: Bench, plan: Plan, **config: object) -> AsyncIterator[Voice]:
    await bench.peer.plan(plan)
    voice = bench.voice(**config)
    await voice.connect(timeout=8_000, reconnect=_POLICY)
    yield voice
    await within(voice.close(), "close()", 12)


@reconnect("VV-CON-150", needs="realtime turns", peer=True)
async def restores(bench: Bench) -> None:
    """With `reconnect=True` a lost connection is restored, and the conversation goes on in the new one."""
    async with _lasting(bench, Plan()) as voice:
        await bench.replies(voice)
        await _restored(bench, voice)
        await bench.replies(voice)
        await voice.send(ramp(100, voice.input_format))
        arrived = await bench.peer.reaches("audio_bytes", voice.input_format.bytes_for(100))
    expect(arrived, "audio sent after the outage did not arrive")


@reconnect("VV-CON-151", needs="realtime", peer=True)
async def configures_again(bench: Bench) -> None:
    """A restored session is configured like the first one, with what was changed meanwhile."""
    async with _lasting(bench, Plan(), instructions="Be brief.") as voice:
        await within(voice.add_instructions("Be kind."), "add_instructions()")
        await _restored(bench, voice)
        seen = await bench.peer.seen()
    last = [one for one in seen.of("configure") if one["connection"] == 2]
    expect(last, "the second connection was not configured")
    words = str(last[-1].get("instructions"))
    expect(words == "Be kind.", f"it was configured with {words!r}")


@reconnect("VV-CON-152", needs="realtime turns text replay", peer=True)
async def replays(bench: Bench) -> None:
    """A restored session is told what was said before, in order."""
    async with _lasting(bench, Plan(replies=[Reply(text="I am well.")])) as voice:
        response = await bench.ask(voice, "How are you?")
        await within(response.done(), "done()")
        await bench.settle(lambda: len(voice.history) >= 2, "the history was not kept")
        await _restored(bench, voice)
        said = [
            (one["role"], one["text"])
            for one in (await bench.peer.seen()).of("text")
            if one["connection"] == 2
        ]
    expect(said == [("user", "How are you?"), ("assistant", "I am well.")], f"replayed was {said}")


@reconnect("VV-CON-153", needs="realtime", peer=True)
async def gives_up_when_it_is_final(bench: Bench) -> None:
    """When the credential is refused on reconnecting, that is final: it is not tried again."""
    from vivavoce_conformance.profile import load_object

    if load_object(bench.target.profile.dialect or "").transport != "websocket":
        return
    async with _lasting(bench, Plan(accept=["normal", "http:401", "http:401"])) as voice:
        await bench.peer.act("drop")
        await bench.settle(lambda: voice.state == "closed", "it did not give up")
        seen = await bench.peer.seen()
    expect(seen.connections == 2, f"{seen.connections - 1} attempts")


@reconnect("VV-CON-154", needs="realtime", peer=True)
async def does_not_storm(bench: Bench) -> None:
    """A service that drops every new connection is not stormed: the attempts are few, and they end."""
    async with _lasting(bench, Plan(accept=["normal"] + ["drop"] * 200)) as voice:
        await bench.peer.act("drop")
        await asyncio.sleep(1.0)
        seen = await bench.peer.seen()
        expect(seen.connections < 30, f"{seen.connections} connections in one second")
        await within(voice.close(), "close() while reconnecting", 12)


secrets = family("secrets")


@secrets("VV-CON-160", needs="realtime", peer=True)
async def keeps_its_key(bench: Bench) -> None:
    """The credential stands in no log record, event, error or repr, in good times and bad."""
    recording = Recording()
    root = logging.getLogger()
    level = root.level
    root.addHandler(recording)
    root.setLevel(logging.DEBUG)
    shown: list[str] = []
    try:
        for accept in ("normal", "http:401", "http:503", "drop", "half"):
            await bench.peer.plan(Plan(accept=[accept]))
            voice = bench.voice()
            try:
                await voice.connect(timeout=5_000)
                if "turns" in bench.capabilities:
                    await bench.replies(voice)
            except VoiceError as error:
                shown += [str(error), repr(error), repr(vars(error)), repr(error.__cause__)]
            shown += [repr(voice), repr(voice.usage)]
            await within(voice.close(), "close()", 12)
        shown += _reprs(bench)
    finally:
        root.removeHandler(recording)
        root.setLevel(level)
    _without(bench.secret, "an error, a repr or an event", [*shown, *map(repr, bench.events)])
    _without(bench.secret, "the log", recording.texts())


def _reprs(bench: Bench) -> list[str]:
    from vivavoce.config import build_config

    provider = bench.target.provider
    config_class = getattr(provider, "config_class", None)
    config, _ = build_config(bench.config(), provider="x", config_class=config_class, has_capabilities=True)
    return [repr(config), repr(bench.new_provider())]


def _without(secret: str, where: str, texts: Iterable[str]) -> None:
    for text in texts:
        if secret in text:
            place = text.index(secret)
            raise Unmet(f"in {where}: …{text[max(0, place - 60) : place]}[the key]…")


@secrets("VV-CON-161", needs="realtime", peer=True, level="SHOULD")
async def keeps_its_key_out_of_urls(bench: Bench) -> None:
    """The credential is not part of the address: addresses stand in the logs of every proxy."""
    async with bench.session():
        seen = await bench.peer.seen()
    lines = [request.splitlines()[0] for request in seen.requests if request]
    expect(not any(bench.secret in line for line in lines), "the request's path holds the key")


@secrets("VV-CON-162", needs="realtime", peer=True)
async def sends_its_key(bench: Bench) -> None:
    """The credential that the app gave is the one that the service gets."""
    from vivavoce_conformance.profile import load_object

    websocket = load_object(bench.target.profile.dialect or "").transport == "websocket"
    if bench.target.profile.credential is None or not websocket:
        return
    async with bench.session():
        seen = await bench.peer.seen()
    expect(any(bench.secret in request for request in seen.requests), "it was not in the request")


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


@grammar("VV-CON-174", needs="realtime turns")
async def emits_whole_values(bench: Bench) -> None:
    """Single values make sense: audio is whole samples and never empty, times and counts are not negative."""
    _rules((await _story(bench)).emitted, "value")


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
