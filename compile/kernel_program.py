"""A decoder as a list of kernel calls: MLIR that is written, not traced.

A layer is ten calls. Each value has one writer at a time, so that IREE runs them in order without a copy: the hidden
state is changed in place by the matmuls that end a branch, and so are the caches by ``rope_store_*``.

    norm_quantise_* -> qkv -> rope_store_* -> attention_* -> quantise_* -> o (adds to the hidden state)
    norm_quantise_* -> gate and up (activation inside) -> quantise_* -> down (adds to the hidden state)

Float precisions have no ``quantise_*``, which leaves eight, and their norm is ``norm``. Activations are rounded as the
weights that they meet want it.
"""

from __future__ import annotations

import math
import struct

from paceline.compile.capture import Capture
from paceline.compile.int4 import GROUP
from paceline.compile.kernel_text import Builder, Value, module_text
from paceline.compile.packing import PACKED, Packed
from paceline.compile.parameters import declared, matrix_of, parameters
from paceline.costmodel import cache_rows, cache_types
from paceline.costmodel.caches import LANES
from paceline.targets.instruction_sets import InstructionSet

ROWS_AT_ONCE = 16  # at most of an attention workgroup, as in kernels/attention.h
SCREENED_AT_ONCE = 128 * LANES  # ids of which a screened head finds the most promising, as in kernels/screened.h
_FEWEST_PARTS = 4  # workgroups of attention, before these have fewer rows: most SoCs have so many cores or more
_LINE = 64  # bytes of a cache
_LEAST_BYTES = 1 << 15  # of weights that make a workgroup worth its start
_MOST_PARTS = 32  # workgroups of a matmul: enough to even out the cores of a SoC


def program_text(capture: Capture, kernels: InstructionSet) -> str:
    """MLIR with ``step_<width>`` for each width, linked to ``kernels``."""
    precision = PACKED[capture.precision]
    globals_ = {
        name: f"tensor<{'x'.join(map(str, part.shape))}x{part.dtype}>"
        for parameter in parameters(capture.spec, capture.context, traced=False)
        for name, part in declared(parameter, precision).items()
    }
    steps = [_Step(capture, precision, width, globals_).build() for width in capture.widths]
    return module_text(kernels, globals_, steps)


