"""PortAudio, and what can be wrong with it: the one place where `sounddevice` is imported, devices are found and
streams are opened. Everything here may block for up to a second; callers in a loop use a thread.
"""

from __future__ import annotations

import ctypes
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, Literal

import msgspec

from vivavoce._soundhelp import how_to_install, silence_reasons
from vivavoce.audio import AudioFormat
from vivavoce.config import nearest
from vivavoce.errors import AudioError

__all__ = [
    "WORD",
    "DeviceInfo",
    "Kind",
    "close_stream",
    "find",
    "is_there",
    "load",
    "negotiate",
    "open_stream",
    "query",
    "rescan",
]

Kind = Literal["input", "output"]
WORD: Final = {"input": "microphone", "output": "speaker"}
_BUSY: Final = frozenset({-9985})  # paDeviceUnavailable, portaudio.h
_GONE: Final = frozenset({-9996, -9999})  # paInvalidDevice, paUnanticipatedHostError
_BLOCKS_PER_S: Final = 100

_lock = threading.RLock()  # PortAudio's own functions are not to be called by two threads at once
_open: set[int] = set()
_quiet: list[Any] = []


class DeviceInfo(msgspec.Struct, frozen=True):
    """A device as PortAudio knows it. `latency_ms` is what it suggests for steady sound."""

    index: int
    name: str
    host: str
    input_channels: int
    output_channels: int
    rate: int
    latency_ms: float
    default_input: bool
    default_output: bool

    def takes(self, kind: Kind) -> bool:
        """Whether it is a microphone (`input`) or a speaker (`output`); some are both."""
        return (self.input_channels if kind == "input" else self.output_channels) > 0


def load() -> Any:
    """The `sounddevice` module. `AudioError` (code `portaudio_missing`) says how to install what is missing."""
    with _lock:
        _silence_alsa()
        try:
            import sounddevice
        except ImportError as missing:
            raise AudioError(
                f'sound devices need sounddevice ({missing}): pip install "vivavoce[devices]"',
                code="portaudio_missing",
            ) from missing
        except OSError as missing:  # the library of sounddevice on Linux is the system's
            raise AudioError(
                f"the PortAudio library is missing: {how_to_install()}", code="portaudio_missing"
            ) from missing
        except Exception as broken:  # PortAudioError, from its initialisation
            raise AudioError(f"PortAudio does not start: {broken}", code="portaudio_failed") from broken
        return sounddevice


def _silence_alsa() -> None:
    """alsa-lib writes to stderr for each device of its configuration that is not there, in the middle of a screen."""
    if _quiet or sys.platform != "linux":
        return
    try:
        library = ctypes.CDLL("libasound.so.2")
    except OSError:
        return
    handler = ctypes.CFUNCTYPE(
        None, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p
    )
    _quiet.append(handler(lambda *_: None))
    library.snd_lib_error_set_handler(_quiet[0])


def query() -> list[DeviceInfo]:
    """Every device there is. Empty where there is no sound."""
    sd = load()
    with _lock:
        hosts = sd.query_hostapis()
        inputs, outputs = sd.default.device
        found = []
        for index, raw in enumerate(sd.query_devices()):
            latency = raw["default_low_input_latency"] or raw["default_low_output_latency"]
            found.append(
                DeviceInfo(
                    index,
                    str(raw["name"]),
                    str(hosts[raw["hostapi"]]["name"]),
                    int(raw["max_input_channels"]),
                    int(raw["max_output_channels"]),
                    round(raw["default_samplerate"]),
                    max(0.0, float(latency)) * 1000,
                    index == inputs,
                    index == outputs,
                )
            )
        return found


def rescan() -> None:
    """Look for devices anew. Only while no stream is open, as PortAudio lists devices once, when it starts."""
    sd = load()
    with _lock:
        if not _open:
            sd._terminate()
            sd._initialize()


_LIST = """
import sounddevice
for device in sounddevice.query_devices():
    print(device["max_input_channels"], device["max_output_channels"], device["name"])
"""
_LIST_S: Final = 20.0


