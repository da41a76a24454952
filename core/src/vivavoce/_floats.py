"""PCM16 to and from float32. Imports numpy, so `audio` imports it on first use."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vivavoce.errors import AudioError

__all__ = ["float32_to_pcm16", "pcm16_to_float32"]


def float32_to_pcm16(samples: NDArray[np.floating[Any]], first: int) -> bytes:
    finite = np.isfinite(samples)
    if not finite.all():
        raise AudioError(_not_finite(samples, int(np.argmin(finite)), first))
    # Clipped first: a large value would overflow when it is scaled. A float16 cannot hold 32767.
    kind = np.promote_types(samples.dtype, np.float32)
    scaled = np.rint(np.clip(samples, -1.0, 1.0).astype(kind, copy=False) * 32768.0)
    pcm: bytes = np.minimum(scaled, 32767.0).astype("<i2").tobytes()
    return pcm


def _not_finite(samples: NDArray[np.floating[Any]], position: int, first: int) -> str:
    value = samples.ravel()[position]
    if samples.ndim == 2:
        frame, channel = divmod(position, samples.shape[1])
        where = f"frame {first + frame}, channel {channel}"
    else:
        where = f"sample {first + position}"
    return f"The audio holds {value} at {where}; replace it first, for instance with numpy.nan_to_num."


def pcm16_to_float32(pcm: bytes | bytearray | memoryview, channels: int) -> NDArray[np.float32]:
    samples = np.frombuffer(pcm, "<i2").astype(np.float32) / np.float32(32768.0)
    return samples if channels == 1 else samples.reshape(-1, channels)
