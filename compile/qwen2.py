"""Qwen2 and Qwen2.5: Llama with biases on the q, k and v projections."""

from __future__ import annotations

import msgspec

from paceline.compile import llama
from paceline.compile.family import Family
from paceline.compile.settings import Settings
from paceline.costmodel import ModelSpec


def spec_from_config(settings: Settings, name: str) -> ModelSpec:
    """ModelSpec of a config.json.

    Raises:
        CheckpointError: a setting that is missing, or that paceline cannot compute.
    """
    spec = llama.spec_from_config(settings, name)
    sliding = sliding_layers(settings, spec.layers)
    window = spec.sliding_window if sliding else 0
    return msgspec.structs.replace(spec, family="qwen2", qkv_bias=True, sliding_window=window, sliding_layers=sliding)


def sliding_layers(settings: Settings, layers: int) -> tuple[int, ...]:
    """Layers that see a window only: none unless ``use_sliding_window``, then those from ``max_window_layers`` on."""
    if not settings.flag("use_sliding_window", False):
        return ()
    return tuple(range(settings.integer("max_window_layers", layers), layers))


def spec_from_gguf(settings: Settings, name: str) -> ModelSpec:
    """ModelSpec of GGUF metadata; the caller adds what the tensors say.

    Raises:
        CheckpointError: a setting that is missing, or that paceline cannot compute.
    """
    return msgspec.structs.replace(llama.spec_from_gguf(settings, name), family="qwen2", qkv_bias=True)


QWEN2 = Family(
    name="qwen2",
    model_types=("qwen2",),
    architectures=("qwen2",),
    from_config=spec_from_config,
    from_gguf=spec_from_gguf,
    hf_layer={},
)
