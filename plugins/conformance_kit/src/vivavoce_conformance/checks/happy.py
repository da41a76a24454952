"""A service that works: what is said arrives, bit by bit and in order."""

from __future__ import annotations

import asyncio

from vivavoce.events import ResponseCreated, ResponseDone, Speaking, Turn, Writing

from vivavoce_conformance.bench import Bench, within
from vivavoce_conformance.ear import arrived, sound
from vivavoce_conformance.peer.script import Plan, Reply
from vivavoce_conformance.registry import expect, family

__all__ = [
    "ends_replies",
    "ends_streams",
    "hands_on_raw_messages",
    "hands_over_own_messages",
    "hears_unasked_replies",
    "receives_audio",
    "receives_text",
    "sends_audio",
    "sends_audio_of_any_size",
    "sends_text",
    "serves_two_voices",
    "streams",
    "tells_how_replies_ended",
    "tells_replies_apart",
    "tells_turns",
    "updates_config",
]

happy = family("happy path")

UNICODE = 'naïve — ‘déjà vu’ 日本語 \U0001f469‍\U0001f680 \u202bعربي\u202c "quoted" back\\slash\ttab'


@happy("VV-CON-050", needs="realtime text", peer=True)
async def sends_text(bench: Bench) -> None:
    """Text reaches the service unaltered, in order, with its role."""
    async with bench.session() as voice:
        await within(voice.send_text(UNICODE), "send_text()")
        await within(voice.send_text("second", role="assistant"), "send_text()")
        got = [(one["role"], one["text"]) for one in (await bench.peer.until("text", 2)).of("text")]
    expect(got == [("user", UNICODE), ("assistant", "second")], f"the service got {got}")


async def _sends(bench: Bench, audio: bytes, sizes: list[int]) -> None:
    async with bench.session() as voice:
        at, turn = 0, 0
        while at < len(audio):
            size = sizes[turn % len(sizes)]
            await within(voice.send(audio[at : at + size]), "send()")
            at, turn = at + size, turn + 1
        await bench.peer.reaches("audio_bytes", len(audio))
        heard = await bench.peer.heard()
        format = voice.input_format
    arrived(bench, heard, audio, format)


@happy("VV-CON-051", needs="realtime", peer=True, by_ear=True)
async def sends_audio(bench: Bench) -> None:
    """Audio reaches the service bit by bit, in order, nothing lost and nothing twice."""
    voice = bench.voice()
    await _sends(bench, sound(bench, 1_000, voice.input_format), [voice.input_format.bytes_for(20)])


@happy("VV-CON-052", needs="realtime", peer=True, by_ear=True)
async def sends_audio_of_any_size(bench: Bench) -> None:
    """Pieces of any size, from one sample to a second, reach the service bit by bit."""
    voice = bench.voice()
    await _sends(bench, sound(bench, 2_000, voice.input_format), [2, 6, 994, 32_000, 4_002, 2])


@happy("VV-CON-053", needs="realtime turns", peer=True, by_ear=True)
async def receives_audio(bench: Bench) -> None:
    """Reply audio reaches the app bit by bit, in order."""
    async with bench.session(Plan(replies=[Reply(audio_ms=700, chunk_ms=30), Reply(audio_ms=300)])) as voice:
        heard = bytearray()
        for _ in range(2):
            response = await bench.ask(voice)
            heard += b"".join([chunk async for chunk in response.audio])
            await within(response.done(), "done()")
        spoken = await bench.peer.spoken()
        format = voice.output_format
    arrived(bench, bytes(heard), spoken, format)


@happy("VV-CON-054", needs="realtime turns", peer=True)
async def receives_text(bench: Bench) -> None:
    """Reply text reaches the app unaltered: the deltas joined are the whole."""
    async with bench.session(Plan(replies=[Reply(text=UNICODE)])) as voice:
        response = await bench.ask(voice)
        whole = await within(response.text(), "text()")
    written = [event for event in bench.of(Writing) if event.role == "assistant"]
    deltas = "".join(event.text for event in written if not event.final)
    finals = [event.text for event in written if event.final]
    expect(whole == UNICODE, f"text() gave {whole!r}")
    expect(deltas in (UNICODE, ""), f"the deltas joined are {deltas!r}")
    expect(finals == [UNICODE], f"the final texts are {finals}")


@happy("VV-CON-055", needs="realtime turns")
async def ends_replies(bench: Bench) -> None:
    """Every reply ends with one `response.done`, which is completed and the last of its events."""
    async with bench.session() as voice:
        response = await bench.ask(voice)
        done = await within(response.done(), "done()", 15)
        await asyncio.sleep(0.1)
    expect(done.status == "completed", f"it ended as {done.status}")
    emitted = bench.sessions[-1]
    ends = [n for n, event in enumerate(emitted) if isinstance(event, ResponseDone)]
    expect(len(ends) == 1, f"{len(ends)} response.done")
    after = [e for e in emitted[ends[0] + 1 :] if getattr(e, "response_id", None) == response.id]
    expect(not after, f"after response.done came {type(after[0]).__name__ if after else ''}")


