"""A `Link` over WebRTC: audio comes beside the events, in real time, and has to be matched with them.

The service says when a reply begins and ceases to be heard (`output_audio_buffer.*`), and finishes it long before that.
For the core a reply is over when it was heard, so its end is held until then.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Mapping
from operator import attrgetter
from typing import TYPE_CHECKING, Any, ClassVar

from vivavoce import events as core
from vivavoce.audio import AudioFormat, Converter
from vivavoce.items import Interruption

from vivavoce_openai_realtime.link import Handler, Link
from vivavoce_openai_realtime.protocol import events
from vivavoce_openai_realtime.protocol.server_events import (
    OutputAudioBufferCleared,
    OutputAudioBufferStarted,
    OutputAudioBufferStopped,
)
from vivavoce_openai_realtime.protocol.values import given

if TYPE_CHECKING:
    from vivavoce_openai_realtime.transports.webrtc import CallTransport

__all__ = ["CallLink"]

_UNHEARD_S = 2.0
"""How long a finished reply with speech waits for its audio to begin."""
_TAIL_S = 0.25
"""What may still be in jitter buffers when the service says that it has sent the last of a reply."""
_QUIET = 16
"""Samples up to this are the codec's silence before a reply."""
_KEPT = 64
_EARLY = 200
"""Frames that may come before the event that says whose they are: it is sent again when it was lost, after a second or more."""
_PAUSE = 25
"""Quiet frames in a row that end what was said before: half a second."""


def _quiet(pcm: bytes) -> bool:
    samples = memoryview(pcm).cast("h")
    return not pcm.strip(b"\0") or (max(samples) <= _QUIET and min(samples) >= -_QUIET)


class _Early:
    """Speech that came before its event. Audio and events take different ways, and either may be the faster."""

    def __init__(self) -> None:
        self._frames: deque[tuple[bytes, AudioFormat]] = deque(maxlen=_EARLY)
        self._quiet = 0

    def keep(self, pcm: bytes, format: AudioFormat) -> None:
        if _quiet(pcm):
            self._quiet += 1
            if self._quiet >= _PAUSE:
                self._frames.clear()
            if not self._frames:
                return
        else:
            self._quiet = 0
        self._frames.append((pcm, format))

    def take(self) -> list[tuple[bytes, AudioFormat]]:
        taken = list(self._frames)
        self._frames.clear()
        return taken


