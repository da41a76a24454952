"""Wrong providers that one check alone can tell: what they say, hear and do in a conversation."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any

import attrs
import msgspec
from vivavoce import events, hookimpl
from vivavoce.errors import AuthenticationError, ConnectError, ProtocolError, ProviderError
from wrong_base import Realtime, wrong

change = msgspec.structs.replace


@wrong("VV-CON-051", alone=True)
class LosesEveryTenthFrame(Realtime):
    frames = 0

    @hookimpl
    def send(self, context: Any, audio: bytes) -> Any:
        self.frames += len(audio) == 960
        return None if len(audio) == 960 and self.frames % 10 == 0 else super().send(context, audio)


@wrong("VV-CON-053", alone=True)
class TakesShortFramesOnly(Realtime):
    def filter(self, context: Any, event: Any) -> Any:
        return () if isinstance(event, events.Speaking) and len(event.audio) == 1_440 else (event,)


@wrong("VV-CON-055", alone=True)
class TellsUsageTooLate(Realtime):
    def filter(self, context: Any, event: Any) -> Any:
        if not isinstance(event, events.ResponseDone):
            return (event,)
        return (event, events.Usage(output_text_tokens=1, response_id=event.id))


@wrong("VV-CON-056", alone=True)
class TellsTextOfNoReply(Realtime):
    def filter(self, context: Any, event: Any) -> Any:
        delta = isinstance(event, events.Writing) and event.role == "assistant" and not event.final
        return (change(event, response_id=None),) if delta else (event,)


class _Measured(Realtime):
    """Knows how much audio of the reply it has told."""

    told = 0

    def filter(self, context: Any, event: Any) -> Any:
        if isinstance(event, events.ResponseCreated):
            self.told = 0
        elif isinstance(event, events.Speaking):
            self.told += len(event.audio)
        return (event,)


@wrong("VV-CON-057", alone=True)
class EndsShortAudioAsCancelled(_Measured):
    def filter(self, context: Any, event: Any) -> Any:
        out = super().filter(context, event)
        if isinstance(event, events.ResponseDone) and self.told == 9_600:
            return (events.SpeakingDone("cancelled", event.id), event)
        return out


@wrong("VV-CON-058", alone=True)
class TellsTurnsItself(Realtime):
    capabilities = Realtime.capabilities - {"replay"}

    def filter(self, context: Any, event: Any) -> Any:
        final = isinstance(event, events.Writing) and event.final and event.role == "assistant"
        return (event, events.Turn("assistant", event.text)) if final else (event,)


@wrong("VV-CON-059", alone=True)
class HoldsTheFirstFrame(_Measured):
    held: Any = None

    def filter(self, context: Any, event: Any) -> Any:
        super().filter(context, event)
        if isinstance(event, events.Speaking) and self.told == len(event.audio):
            self.held = event
            return ()
        if self.held is not None and isinstance(event, (events.Speaking, events.ResponseDone)):
            held, self.held = self.held, None
            return (held, event)
        return (event,)


@wrong("VV-CON-060", alone=True)
class EndsFailuresWell(Realtime):
    def filter(self, context: Any, event: Any) -> Any:
        bad = isinstance(event, events.ResponseDone) and event.status in ("failed", "incomplete")
        return (change(event, status="completed"),) if bad else (event,)


@wrong("VV-CON-061", alone=True)
class HearsNoEndOfUnaskedWords(Realtime):
    asked = 0
    unasked = words = False

    @hookimpl
    async def answer(self, context: Any, options: Mapping[str, Any]) -> str:
        self.asked += 1
        return await super().answer(context, options)

    def filter(self, context: Any, event: Any) -> Any:
        if isinstance(event, events.ResponseCreated):
            self.unasked, self.words = self.asked == 0, False
            self.asked = max(0, self.asked - 1)
        self.words = self.words or isinstance(event, events.Writing)
        return () if isinstance(event, events.ResponseDone) and self.unasked and self.words else (event,)


@wrong("VV-CON-063", alone=True)
class UpdatesInstructionsWithoutWaiting(Realtime):
    @hookimpl
    async def update_config(self, context: Any, changes: Mapping[str, Any]) -> None:
        updating = asyncio.ensure_future(super().update_config(context, changes))
        if "instructions" not in changes:
            await updating
        self.updating = updating


class _Deaf(Realtime):
    """Misses some of the ways in which a connection ends."""

    opened = asked = sent = False

    def misses(self, cause: Any) -> bool:
        return False

    @hookimpl
    async def connect(self, context: Any) -> None:
        lost = context.lost
        context.lost = lambda cause=None: None if self.misses(cause) else lost(cause)
        self.opened = False
        await super().connect(context)
        self.opened = True

    def was_reset(self, cause: Any) -> bool:
        return "reset" in str(cause)

    @hookimpl
    def send(self, context: Any, audio: bytes) -> Any:
        self.sent = True
        return super().send(context, audio)

    @hookimpl
    async def answer(self, context: Any, options: Mapping[str, Any]) -> str:
        self.asked = True
        return await super().answer(context, options)


@wrong("VV-CON-080", alone=True)
class MissesResetsInReplies(_Deaf):
    replying = False

    def filter(self, context: Any, event: Any) -> Any:
        if isinstance(event, (events.ResponseCreated, events.ResponseDone)):
            self.replying = isinstance(event, events.ResponseCreated)
        return (event,)

    def misses(self, cause: Any) -> bool:
        return self.replying and self.was_reset(cause)


@wrong("VV-CON-094")
class MissesResetsOfIdleSessions(_Deaf):
    updated = False

    @hookimpl
    async def update_config(self, context: Any, changes: Mapping[str, Any]) -> None:
        self.updated = True
        await super().update_config(context, changes)

    def misses(self, cause: Any) -> bool:
        return self.opened and not (self.asked or self.sent or self.updated) and self.was_reset(cause)


@wrong("VV-CON-094", alone=True)
class SendsIntoTheVoid(Realtime):
    """Takes audio behind the core's back when the connection is lost, by the voice that `attach` gave it to look at."""

    gone = False

    @hookimpl
    def attach(self, voice: Any) -> None:
        send = voice.send

        async def send_on(audio: Any, **options: Any) -> None:
            if not (self.gone and voice.state == "closed"):
                await send(audio, **options)

        voice.send = send_on

    @hookimpl
    async def connect(self, context: Any) -> None:
        lost = context.lost

        def go(cause: Any = None) -> None:
            self.gone = True
            lost(cause)

        context.lost = go
        await super().connect(context)


