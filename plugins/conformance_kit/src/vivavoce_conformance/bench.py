"""What a check is handed: voices over the provider in question, the peer, and everything that was seen."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager
from typing import Any

import attrs
from vivavoce import Response, Voice, hookimpl, registry
from vivavoce.errors import VoiceError
from vivavoce.provider import Context
from vivavoce.testing import LeakError, no_leaks

from vivavoce_conformance.peer.client import PeerClient
from vivavoce_conformance.peer.script import Plan, Reply
from vivavoce_conformance.profile import Profile, find_profile, load_object
from vivavoce_conformance.registry import Unmet, expect

__all__ = ["CONNECT_MS", "PATIENCE", "Bench", "Recording", "Target", "load_target", "within"]

CONNECT_MS = 8_000
PATIENCE = 8.0
"""Seconds for what takes milliseconds: a busy machine is no reason for an alarm."""


@attrs.frozen
class Target:
    """A provider under judgment: `spec` is its name, or `module:Class`."""

    spec: str
    name: str
    provider: Any
    profile: Profile

    @property
    def capabilities(self) -> frozenset[str]:
        """What it declares."""
        return registry.capabilities_of(self.provider)


def load_target(spec: str, profile: str | None = None) -> Target:
    """Import a provider. Raises `VoiceError`s with one line each."""
    if ":" in spec:
        provider = load_object(spec)
        registry.check_provider(provider, spec)
        name = getattr(provider, "name", None) or spec.rpartition(":")[2]
    else:
        provider, found = registry.load(spec)
        name = found.name
    profile = profile or getattr(provider, "conformance_profile", None)
    return Target(spec, name, provider, find_profile(name, profile))


class _Tap:
    """A wrapper that sees what the provider emits, before the core makes anything of it."""

    def __init__(self, sessions: list[list[Any]]) -> None:
        self._sessions = sessions

    @hookimpl(wrapper=True)
    def connect(self, context: Context) -> Generator[None, Any, Any]:
        emitted: list[Any] = []
        self._sessions.append(emitted)
        passes = context.emit

        def emit(event: Any) -> None:
            emitted.append(event)
            passes(event)

        context.emit = emit  # type: ignore[method-assign]
        return (yield)


class Recording(logging.Handler):
    """Every log record of the process, as text, from DEBUG on."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    def texts(self) -> list[str]:
        """The records with their tracebacks."""
        form = logging.Formatter("%(name)s %(levelname)s %(message)s")
        return [form.format(record) for record in self.records]

    def warnings_of(self, method: str) -> int:
        """How many visible warnings name this method of the voice."""
        return sum(
            record.levelno >= logging.WARNING and f"{method}()" in record.getMessage()
            for record in self.records
            if record.name == "vivavoce"
        )


