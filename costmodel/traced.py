"""What a compiler makes of a traced pass, beyond what has to be computed: dispatches, copies, weights in other forms.

IREE's own statistics of tiny programs are where this is from; tests/costmodel/test_traced.py asks it again. Sizes of a
model do not matter to any of it, only its features do. docs/costmodel.md says what the terms are.
"""

from __future__ import annotations

from typing import Literal

from paceline.costmodel.caches import cache_bytes
from paceline.costmodel.memory import (
    ELEMENT,
    ffn_matrices,
    head_stored_as,
    layer_matrices,
    matrix_bytes,
    stored_as,
)
from paceline.costmodel.model_spec import ModelSpec
from paceline.targets import Dtype, ProcessingUnit

Program = Literal["kernels", "cpu", "gpu", "words"]
"""Calls of kernels; or traced, for a CPU, for a GPU that loads bytes, or for one that loads words only."""

_F32 = 4
_FEW = 8  # new rows up to which each is laid over a cache by itself
_FUSED = 4  # rows up to which int8 words are unpacked as they are multiplied; see compile/words.py
# Dispatches of a layer and outside the layers, at width 1, at more, and beyond _FUSED where that is another number.
_LAYER: dict[tuple[Program, Dtype], tuple[int, ...]] = {
    ("cpu", "f32"): (20, 21), ("cpu", "f16"): (20, 21), ("cpu", "int8"): (28, 33), ("cpu", "int4"): (24, 27),
    ("gpu", "f32"): (18, 19), ("gpu", "f16"): (18, 19), ("gpu", "int8"): (26, 29), ("gpu", "int4"): (26, 28),
    ("words", "f32"): (18, 19), ("words", "f16"): (18, 19),
    ("words", "int8"): (26, 30, 60), ("words", "int4"): (26, 30, 44),
}  # fmt: skip
_OUTSIDE: dict[tuple[Program, Dtype], tuple[int, ...]] = {
    ("cpu", "f32"): (17, 16), ("cpu", "f16"): (18, 16), ("cpu", "int8"): (19, 19), ("cpu", "int4"): (17, 16),
    ("gpu", "f32"): (17, 16), ("gpu", "f16"): (18, 16), ("gpu", "int8"): (19, 19), ("gpu", "int4"): (19, 18),
    ("words", "f32"): (17, 16), ("words", "f16"): (18, 16),
    ("words", "int8"): (23, 24, 31), ("words", "int4"): (24, 24),
}  # fmt: skip
# Rows of a workgroup's tile in a GPU's products: two threads, each with eight for every weight that it loads.
_FILLED = 16
_SHARED = 3
_HOISTED = 1 << 20  # bytes by which a constant may grow that IREE computes when a program is loaded, and keeps
_WIDENING = 2  # dispatches that make f32 of an int4 matrix
_CACHE_COPIES = 4  # each of both caches goes in and out of a pass


def program_on(unit: ProcessingUnit, *, kernels: bool) -> Program:
    """How a program for ``unit`` is made."""
    if kernels:
        return "kernels"
    if unit.kind == "cpu":
        return "cpu"
    return "words" if unit.storage_bits > 8 else "gpu"


def on_gpu(program: Program) -> bool:
    """Whether it is a GPU's, where one code generator makes all products, those of attention too."""
    return program in ("gpu", "words")


def fills_tiles(program: Program, width: int) -> bool:
    """Whether products of a GPU's program have all the rows that a weight is loaded for at once."""
    return on_gpu(program) and width >= _FILLED


def traced_launches(spec: ModelSpec, width: int, precision: Dtype, program: Program) -> int:
    """Dispatches and copies of a traced pass."""
    many = int(width > 1)
    layer, outside = (_by_width(table[program, precision], width) for table in (_LAYER, _OUTSIDE))
    dispatches = spec.layers * layer + outside
    features = (4 if many else 2) * spec.qk_norm + (0 if many else 2) * spec.post_norms
    # A lone head of keys and values gets a twin; a single row's are copied into their places.
    twin = (9 if not many or width > _FEW else 8) * (spec.kv_heads == 1)
    placing = 0 if many else 2
    gathering = 2 if width > _FEW else 0
    matrices = _multiplied(spec, width, precision)
    again = sum(times for times, rows, columns, stored in matrices if _widens_again(rows, columns, stored, program))
    beyond = _kinds(spec) + gathering + _WIDENING * again + _CACHE_COPIES
    return dispatches + spec.layers * (features + twin + placing) + beyond


