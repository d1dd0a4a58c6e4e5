"""Operations, bytes and dispatches of a forward pass, as sums of a few small functions."""

from __future__ import annotations

import operator
from dataclasses import dataclass, fields, replace

from paceline.costmodel.caches import LANES, CacheKind, cache_kind, position_bytes
from paceline.costmodel.memory import (
    Storage,
    bytes_saved_by_exact,
    ffn_matrices,
    head_stored_as,
    layer_matrices,
    matrix_bytes,
    stored_as,
)
from paceline.costmodel.model_spec import ModelSpec
from paceline.costmodel.traced import Program, traced_launches, traced_traffic
from paceline.targets import Dtype

_F32 = 4
_OF_A_BIT = 3  # of a weight of one bit: it is shifted into its place and cut out before it is multiplied
LARGEST_HEAD = 256  # elements of a head: as in compile/kernels


@dataclass(frozen=True, slots=True)
class Work:
    """Arithmetic operations (a multiply-add is two), bytes from and to memory, and launches: dispatches and copies.

    ``attended`` of the operations are attention's in f32, ``attended_in_bytes`` those over caches in bytes. ``logits``
    is how many the pass makes, ``activations`` how many elements its dispatches take and give besides, attention's
    aside: what is rounded, normed and stored, which grows with a layer's rows and columns, not with their product.
    """

    operations: int = 0
    bytes_read: int = 0
    bytes_written: int = 0
    dispatches: int = 0
    attended: int = 0
    attended_in_bytes: int = 0
    logits: int = 0
    activations: int = 0

    def __add__(self, other: Work) -> Work:
        return Work(*map(operator.add, _counts(self), _counts(other)))

    def __mul__(self, times: int) -> Work:
        return Work(*(count * times for count in _counts(self)))

    @property
    def bytes(self) -> int:
        return self.bytes_read + self.bytes_written


_counts = operator.attrgetter(*(field.name for field in fields(Work)))


def matmul(m: int, n: int, k: int, *, right_bytes: int | None = None) -> Work:
    """[m, k] times [k, n] in one dispatch; ``right_bytes`` is what the right side occupies (default f32)."""
    right = k * n * _F32 if right_bytes is None else right_bytes
    return Work(2 * m * n * k, m * k * _F32 + right, m * n * _F32, 1, activations=m * k + m * n)


def linear(width: int, rows: int, columns: int, stored: Storage) -> Work:
    """A weight matrix [rows, columns] applied to ``width`` tokens."""
    return matmul(width, rows, columns, right_bytes=matrix_bytes(rows, columns, stored))


def elementwise(elements: int, *, operations: int = 1) -> Work:
    """Read, change and write ``elements`` f32 values in one dispatch."""
    return Work(elements * operations, elements * _F32, elements * _F32, 1, activations=2 * elements)


def attention(spec: ModelSpec, width: int, context: int, kept: CacheKind = "f32") -> Work:
    """Scores, softmax and mix of ``width`` tokens over ``context`` positions of a cache of ``kept``, per layer.

    Heads that share a kv head read it once. Over bytes the second byte of keys, and what softmax does in f32, are not
    told apart from products.
    """
    group, position = width * spec.heads // spec.kv_heads, position_bytes(spec.head_size, kept)
    scores = matmul(group, context, spec.head_size, right_bytes=context * position)
    mix = matmul(group, spec.head_size, context, right_bytes=0)
    heads = (scores + mix) * spec.kv_heads
    batched = Work(heads.operations, heads.bytes_read, heads.bytes_written, 2)
    append = Work(0, 0, width * spec.kv_heads * position, 1)
    work = replace(batched + elementwise(width * spec.heads * context, operations=5) + append, activations=0)
    if kept == "f32":
        return replace(work, attended=work.operations)
    return replace(work, attended_in_bytes=work.operations)