class CallLink(Link):
    """`transport` is a `CallTransport`."""

    transport: CallTransport | None
    handlers: ClassVar[Mapping[type, Handler]] = {
        **Link.handlers,
        OutputAudioBufferStarted: attrgetter("_started"),
        OutputAudioBufferStopped: attrgetter("_stopped"),
        OutputAudioBufferCleared: attrgetter("_cleared"),
    }

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._playing: str | None = None
        self._onset = True  # what plays has not begun to sound
        self._items: dict[str, str] = {}
        self._unheard: set[str] = set()  # replies that speak and have not begun to be heard
        self._held: dict[str, events.ResponseFinished] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._converter: Converter | None = None
        self._early = _Early()
        self._deaf_until = 0.0  # till then comes what is left of a reply that is over

    # The service's side.

    def _session_ready(self, event: events.SessionReady) -> None:
        # With a WebSocket beside the data channel each of them may introduce the session.
        if self.ready.done():
            self._read_session(event.config)
        else:
            super()._session_ready(event)

    def _text(self, event: events.TextDelta) -> None:
        self._speaks(event)
        super()._text(event)

    def _speaks(self, event: events.TextDelta) -> None:
        reply = event.response_id
        if event.spoken and event.role == "assistant" and reply and reply not in self._items:
            self._items[reply] = event.item_id or ""
            self._unheard.add(reply)
            if len(self._items) > _KEPT:
                oldest = next(iter(self._items))
                del self._items[oldest]
                self._unheard.discard(oldest)

    def _started(self, event: OutputAudioBufferStarted) -> None:
        self._settle()
        self._playing = given(event.response_id) or self.protocol.active_response
        self._onset, self._converter = True, None
        if self._playing is not None:
            self._unheard.discard(self._playing)
            self._cancel(self._playing)
        for pcm, format in self._early.take():
            self.receive_audio(pcm, format)

    def _stopped(self, event: OutputAudioBufferStopped) -> None:
        reply = given(event.response_id) or self._playing
        if reply is not None and reply == self._playing:
            self._after(reply, _TAIL_S)

    def _cleared(self, event: OutputAudioBufferCleared) -> None:
        self._settle()

    def _settle(self) -> None:
        """What plays was heard: so it is over, if the service has finished it."""
        if (reply := self._playing) is not None:
            self._over(reply)

    def _over(self, reply: str) -> None:
        self._cancel(reply)
        if self._playing == reply:
            self._playing = None
            self._deaf_until = asyncio.get_running_loop().time() + _TAIL_S
        self._unheard.discard(reply)
        if (finished := self._held.pop(reply, None)) is not None:
            super()._response_finished(finished)

    def _response_finished(self, event: events.ResponseFinished) -> None:
        reply = event.response_id
        unheard = reply in self._unheard and event.status != "cancelled"
        if reply != self._playing and not unheard:
            super()._response_finished(event)
            return
        self._held[reply] = event
        self._replies.set()  # for the service it is over: another may be asked for
        if unheard:
            self._after(reply, _UNHEARD_S)

    def _after(self, reply: str, seconds: float) -> None:
        self._cancel(reply)
        self._timers[reply] = asyncio.get_running_loop().call_later(seconds, self._over, reply)

    def _cancel(self, reply: str) -> None:
        if (timer := self._timers.pop(reply, None)) is not None:
            timer.cancel()

    def receive_audio(self, pcm: bytes, format: AudioFormat) -> None:
        """20 ms of the call; silence where no reply is to be heard."""
        if self.lost:
            return
        if self._playing is None:
            if asyncio.get_running_loop().time() >= self._deaf_until:
                self._early.keep(pcm, format)
            return
        if self._onset:
            if _quiet(pcm):
                return
            self._onset = False
        wanted = self.context.session.output_format
        if self._converter is None or self._converter.source != format or self._converter.target != wanted:
            self._converter = Converter(format, wanted)
        if audio := self._converter.feed(pcm):
            item_id = self._items.get(self._playing)
            self.context.emit(core.Speaking(audio, self._playing, item_id))

    # Our side.

    def _write_audio(self, audio: bytes) -> Awaitable[None] | None:
        if self.transport is None:
            return None
        return self.transport.send_audio(audio, self.context.session.input_format)

    async def spoken(self) -> None:
        """Wait until what was sent is with the service: its packets, and what its jitter buffer holds."""
        self.flush_audio()
        if self.transport is not None:
            await self.transport.microphone.drained()
            await asyncio.sleep(_TAIL_S)

    def cut(self, interruption: Interruption) -> None:
        """Stop the reply here and there. The service cuts its memory to what it has sent; where less was heard than
        that, it is told. Its record of the audio is its own: here only what was said of it is known."""
        if interruption.cancel:
            if self.protocol.active_response is not None:
                self.protocol.send_cancel(interruption.response_id)
            self.protocol.send_event("output_audio_buffer.clear")
        for cut in interruption.cuts:
            if cut.played_ms >= 1:
                self.protocol.send_event(
                    "conversation.item.truncate",
                    item_id=cut.item_id,
                    content_index=0,
                    audio_end_ms=int(cut.played_ms),
                )

    def connection_lost(self, cause: Any) -> None:
        self._forget()
        super().connection_lost(cause)

    def end(self) -> None:
        self._forget()
        super().end()

    def _forget(self) -> None:
        for reply in tuple(self._timers):
            self._cancel(reply)
        self._held.clear()
        self._playing = None
