"""Looking on: what the frames between a provider and a real service mean, and how much of a budget they have spent."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from vivavoce_conformance.peer.dialect import Asked, Frame, PeerDialect

__all__ = ["Budget", "Job", "Observer", "Overspent", "Purse", "observes"]


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """What a live run may cost at most. `audio` is that sent to the service, in seconds, and `seconds` the whole time."""

    sessions: int = 80
    replies: int = 40
    audio: float = 20.0
    seconds: float = 600.0

    def __str__(self) -> str:
        return (
            f"{self.sessions} sessions, {self.replies} replies, {self.audio:g} s of audio, {self.seconds:g} s"
        )


class Job(msgspec.Struct, omit_defaults=True, kw_only=True):
    """What a proxy is started with. `secrets` are names of environment variables; `record` is a folder."""

    service: str
    dialect: str = ""
    transport: str = "websocket"
    secrets: Sequence[str] = ()
    record: str = ""
    budget: Budget | None = None


class Overspent(Exception):
    """The budget is used up; the text says of what."""


class Purse:
    """Counts against a budget. Raises `Overspent` before anything is sent that would go beyond it."""

    def __init__(self, budget: Budget, clock: Callable[[], float] = time.monotonic) -> None:
        self.budget = budget
        self.sessions = 0
        self.asked = 0
        self.begun = 0
        self.audio = 0.0
        self._clock = clock
        self._began: float | None = None

    @property
    def replies(self) -> int:
        """Those that were asked for, or that the service began by itself, whichever is more."""
        return max(self.asked, self.begun)

    def open(self) -> None:
        """A session is about to be opened."""
        self._began = self._clock() if self._began is None else self._began
        self.sessions += self._one(self.sessions, self.budget.sessions, "sessions")
        self.tick()

    def ask(self) -> None:
        """A reply is about to be asked for."""
        self.asked += self._one(self.replies, self.budget.replies, "replies")

    def begin(self) -> None:
        """The service has begun a reply."""
        self.begun += 1
        if self.replies > self.budget.replies:
            raise Overspent(self._text("replies"))

    def send(self, seconds: float) -> None:
        """Audio is about to be sent."""
        if self.audio + seconds > self.budget.audio:
            raise Overspent(self._text("audio"))
        self.audio += seconds

    def tick(self) -> None:
        """Time passes."""
        if self._clock() - (self._began or self._clock()) > self.budget.seconds:
            raise Overspent(self._text("time"))

    def spent(self) -> dict[str, float]:
        """What was used, in the words of `Budget`."""
        took = 0.0 if self._began is None else self._clock() - self._began
        return {
            "sessions": self.sessions,
            "replies": self.replies,
            "audio": round(self.audio, 2),
            "seconds": round(took, 1),
        }

    def _one(self, used: int, most: int, what: str) -> int:
        if used >= most:
            raise Overspent(self._text(what))
        return 1

    def _text(self, what: str) -> str:
        return f"the budget is spent ({what}): at most {self.budget}"


def observes(dialect: type[PeerDialect]) -> bool:
    """Whether a dialect understands the service's side too."""
    return dialect.observe is not PeerDialect.observe


class Observer:
    """One connection, seen through its dialect. It never answers and never raises for what it does not understand."""

    def __init__(self, dialect: PeerDialect) -> None:
        self._dialect = dialect
        self._open = False

    def request(self, path: str) -> None:
        """What was asked for."""
        self._try(self._dialect.request, path)

    def provider(self, frame: Frame) -> Sequence[Asked]:
        """What the provider asks in a frame. What the protocol forbids is the service's to say."""
        if not self._open:
            self._open = True
            self._try(self._dialect.open)
        found: Any = self._try(self._dialect.receive, frame)
        asked = [one for one in (found[0] if found else ()) if one.kind != "wrong"]
        for one in asked:
            if one.kind == "respond":  # whether it is running only the service knows
                self._try(self._dialect.begin, one.token)
                self._try(self._dialect.finish, "completed")
        return asked

    def service(self, frame: Frame) -> Sequence[Asked]:
        """What the service says in a frame: see `PeerDialect.observe`."""
        return self._try(self._dialect.observe, frame) or ()

    def seconds_of(self, audio: bytes) -> float:
        """How long audio from the provider is."""
        return len(audio) / 2 / self._dialect.rate

    @staticmethod
    def _try(function: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return function(*arguments)
        except Exception:  # a dialect is made for the kit's own peer; here it only helps to count
            return None
