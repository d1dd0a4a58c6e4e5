"""Caches in f32 and in bytes, counted by hand."""

from __future__ import annotations

import math
from typing import get_args

import msgspec
import pytest

from paceline.costmodel import CacheKind, cache_bytes, cache_kind, cache_rows, cache_shapes, find_model
from paceline.costmodel.caches import position_bytes
from paceline.targets import Dtype
from tests.specs import tiny_spec

KINDS: tuple[CacheKind, ...] = get_args(CacheKind)


@pytest.mark.parametrize(("context", "rows"), [(1, 16), (15, 16), (16, 16), (17, 32), (500, 512), (512, 512)])
def test_caches_are_whole_blocks(context: int, rows: int) -> None:
    assert cache_rows(context) == rows


@pytest.mark.parametrize("precision", get_args(Dtype))
def test_kernels_of_integer_precisions_keep_bytes(precision: Dtype) -> None:
    assert cache_kind(precision) == ("int8" if precision.startswith("int") else "f32")
    assert cache_kind(precision, traced=True) == "f32"


def test_shapes_by_hand() -> None:
    spec = msgspec.structs.replace(tiny_spec(), layers=3, kv_heads=2, head_size=40)
    assert cache_shapes(spec, 50, "f32") == ((3, 2, 64, 40),) * 2
    # sixteen keys of two groups: a scale and 32 elements each; 32 values of three blocks of 16, and their scales
    assert cache_shapes(spec, 50, "int8") == ((3, 2, 4, 16 * 2 * (4 + 64)), (3, 2, 2, 32 * (4 + 48)))
    assert cache_bytes(spec, 50, "f32") == 2 * 3 * 2 * 64 * 40 * 4
    assert cache_bytes(spec, 50, "int8") == 3 * 2 * (64 * 136 + 64 * 52)


@pytest.mark.parametrize("kept", KINDS)
def test_a_position_is_a_share_of_a_cache(kept: CacheKind) -> None:
    spec = find_model("qwen2.5-1.5b")
    positions = spec.layers * spec.kv_heads * 4096
    assert cache_bytes(spec, 4096, kept) == positions * position_bytes(spec.head_size, kept)


def test_bytes_take_two_fifths() -> None:
    spec = find_model("qwen2.5-1.5b")
    share = cache_bytes(spec, 1024, "int8") / cache_bytes(spec, 1024, "f32")
    assert math.isclose(share, (2 * 128 + 16 + 128 + 4) / (2 * 4 * 128))
