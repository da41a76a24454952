"""The provider's replies, told in the protocol's words.

Takes the provider's events as it emits them, and gives every reply the protocol's order: one response, its items one after
the other, what is late or belongs to a reply that was stopped left out.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from typing import Any

from vivavoce import AudioFormat, VoiceError
from vivavoce.audio import Converter
from vivavoce.events import (
    Event,
    ResponseCreated,
    ResponseDone,
    Speaking,
    SpeakingDone,
    ToolCallStart,
    Usage,
    Writing,
)
from vivavoce_openai_realtime.protocol import ServerProtocol
from vivavoce_openai_realtime.protocol.client_events import ResponseCreate

from vivavoce_gateway import shapes

__all__ = ["Replies", "Reply"]

_REMEMBERED = 512
_CHARS_PER_TOKEN = 4
_MS_PER_TOKEN = 50


class Reply:
    """One response of the session."""

    __slots__ = (
        *(
            "began",
            "converter",
            "dead",
            "done",
            "id",
            "items",
            "limit",
            "open",
            "out_of_band",
            "provider_id",
            "sent",
        ),
        *("spoken_at", "tokens", "wire", "written"),
    )

    def __init__(self, id: str, wire: AudioFormat, limit: float, *, out_of_band: bool) -> None:
        self.id = id
        self.wire = wire
        self.limit = limit
        self.out_of_band = out_of_band
        self.provider_id: str | None = None
        self.began = False  # the provider has begun it
        self.done = False  # the client was told that it ended
        self.dead = False  # it was stopped: the provider's rest of it is dropped
        self.items: dict[str, str] = {}
        self.open: str | None = None
        self.written: dict[str, str] = {}
        self.converter: Converter | None = None
        self.sent = 0
        self.tokens = 0.0
        self.spoken_at: float | None = None

    @property
    def sent_ms(self) -> float:
        """Milliseconds of audio that the client was sent."""
        return self.wire.milliseconds(self.sent)

    def heard_ms(self, now: float) -> float:
        """Milliseconds that a client who plays at once can have heard by `now`."""
        return 0.0 if self.spoken_at is None else min((now - self.spoken_at) * 1000, self.sent_ms)


class Replies:
    """`source` gives the format of the provider's audio. `stop` is called when a reply is longer than it may be,
    `finished` when one has ended, `first_audio` when one begins to be heard."""

    def __init__(
        self,
        protocol: ServerProtocol,
        *,
        source: Callable[[], AudioFormat],
        stop: Callable[[Reply], None],
        finished: Callable[[Reply, str], None],
        first_audio: Callable[[Reply], None],
    ) -> None:
        self._protocol = protocol
        self._source = source
        self._stop = stop
        self._finished = finished
        self._first_audio = first_audio
        self._usage = Usage()  # told beside the replies: it is that of the next one to end
        self._expected: deque[Reply] = deque()
        self._by_provider: OrderedDict[str | None, Reply] = OrderedDict()
        self._by_id: OrderedDict[str, Reply] = OrderedDict()
        self.items: OrderedDict[str, tuple[Reply, str]] = OrderedDict()
        """The client's item id -> the reply it is of, and the provider's item id."""
        self._handlers: Mapping[type, Callable[[Any], None]] = {
            ResponseCreated: self._created,
            Speaking: self._speaking,
            SpeakingDone: self._speaking_done,
            Writing: self._writing,
            ToolCallStart: self._tool_call,
            ResponseDone: self._done,
            Usage: self._used,
        }

    def take(self, event: Event) -> bool:
        """An event of the provider; whether it was one about a reply."""
        handler = self._handlers.get(type(event))
        if handler is None or (isinstance(event, Writing) and event.role != "assistant"):
            return False
        handler(event)
        return True

    def get(self, id: str | None) -> Reply | None:
        """The reply that the client knows under this id."""
        return self._by_id.get(id or "")

    @property
    def active(self) -> Reply | None:
        """The reply in the conversation that is under way."""
        return self.get(self._protocol.active_response)

    def begin(self, request: ResponseCreate | None, params: Mapping[str, Any]) -> Reply:
        """Begin a response for the client; `params` are those of the request, in GA's shape."""
        session = self._protocol.session
        given = (params.get("audio") or {}).get("output") or {}
        wire = self._protocol.output_format
        if given.get("format"):
            wire = type(wire)(**given["format"])
        limit = params.get("max_output_tokens", session.get("max_output_tokens", "inf"))
        reply = Reply(
            self._protocol.begin_response(request),
            shapes.audio_format(wire),
            float("inf") if limit == "inf" else float(limit),
            out_of_band=params.get("conversation") == "none",
        )
        self._by_id[reply.id] = reply
        _bound(self._by_id)
        return reply

    def expect(self, reply: Reply) -> None:
        """The provider is being asked for it: the next one that it begins is this."""
        self._expected.append(reply)

    def forget(self, reply: Reply) -> None:
        """The provider will not begin it."""
        if reply in self._expected:
            self._expected.remove(reply)

    def fail(self, reply: Reply, error: VoiceError) -> None:
        """The provider refused it, or could not."""
        self.forget(reply)
        if not reply.done:
            code, message = shapes.error_of(error)
            self._finish(reply, "failed", error={"type": "server_error", "code": code, "message": message})

    def lost(self) -> None:
        """The provider's session is gone, and the replies that it had begun with it."""
        for reply in [reply for reply in self._by_id.values() if reply.began and not reply.done]:
            reply.dead = True
            self._finish(reply, "failed", error={"type": "server_error", "code": "provider_lost"})

    def cancel(self, reply: Reply, reason: str, status: str = "cancelled") -> None:
        """Stop it for the client: what the provider still says of it is dropped."""
        reply.dead = True
        if not reply.done:
            self._finish(reply, status, reason)

    # What the provider says.

    def _created(self, event: ResponseCreated) -> None:
        if event.id in self._by_provider:
            return
        reply = self._expected.popleft() if self._expected else self._unasked(event)
        if reply is None:
            return
        reply.provider_id, reply.began = event.id, True
        self._by_provider[event.id] = reply
        _bound(self._by_provider)
        if reply.dead:
            self._stop(reply)

    def _unasked(self, event: ResponseCreated) -> Reply | None:
        """A reply that the provider began by itself."""
        if (
            self._protocol.active_response is not None
            or event.out_of_band
            or "model" not in self._protocol.session
        ):
            return None
        return self.begin(None, {})

    def _reply(self, provider_id: str | None) -> Reply | None:
        reply = self._by_provider.get(provider_id)
        if reply is None and provider_id is None:
            # Speech where there are no turns: a response for the client all the same.
            self._created(ResponseCreated(None))  # type: ignore[arg-type]
            reply = self._by_provider.get(None)
        return None if reply is None or reply.dead or reply.done else reply

    def _speaking(self, event: Speaking) -> None:
        reply = self._reply(event.response_id)
        if reply is None or not self._open(reply, event.item_id, spoken=True):
            return
        if reply.converter is None:
            reply.converter = Converter(self._source(), reply.wire)
        self._send(reply, reply.converter.feed(event.audio))

    def _send(self, reply: Reply, audio: bytes) -> None:
        if not audio:
            return
        self._protocol.audio(audio, reply.id)
        if reply.spoken_at is None:
            reply.spoken_at = asyncio.get_running_loop().time()
            self._first_audio(reply)
        reply.sent += len(audio)
        self._count(reply, reply.wire.milliseconds(len(audio)) / _MS_PER_TOKEN)

    def _speaking_done(self, event: SpeakingDone) -> None:
        reply = self._by_provider.get(event.response_id)
        if reply is None or reply.dead or reply.done:
            return
        self._flush(reply)
        if event.response_id is None:
            del self._by_provider[None]
            self._finish(reply, "completed")

    def _writing(self, event: Writing) -> None:
        reply = self._reply(event.response_id)
        if reply is None or not self._open(reply, event.item_id, spoken=None):
            return
        key = event.item_id or ""
        before = reply.written.get(key, "")
        text = event.text
        if event.final:
            text = text[len(before) :] if text.startswith(before) else ""
        if text:
            reply.written[key] = before + text
            self._protocol.text(text, reply.id)
            self._count(reply, len(text) / _CHARS_PER_TOKEN)

    def _tool_call(self, event: ToolCallStart) -> None:
        reply = self._by_provider.get(event.response_id) or self.active
        if reply is None or reply.dead or reply.done:
            return
        self._flush(reply)
        reply.open = None
        self._protocol.function_call(
            event.name, shapes.arguments_text(event.arguments), event.call_id, reply.id
        )

    def _done(self, event: ResponseDone) -> None:
        reply = self._by_provider.get(event.id)
        if reply is None or reply.done:
            return
        reason, error = event.reason, None
        if event.status == "cancelled":
            reason = reason if reason == "turn_detected" else "client_cancelled"
        elif event.status == "incomplete":
            reason = reason if reason == "content_filter" else "max_output_tokens"
        elif event.status == "failed":
            reason, error = None, {"type": "server_error", "code": event.reason or "provider_error"}
        else:
            reason = None
        self._flush(reply)
        self._finish(reply, event.status, reason, error=error, usage=event.usage)

    def _used(self, event: Usage) -> None:
        self._usage = self._usage + event

    # Telling it.

    def _open(self, reply: Reply, item_id: str | None, *, spoken: bool | None) -> bool:
        """See that this item is the one being sent; false if it was ended already."""
        key = item_id or ""
        if reply.open == key:
            return True
        if key in reply.items:
            return False
        self._flush(reply)
        ours = self._protocol.open_message(reply.id, spoken=spoken)
        reply.items[key], reply.open = ours, key
        self.items[ours] = (reply, key)
        _bound(self.items)
        return True

    def _flush(self, reply: Reply) -> None:
        if reply.converter is not None:
            tail, reply.converter = reply.converter.flush(), None
            if reply.open is not None:
                self._send(reply, tail)

    def _count(self, reply: Reply, tokens: float) -> None:
        reply.tokens += tokens
        if reply.tokens > reply.limit and not reply.done:
            self.cancel(reply, "max_output_tokens", "incomplete")
            self._stop(reply)

    def _finish(
        self, reply: Reply, status: str, reason: str | None = None, *, error: Any = None, usage: Any = None
    ) -> None:
        reply.done = True
        shown = shapes.usage_of(self._usage + usage if usage is not None else self._usage, reply.sent_ms)
        self._usage = Usage()
        self._protocol.finish_response(status, reason, error=error, usage=shown, response_id=reply.id)
        self._finished(reply, status)


def _bound(kept: OrderedDict[Any, Any]) -> None:
    if len(kept) > _REMEMBERED:
        kept.popitem(last=False)