@happy("VV-CON-056", needs="realtime turns")
async def tells_replies_apart(bench: Bench) -> None:
    """Replies have ids of their own, and all that belongs to one carries its id."""
    async with bench.session() as voice:
        first = await bench.ask(voice, "One.")
        await within(first.done(), "done()", 15)
        second = await bench.ask(voice, "Two.")
        await within(second.done(), "done()", 15)
    expect(first.id != second.id, f"both replies are {first.id!r}")
    emitted = bench.sessions[-1]
    begun = {event.id for event in emitted if isinstance(event, ResponseCreated)}
    for event in emitted:
        if isinstance(event, Speaking) or (isinstance(event, Writing) and event.role == "assistant"):
            what = "audio" if isinstance(event, Speaking) else "text"
            expect(event.response_id in begun, f"{what} of reply {event.response_id!r}, which never began")


@happy("VV-CON-057", needs="realtime turns")
async def ends_streams(bench: Bench) -> None:
    """The stream of a reply that was spoken to its end ends as `completed`."""
    async with bench.session() as voice:
        response = await bench.ask(voice)
        async with asyncio.timeout(15):
            async for _ in response.audio:
                pass
    reason = response.audio.end_reason
    expect(reason == "completed", f"it ended as {reason!r}")


@happy("VV-CON-058", needs="realtime turns")
async def tells_turns(bench: Bench) -> None:
    """A finished reply is one `turn` of the assistant, with its whole text."""
    async with bench.session() as voice:
        response = await bench.ask(voice)
        text = await within(response.text(), "text()", 15)
        await bench.settle(lambda: [t for t in bench.of(Turn) if t.role == "assistant"], "no turn came")
    turns = [event for event in bench.of(Turn) if event.role == "assistant"]
    expect([turn.text for turn in turns] == [text], f"the turns are {[turn.text for turn in turns]}")


@happy("VV-CON-059", needs="realtime turns", peer=True)
async def streams(bench: Bench) -> None:
    """Audio is handed on as it arrives, not when the reply is complete."""
    async with bench.session(Plan(replies=[Reply(audio_ms=100, hold_first=True)])) as voice:
        response = await bench.ask(voice)
        await bench.settle(lambda: bench.of(Speaking), "no audio came while the reply was still running")
        await bench.peer.act("release")
        await within(response.done(), "done()")


@happy("VV-CON-060", needs="realtime turns", peer=True)
async def tells_how_replies_ended(bench: Bench) -> None:
    """A reply that the service ends as failed or incomplete is told as that."""
    plan = Plan(replies=[Reply(status="incomplete"), Reply(status="failed")])
    async with bench.session(plan) as voice:
        for wanted in ("incomplete", "failed"):
            done = await within((await bench.ask(voice)).done(), "done()")
            expect(done.status == wanted, f"{done.status!r} instead of {wanted!r}")


@happy("VV-CON-061", needs="realtime turns", peer=True)
async def hears_unasked_replies(bench: Bench) -> None:
    """A reply that the service begins by itself is told as any other."""
    async with bench.session() as voice:
        await bench.replies(voice)
        before = len(bench.of(ResponseDone))
        await bench.peer.act("reply")
        await bench.settle(lambda: len(bench.of(ResponseDone)) > before, "its end was not told")


@happy("VV-CON-062", needs="realtime turns", peer=True)
async def serves_two_voices(bench: Bench) -> None:
    """Two voices at once do not touch each other: closing one leaves the other in conversation."""
    one, other = bench.voice(), bench.voice()
    await one.connect(timeout=8_000)
    await other.connect(timeout=8_000)
    await bench.replies(other)
    await within(one.close(), "close()")
    await bench.replies(other)
    expect(other.state == "open", f"the other voice is {other.state!r}")


@happy("VV-CON-063", needs="realtime", peer=True)
async def updates_config(bench: Bench) -> None:
    """`add_instructions()` in an open session reaches the service, and resolves when it is acknowledged."""
    async with bench.session(Plan(lag=0.05), instructions="Be brief.") as voice:
        before = (await bench.peer.seen()).acknowledged
        await within(voice.add_instructions("Be kind."), "add_instructions()")
        seen = await bench.peer.seen()
    expect(seen.acknowledged > before, "it returned before the service had acknowledged")
    words = str(seen.of("configure")[-1].get("instructions"))
    expect("Be kind." in words, f"the service got {words!r}")


@happy("VV-CON-064", needs="realtime turns", peer=True, level="SHOULD")
async def hands_on_raw_messages(bench: Bench) -> None:
    """Every message of the service reaches listeners of `<provider>:*`, those that the provider does not know too."""
    async with bench.session() as voice:
        raw: list[object] = []
        voice.on(f"{voice.provider}:*", raw.append)
        await bench.replies(voice)
        known = len(raw)
        await bench.peer.act("unknown")
        await bench.settle(lambda: len(raw) > known, "a message that it does not know was not told")
    expect(known, "no message of a whole reply was told")


@happy("VV-CON-065", needs="realtime", peer=True)
async def hands_over_own_messages(bench: Bench) -> None:
    """`send_event()` hands the provider's own message to the service with all its fields, where there is that hook."""
    provider = bench.target.provider
    if not hasattr(getattr(provider, "send_event", None), "vivavoce_impl"):
        return
    async with bench.session(Plan(secret="vivavoce-marker"), instructions="Be brief.") as voice:
        await within(voice.send_event("vivavoce.conformance", marker="vivavoce-marker"), "send_event()")
        expect(await bench.peer.reaches("secret"), "the message, or a field of it, did not arrive")
