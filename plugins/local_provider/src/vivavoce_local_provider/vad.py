"""Voice activity, as the core has it: `vivavoce.vad`."""

from __future__ import annotations

from vivavoce.vad import (
    FRAME_BYTES,
    FRAME_MS,
    Detector,
    Found,
    SpeechAudio,
    SpeechBegan,
    SpeechEnded,
    VadSettings,
    VoiceActivity,
    give_back,
    load_detector,
)

__all__ = [
    "FRAME_BYTES",
    "FRAME_MS",
    "Detector",
    "Found",
    "SpeechAudio",
    "SpeechBegan",
    "SpeechEnded",
    "VadSettings",
    "VoiceActivity",
    "give_back",
    "load_detector",
]
