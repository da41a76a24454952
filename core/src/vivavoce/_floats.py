"""PCM16 to and from float32. Imports numpy, so `audio` imports it on first use."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vivavoce.errors import AudioError

__all__ = ["float32_to_pcm16", "pcm16_to_float32"]


def float32_to_pcm16(samples: NDArray[np.floating[Any]]) -> bytes:
    scaled = np.asarray(samples) * np.float32(32768.0)
    if not np.isfinite(scaled).all():
        flat = np.isfinite(samples).ravel()
        # A finite float64 beyond float32 would be loud, not wrong: only what came as NaN or infinity is refused.
        if not flat.all():
            raise AudioError(_not_finite(np.asarray(samples), int(np.argmin(flat))))
    pcm: bytes = np.clip(np.rint(scaled), -32768.0, 32767.0).astype("<i2").tobytes()
    return pcm


def _not_finite(samples: NDArray[np.floating[Any]], position: int) -> str:
    value = samples.ravel()[position]
    where = f"sample {position}"
    if samples.ndim == 2:
        frame, channel = divmod(position, samples.shape[1])
        where = f"frame {frame}, channel {channel}"
    return f"Audio holds {value} at {where}; replace it first, for instance with numpy.nan_to_num."


def pcm16_to_float32(pcm: bytes | bytearray | memoryview, channels: int) -> NDArray[np.float32]:
    samples = np.frombuffer(pcm, "<i2").astype(np.float32) / np.float32(32768.0)
    return samples if channels == 1 else samples.reshape(-1, channels)
