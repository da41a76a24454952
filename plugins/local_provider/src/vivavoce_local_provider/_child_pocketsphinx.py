"""PocketSphinx in a worker process: its decoder holds the GIL for as long as it decodes.

One decoder, one utterance at a time. The mean of the cepstra, which the decoder carries from utterance to utterance, adapts
it to speaker and room, so it is kept for as long as the process lives. The second pass (`fwdflat`) costs time at the end
of a turn and brings next to nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from vivavoce_local_provider._engine import EngineError

__all__ = ["SphinxEngine", "make"]

_RATE = 16_000
_MEAN = "53.3,2.4,4.9,11.9,2.7,1.9,-4.8,1.6,-0.0,-0.8,-3.8,-1.0,2.2"
"""Where the mean of the cepstra begins: that of recorded speech, half 20 of Asterisk's prompts, half the recordings in
pocketsphinx's source. Words wrong in a first utterance, on 20 other prompts: 0.33 from the decoder's own default, 0.22
from here (0.29 from the second half alone, which has no recording of that speaker)."""
_FRAME = 960  # bytes: 30 ms, what the pause detector takes
_LONG = 15 * _RATE * 2
_TOO_LONG = 30 * _RATE * 2
_PAUSE_FRAMES = 10


class SphinxEngine:
    """Long speech is decoded in stretches of 15 to 30 s, cut in a pause where there is one: memory stays bounded."""

    def __init__(self) -> None:
        self._decoder: Any = None
        self._pauses: Any = None
        self._searches: dict[str, str] = {}
        self._started = False
        self._texts: list[str] = []
        self._stretch = 0
        self._rest = b""
        self._silent = 0

    @property
    def worn(self) -> bool:
        return False

    def handle(self, kind: str, payload: Any, more: Callable[[Any], None]) -> Any:
        if kind == "feed":
            if self._started:
                self._feed(payload)
            return None
        if kind == "finish":
            return self._finish()
        if kind == "abandon":
            if self._started:
                self._finish()
            return None
        decoder = self._load()
        _teach(decoder, payload["pronunciations"])
        self._search(decoder, payload)
        if kind == "open":
            decoder.start_utt()
            self._started, self._texts, self._stretch, self._rest, self._silent = True, [], 0, b"", 0
        return None

    def _load(self) -> Any:
        if self._decoder is None:
            try:
                import pocketsphinx
            except ImportError as missing:
                raise EngineError("engine_missing", str(missing)) from missing
            self._decoder = pocketsphinx.Decoder(loglevel="FATAL", fwdflat=False, cmninit=_MEAN)
            self._pauses = pocketsphinx.Vad(2, _RATE, _FRAME / 2 / _RATE)
        return self._decoder

    def _search(self, decoder: Any, payload: Any) -> None:
        """Activate what is to be recognised: a grammar, or open vocabulary."""
        grammar = payload["grammar"] or _phrase_grammar(decoder, payload["phrases"])
        if not grammar:
            decoder.activate_search()
            return
        if grammar not in self._searches:
            name = f"grammar-{len(self._searches)}"
            try:
                decoder.add_jsgf_string(name, grammar)
            except (ValueError, RuntimeError) as bad:
                raise EngineError(
                    "grammar",
                    f"the grammar cannot be used: {bad}. It must be JSGF with a public rule, all of whose words are"
                    f" in the dictionary; not in it: {', '.join(_unknown(decoder, _words_of(grammar))) or 'none'}",
                ) from bad
            self._searches[grammar] = name
        decoder.activate_search(self._searches[grammar])

    def _feed(self, audio: bytes) -> None:
        self._decoder.process_raw(audio, full_utt=False)
        self._stretch += len(audio)
        if self._stretch > _LONG and (self._in_pause(audio) or self._stretch > _TOO_LONG):
            self._end_stretch()
            self._decoder.start_utt()
            self._stretch, self._silent = 0, 0

    def _in_pause(self, audio: bytes) -> bool:
        audio = self._rest + audio
        whole = len(audio) - len(audio) % _FRAME
        for at in range(0, whole, _FRAME):
            self._silent = 0 if self._pauses.is_speech(audio[at : at + _FRAME]) else self._silent + 1
        self._rest = audio[whole:]
        return self._silent >= _PAUSE_FRAMES

    def _end_stretch(self) -> None:
        self._decoder.end_utt()
        found = self._decoder.hyp()
        if found is not None and found.hypstr:
            self._texts.append(found.hypstr)

    def _finish(self) -> str:
        if not self._started:
            return ""
        self._started = False
        self._end_stretch()
        return " ".join(self._texts)


def _teach(decoder: Any, pronunciations: dict[str, str]) -> None:
    """Add words that the dictionary does not have."""
    for word, phones in pronunciations.items():
        if decoder.lookup_word(word.lower()) is None:
            try:
                decoder.add_word(word.lower(), phones.upper())
            except RuntimeError as bad:
                raise EngineError(
                    "pronunciations", f"{word!r} = {phones!r}: give ARPAbet phones as in 'HH AH L OW'"
                ) from bad


def _phrase_grammar(decoder: Any, phrases: list[str]) -> str | None:
    """A JSGF grammar of whole phrases."""
    spoken = [" ".join(re.findall(r"[\w']+", phrase.lower())) for phrase in phrases]
    spoken = [phrase for phrase in spoken if phrase]
    if not spoken:
        return None
    unknown = _unknown(decoder, {word for phrase in spoken for word in phrase.split()})
    if unknown:
        raise EngineError(
            "phrases",
            f"words that the dictionary does not have: {', '.join(unknown)}. Spell numbers as words; tell how new"
            " words are said by pronunciations=",
        )
    return f"#JSGF V1.0; grammar phrases; public <phrase> = {' | '.join(dict.fromkeys(spoken))};"


def _words_of(grammar: str) -> set[str]:
    rules = re.sub(r"//.*|/\*.*?\*/|#JSGF[^;]*;|grammar[^;]*;|<[^>]*>|\{[^}]*\}|/[\d.]+/", " ", grammar)
    return {word for word in re.findall(r"[\w']+", rules) if word not in ("public", "import")}


def _unknown(decoder: Any, words: set[str]) -> list[str]:
    return sorted(word for word in words if decoder.lookup_word(word) is None)


def make() -> SphinxEngine:
    """The engine, before anything is loaded."""
    return SphinxEngine()