class Bench:
    """One check's workplace. Its voices are closed when the check is over."""

    def __init__(self, target: Target, peer: PeerClient | None, *, mode: str = "") -> None:
        self.target = target
        self._mode = mode
        self.secret = self._real_secret() if mode == "live" else "vvconf-7c1f3a9be2d84650"
        self.events: list[Any] = []
        """What listeners of `*` received, of all voices of this check."""
        self.sessions: list[list[Any]] = []
        """What the provider emitted, session by session."""
        self._peer = peer
        self._voices: list[Voice] = []

    @property
    def capabilities(self) -> frozenset[str]:
        """What the provider declares."""
        return self.target.capabilities

    @property
    def peer(self) -> PeerClient:
        """The service's side."""
        if self._peer is None:
            raise RuntimeError("this check has no peer")
        return self._peer

    @property
    def has_peer(self) -> bool:
        """Whether the kit plays the service, so that a plan is followed."""
        return self._peer is not None and self._peer.scripted

    @property
    def has_far_side(self) -> bool:
        """Whether there is a service at all: the kit's, a real one behind a proxy, or a cassette."""
        return self._peer is not None

    def _real_secret(self) -> str:
        """The credential that an app would use: it is passed on, and looked for where it must not be."""
        variables = dict(getattr(self.target.provider, "credentials", None) or {})
        return os.environ.get(variables.get(self.target.profile.credential or "", ""), "")

    def config(self, **more: Any) -> dict[str, Any]:
        """The config keys that reach the peer."""
        profile = self.target.profile
        config = dict(profile.config) | (dict(profile.live) if self._mode else {})
        if self._peer is not None:
            config["url"] = profile.url.format(port=self._peer.port)
        if profile.credential is not None:
            config[profile.credential] = self.secret
        return config | more

    def voice(self, *, strict: bool = False, **config: Any) -> Voice:
        """A new voice, not connected."""
        spec = self.target.provider if ":" in self.target.spec else self.target.name
        voice = Voice(spec, plugins=(_Tap(self.sessions),), strict=strict, **self.config(**config))
        voice.on("*", self.events.append)
        self._voices.append(voice)
        return voice

    def new_provider(self) -> Any:
        """A bare object of the provider's class, for its hooks alone."""
        return self.target.provider() if isinstance(self.target.provider, type) else self.target.provider

    @asynccontextmanager
    async def session(self, plan: Plan | None = None, **config: Any) -> AsyncIterator[Voice]:
        """An open voice; `plan` is for the peer."""
        if plan is not None:
            await self.peer.plan(plan)
        voice = self.voice(**config)
        await voice.connect(timeout=CONNECT_MS)
        try:
            yield voice
        finally:
            await within(voice.close(), "close()", 12.0)

    async def close(self) -> None:
        """End every voice."""
        for voice in self._voices:
            await within(voice.close(), "close()", 12.0)

    async def ask(self, voice: Voice, text: str = "Good evening.", **options: Any) -> Response:
        """Say something and ask for the reply."""
        if "text" in self.capabilities:
            await within(voice.send_text(text), "send_text()")
        response: Response = await within(voice.answer(**options), "answer()")
        return response

    async def replies(self, voice: Voice, *replies: Reply) -> None:
        """A reply from beginning to end, for each of `replies` (or one)."""
        for _ in replies or (None,):
            await within((await self.ask(voice)).done(), "the reply's end")

    def of(self, kind: type[Any]) -> list[Any]:
        """The events of a class that listeners received."""
        return [event for event in self.events if isinstance(event, kind)]

    def emitted(self, kind: type[Any]) -> list[Any]:
        """The events of a class that the provider emitted, in all sessions."""
        return [event for session in self.sessions for event in session if isinstance(event, kind)]

    async def settle(self, until: Callable[[], object], what: str, timeout: float = PATIENCE) -> None:
        """Wait until something holds; `Unmet` if it does not in time."""
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout
        while not until():
            expect(loop.time() < end, what)
            await asyncio.sleep(0.005)

    @asynccontextmanager
    async def nothing_left(self, what: str, *, at_peer: bool = True) -> AsyncIterator[None]:
        """Nothing may be left of what the block began: here, and at the peer."""
        # Real seconds for threads and children that are about to end: a busy machine is no reason for an alarm.
        guard = no_leaks(grace=2.0)
        try:
            async with guard:
                yield
        except LeakError as leaked:
            raise Unmet(f"{what}: {leaked}") from None
        if at_peer and self._peer is not None and not await self._peer.reaches("closed", 0):
            raise Unmet(f"{what}: the service still has {(await self._peer.seen()).open} connection(s)")


async def within(work: Awaitable[Any], what: str, timeout: float = PATIENCE) -> Any:
    """Await with a deadline; too late is `Unmet`."""
    try:
        async with asyncio.timeout(timeout) as limit:
            return await work
    except TimeoutError as late:
        if not limit.expired() or isinstance(late, VoiceError):
            raise
        raise Unmet(f"{what} did not end within {timeout:g} s") from None
