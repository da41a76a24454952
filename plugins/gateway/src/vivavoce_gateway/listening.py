"""The user's audio: converted for the provider, cut into turns. Decisions only: no I/O, no clock; time is counted in audio.

What the client calls a turn is decided here wherever the provider leaves turns to us, so that `server_vad` and
`semantic_vad` mean the same whatever answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from vivavoce import AudioFormat
from vivavoce.audio import PCM16_16K, Converter
from vivavoce.vad import (
    Detector,
    SpeechBegan,
    SpeechEnded,
    VadSettings,
    VoiceActivity,
    give_back,
    load_detector,
)

from vivavoce_gateway.gate import Gate

__all__ = ["Began", "Ended", "Found", "Listening", "Spoken", "vad_settings"]

_PIECE_MS = 32
_ONSET_MS = 160
"""How far back the beginning of speech may lie when it is found: two frames of the detector, and what is held back."""
# Silence that ends a turn. The service's own `semantic_vad` waits by what was said, at most 8, 4 and 2 s.
_EAGERNESS = {"low": 1500, "medium": 800, "auto": 800, "high": 400}
_BEFORE_MS = 1000
"""Kept of what was heard before a turn that another one finds: it is told of it later."""
MAX_STORED = 8 * 1024 * 1024
"""Bytes of one turn that are kept for `conversation.item.retrieve`."""


class Began(msgspec.Struct, frozen=True, gc=False):
    """The turn's audio begins `at_ms` after the session's first; the prefix is counted in."""

    at_ms: int


class Spoken(msgspec.Struct, frozen=True, gc=False):
    """Audio for the provider."""

    pcm: bytes


class Ended(msgspec.Struct, frozen=True, gc=False):
    """The turn's audio ends at `at_ms`; the silence that ended it is counted in."""

    at_ms: int


Found = Began | Spoken | Ended


def vad_settings(turns: Mapping[str, Any]) -> VadSettings:
    """The detector's settings for a session's `turn_detection`."""
    if turns["type"] == "semantic_vad":
        return VadSettings(silence_ms=_EAGERNESS[turns.get("eagerness") or "auto"])
    return VadSettings(
        threshold=min(max(float(turns["threshold"]), 0.05), 0.95),
        silence_ms=min(max(turns["silence_duration_ms"], 50), 10_000),
        prefix_ms=min(turns["prefix_padding_ms"], 2_000),
    )


class Listening:
    """Feed it the client's audio; it tells what is for the provider, and where turns begin and end."""

    def __init__(self, wire: AudioFormat, provider: AudioFormat) -> None:
        self._provider = provider
        self._bytes_ms = 0.0
        self._activity: VoiceActivity | None = None
        self._model: Detector | None = None
        self._offset_ms = 0.0
        self._tail = bytearray()
        self._turn = bytearray()
        self.within = True
        """Whether what comes now is of a turn. Who finds the turns elsewhere says so."""
        self.wire(wire)

    def wire(self, format: AudioFormat) -> None:
        """The client's audio is in this format from now on."""
        self._format = format
        self._to_provider = Converter(format, self._provider)
        self._to_detector = Converter(format, PCM16_16K)

    def turns(self, settings: VadSettings | None) -> None:
        """Take turns with these settings, or leave them to others (`None`)."""
        if settings is None:
            if self._model is not None:
                give_back(self._model)
            self._activity = self._model = None
        elif self._activity is None:
            self._model = load_detector()
            self._activity = VoiceActivity(Gate(self._model), settings)
            self._to_detector = Converter(self._format, PCM16_16K)
            self._offset_ms = self._bytes_ms
        else:
            self._activity.settings = settings

    @property
    def now_ms(self) -> int:
        """Milliseconds of audio so far."""
        return int(self._bytes_ms)

    @property
    def speaking(self) -> bool:
        """Whether a turn is under way, as far as we take turns."""
        return self._activity is not None and self._activity.speaking

    def milliseconds(self, size: int) -> float:
        """How long so many bytes of the client's audio last."""
        return self._format.milliseconds(size)

    def pieces(self, audio: bytes) -> Iterator[bytes]:
        """The same audio in pieces that are quick to look at."""
        step = self._format.bytes_for(_PIECE_MS)
        return (audio[at : at + step] for at in range(0, len(audio), step))

    def feed(self, audio: bytes) -> list[Found]:
        """One piece of the client's audio."""
        self._bytes_ms += self._format.milliseconds(len(audio))
        pcm = self._to_provider.feed(audio)
        if self._activity is None:
            return self._say(pcm)
        began = self._activity.speaking
        self._tail += pcm
        found: list[Found] = []
        for what in self._activity.feed(self._to_detector.feed(audio)):
            if isinstance(what, SpeechBegan):
                began = True
                found += self._begin(what.at_ms + self._offset_ms, self._activity.settings.prefix_ms)
            elif isinstance(what, SpeechEnded):
                began = False
                found += [*self._say(self._take_tail()), Ended(self.now_ms)]
        if began:
            found += self._say(self._take_tail())
        else:
            del self._tail[: -self._provider.bytes_for(self._activity.settings.prefix_ms + _ONSET_MS)]
        return found

    def commit(self) -> tuple[list[Found], bytes]:
        """Someone else ends the turn: what is left for the provider, and the turn's audio as the provider has it."""
        if self._activity is not None:
            self._activity.end()
        found = self._say(self._take_tail() + self._to_provider.flush())
        return found, self.turn()

    def turn(self) -> bytes:
        """The audio of the turn that ended; the next one begins."""
        audio = bytes(self._turn)
        self._turn.clear()
        return audio

    def clear(self) -> None:
        """Forget the turn that was begun."""
        if self._activity is not None:
            self._activity.end()
        self._take_tail()
        self._to_provider.flush()
        self._turn.clear()

    def stored(self, audio: bytes) -> bytes:
        """A turn's audio in the client's format."""
        back = Converter(self._provider, self._format)
        return back.feed(audio) + back.flush()

    def _begin(self, at_ms: float, prefix_ms: float) -> list[Found]:
        start = max(at_ms - prefix_ms, 0.0)
        pcm = self._take_tail()
        size = min(len(pcm), self._provider.bytes_for(max(self._bytes_ms - start, 0)))
        self._turn.clear()
        return [Began(int(start)), *self._say(pcm[len(pcm) - size :])]

    def _take_tail(self) -> bytes:
        pcm = bytes(self._tail)
        self._tail.clear()
        return pcm

    def _say(self, pcm: bytes) -> list[Found]:
        if not pcm:
            return []
        if len(self._turn) < MAX_STORED:
            self._turn += pcm
        if not self.within:
            del self._turn[: -self._provider.bytes_for(_BEFORE_MS)]
        return [Spoken(pcm)]
