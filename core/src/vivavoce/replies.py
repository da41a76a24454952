"""The replies of one session: what arrived of each, what was heard, and who holds its audio."""

from __future__ import annotations

import weakref
from collections.abc import Callable

from vivavoce.audio import AudioFormat
from vivavoce.events import ResponseDone
from vivavoce.items import Cut
from vivavoce.streams import AudioStream, Playback, Response
from vivavoce.turns import cut_items, milliseconds

__all__ = ["Replies", "Reply"]

_REMEMBERED = 64


class Reply:
    """One reply. Its audio is kept by whoever holds its stream, and by nobody else."""

    __slots__ = (
        "_response",
        "_stream",
        "announced",
        "audio_done",
        "dead",
        "format",
        "id",
        "out_of_band",
        "playback",
        "received",
        "running",
        "spoken",
    )

    def __init__(self, id: str | None, format: AudioFormat, *, out_of_band: bool = False) -> None:
        self.id = id
        self.format = format
        self.out_of_band = out_of_band
        self.announced = False  # it was told that the service has begun it
        self.running = True  # the service has not said it is done
        self.dead = False  # cut: what still arrives of it is dropped
        self.spoken = False  # its first audio has arrived
        self.audio_done = False  # its last audio has arrived, or it was cut
        self.received: dict[str, int] = {}
        self.playback = Playback(format)
        self._stream: weakref.ref[AudioStream] | None = None
        self._response: weakref.ref[Response] | None = None

    def stream(self) -> AudioStream | None:
        """The stream, if anyone still holds it."""
        return self._stream() if self._stream is not None else None

    def open_stream(self) -> AudioStream:
        stream = self.stream()
        if stream is None:
            stream = AudioStream(self.id, self.format, playback=self.playback)
            self._stream = weakref.ref(stream)
        return stream

    def response(self) -> Response | None:
        return self._response() if self._response is not None else None

    def open_response(self) -> Response:
        response = Response(self.id or "", self.open_stream())
        self._response = weakref.ref(response)
        return response

    def finish(self, outcome: ResponseDone | None, error: Callable[[], BaseException] | None = None) -> None:
        response = self.response()
        if response is not None:
            response._finish(outcome, error)

    @property
    def received_ms(self) -> float:
        return self.format.milliseconds(sum(self.received.values()))

    def heard_ms(self, pushed: bool) -> float:
        """Milliseconds heard. `pushed`: listeners of `speaking` got all that arrived."""
        if self.playback.taken:
            return min(self.playback.heard_ms, self.received_ms)
        if pushed or self.stream() is None:
            return self.received_ms
        return 0.0

    def silence(self, pushed: bool) -> float:
        """Drop what was not played yet; milliseconds heard by then. In this order: what a sink's device has taken
        cannot be dropped, and is heard yet."""
        self.playback.silence()
        return self.heard_ms(pushed)

    def cuts(self, heard_ms: float) -> tuple[Cut, ...]:
        return cut_items(milliseconds(self.format, self.received.items()), heard_ms)

    def starts_ms(self, item_id: str | None) -> float | None:
        """Where an item begins within the reply; `None` if it has none such."""
        start = 0.0
        for other, ms in milliseconds(self.format, self.received.items()):
            if other == item_id:
                return start
            start += ms
        return None

    def position(self, heard_ms: float) -> tuple[str | None, float]:
        """The item that was being heard, and how much of it."""
        at: tuple[str | None, float] = (None, heard_ms)
        start = 0.0
        for item_id, ms in milliseconds(self.format, self.received.items()):
            if not ms:
                continue
            at = (item_id, min(heard_ms - start, ms))
            start += ms
            if heard_ms < start:
                break
        return at

    def fraction(self, item_id: str, heard_ms: float) -> float:
        """The part of an item that was heard, from 0 to 1."""
        cut = next((cut for cut in self.cuts(heard_ms) if cut.item_id == item_id), None)
        return 1.0 if cut is None else cut.played_ms / cut.received_ms


class Replies:
    """The replies of one session by id; the newest 64 are remembered, so that late deltas are known for what they are."""

    def __init__(self) -> None:
        self._by_id: dict[str | None, Reply] = {}
        self.hearing: Reply | None = None

    def get(self, id: str | None) -> Reply | None:
        return self._by_id.get(id)

    def begin(self, id: str | None, format: AudioFormat, *, out_of_band: bool = False) -> Reply:
        reply = self._by_id[id] = Reply(id, format, out_of_band=out_of_band)
        if len(self._by_id) > _REMEMBERED:
            old = next((key for key, other in self._by_id.items() if not other.running), None)
            if old is not None:
                del self._by_id[old]
        return reply

    def forget(self, id: str | None) -> None:
        self._by_id.pop(id, None)

    def running(self) -> Reply | None:
        """The reply in the conversation that the service has not finished, if there is one."""
        return next((r for r in reversed(self._by_id.values()) if r.running and not r.out_of_band), None)

    def all(self) -> tuple[Reply, ...]:
        return tuple(self._by_id.values())
