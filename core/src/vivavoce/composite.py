"""`CompositeVoice`: one voice made of several. Realtime here, speech to text and text to speech elsewhere if asked."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

import msgspec

from vivavoce import registry
from vivavoce.audio import AudioFormat
from vivavoce.emitter import Emitter, EventQueue, Listener
from vivavoce.errors import (
    ConfigError,
    ConnectError,
    NotConnectedError,
    ProviderLoadError,
    ProviderNotFoundError,
)
from vivavoce.events import ProviderFallback, Role, Usage
from vivavoce.items import Item
from vivavoce.lifecycle import State
from vivavoce.provider import ListenerInfo, SpeakerInfo
from vivavoce.reconnect import ReconnectPolicy
from vivavoce.streams import AudioStream, Response
from vivavoce.voice import Voice

__all__ = ["CompositeVoice", "realtime_candidates"]

# A provider that cannot even be made is passed over like one that cannot connect.
_NEXT = (ConnectError, ConfigError, ProviderNotFoundError, ProviderLoadError)


def realtime_candidates() -> tuple[list[str], list[Exception]]:
    """Installed providers that declare `realtime` and whose credentials are in the environment, and what could not be
    loaded. Each is imported by itself; `null` is none."""
    names, broken = [], []
    for found in registry.allowed(registry.entries()):
        if registry.normalize(found.name) == "null" or found.name in names:
            continue
        try:
            provider, _ = registry.load(found.name)
        except (ProviderLoadError, ProviderNotFoundError) as bad:
            broken.append(bad)
            continue
        variables = registry.credentials_of(provider).values()
        if "realtime" in registry.capabilities_of(provider) and all(
            os.environ.get(v, "").strip() for v in variables
        ):
            names.append(found.name)
    return names, list(broken)


def _choose() -> str:
    chosen = os.environ.get("VIVAVOCE_PROVIDER", "").strip()
    if chosen:
        return chosen
    names, _ = realtime_candidates()
    if len(names) > 1:
        raise ConfigError(
            f"several realtime providers could be used: {', '.join(names)}. Name one: CompositeVoice(realtime={names[0]!r}), or set VIVAVOCE_PROVIDER",
            option="realtime",
        )
    return names[0] if names else "null"


def _voice(given: Any) -> Voice:
    return given if isinstance(given, Voice) else Voice(given)


def _label(choice: Any) -> str:
    """What to call a choice, also one that could not be made into a voice."""
    if isinstance(choice, str):
        return choice
    if isinstance(choice, Voice):
        return choice.provider
    name = getattr(choice, "name", None) or getattr(choice, "__name__", None)
    return name if isinstance(name, str) else type(choice).__name__


class _Registration(msgspec.Struct, eq=False):
    """A listener of the composite, and what stands for it at the voice."""

    event: str
    listener: Listener
    attached: Listener


class CompositeVoice:
    """`realtime`, `input` and `output` are each a name, a `Voice`, a provider class or a provider object.

    Everything goes to the realtime one, except `speak` and `get_speakers` (to `output`, if given) and `listen` and
    `get_listener` (to `input`, if given); `close` closes all three. Without `realtime` it is picked at the first
    realtime call: `VIVAVOCE_PROVIDER`, else the only installed provider that declares `realtime` and whose credentials
    are there; several are a `ConfigError`, none is the warning rule. A list is an order of preference: when one cannot
    connect, the next is tried, and a `provider.fallback` event says so.
    """

    def __init__(self, realtime: Any = None, input: Any = None, output: Any = None) -> None:
        if isinstance(realtime, (list, tuple)):
            if not realtime:
                raise ConfigError("realtime is an empty list: name at least one provider", option="realtime")
            self._choices: list[Any] = list(realtime)  # each becomes a voice when its turn comes
        else:
            self._choices = [] if realtime is None else [_voice(realtime)]
        self._input = _voice(input) if input is not None else None
        self._output = _voice(output) if output is not None else None
        self._current: Voice | None = None
        self._listeners: list[_Registration] = []
        self._pulls = Emitter(self._pulled)
        self._walking = asyncio.Lock()
        self._closes = 0
        if not isinstance(realtime, (list, tuple)) and realtime is not None:
            self._use(self._choices[0])

    def __repr__(self) -> str:
        return f"<CompositeVoice realtime={self._current} input={self._input} output={self._output}>"

    def _realtime(self) -> Voice:
        """The realtime voice; chosen now, if it was not."""
        if self._current is None:
            self._use(self._choice(0) if self._choices else _voice(_choose()))
        assert self._current is not None
        return self._current

    def _choice(self, index: int) -> Voice:
        voice = self._choices[index] = _voice(self._choices[index])
        return voice

    def _use(self, voice: Voice) -> None:
        """The listeners go over to this voice."""
        if voice is self._current:
            return
        before, self._current = self._current, voice
        if before is not None:
            before.off("close", self._ended)
        for entry in self._listeners:
            if before is not None:
                before.off(entry.event, entry.attached)
            voice.on(entry.event, entry.attached)
        voice.on("close", self._ended)

    def _ended(self, event: Any) -> None:
        """The session is over; every `events()` ends once it has heard that, too."""
        asyncio.get_running_loop().call_soon(self._pulls.end_pulls)

    # What can be read. Before the choice, a voice that has not begun.

    @property
    def state(self) -> State:
        """The state of the realtime voice."""
        return self._current.state if self._current is not None else "idle"

    @property
    def provider(self) -> str:
        """The realtime provider's name; it is chosen now, if it was not."""
        return self._realtime().provider

    @property
    def capabilities(self) -> frozenset[str]:
        """What the parts can do together."""
        found = self._realtime().capabilities
        for part, capability in ((self._input, "listen"), (self._output, "speak")):
            if part is not None:
                found = found - {capability} | part.capabilities & {capability}
        return found

    @property
    def session_id(self) -> str | None:
        """The realtime service's id of the session."""
        return self._current.session_id if self._current is not None else None

    @property
    def usage(self) -> Usage:
        """The sum over all parts."""
        return sum((voice.usage for voice in self._parts()), Usage())

    @property
    def history(self) -> tuple[Item, ...]:
        """The conversation so far."""
        return self._current.history if self._current is not None else ()

    @property
    def input_format(self) -> AudioFormat:
        """What `send` takes without `rate`."""
        return self._realtime().input_format

    @property
    def output_format(self) -> AudioFormat:
        """What replies carry."""
        return self._realtime().output_format

    def _parts(self) -> list[Voice]:
        parts: list[Voice] = []
        for voice in (self._current, self._input, self._output):
            if voice is not None and not any(voice is other for other in parts):
                parts.append(voice)
        return parts

    # Realtime.

    async def connect(
        self,
        *,
        timeout: float | timedelta = 30_000,
        reconnect: bool | ReconnectPolicy = False,
        **options: Any,
    ) -> None:
        """As `Voice.connect`; with a list of providers, `timeout` is that of each attempt."""
        closes = self._closes
        async with self._walking:
            if closes != self._closes:
                raise self._closed()
            if len(self._choices) < 2 or self.state in ("open", "reconnecting"):
                await self._realtime().connect(timeout=timeout, reconnect=reconnect, **options)
            else:
                await self._walk(closes, timeout=timeout, reconnect=reconnect, **options)

    def _closed(self) -> NotConnectedError:
        return NotConnectedError("the voice was closed while it was connecting", code="closed")

    async def _walk(self, closes: int, **options: Any) -> None:
        """Try one after the other."""
        failed: list[tuple[str, Exception]] = []
        untold = 0
        for index, choice in enumerate(self._choices):
            try:
                voice = self._choice(index)
                self._use(voice)
                for name, cause in failed[untold:]:
                    fallback = ProviderFallback(name, voice.provider, cause)
                    voice._runtime.emitter.emit(fallback.type, fallback)
                untold = len(failed)
                await voice.connect(**options)
                return
            except _NEXT as bad:
                failed.append((_label(choice), bad))
            if closes != self._closes:
                raise self._closed()
        raise failed[-1][1]

    async def send(
        self, audio: Any, *, rate: int | None = None, channels: int = 1, pace: bool = False
    ) -> None:
        """As `Voice.send`."""
        await self._realtime().send(audio, rate=rate, channels=channels, pace=pace)

    async def send_text(self, text: str, *, role: Role = "user") -> None:
        """As `Voice.send_text`."""
        await self._realtime().send_text(text, role=role)

    async def answer(self, **options: Any) -> Response:
        """As `Voice.answer`."""
        return await self._realtime().answer(**options)

    async def interrupt(self, *, item_id: str | None = None, played_ms: float | None = None) -> None:
        """Interrupts the reply, and what `output` is saying."""
        if (
            self._output is not None
            and self._output is not self._current
            and self._output._runtime.speaking()
        ):
            await self._output.interrupt()
            if self.state not in ("open", "reconnecting"):
                return
        await self._realtime().interrupt(item_id=item_id, played_ms=played_ms)

    async def commit_input(self) -> None:
        """As `Voice.commit_input`."""
        await self._realtime().commit_input()

    async def clear_input(self) -> None:
        """As `Voice.clear_input`."""
        await self._realtime().clear_input()

    async def add_tools(self, tools: Iterable[Any] | Mapping[str, Any]) -> None:
        """As `Voice.add_tools`."""
        await self._realtime().add_tools(tools)

    async def return_tool_result(self, call_id: str, output: str) -> None:
        await self._realtime().return_tool_result(call_id, output)

    async def add_instructions(self, text: str) -> None:
        """As `Voice.add_instructions`."""
        await self._realtime().add_instructions(text)

    async def update_config(self, **session: Any) -> None:
        """As `Voice.update_config`."""
        await self._realtime().update_config(**session)

    async def send_event(self, type: str, **fields: Any) -> None:
        """As `Voice.send_event`."""
        await self._realtime().send_event(type, **fields)

    async def close(self) -> None:
        """Close all parts; each is closed even if another fails to, or this call is cancelled."""
        self._closes += 1
        failed: BaseException | None = None
        for voice in self._parts():
            try:
                await voice.close()
            except (Exception, asyncio.CancelledError) as bad:
                failed = bad
        self._pulls.end_pulls()
        if failed is not None:
            raise failed

    async def __aenter__(self) -> Self:
        try:
            await self.connect()
        except BaseException:
            await (
                self.close()
            )  # cancelled in the moment of success, it is open, and nobody else would close it
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # Routed.

    async def speak(
        self, text: str | Iterable[str] | AsyncIterator[str], *, speaker: str | None = None, **options: Any
    ) -> AudioStream:
        """As `Voice.speak`."""
        return await (self._output or self._realtime()).speak(text, speaker=speaker, **options)

    async def get_speakers(self) -> list[SpeakerInfo]:
        """As `Voice.get_speakers`."""
        return await (self._output or self._realtime()).get_speakers()

    async def listen(self, audio: Any, *, rate: int | None = None, channels: int = 1, **options: Any) -> str:
        """As `Voice.listen`."""
        return await (self._input or self._realtime()).listen(audio, rate=rate, channels=channels, **options)

    async def get_listener(self) -> ListenerInfo:
        """As `Voice.get_listener`."""
        return await (self._input or self._realtime()).get_listener()

    # Events: those of the realtime voice. Listeners may come before it is chosen.

    def on(self, event: str, listener: Any = None) -> Any:
        """As `Voice.on`."""
        return self._add(event, listener, once=False)

    def once(self, event: str, listener: Any = None) -> Any:
        """As `Voice.once`."""
        return self._add(event, listener, once=True)

    def _add(self, event: str, listener: Any, *, once: bool) -> Any:
        if listener is None:
            decorate: Callable[[Any], Any] = lambda function: self._add(event, function, once=once)  # noqa: E731
            return decorate
        entry = _Registration(event, listener, listener)
        if once:
            entry.attached = self._only_once(entry)
        if self._current is not None:
            self._current.on(event, entry.attached)
        self._listeners.append(entry)
        return listener

    def _only_once(self, entry: _Registration) -> Listener:
        def heard(payload: Any) -> Any:
            self._forget(entry)
            return entry.listener(payload)

        return heard

    def _forget(self, entry: _Registration) -> None:
        if any(entry is other for other in self._listeners):
            self._listeners = [other for other in self._listeners if other is not entry]
            if self._current is not None:
                self._current.off(entry.event, entry.attached)

    def off(self, event: str, listener: Listener | None = None) -> None:
        """As `Voice.off`."""
        found = [
            e for e in self._listeners if e.event == event and (listener is None or e.listener == listener)
        ]
        for entry in found if listener is None else found[:1]:
            self._forget(entry)

    def events(self, *names: str) -> EventQueue:
        """As `Voice.events`."""
        return self._pulls.pull(names)

    def _pulled(self, what: str, event: str, listener: Listener) -> None:
        if what == "on":
            self._add(event, listener, once=False)
        else:
            self.off(event, listener)
