"""The shape of a decoder: enough to compute work and memory without weights."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from paceline.errors import UsageError

SCHEMA = 1
# Ids of a head that is worth screening, and one in how many is computed. Of 49152 ids, SmolLM2's, a sixteenth misses
# what the drafter would have said so often that drafts lose more than the pass gains.
_LONG_HEAD, _SCREENED_SHARE = 1 << 16, 16
Positive = Annotated[int, msgspec.Meta(gt=0)]
PositiveFloat = Annotated[float, msgspec.Meta(gt=0)]


class Rope(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Rotary embedding: base, and how it was stretched beyond its first training context.

    ``low``, ``high`` and ``original_context`` belong to the ``llama3`` scaling of Llama 3.1 and 3.2.
    """

    theta: PositiveFloat
    scaling: Literal["none", "linear", "llama3"] = "none"
    factor: PositiveFloat = 1.0
    low: float = 1.0
    high: float = 4.0
    original_context: Positive = 8192


class Experts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Mixture of experts: how many, how many work on one token, and the width of each."""

    count: Positive
    active: Positive
    ffn: Positive


class ModelSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A decoder-only transformer.

    Attributes:
        family: a row of ``paceline.compile.families``.
        ffn: width of the gated feed-forward block.
        context: tokens that the model was trained to see.
        rope: rotary embedding of layers that see everything.
        local_rope: that of the layers in ``sliding_layers``; None means the same.
        sliding_window: tokens that a sliding layer sees, its own included; 0 where there are no such layers.
        draft_vocabulary: how many logits of a token a drafter's kernels compute, those that the signs of its head
            promise, rounded up to whole blocks; 0 means all, as traced programs do.
        exact_int4: attention's matrices (``layers.3.qkv``, ``layers.3.o``) that the checkpoint has in blocks of int4:
            kernels take them as they are at int4, where they keep others of their kind at int8.
        tied: the head is the embedding.
        qkv_bias: biases on the q, k and v projections.
        qk_norm: RMS norm on each head of q and k.
        post_norms: further norms after attention and after the feed-forward block (Gemma 3).
        activation: of the gate.
        embedding_scale: factor on embedded tokens (Gemma: sqrt(hidden)).
        attention_scale: factor on scores; 0 means 1/sqrt(head_size).
    """

    schema: int = SCHEMA
    name: str
    family: str
    layers: Positive
    hidden: Positive
    heads: Positive
    kv_heads: Positive
    head_size: Positive
    ffn: Positive
    vocabulary: Positive
    context: Positive
    norm_epsilon: PositiveFloat
    rope: Rope
    local_rope: Rope | None = None
    sliding_window: int = 0
    sliding_layers: tuple[int, ...] = ()
    draft_vocabulary: Annotated[int, msgspec.Meta(ge=0)] = 0
    exact_int4: tuple[Annotated[str, msgspec.Meta(pattern=r"^layers\.\d+\.(qkv|o)$")], ...] = ()
    tied: bool = False
    qkv_bias: bool = False
    qk_norm: bool = False
    post_norms: bool = False
    activation: Literal["silu", "gelu_tanh"] = "silu"
    embedding_scale: float = 1.0
    attention_scale: float = 0.0
    experts: Experts | None = None


def screened_head(spec: ModelSpec, choices: int | None, precision: str) -> ModelSpec:
    """A drafter that chooses among ``choices`` ids for each token, among all where that is 0, at ``precision``.

    Which ids, the signs of the head say: an eighth of the bytes of int8, and most of what makes a logit large. With
    None a head of 65536 ids or more computes a sixteenth, where bytes allow it: the largest logit is in that for 97 to
    100 of 100 tokens of Qwen's, and for far fewer of SmolLM2's shorter one (benchmarks/README.md). What cannot be
    drafted the target says itself.

    Raises:
        UsageError: the model has fewer ids, or its head is not in bytes.
    """
    screens = precision in ("int8", "int4")
    if choices is None:
        choices = spec.vocabulary // _SCREENED_SHARE if screens and spec.vocabulary >= _LONG_HEAD else 0
    if not 0 <= choices <= spec.vocabulary:
        raise UsageError(f"draft vocabulary {choices} is not within the {spec.vocabulary} ids of {spec.name}")
    if choices and not screens:
        raise UsageError(f"draft vocabulary {choices} needs a drafter in int8 or int4, not {precision}")
    return msgspec.structs.replace(spec, draft_vocabulary=choices if choices < spec.vocabulary else 0)


def whole_head(spec: ModelSpec) -> ModelSpec:
    """The same model, computing all logits."""
    return msgspec.structs.replace(spec, draft_vocabulary=0)


def as_rounded(spec: ModelSpec) -> ModelSpec:
    """The same model to what rounds all of its matrices: traced programs, and precisions other than int4."""
    return msgspec.structs.replace(spec, exact_int4=())


def check_draft_vocabulary(choices: int | None, *, drafts: bool) -> None:
    """Refuse a draft vocabulary where nothing drafts.

    Raises:
        UsageError: there is no drafter.
    """
    if choices and not drafts:
        raise UsageError(f"draft vocabulary {choices} means nothing without a drafter; give --drafter")
