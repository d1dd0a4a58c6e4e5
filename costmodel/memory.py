"""Bytes that a model occupies: weights, in one form or two, caches, logits and program."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from paceline.costmodel.caches import GROUP, LANES, CacheKind, cache_bytes
from paceline.costmodel.model_spec import ModelSpec
from paceline.targets import Dtype

_F32 = 4
Storage = Dtype | Literal["signs"]
"""What a matrix is stored as: in a precision, or of a drafter's head the signs alone."""
_SUPER_BLOCK = 256  # columns that share two halves at int4
FACTOR_BYTES, _LINE = 24, 64  # of the twelve bits of a group for a block of rows, and what these are padded to
# What int4 keeps at int8: a tenth of the weights of a layer, of whose cost in perplexity q, k, v had over a quarter and
# o a fifth (benchmarks/history.md); rows of the embedding are looked up, not multiplied.
KEPT_BY_INT4 = frozenset({"embedding", "qkv", "o"})
ELEMENT: dict[Dtype, int] = {"f32": 4, "f16": 2, "int8": 1}


def matrix_bytes(rows: int, columns: int, stored: Storage) -> int:
    """Bytes of one weight matrix [rows, columns], its scales included: an f32 a row at int8, and of signs."""
    if stored == "int4":
        return _int4_bytes(rows, columns)
    if stored == "signs":
        return rows * (-(-columns // GROUP) * GROUP // 8 + _F32)
    return rows * (columns * ELEMENT[stored] + (_F32 if stored == "int8" else 0))


def _int4_bytes(rows: int, columns: int) -> int:
    """Nibbles of whole groups, two f16 a super-block, six bits of scale and of low a group, in whole lines."""
    groups, most = -(-columns // GROUP), _SUPER_BLOCK // GROUP
    whole, rest = divmod(groups, most)
    factors = whole * most * FACTOR_BYTES + -(-rest * FACTOR_BYTES // _LINE) * _LINE
    return rows * (groups * GROUP // 2 + -(-groups // most) * 4) + rows * factors // LANES


def stored_as(matrix: str, precision: Dtype) -> Dtype:
    """What a matrix (``embedding``, ``head``, ``qkv``, ``o``, ``gate_up``, ``down``) is stored as at ``precision``."""
    return "int8" if precision == "int4" and matrix in KEPT_BY_INT4 else precision


def signs_bytes(spec: ModelSpec) -> int:
    """Bytes of the signs of a head: a bit a weight of whole groups, and an f32 a row."""
    return matrix_bytes(spec.vocabulary, spec.hidden, "signs")


def unread_parameters(spec: ModelSpec, precision: Dtype) -> float:
    """Of a drafter's screened head: as many parameters as have the bytes that its kernels do not read for a token."""
    if not spec.draft_vocabulary:
        return 0.0
    whole, found = (
        matrix_bytes(rows, spec.hidden, head_stored_as(spec, precision))
        for rows in (spec.vocabulary, spec.draft_vocabulary)
    )
    return spec.vocabulary * spec.hidden * (1 - (signs_bytes(spec) + found) / whole)


def bytes_saved_by_exact(spec: ModelSpec, precision: Dtype) -> int:
    """Bytes that matrices of ``exact_int4`` take less than the int8 that others of their kind are kept at."""
    q, k, v, o = layer_matrices(spec)
    shapes = {"qkv": (q, k, v), "o": (o,)}
    names = (name.split(".") for name in set(spec.exact_int4) if precision == "int4")
    found = (shape for _, layer, kind in names if int(layer) < spec.layers for shape in shapes[kind])
    return sum(matrix_bytes(*shape, "int8") - matrix_bytes(*shape, "int4") for shape in found)


def head_stored_as(spec: ModelSpec, precision: Dtype) -> Dtype:
    """What the head is stored as: a tied one is the embedding."""
    return stored_as("embedding" if spec.tied else "head", precision)


def layer_matrices(spec: ModelSpec) -> tuple[tuple[int, int], ...]:
    """[out, in] of every weight matrix outside the feed-forward block of one layer: q, k, v, o."""
    q, kv = spec.heads * spec.head_size, spec.kv_heads * spec.head_size
    return ((q, spec.hidden), (kv, spec.hidden), (kv, spec.hidden), (spec.hidden, q))


def ffn_matrices(spec: ModelSpec) -> tuple[tuple[int, int], ...]:
    """[out, in] of gate, up and down of one feed-forward block (of one expert, where there are experts)."""
    ffn = spec.experts.ffn if spec.experts else spec.ffn
    return ((ffn, spec.hidden), (ffn, spec.hidden), (spec.hidden, ffn))


def _norm_elements(spec: ModelSpec) -> int:
    """Elements of norms and biases, which stay in f32 at every precision."""
    biases = (spec.heads + 2 * spec.kv_heads) * spec.head_size if spec.qkv_bias else 0
    layer = spec.hidden * (4 if spec.post_norms else 2) + (2 * spec.head_size if spec.qk_norm else 0) + biases
    return spec.layers * layer + spec.hidden


def _all_matrices(spec: ModelSpec, precision: Dtype) -> tuple[tuple[int, int, int, Dtype], ...]:
    """(how often, rows, columns, stored as) of every weight matrix of the model."""
    experts = spec.experts.count if spec.experts else 1
    router = ((spec.layers, experts, spec.hidden, precision),) if spec.experts else ()
    head = () if spec.tied else ((1, spec.vocabulary, spec.hidden, head_stored_as(spec, precision)),)
    return (
        (1, spec.vocabulary, spec.hidden, stored_as("embedding", precision)),
        *head,
        *((spec.layers, *shape, stored_as("qkv", precision)) for shape in layer_matrices(spec)),
        *((spec.layers * experts, *shape, precision) for shape in ffn_matrices(spec)),
        *router,
    )


def parameters(spec: ModelSpec) -> int:
    """Parameters of the model; a tied head counts once."""
    matrices = sum(times * rows * columns for times, rows, columns, _ in _all_matrices(spec, "f32"))
    return matrices + _norm_elements(spec)


def weights_bytes(spec: ModelSpec, precision: Dtype) -> int:
    """Bytes of all parameters at ``precision``, as kernels read them."""
    matrices = sum(
        times * matrix_bytes(rows, columns, stored) for times, rows, columns, stored in _all_matrices(spec, precision)
    )
    signs = signs_bytes(spec) if spec.draft_vocabulary else 0
    return matrices - bytes_saved_by_exact(spec, precision) + signs + _norm_elements(spec) * _F32


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """Bytes of one loaded model; ``packed`` is a second copy of weights (``costmodel/traced.py``)."""

    weights: int
    packed: int
    caches: int
    logits: int
    program: int

    @property
    def total(self) -> int:
        return self.weights + self.packed + self.caches + self.logits + self.program


def footprint(
    spec: ModelSpec,
    *,
    weights: int,
    context: int,
    width: int,
    packed: int = 0,
    program: int = 0,
    kept: CacheKind = "f32",
) -> Footprint:
    """Bytes of a model whose parameters take ``weights`` and whose widest pass has ``width`` tokens.

    ``kept`` is what its caches are made of.
    """
    return Footprint(
        weights=weights,
        packed=packed,
        caches=cache_bytes(spec, context, kept),
        logits=width * spec.vocabulary * _F32,
        program=program,
    )
