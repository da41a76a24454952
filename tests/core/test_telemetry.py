"""The telemetry plugin: what it tells OpenTelemetry of a conversation."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
import vivavoce
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from vivavoce import Voice
from vivavoce.errors import ConnectError, ProviderError
from vivavoce.events import Usage
from vivavoce.telemetry import Telemetry
from vivavoce.testing import Reply, ScriptedProvider, Step


class Collected:
    """Providers of OpenTelemetry that keep what they are told."""

    def __init__(self) -> None:
        self.spans = InMemorySpanExporter()
        self._reader = InMemoryMetricReader()
        tracers = TracerProvider()
        tracers.add_span_processor(SimpleSpanProcessor(self.spans))
        self.plugin = Telemetry(tracers, MeterProvider([self._reader]))

    def names(self) -> list[str]:
        return [span.name for span in self.spans.get_finished_spans()]

    def metrics(self) -> dict[str, list[Any]]:
        data = self._reader.get_metrics_data()
        assert data is not None
        (resource,) = data.resource_metrics
        (scope,) = resource.scope_metrics
        return {metric.name: list(metric.data.data_points) for metric in scope.metrics}


async def test_spans_of_a_conversation() -> None:
    """Connect, turns and tools are spans within the session's, by provider, and hold nothing that was said."""

    @vivavoce.tool
    def add(a: int, b: int) -> int:
        """Add."""
        return a + b

    told = Collected()
    provider = ScriptedProvider()
    async with Voice(provider, plugins=[told.plugin], tools=[add]) as voice:
        provider.replies += [
            Reply("", 0, tool_calls=[("add", {"a": 1, "b": 2})]),
            Reply("Three. A secret."),
        ]
        ended = asyncio.Event()
        voice.on("turn", lambda turn: turn.role == "assistant" and ended.set())
        await voice.answer()
        await ended.wait()
    assert sorted(set(told.names())) == [
        "vivavoce.connect",
        "vivavoce.session",
        "vivavoce.tool",
        "vivavoce.turn",
    ]
    session = next(span for span in told.spans.get_finished_spans() if span.name == "vivavoce.session")
    inner = [span for span in told.spans.get_finished_spans() if span.name in ("vivavoce.turn",)]
    assert {span.parent.span_id for span in inner if span.parent} == {session.context.span_id}
    assert "secret" not in "".join(span.to_json() for span in told.spans.get_finished_spans())
    assert {point.attributes["outcome"] for point in told.metrics()["vivavoce.tool.duration"]} == {"ok"}


async def test_failed_connect_is_told_by_its_code() -> None:
    """A connect that fails is a span with an error and a measurement with the outcome."""
    told = Collected()
    voice = Voice(ScriptedProvider(script={"connect": OSError("unreachable")}), plugins=[told.plugin])
    with pytest.raises(ConnectError):
        await voice.connect()
    (span,) = told.spans.get_finished_spans()
    assert (span.name, span.status.is_ok) == ("vivavoce.connect", False)
    (point,) = told.metrics()["vivavoce.connect.duration"]
    assert (point.attributes["outcome"], point.count) == ("failed", 1)


async def test_chosen_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Any, caplog: Any) -> None:
    """`recorder` and `telemetry` are installed wrappers: their names are enough."""
    monkeypatch.chdir(tmp_path)
    caplog.set_level(logging.WARNING)
    async with Voice(ScriptedProvider(), plugins=["recorder", "telemetry"]):
        pass
    (directory,) = (tmp_path / "recordings").iterdir()
    assert sorted(path.name for path in directory.iterdir()) == [
        "audio.wav",
        "events.jsonl",
        "recording.json",
    ]
    assert caplog.records == []


@pytest.mark.virtual_clock
async def test_measurements_of_a_conversation() -> None:
    """Latency by stage, tokens by kind, interruptions, reconnects, lost audio and errors are measured."""
    told = Collected()
    provider = ScriptedProvider(replies=[Reply("One."), Reply("Two.", 5_000, paced=True)])
    async with Voice(provider, plugins=[told.plugin]) as voice:
        await voice.connect(reconnect=True)
        await (await voice.answer()).done()
        provider.emit(Usage(input_text_tokens=7, output_audio_tokens=40))
        provider.emit(ProviderError("no", code="refused"))
        await voice.answer()
        await asyncio.sleep(1)
        await voice.interrupt()
        reconnected = asyncio.Event()
        voice.on("reconnected", lambda _: reconnected.set())
        provider.script.add("connect", Step(delay=5))
        provider.lose()
        for _ in range(4):
            await voice.send(bytes(48_000))
            await asyncio.sleep(0.5)
        await reconnected.wait()
    metrics = told.metrics()
    stages = {point.attributes["stage"]: point.count for point in metrics["vivavoce.response.latency"]}
    assert stages == {"created": 2, "first_audio": 2}
    kinds = {point.attributes["kind"]: point.value for point in metrics["vivavoce.tokens"]}
    assert kinds == {"input_text": 7, "output_audio": 40}
    counts = {name: metrics[f"vivavoce.{name}"][0].value for name in ("interruptions", "reconnects")}
    assert counts == {"interruptions": 1, "reconnects": 1}
    assert [(point.attributes["code"], point.value) for point in metrics["vivavoce.errors"]] == [
        ("refused", 1)
    ]
    (lost,) = metrics["vivavoce.audio.lost"]
    assert lost.value == pytest.approx(2.0, abs=0.1)
