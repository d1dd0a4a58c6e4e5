"""Llama 2, 3, 3.1 and 3.2, and what is built alike: SmolLM2, TinyLlama, Mistral."""

from __future__ import annotations

from paceline.compile.family import Family
from paceline.compile.rope import rope_from_config, rope_from_gguf
from paceline.compile.settings import MOST_LAYERS, Settings
from paceline.costmodel import ModelSpec


def spec_from_config(settings: Settings, name: str) -> ModelSpec:
    """ModelSpec of a config.json.

    Raises:
        CheckpointError: a setting that is missing, or that paceline cannot compute.
    """
    for key in ("attention_bias", "mlp_bias"):
        settings.refuse(key, (False,))
    settings.refuse("hidden_act", ("silu",))
    layers, hidden = settings.integer("num_hidden_layers", most=MOST_LAYERS), settings.integer("hidden_size")
    heads = settings.integer("num_attention_heads")
    window = settings.integer("sliding_window") if "sliding_window" in settings else 0
    return ModelSpec(
        name=name,
        family="llama",
        layers=layers,
        hidden=hidden,
        heads=heads,
        kv_heads=settings.integer("num_key_value_heads", heads),
        head_size=settings.integer("head_dim", max(1, hidden // heads)),
        ffn=settings.integer("intermediate_size"),
        vocabulary=settings.integer("vocab_size"),
        context=settings.integer("max_position_embeddings", 2048),
        norm_epsilon=settings.number("rms_norm_eps", 1e-6),
        rope=rope_from_config(settings),
        sliding_window=window,
        sliding_layers=tuple(range(layers)) if window else (),
        tied=settings.flag("tie_word_embeddings", False),
    )


def spec_from_gguf(settings: Settings, name: str) -> ModelSpec:
    """ModelSpec of GGUF metadata; the caller adds what the tensors say.

    Raises:
        CheckpointError: a setting that is missing, or that paceline cannot compute.
    """
    settings.refuse("expert_count", (0,))
    heads, hidden = settings.integer("attention.head_count"), settings.integer("embedding_length")
    head_size = settings.integer("attention.key_length", max(1, hidden // heads))
    settings.refuse("attention.value_length", (head_size,))
    settings.refuse("rope.dimension_count", (head_size,))
    window = settings.integer("attention.sliding_window") if settings.has_positive("attention.sliding_window") else 0
    layers = settings.integer("block_count", most=MOST_LAYERS)
    return ModelSpec(
        name=name,
        family="llama",
        layers=layers,
        hidden=hidden,
        heads=heads,
        kv_heads=settings.integer("attention.head_count_kv", heads),
        head_size=head_size,
        ffn=settings.integer("feed_forward_length"),
        vocabulary=settings.integer("vocab_size", 1),
        context=settings.integer("context_length"),
        norm_epsilon=settings.number("attention.layer_norm_rms_epsilon"),
        rope=rope_from_gguf(settings),
        sliding_window=window,
        sliding_layers=tuple(range(layers)) if window else (),
    )


LLAMA = Family(
    name="llama",
    model_types=("llama", "mistral"),
    architectures=("llama",),
    from_config=spec_from_config,
    from_gguf=spec_from_gguf,
    hf_layer={},
    gguf_rotates_pairs=True,
)
