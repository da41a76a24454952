"""Misuse, reconnecting, secrets."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Iterable
from typing import Any

from vivavoce import ReconnectPolicy, Voice
from vivavoce.errors import ConfigError, VoiceError
from vivavoce.events import Reconnected, Reconnecting
from vivavoce.provider import Session
from vivavoce.testing import RecordingContext, ramp

from vivavoce_conformance.bench import Bench, Recording, within
from vivavoce_conformance.ear import sound
from vivavoce_conformance.peer.script import Plan, Reply
from vivavoce_conformance.registry import Unmet, expect, family

__all__ = [
    "closes_twice",
    "closes_unopened",
    "configures_again",
    "does_not_storm",
    "gives_up_when_it_is_final",
    "keeps_its_key",
    "keeps_its_key_out_of_urls",
    "needs_a_session",
    "reads_its_variable",
    "refuses_odd_audio",
    "refuses_unknown_options",
    "replays",
    "restores",
    "sends_its_key",
    "sends_nothing_stale",
]

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


async def _restored(bench: Bench, voice: Voice) -> None:
    """Lose the connection, and have it back."""
    back = len(bench.of(Reconnected))
    await bench.peer.act("drop")
    await bench.settle(
        lambda: len(bench.of(Reconnected)) > back or voice.state == "closed", "it was not restored"
    )
    expect(voice.state == "open", "it gave up")


@contextlib.asynccontextmanager
async def _lasting(bench: Bench, plan: Plan, **config: Any) -> AsyncIterator[Voice]:
    await bench.peer.plan(plan)
    voice = bench.voice(**config)
    await voice.connect(timeout=8_000, reconnect=_POLICY)
    yield voice
    await within(voice.close(), "close()", 12)


@reconnect("VV-CON-150", needs="realtime turns", peer=True, by_ear=True)
async def restores(bench: Bench) -> None:
    """With `reconnect=True` a lost connection is restored, and the conversation goes on in the new one."""
    async with _lasting(bench, Plan()) as voice:
        await bench.replies(voice)
        await _restored(bench, voice)
        await bench.replies(voice)
        await voice.send(sound(bench, 100, voice.input_format))
        arrived = await bench.peer.reaches("audio_bytes", voice.input_format.bytes_for(100))
    expect(arrived, "audio sent after the outage did not arrive")


@reconnect("VV-CON-151", needs="realtime", peer=True)
async def configures_again(bench: Bench) -> None:
    """A restored session is configured like the first one, with what was changed meanwhile."""
    async with _lasting(bench, Plan(), instructions="Be brief.") as voice:
        await within(voice.add_instructions("Be kind."), "add_instructions()")
        first = (await bench.peer.seen()).connections
        await _restored(bench, voice)
        seen = await bench.peer.seen()
    last = [one for one in seen.of("configure") if one["connection"] > first]
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
        first = (await bench.peer.seen()).connections
        await _restored(bench, voice)
        said = [
            (one["role"], one["text"])
            for one in (await bench.peer.seen()).of("text")
            if one["connection"] > first
        ]
    expect(said == [("user", "How are you?"), ("assistant", "I am well.")], f"replayed was {said}")


@reconnect("VV-CON-153", needs="realtime", peer=True)
async def gives_up_when_it_is_final(bench: Bench) -> None:
    """When the credential is refused on reconnecting, that is final: it is not tried again."""
    from vivavoce_conformance.profile import load_object

    if load_object(bench.target.profile.dialect or "").transport == "tcp":
        return
    async with _lasting(bench, Plan()) as voice:
        # A new plan resets what is connected, and its record begins with the first attempt.
        await bench.peer.plan(Plan(accept=["http:401"] * 3))
        await bench.settle(lambda: voice.state == "closed", "it did not give up")
        seen = await bench.peer.seen()
    expect(seen.connections == 1, f"{seen.connections} attempts")


@reconnect("VV-CON-154", needs="realtime", peer=True)
async def does_not_storm(bench: Bench) -> None:
    """A service that drops every new connection is not stormed: one connection an attempt, attempts with pauses, and an end."""
    async with _lasting(bench, Plan(accept=["normal"] + ["drop"] * 400)) as voice:
        await bench.peer.act("drop")
        await bench.settle(lambda: len(bench.of(Reconnecting)) >= 4, "it was not tried again")
        attempts = bench.of(Reconnecting)
        again = (await bench.peer.seen()).connections - 1
        most = len(bench.of(Reconnecting))
        expect(again <= most, f"{again} connections in {most} attempts")
        expect(
            all(attempt.delay_ms for attempt in attempts[1:]), f"no pause between attempts: {attempts[:4]}"
        )
        await within(voice.close(), "close() while reconnecting", 12)


@reconnect("VV-CON-155", needs="realtime", peer=True, over="websocket tcp")
async def sends_nothing_stale(bench: Bench) -> None:
    """After an outage the service is not sent again what it has heard: speech of seconds ago would answer nobody."""
    async with _lasting(bench, Plan()) as voice:
        heard, new = voice.input_format.bytes_for(3_000), ramp(100, voice.input_format)
        await voice.send(ramp(3_000, voice.input_format))
        expect(await bench.peer.reaches("audio_bytes", heard), "the audio before the outage did not arrive")
        await _restored(bench, voice)
        await voice.send(new)
        await bench.peer.reaches("audio_bytes", heard + len(new))
        sent = (await bench.peer.heard())[heard:]
    expect(
        sent == new, f"{len(sent)} bytes arrived after the outage instead of the {len(new)} that were sent"
    )


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
    if bench.target.profile.credential is None:
        return
    async with bench.session(Plan(secret=bench.secret)):
        seen = await bench.peer.seen()
    expect(seen.secret, "it was neither in the request nor in a message")


@secrets("VV-CON-163", needs="realtime", peer=True)
async def reads_its_variable(bench: Bench) -> None:
    """Without a credential in the config the one in its environment variable is taken."""
    key = bench.target.profile.credential or ""
    variable = dict(getattr(bench.target.provider, "credentials", None) or {}).get(key)
    if variable is None:
        return
    before = os.environ.get(variable)
    os.environ[variable] = bench.secret
    try:
        async with bench.session(Plan(secret=bench.secret), **{key: None}):
            seen = await bench.peer.seen()
    except ConfigError as error:
        raise Unmet(f"{variable} was set, but: {error}") from None
    finally:
        os.environ.pop(variable)
        if before is not None:
            os.environ[variable] = before
    expect(seen.secret, f"the key in {variable} was not sent")
