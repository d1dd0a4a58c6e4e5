"""The parameters of a compiled decoder: their names, shapes, and which checkpoint tensors each is made of.

The archive writes this list and the decoder reads it, so a program and its weights cannot disagree.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paceline.compile.rope import llama3_factors
from paceline.compile.stored import Part, Stored
from paceline.costmodel import ModelSpec, Rope, cache_rows

SCOPE = "model"  # that programs look parameters up in
_ONES = 16  # columns of the matrices of ones, one a kv head: the narrowest that every microkernel takes


@dataclass(frozen=True, slots=True)
class Matrix:
    """A weight [rows, columns]: the ``sources`` stacked along the rows; ``exact`` where they are int4 already."""

    name: str
    rows: int
    columns: int
    sources: tuple[str, ...]
    exact: bool = False

    def stored(self, precision: Stored) -> Stored:
        """How this matrix is stored in a model of ``precision``."""
        return precision.for_matrix(matrix_of(self.name), exact=self.exact)


@dataclass(frozen=True, slots=True)
class Vector:
    """A norm or bias f32 [size]: the ``sources`` joined."""

    name: str
    size: int
    sources: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A constant f32 of two axes that no checkpoint has: ``rope`` angles, or ones (``counted``: 0, 1, ...) without."""

    name: str
    shape: tuple[int, int]
    rope: Rope | None = None
    sine: bool = False
    counted: bool = False


Parameter = Matrix | Vector | Table


def symbol(name: str) -> str:
    """The global of a stored array."""
    return name.replace(".", "_")


def declaration(name: str, kind: str) -> str:
    """MLIR of the global of a stored array of type ``kind``, which is loaded by its name."""
    return f'util.global private @{symbol(name)} = #flow.parameter.named<"{SCOPE}"::"{name}"> : {kind}'


def matrix_of(name: str) -> str:
    """What a matrix is for, whatever its layer: ``layers.3.qkv`` is ``qkv``."""
    return name.rpartition(".")[2]


def parameters(spec: ModelSpec, context: int, *, traced: bool = True) -> tuple[Parameter, ...]:
    """All parameters of a decoder with room for ``context`` tokens, in the order of the archive.

    A ``traced`` decoder also needs constants that kernels do without, and computes all logits.
    """
    embedding, head = (
        Matrix(name, spec.vocabulary, spec.hidden, (f"{name}.weight",)) for name in ("embedding", "head")
    )
    return (
        embedding,
        *(parameter for i in range(spec.layers) for parameter in _layer(spec, f"layers.{i}")),
        Vector("norm", spec.hidden, ("norm.weight",)),
        *(() if spec.tied else (head,)),
        *(_signs(embedding if spec.tied else head) if spec.draft_vocabulary and not traced else ()),
        *(_constants(spec, context) if traced else ()),
        *_tables(spec, context),
    )


def _signs(head: Matrix) -> tuple[Matrix]:
    return (Matrix("signs", head.rows, head.columns, head.sources),)


def declared(parameter: Parameter, precision: Stored) -> dict[str, Part]:
    """The arrays that a parameter is stored as, by full name."""
    if isinstance(parameter, Matrix):
        parts = parameter.stored(precision).parts(parameter.rows, parameter.columns)
        return {f"{parameter.name}.{part}": value for part, value in parts.items()}
    shape = (parameter.size,) if isinstance(parameter, Vector) else parameter.shape
    return {parameter.name: Part("f32", shape)}


def _layer(spec: ModelSpec, at: str) -> list[Parameter]:
    q, kv = spec.heads * spec.head_size, spec.kv_heads * spec.head_size
    qkv, o = f"{at}.qkv", f"{at}.o"
    joined = tuple(f"{at}.{name}.weight" for name in "qkv")
    found: list[Parameter] = [
        Vector(f"{at}.attention_norm", spec.hidden, (f"{at}.attention_norm.weight",)),
        Matrix(qkv, q + 2 * kv, spec.hidden, joined, exact=qkv in spec.exact_int4),
        Matrix(o, spec.hidden, q, (f"{o}.weight",), exact=o in spec.exact_int4),
        Vector(f"{at}.ffn_norm", spec.hidden, (f"{at}.ffn_norm.weight",)),
        Matrix(f"{at}.gate_up", 2 * spec.ffn, spec.hidden, (f"{at}.gate.weight", f"{at}.up.weight")),
        Matrix(f"{at}.down", spec.hidden, spec.ffn, (f"{at}.down.weight",)),
    ]
    if spec.qkv_bias:
        found.append(Vector(f"{at}.qkv_bias", q + 2 * kv, tuple(f"{at}.{name}.bias" for name in "qkv")))
    if spec.qk_norm:
        found += [Vector(f"{at}.{name}_norm", spec.head_size, (f"{at}.{name}_norm.weight",)) for name in "qk"]
    if spec.post_norms:
        names = ("attention_post_norm", "ffn_post_norm")
        found += [Vector(f"{at}.{name}", spec.hidden, (f"{at}.{name}.weight",)) for name in names]
    return found


def _constants(spec: ModelSpec, context: int) -> list[Table]:
    return [
        Table("ones", (_ONES * spec.kv_heads, cache_rows(context))),
        Table("indices", (1, spec.vocabulary), counted=True),
    ]


def _tables(spec: ModelSpec, context: int) -> list[Table]:
    shape = (cache_rows(context), spec.head_size)
    tables: list[Table] = []
    for name, rope in (("rope", spec.rope), ("local_rope", spec.local_rope)):
        if rope is not None:
            tables += [Table(f"{name}_cosine", shape, rope), Table(f"{name}_sine", shape, rope, sine=True)]
    return tables


def table_values(table: Table) -> NDArray[np.float32]:
    """The values of a table, computed in f64 and rounded once.

    The sine of the first half is negated: rotated = x * cosine + (second half, first half) * sine.
    """
    if table.counted:
        return np.arange(table.shape[1], dtype=np.float32)[None, :]
    if table.rope is None:
        return np.ones(table.shape, np.float32)
    context, head_size = table.shape
    angles = np.arange(context, dtype=np.float64)[:, None] * _frequencies(table.rope, head_size)
    halves = (-np.sin(angles), np.sin(angles)) if table.sine else (np.cos(angles), np.cos(angles))
    return np.concatenate(halves, axis=1).astype(np.float32)


def _frequencies(rope: Rope, head_size: int) -> NDArray[np.float64]:
    """Radians per token of each pair of channels [head_size / 2]."""
    plain = 1.0 / rope.theta ** (np.arange(0, head_size, 2, dtype=np.float64) / head_size)
    if rope.scaling == "none":
        return plain
    if rope.scaling == "linear":
        return plain / rope.factor
    return plain / llama3_factors(rope, head_size)