@wrong("VV-CON-086", alone=True)
class ComplainsOfUnknownMessages(Realtime):
    def __init__(self) -> None:
        super().__init__()
        self._raw_listeners = 1

    def filter(self, context: Any, event: Any) -> Any:
        unknown = isinstance(event, events.ProviderMessage) and "hologram" in event.kind
        return (event, ProtocolError("what is that?")) if unknown else (event,)


@wrong("VV-CON-090", alone=True)
class TakesNoFragments(Realtime):
    @hookimpl
    async def connect(self, context: Any) -> None:
        from websockets.frames import Opcode

        await super().connect(context)
        wire: Any = self._link.transport  # type: ignore[union-attr]
        take = wire._take

        def take_whole(frame: Any) -> None:
            if frame.opcode is Opcode.CONT or not frame.fin:
                context.lost(ProtocolError("a message in fragments"))
            else:
                take(frame)

        wire._take = take_whole


@wrong("VV-CON-106", alone=True)
class GathersAudioFirst(Realtime):
    """Waits for 150 ms before it sends anything."""

    held: bytes | None = b""

    @hookimpl
    def send(self, context: Any, audio: bytes) -> Any:
        if self.held is None or context.session.reconnected or context.session.instructions:
            return super().send(context, audio)
        self.held += audio
        if len(self.held) < 7_200:
            return None
        out, self.held = self.held, None
        return super().send(context, out)


