"""What an archive holds: joined sources, stored by the rule of the parameter, int4 of a checkpoint as it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from paceline.compile import archive, import_model, open_weights, read_package
from paceline.compile.archive import stored_blocks
from paceline.compile.int4 import GROUP, dequantise
from paceline.compile.package import Weights
from paceline.compile.packing import PACKED
from paceline.compile.parameters import Matrix, declared, parameters
from paceline.compile.precision import PRECISIONS, Int4, Int8, Precision
from paceline.costmodel import ModelSpec
from tests.compile.packed import read_int4

Opened = tuple[ModelSpec, Weights]
CONTEXT = 64


@pytest.fixture(scope="module")
def q4_k_model(tiny_gguf: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Opened:
    """A tiny llama whose matrices are Q4_K, imported."""
    folder = tmp_path_factory.mktemp("packages") / "q4_k"
    file = tiny_gguf("llama", kind="Q4_K", hidden_size=256, intermediate_size=512, head_dim=64)
    import_model(str(file), folder)
    package = read_package(folder)
    return package.spec, open_weights(folder, package)


def matrix(spec: ModelSpec, name: str) -> Matrix:
    return next(found for found in parameters(spec, CONTEXT) if isinstance(found, Matrix) and found.name == name)


def joined(blocks: Iterable[dict[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    parts: dict[str, list[NDArray[Any]]] = {}
    for block in blocks:
        for name, values in block.items():
            parts.setdefault(name, []).append(values)
    return {name: np.concatenate(values) for name, values in parts.items()}


def test_q4_k_is_not_rounded_again(q4_k_model: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    spec, weights = q4_k_model
    monkeypatch.setattr(archive, "_BLOCK", 1 << 13)  # several blocks a source
    gate_up = matrix(spec, "layers.0.gate_up")
    found = joined(stored_blocks(gate_up, weights, Int4()))
    exact = np.concatenate([weights.read(source) for source in gate_up.sources])
    shifts = np.arange(0, 32, 4, dtype=np.int32)
    nibbles = ((found["layers.0.gate_up.weight"][..., None] >> shifts) & 15).reshape(gate_up.rows, -1, 32)
    scale, low = found["layers.0.gate_up.scale"][..., None], found["layers.0.gate_up.low"][..., None]
    assert (nibbles.astype(np.float32) * scale - low == exact.reshape(nibbles.shape)).all()


def test_kernels_take_attention_as_the_checkpoint_has_it(q4_k_model: Opened) -> None:
    spec, weights = q4_k_model
    assert spec.exact_int4 == tuple(f"layers.{i}.{name}" for i in range(spec.layers) for name in ("qkv", "o"))
    for name in ("layers.0.qkv", "layers.1.o"):
        wanted = matrix(spec, name)
        found = joined(stored_blocks(wanted, weights, PACKED["int4"]))[f"{name}.packed"]
        groups = wanted.columns // GROUP
        exact = np.concatenate([weights.read(source) for source in wanted.sources])
        assert (dequantise(read_int4(found, groups)) == exact).all()


def test_traced_attention_and_the_embedding_of_int4_are_int8(q4_k_model: Opened) -> None:
    spec, weights = q4_k_model
    for name in ("embedding", "layers.0.o"):
        found = joined(stored_blocks(matrix(spec, name), weights, Int4()))
        expected = Int8().store(weights.read(f"{name}.weight"))
        assert {part.rpartition(".")[2]: values.tolist() for part, values in found.items()} == {
            part: values.tolist() for part, values in expected.items()
        }


@pytest.mark.parametrize("precision", PRECISIONS.values(), ids=list(PRECISIONS))
def test_what_is_stored_has_the_bytes_that_are_declared(q4_k_model: Opened, precision: Precision) -> None:
    spec, weights = q4_k_model
    for parameter in parameters(spec, CONTEXT):
        found = joined(stored_blocks(parameter, weights, precision))
        wanted = {name: archive._size(part) for name, part in declared(parameter, precision).items()}
        assert {name: values.nbytes for name, values in found.items()} == wanted
