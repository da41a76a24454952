"""The user's side of a session: audio in, turns, their items and transcripts."""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict, deque
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from vivavoce.errors import VoiceError
from vivavoce.events import Event, ItemAdded, SpeechStarted, SpeechStopped, Writing

from vivavoce_gateway import shapes
from vivavoce_gateway.listening import Began, Ended, Listening, Spoken, vad_settings

if TYPE_CHECKING:
    from vivavoce_gateway.session import ClientSession

__all__ = ["UserTurns"]

_TRANSCRIPT_S = 15.0
_UNDERSTOOD_S = 5.0
_STORED = 8 * 1024 * 1024
_KEPT = 4096


class UserTurns:
    """Belongs to a `ClientSession`, which hands it the client's audio and the provider's events."""

    def __init__(self, session: ClientSession) -> None:
        self._session = session
        self._protocol = session.protocol
        self._listening = Listening(
            shapes.audio_format(self._protocol.input_format), session.backend.voice.input_format
        )
        self._item: str | None = None  # of the speech that is under way
        self._unmatched: deque[tuple[str, float]] = (
            deque()
        )  # items whose provider's item is not known yet, since when
        self._items: OrderedDict[str, str] = OrderedDict()  # the provider's item id -> the client's
        self._partial: dict[str, str] = {}
        self._stored: OrderedDict[str, bytes] = OrderedDict()
        self._stored_size = 0
        self._idle: asyncio.TimerHandle | None = None
        self._untold: set[str] = set()
        self._told = asyncio.Event()
        self.transcripts: OrderedDict[str, str] = OrderedDict()
        self.configure()

    @property
    def _settings(self) -> Mapping[str, Any]:
        settings: Mapping[str, Any] = self._protocol.session["audio"]["input"]
        return settings

    @property
    def _turns(self) -> Mapping[str, Any]:
        return self._settings["turn_detection"] or {}

    def configure(self) -> None:
        """Take over the session's settings."""
        self._listening.wire(shapes.audio_format(self._protocol.input_format))
        if (self._settings["transcription"] or {}).get("model"):
            self._session.backend.transcribes(self._settings["transcription"]["model"])
        ours = self._turns and not self._session.backend.takes_turns
        self._listening.turns(vad_settings(self._turns) if ours else None)
        self._listening.within = not self._session.backend.takes_turns or self._item is not None
        self.quiet()

    def close(self) -> None:
        """The session is over. The detector's memory goes now: it is large, and not the garbage collector's to count."""
        self.quiet()
        self._listening.turns(None)

    # Audio.

    def seconds(self, audio: bytes) -> float:
        """How long the client's audio lasts."""
        return self._listening.milliseconds(len(audio)) / 1000

    async def append(self, audio: bytes) -> None:
        """The client's audio, in the session's format."""
        for number, piece in enumerate(self._listening.pieces(audio)):
            for found in self._listening.feed(piece):
                if isinstance(found, Spoken):
                    await self._session.to_provider(found.pcm)
                elif isinstance(found, Began):
                    self._began(found.at_ms)
                else:
                    await self._ended(found)
            if number & 1:  # looking for speech takes a millisecond or two: the others get their turn
                await asyncio.sleep(0)

    def _began(self, at_ms: int) -> None:
        self.quiet()
        self._item = self._protocol.speech_started(at_ms)
        if self._turns.get("interrupt_response"):
            self._session.assistant.barge_in()
        self._session.flush()

    async def _ended(self, found: Ended) -> None:
        item_id, self._item = self._item, None
        if item_id is not None:
            self._protocol.speech_stopped(found.at_ms, item_id)
        self._session.assistant.turn_ended()
        await self._commit(item_id, self._listening.turn())
        if self._turns.get("create_response"):
            await self._session.assistant.by_itself()

    async def commit(self) -> None:
        """The client ends the turn by hand."""
        found, audio = self._listening.commit()
        for left in found:
            if isinstance(left, Spoken):
                await self._session.to_provider(left.pcm)
        item_id, self._item = self._item, None
        await self._commit(item_id, audio)

    async def _commit(self, item_id: str | None, audio: bytes) -> None:
        item_id = self._protocol.commit(item_id)
        self._store(item_id, audio)
        self._session.flush()
        await self._session.jobs.put(partial(self._hand_over, item_id, audio))

    async def _hand_over(self, item_id: str, audio: bytes) -> None:
        now = asyncio.get_running_loop().time()
        while self._unmatched and now - self._unmatched[0][1] > _TRANSCRIPT_S:
            self._not_transcribed(self._unmatched.popleft()[0], "no transcript came")
        backend = self._session.backend
        if backend.can("transcripts") or not self._settings["transcription"]:
            self._unmatched.append((item_id, now))
            if backend.can("transcripts"):
                self._untold.add(item_id)
        elif backend.can("listen"):
            self._session.spawn(self._transcribe(item_id, audio))
        else:
            self._not_transcribed(item_id, "the provider behind this model makes no transcripts")
        await backend.voice.commit_input()

    async def clear(self) -> None:
        """Forget the turn that was begun."""
        self._listening.clear()
        self._item = None
        if self._session.backend.can("turns"):
            await self._session.jobs.put(self._session.backend.voice.clear_input)

    async def add_spoken(self, item_id: str, audio: bytes) -> None:
        """A user's message that the client created with its audio."""
        listening = Listening(
            shapes.audio_format(self._protocol.input_format), self._session.backend.voice.input_format
        )
        for piece in listening.pieces(audio):
            for found in listening.feed(piece):
                if isinstance(found, Spoken):
                    await self._session.to_provider(found.pcm)
        found_last, whole = listening.commit()
        for left in found_last:
            if isinstance(left, Spoken):
                await self._session.to_provider(left.pcm)
        self._store(item_id, whole)
        await self._session.jobs.put(partial(self._hand_over, item_id, whole))

    def _store(self, item_id: str, audio: bytes) -> None:
        self._stored[item_id] = audio
        self._stored_size += len(audio)
        while self._stored_size > _STORED:
            self._stored_size -= len(self._stored.popitem(last=False)[1])

    def stored(self, item_id: str) -> bytes | None:
        """The audio of an item in the client's format, while it is kept: the newest 8 MiB."""
        audio = self._stored.get(item_id)
        return None if audio is None else self._listening.stored(audio)

    # Where nobody speaks.

    def quiet_for(self, playing_s: float) -> None:
        """The reply is done, and its audio goes on for `playing_s`: begin to wait for the user."""
        self.quiet()
        idle = self._turns.get("idle_timeout_ms")
        if idle and not self._session.backend.takes_turns and not self._listening.speaking:
            loop = asyncio.get_running_loop()
            self._idle = loop.call_later(idle / 1000 + max(playing_s, 0.0), self._timed_out)

    def quiet(self) -> None:
        """Do not wait for the user any more."""
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None

    def _timed_out(self) -> None:
        self._idle = None
        if self._protocol.active_response is not None or self._listening.speaking:
            return
        self._session.spawn(self._silent_turn())

    async def _silent_turn(self) -> None:
        now = self._listening.now_ms
        item = self._session.new_id("item")
        self._protocol.timeout_triggered(
            max(0, now - int(self._turns.get("idle_timeout_ms") or 0)), now, item
        )
        self._protocol.commit(item)
        await self._session.assistant.by_itself()

    # From the provider.

    def take(self, event: Event | VoiceError) -> None:
        """An event of the provider that is not about a reply."""
        if isinstance(event, ItemAdded) and event.role == "user":
            self._match(event.item_id)
        elif isinstance(event, Writing) and event.role == "user":
            self._write(event)
        elif self._session.backend.takes_turns:
            self._take_turn(event)

    def _take_turn(self, event: Event | VoiceError) -> None:
        """The provider takes the turns: its speech events are the client's."""
        if isinstance(event, SpeechStarted):
            self._item = self._protocol.speech_started(int(event.at_ms or self._listening.now_ms))
            self._listening.within = True
            self._session.assistant.barge_in()
        elif isinstance(event, SpeechStopped):
            item_id = self._item or self._session.new_id("item")
            self._item = None
            self._protocol.speech_stopped(int(event.at_ms or self._listening.now_ms), item_id)
            self._session.assistant.turn_ended()
            self._protocol.commit(item_id)
            self._store(item_id, self._listening.turn())
            self._listening.within = False
            self._unmatched.append((item_id, asyncio.get_running_loop().time()))

    def _match(self, provider_id: str) -> str | None:
        if provider_id not in self._items and self._unmatched:
            self._items[provider_id] = self._unmatched.popleft()[0]
            if len(self._items) > _KEPT:
                self._items.popitem(last=False)
        return self._items.get(provider_id)

    def _write(self, event: Writing) -> None:
        item_id = self._match(event.item_id or "")
        if item_id is None:
            return
        if not event.item_id:
            del self._items[""]
        before = self._partial.pop(item_id, "")
        wanted = self._settings["transcription"] is not None
        if not event.final:
            self._partial[item_id] = before + event.text
            if wanted:
                self._protocol.transcription_delta(item_id, event.text)
            return
        self._keep(item_id, event.text)
        if wanted:
            self._transcribed(item_id, event.text, told=bool(before))

    async def understood(self) -> None:
        """Wait for the transcripts of the turns that were handed over, but not for long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_UNDERSTOOD_S):
                while self._untold:
                    self._told.clear()
                    await self._told.wait()
        self._untold.clear()

    def _keep(self, item_id: str, text: str) -> None:
        self._untold.discard(item_id)
        self._told.set()
        self.transcripts[item_id] = text
        if len(self.transcripts) > _KEPT:
            self.transcripts.popitem(last=False)

    def _transcribed(self, item_id: str, text: str, *, told: bool) -> None:
        if not told and text:
            self._protocol.transcription_delta(item_id, text)
        seconds = len(self._stored.get(item_id, b"")) / (2 * self._session.backend.voice.input_format.rate)
        self._protocol.transcription_completed(
            item_id, text, {"type": "duration", "seconds": round(seconds, 3)}
        )

    def _not_transcribed(self, item_id: str, why: str) -> None:
        if self._settings["transcription"] is not None:
            self._protocol.transcription_failed(
                item_id, f"Input transcription failed: {why}.", "transcription_failed"
            )
            self._session.flush()

    async def _transcribe(self, item_id: str, audio: bytes) -> None:
        """The provider makes no transcripts in its session, but it can listen."""
        try:
            text = await self._session.backend.voice.listen(audio)
        except VoiceError as failed:
            self._not_transcribed(item_id, shapes.error_of(failed)[1].rstrip("."))
            return
        self._keep(item_id, text)
        self._transcribed(item_id, text, told=False)
        self._session.flush()
