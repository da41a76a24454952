"""Listening to a voice: `on`, `once`, `off`, `events`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, overload

from vivavoce.emitter import EventQueue, Listener
from vivavoce.errors import ConfigError
from vivavoce.session import Runtime

__all__ = ["Listening"]

_L = TypeVar("_L", bound=Listener)


class Listening:
    """The part of a voice that delivers its events. At any time: before, during and after a session."""

    _runtime: Runtime

    @overload
    def on(self, event: str) -> Callable[[_L], _L]: ...
    @overload
    def on(self, event: str, listener: _L) -> _L: ...

    def on(self, event: str, listener: Any = None) -> Any:
        """Call `listener(payload)` for every `event`; also a decorator. Plain listeners run at once, async ones one
        call at a time, both in order. One that raises is logged and harms nothing else."""
        return self._add(event, listener, once=False)

    @overload
    def once(self, event: str) -> Callable[[_L], _L]: ...
    @overload
    def once(self, event: str, listener: _L) -> _L: ...

    def once(self, event: str, listener: Any = None) -> Any:
        """Like `on`, for the next `event` only."""
        return self._add(event, listener, once=True)

    def _add(self, event: str, listener: Any, *, once: bool) -> Any:
        if not isinstance(event, str):
            raise ConfigError(
                f"the name of an event is a str, not {type(event).__name__}: @voice.on('turn'), not @voice.on",
                option="event",
            )
        if listener is None:
            return lambda function: self._add(event, function, once=once)
        if not callable(listener):
            raise ConfigError(
                f"the listener of {event!r} is a {type(listener).__name__}, not a function", option="listener"
            )
        self._runtime.emitter.add(event, listener, once=once)
        return listener

    def off(self, event: str, listener: Listener | None = None) -> None:
        """Remove a listener, or all of the event. Removing one that is not there does nothing."""
        self._runtime.emitter.remove(event, listener)

    def events(self, *names: str) -> EventQueue:
        """The pull form: an async iterator over the payloads of the named events (or all), from now until the voice
        is closed."""
        for name in names:
            if not isinstance(name, str):
                raise ConfigError(f"the name of an event is a str, not {type(name).__name__}", option="event")
        return self._runtime.emitter.pull(names)
