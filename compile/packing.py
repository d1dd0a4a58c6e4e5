"""How kernel programs store matrices: sixteen output channels at a time, in the order in which a kernel reads them.

A part ``packed`` i8 [rows / 16, bytes of a block] holds weights and scales together, so that nothing is rearranged when
a model is loaded. ``compile/kernels/matmul.h`` reads what this writes, and ``screened.h`` the signs:

    f32, f16    [columns][16]
    int8        f32 scale [16], then [columns / 4][16][4] bytes, each a weight plus 128
    int4        a super-block after the other: f16 d and dmin [16], by group 24 bytes of factors (each scale with the
                upper two bits of its low above it, then the lower four of lows 0 to 7, with 8 to 15 above them), by
                group nibbles [4][16][4], the low half of byte j of word i being column 8i + j, the high half 8i + 4 + j
    signs       f32 mean size [16], then by group [16][4] bytes, bit i of byte j being set where column 4i + j is not
                negative: of the head of a drafter, beside the head itself

Columns of integer weights are padded with zeros to whole groups of 32.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paceline.compile.int4 import GROUP, SUPER_BLOCK, Blocks, padded, quantise
from paceline.compile.precision import F16, Int8
from paceline.compile.stored import Part
from paceline.compile.words import BYTES_PER_WORD
from paceline.costmodel import matrix_bytes, stored_as
from paceline.costmodel.caches import LANES
from paceline.costmodel.memory import Storage

FORM = "packed"
_SIGN = np.uint8(128)  # added to a weight: one operand of x86's products of bytes has no sign
_GROUPS = SUPER_BLOCK // GROUP
_ALIGNED = 64


@dataclass(frozen=True, slots=True)
class Packed:
    """A precision in packed form; ``whole_groups`` says that activations are rounded to bytes, a group at a time."""

    name: Storage
    whole_groups: bool
    pack: Callable[[NDArray[np.float32]], NDArray[np.uint8]]
    form: str = FORM

    def columns(self, columns: int) -> int:
        """Columns as kernels count them."""
        return padded(columns) if self.whole_groups else columns

    def block_bytes(self, columns: int) -> int:
        """Of sixteen output channels, whose ``columns`` are as kernels count them."""
        return matrix_bytes(LANES, columns, self.name)

    def parts(self, rows: int, columns: int) -> dict[str, Part]:
        """See ``Stored``."""
        return {"packed": Part("i8", (-(-rows // LANES), self.block_bytes(self.columns(columns))))}

    def store(self, block: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        """See ``Stored``; rows that the last sixteen lack are stored as zeros."""
        rows, columns = block.shape
        whole = np.zeros((-(-rows // LANES) * LANES, self.columns(columns)), np.float32)
        whole[:rows, :columns] = block
        return {"packed": self.pack(whole)}

    def for_matrix(self, matrix: str, *, exact: bool = False) -> Packed:
        """See ``Stored``."""
        if self.name == "signs" or matrix == SIGNS.name:
            return SIGNS
        return self if exact else PACKED[stored_as(matrix, self.name)]


class PackedInt4(Packed):
    """Also takes int4 as it is."""

    def store_blocks(self, blocks: Blocks) -> dict[str, NDArray[Any]]:
        """See ``StoresBlocks``."""
        return {"packed": _int4_bytes(blocks.rows(_padded_rows(blocks.nibbles.shape[0])))}


def _padded_rows(rows: int) -> NDArray[np.intp]:
    """All rows, the last one again until sixteen are full: nobody reads what comes of it."""
    return np.minimum(np.arange(-(-rows // LANES) * LANES), rows - 1)


def _lanes_last(values: NDArray[Any]) -> NDArray[Any]:
    """[rows, columns] as [rows / 16, columns, 16]."""
    return np.ascontiguousarray(values.reshape(-1, LANES, values.shape[1]).swapaxes(1, 2))


def _raw(values: NDArray[Any]) -> NDArray[np.uint8]:
    """The bytes of each entry of the first axis: u8 [blocks, bytes]."""
    return np.ascontiguousarray(values).reshape(values.shape[0], -1).view(np.uint8)


def _float_bytes(whole: NDArray[np.float32]) -> NDArray[np.uint8]:
    return _raw(_lanes_last(whole))


def _half_bytes(whole: NDArray[np.float32]) -> NDArray[np.uint8]:
    return _raw(_lanes_last(F16().store(whole)["weight"]))


def _words(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """[rows, columns] as [rows / 16, columns / 4, 16, 4]."""
    return values.reshape(-1, LANES, values.shape[1] // BYTES_PER_WORD, BYTES_PER_WORD).swapaxes(1, 2)


def _int8_bytes(whole: NDArray[np.float32]) -> NDArray[np.uint8]:
    parts = Int8().store(whole)
    scale, biased = parts["scale"][:, None], parts["weight"].view(np.uint8) ^ _SIGN
    return np.concatenate([_raw(_lanes_last(scale)), _raw(_words(biased))], axis=1)


def _factors(scales: NDArray[np.uint8], lows: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Six bits each of [..., 16] and [..., 16] as bytes [..., 24]."""
    lower = lows & np.uint8(15)
    rest = lower[..., : LANES // 2] | lower[..., LANES // 2 :] << np.uint8(4)
    return np.concatenate([scales | lows >> np.uint8(4) << np.uint8(6), rest], axis=-1)


def _int4_bytes(blocks: Blocks) -> NDArray[np.uint8]:
    """Super-blocks one after the other, each as ``kernels/matmul.h`` wants it."""
    pairs = blocks.nibbles.reshape(blocks.nibbles.shape[0], -1, 2, BYTES_PER_WORD)
    nibbles = _words((pairs[:, :, 0] | pairs[:, :, 1] << np.uint8(4)).reshape(pairs.shape[0], -1))
    factors = _factors(_lanes_last(blocks.scales), _lanes_last(blocks.lows))
    halves = np.stack([_lanes_last(blocks.d), _lanes_last(blocks.dmin)], axis=2)
    pieces = []
    for index in range(halves.shape[1]):
        groups = slice(index * _GROUPS, (index + 1) * _GROUPS)
        some = _raw(factors[:, groups])
        pieces += [_raw(halves[:, index]), np.pad(some, ((0, 0), (0, -some.shape[1] % _ALIGNED)))]
        words = slice(groups.start * GROUP // 8, groups.stop * GROUP // 8)
        pieces.append(_raw(nibbles[:, words]))
    return np.concatenate(pieces, axis=1)


def _sign_bytes(whole: NDArray[np.float32]) -> NDArray[np.uint8]:
    bits = (whole >= 0).reshape(whole.shape[0], -1, GROUP // BYTES_PER_WORD, BYTES_PER_WORD)
    words = _words(np.packbits(bits, axis=2, bitorder="little").reshape(whole.shape[0], -1))
    return np.concatenate([_raw(_lanes_last(np.abs(whole).mean(1, keepdims=True))), _raw(words)], axis=1)


SIGNS = Packed("signs", True, _sign_bytes)
PACKED: dict[str, Packed] = {
    "f32": Packed("f32", False, _float_bytes),
    "f16": Packed("f16", False, _half_bytes),
    "int8": Packed("int8", True, _int8_bytes),
    "int4": PackedInt4("int4", True, lambda whole: _int4_bytes(quantise(whole))),
}
