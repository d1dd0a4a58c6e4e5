"""int4: what rounding loses, and that what GGUF already rounded loses nothing."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from paceline.compile.int4 import GROUP, SUPER_BLOCK, Blocks, dequantise, from_q4_k, padded, quantise
from paceline.compile.packing import PACKED
from paceline.costmodel import matrix_bytes
from paceline.costmodel.caches import LANES

RANDOM = np.random.default_rng(0)
SHAPES = [(1, 1), (3, 32), (2, 100), (5, 256), (2, 300), (300, 520)]

matrices = st.builds(
    lambda rows, columns, seed, size, shift: (
        size * (np.random.default_rng(seed).standard_normal((rows, columns)) + shift)
    ).astype(np.float32),
    rows=st.integers(1, 4),
    columns=st.integers(1, 600),
    seed=st.integers(0, 2**32),
    size=st.sampled_from([1e-5, 1e-2, 1.0, 1e4]),
    shift=st.sampled_from([-30.0, -1.0, 0.0, 1.0, 30.0]),
)


def groups_of(matrix: NDArray[np.float32]) -> NDArray[np.float64]:
    """[rows, groups, 32], padded with zeros."""
    rows, columns = matrix.shape
    return np.pad(matrix, ((0, 0), (0, -columns % GROUP))).reshape(rows, -1, GROUP).astype(np.float64)


def of_super_blocks(values: NDArray[np.float16], groups: int) -> NDArray[np.float64]:
    return np.repeat(values, SUPER_BLOCK // GROUP, axis=1)[:, :groups].astype(np.float64)


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_and_dtypes(shape: tuple[int, int]) -> None:
    blocks = quantise(RANDOM.standard_normal(shape).astype(np.float32))
    rows, columns = shape
    groups = -(-columns // GROUP)
    assert {name: (getattr(blocks, name).dtype, getattr(blocks, name).shape) for name in Blocks.__slots__} == {
        "nibbles": (np.uint8, (rows, padded(columns))),
        "scales": (np.uint8, (rows, groups)),
        "lows": (np.uint8, (rows, groups)),
        "d": (np.float16, (rows, -(-columns // SUPER_BLOCK))),
        "dmin": (np.float16, (rows, -(-columns // SUPER_BLOCK))),
    }
    assert blocks.nibbles.max() <= 15 and max(blocks.scales.max(), blocks.lows.max()) <= 63


@pytest.mark.parametrize("shape", SHAPES)
def test_the_cost_model_counts_these_bytes(shape: tuple[int, int]) -> None:
    blocks = quantise(np.ones(shape, np.float32))
    _, columns = blocks.nibbles.shape
    assert matrix_bytes(*shape, "int4") == PACKED["int4"].block_bytes(columns) * shape[0] // LANES


@given(matrices)
def test_the_error_is_at_most_that_of_an_even_grid(matrix: NDArray[np.float32]) -> None:
    blocks, x = quantise(matrix), groups_of(matrix)
    weight = np.abs(x) + np.sqrt((x * x).mean(-1, keepdims=True))
    error = groups_of(dequantise(blocks)) - x
    found = np.sqrt((weight * error**2).sum(-1) / np.maximum(weight.sum(-1), 1e-30))
    half_a_step = (x.max(-1) - np.minimum(x.min(-1), 0)) / 15 / 2
    # what rounding a scale and a low to a byte adds at most
    bytes_add = 15 / 2 * of_super_blocks(blocks.d, x.shape[1]) + of_super_blocks(blocks.dmin, x.shape[1]) / 2
    rounding = 1e-3 * np.abs(x).max(-1)  # f32 sums of the search, where a group's values are far from zero
    assert (found <= half_a_step + bytes_add + rounding).all()


def test_normal_weights_lose_seven_percent() -> None:
    matrix = RANDOM.standard_normal((64, 1024)).astype(np.float32)
    error = dequantise(quantise(matrix)) - matrix
    even = np.ptp(groups_of(matrix), axis=-1).mean() / 15 / np.sqrt(12)  # of the grid from smallest to largest
    assert error.std() < 0.073
    assert error.std() < 0.95 * even


@pytest.mark.parametrize("value", [0.0, 1.0, -1.0, 3e-4, -3e-4, 65504.0, -65504.0])
def test_a_constant_is_kept(value: float) -> None:
    matrix = np.full((2, 64), value, np.float32)
    assert dequantise(quantise(matrix)) == pytest.approx(matrix, rel=2e-2)


def test_weights_too_large_for_a_half_are_finite() -> None:
    assert np.isfinite(dequantise(quantise(np.array([[1e12, -1e12] * 16], np.float32)))).all()


def test_rows_are_rounded_apart() -> None:
    matrix = RANDOM.standard_normal((400, 96)).astype(np.float32)
    whole, one = quantise(matrix), quantise(matrix[123:124])
    assert (dequantise(whole.rows(slice(123, 124))) == dequantise(one)).all()


@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 2**32))
def test_q4_k_is_the_same_bits_as_gguf(
    q4_k: Callable[..., NDArray[np.uint8]], rows: int, super_blocks: int, seed: int
) -> None:
    import gguf

    columns = super_blocks * SUPER_BLOCK
    raw = q4_k(rows, columns, seed)
    blocks = from_q4_k(raw, columns)
    expected = gguf.quants.dequantize(raw, gguf.GGMLQuantizationType.Q4_K)
    assert (dequantise(blocks).view(np.int32) == expected.view(np.int32)).all()
    assert max(blocks.scales.max(), blocks.lows.max()) < 64
