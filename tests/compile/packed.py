"""Packed int4, read back byte by byte as ``compile/packing.py`` describes it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from paceline.compile.int4 import Blocks
from paceline.costmodel.caches import LANES


def read_int4(raw: NDArray[np.uint8], groups: int) -> Blocks:
    """Super-block by super-block."""
    rows, supers = raw.shape[0] * LANES, -(-groups // 8)
    nibbles = np.empty((rows, groups * 32), np.uint8)
    scales, lows = (np.empty((rows, groups), np.uint8) for _ in range(2))
    d, dmin = (np.empty((rows, supers), np.float16) for _ in range(2))
    for row in range(rows):
        block, lane, at = raw[row // LANES], row % LANES, 0
        for index in range(supers):
            some = min(8, groups - index * 8)
            d[row, index], dmin[row, index] = block[at : at + 64].view(np.float16).reshape(2, LANES)[:, lane]
            factors, words = at + 64, at + 64 + -(-some * 24 // 64) * 64
            for group in range(some):
                place, own = index * 8 + group, factors + group * 24
                rest = block[own + LANES + lane % 8] >> (4 if lane >= 8 else 0) & 15
                scales[row, place], lows[row, place] = block[own + lane] & 63, block[own + lane] >> 6 << 4 | rest
                for i, j in np.ndindex(4, 4):
                    byte = block[words + group * 256 + i * 64 + lane * 4 + j]
                    nibbles[row, place * 32 + 8 * i + j] = byte & 15
                    nibbles[row, place * 32 + 8 * i + 4 + j] = byte >> 4
            at = words + some * 256
    assert at == raw.shape[1]
    return Blocks(nibbles, scales, lows, d, dmin)
