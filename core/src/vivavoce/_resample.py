"""Sample-rate and channel conversion of PCM16 streams. Imports numpy, so `audio` imports it on first use.

The filter is one windowed sinc (Kaiser) with linear phase: 21 periods of the lower rate on each side. That is flat
within 0.4 dB to 0.8 of the lower Nyquist frequency and below -80 dB from there on up, and it holds 0.9 ms of audio
at 24 kHz and 2.6 ms at 8 kHz. docs/explanation/audio.md has the measurements and what was rejected.

Two facts carry the design:

- Output sample n lies at input position n*M/L, so the weights repeat every L outputs. A block of outputs is then a
  fixed matrix applied to a window of the input, and a stream is a few windows times that matrix: one small GEMM,
  four to ten times faster than gathering a window and a filter phase per sample.
- Weights are multiples of 2**-24 and samples are integers, so every partial sum is exact in a float64 and the order
  of summation, hence the chunking, the BLAS and the CPU, cannot change a bit of the result.
"""

from __future__ import annotations

from functools import lru_cache
from math import gcd
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["FrameConverter"]

Floats = NDArray[np.float64]

# Found by search: with 21 lobes, -0.35 dB at 0.8 of the lower Nyquist frequency and -83.8 dB from 1.0 on.
_LOBES = 21
_KAISER_BETA = 8.3
_CUTOFF = 0.437  # of the lower rate
_WEIGHT_SCALE = 2.0**24

_MATRIX_LIMIT = 1 << 17  # float64 weights, 1 MiB: ratios that need more are interpolated
_PHASES = 512  # of the interpolated kernel; linear interpolation then errs below -100 dB
_PIECE = 4096  # frames of the higher rate in one pass: bounds memory, and keeps each product small


class _Kernel(NamedTuple):
    up: int  # L: outputs ...
    down: int  # M: ... for so many inputs
    half: int  # inputs needed on each side of a position
    group: int  # outputs of a block (0: interpolated)
    weights: Floats  # (inputs of a block's window, outputs) or (phases + 1, taps)


def _impulse(t: Floats, low: float) -> Floats:
    """The continuous kernel at `t` input samples from its centre; `low` is the lower rate over the input's."""
    edge = np.clip(1.0 - (t * low / _LOBES) ** 2, 0.0, None)
    window = np.where(np.abs(t * low) <= _LOBES, np.i0(_KAISER_BETA * np.sqrt(edge)), 0.0)
    response: Floats = np.sinc(2.0 * _CUTOFF * low * t) * window
    return response


def _quantised(rows: Floats) -> Floats:
    """Each row with a gain of one at DC, in multiples of 1 / `_WEIGHT_SCALE`."""
    exact: Floats = np.rint(rows / rows.sum(axis=1, keepdims=True) * _WEIGHT_SCALE) / _WEIGHT_SCALE
    return exact


