"""Products with int8 weights that a GPU loads as words, cut so that no dispatch has more workgroups than drivers take.

All of it is integers, so that every way gives the same bits, and the quicker can be taken:

- a few rows of activations: one reduction that unpacks as it reads. Nothing is stored but the result.
- more: the weights are unpacked first, which then costs as much as a few rows, and multiplied as matrices. Each byte of
  the words makes one matrix, for put together again they would have to be stored twice.

Large matrices, such as a head, are cut by their rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

BYTES_PER_WORD = 4
MOST_WORKGROUPS = 65535  # in one direction, on most Vulkan drivers
_MOST_ELEMENTS = MOST_WORKGROUPS * 64  # of a dispatch: IREE gives a workgroup 64 on VideoCore, elsewhere more
_MOST_COPIED = MOST_WORKGROUPS * 16  # by a dispatch that puts a piece in its place
_TILE = 256  # rows of a piece are a multiple: of odd numbers IREE makes many small workgroups
_SUBGROUP = 64  # of Adreno: IREE gives each result of a reduction of a multiple of it a workgroup
FUSED = 4  # rows of activations up to which unpacking for each beats unpacking once


def at_once(n: int, rows: int, words: int) -> int:
    """How many rows of words [rows, words] ``product`` may take with ``n`` rows of activations."""
    if n > FUSED:
        most = _MOST_ELEMENTS // max(n, words)
    else:
        most = (_MOST_ELEMENTS if words % _SUBGROUP else MOST_WORKGROUPS) // n
    return rows if rows <= most else min(most, _MOST_COPIED // n) // _TILE * _TILE


def matmuls(n: int, rows: int, words: int) -> int:
    """How many plain matmuls the products with all pieces of words [rows, words] are in lowered IR."""
    return BYTES_PER_WORD * -(-rows // at_once(n, rows, words)) if n > FUSED else 0


def product(x: Tensor, words: Tensor) -> Tensor:
    """i32 x [n, columns] times the transposed matrix of ``words`` [rows, columns / 4]: i32 [n, rows]."""
    import torch

    n, (rows, columns) = len(x), words.shape
    if n > FUSED:
        by_byte = x.view(n, columns, BYTES_PER_WORD)
        parts = [by_byte[..., j] @ byte.t() for j, byte in enumerate(unpacked(words))]
        return parts[0] + parts[1] + parts[2] + parts[3]
    # repeated for each row of x before they are unpacked: else IREE unpacks words once, and stores that
    repeated = unpacked(words.expand(n, rows, columns))
    by_byte = x.view(n, 1, columns, BYTES_PER_WORD)
    parts = [by_byte[..., j] * byte for j, byte in enumerate(repeated)]
    return (parts[0] + parts[1] + parts[2] + parts[3]).sum(-1, dtype=torch.int32)


def side_by_side(pieces: Sequence[Tensor]) -> Tensor:
    """Pieces [n, some] as one [n, all]; written one by one, for joined ones are turned and turned back as a whole."""
    import torch

    if len(pieces) == 1:
        return pieces[0]
    whole, at = torch.zeros(len(pieces[0]), sum(piece.shape[1] for piece in pieces)), 0
    for piece in pieces:
        whole = torch.slice_scatter(whole, piece, 1, at, at + piece.shape[1])
        at += piece.shape[1]
    return whole


def unpacked(words: Tensor) -> list[Tensor]:
    """The bytes of each word, lowest first, as i32 of the shape of ``words``.

    Each byte goes to the top of its word and comes back with its sign. Going up is a multiplication: torch-mlir lowers
    no shift to the left, and shifts to the right by a tensor only.
    """
    import torch

    top = torch.full((1,) * words.ndim, 8 * (BYTES_PER_WORD - 1), dtype=torch.int32)
    powers = [1 << 8 * (BYTES_PER_WORD - 1 - j) for j in range(BYTES_PER_WORD)]
    return [torch.bitwise_right_shift(words * power, top) for power in powers]
