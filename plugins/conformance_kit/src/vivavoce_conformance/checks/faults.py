"""A bad network and a bad service, below the protocol and within it: nothing a peer does may hang or kill."""

from __future__ import annotations

import asyncio
import random

from vivavoce import Voice
from vivavoce.errors import (
    ConnectionLostError,
    NotConnectedError,
    ProviderError,
    VoiceError,
)
from vivavoce.events import Closed, ResponseDone, Speaking

from vivavoce_conformance.bench import PATIENCE, Bench, within
from vivavoce_conformance.peer.script import Plan, Reply
from vivavoce_conformance.registry import Unmet, expect, family

__all__ = [
    "closes_a_stalled_session",
    "goes_on",
    "holds_back",
    "ignores_unknown_messages",
    "notices_a_half_close",
    "notices_a_reset",
    "notices_an_end",
    "notices_close_codes",
    "refuses_calls_after_loss",
    "survives_errors",
    "survives_garbage",
    "survives_malformed_messages",
    "takes_fragments",
    "takes_huge_messages",
    "takes_single_bytes",
    "tells_of_a_refused_reply",
]

fault = family("fault")

# Several core errors can be right for one fault; what is wrong is none, or one that is not of the tree.
_LOST = (ConnectionLostError, NotConnectedError, ProviderError)


async def _loses(bench: Bench, act: str, **data: int) -> Closed:
    """The peer does `act` while a reply runs: the session must end, with everything that waits on it."""
    async with bench.session():
        pass  # what the first session loads stays
    bench.events.clear()
    await bench.peer.plan(Plan(replies=[Reply(audio_ms=60, hold=True)]))
    async with bench.nothing_left(f"after {act}"):
        voice = bench.voice()
        await voice.connect(timeout=8_000)
        response = await bench.ask(voice)
        done = asyncio.ensure_future(response.done())
        await bench.settle(lambda: bench.of(Speaking), "no audio came")
        await bench.peer.act(act, **data)
        await asyncio.wait([done], timeout=PATIENCE)
        if not done.done():
            done.cancel()
            raise Unmet("whoever waited for the reply still waits: the loss was not noticed")
        raised = done.exception()
        expect(isinstance(raised, _LOST), f"the pending reply got {raised!r} instead of ConnectionLostError")
        await bench.settle(lambda: voice.state == "closed", f"the state stays {voice.state!r}")
        reason = response.audio.end_reason
        expect(reason == "lost", f"the reply's stream ended as {reason!r}")
        await within(voice.close(), "close()", 12)
    closed = bench.of(Closed)[0]
    assert isinstance(closed, Closed)
    return closed


@fault("VV-CON-080", needs="realtime turns", peer=True)
async def notices_a_reset(bench: Bench) -> None:
    """A reset connection ends the session at once: pending calls raise `ConnectionLostError`, streams end as `lost`."""
    closed = await _loses(bench, "drop")
    expect(not closed.clean, "it was told as a clean end")


@fault("VV-CON-081", needs="realtime turns", peer=True)
async def notices_an_end(bench: Bench) -> None:
    """A connection that ends without a word (FIN) ends the session like a reset."""
    await _loses(bench, "end")


@fault("VV-CON-082", needs="realtime turns", peer=True, over="websocket tcp")
async def notices_a_half_close(bench: Bench) -> None:
    """A connection whose far half is closed, and stays open to read, ends the session."""
    await _loses(bench, "half_close")


@fault("VV-CON-083", needs="realtime turns", peer=True)
async def notices_close_codes(bench: Bench) -> None:
    """A close by the service (1000, 1001, 1011, 1013) ends the session; whoever waits is told."""
    from vivavoce_conformance.profile import load_object

    if load_object(bench.target.profile.dialect or "").transport != "websocket":
        return
    for code in (1000, 1001, 1011, 1013):
        bench.events.clear()
        await _loses(bench, "close", code=code)


@fault("VV-CON-084", needs="realtime turns", peer=True)
async def survives_garbage(bench: Bench) -> None:
    """Bytes that are no protocol at all end the session cleanly, or are passed over; nothing hangs."""
    plan = Plan(replies=[Reply(audio_ms=60, hold=True)])
    async with bench.nothing_left("after garbage"), bench.session(plan) as voice:
        response = await bench.ask(voice)
        await bench.peer.act("garbage")
        await asyncio.sleep(0.2)
        if voice.state == "open":
            await within(voice.close(), "close()", 12)
        await asyncio.gather(within(response.done(), "the reply's end"), return_exceptions=True)
        expect(voice.state == "closed", f"the state is {voice.state!r}")


async def goes_on(bench: Bench, voice: Voice, after: str) -> None:
    """The session must still be a good one."""
    await asyncio.sleep(0.05)
    expect(voice.state == "open", f"{after} the state is {voice.state!r}")
    try:
        done = await within((await bench.ask(voice)).done(), f"{after}: a reply")
    except VoiceError as error:
        raise Unmet(f"{after} no reply came: {type(error).__name__}: {error}") from None
    expect(done.status == "completed", f"{after} the reply is {done.status}")


@fault("VV-CON-085", needs="realtime turns", peer=True)
async def survives_malformed_messages(bench: Bench) -> None:
    """A malformed message is passed over: the session goes on."""
    async with bench.session() as voice:
        await bench.replies(voice)
        await bench.peer.act("malformed")
        await goes_on(bench, voice, "after a malformed message")


@fault("VV-CON-086", needs="realtime turns", peer=True)
async def ignores_unknown_messages(bench: Bench) -> None:
    """A message of a kind that it does not know is ignored: the session goes on, without an error."""
    async with bench.session() as voice:
        await bench.replies(voice)
        await bench.peer.act("unknown")
        await goes_on(bench, voice, "after an unknown message")
    errors = bench.of(VoiceError)
    expect(not errors, f"it was told as an error: {errors[:1]}")


