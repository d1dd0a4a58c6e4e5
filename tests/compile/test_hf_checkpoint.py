"""Hugging Face folders: old and new settings, shards, half precision, and what is missing or damaged."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from paceline.compile import import_model, open_weights, read_package
from paceline.compile.hf_checkpoint import open_hf_checkpoint
from paceline.compile.safetensors_file import open_safetensors
from paceline.costmodel import ModelSpec, Rope
from paceline.errors import CheckpointError, UnknownArchitecture


@pytest.fixture
def copy(tiny_checkpoint: Callable[..., Path], tmp_path: Path) -> Callable[..., Path]:
    """``copy(family, config changes)``: a checkpoint that a test may change; None removes a setting."""

    def make(family: str, **changes: Any) -> Path:
        folder = tmp_path / family
        shutil.copytree(tiny_checkpoint(family), folder)
        edit(folder / "config.json", **changes)
        return folder

    return make


def edit(path: Path, **changes: Any) -> None:
    """Change keys of a JSON object; None removes one."""
    values = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in values.items() if value is not None}))


def spec_of(folder: Path) -> ModelSpec:
    """ModelSpec of a folder."""
    return open_hf_checkpoint(folder, name="tiny").spec


def test_rope_is_read_in_both_generations(copy: Callable[..., Path]) -> None:
    folder = copy("llama3")
    new = spec_of(folder)
    table = json.loads((folder / "config.json").read_text())["rope_parameters"]
    theta = table.pop("rope_theta")
    edit(folder / "config.json", rope_parameters=None, rope_theta=theta, rope_scaling=table)
    assert spec_of(folder) == new
    assert new.rope == Rope(theta=10000.0, scaling="llama3", factor=4.0, low=1.0, high=4.0, original_context=64)


def test_gemma_is_read_in_both_generations(copy: Callable[..., Path]) -> None:
    folder = copy("gemma3")
    new = spec_of(folder)
    edit(
        folder / "config.json",
        rope_parameters=None,
        layer_types=None,
        rope_theta=100000.0,
        rope_local_base_freq=10000.0,
        rope_scaling={"rope_type": "linear", "factor": 2.0},
        sliding_window_pattern=2,
    )
    assert spec_of(folder) == new
    assert (new.sliding_layers, new.sliding_window) == ((0,), 8)


def test_gemma_that_sees_images_is_read_for_its_text(
    copy: Callable[..., Path], read_hf: Callable[[Path], dict[str, NDArray[np.float32]]]
) -> None:
    from safetensors.numpy import save_file

    folder = copy("gemma3")
    expected = spec_of(folder)
    tensors = {f"language_model.{name}": weight for name, weight in read_hf(folder).items()}
    save_file({**tensors, "vision_tower.x": np.zeros(3, np.float32)}, str(folder / "model.safetensors"))
    text = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({"model_type": "gemma3", "text_config": text}))
    assert spec_of(folder) == expected


def test_mistral_and_qwen_may_slide(copy: Callable[..., Path]) -> None:
    mistral = spec_of(copy("mistral", sliding_window=16))
    assert (mistral.sliding_window, mistral.sliding_layers) == (16, (0, 1))
    qwen = spec_of(copy("qwen2", sliding_window=16, use_sliding_window=True, max_window_layers=1))
    assert (qwen.sliding_window, qwen.sliding_layers) == (16, (1,))
    unused = spec_of(copy("qwen3", sliding_window=16, use_sliding_window=False))
    assert (unused.sliding_window, unused.sliding_layers) == (0, ())


def test_shards_are_one_model(
    copy: Callable[..., Path], read_hf: Callable[[Path], dict[str, NDArray[np.float32]]], tmp_path: Path
) -> None:
    from safetensors.numpy import save_file

    folder = copy("llama")
    tensors = read_hf(folder)
    (folder / "model.safetensors").unlink()
    names = list(tensors)
    files = {name: f"model-0000{1 + (index > 8)}-of-00002.safetensors" for index, name in enumerate(names)}
    for file in set(files.values()):
        save_file({name: tensors[name] for name in names if files[name] == file}, str(folder / file))
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": files}))
    package = import_model(str(folder), tmp_path / "package")
    weights = open_weights(tmp_path / "package", package)
    np.testing.assert_array_equal(weights.read("layers.1.down.weight"), tensors["model.layers.1.mlp.down_proj.weight"])
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"model-00002-of-00002\.safetensors is missing"):
        spec_of(folder)


@pytest.mark.parametrize("kind", ["bfloat16", "float16", "float64"])
def test_other_float_types_are_read_exactly(tmp_path: Path, kind: str) -> None:
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    weight = (torch.randn(7, 5, generator=torch.Generator().manual_seed(0)) * 100).to(getattr(torch, kind))
    save_file({"x": weight}, str(tmp_path / "x.safetensors"))
    read = open_safetensors(tmp_path / "x.safetensors")["x"].read()
    np.testing.assert_array_equal(read, weight.to(torch.float32).numpy())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": None}, "model_type is missing"),
        ({"hidden_size": None}, "hidden_size is missing"),
        ({"hidden_size": "64"}, r"hidden_size is '64', expected an integer"),
        ({"rms_norm_eps": -1.0}, r"rms_norm_eps is -1\.0"),
        ({"num_key_value_heads": 3}, "4 heads cannot share 3"),
        ({"attention_bias": True}, "attention_bias is True"),
        ({"hidden_act": "gelu"}, "hidden_act is 'gelu'"),
        ({"quantization_config": {"bits": 4}}, "take the original checkpoint or a GGUF"),
        ({"rope_parameters": {"rope_type": "yarn", "factor": 4.0}}, "rope_type is 'yarn'"),
        ({"vocab_size": 300}, "the model has 300 tokens"),
        ({"num_hidden_layers": 3}, r"no tensor 'model\.layers\.2\.input_layernorm\.weight'"),
        ({"intermediate_size": 96}, r"gate\.weight has shape \(128, 64\), its settings ask for \(96, 64\)"),
        ({"vocab_size": 330}, r"embedding\.weight has shape \(320, 64\)"),
    ],
)
def test_settings_that_do_not_fit_are_named(copy: Callable[..., Path], changes: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        spec_of(copy("llama", **changes))


def test_an_unknown_model_type_lists_the_known_ones(copy: Callable[..., Path]) -> None:
    with pytest.raises(UnknownArchitecture, match=r"'mamba'; paceline knows llama, mistral, qwen2, qwen3, gemma3_text"):
        spec_of(copy("llama", model_type="mamba"))


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("config.json", None, r"config\.json is missing"),
        ("config.json", b"[]", r"config\.json is not a JSON object"),
        ("config.json", b"\xff\xfe", r"config\.json is not a JSON object"),
        ("tokenizer.json", None, r"tokenizer\.json is missing; make it with AutoTokenizer"),
        ("tokenizer.json", b"{}", r"not a tokenizer\.json"),
        ("model.safetensors", b"", "is cut or is no safetensors file"),
        ("model.safetensors", b"\x10\0\0\0\0\0\0\0garbage garbage!", "damaged header"),
    ],
)
def test_damaged_files_are_named(copy: Callable[..., Path], file: str, content: bytes | None, message: str) -> None:
    path = copy("llama") / file
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        spec_of(path.parent)


def test_cut_weights_are_named(copy: Callable[..., Path]) -> None:
    weights = copy("llama") / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"is cut: tensor .* download it again"):
        spec_of(weights.parent)


def test_weights_of_another_type_are_named(
    copy: Callable[..., Path], read_hf: Callable[[Path], dict[str, NDArray[np.float32]]]
) -> None:
    from safetensors.numpy import save_file

    folder = copy("llama")
    tensors: dict[str, NDArray[Any]] = dict(read_hf(folder))
    tensors["lm_head.weight"] = np.zeros((320, 64), dtype=np.int8)
    save_file(tensors, str(folder / "model.safetensors"))
    with pytest.raises(CheckpointError, match=r"'lm_head\.weight' as I8, expected F64, F32, F16, BF16"):
        spec_of(folder)


def test_ends_and_templates_come_from_every_place(copy: Callable[..., Path]) -> None:
    folder = copy("llama", eos_token_id=[3, 1])
    edit(folder / "generation_config.json", eos_token_id=2)
    edit(folder / "tokenizer_config.json", chat_template=[{"name": "default", "template": "T"}], add_bos_token=True)
    checkpoint = open_hf_checkpoint(folder, name="tiny")
    # tokenizer_config.json names 1, which is what its chat template calls eos_token, so it comes first.
    assert (checkpoint.tokens.eos, checkpoint.tokens.bos, checkpoint.tokens.add_bos) == ((1, 3, 2), 0, True)
    assert checkpoint.chat_template == "T"
    (folder / "chat_template.jinja").write_text("J")
    assert open_hf_checkpoint(folder, name="tiny").chat_template == "J"


def test_a_package_keeps_the_bytes(tiny_checkpoint: Callable[..., Path], tiny_package: Callable[..., Path]) -> None:
    source, package = tiny_checkpoint("qwen3"), tiny_package("qwen3")
    for name in ("model.safetensors", "tokenizer.json"):
        assert (package / name).read_bytes() == (source / name).read_bytes()
    assert read_package(package).format == "safetensors"
