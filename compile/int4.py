"""Four bits a weight: groups of 32 columns, gathered in super-blocks of 256.

    weight = d * scale * nibble - dmin * low

with a nibble a weight, six bits of scale and of low a group, a half of d and of dmin a super-block, as in GGUF's Q4_K,
which maps onto it exactly. Columns are padded to whole groups; the last super-block of a row may be shorter.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

GROUP, SUPER_BLOCK = 32, 256
MOST = 15  # of a nibble
_GROUPS = SUPER_BLOCK // GROUP
_MOST_FACTOR = 63  # of a scale or a low
_CHUNK = 1 << 15  # weights that are searched at once: what a search keeps fits a core's own cache
# Steps of the finest grids that are tried over a group's range: a range slightly too small or too large often rounds
# better, and how much depends on the group.
_STEPS = np.linspace(MOST - 1, MOST + 1, 9, dtype=np.float32)
_SINGULAR = np.float32(1e-5)  # share below which a determinant is the rounding of its own terms
_Q4_K_BYTES, _Q4_K_SCALES = 144, slice(4, 16)  # of a super-block, and where its 6-bit scales and lows lie


@dataclass(frozen=True, slots=True)
class Blocks:
    """A matrix in this format; ``columns`` are padded to whole groups of 32.

    nibbles u8 [rows, columns] to 15, scales and lows u8 [rows, groups] to 63, d and dmin f16 [rows, super-blocks].
    """

    nibbles: NDArray[np.uint8]
    scales: NDArray[np.uint8]
    lows: NDArray[np.uint8]
    d: NDArray[np.float16]
    dmin: NDArray[np.float16]

    def rows(self, which: slice | NDArray[np.intp]) -> Blocks:
        """Some of the rows."""
        return Blocks(self.nibbles[which], self.scales[which], self.lows[which], self.d[which], self.dmin[which])

    def group_scales(self) -> NDArray[np.float32]:
        """d * scale f32 [rows, groups], exact."""
        return _of_groups(self.d, self.scales)

    def group_lows(self) -> NDArray[np.float32]:
        """dmin * low f32 [rows, groups], exact."""
        return _of_groups(self.dmin, self.lows)


def joined(blocks: Sequence[Blocks]) -> Blocks:
    """Rows below rows."""
    return Blocks(
        nibbles=np.concatenate([some.nibbles for some in blocks]),
        scales=np.concatenate([some.scales for some in blocks]),
        lows=np.concatenate([some.lows for some in blocks]),
        d=np.concatenate([some.d for some in blocks]),
        dmin=np.concatenate([some.dmin for some in blocks]),
    )


def padded(columns: int) -> int:
    """``columns`` rounded up to whole groups."""
    return -(-columns // GROUP) * GROUP


def dequantise(blocks: Blocks) -> NDArray[np.float32]:
    """The weights f32 [rows, columns], padding included."""
    rows, columns = blocks.nibbles.shape
    weights = blocks.nibbles.reshape(rows, -1, GROUP) * blocks.group_scales()[..., None]
    weights -= blocks.group_lows()[..., None]
    return weights.reshape(rows, columns)


def from_q4_k(raw: NDArray[np.uint8], columns: int) -> Blocks:
    """The very weights of GGUF's Q4_K: ``raw`` u8 [rows, bytes] holds ``columns`` of them a row, a multiple of 256."""
    rows = raw.shape[0]
    blocks = raw.reshape(rows, columns // SUPER_BLOCK, _Q4_K_BYTES)
    halves = np.ascontiguousarray(blocks[..., :4]).view(np.float16)
    scales, lows = _six_bits(blocks[..., _Q4_K_SCALES])
    # each 32 bytes hold two groups: one in the low nibbles, the next in the high ones
    pairs = blocks[..., _Q4_K_SCALES.stop :].reshape(rows, -1, 1, GROUP)
    nibbles = np.concatenate([pairs & MOST, pairs >> 4], axis=2)
    return Blocks(
        nibbles=nibbles.reshape(rows, columns),
        scales=scales.reshape(rows, -1),
        lows=lows.reshape(rows, -1),
        d=halves[..., 0],
        dmin=halves[..., 1],
    )


def _six_bits(packed: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Scales and lows u8 [..., 8] of a super-block's 12 bytes [..., 12]: 6 bits each, those of 4 to 7 in two places."""
    scales, lows, rest = packed[..., :4], packed[..., 4:8], packed[..., 8:]
    high_scales, high_lows = (scales >> 2) & 0x30, (lows >> 2) & 0x30
    return (
        np.concatenate([scales & 63, (rest & MOST) | high_scales], axis=-1),
        np.concatenate([lows & 63, (rest >> 4) | high_lows], axis=-1),
    )


def quantise(block: NDArray[np.float32]) -> Blocks:
    """The matrix f32 [rows, columns] in this format, rounded with least squares; larger weights weigh more."""
    return joined([_quantised(rows) for rows in _chunks(block)])


def _chunks(block: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    """Some rows at a time, padded with zeros."""
    rows, columns = block.shape
    step = max(1, _CHUNK // padded(columns))
    for first in range(0, rows, step):
        yield np.pad(block[first : first + step], ((0, 0), (0, padded(columns) - columns)))


def _quantised(block: NDArray[np.float32]) -> Blocks:
    """[rows, columns] of whole groups; in between, groups stand side by side: [32, rows * groups]."""
    rows, columns = block.shape
    x = np.ascontiguousarray(block.reshape(-1, GROUP).T)
    largest = np.abs(x).max(0)
    # at most 1, sums of cubes stay within f32
    scale, low = (found * largest for found in _fitted(x * _inverse(largest)))
    d, scales = _in_six_bits(scale.reshape(rows, -1))
    dmin, lows = _in_six_bits(low.reshape(rows, -1))
    nibbles = _nibbles(x, _inverse(_of_groups(d, scales).ravel()), _of_groups(dmin, lows).ravel())
    return Blocks(nibbles.T.astype(np.uint8, order="C").reshape(rows, columns), scales, lows, d, dmin)


def _fitted(x: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Scale and low [groups], both >= 0, of x [32, groups] within 1: the best fit among the grids of ``_STEPS``.

    A grid gives each weight a nibble q; scale and low then are those of the least weighted error of
    scale * q - low - x, and that error follows from sums alone.
    """
    weight = np.abs(x) + np.sqrt(np.mean(x * x, axis=0))
    wx = weight * x
    sums = weight.sum(0), wx.sum(0), (wx * x).sum(0)
    bottom = np.minimum(x.min(0), 0)
    inverse = _inverse(x.max(0) - bottom)
    # to begin with, one value for all of a group: the only fit where they are equal and negative
    scale, low = np.zeros_like(bottom), np.maximum(-sums[1] * _inverse(sums[0]), 0)
    least = sums[2] + low * sums[1]
    for steps in _STEPS:
        nibbles = _nibbles(x, inverse * steps, -bottom)
        candidate, error = _least_squares(nibbles, weight, wx, sums)
        better = error < least
        for kept, value in zip((scale, low, least), (*candidate, error), strict=True):
            np.copyto(kept, value, where=better)
    return scale, low


def _least_squares(
    nibbles: NDArray[np.float32],
    weight: NDArray[np.float32],
    wx: NDArray[np.float32],
    sums: tuple[NDArray[np.float32], ...],
) -> tuple[tuple[NDArray[np.float32], NDArray[np.float32]], NDArray[np.float32]]:
    """(scale, low) [groups] of the least error for given nibbles [32, groups], low >= 0; and that error."""
    w, x, xx = sums
    wq = weight * nibbles
    q, xq = wq.sum(0), (wx * nibbles).sum(0)
    wq *= nibbles
    qq = wq.sum(0)
    determinant = w * qq - q * q
    inverse = np.where(determinant > _SINGULAR * w * qq, _inverse(determinant), 0)
    low = np.maximum((q * xq - qq * x) * inverse, 0)
    scale = np.maximum(np.where(low > 0, (w * xq - q * x) * inverse, xq * _inverse(qq)), 0)
    return (scale, low), xx - scale * xq + low * x


def _nibbles(x: NDArray[np.float32], inverse: NDArray[np.float32], low: NDArray[np.float32]) -> NDArray[np.float32]:
    """Whole numbers 0 to 15, as f32, nearest to (x + low) * inverse; x [32, groups], the others [groups]."""
    found = x + low
    found *= inverse
    np.rint(found, out=found)
    return np.clip(found, 0, MOST, out=found)


def _in_six_bits(values: NDArray[np.float32]) -> tuple[NDArray[np.float16], NDArray[np.uint8]]:
    """values [rows, groups] >= 0 as a half a super-block times six bits a group."""
    firsts = np.arange(0, values.shape[1], _GROUPS)
    wanted, most = np.maximum.reduceat(values, firsts, axis=1) / np.float32(_MOST_FACTOR), np.finfo(np.float16).max
    unit = np.minimum(wanted, most).astype(np.float16)
    # rounded up: halves this small are coarse, and a unit too small could not reach the largest value
    unit = np.where(unit < wanted, np.nextafter(unit, most), unit)
    levels = np.rint(values * np.repeat(_inverse(unit.astype(np.float32)), _GROUPS, axis=1)[:, : values.shape[1]])
    return unit, np.minimum(levels, _MOST_FACTOR).astype(np.uint8)


def _of_groups(unit: NDArray[np.float16], levels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """A half a super-block times six bits a group: f32 [rows, groups]."""
    return np.repeat(unit.astype(np.float32), _GROUPS, axis=1)[:, : levels.shape[1]] * levels.astype(np.float32)


def _inverse(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """1 / values, and 0 where that is 0 or beyond f32."""
    with np.errstate(divide="ignore", over="ignore"):
        found = 1 / values
    return np.where(np.isfinite(found), found, np.float32(0))
