"""Wrong providers: what they say, hear and do in a conversation."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from typing import Any

import attrs
import msgspec
from vivavoce import ListenerInfo, SpeakerInfo, Speech, events, hookimpl
from vivavoce.errors import AuthenticationError, ConnectError, ProtocolError, ProviderError, VoiceError
from wrong_base import Realtime, Speaker, wrong

change = msgspec.structs.replace


@wrong("VV-CON-050", alone=True)
class FlattensUnicode(Realtime):
    @hookimpl
    async def send_text(self, context: Any, text: str, role: str) -> None:
        await super().send_text(context, text.encode("ascii", "replace").decode(), role)


@wrong("VV-CON-050")
class SpeaksForTheUserOnly(Realtime):
    @hookimpl
    async def send_text(self, context: Any, text: str, role: str) -> None:
        await super().send_text(context, text, "user")


@wrong("VV-CON-051")
class LosesAudio(Realtime):
    count = 0

    @hookimpl
    def send(self, context: Any, audio: bytes) -> Any:
        self.count += 1
        return None if self.count % 10 == 0 else super().send(context, audio)


@wrong("VV-CON-051")
class DoublesAudio(Realtime):
    count = 0

    @hookimpl
    def send(self, context: Any, audio: bytes) -> Any:
        self.count += 1
        return super().send(context, audio * 2 if self.count == 7 else audio)


@wrong("VV-CON-052", alone=True)
class LosesShortAudio(Realtime):
    @hookimpl
    def send(self, context: Any, audio: bytes) -> Any:
        return super().send(context, audio) if len(audio) > 2 else None


@wrong("VV-CON-053")
class LosesReplyAudio(Realtime):
    count = 0

    def filter(self, context: Any, event: Any) -> Any:
        self.count += isinstance(event, events.Speaking)
        return () if isinstance(event, events.Speaking) and self.count == 3 else (event,)


@wrong("VV-CON-054", alone=True)
class LosesText(Realtime):
    count = 0

    def filter(self, context: Any, event: Any) -> Any:
        self.count += isinstance(event, events.Writing)
        lost = isinstance(event, events.Writing) and not event.final and self.count == 2
        return () if lost else (event,)


@wrong("VV-CON-055")
class SpeaksAfterTheEnd(Realtime):
    def filter(self, context: Any, event: Any) -> Any:
        late = events.Writing("PS", "assistant", "item_late", getattr(event, "id", None))
        return (event, late) if isinstance(event, events.ResponseDone) else (event,)


@wrong("VV-CON-056")
class NamesAllRepliesAlike(Realtime):
    def filter(self, context: Any, event: Any) -> Any:
        if isinstance(event, (events.ResponseCreated, events.ResponseDone)):
            return (change(event, id="reply"),)
        return (change(event, response_id="reply"),) if hasattr(event, "response_id") else (event,)

    @hookimpl
    async def answer(self, context: Any, options: Mapping[str, Any]) -> str:
        await super().answer(context, options)
        return "reply"


@wrong("VV-CON-057")
class EndsAudioAsCancelled(Realtime):
    def filter(self, context: Any, event: Any) -> Any:
        if isinstance(event, events.ResponseDone):
            return (events.SpeakingDone("cancelled", event.id), event)
        return (event,)


@wrong("VV-CON-058")
class TellsTurnsItself(Realtime):
    def filter(self, context: Any, event: Any) -> Any:
        final = isinstance(event, events.Writing) and event.final and event.role == "assistant"
        return (event, events.Turn("assistant", event.text)) if final else (event,)


@wrong("VV-CON-059")
class HoldsRepliesBack(Realtime):
    def filter(self, context: Any, event: Any) -> Any:
        held = self.__dict__.setdefault("held", [])
        if isinstance(event, events.Speaking):
            held.append(event)
            return ()
        if isinstance(event, events.ResponseDone):
            out, self.__dict__["held"] = held, []
            return (*out, event)
        return (event,)


@wrong("VV-CON-060")
class EndsAllWell(Realtime):
    def filter(self, context: Any, event: Any) -> Any:
        return (change(event, status="completed"),) if isinstance(event, events.ResponseDone) else (event,)


@wrong("VV-CON-061")
class HearsOnlyWhatItAskedFor(Realtime):
    asked = 0

    @hookimpl
    async def answer(self, context: Any, options: Mapping[str, Any]) -> str:
        self.asked += 1
        return await super().answer(context, options)

    def filter(self, context: Any, event: Any) -> Any:
        if isinstance(event, events.ResponseCreated):
            self.asked -= 1
        unasked = self.asked < 0 and not isinstance(event, (events.SessionUpdated, VoiceError))
        return () if unasked else (event,)


@wrong("VV-CON-062", alone=True)
class SharesItsConnection(Realtime):
    links: list[Any] = []  # noqa: RUF012

    @hookimpl
    async def connect(self, context: Any) -> None:
        await super().connect(context)
        self.links.append(self._link)

    @hookimpl
    async def close(self, context: Any, reason: str) -> None:
        links = self.links[:]
        self.links.clear()
        await super().close(context, reason)
        for link in links:
            if link is not None and link.transport is not None:
                await link.transport.close()


@wrong("VV-CON-063")
class UpdatesWithoutWaiting(Realtime):
    @hookimpl
    async def update_config(self, context: Any, changes: Mapping[str, Any]) -> None:
        self.updating = asyncio.ensure_future(super().update_config(context, changes))


@wrong("VV-CON-063")
class UpdatesNothing(Realtime):
    @hookimpl
    async def update_config(self, context: Any, changes: Mapping[str, Any]) -> None:
        context.session.instructions = "Be brief."
        await super().update_config(context, {"instructions": "Be brief."})


@wrong("VV-CON-080")
class MissesLosses(Realtime):
    @hookimpl
    async def connect(self, context: Any) -> None:
        context.lost = lambda cause=None: None
        await super().connect(context)


@wrong("VV-CON-064", alone=True)
class KeepsRawMessages(Realtime):
    def filter(self, context: Any, event: Any) -> Any:
        return () if isinstance(event, events.ProviderMessage) else (event,)


class _Deaf(Realtime):
    """Misses some of the ways in which a connection ends."""

    def misses(self, cause: Any) -> bool:
        return False

    @hookimpl
    async def connect(self, context: Any) -> None:
        lost = context.lost
        context.lost = lambda cause=None: None if self.misses(cause) else lost(cause)
        await super().connect(context)


@wrong("VV-CON-081")
class MissesQuietEnds(_Deaf):
    def misses(self, cause: Any) -> bool:
        return "without a close frame. " in str(cause)


@wrong("VV-CON-083", alone=True)
class MissesGoodbyes(_Deaf):
    def misses(self, cause: Any) -> bool:
        return bool(cause.code == "closed_by_peer")


@wrong("VV-CON-085", alone=True)
class DiesOfMalformedMessages(Realtime):
    def filter(self, context: Any, event: Any) -> Any:
        if isinstance(event, ProtocolError):
            context.lost(event)
        return (event,)


@wrong("VV-CON-086")
class ComplainsOfUnknownMessages(Realtime):
    def __init__(self) -> None:
        super().__init__()
        self._raw_listeners = 1

    def filter(self, context: Any, event: Any) -> Any:
        if isinstance(event, events.ProviderMessage):
            return (ProtocolError("what is that?"),) if "hologram" in event.kind else ()
        return (event,)


@wrong("VV-CON-087", alone=True)
class TakesErrorsAsTheEnd(Realtime):
    def filter(self, context: Any, event: Any) -> Any:
        if isinstance(event, ProviderError):
            context.lost(event)
        return (event,)


@wrong("VV-CON-087")
class SwallowsErrors(Realtime):
    def filter(self, context: Any, event: Any) -> Any:
        return () if isinstance(event, ProviderError) else (event,)


@wrong("VV-CON-088", alone=True)
class LimitsMessages(Realtime):
    @hookimpl
    async def connect(self, context: Any) -> None:
        context.config = attrs.evolve(context.config, max_size=1024 * 1024)
        await super().connect(context)


@wrong("VV-CON-091", alone=True)
class SendsWithoutBound(Realtime):
    @hookimpl
    def send(self, context: Any, audio: bytes) -> Any:
        waiting = super().send(context, audio)
        if asyncio.iscoroutine(waiting):
            waiting.close()
        return None


@wrong("VV-CON-092", alone=True)
class SaysGoodbyeForEver(Realtime):
    @hookimpl
    async def close(self, context: Any, reason: str) -> None:
        if self._link is not None and reason == "closed":
            await self._link.request(self._link.protocol.send_session({"type": "realtime"}))
        await super().close(context, reason)


@wrong("VV-CON-093", alone=True)
class ForgetsCodes(Realtime):
    @hookimpl
    async def answer(self, context: Any, options: Mapping[str, Any]) -> str:
        try:
            return await super().answer(context, options)
        except ProviderError as error:
            raise ProviderError(str(error)) from None


@wrong("VV-CON-093")
class RefusesWithValueErrors(Realtime):
    @hookimpl
    async def answer(self, context: Any, options: Mapping[str, Any]) -> str:
        try:
            return await super().answer(context, options)
        except ProviderError as error:
            raise VoiceError(str(error)) from None


@wrong("VV-CON-100", alone=True)
class IsSpoiltByCancelling(Realtime):
    spoilt = False

    @hookimpl
    async def answer(self, context: Any, options: Mapping[str, Any]) -> str:
        if self.spoilt:
            raise ProviderError("it was cancelled once")
        try:
            return await super().answer(context, options)
        except asyncio.CancelledError:
            self.spoilt = True
            raise


@wrong("VV-CON-102")
class LeavesTaskOfReply(Realtime):
    task: Any = None

    def filter(self, context: Any, event: Any) -> Any:
        if isinstance(event, events.ResponseCreated):
            self.task = asyncio.ensure_future(asyncio.sleep(3))
        elif isinstance(event, events.ResponseDone):
            self.task.cancel()
        return (event,)


@wrong("VV-CON-106")
class HoldsAudio(Realtime):
    held = b""

    @hookimpl
    def send(self, context: Any, audio: bytes) -> Any:
        self.held += audio
        if len(self.held) < 9_600:
            return None
        out, self.held = self.held, b""
        return super().send(context, out)


@wrong("VV-CON-130")
class NeverCancels(Realtime):
    @hookimpl
    async def interrupt(self, context: Any, interruption: Any) -> None:
        await super().interrupt(context, change(interruption, cancel=False))


@wrong("VV-CON-131", alone=True)
class CutsTooLate(Realtime):
    @hookimpl
    async def interrupt(self, context: Any, interruption: Any) -> None:
        cuts = tuple(change(cut, played_ms=cut.played_ms + 500) for cut in interruption.cuts)
        await super().interrupt(context, change(interruption, cuts=cuts))


@wrong("VV-CON-131")
class NeverCuts(Realtime):
    @hookimpl
    async def interrupt(self, context: Any, interruption: Any) -> None:
        await super().interrupt(context, change(interruption, cuts=()))


@wrong("VV-CON-132", alone=True)
class LosesTheReplyAfter(Realtime):
    skip = False

    @hookimpl
    async def interrupt(self, context: Any, interruption: Any) -> None:
        await super().interrupt(context, interruption)
        self.skip = True

    def filter(self, context: Any, event: Any) -> Any:
        if self.skip and isinstance(event, events.Speaking):
            self.skip = False
            return ()
        return (event,)


@wrong("VV-CON-135", alone=True)
class LosesSpeechTimes(Realtime):
    def filter(self, context: Any, event: Any) -> Any:
        timed = isinstance(event, (events.SpeechStarted, events.SpeechStopped))
        return (change(event, at_ms=None),) if timed else (event,)


@wrong("VV-CON-136", alone=True)
class LosesTranscripts(Realtime):
    def filter(self, context: Any, event: Any) -> Any:
        return () if isinstance(event, events.Writing) and event.role == "user" else (event,)


@wrong("VV-CON-137", alone=True)
class TalksOverTheUser(Realtime):
    @hookimpl
    async def connect(self, context: Any) -> None:
        await super().connect(context)
        context.session.server_interrupts = False


@wrong("VV-CON-138", alone=True)
class CommitsInsteadOfClearing(Realtime):
    @hookimpl
    async def clear_input(self, context: Any) -> None:
        await super().commit_input(context)


@wrong("VV-CON-139")
class SpeaksNonsense(Realtime):
    @hookimpl
    async def send_text(self, context: Any, text: str, role: str) -> None:
        await super().send_event(context, "nonsense", {})
        await super().send_text(context, text, role)


@wrong("VV-CON-140", alone=True)
class OffersNoTools(Realtime):
    @hookimpl
    async def update_config(self, context: Any, changes: Mapping[str, Any]) -> None:
        if "tools" not in changes:
            await super().update_config(context, changes)


def _call(event: Any) -> bool:
    return isinstance(event, events.ToolCallStart)


@wrong("VV-CON-141", alone=True)
class LosesArguments(Realtime):
    def filter(self, context: Any, event: Any) -> Any:
        return (change(event, arguments="{}"),) if _call(event) else (event,)


@wrong("VV-CON-141")
class ReturnsResultsTwice(Realtime):
    @hookimpl
    async def return_tool_result(self, context: Any, call_id: str, output: str) -> None:
        await super().return_tool_result(context, call_id, output)
        await super().return_tool_result(context, call_id, output)


@wrong("VV-CON-142", alone=True)
class CallsOneToolOnly(Realtime):
    last = ""

    def filter(self, context: Any, event: Any) -> Any:
        if _call(event):
            again, self.last = self.last == event.response_id, event.response_id
            return () if again else (event,)
        return (event,)


@wrong("VV-CON-143", alone=True)
class RefusesEmptyArguments(Realtime):
    def filter(self, context: Any, event: Any) -> Any:
        return (VoiceError("no arguments"),) if _call(event) and not event.arguments else (event,)


@wrong("VV-CON-144", alone=True)
class IgnoresUnknownTools(Realtime):
    def filter(self, context: Any, event: Any) -> Any:
        names = {tool.name for tool in context.session.tools}
        return () if _call(event) and event.name not in names else (event,)


@wrong("VV-CON-150")
class TakesLossesAsFinal(Realtime):
    @hookimpl
    async def connect(self, context: Any) -> None:
        lost = context.lost
        context.lost = lambda cause=None: lost(ProviderError("it is over"))
        await super().connect(context)


@wrong("VV-CON-151", alone=True)
class ForgetsItsConfig(Realtime):
    @hookimpl
    async def connect(self, context: Any) -> None:
        if context.session.reconnected:
            context.session.instructions = None
        await super().connect(context)


@wrong("VV-CON-152", alone=True)
class ForgetsTheHistory(Realtime):
    async def _replay(self, link: Any, context: Any) -> None:
        return None


@wrong("VV-CON-153", alone=True)
class InsistsOnItsKey(Realtime):
    @hookimpl
    async def connect(self, context: Any) -> None:
        try:
            await super().connect(context)
        except AuthenticationError:
            if not context.session.reconnected:
                raise
            await super().connect(context)


@wrong("VV-CON-154")
class Storms(Realtime):
    @hookimpl
    async def connect(self, context: Any) -> None:
        for _ in range(60 if context.session.reconnected else 0):
            try:
                await super().connect(context)
            except ConnectError:
                continue
            break
        else:
            await super().connect(context)


@wrong("VV-CON-160", alone=True)
class LogsItsKey(Realtime):
    @hookimpl
    async def connect(self, context: Any) -> None:
        logging.getLogger("wrong").debug("dialling with %s", context.config.api_key)
        await super().connect(context)


@wrong("VV-CON-160")
class ShowsItsKey(Realtime):
    def filter(self, context: Any, event: Any) -> Any:
        told = isinstance(event, events.SessionCreated)
        return (change(event, config={"key": context.config.api_key}),) if told else (event,)


@wrong("VV-CON-161", alone=True)
class PutsItsKeyIntoTheAddress(Realtime):
    @hookimpl
    async def connect(self, context: Any) -> None:
        url = context.config.url
        url += f"{'&' if '?' in url else '?'}key={context.config.api_key}"
        context.config = attrs.evolve(context.config, url=url)
        await super().connect(context)


@wrong("VV-CON-162")
class SendsAnotherKey(Realtime):
    @hookimpl
    async def connect(self, context: Any) -> None:
        context.config = attrs.evolve(context.config, api_key=context.config.api_key[:-1])
        await super().connect(context)


@wrong("VV-CON-170")
class TellsNoBeginnings(Realtime):
    def filter(self, context: Any, event: Any) -> Any:
        return () if isinstance(event, events.ResponseCreated) else (event,)


@wrong("VV-CON-171", alone=True)
class EndsAudioTwice(Realtime):
    def filter(self, context: Any, event: Any) -> Any:
        if isinstance(event, events.ResponseDone):
            end = events.SpeakingDone("completed", event.id)
            return (end, end, event)
        return (event,)


@wrong("VV-CON-172")
class HearsSpeechEndOnly(Realtime):
    def filter(self, context: Any, event: Any) -> Any:
        return () if isinstance(event, events.SpeechStarted) else (event,)


@wrong("VV-CON-173")
class EndsTextsTwice(Realtime):
    def filter(self, context: Any, event: Any) -> Any:
        return (event, event) if isinstance(event, events.Writing) and event.final else (event,)


@wrong("VV-CON-174")
class SpeaksEmptyAudio(Realtime):
    def filter(self, context: Any, event: Any) -> Any:
        return (event, change(event, audio=b"")) if isinstance(event, events.Speaking) else (event,)


@wrong("VV-CON-174")
class SpeaksHalfSamples(Realtime):
    def filter(self, context: Any, event: Any) -> Any:
        if not isinstance(event, events.Speaking):
            return (event,)
        return (change(event, audio=event.audio[:301]), change(event, audio=event.audio[301:]))


@wrong("VV-CON-175")
class TellsAnEndOfItsOwn(Realtime):
    def filter(self, context: Any, event: Any) -> Any:
        return (event, events.Closed()) if isinstance(event, events.ResponseDone) else (event,)


@wrong("VV-CON-176")
class EmitsAnOpening(Realtime):
    def filter(self, context: Any, event: Any) -> Any:
        return (event, events.Interrupted()) if isinstance(event, events.SessionUpdated) else (event,)


@wrong("VV-CON-180", alone=True)
class BreaksOffWhileSpeaking(Speaker):
    async def chunks(self, words: str) -> AsyncIterator[bytes]:
        yield bytes(320)
        if len(words) == 13:
            raise ProviderError("no more breath")


@wrong("VV-CON-180")
class SpeaksNothing(Speaker):
    async def chunks(self, words: str) -> AsyncIterator[bytes]:
        if " how " in words:
            yield b""


@wrong("VV-CON-181", alone=True)
class TakesWholeTextsOnly(Speaker):
    @hookimpl
    async def speak(self, text: Any, options: Mapping[str, Any]) -> Speech:
        return Speech(self.output_format, self.chunks(text.strip()))


@wrong("VV-CON-182", alone=True)
class CannotSayNothing(Speaker):
    async def chunks(self, words: str) -> AsyncIterator[bytes]:
        if not words:
            raise ProviderError("nothing to say")
        yield bytes(320)


@wrong("VV-CON-183", alone=True)
class LeavesItsBreath(Speaker):
    async def chunks(self, words: str) -> AsyncIterator[bytes]:
        breathing = asyncio.ensure_future(asyncio.sleep(3))
        for _ in words:
            yield bytes(320)
            await asyncio.sleep(0.001)
        breathing.cancel()


@wrong("VV-CON-184", alone=True)
class NamesVoicesTwice(Speaker):
    @hookimpl
    def get_speakers(self) -> list[SpeakerInfo]:
        return [SpeakerInfo("one"), SpeakerInfo("one")]


@wrong("VV-CON-184")
class HasNoVoice(Speaker):
    @hookimpl
    def get_speakers(self) -> list[SpeakerInfo]:
        return []


@wrong("VV-CON-185")
class CannotBearSilence(Speaker):
    @hookimpl
    async def listen(self, audio: AsyncIterator[bytes]) -> Any:
        heard = b"".join([chunk async for chunk in audio])
        if not any(heard):
            raise ProviderError("I hear nothing")
        return "something"


@wrong("VV-CON-185", alone=True)
class HearsLists(Speaker):
    @hookimpl
    async def listen(self, audio: AsyncIterator[bytes]) -> Any:
        heard = b"".join([piece async for piece in audio])
        return "words" if heard else ["nothing"]


@wrong("VV-CON-186", alone=True)
class DeniesListening(Speaker):
    @hookimpl
    def get_listener(self) -> ListenerInfo:
        return ListenerInfo(enabled=False)


@wrong("VV-CON-187", alone=True)
class KeepsWhatItHeard(Speaker):
    def __init__(self) -> None:
        self.files: list[Any] = []

    @hookimpl
    async def listen(self, audio: AsyncIterator[bytes]) -> Any:
        self.files.append(open("/dev/null"))  # noqa: SIM115
        return ""
