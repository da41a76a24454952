"""Audio as a value: formats, and conversion between them, without a clock, a loop or a session.

Samples are PCM16 little-endian, channels interleaved, unless a format says G.711. Importing this module loads no
numpy; it is loaded on the first conversion of rate, channels or floats (G.711 does without).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from vivavoce._g711 import alaw_to_pcm16, pcm16_to_alaw, pcm16_to_ulaw, ulaw_to_pcm16
from vivavoce.errors import AudioError

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from vivavoce._resample import FrameConverter

__all__ = [
    "MAX_CHANNELS",
    "MAX_RATE",
    "MIN_RATE",
    "PCM16_16K",
    "PCM16_24K",
    "PCMA_8K",
    "PCMU_8K",
    "AudioFormat",
    "Converter",
    "alaw_to_pcm16",
    "float32_to_pcm16",
    "mix_channels",
    "pcm16_to_alaw",
    "pcm16_to_float32",
    "pcm16_to_ulaw",
    "ulaw_to_pcm16",
]

MIN_RATE: Final = 1_000
MAX_RATE: Final = 768_000
MAX_CHANNELS: Final = 32

_NAMES = {"pcm16": "PCM16", "pcmu": "G.711 µ-law", "pcma": "G.711 A-law"}
_DECODE: dict[str, Callable[[bytes], bytes]] = {"pcmu": ulaw_to_pcm16, "pcma": alaw_to_pcm16}
_ENCODE: dict[str, Callable[[bytes], bytes]] = {"pcmu": pcm16_to_ulaw, "pcma": pcm16_to_alaw}


class AudioFormat(msgspec.Struct, frozen=True):
    """How bytes are to be heard: `rate` in Hz (1,000 to 768,000), `channels` (1 to 32, interleaved), `encoding`.

    Raises `AudioError` for anything else.
    """

    rate: int = 24_000
    channels: int = 1
    encoding: Literal["pcm16", "pcmu", "pcma"] = "pcm16"

    def __post_init__(self) -> None:
        _check_int("sample rate", self.rate, MIN_RATE, MAX_RATE, " Hz")
        _check_int("number of channels", self.channels, 1, MAX_CHANNELS, "")
        if self.encoding not in _NAMES:
            raise AudioError(f"Unknown audio encoding {self.encoding!r}; it is one of {', '.join(_NAMES)}.")

    def __str__(self) -> str:
        channels = {1: "mono", 2: "stereo"}.get(self.channels, f"{self.channels} channels")
        return f"{_NAMES[self.encoding]} {self.rate} Hz {channels}"

    @property
    def frame_bytes(self) -> int:
        """Bytes of one frame: one sample of each channel."""
        return self.channels * 2 if self.encoding == "pcm16" else self.channels

    def milliseconds(self, n_bytes: int) -> float:
        """The duration of so many bytes."""
        return n_bytes * 1000 / (self.rate * self.frame_bytes)

    def bytes_for(self, ms: float) -> int:
        """The bytes of so many milliseconds: whole frames, rounded down."""
        # The ten-thousandth of a frame keeps 0.1 * 3 ms and its like from losing one.
        return int(ms * self.rate / 1000 + 1e-4) * self.frame_bytes


def _check_int(what: str, value: object, low: int, high: int, unit: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise AudioError(f"The {what} must be an int, not {value!r} ({type(value).__name__}).")
    if not low <= value <= high:
        raise AudioError(f"The {what} must be {low} to {high}{unit}, not {value}.")


PCM16_24K: Final = AudioFormat(24_000)
PCM16_16K: Final = AudioFormat(16_000)
PCMU_8K: Final = AudioFormat(8_000, 1, "pcmu")
PCMA_8K: Final = AudioFormat(8_000, 1, "pcma")


def _needs_numpy(error: ImportError, what: str) -> AudioError:
    return AudioError(
        f'{what} needs numpy, which cannot be imported ({error}); pip install "vivavoce[files]"'
    )


def float32_to_pcm16(samples: NDArray[np.floating[Any]], *, first: int = 0) -> bytes:
    """Floats, where ±1.0 is full scale, to PCM16. A 2-D array is (frames, channels).

    Values beyond full scale are clipped, the rest rounded to nearest. `AudioError`: NaN or infinity; it says where,
    counting from `first`.
    """
    try:
        from vivavoce import _floats
    except ImportError as error:
        raise _needs_numpy(error, "Audio as floats") from error
    return _floats.float32_to_pcm16(samples, first)


def pcm16_to_float32(pcm: bytes | bytearray | memoryview, channels: int = 1) -> NDArray[np.float32]:
    """PCM16 to float32 in [-1.0, 1.0): (n,) for one channel, else (frames, channels). Exact both ways."""
    if len(pcm) % (2 * channels):
        raise AudioError(f"{len(pcm)} bytes are no whole number of PCM16 frames of {channels} channels.")
    try:
        from vivavoce import _floats
    except ImportError as error:
        raise _needs_numpy(error, "Audio as floats") from error
    return _floats.pcm16_to_float32(pcm, channels)


def mix_channels(pcm: bytes, source: int, target: int) -> bytes:
    """PCM16 of `source` interleaved channels to `target` ones: averaged to one, and that one repeated.

    Equal counts give the same object back. `AudioError`: bytes that are no whole frames.
    """
    converter = Converter(AudioFormat(channels=source), AudioFormat(channels=target))
    mixed = converter.feed(pcm)
    if converter.leftover:
        raise AudioError(f"{len(pcm)} bytes are no whole number of PCM16 frames of {source} channels.")
    return mixed


class Converter:
    """A stream of audio in `source` format to `target` format: rate, channels and encoding.

    Output is aligned with input (the filter's delay is taken out): sample n of the output is at n / target.rate
    seconds of the input. Over a whole stream, flush included, n input frames give n * target.rate / source.rate
    output frames, rounded up. The result is the same bytes however the input is cut into chunks.

    Formats that are equal cost nothing: `feed` gives back the object it was given. Channels that differ in number are
    averaged into one, which is then repeated. `AudioError`: numpy is needed (for rate or channels) and not there.
    """

    def __init__(self, source: AudioFormat, target: AudioFormat) -> None:
        self.source = source
        self.target = target
        self._carry = b""
        same_frames = source.rate == target.rate and source.channels == target.channels
        same_encoding = source.encoding == target.encoding
        self._identity = same_frames and same_encoding
        self._decode = None if self._identity else _DECODE.get(source.encoding)
        self._encode = None if self._identity else _ENCODE.get(target.encoding)
        self._resamples = not same_frames
        self._frames = self._frame_converter() if self._resamples else None

    def _frame_converter(self) -> FrameConverter:
        try:
            from vivavoce._resample import FrameConverter
        except ImportError as error:
            raise _needs_numpy(error, f"Converting {self.source} to {self.target}") from error
        return FrameConverter(self.source.rate, self.source.channels, self.target.rate, self.target.channels)

    @property
    def latency_ms(self) -> float:
        """Milliseconds of input that are held back until more comes: 0 unless the rates differ."""
        return self._frames.latency * 1000 if self._frames is not None else 0.0

    @property
    def leftover(self) -> int:
        """Bytes of an incomplete frame at the end of what was fed."""
        return len(self._carry)

    def feed(self, data: bytes | bytearray | memoryview) -> bytes:
        """Take the stream's next bytes, cut anywhere; give what can be given by now (maybe nothing)."""
        chunk = data if type(data) is bytes else bytes(data)
        if self._carry:
            chunk = self._carry + chunk
            self._carry = b""
        if rest := len(chunk) % self.source.frame_bytes:
            self._carry = chunk[-rest:]
            chunk = chunk[:-rest]
        if self._identity:
            return chunk
        if self._decode is not None:
            chunk = self._decode(chunk)
        if self._frames is not None:
            chunk = self._frames.feed(chunk)
        return chunk if self._encode is None else self._encode(chunk)

    def flush(self) -> bytes:
        """End the stream: what was held back, without an incomplete frame (see `leftover`). Then a new one may begin."""
        self._carry = b""
        if self._frames is None:
            return b""
        tail = self._frames.flush()
        self._frames = self._frame_converter()
        return tail if self._encode is None else self._encode(tail)