@lru_cache(maxsize=16)  # at most 1 MiB each
def _design(up: int, down: int) -> _Kernel:
    low = min(1.0, up / down)
    half = -(-_LOBES * max(up, down) // up)
    taps = 2 * half
    # Short cycles go several to a block, or the product is all overhead; long ones must still fit.
    repeat = max(1, min(taps // down, 24 // up, _MATRIX_LIMIT // (2 * taps * up)))
    group = up * repeat
    span = (group - 1) * down // up + taps
    if span * group > _MATRIX_LIMIT:
        phases = max(1, round(_PHASES * low))
        offsets = np.arange(1 - half, half + 1) - np.arange(phases + 1)[:, None] / phases
        return _Kernel(up, down, half, 0, _quantised(_impulse(offsets, low)))
    position = np.arange(group) * down
    offsets = np.arange(1 - half, half + 1) - (position % up)[:, None] / up
    rows = _quantised(_impulse(offsets, low))
    weights = np.zeros((span, group))
    for output, first in enumerate(position // up):
        weights[first : first + taps, output] = rows[output]
    return _Kernel(up, down, half, group, weights)


class _BlockResampler:
    """For ratios of small numbers, all usual ones: whole blocks of outputs by one matrix product.

    `_held` starts half - 1 inputs before the block's first output; `_done` outputs of that block are out already.
    A block is computed as soon as one of its outputs can be, over zeros where input is yet to come, so that blocks
    add no delay.
    """

    def __init__(self, kernel: _Kernel, lanes: int) -> None:
        self._kernel = kernel
        self._held = np.zeros((lanes, kernel.half - 1))
        self._done = 0

    def feed(self, samples: NDArray[np.generic]) -> Floats:
        """`samples` and the result are (lanes, n): all outputs whose window is complete."""
        up, down, half, group, weights = self._kernel
        lanes, held = self._held.shape
        total = held + samples.shape[1]
        ready = max(0, -((half - (total - (half - 1))) * up // down))
        blocks = -(-ready // group)
        step = group // up * down
        span = weights.shape[0]
        buffer = np.zeros((lanes, max(total, (blocks - 1) * step + span)))
        buffer[:, :held] = self._held
        buffer[:, held:total] = samples
        if ready <= self._done:
            self._held = buffer[:, :total]
            return buffer[:, :0]
        lane_stride, stride = buffer.strides
        windows = np.ndarray(
            (lanes, blocks, span), np.float64, buffer, strides=(lane_stride, step * stride, stride)
        ).reshape(lanes * blocks, span)  # a copy: BLAS takes no overlapping rows
        outputs = (windows @ weights).reshape(lanes, blocks * group)[:, self._done : ready]
        whole = ready // group
        self._held = buffer[:, whole * step : total]
        self._done = ready - whole * group
        return outputs


class _InterpolatingResampler:
    """For ratios such as 44101/48000, whose weights would fill memory: between two of a few hundred phases.

    `_held` starts half - 1 inputs before the one at or before the next output, which lies `_offset` / L after it.
    """

    def __init__(self, kernel: _Kernel, lanes: int) -> None:
        self._kernel = kernel
        self._held = np.zeros((lanes, kernel.half - 1))
        self._offset = 0

    def feed(self, samples: NDArray[np.generic]) -> Floats:
        """As `_BlockResampler.feed`."""
        up, down, half, _, weights = self._kernel
        buffer = np.concatenate((self._held, samples), axis=1)
        inputs = buffer.shape[1] - (half - 1)
        ready = max(0, -((self._offset - (inputs - half) * up) // down))
        position = self._offset + np.arange(ready) * down
        first, rest = np.divmod(position, up)
        phase, between = np.divmod(rest * (len(weights) - 1), up)
        lane_stride, stride = buffer.strides
        shape = (len(buffer), max(0, inputs - half), 2 * half)
        windows = np.ndarray(shape, np.float64, buffer, strides=(lane_stride, stride, stride))[:, first]
        # Two exact sums and one interpolation per sample, rather than sums over interpolated, inexact weights.
        before = np.einsum("lnt,nt->ln", windows, weights[phase])
        after = np.einsum("lnt,nt->ln", windows, weights[phase + 1])
        drop, self._offset = divmod(self._offset + ready * down, up)
        self._held = buffer[:, drop:]
        outputs: Floats = before + (after - before) * (between / up)
        return outputs


class FrameConverter:
    """PCM16 frames of one rate and channel count to another. Takes whole frames only.

    Equal channel counts keep their channels; otherwise all channels are averaged into one, which is then repeated.
    """

    def __init__(
        self, source_rate: int, source_channels: int, target_rate: int, target_channels: int
    ) -> None:
        self._channels = source_channels
        self._lanes = source_channels if source_channels == target_channels else 1
        self._repeat = target_channels // self._lanes
        self._piece = max(1, _PIECE * source_rate // max(source_rate, target_rate))
        self._resampler: _BlockResampler | _InterpolatingResampler | None = None
        self._half = 0
        self.latency = 0.0
        """Seconds of input that are held back."""
        if source_rate != target_rate:
            divisor = gcd(source_rate, target_rate)
            kernel = _design(target_rate // divisor, source_rate // divisor)
            kind = _BlockResampler if kernel.group else _InterpolatingResampler
            self._resampler = kind(kernel, self._lanes)
            self._half = kernel.half
            self.latency = kernel.half / source_rate

    def feed(self, pcm: bytes | memoryview) -> bytes:
        frames = np.frombuffer(pcm, "<i2").reshape(-1, self._channels)
        piece = self._piece
        return b"".join(
            [self._convert(frames[start : start + piece]) for start in range(0, len(frames), piece)]
        )

    def flush(self) -> bytes:
        """What is held back, computed over silence after the end. The object is used up."""
        if self._resampler is None:
            return b""
        return self._convert(np.zeros((self._half, self._channels), np.int16))

    def _convert(self, frames: NDArray[np.int16]) -> bytes:
        lanes: NDArray[np.generic]
        # The sum of the channels is exact, their mean is not: so the division comes last.
        lanes = frames.T if self._lanes == self._channels else frames.sum(axis=1, dtype=np.int64)[None]
        mixed = self._resampler.feed(lanes) if self._resampler is not None else lanes.astype(np.float64)
        if self._lanes != self._channels:
            mixed = mixed / self._channels
        pcm = np.minimum(np.maximum(np.rint(mixed), -32768.0), 32767.0).astype("<i2").T
        if self._repeat > 1:
            pcm = np.repeat(pcm, self._repeat, axis=1)
        data: bytes = pcm.tobytes()
        return data