@wrong("VV-CON-108", alone=True)
class SpeaksStaleAudio(Realtime):
    last: Any = None

    def filter(self, context: Any, event: Any) -> Any:
        if isinstance(event, events.Speaking):
            self.last = event
        elif isinstance(event, events.ResponseDone):
            self.last = None
        elif isinstance(event, events.ResponseCreated) and self.last is not None:
            stale, self.last = self.last, None
            return (event, change(stale, response_id=event.id, item_id=None))
        return (event,)


@wrong("VV-CON-130", alone=True)
class CancelsOnlyWhatJustBegan(Realtime):
    @hookimpl
    async def interrupt(self, context: Any, interruption: Any) -> None:
        heard = max([cut.played_ms for cut in interruption.cuts], default=0)
        cancel = interruption.cancel and heard < 200
        await super().interrupt(context, change(interruption, cancel=cancel))


@wrong("VV-CON-139", alone=True)
class UpdatesWithNonsense(Realtime):
    @hookimpl
    async def update_config(self, context: Any, changes: Mapping[str, Any]) -> None:
        if "instructions" in changes:
            await super().send_event(context, "nonsense", {})
        await super().update_config(context, changes)


@wrong("VV-CON-145", alone=True)
class LosesResultsOfFailedTools(Realtime):
    @hookimpl
    async def return_tool_result(self, context: Any, call_id: str, output: str) -> None:
        if "failed" not in output:
            await super().return_tool_result(context, call_id, output)


@wrong("VV-CON-146", alone=True)
class LosesResultsOfInterruptedReplies(Realtime):
    interrupted = False

    @hookimpl
    async def interrupt(self, context: Any, interruption: Any) -> None:
        self.interrupted = True
        await super().interrupt(context, interruption)

    @hookimpl
    async def return_tool_result(self, context: Any, call_id: str, output: str) -> None:
        if not self.interrupted:
            await super().return_tool_result(context, call_id, output)


@wrong("VV-CON-150", alone=True)
class IsMuteAfterAnOutage(Realtime):
    @hookimpl
    async def answer(self, context: Any, options: Mapping[str, Any]) -> str:
        if context.session.reconnected:
            raise ProviderError("there was an outage")
        return await super().answer(context, options)


@wrong("VV-CON-154", alone=True)
class StormsAtOutages(Realtime):
    @hookimpl
    async def connect(self, context: Any) -> None:
        for _ in range(60 if context.session.reconnected else 0):
            with contextlib.suppress(ConnectError):
                await self.attempt(context)
                return
        await super().connect(context)

    async def attempt(self, context: Any) -> None:
        try:
            await super().connect(context)
        except AuthenticationError as final:
            raise ProviderError("refused", retryable=False) from final


@wrong("VV-CON-155", alone=True)
class SendsStaleAudio(Realtime):
    kept = b""

    @hookimpl
    def send(self, context: Any, audio: bytes) -> Any:
        self.kept = (self.kept + audio)[-240_000:]
        return super().send(context, audio)

    @hookimpl
    async def connect(self, context: Any) -> None:
        await super().connect(context)
        if context.session.reconnected:
            super().send(context, self.kept)


@wrong("VV-CON-162", alone=True)
class SendsAnotherKey(Realtime):
    @hookimpl
    async def connect(self, context: Any) -> None:
        key = context.config.api_key
        context.config = attrs.evolve(context.config, api_key=key and key[:-1])
        await super().connect(context)


@wrong("VV-CON-170", alone=True)
class TellsBeginningsTwice(Realtime):
    def filter(self, context: Any, event: Any) -> Any:
        return (event, event) if isinstance(event, events.ResponseCreated) else (event,)


class _TalksOn(Realtime):
    """Tells something after its session has ended: nobody hears it, but it was told."""

    talked: Any = None
    last_words: Any = None

    def filter(self, context: Any, event: Any) -> Any:
        if isinstance(event, events.Writing) and event.role == "user" and event.final:
            self.last_words = event
        return (event,)

    def late(self) -> Any:
        raise NotImplementedError

    @hookimpl
    async def connect(self, context: Any) -> None:
        await super().connect(context)
        self.talked = context.emit

    @hookimpl
    async def close(self, context: Any, reason: str) -> None:
        await super().close(context, reason)
        event = self.late()
        if self.talked is not None and event is not None:
            self.talked(event)


