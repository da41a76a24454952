"""`CompositeVoice`: one voice made of several. Realtime here, speech to text and text to speech elsewhere if asked."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

from vivavoce import registry
from vivavoce.audio import AudioFormat
from vivavoce.emitter import EventQueue, Listener
from vivavoce.errors import ConfigError, ConnectError, ProviderLoadError, ProviderNotFoundError
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
            self._choices: Sequence[Any] = list(realtime)
        else:
            self._choices = [] if realtime is None else [_voice(realtime)]
        self._input = _voice(input) if input is not None else None
        self._output = _voice(output) if output is not None else None
        self._current: Voice | None = (
            self._choices[0] if len(self._choices) == 1 and isinstance(self._choices[0], Voice) else None
        )
        self._listeners: list[tuple[str, Listener, bool]] = []

    def __repr__(self) -> str:
        return f"<CompositeVoice realtime={self._current} input={self._input} output={self._output}>"

    def _realtime(self) -> Voice:
        """The realtime voice; chosen now, if it was not."""
        if self._current is None:
            self._use(_voice(self._choices[0] if self._choices else _choose()))
        assert self._current is not None
        return self._current

    def _use(self, voice: Voice) -> None:
        self._current = voice
        for event, listener, once in self._listeners:
            (voice.once if once else voice.on)(event, listener)
        self._listeners = (
            [entry for entry in self._listeners if not entry[2]] if len(self._choices) > 1 else []
        )

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
        if len(self._choices) < 2 or self.state in ("open", "reconnecting", "connecting"):
            await self._realtime().connect(timeout=timeout, reconnect=reconnect, **options)
            return
        failed: tuple[str, Exception] | None = None
        for choice in self._choices:
            name: str = (
                choice
                if isinstance(choice, str)
                else getattr(choice, "provider", None) or str(getattr(choice, "__name__", repr(choice)))
            )
            try:
                voice = _voice(choice)
                self._use(voice)
                if failed is not None:
                    voice._runtime.emitter.emit(
                        ProviderFallback.type, ProviderFallback(failed[0], name, failed[1])
                    )
                await voice.connect(timeout=timeout, reconnect=reconnect, **options)
                return
            except _NEXT as bad:
                failed = (name, bad)
                if self._current is not None:
                    await self._current.close()
        assert failed is not None
        raise failed[1]

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
        """Close all parts; each is closed even if another fails to."""
        failed: BaseException | None = None
        for voice in self._parts():
            try:
                await voice.close()
            except Exception as bad:
                failed = bad
        if failed is not None:
            raise failed

    async def __aenter__(self) -> Self:
        await self.connect()
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
        if self._current is None or len(self._choices) > 1:
            self._listeners.append((event, listener, once))
        if self._current is not None:
            (self._current.once if once else self._current.on)(event, listener)
        return listener

    def off(self, event: str, listener: Listener | None = None) -> None:
        """As `Voice.off`."""
        self._listeners = [
            e for e in self._listeners if e[0] != event or (listener is not None and e[1] != listener)
        ]
        if self._current is not None:
            self._current.off(event, listener)

    def events(self, *names: str) -> EventQueue:
        """As `Voice.events`."""
        return self._realtime().events(*names)
