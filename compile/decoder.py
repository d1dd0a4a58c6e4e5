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

from paceline.compile.parameters import declared, parameters
from paceline.compile.precision import Precision, settled
from paceline.costmodel import ModelSpec

DTYPES = {"f32": torch.float32, "f16": torch.float16, "i8": torch.int8, "i32": torch.int32}
_MASKED = -1e30  # finite: a row of infinities would make NaN
_GELU = math.sqrt(2 / math.pi)


@dataclass(frozen=True, slots=True)
class Span:
    """The tokens of one call: where they lie and what they may see.

    ``here`` [n] are their positions; ``source`` [context] says which of them belongs at a position of the cache,
    where ``fresh`` [1, context, 1] is true.
    """

    here: Tensor
    source: Tensor
    fresh: Tensor


class Decoder(nn.Module):
    """A forward pass over n tokens at ``position``.

    tokens [n] i32, position [] i32, caches f32 [layers, kv_heads, context, head_size], both written in place
    -> ids [n] i32 (the first largest logit of each row), logits [n, vocabulary] f32.
    """

    def __init__(self, spec: ModelSpec, precision: Precision, context: int) -> None:
        super().__init__()
        self.spec, self.precision, self.context = spec, precision, context
        for parameter in parameters(spec, context):
            for name, part in declared(parameter, precision).items():
                _place(self, name, torch.empty(part.shape, dtype=DTYPES[part.dtype]))

    def forward(self, tokens: Tensor, position: Tensor, k_cache: Tensor, v_cache: Tensor) -> tuple[Tensor, Tensor]:
        # i32 at the border, i64 inside: demoting i64 for Vulkan would read an i64 input as if it were i32
        span = self._span(tokens.shape[0], position.long())
        x = settled(self.precision.rows(tokens.long(), self._parts("embedding")) * self.spec.embedding_scale)
        new_k, new_v = [], []
        for i in range(self.spec.layers):
            attended, k, v = self._attention(
                i, self._norm(f"layers.{i}.attention_norm", x), span, k_cache[i], v_cache[i]
            )
            x = x + self._post_norm(f"layers.{i}.attention_post_norm", attended)
            fed = self._feed_forward(f"layers.{i}", self._norm(f"layers.{i}.ffn_norm", x))
            x = x + self._post_norm(f"layers.{i}.ffn_post_norm", fed)
            new_k.append(k)
            new_v.append(v)
        k_cache.index_copy_(2, span.here, torch.stack(new_k))  # one write at the end: writes per layer do not compile
        v_cache.index_copy_(2, span.here, torch.stack(new_v))
        logits = self._linear("embedding" if self.spec.tied else "head", self._norm("norm", x))
        return _first_largest(logits), logits

    def _span(self, n: int, position: Tensor) -> Span:
        everywhere = torch.arange(self.context)
        fresh = (everywhere >= position) & (everywhere < position + n)
        return Span(
            here=position + torch.arange(n),
            source=torch.clamp(everywhere - position, 0, n - 1),
            fresh=fresh[None, :, None],
        )

    def _mask(self, span: Span, sliding: bool) -> Tensor:
        """What is added to scores [n, context]: nothing where a token may look, -1e30 elsewhere."""
        everywhere = torch.arange(self.context)[None, :]
        here = span.here[:, None]
        seen = everywhere <= here
        if sliding:
            seen = seen & (everywhere > here - self.spec.sliding_window)
        return torch.where(seen, 0.0, _MASKED)

    def _attention(
        self, i: int, x: Tensor, span: Span, k_cache: Tensor, v_cache: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """x [n, hidden] -> attended [n, hidden], new keys and values [kv_heads, n, head_size]."""
        spec, n = self.spec, x.shape[0]
        sliding = i in spec.sliding_layers
        q, k, v = self._heads(i, x, span, sliding)
        k_all = torch.where(span.fresh, k[:, span.source], k_cache)
        v_all = torch.where(span.fresh, v[:, span.source], v_cache)
        group = spec.heads // spec.kv_heads
        q = q.reshape(spec.kv_heads, group * n, spec.head_size)
        scores = (q @ k_all.transpose(1, 2)).view(spec.kv_heads, group, n, self.context) + self._mask(span, sliding)
        weights = torch.exp(scores - scores.amax(-1, keepdim=True)).view(spec.heads * n, self.context)
        # a sum written as a matmul with ones: IREE miscompiles exp followed by a plain sum at some widths
        total = (weights @ self.get_parameter("ones").t())[:, :1].view(spec.kv_heads, group * n, 1)
        mixed = (weights.view(spec.kv_heads, group * n, self.context) @ v_all) / total
        rows = mixed.view(spec.heads, n, spec.head_size).permute(1, 0, 2).reshape(n, spec.heads * spec.head_size)
        return self._linear(f"layers.{i}.o", rows), k, v

    def _heads(self, i: int, x: Tensor, span: Span, sliding: bool) -> tuple[Tensor, Tensor, Tensor]:
        """x [n, hidden] -> q [heads, n, head_size] rotated and scaled; k, v [kv_heads, n, head_size], k rotated."""
        spec, n, at = self.spec, x.shape[0], f"layers.{i}"
        qkv = self._linear(f"{at}.qkv", x)
        if spec.qkv_bias:
            qkv = qkv + self.get_parameter(f"{at}.qkv_bias")
        counts = (spec.heads, spec.kv_heads, spec.kv_heads)
        parts = torch.split(qkv, [count * spec.head_size for count in counts], dim=-1)
        q, k, v = (part.view(n, count, spec.head_size) for part, count in zip(parts, counts, strict=True))
        if spec.qk_norm:
            q, k = self._norm(f"{at}.q_norm", q), self._norm(f"{at}.k_norm", k)
        table = "local_rope" if sliding and spec.local_rope is not None else "rope"
        scale = spec.attention_scale or 1 / math.sqrt(spec.head_size)
        q = self._rotate(table, q.permute(1, 0, 2), span) * scale
        return q, self._rotate(table, k.permute(1, 0, 2), span), v.permute(1, 0, 2)

    def _rotate(self, table: str, x: Tensor, span: Span) -> Tensor:
        cosine = self.get_parameter(f"{table}_cosine")[span.here]
        sine = self.get_parameter(f"{table}_sine")[span.here]
        half = self.spec.head_size // 2
        return settled(x * cosine) + settled(torch.cat([x[..., half:], x[..., :half]], -1) * sine)

    def _feed_forward(self, at: str, x: Tensor) -> Tensor:
        gate, up = torch.split(self._linear(f"{at}.gate_up", x), [self.spec.ffn, self.spec.ffn], dim=-1)
        return self._linear(f"{at}.down", self._activate(gate) * up)

    def _activate(self, x: Tensor) -> Tensor:
        if self.spec.activation == "silu":
            return x / (1 + torch.exp(-x))
        return 0.5 * x * (1 + torch.tanh(_GELU * (x + 0.044715 * x * x * x)))

    def _norm(self, name: str, x: Tensor) -> Tensor:
        """RMS norm of the last axis."""
        mean = settled(x * x).mean(-1, keepdim=True)
        return x * (1 / torch.sqrt(mean + self.spec.norm_epsilon)) * self.get_parameter(name)

    def _post_norm(self, name: str, x: Tensor) -> Tensor:
        return settled(self._norm(name, x)) if self.spec.post_norms else x

    def _linear(self, name: str, x: Tensor) -> Tensor:
        return self.precision.linear(x, self._parts(name))

    def _parts(self, name: str) -> dict[str, Tensor]:
        return dict(self.get_submodule(name).named_parameters(recurse=False))


def _first_largest(logits: Tensor) -> Tensor:
    """ids [n] i32: the lowest index among the largest. Two plain reductions have no order to depend on; argmax has."""
    vocabulary = logits.shape[-1]
    largest = logits == logits.amax(-1, keepdim=True)
    return torch.where(largest, torch.arange(vocabulary, dtype=torch.int32), vocabulary).amin(-1)


def _place(root: nn.Module, name: str, value: Tensor) -> None:
    """Register a parameter under a dotted name, making the modules on the way."""
    *path, leaf = name.split(".")
    for depth in range(1, len(path) + 1):
        parent = root.get_submodule(".".join(path[: depth - 1]))
        if path[depth - 1] not in parent._modules:
            parent.add_module(path[depth - 1], nn.Module())
    root.get_submodule(".".join(path)).register_parameter(leaf, nn.Parameter(value, requires_grad=False))
