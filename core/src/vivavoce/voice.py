"""`Voice`: one conversation with one provider."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import aclosing
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

from vivavoce import requests
from vivavoce.audio import AudioFormat
from vivavoce.config import build_config, load_mapping, nearest
from vivavoce.errors import ConfigError, ProviderLoadError, UnsupportedError, VoiceError
from vivavoce.events import Role, Usage
from vivavoce.inputs import as_changes, as_policy, as_seconds, as_text, check_answer, check_text
from vivavoce.items import Item, as_items
from vivavoce.lifecycle import State
from vivavoce.listening import Listening
from vivavoce.live import Live
from vivavoce.needs import HOOK_OF, supported
from vivavoce.plugins import assemble, claim, release
from vivavoce.provider import ListenerInfo, Session, SpeakerInfo
from vivavoce.reconnect import ReconnectPolicy
from vivavoce.session import Runtime
from vivavoce.streams import AudioStream, Response
from vivavoce.tools import as_tools
from vivavoce.wanted import Wanted

__all__ = ["Voice"]


class Voice(Listening):
    """One conversation. `provider` is a name, a provider class, or a ready provider object (which belongs to this
    voice alone); `None` takes `VIVAVOCE_PROVIDER`.

    The constructor finds the provider and checks the config; it opens nothing. `plugins` are wrappers, by name or as
    objects; with `strict=True` a call that the provider cannot do raises `UnsupportedError` instead of warning.
    `history` is what the conversation begins with. The config keys are in docs/reference/config.md.

    Raises `ConfigError`, `ProviderNotFoundError`, `ProviderLoadError`.
    """

    def __init__(
        self,
        provider: object | str | None = None,
        /,
        *,
        plugins: Sequence[object | str] = (),
        strict: bool = False,
        history: Iterable[Item | Mapping[str, Any]] = (),
        **config: Any,
    ) -> None:
        if not isinstance(strict, bool):
            raise ConfigError(f"strict={strict!r}: give True or False", option="strict")
        parts = assemble(provider, plugins)
        built, unused = build_config(
            config,
            provider=parts.name,
            config_class=parts.config_class,
            has_capabilities=bool(parts.capabilities),
        )
        wanted, before = Wanted.of(built), as_items(history)
        claim(parts.provider)
        self._strict = strict
        self._connect_options = parts.connect_options
        self._provider = parts.provider
        self._runtime = Runtime(
            parts.relay,
            capabilities=parts.capabilities,
            wanted=wanted,
            template=Session(
                provider=parts.name,
                history=before,
                input_format=parts.input_format,
                output_format=parts.output_format,
            ),
        )
        self._supports = supported(parts.capabilities, parts.relay.hooks)
        for key in unused:
            requests.logger.warning(
                "provider %r cannot use the config key %r: it has no effect", parts.name, key
            )
        try:
            parts.relay.plain("attach", self)
        except Exception as bad:
            release(parts.provider)
            if isinstance(bad, VoiceError):
                raise
            text = f"attach() of a plugin raised {type(bad).__name__}: {bad}"
            raise ProviderLoadError(text, provider=parts.name) from bad

    @classmethod
    def from_config(cls, source: Mapping[str, Any] | str | os.PathLike[str]) -> Self:
        """Make a voice from a mapping or a TOML file: `provider`, `plugins`, `strict`; every other key is a config key."""
        values = load_mapping(source)
        return cls(
            values.pop("provider", None),
            plugins=values.pop("plugins", ()),
            strict=values.pop("strict", False),
            **values,
        )

    def __repr__(self) -> str:
        return f"<Voice {self._runtime.provider} {self.state}>"

    # What can be read.

    @property
    def state(self) -> State:
        """`idle`, `connecting`, `open`, `reconnecting` or `closed`."""
        return self._runtime.state

    @property
    def provider(self) -> str:
        """The provider's name."""
        return self._runtime.provider

    @property
    def capabilities(self) -> frozenset[str]:
        """What the provider states that it can do."""
        return self._runtime.capabilities

    @property
    def session_id(self) -> str | None:
        """The service's id of the session, while there is one."""
        return self._runtime.session_id

    @property
    def usage(self) -> Usage:
        """The sum of what this voice consumed."""
        return self._runtime.memory.usage

    @property
    def history(self) -> tuple[Item, ...]:
        """The conversation so far; what a reconnect replays."""
        return tuple(self._runtime.memory.items)

    @property
    def input_format(self) -> AudioFormat:
        """What `send` takes without `rate`."""
        runtime = self._runtime
        return runtime.session.input_format if runtime.state == "open" else runtime.input_format

    @property
    def output_format(self) -> AudioFormat:
        """What `speaking` events and reply streams carry."""
        return self._runtime.session.output_format

    # The warning rule.

    def _unsupported(self, method: str, *args: Any) -> bool:
        """Whether the provider cannot do this call; if so, it is said by the null provider, or raised in strict mode."""
        if self._supports[method]:
            return False
        if self._strict:
            raise UnsupportedError(
                f"provider {self.provider!r} cannot {method}(); `vivavoce providers` lists what each provider can do",
                provider=self.provider,
            )
        self._runtime.relay.ask_null(HOOK_OF.get(method, method), self._runtime.aside().context, *args)
        return True

    # Connecting.

    async def connect(
        self,
        *,
        timeout: float | timedelta = 30_000,
        reconnect: bool | ReconnectPolicy = False,
        **options: Any,
    ) -> None:
        """Open a session: dialled, authenticated, its configuration acknowledged, all within `timeout` milliseconds
        (or a `timedelta`).

        Idempotent: on an open voice it changes only the reconnect policy; concurrent callers share one attempt. Works
        again after a close or a loss. When it fails, nothing is left running and the voice is `idle` again.
        Cancelling the only caller abandons the attempt. Raises `ConnectError` and its kinds, `ConfigError` for an
        option that is unknown or bad, `NotConnectedError` (code `closed`) when the voice is closed meanwhile.
        """
        if self._unsupported("connect", options):
            return
        seconds = as_seconds(timeout)
        policy = as_policy(reconnect)
        for option in options:
            if option not in self._connect_options:
                known = sorted({"timeout", "reconnect", *self._connect_options})
                meant = nearest(option, known)
                hint = f"did you mean {meant!r}?" if meant else f"known are {', '.join(known)}"
                raise ConfigError(
                    f"unknown option {option!r} of connect(): {hint}", option=option, provider=self.provider
                )
        await self._runtime.connect(seconds, policy, options)

    async def close(self) -> None:
        """End the session and everything that belongs to it. Always safe: before, during and after `connect`, twice,
        concurrently, from inside a listener. Cancelling it does not stop it."""
        await self._runtime.close()
        release(self._provider)

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

    # Talking.

    async def send(
        self, audio: Any, *, rate: int | None = None, channels: int = 1, pace: bool = False
    ) -> None:
        """Send input audio: PCM16 `bytes`, numpy arrays, a file, an `AudioSource`, or an iterable of chunks.

        Raw audio without `rate` (Hz) is at `voice.input_format`; rate and channels are converted. Returns when all was
        handed to the transport, or when the source or the voice closes; waits while the service does not read.
        `pace=True` sends at real-time speed. Cancelling it stops between two chunks. Raises `NotConnectedError`
        before `connect()`, `AudioError` for audio that cannot be used, `ConnectionLostError`.
        """
        runtime = self._runtime
        port = runtime.port
        # The common case, one frame as the service wants it, takes no detour.
        if port is not None and type(audio) is bytes and rate is None and channels == 1 and not pace:
            size = len(audio)
            if 0 < size <= runtime.frame_limit and not size & 1 and not runtime.inflow.holding:
                runtime.input_bytes += size
                try:
                    result = port(audio)
                except Exception as bad:
                    runtime.inflow.not_sent(audio, bad)
                else:
                    if result is not None:
                        await requests.sent(runtime, result)
                return
        if self._unsupported("send", b""):
            return
        if runtime.state not in ("open", "reconnecting"):
            raise runtime.not_connected("send")
        await runtime.inflow.send(audio, rate, channels, pace)

    async def send_text(self, text: str, *, role: Role = "user") -> None:
        """Add a text message to the conversation. It asks for no reply: see `answer`."""
        if self._unsupported("send_text", text, role):
            return
        check_text("send_text", "text", text)
        if role not in ("user", "assistant", "system"):
            raise ConfigError(f"role={role!r}: 'user', 'assistant' or 'system'", option="role")
        await requests.send_text(self._runtime, await self._live("send_text"), text, role)

    async def answer(self, **options: Any) -> Response:
        """Ask for a reply; returns when the service has begun it, raises `ProviderError` if it refuses.

        Options: `instructions` (for this reply), `text_only`, `tools`, `tool_choice`, `input` (items instead of the
        conversation), `metadata`, `out_of_band` (beside the conversation); others are the provider's. With manual
        turns it commits pending input first; while another reply runs it waits for its end.
        """
        if self._unsupported("answer", options):
            return Response.empty(self.output_format)
        check_answer(options)
        return await requests.ask(self._runtime, await self._live("answer"), options)

    async def interrupt(self, *, item_id: str | None = None, played_ms: float | None = None) -> None:
        """Stop the running reply or `speak`, drop audio that was not played, and cut the service's memory to what was
        heard: as the sink tells, or `played_ms` milliseconds of `item_id` (of the reply, without one)."""
        runtime = self._runtime
        speaking = runtime.speaking()
        if not speaking and self._unsupported("interrupt"):
            return
        if played_ms is not None and not (isinstance(played_ms, (int, float)) and played_ms >= 0):
            raise ConfigError(f"played_ms={played_ms!r} is not a number of milliseconds", option="played_ms")
        if item_id is not None and not isinstance(item_id, str):
            raise ConfigError(f"item_id={item_id!r} is not the id of an item", option="item_id")
        # While reconnecting there is no service to tell: what is still heard is silenced now.
        there = speaking or runtime.state == "reconnecting"
        live = runtime.live if there else await self._live("interrupt")
        lives = (runtime.heard, live) if self._supports["interrupt"] else ()
        await requests.interrupt(runtime, lives, item_id, played_ms)

    async def commit_input(self) -> None:
        """Manual turns: the user's turn ends here."""
        if not self._unsupported("commit_input"):
            await requests.commit_input(self._runtime, await self._live("commit_input"))

    async def clear_input(self) -> None:
        """Manual turns: forget the audio sent since the last turn."""
        if not self._unsupported("clear_input"):
            await requests.clear_input(self._runtime, await self._live("clear_input"))

    async def speak(
        self, text: str | Iterable[str] | AsyncIterator[str], *, speaker: str | None = None, **options: Any
    ) -> AudioStream:
        """Text to speech: `text`, or an iterable of pieces of it. Needs no `connect()` unless the provider says so."""
        runtime = self._runtime
        if self._unsupported("speak", text, options):
            stream = AudioStream("", self.output_format)
            stream._end("completed")
            return stream
        check_text("speak", "speaker", speaker, or_none=True)
        options["speaker"] = speaker if speaker is not None else runtime.wanted.speaker
        return await requests.speak(runtime, runtime.aside(), as_text(text), options)

    async def listen(self, audio: Any, *, rate: int | None = None, channels: int = 1, **options: Any) -> str:
        """Speech to text: `audio` as in `send`; returns the transcript. Needs no `connect()` unless the provider says so."""
        runtime = self._runtime
        if self._unsupported("listen", audio, options):
            return ""
        from vivavoce import sources

        live = runtime.aside()
        chunks = sources.chunks(audio, rate=rate, channels=channels, target=live.session.input_format)
        async with aclosing(chunks):
            return await requests.listen(runtime, live, chunks, options)

    async def get_speakers(self) -> list[SpeakerInfo]:
        """The voices that `speaker=` may name."""
        if self._unsupported("get_speakers"):
            return []
        return await requests.speakers(self._runtime, self._runtime.aside())

    async def get_listener(self) -> ListenerInfo:
        """Whether speech to text is there (`enabled`), and how."""
        if self._unsupported("get_listener"):
            return ListenerInfo(enabled=False)
        return await requests.listener(self._runtime, self._runtime.aside())

    # Configuring.

    async def add_tools(self, tools: Iterable[Any] | Mapping[str, Any]) -> None:
        """Add tools to the session; one with a known name replaces it. Resolves when acknowledged."""
        if self._unsupported("add_tools", {"tools": ()}):
            return
        await requests.add_tools(self._runtime, as_tools(tools))

    async def return_tool_result(self, call_id: str, output: str) -> None:
        """Give the output of a call of a `Tool` with `execute=None`. It asks for no reply: see `answer`. Raises
        `ConfigError` if no such call waits for one."""
        if not self._unsupported("return_tool_result", call_id, output):
            await requests.return_tool_result(
                self._runtime, await self._live("return_tool_result"), call_id, output
            )

    async def add_instructions(self, text: str) -> None:
        """Set the instructions of the session. Resolves when acknowledged."""
        if not self._unsupported("add_instructions", {"instructions": text}):
            check_text("add_instructions", "text", text)
            await self._update({"instructions": text})

    async def update_config(self, **session: Any) -> None:
        """Merge settings into the session: `instructions`, `tools`, `speaker`, and the provider's own session
        settings, bare or under `session=`. Resolves when acknowledged; if refused, nothing changed."""
        if self._unsupported("update_config", {"session": session}):
            return
        changes = as_changes(session)
        if changes:
            await self._update(changes)

    async def _update(self, changes: dict[str, Any]) -> None:
        await requests.update(self._runtime, changes)

    async def send_event(self, type: str, **fields: Any) -> None:
        """Send the provider's own message, untouched."""
        if not self._unsupported("send_event", type, fields):
            check_text("send_event", "type", type)
            live = await self._live("send_event")
            await requests.request(self._runtime, live, "send_event", type, fields)

    async def _live(self, method: str) -> Live:
        async with self._runtime.pending.guard():
            return await self._runtime.ready(method)
