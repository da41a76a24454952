"""Cassettes: what a provider and its service said to each other, as lines of JSON with times.

    {"cassette": 1, "service": "wss://voice.example/v1", "transport": "websocket", ...}
    {"at": 0.0, "connection": 1, "from": "provider", "open": {"path": "/v1", "headers": {...}, "subprotocols": []}}
    {"at": 0.082, "connection": 1, "from": "service", "open": {"status": 101}}
    {"at": 0.083, "connection": 1, "from": "service", "text": "{\\"type\\": \\"session.created\\", ...}"}
    {"at": 3.1, "connection": 1, "from": "provider", "close": {"code": 1000}}

`at` is in seconds since the first connection. Bytes (`bytes`) are base64. Nothing is written before it was scrubbed.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec
from vivavoce.errors import ConfigError

from vivavoce_conformance.peer.dialect import Frame
from vivavoce_conformance.scrub import Scrubber

__all__ = [
    "CASSETTE_VERSION",
    "LARGEST",
    "Cassette",
    "Entry",
    "Head",
    "Recorder",
    "kinds",
    "read_cassette",
    "write_cassette",
]

CASSETTE_VERSION = 1
"""Fields may be added at any time; the number grows when one changes its meaning."""

LARGEST = 256 * 1024 * 1024
"""Bytes of messages that a recorder keeps: about half an hour of conversation. What comes after is not recorded."""

Side = Literal["provider", "service"]
_T = TypeVar("_T")


class Head(msgspec.Struct, omit_defaults=True, kw_only=True):
    """The first line. `dialect` is the kit's word for the protocol, which a replay reads the provider's messages with."""

    cassette: int
    service: str = ""
    transport: str = "websocket"
    dialect: str = ""
    about: str = ""
    made: str = ""


class Entry(msgspec.Struct, omit_defaults=True, kw_only=True):
    """One thing that was said or done: one of `open`, `text`, `data`, `close`."""

    at: float
    connection: int
    side: Side = msgspec.field(name="from")
    open: Mapping[str, Any] | None = None
    text: str | None = None
    data: bytes | None = msgspec.field(name="bytes", default=None)
    close: Mapping[str, Any] | None = None

    @property
    def frame(self) -> Frame | None:
        """The message, if it is one."""
        return self.text if self.text is not None else self.data


class Cassette(msgspec.Struct):
    """A recording. `connections` is in the order in which they were opened."""

    head: Head
    entries: list[Entry]

    @property
    def connections(self) -> list[list[Entry]]:
        """The entries of each connection."""
        kept: dict[int, list[Entry]] = {}
        for entry in self.entries:
            kept.setdefault(entry.connection, []).append(entry)
        return [kept[number] for number in sorted(kept)]


def read_cassette(path: Path) -> Cassette:
    """Read one. Raises `ConfigError` with the line that is wrong."""
    try:
        lines = path.read_bytes().splitlines() or [b""]
    except OSError as bad:
        raise ConfigError(f"{path} cannot be read: {bad.strerror or bad}") from bad
    head = _decoded(path, 1, lines[0], Head)
    entries = [_decoded(path, number, line, Entry) for number, line in enumerate(lines[1:], 2)]
    if head.cassette > CASSETTE_VERSION:
        raise ConfigError(
            f"{path} has version {head.cassette}; this kit reads up to {CASSETTE_VERSION}: upgrade it"
        )
    return Cassette(head, entries)


def _decoded(path: Path, number: int, line: bytes, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(line, type=kind)
    except msgspec.MsgspecError as bad:
        raise ConfigError(f"{path}, line {number} is no cassette: {bad}") from bad


def write_cassette(path: Path, cassette: Cassette) -> None:
    """Write one, whole or not at all."""
    lines = [msgspec.json.encode(value) + b"\n" for value in (cassette.head, *cassette.entries)]
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.part")
    unfinished.write_bytes(b"".join(lines))
    unfinished.replace(path)


class Recorder:
    """Keeps what passes, and gives it scrubbed. `clock` is in seconds."""

    def __init__(self, scrubber: Scrubber, *, clock: Any = time.monotonic) -> None:
        self._scrubber = scrubber
        self._clock = clock
        self._began: float | None = None
        self._entries: list[Entry] = []
        self._size = 0

    @property
    def is_full(self) -> bool:
        """Whether something was left out."""
        return self._size > LARGEST

    def opened(self, connection: int, side: Side, **how: Any) -> None:
        """A connection was asked for (`path`, `headers`, `subprotocols`), or answered (`status`, ...)."""
        clean = dict(how)
        if "path" in how:
            clean["path"] = self._scrubber.address(how["path"])
        if "headers" in how:
            clean["headers"] = self._scrubber.headers(how["headers"])
        if "subprotocols" in how:
            clean["subprotocols"] = self._scrubber.subprotocols(how["subprotocols"])
        if "body" in how:
            clean["body"] = self._scrubber.message(how["body"])
        self._add(Entry(at=self._now(), connection=connection, side=side, open=clean))

    def said(self, connection: int, side: Side, frame: Frame) -> None:
        """A message, or bytes of a stream."""
        self._size += len(frame)
        if self.is_full:
            return
        text, data = (frame, None) if isinstance(frame, str) else (None, frame)
        self._add(Entry(at=self._now(), connection=connection, side=side, text=text, data=data))

    def closed(self, connection: int, side: Side, **how: Any) -> None:
        """That side ended it: with `code` and `reason`, or as a `drop`."""
        self._add(Entry(at=self._now(), connection=connection, side=side, close=how))

    def cassette(self, *, service: str, transport: str, dialect: str = "", about: str = "") -> Cassette:
        """All of it, scrubbed."""
        head = Head(
            cassette=CASSETTE_VERSION,
            service=self._scrubber.address(service),
            transport=transport,
            dialect=dialect,
            about=about,
            made=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        return Cassette(head, self._scrubbed(transport))

    def _scrubbed(self, transport: str) -> list[Entry]:
        clean = [self._clean(entry) for entry in self._entries]
        if transport == "tcp":  # a stream has no messages: a secret may lie across two pieces of it
            for key in {(entry.connection, entry.side) for entry in clean}:
                places = [n for n, e in enumerate(clean) if (e.connection, e.side) == key and e.data]
                pieces = self._scrubber.pieces([clean[n].data or b"" for n in places])
                for place, piece in zip(places, pieces, strict=True):
                    clean[place] = msgspec.structs.replace(clean[place], data=piece)
        return clean

    def _clean(self, entry: Entry) -> Entry:
        if entry.text is not None:
            return msgspec.structs.replace(entry, text=self._scrubber.message(entry.text))
        if entry.data is not None:
            return msgspec.structs.replace(entry, data=self._scrubber.data(entry.data))
        if entry.close is not None and entry.close.get("reason"):
            reason = self._scrubber.text(str(entry.close["reason"]))
            return msgspec.structs.replace(entry, close={**entry.close, "reason": reason})
        return entry

    def _add(self, entry: Entry) -> None:
        self._entries.append(entry)

    def _now(self) -> float:
        now: float = self._clock()
        if self._began is None:
            self._began = now
        return round(now - self._began, 4)


def kinds(entries: Iterable[Entry]) -> str:
    """How much of what is in it, for people."""
    sides: dict[str, int] = {}
    for entry in entries:
        if entry.frame is not None:
            sides[entry.side] = sides.get(entry.side, 0) + 1
    return ", ".join(f"{count} from the {side}" for side, count in sorted(sides.items())) or "nothing"
