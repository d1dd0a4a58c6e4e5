"""Keys and values that a program keeps: how they lie, and what they take.

Kernels of integer precisions keep bytes, as their products take weights (``compile/kernels/caches.h``): two for an
element of a key and a scale for 32, one for an element of a value and a scale for all. Everything else keeps f32.
"""

from __future__ import annotations

import math
from typing import Literal

from paceline.costmodel.model_spec import ModelSpec
from paceline.targets import Dtype

CacheKind = Literal["f32", "int8"]
"""What is multiplied: floats, or bytes, of which an element of a key has two."""
Shape = tuple[int, ...]

_F32 = 4
LANES = 16  # channels of weights, keys, or elements of a value, that are multiplied at once: as in compile/kernels
GROUP = 32  # columns of weights, elements of a key, or values, whose products meet in one sum


def cache_kind(precision: Dtype, *, traced: bool = False) -> CacheKind:
    """What kernels at ``precision``, or a ``traced`` program, keep."""
    return "int8" if precision in ("int8", "int4") and not traced else "f32"


def cache_rows(context: int) -> int:
    """Rows of a cache that holds ``context`` tokens: whole blocks of keys."""
    return _blocks(context, LANES) * LANES


def cache_shapes(spec: ModelSpec, context: int, kind: CacheKind) -> tuple[Shape, Shape]:
    """Shapes of keys and values, in elements of f32 or in bytes."""
    rows, all_heads = cache_rows(context), (spec.layers, spec.kv_heads)
    if kind == "f32":
        return (*all_heads, rows, spec.head_size), (*all_heads, rows, spec.head_size)
    key, value = _bytes_of_position(spec.head_size)
    return (*all_heads, rows // LANES, key * LANES), (*all_heads, _blocks(rows, GROUP), value * GROUP)


def cache_types(spec: ModelSpec, context: int, kind: CacheKind) -> tuple[str, str]:
    """Shape and element of keys and values, as MLIR writes what is in a tensor's brackets."""
    keys, values = ("x".join(map(str, shape)) for shape in cache_shapes(spec, context, kind))
    element = "f32" if kind == "f32" else "i8"
    return f"{keys}x{element}", f"{values}x{element}"


def cache_bytes(spec: ModelSpec, context: int, kind: CacheKind) -> int:
    """Bytes of keys and values together."""
    element = _F32 if kind == "f32" else 1
    return element * sum(math.prod(shape) for shape in cache_shapes(spec, context, kind))


def position_bytes(head_size: int, kind: CacheKind) -> int:
    """Bytes of one position of one head, key and value."""
    return 2 * head_size * _F32 if kind == "f32" else sum(_bytes_of_position(head_size))


def _bytes_of_position(head_size: int) -> tuple[int, int]:
    """Of a key, in whole groups and each with its scale; and of a value, in whole blocks behind its scale."""
    return _blocks(head_size, GROUP) * (_F32 + 2 * GROUP), _F32 + _blocks(head_size, LANES) * LANES


def _blocks(count: int, size: int) -> int:
    return -(-count // size)
