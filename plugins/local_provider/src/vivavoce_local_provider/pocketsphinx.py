"""The `pocketsphinx` provider: speech to text offline, English, open vocabulary or what a grammar allows.

    voice = Voice("pocketsphinx", phrases=["go forward", "turn left"])
    text = await voice.listen("order.wav")

Audio is decoded while it arrives, so the text is there some 10 ms after its end.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any, ClassVar

import attrs
from vivavoce import AudioFormat, ConfigError, ListenerInfo, hookimpl
from vivavoce.errors import VoiceError
from vivavoce.provider import Context

from vivavoce_local_provider._worker import Worker, WorkerDiedError

__all__ = ["PocketsphinxConfig", "PocketsphinxProvider"]

_FORMAT = AudioFormat(16_000)
_KEPT_BYTES = _FORMAT.bytes_for(60_000)
"""Audio kept to hear it again if the process dies: a minute. Longer audio is not heard again."""
_MAX_WORKERS = 4


def _phrases(given: Iterable[str] | None) -> tuple[str, ...]:
    if isinstance(given, str) or not all(isinstance(phrase, str) for phrase in given or ()):
        raise ConfigError(f"phrases={given!r}: give a list of phrases", option="phrases")
    return tuple(given or ())


def _check_grammar(instance: object, attribute: object, value: Any) -> None:
    if value is not None and not isinstance(value, str):
        raise ConfigError("grammar: give the JSGF grammar as text", option="grammar")


def _check_pronunciations(instance: object, attribute: object, value: Any) -> None:
    if not isinstance(value, Mapping) or not all(
        isinstance(word, str) for pair in value.items() for word in pair
    ):
        raise ConfigError("pronunciations: give a dict of words and their phones", option="pronunciations")


@attrs.frozen(kw_only=True)
class PocketsphinxConfig:
    """What may be said: `phrases`, whole and in these words, or a JSGF `grammar` (its text), or anything.

    With either, what was said is always one of what is allowed. `pronunciations` tells how words that the dictionary
    does not have are said, in ARPAbet: `{"vivavoce": "V IY V AH V OW CH EY"}`. All are also options of `listen()`.
    """

    phrases: tuple[str, ...] = attrs.field(default=(), converter=_phrases)
    grammar: str | None = attrs.field(default=None, validator=_check_grammar)
    pronunciations: Mapping[str, str] = attrs.field(factory=dict, validator=_check_pronunciations)

    def __attrs_post_init__(self) -> None:
        if self.phrases and self.grammar:
            raise ConfigError("phrases and grammar are both given: keep one", option="grammar")


class PocketsphinxProvider:
    """Listens in worker processes: one, and up to four while that many listen at the same time."""

    api: ClassVar[int] = 1
    name: ClassVar[str] = "pocketsphinx"
    capabilities: ClassVar[frozenset[str]] = frozenset({"listen"})
    config_class: ClassVar[type] = PocketsphinxConfig
    input_format: ClassVar[AudioFormat] = _FORMAT

    def __init__(self) -> None:
        self._free: list[Worker] = []
        self._all: set[Worker] = set()
        self._slots = asyncio.Semaphore(_MAX_WORKERS)

    @hookimpl
    async def listen(self, context: Context, audio: AsyncIterator[bytes], options: Mapping[str, Any]) -> str:
        """Decode `audio` while it arrives. Cancelling it abandons the utterance and keeps the process."""
        wanted = _wanted(context, options)
        async with self._slots:
            utterance = _Utterance(self, wanted)
            try:
                await utterance.open()
                async for chunk in audio:
                    await self._again(utterance.feed(chunk), utterance, context)
                return await self._again(utterance.finish(), utterance, context) or ""
            finally:
                await utterance.leave()

    @hookimpl
    async def get_listener(self, context: Context) -> ListenerInfo:
        """Say how speech is heard; loads the model, so that the next `listen()` begins at once."""
        async with self._slots:
            worker = await self.take()
            try:
                await worker.call("load", _wanted(context, {}))
            finally:
                await self.give_back(worker)
        return ListenerInfo(
            enabled=True, model="en-us", languages=("en-US",), metadata={"sample_rate": 16_000}
        )

    @hookimpl
    async def close(self, context: Context, reason: str) -> None:
        """End the processes."""
        workers, self._all, self._free = list(self._all), set(), []
        await asyncio.gather(*(worker.close() for worker in workers))

    async def take(self) -> Worker:
        """A worker that nobody uses; started if there is none."""
        while self._free:
            worker = self._free.pop()
            if worker.alive:
                return worker
            await self._drop(worker)
        worker = Worker("pocketsphinx")
        self._all.add(worker)
        try:
            await worker.start()
        except BaseException:
            await self._drop(worker)
            raise
        return worker

    async def give_back(self, worker: Worker) -> None:
        """Keep one free worker; end a second one, or one that has died."""
        if worker.alive and worker in self._all and not self._free:
            self._free.append(worker)
        else:
            await self._drop(worker)

    async def _drop(self, worker: Worker) -> None:
        self._all.discard(worker)
        await worker.close()

    async def _again(self, step: Any, utterance: _Utterance, context: Context) -> str | None:
        """Await a step; if the process died, hear the same audio in a new one, once."""
        try:
            return await step  # type: ignore[no-any-return]
        except WorkerDiedError as died:
            if not utterance.repeatable:
                raise
            context.emit(VoiceError(f"{died}; restarted", code="engine_restarted", provider=self.name))
            return await utterance.repeat()


def _wanted(context: Context, options: Mapping[str, Any]) -> dict[str, Any]:
    known = [field.name for field in attrs.fields(PocketsphinxConfig)]
    unknown = set(options) - set(known)
    if unknown:
        raise ConfigError(
            f"unknown option {unknown.pop()!r} of listen(): known are {', '.join(known)}", option="options"
        )
    config = context.config
    if "phrases" in options or "grammar" in options:  # one of them takes the place of the configured other
        config = attrs.evolve(config, phrases=(), grammar=None)
    config = attrs.evolve(config, **options)
    return {
        "phrases": list(config.phrases),
        "grammar": config.grammar,
        "pronunciations": dict(config.pronunciations),
    }


class _Utterance:
    """One utterance, and the audio of its first minute in case it must be heard again."""

    def __init__(self, provider: PocketsphinxProvider, wanted: Mapping[str, Any]) -> None:
        self._provider = provider
        self._wanted = wanted
        self._worker: Worker | None = None
        self._kept: list[bytes] = []
        self._size = 0
        self._finishing = False
        self._repeated = False

    @property
    def repeatable(self) -> bool:
        return not self._repeated and self._size <= _KEPT_BYTES

    async def open(self) -> None:
        self._worker = await self._provider.take()
        await self._worker.call("open", self._wanted)

    async def feed(self, audio: bytes) -> None:
        assert self._worker is not None
        self._size += len(audio)
        if self._size <= _KEPT_BYTES:
            self._kept.append(audio)
        else:
            self._kept.clear()
        await self._worker.post("feed", audio)

    async def finish(self) -> str:
        assert self._worker is not None
        self._finishing = True
        text: str = await self._worker.call("finish", None)
        await self._provider.give_back(self._worker)
        self._worker = None
        return text

    async def repeat(self) -> str | None:
        """Hear everything so far in a new process."""
        self._repeated = True
        if self._worker is not None:
            await self._provider.give_back(self._worker)
        await self.open()
        assert self._worker is not None
        for audio in self._kept:
            await self._worker.post("feed", audio)
        return await self.finish() if self._finishing else None

    async def leave(self) -> None:
        """Give the worker back, if the utterance did not come to its end."""
        worker, self._worker = self._worker, None
        if worker is None:
            return
        try:
            if worker.alive:
                await worker.post("abandon")
        except VoiceError:
            pass  # it died, and is dropped for it
        finally:
            await self._provider.give_back(worker)
