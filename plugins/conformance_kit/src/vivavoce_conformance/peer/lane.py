"""One connection between a provider and a real service, as whoever looks on sees it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

from vivavoce_conformance.peer.dialect import Frame
from vivavoce_conformance.peer.observer import Observer, Purse
from vivavoce_conformance.peer.script import Seen
from vivavoce_conformance.tape import Recorder, Side

__all__ = ["Lane", "Record", "picture"]

_WIRE = 24
_SHOWN = 160


def picture(way: str, frame: Frame) -> str:
    """A frame as a report shows it: when, which way, and its beginning."""
    text = frame if isinstance(frame, str) else frame[:_SHOWN].decode(errors="replace")
    return f"{time.monotonic() % 1000:8.3f} {way} {text[:_SHOWN].rstrip()}"


class Record:
    """What was seen of one check: the same that the kit's own peer records."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.seen = Seen()
        self.audio = bytearray()
        self.wire: deque[str] = deque(maxlen=_WIRE)
        self.secret = ""
        """What to look for in all that the provider says."""

    def look(self, frame: Frame) -> None:
        """Whether the secret is in what the provider said."""
        text = frame if isinstance(frame, str) else frame.decode(errors="replace")
        self.seen.secret = self.seen.secret or (bool(self.secret) and self.secret in text)

    def report(self) -> Seen:
        """What was seen so far."""
        self.seen.wire = list(self.wire)
        self.seen.audio_bytes = len(self.audio)
        return self.seen


class Lane:
    """Counts, records, and says when to stop: `provider` and `opened` may raise `Overspent`."""

    def __init__(self, record: Record, observer: Observer | None, purse: Purse | None) -> None:
        record.seen.connections += 1
        record.seen.open += 1
        self.number = record.seen.connections
        self._record = record
        self._observer = observer
        self._purse = purse
        self._ended = False

    def opened(
        self, path: str = "", headers: Iterable[tuple[str, str]] = (), subprotocols: Iterable[str] = ()
    ) -> None:
        """The provider has connected."""
        headers = list(headers)
        if path:
            lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
            self._record.seen.requests.append(f"{path}\n{lines}")
            self._record.look(self._record.seen.requests[-1])
            if self._observer is not None:
                self._observer.request(path)
        asked = {"path": path, "headers": headers, "subprotocols": list(subprotocols)} if path else {}
        self._record.recorder.opened(self.number, "provider", **asked)
        if self._purse is not None:
            self._purse.open()

    def answered(self, **how: Any) -> None:
        """The service has answered: `status`, `subprotocols`, `body`."""
        self._record.recorder.opened(self.number, "service", **how)

    def provider(self, frame: Frame) -> None:
        """The provider says something."""
        self._record.recorder.said(self.number, "provider", frame)
        self._record.look(frame)
        self._record.wire.append(picture(">", frame))
        if self._purse is not None:
            self._purse.tick()
        for asked in self._observer.provider(frame) if self._observer is not None else ():
            if asked.kind == "audio":
                self._spend_audio(asked.audio)
                continue
            if asked.kind == "respond" and self._purse is not None:
                self._purse.ask()
            self._note(asked.kind, asked.data)

    def service(self, frame: Frame) -> None:
        """The service says something."""
        self._record.recorder.said(self.number, "service", frame)
        self._record.wire.append(picture("<", frame))
        for said in self._observer.service(frame) if self._observer is not None else ():
            if said.kind == "ready":
                self._record.seen.acknowledged += 1
            elif said.kind == "begun":
                self._record.seen.replies += 1
                if self._purse is not None:
                    self._purse.begin()
            elif said.kind == "refused":
                self._note("wrong", said.data)

    def ended(self, side: Side, **how: Any) -> None:
        """One side has ended it; what the other does then is of no interest."""
        if not self._ended:
            self._ended = True
            self._record.recorder.closed(self.number, side, **how)

    def gone(self) -> None:
        """The provider's socket is closed."""
        self._record.seen.open -= 1

    def failed(self, what: str) -> None:
        """It could not go on."""
        self._record.seen.failures.append(what)

    def _spend_audio(self, audio: bytes) -> None:
        if self._purse is not None and self._observer is not None:
            self._purse.send(self._observer.seconds_of(audio))
        self._record.audio += audio

    def _note(self, kind: str, data: Mapping[str, Any]) -> None:
        self._record.seen.asked.append({"kind": kind, "connection": self.number, **data})
