"""Packed matrices, read back by the layout that the module's docstring gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from paceline.compile.int4 import Blocks, dequantise, quantise
from paceline.compile.packing import PACKED, SIGNS, PackedInt4
from paceline.compile.precision import F16, PRECISIONS, Int8
from paceline.costmodel.caches import LANES
from tests.compile.packed import read_int4

# rows beyond a block of 16; columns beyond a group of 32, and beyond a super-block of 256
shapes = st.tuples(st.integers(1, 40), st.integers(1, 600), st.integers(0, 1000))


def matrix(shape: tuple[int, int, int]) -> NDArray[np.float32]:
    rows, columns, seed = shape
    return np.random.default_rng(seed).standard_normal((rows, columns), np.float32)


def whole(block: NDArray[np.float32], columns: int) -> NDArray[np.float32]:
    """With zeros to whole blocks of rows, and to ``columns``."""
    rows = -(-block.shape[0] // LANES) * LANES
    return np.pad(block, ((0, rows - block.shape[0]), (0, columns - block.shape[1])))


def packed(name: str, block: NDArray[np.float32]) -> NDArray[np.uint8]:
    """[blocks, bytes], of the declared shape."""
    (found,) = PACKED[name].store(block).values()
    assert found.shape == PACKED[name].parts(*block.shape)["packed"].shape
    return found


def read_floats(raw: NDArray[np.uint8], kind: str) -> NDArray[Any]:
    """[rows, columns] of blocks [columns][16]."""
    return np.concatenate([block.view(kind).reshape(-1, LANES).T for block in raw])


def read_int8(raw: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Weights [rows, columns] and scales [rows]."""
    scales = raw[:, :64].copy().view(np.float32).reshape(-1)
    weights = np.empty((scales.size, (raw.shape[1] - 64) // LANES), np.int64)
    for row, column in np.ndindex(weights.shape):
        word, byte = divmod(column, 4)
        weights[row, column] = int(raw[row // LANES, 64 + word * 64 + row % LANES * 4 + byte]) - 128
    return weights, scales


def assert_same(found: Blocks, wanted: Blocks) -> None:
    rows = wanted.nibbles.shape[0]
    for name in ("nibbles", "scales", "lows", "d", "dmin"):
        assert (getattr(found, name)[:rows] == getattr(wanted, name)).all(), name


@given(shapes)
def test_signs(shape: tuple[int, int, int]) -> None:
    block = matrix(shape)
    (raw,) = SIGNS.store(block).values()
    assert raw.shape == SIGNS.parts(*shape[:2])["packed"].shape
    wanted = whole(block, -(-shape[1] // 32) * 32)
    assert raw[:, :64].copy().view(np.float32).reshape(-1) == pytest.approx(np.abs(wanted).mean(1), rel=1e-5)
    for row, column in np.ndindex(wanted.shape):
        group, bit, byte = column // 32, column % 32 // 4, column % 4
        found = raw[row // LANES, 64 + group * 64 + row % LANES * 4 + byte] >> bit & 1
        assert found == (wanted[row, column] >= 0)


@given(shapes)
def test_f32(shape: tuple[int, int, int]) -> None:
    block = matrix(shape)
    assert (read_floats(packed("f32", block), "<f4") == whole(block, shape[1])).all()


@given(shapes)
def test_f16(shape: tuple[int, int, int]) -> None:
    block = matrix(shape) * 1e4  # some are beyond a half
    assert (read_floats(packed("f16", block), "<f2") == whole(F16().store(block)["weight"], shape[1])).all()


@given(shapes)
def test_int8(shape: tuple[int, int, int]) -> None:
    block = matrix(shape)
    block[0] = 0
    wanted = Int8().store(block)
    weights, scales = read_int8(packed("int8", block))
    assert (weights == whole(wanted["weight"], weights.shape[1])).all()
    assert weights.shape[1] == -(-shape[1] // 32) * 32
    assert (scales[: shape[0]] == wanted["scale"]).all()


@given(shapes)
def test_int4(shape: tuple[int, int, int]) -> None:
    block, groups = matrix(shape), -(-shape[1] // 32)
    assert_same(read_int4(packed("int4", block), groups), quantise(whole(block, groups * 32)))


@given(shapes)
def test_int4_as_it_is(shape: tuple[int, int, int]) -> None:
    """What a checkpoint has in int4 is laid out, and nothing else."""
    random, groups = np.random.default_rng(shape[2]), -(-shape[1] // 32)
    halves = random.standard_normal((2, shape[0], -(-groups // 8))).astype(np.float16)
    factors = random.integers(0, 64, (2, shape[0], groups), np.uint8)
    wanted = Blocks(random.integers(0, 16, (shape[0], groups * 32), np.uint8), *factors, *halves)
    stored = PACKED["int4"]
    assert isinstance(stored, PackedInt4)
    found = read_int4(stored.store_blocks(wanted)["packed"], groups)
    assert_same(found, wanted)
    assert (dequantise(found)[: shape[0]] == dequantise(wanted)).all()


@pytest.mark.parametrize("name", PACKED)
def test_blocks_of_rows_can_be_stored_one_after_the_other(name: str) -> None:
    block = matrix((48, 100, 0))
    assert (packed(name, block) == np.concatenate([packed(name, block[:32]), packed(name, block[32:])])).all()


def test_int4_keeps_attention_and_the_embedding_at_int8() -> None:
    assert all(PACKED["int4"].for_matrix(matrix) is PACKED["int8"] for matrix in ("embedding", "qkv", "o"))
    assert all(PACKED["int4"].for_matrix(matrix) is PACKED["int4"] for matrix in ("head", "gate_up", "down"))
    assert all(PACKED[name].for_matrix("qkv") is PACKED[name] for name in ("f32", "f16", "int8"))


def test_what_a_checkpoint_has_in_four_bits_is_kept_so_by_kernels_at_int4_and_nowhere_else() -> None:
    assert PACKED["int4"].for_matrix("qkv", exact=True) is PACKED["int4"]
    assert PACKED["int8"].for_matrix("qkv", exact=True) is PACKED["int8"]
    assert PRECISIONS["int4"].for_matrix("qkv", exact=True).name == "int8"