def feed_forward(spec: ModelSpec, width: int, precision: Dtype) -> Work:
    """Gate, up and down, or those of the experts that ``width`` tokens wake.

    Every token works on ``active`` experts; weights are read once for each distinct one, at most ``count``.
    """
    if spec.experts is None:
        blocks = [linear(width, *shape, precision) for shape in ffn_matrices(spec)]
        return sum(blocks, elementwise(width * spec.ffn, operations=5))
    experts = spec.experts
    awake = min(experts.count, experts.active * width)
    tokens = -(-experts.active * width // awake)
    blocks = [linear(tokens, *shape, precision) * awake for shape in ffn_matrices(spec)]
    gate = elementwise(experts.active * width * experts.ffn, operations=5)
    return sum(blocks, linear(width, experts.count, spec.hidden, precision) + gate)


def layer(spec: ModelSpec, width: int, context: int, precision: Dtype, kept: CacheKind = "f32") -> Work:
    """One decoder layer: norms, projections, rotary embedding, attention, feed-forward block, residuals."""
    attended = attention(spec, width, context, kept)
    projections = [linear(width, *shape, stored_as("qkv", precision)) for shape in layer_matrices(spec)]
    rotary = elementwise(width * (spec.heads + spec.kv_heads) * spec.head_size, operations=3)
    norms = elementwise(width * spec.hidden, operations=4) * (4 if spec.post_norms else 2)
    return sum(projections, norms + rotary + attended + feed_forward(spec, width, precision))


def _head(spec: ModelSpec, rows: int, precision: Dtype, *, screened: bool) -> Work:
    """All logits of ``rows`` tokens; or of the last one products with signs, and the logits that these promise."""
    stored, choices = head_stored_as(spec, precision), spec.draft_vocabulary
    if not (choices and screened):
        work = linear(rows, spec.vocabulary, spec.hidden, stored)
        return replace(work, logits=rows * spec.vocabulary, activations=rows * spec.hidden)
    signs = linear(1, spec.vocabulary, spec.hidden, "signs")
    signs = replace(signs, operations=_OF_A_BIT * signs.operations)
    work = signs + linear(1, choices, spec.hidden, stored)
    return replace(work, dispatches=1, logits=spec.vocabulary, activations=spec.hidden)


def kernels_take(spec: ModelSpec) -> bool:
    """Whether kernels can compute a model: no block of a matrix may have rows of two of its sources."""
    joined = (spec.heads * spec.head_size, spec.kv_heads * spec.head_size, spec.ffn)
    return spec.experts is None and spec.head_size <= LARGEST_HEAD and not any(rows % LANES for rows in joined)


def kernel_calls(spec: ModelSpec, precision: Dtype) -> int:
    """Dispatches of a pass by a kernel program.

    Ten a layer, without rounding of activations eight, and a norm more for each branch that ends in one; and
    embedding, last norm, head and choice of a token.
    """
    calls = (10 if precision in ("int8", "int4") else 8) + (2 if spec.post_norms else 0)
    return spec.layers * calls + 4


def forward(
    spec: ModelSpec,
    *,
    width: int,
    context: int,
    precision: Dtype,
    program: Program | None = None,
    kept: CacheKind | None = None,
    wanted: int | None = None,
) -> Work:
    """One pass of ``width`` tokens: embedding, layers, last norm and head.

    ``kept`` is what caches are made of (default: what a program that is compiled today keeps). ``wanted`` is of how
    many rows the caller wants logits (default: all), which kernels ask before they make them.
    Without ``program``, what has to be computed: every weight is read once, and nothing is copied.
    ``context`` is how many positions attention reads: all that there is room for in a traced program, which masks
    what is not there, and in one of kernels what is there, the new tokens included; of that, layers with a window
    read what is in it.
    """
    ends = elementwise(width * spec.hidden, operations=4) * 2
    traced = program not in (None, "kernels")
    kept = kept or cache_kind(precision, traced=traced)
    rows = width if wanted is None or traced else wanted
    head = _head(spec, rows, precision, screened=not traced)
    sliding = len(spec.sliding_layers) if program == "kernels" else 0
    seen = min(context, spec.sliding_window + width - 1) if sliding else context
    whole, window = (layer(spec, width, positions, precision, kept) for positions in (context, seen))
    work = ends + whole * (spec.layers - sliding) + window * sliding + head
    if not traced:
        work = replace(work, bytes_read=work.bytes_read - bytes_saved_by_exact(spec, precision))
    if program == "kernels":
        return replace(work, dispatches=kernel_calls(spec, precision))
    return _traced(work, spec, width, context, precision, program) if program else work


def _traced(work: Work, spec: ModelSpec, width: int, context: int, precision: Dtype, program: Program) -> Work:
    read, written = traced_traffic(spec, width, context, precision, program)
    launches = traced_launches(spec, width, precision, program)
    return replace(
        work, bytes_read=work.bytes_read + read, bytes_written=work.bytes_written + written, dispatches=launches
    )
