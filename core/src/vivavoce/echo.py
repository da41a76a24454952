"""Echo cancellation: the microphone hears the user, and not the speaker beside it.

    microphone = Microphone(echo=EchoCanceller(speaker))

By WebRTC's audio processing module, from the package `livekit` (extra `vivavoce[echo]`; about 30 MB), which runs in this
process and uses no network. On a synthetic room (120 ms of delay, 100 ms of reverberation, echo 6 dB below the voice)
the echo was 33 dB lower within the first 2 s and 45 dB after that, the user's own voice 1 dB, for 1.2 % of a core.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from vivavoce.audio import AudioFormat, Converter
from vivavoce.errors import AudioError, ConfigError

if TYPE_CHECKING:
    from vivavoce.devices import Speaker

__all__ = ["EchoCanceller"]

_RATE: Final = AudioFormat(48_000)
_FRAME: Final = _RATE.bytes_for(10)  # the module takes 10 ms at a time
_SAMPLES: Final = _FRAME // 2


class EchoCanceller:
    """Takes what `speaker` plays out of what one microphone hears. It adds at most 10 ms, and belongs to one microphone.

    `noise_suppression` also takes out steady noise. `ConfigError`: the extra is missing.
    """

    def __init__(self, speaker: Speaker, *, noise_suppression: bool = False) -> None:
        self.speaker = speaker
        self._noise_suppression = noise_suppression
        self._module: Any = None
        self._frame: Any = None
        self._played = self._heard = b""
        self._reference: Converter | None = None
        self._in: Converter | None = None
        self._out: Converter | None = None
        speaker.keep_reference()

    def load(self) -> None:
        """Load the module, which takes about a second; the microphone does it in a thread as it opens."""
        if self._module is not None:
            return
        try:
            from livekit.rtc import AudioFrame, AudioProcessingModule
        except ImportError as missing:
            raise ConfigError(
                f'echo cancellation needs livekit ({missing}): pip install "vivavoce[echo]"', option="echo"
            ) from missing
        self._frame = AudioFrame
        self._module = AudioProcessingModule(
            echo_cancellation=True, noise_suppression=self._noise_suppression, high_pass_filter=True
        )

    def begin(self) -> None:
        """The microphone begins now: what was played before is no part of what it hears."""
        self.speaker.take_reference()
        self._played = self._heard = b""
        self._reference = self._in = self._out = None

    def clean(self, chunk: bytes, format: AudioFormat, delay_ms: float) -> bytes:
        """The microphone's `chunk`, at `format`, without the echo. `delay_ms`: the latency of both devices."""
        if self._in is None or self._out is None:
            self._in, self._out = Converter(format, _RATE), Converter(_RATE, format)
        self._take_reference()
        self._heard += self._in.feed(chunk)
        cleaned = bytearray()
        whole = len(self._heard) - len(self._heard) % _FRAME
        for start in range(0, whole, _FRAME):
            self._module.set_stream_delay_ms(min(500, max(0, round(delay_ms))))
            cleaned += self._run(self._module.process_stream, self._heard[start : start + _FRAME])
        self._heard = self._heard[whole:]
        return self._out.feed(bytes(cleaned))

    def _take_reference(self) -> None:
        format, played = self.speaker.take_reference()
        if format is None or not played:
            return
        if self._reference is None or self._reference.source != format:
            self._reference = Converter(format, _RATE)
        self._played += self._reference.feed(played)
        whole = len(self._played) - len(self._played) % _FRAME
        for start in range(0, whole, _FRAME):
            self._run(self._module.process_reverse_stream, self._played[start : start + _FRAME])
        self._played = self._played[whole:]

    def _run(self, process: Any, audio: bytes) -> bytes:
        frame = self._frame(audio, _RATE.rate, 1, _SAMPLES)
        try:
            process(frame)
        except RuntimeError as bad:
            raise AudioError(f"echo cancellation failed: {bad}", code="echo") from bad
        return bytes(frame.data)
