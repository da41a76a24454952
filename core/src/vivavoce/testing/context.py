"""A context without a core: for tests of single hooks of a provider."""

from __future__ import annotations

from typing import Any, TypeVar

from vivavoce.config import CommonConfig
from vivavoce.errors import VoiceError
from vivavoce.events import Event
from vivavoce.provider import Session

__all__ = ["RecordingContext"]

E = TypeVar("E")


class RecordingContext:
    """Hands a hook what the core would, and records what it says: `events`, in order, and `losses`.

        context = RecordingContext(config=MyConfig(api_key="..."))
        await provider.connect(context, {})
        assert context.of(ResponseCreated) == []

    It has no life cycle: it records also what a core would ignore because the session is over.
    """

    def __init__(self, config: Any = None, session: Session | None = None) -> None:
        self._config = CommonConfig() if config is None else config
        self._session = session or Session(provider="test")
        self.events: list[Event | VoiceError] = []
        self.losses: list[VoiceError | BaseException | None] = []

    @property
    def config(self) -> Any:
        """The provider's config, as given."""
        return self._config

    @property
    def session(self) -> Session:
        """The session, as given, and as the provider has filled it in."""
        return self._session

    def emit(self, event: Event | VoiceError) -> None:
        """Record an event."""
        self.events.append(event)

    def lost(self, cause: VoiceError | BaseException | None = None) -> None:
        """Record a loss and its cause."""
        self.losses.append(cause)

    def of(self, kind: type[E]) -> list[E]:
        """Return the recorded events of one class, in order."""
        return [event for event in self.events if isinstance(event, kind)]
