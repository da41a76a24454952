"""The files of a recording: events as lines of JSON, and what the recording is."""

from __future__ import annotations

import errno
import os
import platform
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from vivavoce.audio import AudioFormat
from vivavoce.errors import ConfigError, VoiceError
from vivavoce.files import WavWriter
from vivavoce.redaction import redact
from vivavoce.streams import AudioStream

__all__ = ["RECORDING_VERSION", "RecordingFiles", "describe", "measure", "plain"]

RECORDING_VERSION = 1
_DEPTH = 8
_SECRETS = ("key", "token", "secret", "password", "authorization")


def plain(value: Any, depth: int = 0) -> Any:
    """Any payload as JSON can carry it: no audio (its size instead), no keys, nothing nested without end."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return {"bytes": len(value)}
    if depth >= _DEPTH:
        return redact(repr(value)[:200])
    return _compound(value, depth + 1)


def _compound(value: Any, depth: int) -> Any:
    if isinstance(value, VoiceError):
        shown = {"class": type(value).__name__, "code": value.code, "message": value.message}
        return shown | {
            "provider": value.provider,
            "session_id": value.session_id,
            "retryable": value.retryable,
        }
    if isinstance(value, BaseException):
        return {"class": type(value).__name__, "message": redact(str(value))}
    if isinstance(value, AudioStream):
        return {"id": value.id, "item_id": value.item_id, "rate": value.format.rate}
    if isinstance(value, msgspec.Struct):
        return {name: plain(getattr(value, name), depth) for name in value.__struct_fields__}
    if isinstance(value, Mapping):
        return {str(name): _entry(str(name), entry, depth) for name, entry in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(entry, depth) for entry in value]
    return redact(repr(value)[:200])


def _entry(name: str, value: Any, depth: int) -> Any:
    secret = isinstance(value, str) and any(word in name.lower() for word in _SECRETS)
    return "[redacted]" if secret else plain(value, depth)


class EventFile:
    """One JSON object a line, each written at once and whole. `VoiceError` (code `disk_full` or `file`) if it cannot."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._size = 0
        try:
            self._file = open(path, "wb", buffering=0)  # noqa: SIM115 - closed by close()
        except OSError as bad:
            raise _failed(path, bad) from bad

    def write(self, record: Mapping[str, Any]) -> None:
        line = msgspec.json.encode(record) + b"\n"
        try:
            if self._file.write(line) != len(line):  # the disk filled up in the middle of it
                os.ftruncate(self._file.fileno(), self._size)
                self._file.seek(self._size)
                self._file.write(line)
        except OSError as bad:
            raise _failed(self.path, bad) from bad
        self._size += len(line)

    def close(self) -> None:
        self._file.close()


class RecordingFiles:
    """The directory of one recording."""

    def __init__(self, directory: Path, about: dict[str, Any]) -> None:
        self._directory = directory
        self._about = about
        self._events: EventFile | None = None
        self._made = False

    def open(self, format: AudioFormat) -> WavWriter:
        """Make everything there is to a recording. `ConfigError`: there is one already, or no directory can be made."""
        if (self._directory / "recording.json").exists():
            text = f"{self._directory} holds a recording already: name another directory"
            raise ConfigError(text, option="record")
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
        except OSError as bad:
            text = f"cannot make the directory {self._directory}: {bad.strerror}"
            raise ConfigError(text, option="record") from bad
        self._made = True
        write_metadata(self._directory, self._about)
        wav = WavWriter(self._directory / self._about["audio"]["file"], format)
        try:
            self._events = EventFile(self._directory / self._about["events"])
        except BaseException:
            wav.close()
            raise
        return wav

    def line(self, record: Mapping[str, Any]) -> None:
        if self._events is not None:
            self._events.write(record)

    def complete(self, about: Mapping[str, Any]) -> None:
        write_metadata(self._directory, {**self._about, **about})

    def close(self) -> None:
        if self._events is not None:
            self._events.close()
            self._events = None

    def discard(self) -> None:
        """Remove what was made, and the directory if nothing else is in it."""
        if not self._made:
            return
        for name in (self._about["audio"]["file"], self._about["events"], "recording.json"):
            (self._directory / name).unlink(missing_ok=True)
        with suppress(OSError):
            self._directory.rmdir()


def measure(audio: bytes, format: AudioFormat, at_ms: float | None) -> dict[str, float | None]:
    """What an event says of audio: how much, and when it is heard."""
    at = None if at_ms is None else round(at_ms, 3)
    return {"bytes": len(audio), "ms": round(format.milliseconds(len(audio)), 3), "at_ms": at}


def describe(
    voice: Any, context: Any, audio: AudioFormat, duration_ms: float | None = None
) -> dict[str, Any]:
    """What a recording is. `duration_ms` is there once it is complete."""
    from vivavoce import __version__

    session = context.session
    about: dict[str, Any] = {
        "format": "vivavoce-recording",
        "version": RECORDING_VERSION,
        "complete": duration_ms is not None,
        "duration_ms": duration_ms,
        "audio": {"file": "audio.wav", "rate": audio.rate, "channels": ["user", "assistant"]},
        "events": "events.jsonl",
        "provider": voice.provider,
        "capabilities": sorted(voice.capabilities),
        "session_id": session.id,
        "input_format": plain(session.input_format),
        "output_format": plain(session.output_format),
        "instructions": plain(session.instructions),
        "speaker": session.speaker,
        "tools": [tool.name for tool in session.tools],
        "settings": plain(session.settings),
        "usage": plain(voice.usage),
        "vivavoce": __version__,
        "python": platform.python_version(),
    }
    if duration_ms is None:
        about["started"] = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    return about


def write_metadata(directory: Path, about: Mapping[str, Any]) -> None:
    """Replace `recording.json` as a whole, so that it is never half a file."""
    path, half = directory / "recording.json", directory / "recording.json.part"
    try:
        half.write_bytes(msgspec.json.format(msgspec.json.encode(about), indent=2) + b"\n")
        half.replace(path)
    except OSError as bad:
        raise _failed(path, bad) from bad


def _failed(path: Path, bad: OSError) -> VoiceError:
    full = bad.errno in (errno.ENOSPC, errno.EDQUOT)
    return VoiceError(
        f"Cannot write {path}: {bad.strerror or bad}; what was recorded is kept.",
        code="disk_full" if full else "file",
    )
