"""A model of a few hundred weights, for tests that need any shape, or one of their own that is like it."""

from __future__ import annotations

from typing import Any

import msgspec

from paceline.costmodel import ModelSpec, Rope

_TINY = ModelSpec(
    name="tiny", family="llama", layers=2, hidden=8, heads=4, kv_heads=2, head_size=2, ffn=16, vocabulary=32,
    context=64, norm_epsilon=1e-5, rope=Rope(theta=1e4),
)  # fmt: skip


def tiny_spec(**changes: Any) -> ModelSpec:
    """It, but for ``changes``."""
    return msgspec.structs.replace(_TINY, **changes)
