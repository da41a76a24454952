"""SVOX Pico in a worker process.

In a process of its own for two reasons found in ttspico 0.3.2: a text with a NUL byte crashes it, and its callback never
releases the audio it hands out (32 KB for each second of speech), so the process starts afresh after 16 MiB, eight minutes of speech.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vivavoce_local_provider._engine import EngineError

__all__ = ["PicoEngine", "make"]

_LEAK_LIMIT = 16 * 1024 * 1024
_PERCENT = {"rate": (20, 500), "pitch": (50, 200), "volume": (0, 500)}  # the engine's own ranges


class PicoEngine:
    """One engine a language, made when it is first asked for."""

    def __init__(self) -> None:
        self._engines: dict[str, Any] = {}
        self._leaked = 0

    @property
    def worn(self) -> bool:
        return self._leaked > _LEAK_LIMIT

    def handle(self, kind: str, payload: Any, more: Callable[[Any], None]) -> Any:
        engine = self._engine(payload["language"])
        if kind == "speak":
            for name, (low, high) in _PERCENT.items():
                engine.set_property(name, min(high, max(low, payload[name])))
            engine.speak(payload["text"], lambda format, audio, final: self._keep(audio, more))
        return None

    def _keep(self, audio: bytes, more: Callable[[Any], None]) -> bool:
        self._leaked += len(audio)
        if audio:
            more(audio)
        return True

    def _engine(self, language: str) -> Any:
        if language not in self._engines:
            try:
                import ttspico
            except ImportError as missing:
                raise EngineError("engine_missing", str(missing)) from missing
            try:
                self._engines[language] = ttspico.TtsEngine(language)
            except RuntimeError as failed:
                raise EngineError(
                    "speaker_missing", f"Pico has no data for {language!r}: {failed}"
                ) from failed
        return self._engines[language]


def make() -> PicoEngine:
    """The engine, before anything is loaded."""
    return PicoEngine()
