"""What a gateway counts, for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

__all__ = ["Metrics"]

_SECONDS = (0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10)


class Metrics:
    """One set for each application, so that two of them in a process do not meet."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        self.open = Gauge("vivavoce_sessions_open", "Sessions that are open", ["provider"], registry=registry)
        self.sessions = Counter(
            "vivavoce_sessions", "Sessions that ended, by how", ["provider", "end"], registry=registry
        )
        self.calls = Gauge(
            "vivavoce_calls_open", "WebRTC calls, those that are being set up included", registry=registry
        )
        self.sidebands = Gauge(
            "vivavoce_sidebands_open", "WebSockets that have joined a call", registry=registry
        )
        self.refused = Counter(
            "vivavoce_refused", "Connections refused, by why", ["reason"], registry=registry
        )
        self.audio = Counter(
            "vivavoce_audio_seconds", "Audio, by direction (in: of users)", ["direction"], registry=registry
        )
        self.heard = self.audio.labels("in")
        self.responses = Counter("vivavoce_responses", "Responses that ended", ["status"], registry=registry)
        self.errors = Counter("vivavoce_errors", "Errors told to clients", ["code"], registry=registry)
        self.latency = Histogram(
            "vivavoce_reply_seconds",
            "From the end of the user's turn, or the request, to the reply's first audio",
            buckets=_SECONDS,
            registry=registry,
        )
        self.connect = Histogram(
            "vivavoce_connect_seconds", "What providers took to connect", buckets=_SECONDS, registry=registry
        )

    def text(self) -> bytes:
        """All of them, in Prometheus' text format."""
        return generate_latest(self._registry)
