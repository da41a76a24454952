"""A recording as a timeline: who spoke when, which tools ran, where a reply was cut, how long answers took."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import msgspec

from vivavoce.errors import AudioError, ConfigError
from vivavoce.plot.waves import Waves, read_waves

__all__ = ["Latency", "Mark", "Said", "Timeline", "ToolCall", "load"]

_VERSIONS = (1,)


@attrs.define
class Said:
    """A stretch of one side, milliseconds on the recording's clock."""

    role: str
    start_ms: float
    end_ms: float
    text: str = ""
    interrupted: bool = False


@attrs.frozen
class ToolCall:
    """A tool call: `end_ms` is `None` when it had no output before the recording ended."""

    name: str
    arguments: Any
    start_ms: float
    end_ms: float | None
    result: Any = None
    error: str | None = None


@attrs.frozen
class Latency:
    """From the end of the user's turn to the first sound of the reply."""

    start_ms: float
    end_ms: float

    @property
    def ms(self) -> float:
        """How long it took."""
        return self.end_ms - self.start_ms


@attrs.frozen
class Mark:
    """Something with a moment or a stretch of its own: `connecting`, `interrupted`, `reconnecting`, `error`, `close`."""

    kind: str
    start_ms: float
    end_ms: float
    text: str


@attrs.frozen(eq=False)
class Timeline:
    """Everything a picture shows. `about` is the recording's `recording.json`."""

    directory: Path
    about: Mapping[str, Any]
    waves: Waves
    said: tuple[Said, ...]
    tools: tuple[ToolCall, ...]
    latencies: tuple[Latency, ...]
    marks: tuple[Mark, ...]
    duration_ms: float

    @property
    def audio(self) -> Path:
        """The file of its sound."""
        file: str = self.about["audio"]["file"]
        return self.directory / file


def load(directory: Path) -> Timeline:
    """Read a recording. `ConfigError`: there is none, or of a version that is not known; `AudioError`."""
    about = _read_about(directory)
    waves = read_waves(directory / about["audio"]["file"])
    reader = _Reader(waves)
    for record in _records(directory / about["events"]):
        reader.take(record["t_ms"], record["event"], record["payload"])
    said, latencies = reader.finish()
    ends = [waves.duration_ms, reader.last_ms, *(part.end_ms for part in said)]
    return Timeline(
        directory, about, waves, said, reader.tool_calls(), latencies, tuple(reader.marks), max(ends)
    )


def _read_about(directory: Path) -> Mapping[str, Any]:
    path = directory / "recording.json"
    try:
        about: Any = msgspec.json.decode(path.read_bytes())
        if about["format"] != "vivavoce-recording":
            raise KeyError("format")
        version, _ = about["version"], (about["audio"]["file"], about["events"])
    except OSError as bad:
        raise ConfigError(
            f"{directory} holds no recording ({bad.strerror}: {path.name}); `vivavoce talk --record DIR` makes one"
        ) from bad
    except (msgspec.DecodeError, KeyError, TypeError) as bad:
        raise ConfigError(f"{path} does not describe a recording: {bad}") from bad
    if version not in _VERSIONS:
        raise ConfigError(
            f"{directory} is a recording of version {version}; this vivavoce reads 1: update it"
        )
    return dict(about)


def _records(path: Path) -> Iterator[Mapping[str, Any]]:
    """The lines of events. One that was cut short by a crash is the last; it is left out."""
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    yield msgspec.json.decode(line)
                except msgspec.DecodeError as bad:
                    if line.endswith(b"\n"):
                        raise ConfigError(f"{path} line {number} is no event: {bad}") from bad
    except OSError as bad:
        raise AudioError(f"Cannot read {path}: {bad.strerror}.") from bad


