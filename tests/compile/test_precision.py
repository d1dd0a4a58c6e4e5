"""How matrices are stored, and that what is stored multiplies as promised."""

from __future__ import annotations

import numpy as np
import pytest

from paceline.compile.int4 import dequantise, quantise
from paceline.compile.precision import (
    F16,
    FORMS,
    PRECISIONS,
    Int4,
    Int8,
    Precision,
    precision_named,
    precision_on,
)
from paceline.costmodel.memory import stored_as
from paceline.errors import UsageError
from paceline.targets import Dtype, Soc, load_soc

RANDOM = np.random.default_rng(0)
MATRIX = RANDOM.standard_normal((6, 8)).astype(np.float32)


@pytest.fixture(scope="module")
def soc() -> Soc:
    return load_soc("x86-swiftshader")


def test_int8_is_off_by_at_most_half_a_step() -> None:
    parts = Int8().store(MATRIX)
    assert parts["weight"].dtype == np.int8
    error = np.abs(parts["weight"] * parts["scale"][:, None] - MATRIX)
    assert (error <= parts["scale"][:, None] * 0.5001).all()
    assert (np.abs(parts["weight"]).max(axis=1) == 127).all()


def test_int8_keeps_a_row_of_zeros() -> None:
    parts = Int8().store(np.zeros((2, 4), np.float32))
    assert not parts["weight"].any()
    assert np.isfinite(parts["scale"]).all()


def test_blocks_of_rows_are_stored_as_the_whole() -> None:
    for precision in PRECISIONS.values():
        whole = precision.store(MATRIX)
        halves = [precision.store(MATRIX[:4]), precision.store(MATRIX[4:])]
        for name, values in whole.items():
            assert (np.concatenate([half[name] for half in halves]) == values).all()


def test_f16_stores_what_does_not_fit_as_the_largest_half() -> None:
    stored = F16().store(np.array([[1e9, -1e9, 0.5]], np.float32))["weight"]
    assert stored.tolist() == [[65504.0, -65504.0, 0.5]]


@pytest.mark.parametrize("precision", FORMS.values(), ids=lambda p: f"{p.name}-{p.form}")
def test_declared_parts_hold_the_stored_bytes(precision: Precision) -> None:
    sizes = {"f32": 4, "f16": 2, "i8": 1, "i32": 4}
    stored = precision.store(MATRIX)
    declared = precision.parts(*MATRIX.shape)
    assert {name: int(np.prod(part.shape)) * sizes[part.dtype] for name, part in declared.items()} == {
        name: values.nbytes for name, values in stored.items()
    }


@pytest.mark.parametrize("words", [False, True])
def test_int8_products_are_those_of_its_definition(words: bool) -> None:
    import torch

    precision = Int8(words=words)
    stored = precision.store(MATRIX)
    weight = torch.from_numpy(stored["weight"])
    parts = {"weight": weight.view(torch.int32) if words else weight, "scale": torch.from_numpy(stored["scale"])}
    x = RANDOM.standard_normal((3, 8)).astype(np.float32)
    x[1] = 0
    scale = np.abs(x).max(axis=1, keepdims=True) * np.float32(1 / 127)
    rounded = np.rint(x / np.maximum(scale, np.float32(1e-10)))
    wanted = (rounded @ stored["weight"].T.astype(np.float64)).astype(np.float32) * scale * stored["scale"]
    assert precision.linear(torch.from_numpy(x), parts).numpy() == pytest.approx(wanted, rel=1e-6)
    rows = precision.rows(torch.tensor([4, 0]), parts).numpy()
    assert (rows == stored["weight"][[4, 0]] * stored["scale"][[4, 0], None]).all()


@pytest.mark.parametrize("columns", [32, 100, 288])
def test_int4_products_are_those_of_its_definition(columns: int) -> None:
    import torch

    matrix = RANDOM.standard_normal((6, columns)).astype(np.float32)
    parts = {name: torch.from_numpy(values) for name, values in Int4().store(matrix).items()}
    wanted = dequantise(quantise(matrix))
    assert (Int4().rows(torch.tensor([4, 0]), parts).numpy() == wanted[[4, 0]]).all()
    x = RANDOM.standard_normal((3, columns)).astype(np.float32)
    found = Int4().linear(torch.from_numpy(x), parts).numpy()
    assert found == pytest.approx(x @ wanted[:, :columns].T, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("matrix", ["embedding", "head", "qkv", "o", "gate_up", "down"])
def test_the_cost_model_knows_how_matrices_are_stored(matrix: str) -> None:
    names: tuple[Dtype, ...] = ("f32", "f16", "int8", "int4")
    assert names == tuple(PRECISIONS)
    assert {name: stored_as(matrix, name) for name in names} == {
        name: precision.for_matrix(matrix).name for name, precision in PRECISIONS.items()
    }


@pytest.mark.parametrize("name", ["int8", "int4"])
def test_a_unit_without_byte_loads_reads_words(soc: Soc, name: str) -> None:
    forms = {unit.name: precision_on(name, unit).form for unit in soc.units}
    assert forms == {"cpu": "bytes", "gpu": "words"}
    for unit in soc.units:
        assert precision_on(name, unit).for_matrix("qkv") == precision_on("int8", unit)


@pytest.mark.parametrize("name", ["f32", "f16"])
def test_floats_have_one_form(soc: Soc, name: str) -> None:
    assert {precision_on(name, unit).form for unit in soc.units} == {"plain"}


def test_an_unknown_precision_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match="f32, f16, int8"):
        precision_named("int3")
