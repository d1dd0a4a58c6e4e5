"""Bytes of weights and caches by hand."""

from __future__ import annotations

import msgspec
import pytest

from paceline.costmodel import (
    ModelSpec,
    cache_bytes,
    footprint,
    matrix_bytes,
    parameters,
    screened_head,
    unread_parameters,
    weights_bytes,
)
from paceline.costmodel.memory import ffn_matrices, layer_matrices
from paceline.targets import Dtype
from tests.specs import tiny_spec

SPEC = tiny_spec(family="qwen2", tied=True, qkv_bias=True)
MATRICES = 32 * 8 + 2 * (8 * 8 + 4 * 8 + 4 * 8 + 8 * 8 + 3 * 16 * 8)
VECTORS = 2 * (2 * 8 + 8 + 4 + 4) + 8
ROWS = 32 + 2 * (8 + 4 + 4 + 8 + 16 + 16 + 8)


@pytest.mark.parametrize(
    ("precision", "expected"),
    [
        ("f32", 15 * 40 * 4),
        ("f16", 15 * 40 * 2),
        ("int8", 15 * 40 + 15 * 4),
        ("int4", 15 * (64 // 2 + 64 // 16 + 4)),
    ],
)
def test_matrix_bytes_count_scales(precision: Dtype, expected: int) -> None:
    assert matrix_bytes(15, 40, precision) == expected


def test_weights_by_hand() -> None:
    assert parameters(SPEC) == MATRICES + VECTORS
    assert weights_bytes(SPEC, "f32") == 4 * (MATRICES + VECTORS)
    assert weights_bytes(SPEC, "int8") == MATRICES + 4 * ROWS + 4 * VECTORS


def test_int4_keeps_attention_and_a_tied_head_in_bytes() -> None:
    fed = sum(rows for rows, _ in ffn_matrices(SPEC)) * SPEC.layers
    attended = SPEC.layers * sum(rows * (columns + 4) for rows, columns in layer_matrices(SPEC))
    # 8 and 16 columns are one group, padded
    assert weights_bytes(SPEC, "int4") == 32 * (8 + 4) + attended + fed * (32 // 2 + 64 // 16 + 4) + 4 * VECTORS


def test_what_a_checkpoint_has_in_four_bits_is_not_kept_in_eight() -> None:
    exact = msgspec.structs.replace(SPEC, exact_int4=("layers.0.qkv", "layers.1.qkv", "layers.1.o"))
    rows = 2 * (8 + 4 + 4) + 8
    assert weights_bytes(SPEC, "int4") - weights_bytes(exact, "int4") == rows * ((8 + 4) - (32 // 2 + 64 // 16 + 4))
    assert weights_bytes(exact, "int8") == weights_bytes(SPEC, "int8")
    twice = msgspec.structs.replace(exact, exact_int4=(*exact.exact_int4, "layers.1.o", "layers.2.o"))
    assert weights_bytes(twice, "int4") == weights_bytes(exact, "int4")


@pytest.mark.parametrize("name", ["layers.0.down", "o", "layers.x.o", "layers.0.qkv.weight"])
def test_a_manifest_that_names_another_matrix_is_refused(name: str) -> None:
    document = msgspec.to_builtins(SPEC) | {"exact_int4": [name]}
    with pytest.raises(msgspec.ValidationError, match="exact_int4"):
        msgspec.convert(document, ModelSpec)


def test_signs_of_a_screened_head_count() -> None:
    screened = msgspec.structs.replace(SPEC, draft_vocabulary=10)
    assert weights_bytes(screened, "int8") - weights_bytes(SPEC, "int8") == 32 * (32 // 8 + 4)  # 8 columns are padded


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_what_a_screened_head_does_not_read(precision: Dtype) -> None:
    """Bytes of the head that are left, as parameters: of 64 columns an eighth is signs, and a sixteenth is computed."""
    spec = msgspec.structs.replace(SPEC, hidden=64, vocabulary=4096, draft_vocabulary=256)  # tied: int8 in both
    whole, read = 4096 * (64 + 4), 4096 * (64 // 8 + 4) + 256 * (64 + 4)
    assert unread_parameters(spec, precision) == pytest.approx(4096 * 64 * (1 - read / whole))
    assert unread_parameters(SPEC, precision) == 0


def test_long_heads_of_drafters_in_bytes_are_screened_unless_something_else_is_said() -> None:
    long, short = (msgspec.structs.replace(SPEC, vocabulary=size) for size in (151936, 65535))
    asked = [(long, "int8"), (long, "int4"), (long, "f32"), (long, "f16"), (short, "int8")]
    found = [screened_head(spec, None, precision).draft_vocabulary for spec, precision in asked]
    assert found == [9496, 9496, 0, 0, 0]
    assert screened_head(long, 0, "int8").draft_vocabulary == 0 == screened_head(long, 151936, "int8").draft_vocabulary


def test_an_untied_head_counts() -> None:
    untied = msgspec.structs.replace(SPEC, tied=False)
    assert parameters(untied) - parameters(SPEC) == 32 * 8


def test_footprint_adds_up() -> None:
    size = footprint(SPEC, weights=1000, packed=300, context=50, width=4, program=77)
    assert size.caches == cache_bytes(SPEC, 50, "f32") == 2 * 2 * 2 * 64 * 2 * 4
    assert size.logits == 4 * 32 * 4
    assert size.total == 1000 + 300 + size.caches + size.logits + 77
    in_bytes = footprint(SPEC, weights=1000, context=50, width=4, kept="int8")
    assert in_bytes.caches == cache_bytes(SPEC, 50, "int8") != size.caches
