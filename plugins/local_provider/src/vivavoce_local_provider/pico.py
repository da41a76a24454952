"""The `pico` provider: text to speech offline by SVOX Pico, in six languages.

voice = Voice("pico", speaker="en-GB", rate=1.2)
await (await voice.speak("Good morning.")).pipe(sink)
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, ClassVar

import attrs
from vivavoce import AudioFormat, ConfigError, SpeakerInfo, Speech, hookimpl
from vivavoce.errors import VoiceError
from vivavoce.provider import Context

from vivavoce_local_provider._sentences import sentences
from vivavoce_local_provider._worker import Worker, WorkerDiedError

__all__ = ["SPEAKERS", "PicoConfig", "PicoProvider"]

_FORMAT = AudioFormat(16_000)
_CHUNK = _FORMAT.bytes_for(100)
_LANGUAGES = {
    "en-US": "English (United States)",
    "en-GB": "English (United Kingdom)",
    "de-DE": "Deutsch",
    "es-ES": "Español",
    "fr-FR": "Français",
    "it-IT": "Italiano",
}
SPEAKERS = tuple(
    SpeakerInfo(id, name=name, language=id, gender="female", metadata={"sample_rate": 16_000})
    for id, name in _LANGUAGES.items()
)
"""The voices: one a language, PCM16 at 16 kHz."""
_UNSPEAKABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f<>]")
"""Control characters (a NUL crashes the engine), and what Pico would take for markup."""


def _in_range(low: float, high: float) -> Any:
    def check(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
            raise ConfigError(
                f"{attribute.name}={value!r}: give a number from {low} to {high}; 1.0 is the engine's own",
                option=attribute.name,
            )

    return check


def _check_speaker(instance: object, attribute: object, value: Any) -> None:
    if value is not None and value not in _LANGUAGES:
        raise ConfigError(f"speaker={value!r}: pico has {', '.join(_LANGUAGES)}", option="speaker")


@attrs.frozen(kw_only=True)
class PicoConfig:
    """`speaker` is one of `SPEAKERS` (default `en-US`); `rate`, `pitch` and `volume` are factors.

    All four are also options of `speak()`.
    """

    speaker: str | None = attrs.field(default=None, validator=_check_speaker)
    rate: float = attrs.field(default=1.0, validator=_in_range(0.2, 5.0))
    pitch: float = attrs.field(default=1.0, validator=_in_range(0.5, 2.0))
    volume: float = attrs.field(default=1.0, validator=_in_range(0.0, 5.0))


class PicoProvider:
    """Speaks in one worker process, sentence by sentence; speeches at the same time take turns at it."""

    api: ClassVar[int] = 1
    name: ClassVar[str] = "pico"
    capabilities: ClassVar[frozenset[str]] = frozenset({"speak"})
    config_class: ClassVar[type] = PicoConfig
    output_format: ClassVar[AudioFormat] = _FORMAT

    def __init__(self) -> None:
        self._worker: Worker | None = None
        self._turn = asyncio.Lock()

    @hookimpl
    async def speak(
        self, context: Context, text: str | AsyncIterator[str], options: Mapping[str, Any]
    ) -> Speech:
        """Speak `text` sentence by sentence: the first audio is there when the first sentence is."""
        request = _request(context, options)
        await self._load(request)
        return Speech(_FORMAT, self._chunks(context, request, text))

    @hookimpl
    async def get_speakers(self, context: Context) -> Sequence[SpeakerInfo]:
        """Name the voices; loads the configured one, so that the next `speak()` begins at once."""
        await self._load(_request(context, {}))
        return SPEAKERS

    @hookimpl
    async def close(self, context: Context, reason: str) -> None:
        """End the process."""
        worker, self._worker = self._worker, None
        if worker is not None:
            await worker.close()

    async def _load(self, request: Mapping[str, Any]) -> None:
        async with self._turn:
            await (await self._live()).call("load", request)

    async def _live(self) -> Worker:
        if self._worker is not None and not self._worker.alive:
            await self._worker.close()
            self._worker = None
        if self._worker is None:
            worker = self._worker = Worker("pico")
            await worker.start()
        return self._worker

    async def _chunks(
        self, context: Context, request: Mapping[str, Any], text: str | AsyncIterator[str]
    ) -> AsyncIterator[bytes]:
        async for sentence in sentences(text):
            spoken = {**request, "text": _UNSPEAKABLE.sub(" ", sentence)}
            async for audio in self._sentence(context, spoken):
                for start in range(0, len(audio), _CHUNK):
                    yield audio[start : start + _CHUNK]

    async def _sentence(self, context: Context, request: Mapping[str, Any]) -> AsyncIterator[bytes]:
        """One sentence; if the process dies before its first audio, once more in a new one."""
        try:
            async with self._turn, aclosing((await self._live()).stream("speak", request)) as parts:
                spoken = False
                async for audio in parts:
                    spoken = True
                    yield audio
        except WorkerDiedError as died:
            if spoken:
                raise
            context.emit(VoiceError(f"{died}; restarted", code="engine_restarted", provider=self.name))
            async with self._turn, aclosing((await self._live()).stream("speak", request)) as parts:
                async for audio in parts:
                    yield audio


def _request(context: Context, options: Mapping[str, Any]) -> dict[str, Any]:
    """What the worker is asked: the config, overridden by the options of the call; factors as per cent."""
    given = {key: value for key, value in options.items() if value is not None}
    known = [field.name for field in attrs.fields(PicoConfig)]
    unknown = set(given) - set(known)
    if unknown:
        raise ConfigError(
            f"unknown option {unknown.pop()!r} of speak(): known are {', '.join(known)}", option="options"
        )
    config = attrs.evolve(context.config, **given)
    percent = {name: round(getattr(config, name) * 100) for name in ("rate", "pitch", "volume")}
    return {"language": config.speaker or "en-US", **percent}