def row_bytes(columns: int) -> int:
    """Bytes from one row of rounded activations to the next, as ``quantised_stride`` in kernels/dot.h has them."""
    lines = -(-(columns + 8 * (columns // GROUP)) // _LINE)
    return ((lines + 2) // 8 * 8 + 5) * _LINE


class _Step:
    """Writes the function of one width."""

    def __init__(self, capture: Capture, precision: Packed, width: int, globals_: dict[str, str]) -> None:
        self.spec, self.precision, self.n = capture.spec, precision, width
        self.capacity, self.kept = cache_rows(capture.context), capture.caches
        self.caches = cache_types(capture.spec, capture.context, capture.caches)
        self.on = Builder(f"step_{width}", globals_)

    def build(self) -> Builder:
        """The whole pass."""
        spec, on, n = self.spec, self.on, self.n
        tokens, self.span = on.argument("tokens", f"{n}xi32"), on.argument("span", "2xi32")
        self.keys, self.values = map(on.argument, ("keys", "values"), self.caches)
        x = self._embedded(tokens)
        for i in range(spec.layers):
            self._attention(i, f"layers.{i}", x)
            self._feed_forward(f"layers.{i}", x)
        head = "embedding" if spec.tied else "head"
        rows = self._normed("norm", x, "last_norm", head)
        logits = self._logits(head, rows)
        ids = on.make(f"{n}xi32")
        on.call("choose", "argmax", n, (logits, self.span, ids), vocabulary=spec.vocabulary)
        on.finish(results=(ids, logits), changed=(self.keys, self.values))
        return on

    def _logits(self, head: str, rows: Value) -> Value:
        """All of them; of a drafter with a screened head those only that its signs promise."""
        spec, stored = self.spec, self._stored(head)
        if not spec.draft_vocabulary:
            return self._matmul("head", head, "from", rows, spec.vocabulary, spec.hidden, extra=(self.span,))
        out = self.on.make(f"{self.n}x{spec.vocabulary}xf32")
        self.on.call(
            "head",
            f"screened_{stored.name}",
            -(-spec.vocabulary // SCREENED_AT_ONCE),
            (rows, self.on.weight(f"{head}.packed"), self.on.weight("signs.packed"), self.span, out),
            rows=self.n,
            channels=spec.vocabulary,
            columns=stored.columns(spec.hidden),
            choices=spec.draft_vocabulary,
        )
        return out

    def _embedded(self, tokens: Value) -> Value:
        spec, stored = self.spec, self.precision.for_matrix("embedding")
        x = self.on.make(f"{self.n}x{spec.hidden}xf32")
        self.on.call(
            "embed",
            f"embed_{stored.name}",
            self.n,
            (tokens, self.on.weight("embedding.packed"), x),
            vocabulary=spec.vocabulary,
            columns=spec.hidden,
            padded=stored.columns(spec.hidden),
            factor=_bits(spec.embedding_scale),
        )
        return x

    def _attention(self, i: int, at: str, x: Value) -> None:
        spec, on, n = self.spec, self.on, self.n
        queries, heads = spec.heads * spec.head_size, spec.heads + 2 * spec.kv_heads
        rows = self._normed(f"{at}.attention_norm", x, "attention_norm", f"{at}.qkv")
        bias = (on.weight(f"{at}.qkv_bias"),) if spec.qkv_bias else ()
        kind = "bias" if bias else "store"
        qkv = self._matmul("qkv", f"{at}.qkv", kind, rows, heads * spec.head_size, spec.hidden, extra=bias)
        sliding = i in spec.sliding_layers
        shape = self._heads(i)
        self._turned(at, qkv, sliding, heads, shape)
        mixed, window = on.make(f"{n}x{queries}xf32"), spec.sliding_window if sliding else 0
        arrays = (qkv, self.keys, self.values, self.span, mixed)
        share, parts = self._shared_out(n * (spec.heads // spec.kv_heads))
        on.call("attend", f"attention_{self.kept}", parts, arrays, **shape, window=window, share=share)
        self._branch("o", f"{at}.o", f"{at}.attention_post_norm", mixed, queries, x)

    def _shared_out(self, rows: int) -> tuple[int, int]:
        """Rows of a workgroup of attention, of the ``rows`` that read one head of keys; and workgroups of all heads."""
        few = self.spec.kv_heads * -(-rows // ROWS_AT_ONCE) < _FEWEST_PARTS
        share = ROWS_AT_ONCE // 2 if few else ROWS_AT_ONCE
        return share, self.spec.kv_heads * -(-rows // share)

    def _heads(self, i: int) -> dict[str, int]:
        """What calls about the caches of layer ``i`` are told."""
        spec = self.spec
        sizes = {"heads": spec.heads, "kv_heads": spec.kv_heads, "size": spec.head_size}
        return {"rows": self.n, **sizes, "capacity": self.capacity, "layer": i}

    def _turned(self, at: str, qkv: Value, sliding: bool, heads: int, shape: dict[str, int]) -> None:
        spec, on = self.spec, self.on
        table = "local_rope" if sliding and spec.local_rope else "rope"
        turn = (on.weight(f"{table}_cosine"), on.weight(f"{table}_sine"))
        norms = tuple(on.weight(f"{at}.{name}_norm") for name in "qk") if spec.qk_norm else ()
        epsilon = {"epsilon": _bits(spec.norm_epsilon)} if norms else {}
        factor = _bits(spec.attention_scale or 1 / math.sqrt(spec.head_size))
        arrays = (qkv, *norms, *turn, self.keys, self.values, self.span)
        kernel = f"{'rope_norm_store' if norms else 'rope_store'}_{self.kept}"
        on.call("turn", kernel, heads, arrays, **shape, factor=factor, **epsilon)

    def _feed_forward(self, at: str, x: Value) -> None:
        spec = self.spec
        rows = self._normed(f"{at}.ffn_norm", x, "ffn_norm", f"{at}.gate_up")
        kind = "silu" if spec.activation == "silu" else "gelu"
        fed = self._matmul("gate_up", f"{at}.gate_up", kind, rows, spec.ffn, spec.hidden)
        self._branch("down", f"{at}.down", f"{at}.ffn_post_norm", fed, spec.ffn, x)

    def _branch(self, site: str, name: str, post_norm: str, y: Value, columns: int, x: Value) -> None:
        """The matmul that ends a branch, added to the hidden state ``x``."""
        spec = self.spec
        rows = self._rounded(y, columns, site, name)
        if not spec.post_norms:
            self._matmul(site, name, "add", rows, spec.hidden, columns, into=x)
            return
        made = self._matmul(site, name, "store", rows, spec.hidden, columns)
        arrays = (made, self.on.weight(post_norm), x)
        epsilon = _bits(spec.norm_epsilon)
        self.on.call(f"{site}_norm", "norm_add", self.n, arrays, columns=spec.hidden, epsilon=epsilon)

    def _normed(self, name: str, x: Value, site: str, weights: str) -> Value:
        """The norm of ``x``, as the matmul with ``weights`` takes it."""
        columns, epsilon = self.spec.hidden, _bits(self.spec.norm_epsilon)
        arrays, stored = (x, self.on.weight(name), made := self._rows(columns)), self._stored(weights)
        if stored.whole_groups:
            kernel, padded = f"norm_quantise_{stored.name}", stored.columns(columns)
            self.on.call(site, kernel, self.n, arrays, columns=columns, padded=padded, epsilon=epsilon)
        else:
            self.on.call(site, "norm", self.n, arrays, columns=columns, epsilon=epsilon)
        return made

    def _rounded(self, y: Value, columns: int, site: str, weights: str) -> Value:
        stored = self._stored(weights)
        if not stored.whole_groups:
            return y
        made, padded = self._rows(columns), stored.columns(columns)
        self.on.call(f"{site}_rows", f"quantise_{stored.name}", self.n, (y, made), columns=columns, padded=padded)
        return made

    def _rows(self, columns: int) -> Value:
        """Room for the activations of a matmul: f32, or bytes and two words a group, rows ``row_bytes`` apart."""
        if not self.precision.whole_groups:
            return self.on.make(f"{self.n}x{columns}xf32")
        padded = self.precision.columns(columns)
        return self.on.make(f"{self.n}x{row_bytes(padded)}xi8")

    def _stored(self, name: str) -> Packed:
        """How a matrix is stored."""
        return self.precision.for_matrix(matrix_of(name), exact=name in self.spec.exact_int4)

    def _matmul(
        self,
        site: str,
        name: str,
        kind: str,
        rows: Value,
        channels: int,
        columns: int,
        *,
        extra: tuple[Value, ...] = (),
        into: Value | None = None,
    ) -> Value:
        stored = self._stored(name)
        blocks = -(-channels // LANES)
        size = stored.block_bytes(stored.columns(columns)) * (2 if kind in ("silu", "gelu") else 1)
        chunk = -(-blocks // min(_MOST_PARTS, blocks, max(1, blocks * size // _LEAST_BYTES)))
        out = into or self.on.make(f"{self.n}x{channels}xf32")
        self.on.call(
            site,
            f"matmul_{stored.name}_{kind}",
            -(-blocks // chunk),
            (rows, self.on.weight(f"{name}.packed"), *extra, out),
            rows=self.n,
            channels=channels,
            columns=stored.columns(columns),
            chunk=chunk,
        )
        return out


def _bits(value: float) -> int:
    """An f32 as the integer of its bits."""
    return int(struct.unpack("<i", struct.pack("<f", value))[0])