class _Reader:
    """Takes the events of a recording in order."""

    def __init__(self, waves: Waves) -> None:
        self.marks: list[Mark] = []
        self.last_ms = 0.0
        self._waves = waves
        self._users: list[
            tuple[str | None, float, bool]
        ] = []  # item, when it was known to be over, was it heard
        self._spoken: dict[Any, Said] = {}
        self._response: dict[Any, Any] = {}  # item -> response
        self._text: dict[str | None, tuple[str, bool, float, str]] = {}
        self._stretch = 0
        self._calls: dict[str, tuple[float, Mapping[str, Any]]] = {}
        self._results: dict[str, tuple[float, Mapping[str, Any]]] = {}
        self._outage: float | None = None
        self._takes = {
            "open": self._open,
            "speaking": self._speaking,
            "speaking.done": self._speaking_done,
            "speech.stopped": self._speech_stopped,
            "turn": self._turn,
            "interrupted": self._interrupted,
            "tool-call-start": lambda t, p: self._calls.setdefault(p["call_id"], (t, p)),
            "tool-call-result": lambda t, p: self._results.setdefault(p["call_id"], (t, p)),
            "reconnecting": self._reconnecting,
            "reconnected": self._reconnected,
            "error": lambda t, p: self.marks.append(Mark("error", t, t, p.get("message") or "")),
            "close": self._close,
        }

    def take(self, t_ms: float, event: str, payload: Mapping[str, Any]) -> None:
        self.last_ms = max(self.last_ms, t_ms)
        taker = self._takes.get(event)
        if taker is not None:
            taker(t_ms, payload)

    def _open(self, t_ms: float, _: Any) -> None:
        self.marks.append(Mark("connecting", 0.0, t_ms, f"connected in {t_ms:.0f} ms"))

    def _speaking(self, _: float, event: Mapping[str, Any]) -> None:
        key = event["item_id"] or event["response_id"] or self._stretch
        start = event["audio"]["at_ms"]
        end = start + event["audio"]["ms"]
        part = self._spoken.setdefault(key, Said("assistant", start, end))
        if not part.interrupted:
            part.end_ms = max(part.end_ms, end)
        self._response[key] = event["response_id"]

    def _speaking_done(self, _: float, event: Mapping[str, Any]) -> None:
        self._stretch += event["response_id"] is None

    def _speech_stopped(self, t_ms: float, event: Mapping[str, Any]) -> None:
        self._users.append((event["item_id"], t_ms, True))

    def _turn(self, t_ms: float, event: Mapping[str, Any]) -> None:
        item = event["item_id"]
        self._text[item] = (event["text"], event["interrupted"], t_ms, event["role"])
        if event["role"] == "user" and all(item != known for known, _, _ in self._users):
            self._users.append((item, t_ms, False))

    def _interrupted(self, t_ms: float, event: Mapping[str, Any]) -> None:
        for key, part in self._spoken.items():
            if self._response[key] == event["response_id"] and part.end_ms > t_ms:
                part.end_ms, part.interrupted = max(part.start_ms, t_ms), True
        self.marks.append(Mark("interrupted", t_ms, t_ms, f"cut after {event['played_ms'] / 1000:.1f} s"))

    def _reconnecting(self, t_ms: float, _: Any) -> None:
        self._outage = t_ms if self._outage is None else self._outage

    def _reconnected(self, t_ms: float, event: Mapping[str, Any]) -> None:
        began, self._outage = self._outage if self._outage is not None else t_ms, None
        self.marks.append(
            Mark("reconnecting", began, t_ms, f"connection lost for {event['outage_ms']:.0f} ms")
        )

    def _close(self, t_ms: float, event: Mapping[str, Any]) -> None:
        if not event["clean"]:
            self.marks.append(Mark("error", t_ms, t_ms, event["reason"]))

    def tool_calls(self) -> tuple[ToolCall, ...]:
        calls = []
        for call_id, (began, call) in self._calls.items():
            ended, outcome = self._results.get(call_id, (None, {}))
            calls.append(
                ToolCall(
                    call["name"], call["arguments"], began, ended, outcome.get("result"), outcome.get("error")
                )
            )
        return tuple(calls)

    def finish(self) -> tuple[tuple[Said, ...], tuple[Latency, ...]]:
        said = self._user_parts()
        for key, part in self._spoken.items():
            text, interrupted, _, _ = self._text.get(key, ("", False, 0.0, ""))
            said.append(attrs.evolve(part, text=text, interrupted=part.interrupted or interrupted))
        for item, (text, interrupted, t_ms, role) in self._text.items():
            if role != "user" and item not in self._spoken:
                said.append(Said(role, t_ms, t_ms, text, interrupted))
        said.sort(key=lambda part: part.start_ms)
        return tuple(said), tuple(_latencies(said))

    def _user_parts(self) -> list[Said]:
        parts: list[Said] = []
        before = 0.0
        for item, over, heard in sorted(self._users, key=lambda user: user[1]):
            found = self._waves.speech(before, over)
            start, end = found or (over, over)
            text = self._text.get(item, ("", False, 0.0, ""))[0]
            if found or text or heard:
                parts.append(Said("user", start, end, text))
            before = over
        return parts


def _latencies(said: list[Said]) -> Iterator[Latency]:
    """The first reply after each turn of the user, if it came before the user's next turn was over."""
    users = [part for part in said if part.role == "user"]
    replies = [part for part in said if part.role == "assistant" and part.end_ms > part.start_ms]
    for index, user in enumerate(users):
        until = users[index + 1].end_ms if index + 1 < len(users) else float("inf")
        reply = next((part for part in replies if user.end_ms <= part.start_ms < until), None)
        if reply is not None:
            yield Latency(user.end_ms, reply.start_ms)
