"""ONNX decoders in the layout of optimum: the same tensors as the checkpoint that was exported."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from paceline.compile import import_model, open_weights, read_package
from paceline.compile.onnx_checkpoint import open_onnx_checkpoint
from paceline.errors import CheckpointError


@pytest.fixture
def copy(tiny_onnx: Callable[..., Path], tmp_path: Path) -> Callable[..., Path]:
    """A folder that a test may damage."""

    def make(family: str = "llama", *, external: bool = False) -> Path:
        return Path(shutil.copytree(tiny_onnx(family, external=external), tmp_path / "onnx"))

    return make


@pytest.mark.parametrize("family", ["llama", "llama3", "mistral", "qwen2", "qwen3", "gemma3"])
@pytest.mark.parametrize("external", [False, True])
def test_onnx_equals_hugging_face(
    tiny_onnx: Callable[..., Path], tiny_package: Callable[..., Path], tmp_path: Path, family: str, external: bool
) -> None:
    reference = tiny_package(family)
    package = import_model(str(tiny_onnx(family, external=external)), tmp_path / "package")
    described = read_package(reference)
    expected, found = open_weights(reference, described), open_weights(tmp_path / "package", package)
    assert package.spec.layers == described.spec.layers and package.tokens == described.tokens
    for name in expected.names():
        np.testing.assert_array_equal(found.read(name), expected.read(name), err_msg=name)


def test_a_file_or_a_subfolder_finds_its_settings(tiny_onnx: Callable[..., Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_onnx("llama"), tmp_path / "model"))
    assert open_onnx_checkpoint(folder / "model.onnx").spec.layers == 2
    (folder / "onnx").mkdir()
    (folder / "model.onnx").rename(folder / "onnx" / "model.onnx")
    assert import_model(str(folder), tmp_path / "package").spec.name == "model"


def test_equal_weights_may_be_shared(copy: Callable[..., Path], tmp_path: Path) -> None:
    path = copy() / "model.onnx"
    model = onnx.load(str(path))
    node = next(node for node in model.graph.node if node.name == "/model/layers.0/mlp/up_proj/MatMul")
    shared = next(node for node in model.graph.node if node.name == "/model/layers.0/mlp/gate_proj/MatMul").input[1]
    model.graph.node.append(onnx.helper.make_node("Identity", [shared], ["again"]))
    node.input[1] = "again"
    onnx.save(model, str(path))
    weights = open_weights(tmp_path / "package", import_model(str(path), tmp_path / "package"))
    np.testing.assert_array_equal(weights.read("layers.0.up.weight"), weights.read("layers.0.gate.weight"))


def edited(path: Path, change: Callable[[Any], object]) -> Path:
    """The graph at ``path``, changed in place."""
    model = onnx.load(str(path), load_external_data=False)
    change(model)
    onnx.save(model, str(path))
    return path


def test_a_node_without_weight_is_named(copy: Callable[..., Path]) -> None:
    def rename(model: Any) -> None:
        node = next(node for node in model.graph.node if node.name == "/model/layers.1/self_attn/q_proj/MatMul")
        node.name = "fused"

    with pytest.raises(CheckpointError, match=r"node /model/layers\.1/self_attn/q_proj/MatMul .* not optimised"):
        open_onnx_checkpoint(edited(copy() / "model.onnx", rename))


def test_another_layout_is_named(copy: Callable[..., Path]) -> None:
    with pytest.raises(CheckpointError, match=r"takes attention_mask.* expected a decoder with input_ids"):
        open_onnx_checkpoint(edited(copy() / "model.onnx", lambda model: model.graph.input.pop(0)))


def test_integer_weights_are_refused(copy: Callable[..., Path]) -> None:
    def quantise(model: Any) -> None:
        weight = onnx.numpy_helper.from_array(np.zeros((320, 64), np.int8), "model.embed_tokens.weight")
        next(t for t in model.graph.initializer if t.name == weight.name).CopyFrom(weight)

    with pytest.raises(CheckpointError, match=r"'model\.embed_tokens\.weight' as INT8"):
        open_onnx_checkpoint(edited(copy() / "model.onnx", quantise))


def test_a_cut_graph_is_named(copy: Callable[..., Path]) -> None:
    path = copy() / "model.onnx"
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(CheckpointError, match="is cut or is no ONNX file"):
        open_onnx_checkpoint(path)


def test_cut_or_missing_external_data_is_named(copy: Callable[..., Path]) -> None:
    path = copy(external=True) / "model.onnx"
    data = path.with_name("model.onnx_data")
    data.write_bytes(data.read_bytes()[:-5])
    with pytest.raises(CheckpointError, match=r"model\.onnx_data is cut"):
        open_onnx_checkpoint(path)
    data.unlink()
    with pytest.raises(CheckpointError, match=r"model\.onnx_data is missing"):
        open_onnx_checkpoint(path)


def test_external_data_outside_the_folder_is_refused(copy: Callable[..., Path]) -> None:
    def move(model: Any) -> None:
        for tensor in model.graph.initializer:
            next(entry for entry in tensor.external_data if entry.key == "location").value = "../elsewhere"

    with pytest.raises(CheckpointError, match=r"lies at '\.\./elsewhere', expected a file beside it"):
        open_onnx_checkpoint(edited(copy(external=True) / "model.onnx", move))


def test_settings_must_stand_beside_the_graph(copy: Callable[..., Path]) -> None:
    folder = copy()
    (folder / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"config\.json is missing"):
        open_onnx_checkpoint(folder / "model.onnx")
