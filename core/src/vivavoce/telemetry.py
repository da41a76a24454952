"""OpenTelemetry for a voice: `Voice("local", plugins=["telemetry"])`.

Spans: `vivavoce.session` with `vivavoce.connect`, `vivavoce.turn` (the end of the user's speech to the end of the
reply, with an event at its first sound) and `vivavoce.tool` in it. Metrics: see `Telemetry`. They go to the providers
that the app has set up; without the OpenTelemetry SDK nothing is kept. Nothing that was said goes into any of them.

It is also an example of a wrapper: one hook with `wrapper=True`, and `attach`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from typing import Any

from vivavoce.errors import ConfigError, VoiceError
from vivavoce.events import (
    Closed,
    Interrupted,
    Opened,
    Reconnected,
    ResponseCreated,
    ResponseDone,
    Speaking,
    SpeechStarted,
    SpeechStopped,
    ToolCallResult,
    ToolCallStart,
    Usage,
)
from vivavoce.hookspecs import hookimpl
from vivavoce.provider import Context

__all__ = ["Telemetry"]

_TOKENS = tuple(field for field in Usage.__struct_fields__ if field.endswith("_tokens"))


class Telemetry:
    """Histograms, in seconds: `vivavoce.connect.duration`, `vivavoce.tool.duration`, and `vivavoce.response.latency` by
    `stage`: `created` (the end of the user's speech, or the request, to the begin of the reply) and `first_audio`.
    Counters: `vivavoce.tokens` by `kind`, `vivavoce.audio.lost` in seconds, `vivavoce.interruptions`,
    `vivavoce.reconnects`, and `vivavoce.errors` by `code`. All have the attribute `vivavoce.provider`.

    `tracer_provider` and `meter_provider`: OpenTelemetry's own; default: the global ones.
    """

    def __init__(self, tracer_provider: Any = None, meter_provider: Any = None) -> None:
        try:
            from opentelemetry import metrics, trace
        except ImportError as missing:
            raise ConfigError(
                f'telemetry needs OpenTelemetry ({missing}): pip install "vivavoce[telemetry]"',
                option="plugins",
            ) from missing
        self._trace = trace
        self._tracer = trace.get_tracer("vivavoce", tracer_provider=tracer_provider)
        meter = metrics.get_meter("vivavoce", meter_provider=meter_provider)
        histogram, counter = meter.create_histogram, meter.create_counter
        self._connect = histogram("vivavoce.connect.duration", "s")
        self._latency = histogram("vivavoce.response.latency", "s")
        self._tool = histogram("vivavoce.tool.duration", "s")
        self._tokens = counter("vivavoce.tokens", "{token}")
        self._lost = counter("vivavoce.audio.lost", "s")
        self._interruptions = counter("vivavoce.interruptions", "{reply}")
        self._reconnects = counter("vivavoce.reconnects", "{session}")
        self._errors = counter("vivavoce.errors", "{error}")
        self._attributes: dict[str, str] = {}
        self._session: Any = None
        self._turn: Any = None
        self._asked: float | None = None
        self._calls: dict[str, tuple[Any, float, str]] = {}
        self._waiting: set[str] = set()  # stages of the running turn that were not reached yet
        self._listeners: dict[type, Callable[[Any], None]] = {
            Opened: self._opened,
            Closed: self._closed,
            SpeechStarted: lambda _: self._end_turn("superseded"),
            SpeechStopped: lambda _: self._begin_turn(),
            ResponseCreated: lambda event: None if event.out_of_band else self._reached("created"),
            Speaking: lambda _: self._reached("first_audio"),
            ResponseDone: self._response_done,
            Interrupted: lambda _: self._interruptions.add(1, self._attributes),
            ToolCallStart: self._tool_started,
            ToolCallResult: self._tool_ended,
            Reconnected: self._reconnected,
            Usage: self._used,
        }

    @hookimpl
    def attach(self, voice: Any) -> None:
        """Listen to everything; the voice itself is not kept."""
        self._attributes = {"vivavoce.provider": voice.provider}
        voice.on("*", self._hear)  # with no listener of `speaking` itself, hearing stays what sinks report

    def _hear(self, event: Any) -> None:
        listener = self._listeners.get(type(event))
        if listener is not None:
            listener(event)
        elif isinstance(event, VoiceError):
            self._errors.add(1, {**self._attributes, "code": event.code})

    @hookimpl(wrapper=True)
    def connect(self, context: Context) -> Generator[None, Any, Any]:
        """Each dialling is one span, those of a reconnect too."""
        began = time.monotonic()
        span = self._span("vivavoce.connect", self._session)
        outcome = "failed"
        try:
            result = yield
            outcome = "ok"
            return result
        except BaseException as failure:
            self._fail(span, failure)
            raise
        finally:
            span.end()
            self._connect.record(time.monotonic() - began, {**self._attributes, "outcome": outcome})

    @hookimpl(wrapper=True)
    def answer(self) -> Generator[None, Any, Any]:
        """A request is the end of the user's turn where no end of speech was told."""
        if self._asked is None:
            self._begin_turn()
        return (yield)

    def _span(self, name: str, parent: Any, **attributes: Any) -> Any:
        context = self._trace.set_span_in_context(parent) if parent is not None else None
        return self._tracer.start_span(name, context, attributes={**self._attributes, **attributes})

    def _fail(self, span: Any, failure: BaseException) -> None:
        # The text of an error never holds a key, but it may hold what a service said: the code is enough.
        code = failure.code if isinstance(failure, VoiceError) else type(failure).__name__
        span.set_status(self._trace.Status(self._trace.StatusCode.ERROR, code))

    def _opened(self, event: Opened) -> None:
        self._session = self._span(
            "vivavoce.session", None, **{"vivavoce.session_id": event.session_id or ""}
        )

    def _closed(self, event: Closed) -> None:
        for call in list(self._calls):
            self._end_call(call, "closed")
        self._end_turn("closed")
        if self._session is not None:
            self._session.set_attribute("vivavoce.close_code", event.code)
            self._session.end()
            self._session = None

    # A turn: from the end of the user's speech to the end of the reply.

    def _begin_turn(self) -> None:
        self._end_turn("superseded")
        self._asked = time.monotonic()
        self._waiting = {"created", "first_audio"}
        self._turn = self._span("vivavoce.turn", self._session)

    def _end_turn(self, outcome: str) -> None:
        turn, self._turn, self._asked = self._turn, None, None
        if turn is not None:
            turn.set_attribute("vivavoce.outcome", outcome)
            turn.end()

    def _reached(self, stage: str) -> None:
        if stage in self._waiting and self._asked is not None:
            self._waiting.discard(stage)
            self._latency.record(time.monotonic() - self._asked, {**self._attributes, "stage": stage})
            self._turn.add_event(stage)

    def _response_done(self, event: ResponseDone) -> None:
        if not self._calls:  # else the continuation belongs to the same turn
            self._end_turn(event.status)

    # Tools, outages, usage.

    def _tool_started(self, call: ToolCallStart) -> None:
        span = self._span("vivavoce.tool", self._turn or self._session, **{"vivavoce.tool": call.name})
        self._calls[call.call_id] = (span, time.monotonic(), call.name)

    def _tool_ended(self, result: ToolCallResult) -> None:
        self._end_call(result.call_id, "failed" if result.error is not None else "ok")

    def _end_call(self, call_id: str, outcome: str) -> None:
        if call_id in self._calls:
            span, began, name = self._calls.pop(call_id)
            span.set_attribute("vivavoce.outcome", outcome)
            span.end()
            labels = {**self._attributes, "tool": name, "outcome": outcome}
            self._tool.record(time.monotonic() - began, labels)

    def _reconnected(self, event: Reconnected) -> None:
        self._reconnects.add(1, self._attributes)
        self._lost.add(event.lost_audio_ms / 1000, self._attributes)

    def _used(self, usage: Usage) -> None:
        for kind in _TOKENS:
            if count := getattr(usage, kind):
                self._tokens.add(count, {**self._attributes, "kind": kind.removesuffix("_tokens")})
