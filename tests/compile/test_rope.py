"""Rotary embeddings, against transformers where it computes them too."""

from __future__ import annotations

import numpy as np
import pytest

from paceline.compile.rope import llama3_factors, llama3_from_factors
from paceline.costmodel import Rope
from paceline.errors import CheckpointError

LLAMA_31 = Rope(theta=500000.0, scaling="llama3", factor=8.0)
LLAMA_32 = Rope(theta=500000.0, scaling="llama3", factor=32.0)
OTHER = Rope(theta=10000.0, scaling="llama3", factor=4.0, low=1.0, high=3.0, original_context=4096)


@pytest.mark.parametrize(("rope", "head_size"), [(LLAMA_31, 128), (LLAMA_32, 64), (LLAMA_32, 128), (OTHER, 64)])
def test_divisors_are_those_of_transformers(rope: Rope, head_size: int) -> None:
    from transformers import LlamaConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    parameters = {
        "rope_type": "llama3",
        "rope_theta": rope.theta,
        "factor": rope.factor,
        "low_freq_factor": rope.low,
        "high_freq_factor": rope.high,
        "original_max_position_embeddings": rope.original_context,
    }
    config = LlamaConfig(head_dim=head_size, max_position_embeddings=131072, rope_parameters=parameters)
    frequencies, _ = ROPE_INIT_FUNCTIONS["llama3"](config)
    plain = rope.theta ** -(np.arange(0, head_size, 2) / head_size)
    np.testing.assert_allclose(plain / llama3_factors(rope, head_size), frequencies.numpy(), rtol=2e-6)


@pytest.mark.parametrize(("rope", "head_size"), [(LLAMA_31, 128), (LLAMA_32, 64), (OTHER, 64)])
def test_settings_come_back_from_the_divisors(rope: Rope, head_size: int) -> None:
    factors = llama3_factors(rope, head_size).astype(np.float32)
    assert llama3_from_factors(Rope(theta=rope.theta), factors, "x.gguf") == rope


def test_divisors_of_one_scale_nothing() -> None:
    rope = Rope(theta=10000.0)
    assert llama3_from_factors(rope, np.ones(8, dtype=np.float32), "x.gguf") == rope


@pytest.mark.parametrize(
    ("factors", "message"),
    [
        ([1.0, 3.0, 2.0, 8.0], "is not a scaling of Llama 3"),
        ([1.0, 1.0, float("nan"), 8.0], "below 1 or not finite"),
        ([0.5, 1.0, 1.0, 8.0], "below 1 or not finite"),
    ],
)
def test_other_divisors_are_refused(factors: list[float], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        llama3_from_factors(Rope(theta=10000.0), np.array(factors, dtype=np.float32), "x.gguf")