@fault("VV-CON-087", needs="realtime turns", peer=True)
async def survives_errors(bench: Bench) -> None:
    """An error which the service says is no end is told by `error`, with its code, and the session goes on."""
    async with bench.session() as voice:
        await bench.replies(voice)
        await bench.peer.act("error", code="invalid_value", message="one thing was wrong")
        await bench.settle(lambda: bench.of(VoiceError), "no `error` event came")
        await goes_on(bench, voice, "after an error")
    codes = [error.code for error in bench.of(VoiceError)]
    expect("invalid_value" in codes, f"the codes were {codes}")


@fault("VV-CON-088", needs="realtime turns", peer=True, over="websocket tcp")
async def takes_huge_messages(bench: Bench) -> None:
    """A single message of 2 MB of audio arrives bit by bit: limits of libraries are far above it."""
    async with bench.session() as voice:
        await bench.replies(voice)
        first = len(b"".join(event.audio for event in bench.of(Speaking)))
        await bench.peer.act("huge", size=2_000_000)
        await bench.settle(
            lambda: voice.state != "open" or len(bench.of(ResponseDone)) > 1, "its end was not told", 12
        )
        expect(voice.state == "open", "the session ended")
        spoken = await bench.peer.spoken()
        heard = b"".join(event.audio for event in bench.of(Speaking))[first:]
        expect(heard == spoken, f"{len(spoken)} bytes were spoken, {len(heard)} arrived, or others")


async def _receives(bench: Bench, plan: Plan) -> None:
    plan.replies = [Reply(audio_ms=60), Reply(audio_ms=40)]
    async with bench.session(plan) as voice:
        for _ in plan.replies:
            await within((await bench.ask(voice)).done(), "a reply", 15)
        heard = b"".join(event.audio for event in bench.of(Speaking))
        spoken = await bench.peer.spoken()
    expect(heard == spoken, f"{len(spoken)} bytes were spoken, {len(heard)} arrived, or others")


@fault("VV-CON-089", needs="realtime turns", peer=True, over="websocket tcp")
async def takes_single_bytes(bench: Bench) -> None:
    """Messages that arrive one byte at a time are the same messages."""
    await _receives(bench, Plan(slow=True))


@fault("VV-CON-090", needs="realtime turns", peer=True, over="websocket tcp")
async def takes_fragments(bench: Bench) -> None:
    """Messages that arrive in fragments are the same messages."""
    await _receives(bench, Plan(fragments=True))


@fault("VV-CON-091", needs="realtime", peer=True)
async def holds_back(bench: Bench) -> None:
    """While the service does not read, `send()` waits: what is not sent does not pile up in memory."""
    async with bench.session(Plan(deaf=True), instructions="Be brief.") as voice:
        noise = random.Random(7).randbytes(256 * 1024)
        sent = waited = 0

        async def pour() -> None:
            nonlocal sent
            for _ in range(160):
                await voice.send(noise)
                sent += len(noise)

        pouring = asyncio.ensure_future(pour())
        # Held is what makes no step while the loop makes a hundred: on a busy machine both are slow.
        while waited < 100 and not pouring.done():
            before = sent
            await asyncio.sleep(0.01)
            waited = waited + 1 if sent == before else 0
        held = not pouring.done()
        pouring.cancel()
        await asyncio.wait([pouring], timeout=5)
        expect(held, f"{sent >> 20} MiB were taken although nobody reads")
        # The limit leaves room for the kernel's own buffers.
        expect(sent < 24 << 20, f"{sent >> 20} MiB were taken although nobody reads")
        began = asyncio.get_running_loop().time()
        await within(voice.close(), "close() while the service does not read", 12)
        took = asyncio.get_running_loop().time() - began
        expect(took < 9, f"close() took {took:.1f} s while the service does not read")


@fault("VV-CON-092", needs="realtime turns", peer=True)
async def closes_a_stalled_session(bench: Bench) -> None:
    """`close()` ends also when the service has fallen silent for ever, and leaves nothing."""
    async with bench.session():
        pass
    # A peer that no longer reads cannot tell that the connection ended.
    async with bench.nothing_left("after closing a stalled session", at_peer=False):
        voice = bench.voice()
        await voice.connect(timeout=8_000)
        await bench.peer.act("stall")
        await within(voice.close(), "close()", 12)


@fault("VV-CON-093", needs="realtime turns", peer=True)
async def tells_of_a_refused_reply(bench: Bench) -> None:
    """A reply that the service refuses makes `answer()` raise `ProviderError` with the service's code; the session goes on."""
    async with bench.session(Plan(replies=[Reply(refuse="policy_violation")])) as voice:
        try:
            await bench.ask(voice)
        except ProviderError as error:
            expect(error.code == "policy_violation", f"its code is {error.code!r}")
        except VoiceError as error:
            raise Unmet(f"{type(error).__name__} instead of ProviderError: {error}") from None
        else:
            raise Unmet("answer() did not raise")
        await goes_on(bench, voice, "after a refused reply")


@fault("VV-CON-094", needs="realtime", peer=True)
async def refuses_calls_after_loss(bench: Bench) -> None:
    """After a loss, calls raise `NotConnectedError` or `ConnectionLostError` at once; nothing is sent into the void."""
    async with bench.session() as voice:
        await bench.peer.act("drop")
        await bench.settle(lambda: voice.state == "closed", "the loss was not noticed")
        try:
            await within(voice.send(b"\x00\x00" * 480), "send()")
        except (NotConnectedError, ConnectionLostError):
            return
        raise Unmet("send() accepted audio after the loss")
