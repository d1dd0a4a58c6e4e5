"""Keys and values in bytes as kernels keep them, from floats and back: the layout said a second time, in numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

KEYS, GROUP, LANES = 16, 32, 16
KEY_STEPS, VALUE_STEPS = 127 * 256, 127
Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]


def rounded_keys(keys: Floats) -> tuple[Bytes, Floats]:
    """[..., positions, size] in whole blocks as bytes [..., positions / 16, bytes], and as these have it."""
    *heads, positions, size = keys.shape
    groups = -(-size // GROUP)
    padded = np.zeros((*heads, positions, groups * GROUP), np.float32)
    padded[..., :size] = keys
    spread = spread_columns(padded.reshape(*heads, positions // KEYS, KEYS, groups, GROUP))
    whole, scale = _rounded(spread, KEY_STEPS)
    exact = spread_columns(whole.astype(np.float64) * scale).reshape(padded.shape)[..., :size] / GROUP
    high = (whole.astype(np.int64) + 128) >> 8
    planes = np.stack([high + 128, whole.astype(np.int64) - (high << 8) + 128])  # [2, ..., blocks, 16, groups, 32]
    words = planes.reshape(*planes.shape[:-1], GROUP // 4, 4).astype(np.uint8)
    laid = np.moveaxis(np.moveaxis(words, -4, -2), 0, -4)  # [..., blocks, groups, 2, 8, 16, 4]
    scales = np.moveaxis(scale[..., 0], -2, -1)  # [..., blocks, groups, 16]
    made = np.concatenate([_bytes(scales), laid.reshape(*scales.shape[:-1], -1)], axis=-1)
    return made.reshape(*heads, positions // KEYS, -1), exact.astype(np.float32)


def rounded_values(values: Floats) -> tuple[Bytes, Floats]:
    """[..., positions, size] as bytes [..., groups of positions, bytes], and as these have it."""
    *heads, positions, size = values.shape
    groups, blocks = -(-positions // GROUP), -(-size // LANES)
    padded = np.zeros((*heads, groups * GROUP, blocks * LANES), np.float32)
    padded[..., :positions, :size] = values
    whole, scale = _rounded(padded, VALUE_STEPS)
    exact = (whole * scale)[..., :positions, :size]
    by_block = (whole + 128).astype(np.uint8).reshape(*heads, groups, GROUP // 4, 4, blocks, LANES)
    laid = np.moveaxis(by_block, -2, -4).swapaxes(-1, -2)  # [..., groups, blocks, 8, 16, 4]
    scales = scale.reshape(*heads, groups, GROUP)
    return np.concatenate([_bytes(scales), laid.reshape(*heads, groups, -1)], axis=-1), exact


def spread_columns(x: NDArray[Any]) -> NDArray[Any]:
    """Sums and differences of each 32 columns [..., 32], in the kernels' order of additions."""
    for distance in (1, 2, 4, 8, 16):
        pairs = x.reshape(*x.shape[:-1], -1, 2, distance)
        first, second = pairs[..., 0, :], pairs[..., 1, :]
        x = np.stack([first + second, first - second], axis=-2).reshape(x.shape)
    return x


def _rounded(x: Floats, steps: int) -> tuple[Floats, Floats]:
    """Whole numbers from -steps to steps and what one is worth, by the last axis."""
    most = np.abs(x).max(axis=-1, keepdims=True)
    inverse = np.where(most > 1e-30, np.float32(steps) / np.maximum(most, np.float32(1e-30)), np.float32(0))
    return np.rint(x * inverse), most * np.float32(1 / steps)


def _bytes(scales: Floats) -> Bytes:
    return np.ascontiguousarray(scales, np.float32).view(np.uint8)
