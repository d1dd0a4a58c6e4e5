"""Our decoder in torch against transformers, every family, before any compiler is involved."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from paceline.compile.precision import F32, Int8

FAMILIES = ("llama", "llama3", "mistral", "qwen2", "qwen3", "gemma3")
# f32 rounding of two implementations that add in other orders, as a share of the largest logit
F32_BOUND = 1e-5
TOKENS = np.random.default_rng(0).integers(0, 300, 40).astype(np.int32)


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_are_those_of_transformers(
    family: str, tiny_package: Callable[..., Path], torch_decoder: Any, reference_logits: Any
) -> None:
    wanted = reference_logits(family, TOKENS)
    ids, logits = torch_decoder(tiny_package(family), F32())(TOKENS)
    assert np.abs(logits - wanted).max() <= F32_BOUND * np.abs(wanted).max()
    assert (ids == wanted.argmax(1)).all()


def test_words_and_bytes_are_the_same_numbers(tiny_package: Callable[..., Path], torch_decoder: Any) -> None:
    package = tiny_package("gemma3")
    as_bytes = torch_decoder(package, Int8())(TOKENS)[1]
    as_words = torch_decoder(package, Int8(words=True))(TOKENS)[1]
    assert (as_bytes == as_words).all()


def test_an_equal_logit_at_a_higher_id_does_not_win() -> None:
    import torch

    from paceline.compile.decoder import _first_largest

    logits = torch.tensor([[0.0, 2.0, 2.0, 1.0], [3.0, -1.0, 3.0, 3.0]])
    indices = torch.arange(4.0)[None, :]
    assert _first_largest(logits, indices).tolist() == [1, 0]


def test_caches_are_written_where_the_call_stands_and_nowhere_else(tiny_package: Callable[..., Path]) -> None:
    import torch

    from paceline.compile.decoder import Decoder
    from paceline.compile.package import read_package

    spec = msgspec.structs.replace(read_package(tiny_package("llama")).spec, layers=1)
    model = Decoder(spec, F32(), 16)
    for parameter in model.parameters():
        parameter.data.fill_(0.01)
    caches = [torch.full((1, spec.kv_heads, 16, spec.head_size), 9.0) for _ in range(2)]
    model(torch.tensor([5, 6], dtype=torch.int32), torch.tensor([3, 0], dtype=torch.int32), *caches)
    for cache in caches:
        written = (cache != 9.0).flatten(3).any(-1).all(1)[0]
        assert written.nonzero().flatten().tolist() == [3, 4]
