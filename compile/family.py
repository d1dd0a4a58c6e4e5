"""What a model family is: how its checkpoints name things, and how their settings become a ModelSpec."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from paceline.compile.settings import Settings
from paceline.costmodel import ModelSpec
from paceline.errors import CheckpointError

_GLOBAL_HF = {
    "embedding.weight": "embed_tokens.weight",
    "norm.weight": "norm.weight",
}
_LAYER_HF = {
    "attention_norm": "input_layernorm",
    "q": "self_attn.q_proj",
    "k": "self_attn.k_proj",
    "v": "self_attn.v_proj",
    "o": "self_attn.o_proj",
    "q_norm": "self_attn.q_norm",
    "k_norm": "self_attn.k_norm",
    "ffn_norm": "post_attention_layernorm",
    "gate": "mlp.gate_proj",
    "up": "mlp.up_proj",
    "down": "mlp.down_proj",
}
_GLOBAL_GGUF = {
    "embedding.weight": "token_embd.weight",
    "norm.weight": "output_norm.weight",
    "head.weight": "output.weight",
}
_LAYER_GGUF = {
    "attention_norm": "attn_norm",
    "q": "attn_q",
    "k": "attn_k",
    "v": "attn_v",
    "o": "attn_output",
    "q_norm": "attn_q_norm",
    "k_norm": "attn_k_norm",
    "attention_post_norm": "post_attention_norm",
    "ffn_norm": "ffn_norm",
    "gate": "ffn_gate",
    "up": "ffn_up",
    "down": "ffn_down",
    "ffn_post_norm": "post_ffw_norm",
}


@dataclass(frozen=True, kw_only=True)
class Family:
    """One row of the table of families.

    Attributes:
        model_types: ``model_type`` of config.json.
        architectures: ``general.architecture`` of a GGUF.
        from_config: config.json (the text part of it) and a name to ModelSpec.
        from_gguf: GGUF metadata with the architecture as prefix, and a name, to ModelSpec; ``tied``, ``vocabulary``
            and ``llama3`` scaling are read from the tensors afterwards.
        hf_layer: differences of its Hugging Face layer names from Llama's.
        hf_norm_offset: added to norm weights of a Hugging Face checkpoint (Gemma stores w of 1 + w).
        gguf_rotates_pairs: q and k rows of a GGUF are permuted so that rope turns neighbouring pairs.
    """

    name: str
    model_types: tuple[str, ...]
    architectures: tuple[str, ...]
    from_config: Callable[[Settings, str], ModelSpec]
    from_gguf: Callable[[Settings, str], ModelSpec]
    hf_layer: Mapping[str, str]
    hf_norm_offset: float = 0.0
    gguf_rotates_pairs: bool = False

    def hf_name(self, canonical: str, *, body: str = "model.", head: str = "lm_head.weight") -> str:
        """The Hugging Face name; ``body`` precedes all but the head, which is called ``head``."""
        if canonical == "head.weight":
            return head
        if canonical in _GLOBAL_HF:
            return body + _GLOBAL_HF[canonical]
        layer, part, kind = _split(canonical)
        return f"{body}layers.{layer}.{ {**_LAYER_HF, **self.hf_layer}[part] }.{kind}"

    def gguf_name(self, canonical: str) -> str:
        """The GGUF name."""
        if canonical in _GLOBAL_GGUF:
            return _GLOBAL_GGUF[canonical]
        layer, part, kind = _split(canonical)
        return f"blk.{layer}.{_LAYER_GGUF[part]}.{kind}"


def _split(canonical: str) -> tuple[str, str, str]:
    _, layer, part, kind = canonical.split(".")
    return layer, part, kind


def expected_shapes(spec: ModelSpec) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Canonical name and shape of every tensor of ``spec``, in the order of computation; matrices are [out, in]."""
    yield "embedding.weight", (spec.vocabulary, spec.hidden)
    for layer in range(spec.layers):
        for name, shape in _layer_shapes(spec):
            yield f"layers.{layer}.{name}", shape
    yield "norm.weight", (spec.hidden,)
    if not spec.tied:
        yield "head.weight", (spec.vocabulary, spec.hidden)


def _layer_shapes(spec: ModelSpec) -> Iterator[tuple[str, tuple[int, ...]]]:
    queries, keys = spec.heads * spec.head_size, spec.kv_heads * spec.head_size
    yield "attention_norm.weight", (spec.hidden,)
    for name, rows in (("q", queries), ("k", keys), ("v", keys)):
        yield f"{name}.weight", (rows, spec.hidden)
        if spec.qkv_bias:
            yield f"{name}.bias", (rows,)
    if spec.qk_norm:
        yield from (("q_norm.weight", (spec.head_size,)), ("k_norm.weight", (spec.head_size,)))
    yield "o.weight", (spec.hidden, queries)
    if spec.post_norms:
        yield "attention_post_norm.weight", (spec.hidden,)
    yield "ffn_norm.weight", (spec.hidden,)
    yield from (("gate.weight", (spec.ffn, spec.hidden)), ("up.weight", (spec.ffn, spec.hidden)))
    yield "down.weight", (spec.hidden, spec.ffn)
    if spec.post_norms:
        yield "ffn_post_norm.weight", (spec.hidden,)


def check_spec(spec: ModelSpec, where: str) -> None:
    """Refuse sizes that no decoder can have.

    Raises:
        CheckpointError: names both sizes.
    """
    if spec.heads % spec.kv_heads:
        raise CheckpointError(f"{where}: {spec.heads} heads cannot share {spec.kv_heads} key-value heads evenly")
    if spec.head_size % 2:
        raise CheckpointError(f"{where}: a head size of {spec.head_size} cannot be rotated, expected an even number")