def _by_width(row: tuple[int, ...], width: int) -> int:
    return row[min(len(row) - 1, (width > 1) + (width > _FUSED))]


def _kinds(spec: ModelSpec) -> int:
    """Dispatches that layers of one kind, with a window or without, share; a layer that is the only one needs none."""
    kinds = [count for count in (len(spec.sliding_layers), spec.layers - len(spec.sliding_layers)) if count]
    return _SHARED * (len(kinds) - 1 - kinds.count(1))


def traced_traffic(spec: ModelSpec, width: int, context: int, precision: Dtype, program: Program) -> tuple[int, int]:
    """Bytes read and written beyond reading weights and caches once.

    Caches [context positions] are copied in and out of the pass, and every layer lays its new rows over them; a lone
    head of theirs is written twice more, and read as often.
    """
    caches, twin = cache_bytes(spec, context, "f32"), spec.kv_heads == 1
    read, written = caches * (6 if twin else 3), caches * (5 if twin else 3)
    for times, rows, columns, stored in _multiplied(spec, width, precision):
        more_read, more_written = _widened(rows, columns, stored, program, width)
        read, written = read + times * more_read, written + times * more_written
    return read, written


def packed_bytes(spec: ModelSpec, precision: Dtype, program: Program) -> int:
    """Bytes of the second copy, in tiles, that a CPU's program makes of all weights that it multiplies with.

    It is made once for all widths when the program is loaded, and kept; of int4 only of what is widened then. Other
    programs make none.
    """
    if program != "cpu":
        return 0
    everything = spec.experts.count if spec.experts else 1
    return sum(
        times * rows * columns * ELEMENT["f32" if stored == "int4" else stored]
        for times, rows, columns, stored in _multiplied(spec, everything, precision)
        if not _widens_again(rows, columns, stored, program)
    )


def _multiplied(spec: ModelSpec, width: int, precision: Dtype) -> list[tuple[int, int, int, Dtype]]:
    """(how often, rows, columns, stored as) of every matrix that ``width`` tokens are multiplied with."""
    awake = min(spec.experts.count, spec.experts.active * width) if spec.experts else 1
    (gate, hidden), _, down = ffn_matrices(spec)
    return [
        *((spec.layers, *shape, stored_as("qkv", precision)) for shape in layer_matrices(spec)),
        *((spec.layers * awake, *shape, precision) for shape in ((2 * gate, hidden), down)),
        (1, spec.vocabulary, spec.hidden, head_stored_as(spec, precision)),
    ]


def _widens_again(rows: int, columns: int, stored: Dtype, program: Program) -> bool:
    """Whether a CPU's program makes f32 of an int4 matrix in every pass, for it would grow too much to be kept."""
    if program != "cpu" or stored != "int4":
        return False
    return _F32 * rows * columns - matrix_bytes(rows, columns, stored) > _HOISTED


def _widened(rows: int, columns: int, stored: Dtype, program: Program, width: int) -> tuple[int, int]:
    """Bytes read and written for one matrix beyond reading it once as it is stored.

    A CPU's program widens small int4 matrices when it is loaded and reads f32 ever after, others in every pass. A GPU's
    does so with all, by way of one i32 a weight; without loads of bytes it takes int8 apart too, byte by byte, where
    more than a few rows are multiplied.
    """
    elements, whole = rows * columns, _F32 * rows * columns
    if stored == "int4":
        kept = program == "cpu" and not _widens_again(rows, columns, stored, program)
        return (whole - matrix_bytes(rows, columns, stored), 0) if kept else (2 * whole, 2 * whole)
    if stored == "int8" and program == "words" and width > _FUSED:
        return 3 * elements + whole, whole
    return 0, 0
