"""One decoder for every family: a torch module whose shape is a ``ModelSpec``.

It computes the same bits for a token at every width. Attention is why it looks unusual: the new keys are first laid
over the cache, at their own positions, and each query then attends over the whole capacity under a mask, so that a
key has the same index in every reduction whether it came in this call or long ago. docs/compile.md goes through the
other operations one by one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from paceline.compile.parameters import declared, matrix_of, parameters
from paceline.compile.precision import Precision, Rows, settled
from paceline.compile.words import MOST_WORKGROUPS
from paceline.costmodel import ModelSpec, cache_rows

DTYPES = {"f32": torch.float32, "f16": torch.float16, "i8": torch.int8, "i32": torch.int32}
_MASKED = -1e30  # finite: a row of infinities would make NaN
FEW = 8  # new rows up to which one select a row beats a gather, which is not vectorised
_GELU = math.sqrt(2 / math.pi)


@dataclass(frozen=True, slots=True)
class Span:
    """The tokens of one call: where they lie, what they may see, how they turn.

    ``here`` [n] are their positions. ``source`` [capacity] says which of them belongs at a position of the cache, where
    ``fresh`` [1, capacity, 1] is true; for a FEW of them ``rows`` says it apart, true where that one belongs.
    ``masks`` [n, capacity] and ``turns`` (cosine and sine, [n, 1, head_size] each) are those of full layers and of
    sliding ones.
    """

    here: Tensor
    source: Tensor
    fresh: Tensor
    rows: tuple[Tensor, ...]
    masks: tuple[Tensor, Tensor]
    turns: tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]


class Decoder(nn.Module):
    """A forward pass over n tokens at a position, with caches of cache_rows(context) tokens (``capacity``).

    tokens [n] i32, span [2] i32, caches f32 [layers, kv_heads, capacity, head_size], both written in place
    -> ids [n] i32 (the first largest logit of each row), logits [n, vocabulary] f32.
    span is the position of the first token, and the first row whose results the caller wants: here all are computed.
    """

    def __init__(self, spec: ModelSpec, precision: Precision, context: int) -> None:
        super().__init__()
        self.spec, self.precision, self.capacity = spec, precision, cache_rows(context)
        for parameter in parameters(spec, context):
            for name, part in declared(parameter, precision).items():
                _place(self, name, torch.empty(part.shape, dtype=DTYPES[part.dtype]))

    def forward(self, tokens: Tensor, span: Tensor, k_cache: Tensor, v_cache: Tensor) -> tuple[Tensor, Tensor]:
        # i32 at the border, i64 inside: demoting i64 for Vulkan would read an i64 input as if it were i32
        placed = self._span(tokens.shape[0], span[0].long())
        rows = self.precision.for_matrix("embedding").rows(tokens.long(), self._parts("embedding"))
        x = settled(rows * self.spec.embedding_scale)
        new_k, new_v = [], []
        for i in range(self.spec.layers):
            attended, k, v = self._attention(
                i, self._norm(f"layers.{i}.attention_norm", x), placed, k_cache[i], v_cache[i]
            )
            x = x + self._post_norm(f"layers.{i}.attention_post_norm", attended)
            fed = self._feed_forward(f"layers.{i}", self._norm(f"layers.{i}.ffn_norm", x))
            x = x + self._post_norm(f"layers.{i}.ffn_post_norm", fed)
            new_k.append(k)
            new_v.append(v)
        k_cache.index_copy_(2, placed.here, torch.stack(new_k))  # one write at the end: writes per layer do not compile
        v_cache.index_copy_(2, placed.here, torch.stack(new_v))
        alone = len(x) == 1 and self.spec.vocabulary > MOST_WORKGROUPS
        x = torch.cat([x, x]) if alone else x  # a lone row takes a workgroup a logit on Mali
        logits = self._linear("embedding" if self.spec.tied else "head", self._norm("norm", x))
        logits = logits[:1] if alone else logits
        return _first_largest(logits, self.get_parameter("indices")), logits

    def _span(self, n: int, position: Tensor) -> Span:
        everywhere = torch.arange(self.capacity)
        here = position + torch.arange(n)
        fresh = (everywhere >= position) & (everywhere < position + n)
        past = everywhere[None, :] <= here[:, None]
        near = past & (everywhere[None, :] > here[:, None] - self.spec.sliding_window)
        full, local = (torch.where(seen, 0.0, _MASKED) for seen in (past, near))
        turn = self._turn("rope", here)
        return Span(
            rows=tuple((everywhere == here[row])[None, :, None] for row in range(n)) if n <= FEW else (),
            here=here,
            source=torch.clamp(everywhere - position, 0, n - 1),
            fresh=fresh[None, :, None],
            masks=(full, local),
            turns=(turn, turn if self.spec.local_rope is None else self._turn("local_rope", here)),
        )

    def _turn(self, table: str, here: Tensor) -> tuple[Tensor, Tensor]:
        """Cosine and sine [n, 1, head_size] of the positions ``here``."""
        return self.get_parameter(f"{table}_cosine")[here][:, None], self.get_parameter(f"{table}_sine")[here][:, None]

    def _attention(
        self, i: int, x: Rows, span: Span, k_cache: Tensor, v_cache: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """x [n, hidden] -> attended [n, hidden], new keys and values [kv_heads, n, head_size]."""
        spec, n = self.spec, x.value.shape[0]
        sliding = i in spec.sliding_layers
        q, k, v = self._heads(i, x, span, sliding)
        k_all, v_all = self._laid_over(k, k_cache, span), self._laid_over(v, v_cache, span)
        mixed = self._mixed(q, k_all, v_all, span.masks[sliding])
        rows = mixed.view(spec.heads, n, spec.head_size).permute(1, 0, 2).reshape(n, spec.heads * spec.head_size)
        return self._linear(f"layers.{i}.o", rows), k, v

    def _mixed(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
        """q [heads, n, head_size], k and v [kv_heads, capacity, head_size], mask [n, capacity] -> as q."""
        spec, (heads, n, size) = self.spec, q.shape
        group = heads // spec.kv_heads
        q = q.reshape(spec.kv_heads, group * n, size)
        scores = _product(q, k.transpose(1, 2)).view(spec.kv_heads, group, n, self.capacity) + mask
        weights = torch.exp(scores - scores.amax(-1, keepdim=True)).view(spec.kv_heads, group * n, self.capacity)
        # a sum written as a matmul with ones: IREE miscompiles exp followed by a plain sum at some widths
        ones = self.get_parameter("ones").view(spec.kv_heads, -1, self.capacity).transpose(1, 2)
        return _product(weights, v) / _product(weights, ones)[..., :1]

    def _laid_over(self, new: Tensor, cache: Tensor, span: Span) -> Tensor:
        """The cache [kv_heads, capacity, head_size] with the new rows [kv_heads, n, head_size] at their positions."""
        if not span.rows:
            return torch.where(span.fresh, new[:, span.source], cache)
        for row, mine in enumerate(span.rows):
            cache = torch.where(mine, new[:, row : row + 1], cache)
        return cache

    def _heads(self, i: int, x: Rows, span: Span, sliding: bool) -> tuple[Tensor, Tensor, Tensor]:
        """x [n, hidden] -> q [heads, n, head_size] rotated and scaled; k, v [kv_heads, n, head_size], k rotated."""
        spec, n, at = self.spec, x.value.shape[0], f"layers.{i}"
        qkv = self._linear(f"{at}.qkv", x)
        if spec.qkv_bias:
            qkv = qkv + self.get_parameter(f"{at}.qkv_bias")
        heads = qkv.view(n, spec.heads + 2 * spec.kv_heads, spec.head_size)
        qk, v = heads[:, : -spec.kv_heads], heads[:, -spec.kv_heads :]
        if spec.qk_norm:
            normed = (self._norm(f"{at}.q_norm", qk[:, : spec.heads]), self._norm(f"{at}.k_norm", qk[:, spec.heads :]))
            qk = torch.cat([rows.whole() for rows in normed], 1)
        cosine, sine = span.turns[sliding]
        scale = spec.attention_scale or 1 / math.sqrt(spec.head_size)
        q, k = torch.split(_rotated(qk, cosine, sine), [spec.heads, spec.kv_heads], dim=1)
        return q.permute(1, 0, 2) * scale, k.permute(1, 0, 2), v.permute(1, 0, 2)

    def _feed_forward(self, at: str, x: Rows) -> Tensor:
        gate, up = torch.split(self._linear(f"{at}.gate_up", x), [self.spec.ffn, self.spec.ffn], dim=-1)
        return self._linear(f"{at}.down", self._activate(gate) * up)

    def _activate(self, x: Tensor) -> Tensor:
        if self.spec.activation == "silu":
            return x / (1 + torch.exp(-x))
        return 0.5 * x * (1 + torch.tanh(_GELU * (x + 0.044715 * x * x * x)))

    def _norm(self, name: str, x: Tensor) -> Rows:
        """RMS norm of the last axis."""
        mean = settled(x * x).mean(-1, keepdim=True)
        return Rows(x * self.get_parameter(name), 1 / torch.sqrt(mean + self.spec.norm_epsilon))

    def _post_norm(self, name: str, x: Tensor) -> Tensor:
        return settled(self._norm(name, x).whole()) if self.spec.post_norms else x

    def _linear(self, name: str, x: Tensor | Rows) -> Tensor:
        return self.precision.for_matrix(matrix_of(name)).linear(x, self._parts(name))

    def _parts(self, name: str) -> dict[str, Tensor]:
        return dict(self.get_submodule(name).named_parameters(recurse=False))


def _product(a: Tensor, b: Tensor) -> Tensor:
    """a [heads, m, k] times b [heads, k, n], head by head.

    A lone head is given a twin: IREE turns a batch of one into a plain matmul, whose order of sums depends on m.
    """
    if a.shape[0] > 1:
        return a @ b
    return (torch.cat([a, a]) @ torch.cat([b, b]))[:1]


def _rotated(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """x [n, heads, head_size] turned by its position; the table's sine has the sign of the first half."""
    swapped = x.view(*x.shape[:-1], 2, x.shape[-1] // 2).flip(-2).view(x.shape)
    return settled(x * cosine) + settled(swapped * sine)


def _first_largest(logits: Tensor, indices: Tensor) -> Tensor:
    """ids [n] i32: the lowest of ``indices`` f32 [1, vocabulary] among the largest logits.

    Two plain reductions have no order to depend on; argmax has. The indices are a parameter because IREE cannot place
    the ones that it would count itself, for a single row on Mali.
    """
    largest = logits == logits.amax(-1, keepdim=True)
    return torch.where(largest, indices, float(logits.shape[-1])).amin(-1).int()


def _place(root: nn.Module, name: str, value: Tensor) -> None:
    """Register a parameter under a dotted name, making the modules on the way."""
    *path, leaf = name.split(".")
    for depth in range(1, len(path) + 1):
        parent = root.get_submodule(".".join(path[: depth - 1]))
        if path[depth - 1] not in parent._modules:
            parent.add_module(path[depth - 1], nn.Module())
    root.get_submodule(".".join(path)).register_parameter(leaf, nn.Parameter(value, requires_grad=False))
