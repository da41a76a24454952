"""The provider's side of one session: a `Voice`, and its provider's events as they come."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterable, Mapping
from typing import Any

from vivavoce import Context, Item, ReconnectPolicy, Voice, VoiceError, hookimpl
from vivavoce.events import Closed, Event

from vivavoce_gateway.config import OPENAI_MODELS, Route

__all__ = ["OPENAI_VOICES", "Backend"]

logger = logging.getLogger("vivavoce.gateway")

OPENAI_VOICES = frozenset(
    [
        "alloy",
        "ash",
        "ballad",
        "cedar",
        "coral",
        "echo",
        "fable",
        "marin",
        "nova",
        "onyx",
        "sage",
        "shimmer",
        "verse",
    ]
)
_told: set[tuple[str, str]] = set()


class _Tap:
    """A wrapper that hears the provider's events before the core makes its own of them: the protocol tells more than the
    events of a voice do (where a user's item took its place, say), and in the provider's order."""

    def __init__(self, take: Callable[[Event | VoiceError], None]) -> None:
        self._take = take

    @hookimpl(wrapper=True)
    def connect(self, context: Context) -> Generator[None, Any, Any]:
        """Listen to this session's events from the first one on."""
        emit = context.emit

        def both(event: Event | VoiceError) -> None:
            self._take(event)
            emit(event)

        context.emit = both  # type: ignore[method-assign]
        return (yield)


class Backend:
    """`take` gets every event of the provider, `failed` its errors, `lost` is told when its session broke and another one is
    being opened, `ended` when it is over."""

    def __init__(
        self,
        route: Route,
        *,
        voices: Mapping[str, str],
        history: Iterable[Item] = (),
        take: Callable[[Event | VoiceError], None],
        failed: Callable[[VoiceError], None],
        lost: Callable[[], None],
        ended: Callable[[Closed], None],
    ) -> None:
        self.manual = route.manual_settings
        config = dict(route.config)
        if self.manual is not None:
            config["session"] = {**config.get("session", {}), **self.manual}
        self.voice = Voice(route.provider, plugins=[_Tap(take)], history=tuple(history), **config)
        self._voices = {**voices, **route.voices}
        self._speakers: frozenset[str] = frozenset()
        self.voice.on("error", failed)
        self.voice.on("reconnecting", lambda event: lost())
        self.voice.on("close", ended)

    @property
    def takes_turns(self) -> bool:
        """Whether the provider takes the turns; else they are ours."""
        return self.manual is None and (self.can("vad") or not self.can("turns"))

    def can(self, *capabilities: str) -> bool:
        """Whether the provider has all of these."""
        return self.voice.capabilities.issuperset(capabilities)

    async def connect(self, seconds: float) -> None:
        """Open the provider's session. Raises `VoiceError`."""
        await self.voice.connect(
            timeout=seconds * 1000, reconnect=ReconnectPolicy() if self.can("replay") else False
        )
        if self.can("speak"):
            self._speakers = frozenset(speaker.id for speaker in await self.voice.get_speakers())

    async def close(self) -> None:
        """End it. Always safe."""
        await self.voice.close()

    def knows_voice(self, name: str) -> bool:
        """Whether a client may ask for this voice."""
        known = name in self._voices or name in OPENAI_VOICES or name in self._speakers
        return known or not self.can("speak")

    def speaker(self, name: str) -> str | None:
        """The provider's voice for a client's name of one; `None`: the one it has anyway."""
        if name in self._voices:
            return self._voices[name]
        if name in self._speakers or not self.can("speak"):
            return name
        if (self.voice.provider, name) not in _told:
            _told.add((self.voice.provider, name))
            logger.info("voice %r is spoken by the default voice of %r", name, self.voice.provider)
        return None

    def transcribes(self, model: str) -> None:
        """A client names who is to transcribe; the provider does, and the log says so once."""
        known = (self.voice.provider, model)
        if model.startswith(OPENAI_MODELS) and len(model) <= 64 and known not in _told and len(_told) < 256:
            _told.add(known)
            logger.info("transcripts of %r are made by %r", model, self.voice.provider)

    @property
    def voice_names(self) -> str:
        """What a client may ask for, in words."""
        return ", ".join(sorted({*self._voices, *self._speakers, *OPENAI_VOICES}))
