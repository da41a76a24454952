"""Records a conversation: both sides as stereo sound, every event as a line of JSON, and what they are.

Chosen per voice, like every wrapper: `Voice("local", plugins=[Recorder("a-directory")])`. What is written, and when,
is in docs/reference/recording.md. Files grow while the conversation runs and can be used at any moment of it; writes
go to the page cache of the system at once (microseconds each).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from vivavoce._audiorecorder import USER, AudioRecorder
from vivavoce._recordingfiles import RecordingFiles, describe, measure, plain
from vivavoce.audio import AudioFormat
from vivavoce.errors import VoiceError
from vivavoce.events import Speaking
from vivavoce.files import WavWriter

__all__ = ["AudioRecorder", "Recorder"]


def _new_directory() -> Path:
    return Path("recordings") / datetime.now().strftime("%Y%m%d-%H%M%S-%f")


class Recorder(AudioRecorder):
    """A plugin that writes a recording into `directory`: `audio.wav`, `events.jsonl`, `recording.json`.

    Without a directory, as by `plugins=["recorder"]`, it is one named after the time, in `recordings/` of the current
    directory.

    As `AudioRecorder`; a voice that is connected again begins another directory (`talk-2`). `ConfigError`, from
    `connect()`: the directory holds a recording already, or cannot be made.
    """

    def __init__(self, directory: str | os.PathLike[str] | None = None) -> None:
        super().__init__(_new_directory() if directory is None else directory)
        self._files: RecordingFiles | None = None

    def _open(self, format: AudioFormat) -> WavWriter:
        assert self._context is not None
        self._files = RecordingFiles(self.path, describe(self._voice, self._context, format))
        return self._files.open(format)

    def _sent(self, audio: bytes, format: AudioFormat) -> None:
        at_ms = self._place(USER, audio, format, None)
        self._line("input", {"audio": measure(audio, format, at_ms)})

    def _take(self, payload: Any) -> float | None:
        at_ms = super()._take(payload)
        fields = plain(payload)
        if isinstance(payload, Speaking):
            fields = {**fields, "audio": measure(payload.audio, self._voice.output_format, at_ms)}
        self._line(
            "error" if isinstance(payload, VoiceError) else getattr(payload, "type", "speaker"), fields
        )
        return at_ms

    def _line(self, event: str, payload: Mapping[str, Any]) -> None:
        if self._files is not None:
            self._files.line({"t_ms": round(self._now_ms(), 3), "event": event, "payload": payload})

    def _finish(self, wav: WavWriter) -> None:
        super()._finish(wav)
        assert self._files is not None
        duration = wav.frames * 1000 / wav.format.rate
        self._files.complete(describe(self._voice, self._context, wav.format, duration))

    def close(self) -> None:
        super().close()
        if self._files is not None:
            self._files.close()

    def _discard(self) -> None:
        self.close()
        self.recorded = False
        if self._files is not None:
            self._files.discard()
