"""Stands for `sounddevice`: devices that do as they are told, on the loop's thread and without time of their own."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

__all__ = ["FakeSound", "FakeStream", "PortAudioError"]


class PortAudioError(Exception):
    """As sounddevice's: text and number."""


class FakeStream:
    """A stream whose callback runs when `tick` is called: blocks of 10 ms, heard 50 ms later."""

    def __init__(self, sound: FakeSound, kind: str, **given: Any) -> None:
        if sound.fails:
            raise sound.fails.pop(0)
        self.kind, self.given, self.sound = kind, given, sound
        self.latency, self.active, self.time = 0.05, False, 0.0
        self.played = bytearray()
        self.block = given["blocksize"] * given["channels"] * 2
        self.closed = False
        sound.streams.append(self)

    def start(self) -> None:
        self.active = True

    def abort(self, ignore_errors: bool = False) -> None:
        self.active = False

    def close(self, ignore_errors: bool = False) -> None:
        self.active, self.closed = False, True

    def tick(self, blocks: int = 1, data: bytes | None = None, status: Any = None) -> None:
        for _ in range(blocks):
            times = SimpleNamespace(outputBufferDacTime=self.time + self.latency, currentTime=self.time)
            buffer = bytearray(data or bytes(self.block))
            self.given["callback"](buffer, self.given["blocksize"], times, status)
            self.played += buffer
            self.time += 0.01


class FakeSound:
    """The module. `names` are the devices, all with two inputs and outputs; the first is the default one."""

    PortAudioError = PortAudioError

    def __init__(self, *names: str, rates: tuple[int, ...] = (48_000,), channels: int = 2) -> None:
        self.names, self.rates, self.channels = list(names), rates, channels
        self.streams: list[FakeStream] = []
        self.fails: list[Exception] = []
        self.scans = 0
        self.listed: list[str] | None = None
        """As PortAudio, which knows the devices there were when it started; `None`: those that are there."""
        self.check_input_settings = self.check_output_settings = self._check

    @property
    def default(self) -> Any:
        return SimpleNamespace(device=(0, 0) if self.names else (-1, -1))

    def query_hostapis(self) -> list[dict[str, Any]]:
        return [{"name": "Fake"}]

    def query_devices(self) -> list[dict[str, Any]]:
        return [
            {
                "name": name,
                "hostapi": 0,
                "max_input_channels": self.channels,
                "max_output_channels": self.channels,
                "default_samplerate": float(self.rates[0]),
                "default_low_input_latency": 0.01,
                "default_low_output_latency": 0.01,
            }
            for name in (self.names if self.listed is None else self.listed)
        ]

    def _check(self, *, device: int, channels: int, dtype: str, samplerate: int) -> None:
        if samplerate not in self.rates:
            raise PortAudioError("Invalid sample rate", -9997)

    def RawInputStream(self, **given: Any) -> FakeStream:
        return FakeStream(self, "input", **given)

    def RawOutputStream(self, **given: Any) -> FakeStream:
        return FakeStream(self, "output", **given)

    def _terminate(self) -> None:
        self.scans += 1

    def _initialize(self) -> None:
        if self.listed is not None:
            self.listed = list(self.names)


Check = Callable[..., None]