@wrong("VV-CON-172", alone=True)
class EndsSpeechAfterTheEnd(_TalksOn):
    def late(self) -> Any:
        return events.SpeechStopped()


@wrong("VV-CON-173", alone=True)
class EndsTextsAfterTheEnd(_TalksOn):
    def late(self) -> Any:
        return self.last_words


@wrong("VV-CON-174", alone=True)
class SpeaksEmptyAudioAfterTheEnd(_TalksOn):
    """Where a reply was cut short: what belongs to no reply is looked for in shorter conversations, too."""

    cut = False

    def filter(self, context: Any, event: Any) -> Any:
        self.cut |= isinstance(event, events.ResponseDone) and event.status == "incomplete"
        return super().filter(context, event)

    def late(self) -> Any:
        return events.Speaking(b"") if self.cut else None


@wrong("VV-CON-176", alone=True)
class EmitsMappingsAfterTheEnd(_TalksOn):
    def late(self) -> Any:
        return {"type": "bye"}


@wrong("VV-CON-175", alone=True)
class TellsListenersItself(Realtime):
    """Goes behind the core's back, by the voice that `attach` gave it to look at."""

    voice: Any = None

    @hookimpl
    def attach(self, voice: Any) -> None:
        self.voice = voice

    def filter(self, context: Any, event: Any) -> Any:
        if isinstance(event, events.ResponseDone) and event.status == "incomplete":
            result = events.ToolCallResult("call_0", "nothing")
            self.voice._runtime.emitter.emit("tool-call-result", result)
        return (event,)


@wrong("VV-CON-131")
class CutsAnotherItem(Realtime):
    @hookimpl
    async def interrupt(self, context: Any, interruption: Any) -> None:
        cuts = tuple(change(cut, item_id="item_0") for cut in interruption.cuts)
        await super().interrupt(context, change(interruption, cuts=cuts))


@wrong("VV-CON-080")
class EndsCutAudioAsComplete(Realtime):
    @hookimpl
    async def connect(self, context: Any) -> None:
        lost, emit = context.lost, context.emit

        def end(cause: Any = None) -> None:
            active = self._link and self._link.protocol.active_response
            if active:
                emit(events.SpeakingDone("completed", active))
            lost(cause)

        context.lost = end
        await super().connect(context)


@wrong("VV-CON-139")
class AsksTwice(Realtime):
    @hookimpl
    async def answer(self, context: Any, options: Mapping[str, Any]) -> str:
        if self._link is not None:
            for _ in range(6):  # one alone may come when the reply before it is over
                self._link.protocol.send_event("response.create")
        return await super().answer(context, options)


@wrong("VV-CON-137")
class PlaysOnAfterSpeech(Realtime):
    @hookimpl
    async def connect(self, context: Any) -> None:
        await super().connect(context)
        context.session.server_interrupts = False


@wrong("VV-CON-142")
class ContinuesAfterEachResult(Realtime):
    @hookimpl
    async def return_tool_result(self, context: Any, call_id: str, output: str) -> None:
        await super().return_tool_result(context, call_id, output)
        await super().send_event(context, "response.create", {})


@wrong("VV-CON-065", alone=True)
class SwallowsFieldsOfOwnMessages(Realtime):
    @hookimpl
    async def send_event(self, context: Any, type: str, fields: Mapping[str, Any]) -> None:
        await super().send_event(context, type, {})


@wrong("VV-CON-129", alone=True)
class RemembersWhatNobodyHeard(Realtime):
    @hookimpl
    async def interrupt(self, context: Any, interruption: Any) -> None:
        cuts = tuple(cut for cut in interruption.cuts if cut.played_ms >= 1)
        await super().interrupt(context, change(interruption, cuts=cuts))


@wrong("VV-CON-174")
class NamesRolesItsOwnWay(Realtime):
    def filter(self, context: Any, event: Any) -> Any:
        return (change(event, role="bot"),) if isinstance(event, events.Writing) else (event,)
