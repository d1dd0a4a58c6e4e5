"""How traced programs store a float matrix, and how they multiply with it: f32, f16, int8 and int4.

A matrix [rows, columns] becomes *parts*: arrays that share its rows, so that blocks of rows can be stored one after
another and joined. The storing side is numpy, the program side torch, which only the process that traces imports.
Kernel programs have the same numbers in another order: ``compile/packing.py``.

    f32     weight f32 [rows, columns]
    f16     weight f16 [rows, columns]; widened to f32 when used, nothing else is rounded
    int8    weight i8 [rows, columns], scale f32 [rows]; activations are rounded to i8 with one scale a row when used
    int4    weight i32 [rows, columns / 8], scale and low f32 [rows, groups]; widened to f32 when used

At int4 some matrices are stored as int8: ``for_matrix``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from paceline.compile.int4 import GROUP, MOST, Blocks, padded, quantise
from paceline.compile.stored import Part, Stored
from paceline.compile.words import BYTES_PER_WORD, at_once, matmuls, product, side_by_side, unpacked
from paceline.costmodel import stored_as
from paceline.errors import UsageError
from paceline.targets import ProcessingUnit

if TYPE_CHECKING:
    from torch import Tensor

_TINY = 1e-10  # below it a row of activations counts as zero; keeps the division finite
_LARGEST = 127
_LOWEST = -3.0e38  # below every finite value that a decoder meets
NIBBLES_PER_WORD = 8


@dataclass(frozen=True, slots=True)
class Rows:
    """Activations [..., columns] that stand for ``value * factor``, with one positive ``factor`` [..., 1] a row.

    Apart, the factor costs a rounding scheme nothing: it joins the scale of the row afterwards.
    """

    value: Tensor
    factor: Tensor

    def whole(self) -> Tensor:
        return self.value * self.factor


def _whole(x: Tensor | Rows) -> Tensor:
    return x.whole() if isinstance(x, Rows) else x


class Precision(Stored, Protocol):
    """One way to store the matrices of a model and to use them in a traced program."""

    def for_matrix(self, matrix: str, *, exact: bool = False) -> Precision:
        """What a matrix is used as at this precision.

        Traced programs widen int4 to f32, so they keep attention at int8 even where it is ``exact``.
        """

    def linear(self, x: Tensor | Rows, parts: Mapping[str, Tensor]) -> Tensor:
        """f32 activations [n, columns] times the transposed matrix: f32 [n, rows]."""

    def matmuls(self, n: int, rows: int, columns: int) -> int:
        """How many plain matmuls ``linear`` is in lowered IR."""

    def rows(self, ids: Tensor, parts: Mapping[str, Tensor]) -> Tensor:
        """Rows ``ids`` [n] of the matrix: f32 [n, columns]."""


@dataclass(frozen=True, slots=True)
class F32:
    """Matrices as they are."""

    name: str = "f32"
    form: str = "plain"

    def parts(self, rows: int, columns: int) -> dict[str, Part]:
        return {"weight": Part("f32", (rows, columns))}

    def store(self, block: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        return {"weight": block}

    def for_matrix(self, matrix: str, *, exact: bool = False) -> Self:
        return self

    def linear(self, x: Tensor | Rows, parts: Mapping[str, Tensor]) -> Tensor:
        return _whole(x) @ parts["weight"].t()

    def matmuls(self, n: int, rows: int, columns: int) -> int:
        return 1

    def rows(self, ids: Tensor, parts: Mapping[str, Tensor]) -> Tensor:
        return parts["weight"][ids]


@dataclass(frozen=True, slots=True)
class F16:
    """Half the bytes; arithmetic stays f32."""

    name: str = "f16"
    form: str = "plain"

    def parts(self, rows: int, columns: int) -> dict[str, Part]:
        return {"weight": Part("f16", (rows, columns))}

    def store(self, block: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        limit = np.float32(np.finfo(np.float16).max)
        return {"weight": np.clip(block, -limit, limit).astype(np.float16)}

    def for_matrix(self, matrix: str, *, exact: bool = False) -> Self:
        return self

    def linear(self, x: Tensor | Rows, parts: Mapping[str, Tensor]) -> Tensor:
        return _whole(x) @ parts["weight"].float().t()

    def matmuls(self, n: int, rows: int, columns: int) -> int:
        return 1

    def rows(self, ids: Tensor, parts: Mapping[str, Tensor]) -> Tensor:
        return parts["weight"][ids].float()


@dataclass(frozen=True, slots=True)
class Int8:
    """One scale per output channel, one per row of activations, exact i32 sums.

    With ``words`` the same bytes are declared as i32 [rows, columns / 4] (byte j of word c is column 4c + j), for
    units that cannot load single bytes: IREE emulates i8 storage there with wrong results.
    """

    words: bool = False
    name: str = "int8"

    @property
    def form(self) -> str:
        return "words" if self.words else "bytes"

    def parts(self, rows: int, columns: int) -> dict[str, Part]:
        scale = Part("f32", (rows,))
        if self.words:
            return {"weight": Part("i32", (rows, columns // BYTES_PER_WORD)), "scale": scale}
        return {"weight": Part("i8", (rows, columns)), "scale": scale}

    def store(self, block: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        scale = (np.abs(block).max(axis=1) / np.float32(_LARGEST)).astype(np.float32)
        scale[scale == 0] = 1
        return {"weight": np.rint(block / scale[:, None]).astype(np.int8), "scale": scale}

    def for_matrix(self, matrix: str, *, exact: bool = False) -> Self:
        return self

    def linear(self, x: Tensor | Rows, parts: Mapping[str, Tensor]) -> Tensor:
        import torch

        value = x.value if isinstance(x, Rows) else x
        largest = value.abs().amax(-1, keepdim=True)
        rounded = torch.round(value * (_LARGEST / torch.clamp(largest, min=_TINY)))
        x_scale = largest * (1 / _LARGEST) * (x.factor if isinstance(x, Rows) else 1)
        if not self.words:
            total = torch._int_mm(rounded.to(torch.int8), parts["weight"].t())
            return settled(total.to(torch.float32) * x_scale * parts["scale"])
        integers, rows = rounded.to(torch.int32), at_once(len(value), *parts["weight"].shape)
        pieces = zip(torch.split(parts["weight"], rows), torch.split(parts["scale"], rows), strict=True)
        scaled = [settled(product(integers, words).float() * x_scale * scale) for words, scale in pieces]
        return side_by_side(scaled)

    def matmuls(self, n: int, rows: int, columns: int) -> int:
        return matmuls(n, rows, columns // BYTES_PER_WORD) if self.words else 1

    def rows(self, ids: Tensor, parts: Mapping[str, Tensor]) -> Tensor:
        import torch

        weight = parts["weight"][ids]
        if self.words:
            weight = torch.stack(unpacked(weight), -1).flatten(1)
        return weight.float() * parts["scale"][ids][:, None]


@dataclass(frozen=True, slots=True)
class Int4:
    """Groups of 32 columns as in ``compile/int4.py``; activations and arithmetic stay f32.

    Nibble i of word c is column 8c + i; a group's scale and low are multiplied out. Words suit every unit, so that
    the form is that of the matrices that are ``kept`` at int8.
    """

    kept: Int8 = Int8()
    name: str = "int4"

    @property
    def form(self) -> str:
        return self.kept.form

    def parts(self, rows: int, columns: int) -> dict[str, Part]:
        group = Part("f32", (rows, padded(columns) // GROUP))
        return {"weight": Part("i32", (rows, padded(columns) // NIBBLES_PER_WORD)), "scale": group, "low": group}

    def store(self, block: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        return self.store_blocks(quantise(block))

    def store_blocks(self, blocks: Blocks) -> dict[str, NDArray[Any]]:
        pairs = blocks.nibbles[:, ::2] | blocks.nibbles[:, 1::2] << 4
        return {"weight": pairs.view("<i4"), "scale": blocks.group_scales(), "low": blocks.group_lows()}

    def for_matrix(self, matrix: str, *, exact: bool = False) -> Precision:
        return self.kept if stored_as(matrix, "int4") == "int8" else self

    def linear(self, x: Tensor | Rows, parts: Mapping[str, Tensor]) -> Tensor:
        activations = _whole(x)
        return activations @ _widened(parts)[:, : activations.shape[-1]].t()

    def matmuls(self, n: int, rows: int, columns: int) -> int:
        return 1

    def rows(self, ids: Tensor, parts: Mapping[str, Tensor]) -> Tensor:
        return _widened({name: part[ids] for name, part in parts.items()})


def settled(product: Tensor) -> Tensor:
    """The same values, through an operation that no multiply-add can swallow.

    Where a product is added to something later, the compiler may round once instead of twice, and whether it does
    depends on what it put into one kernel, which depends on the width.
    """
    return product.clamp(min=_LOWEST)


def _widened(parts: Mapping[str, Tensor]) -> Tensor:
    """f32 [rows, columns] of int4, padding included."""
    import torch

    words = parts["weight"]
    shifts = torch.arange(0, 32, 32 // NIBBLES_PER_WORD, dtype=torch.int32)
    nibbles = torch.bitwise_and(torch.bitwise_right_shift(words[..., None], shifts), MOST)
    groups = nibbles.view(words.shape[0], -1, GROUP).float()
    return (settled(groups * parts["scale"][..., None]) - parts["low"][..., None]).flatten(1)


PRECISIONS: dict[str, Precision] = {"f32": F32(), "f16": F16(), "int8": Int8(), "int4": Int4()}
FORMS: dict[tuple[str, str], Precision] = {
    (precision.name, precision.form): precision
    for precision in (*PRECISIONS.values(), Int8(words=True), Int4(Int8(words=True)))
}


def precision_named(name: str) -> Precision:
    """The precision called ``name``.

    Raises:
        UsageError: there is none; lists the known ones.
    """
    if name not in PRECISIONS:
        raise UsageError(f"unknown precision {name!r}; known: {', '.join(PRECISIONS)}")
    return PRECISIONS[name]


def precision_on(name: str, unit: ProcessingUnit) -> Precision:
    """The precision called ``name`` in the form that ``unit`` can read."""
    return FORMS.get((name, "words" if unit.storage_bits > 8 else "bytes"), precision_named(name))
