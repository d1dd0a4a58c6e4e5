"""Gemma 3, text: sliding and full layers, norms before and after each block, a scaled embedding that is the head."""

from __future__ import annotations

import math

import msgspec

from paceline.compile import llama
from paceline.compile.family import Family
from paceline.compile.rope import rope_from_config, rope_from_table
from paceline.compile.settings import MOST_LAYERS, Settings
from paceline.costmodel import ModelSpec, Rope

_PATTERN = 6  # every sixth layer sees everything
_LOCAL_THETA = 10000.0
_LAYERS_OF_27B = 62


def spec_from_config(settings: Settings, name: str) -> ModelSpec:
    """ModelSpec of a config.json, its ``text_config`` where the model also sees images.

    Raises:
        CheckpointError: a setting that is missing, or that paceline cannot compute.
    """
    for key in ("attn_logit_softcapping", "final_logit_softcapping"):
        settings.refuse(key, ())
    settings.refuse("use_bidirectional_attention", (False,))
    settings.refuse("attention_bias", (False,))
    settings.refuse("hidden_activation", ("gelu_pytorch_tanh",))
    hidden, layers = settings.integer("hidden_size", 2304), settings.integer("num_hidden_layers", 26, most=MOST_LAYERS)
    rope, local_rope = _ropes(settings)
    return ModelSpec(
        name=name,
        family="gemma3",
        layers=layers,
        hidden=hidden,
        heads=settings.integer("num_attention_heads", 8),
        kv_heads=settings.integer("num_key_value_heads", 4),
        head_size=settings.integer("head_dim", 256),
        ffn=settings.integer("intermediate_size", 9216),
        vocabulary=settings.integer("vocab_size", 262208),
        context=settings.integer("max_position_embeddings", 131072),
        norm_epsilon=settings.number("rms_norm_eps", 1e-6),
        rope=rope,
        local_rope=local_rope,
        sliding_window=settings.integer("sliding_window", 4096),
        sliding_layers=_sliding_layers(settings, layers),
        tied=settings.flag("tie_word_embeddings", True),
        qk_norm=True,
        post_norms=True,
        activation="gelu_tanh",
        embedding_scale=math.sqrt(hidden),
        attention_scale=settings.number("query_pre_attn_scalar", 256) ** -0.5,
    )


def _ropes(settings: Settings) -> tuple[Rope, Rope]:
    table = settings.section("rope_parameters")
    if "full_attention" in table:
        full, local = table.section("full_attention"), table.section("sliding_attention")
        return rope_from_table(full, 1_000_000.0), rope_from_table(local, _LOCAL_THETA)
    local_rope = Rope(theta=settings.number("rope_local_base_freq", _LOCAL_THETA))
    return rope_from_config(settings, theta=1_000_000.0), local_rope


def _sliding_layers(settings: Settings, layers: int) -> tuple[int, ...]:
    kinds = settings.items("layer_types")
    if not kinds:
        return _by_pattern(settings.integer("sliding_window_pattern", _PATTERN), layers)
    if len(kinds) != layers or set(kinds) - {"sliding_attention", "full_attention"}:
        raise settings.unfit("layer_types", f"{layers} times sliding_attention or full_attention")
    return tuple(layer for layer, kind in enumerate(kinds) if kind == "sliding_attention")


def _by_pattern(pattern: int, layers: int) -> tuple[int, ...]:
    return tuple(layer for layer in range(layers) if (layer + 1) % pattern)


def spec_from_gguf(settings: Settings, name: str) -> ModelSpec:
    """ModelSpec of GGUF metadata; the caller adds what the tensors say.

    Raises:
        CheckpointError: a setting that is missing, or that paceline cannot compute.
    """
    for key in ("attn_logit_softcapping", "final_logit_softcapping"):
        settings.refuse(key, ())
    spec = llama.spec_from_gguf(settings, name)
    # A GGUF does not store the scale of the scores; only the 27B differs from 1 / sqrt(head_size).
    scale = (spec.hidden / spec.heads) ** -0.5 if spec.layers == _LAYERS_OF_27B else 0.0
    return msgspec.structs.replace(
        spec,
        family="gemma3",
        local_rope=Rope(theta=settings.number("rope.freq_base_swa", _LOCAL_THETA)),
        sliding_layers=_gguf_sliding_layers(settings, spec.layers) if spec.sliding_window else (),
        qk_norm=True,
        post_norms=True,
        activation="gelu_tanh",
        embedding_scale=math.sqrt(spec.hidden),
        attention_scale=scale,
    )


def _gguf_sliding_layers(settings: Settings, layers: int) -> tuple[int, ...]:
    key = "attention.sliding_window_pattern"
    if not isinstance(settings.values.get(settings.prefix + key), list):
        return _by_pattern(settings.integer(key, _PATTERN), layers)
    kinds = settings.items(key)
    if len(kinds) != layers:
        raise settings.unfit(key, f"{layers} entries")
    return tuple(layer for layer, sliding in enumerate(kinds) if sliding)


GEMMA3 = Family(
    name="gemma3",
    model_types=("gemma3_text", "gemma3"),
    architectures=("gemma3",),
    from_config=spec_from_config,
    from_gguf=spec_from_gguf,
    hf_layer={
        "attention_post_norm": "post_attention_layernorm",
        "ffn_norm": "pre_feedforward_layernorm",
        "ffn_post_norm": "post_feedforward_layernorm",
    },
    hf_norm_offset=1.0,
)
