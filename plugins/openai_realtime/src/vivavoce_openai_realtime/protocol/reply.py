"""One reply as a client keeps it, and the audio of its parts."""

from __future__ import annotations

from typing import TypeVar

from .states import ResponseState
from .values import JSON, AudioFormat

__all__ = ["Bounded", "Part", "Reply", "Track"]

K = TypeVar("K")
V = TypeVar("V")

KEPT = 4096
"""Items, calls and finished replies remembered: hours of conversation."""


class Bounded(dict[K, V]):
    """A dict that forgets its oldest entries."""

    def __setitem__(self, key: K, value: V) -> None:
        super().__setitem__(key, value)
        if len(self) > KEPT:
            del self[next(iter(self))]


class Track:
    """The audio of one part of one item: what was received, and a byte that waits for the other half of its sample."""

    __slots__ = ("carry", "content_index", "format", "item_id", "response_id", "sample_bytes", "size", "type")

    def __init__(
        self, type: str, response_id: str, item_id: str, content_index: int, format: AudioFormat
    ) -> None:
        self.type = type
        self.response_id = response_id
        self.item_id = item_id
        self.content_index = content_index
        self.format = format
        self.sample_bytes = format.sample_bytes
        self.size = 0
        self.carry = b""

    def align(self, audio: bytes) -> bytes:
        """Whole samples; the rest is kept for the next piece."""
        audio = self.carry + audio
        rest = len(audio) % self.sample_bytes
        self.carry = audio[len(audio) - rest :]
        return audio[: len(audio) - rest]

    @property
    def milliseconds(self) -> int:
        return self.format.milliseconds(self.size)


Part = tuple[str, int, bool]  # item id, content index, spoken


class Reply:
    """One response."""

    def __init__(self, id: str, format: AudioFormat, *, out_of_band: bool, metadata: JSON) -> None:
        self.id = id
        self.format = format
        self.state: ResponseState | None = None
        self.out_of_band = out_of_band
        self.metadata = metadata
        self.family: dict[str, str] = {}
        self.texts: dict[Part, list[str]] = {}
        self.finals: set[Part] = set()
        self.audio: dict[tuple[str, int], bool] = {}  # part: not yet ended

    def first_family(self, kind: str, name: str) -> bool:
        """Whether `name` is the name under which this reply's `kind` came first."""
        return self.family.setdefault(kind, name) == name