def is_there(kind: Kind, device: int | str | None) -> bool:
    """Whether the system has a device of this name now. It takes a process of its own: here PortAudio would have to
    start again, without any stream."""
    try:
        listed = subprocess.run(
            [sys.executable, "-c", _LIST],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_LIST_S,
            check=False,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return False
    rows = (line.split(maxsplit=2) for line in listed.splitlines())
    names = [row[2] for row in rows if len(row) == 3 and row[kind == "output"] != "0"]
    return any(str(device).strip().casefold() in name.casefold() for name in names)


def find(kind: Kind, device: int | str | None) -> DeviceInfo:
    """The device with this index or name (a part of it will do); `None`: the default one. `AudioError`."""
    fitting = [info for info in query() if info.takes(kind)]
    if not fitting:
        raise AudioError(
            f"there is no {WORD[kind]}: {'; '.join(silence_reasons())}",
            code="device_missing",
            retryable=True,
        )
    if device is None:
        default = [
            info for info in fitting if (info.default_input if kind == "input" else info.default_output)
        ]
        return (default or fitting)[0]
    if isinstance(device, int):
        return _by_index(kind, device, fitting)
    wanted = device.strip().casefold()
    exact = [info for info in fitting if info.name.casefold() == wanted]
    parts = [info for info in fitting if wanted in info.name.casefold()]
    if exact or len(parts) == 1:
        return (exact or parts)[0]
    names = [info.name for info in fitting]
    if parts and wanted:
        text = f"several have it in their name: {', '.join(info.name for info in parts)}"
    else:
        meant = nearest(device, names)
        text = f"did you mean {meant!r}?" if meant else f"there are {', '.join(map(repr, names))}"
    raise AudioError(
        f"no {WORD[kind]} {device!r}: {text} (`vivavoce devices` lists them)", code="device_missing"
    )


def _by_index(kind: Kind, index: int, fitting: list[DeviceInfo]) -> DeviceInfo:
    for info in fitting:
        if info.index == index:
            return info
    there = ", ".join(f"{info.index} ({info.name})" for info in fitting)
    raise AudioError(f"no {WORD[kind]} has the index {index}: there are {there}", code="device_missing")


def open_stream(kind: Kind, info: DeviceInfo, format: AudioFormat, latency_ms: float, callback: Any) -> Any:
    """Open and start a raw PCM16 stream of 10 ms blocks at `format`, which was negotiated. `AudioError`."""
    sd = load()
    with _lock, _explained(sd, kind, info):
        make = sd.RawInputStream if kind == "input" else sd.RawOutputStream
        stream = make(
            samplerate=format.rate,
            blocksize=format.rate // _BLOCKS_PER_S,
            device=info.index,
            channels=format.channels,
            dtype="int16",
            latency=latency_ms / 1000,
            callback=callback,
        )
        try:
            stream.start()
        except BaseException:
            stream.close(ignore_errors=True)
            raise
        _open.add(id(stream))
        return stream


def close_stream(stream: Any) -> None:
    """Stop and close, whatever state it is in."""
    with _lock:
        _open.discard(id(stream))
        stream.abort(ignore_errors=True)
        stream.close(ignore_errors=True)


@contextmanager
def _explained(sd: Any, kind: Kind, info: DeviceInfo) -> Iterator[None]:
    try:
        yield
    except sd.PortAudioError as bad:
        number = bad.args[1] if len(bad.args) > 1 else None
        what = f"the {WORD[kind]} {info.name!r}"
        if number in _BUSY:
            raise AudioError(
                f"{what} is in use by another program: close that one, or choose another (`vivavoce devices`)",
                code="device_busy",
                retryable=True,
            ) from bad
        gone = " (was it unplugged?)" if number in _GONE else ""
        raise AudioError(
            f"{what} cannot be opened{gone}: {bad.args[0]}; `vivavoce devices` lists and tests them",
            code="device_failed",
            retryable=True,
        ) from bad


def negotiate(kind: Kind, info: DeviceInfo, format: AudioFormat) -> AudioFormat:
    """The first rate and number of channels that the device takes; our own converter does the rest, and better than
    a driver. `AudioError`: none."""
    sd = load()
    with _lock, _explained(sd, kind, info):
        return AudioFormat(*_first_fitting(sd, kind, info, format))


def _first_fitting(sd: Any, kind: Kind, info: DeviceInfo, format: AudioFormat) -> tuple[int, int]:
    check: Callable[..., None] = sd.check_input_settings if kind == "input" else sd.check_output_settings
    most = info.input_channels if kind == "input" else info.output_channels
    rates = [format.rate] if format.rate >= 44_100 else []
    rates = list(dict.fromkeys([*rates, info.rate, 48_000, 44_100, format.rate, 16_000]))
    channels = list(dict.fromkeys(n for n in (format.channels, 1, 2, most) if n <= most))
    last: BaseException | None = None
    for rate in rates:
        for count in channels:
            try:
                check(device=info.index, channels=count, dtype="int16", samplerate=rate)
            except sd.PortAudioError as bad:
                if bad.args[1:] and bad.args[1] in _BUSY:
                    raise
                last = bad
            else:
                return rate, count
    assert last is not None
    raise last
