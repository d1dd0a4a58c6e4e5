"""Qwen3: Llama with a head size of its own and an RMS norm on each head of q and k."""

from __future__ import annotations

import msgspec

from paceline.compile import llama, qwen2
from paceline.compile.family import Family
from paceline.compile.settings import Settings
from paceline.costmodel import ModelSpec


def spec_from_config(settings: Settings, name: str) -> ModelSpec:
    """ModelSpec of a config.json.

    Raises:
        CheckpointError: a setting that is missing, or that paceline cannot compute.
    """
    return msgspec.structs.replace(qwen2.spec_from_config(settings, name), family="qwen3", qkv_bias=False, qk_norm=True)


def spec_from_gguf(settings: Settings, name: str) -> ModelSpec:
    """ModelSpec of GGUF metadata; the caller adds what the tensors say.

    Raises:
        CheckpointError: a setting that is missing, or that paceline cannot compute.
    """
    return msgspec.structs.replace(llama.spec_from_gguf(settings, name), family="qwen3", qk_norm=True)


QWEN3 = Family(
    name="qwen3",
    model_types=("qwen3",),
    architectures=("qwen3",),
    from_config=spec_from_config,
    from_gguf=spec_from_gguf,
    hf_layer={},
)
