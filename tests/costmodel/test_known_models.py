"""The shapes that ship: whole, of the published size, found by the names that people use."""

from __future__ import annotations

from pathlib import Path

import pytest

from paceline.costmodel import ModelSpec, known_models, parameters
from paceline.costmodel.known_models import find_model, known_model
from paceline.errors import PackageError, UnknownModel

# Elements of the tensors in the published checkpoints; a tied head counts once.
PUBLISHED = {
    "gemma-3-1b": 999_885_952,
    "gemma-3-270m": 268_098_176,
    "gemma-3-4b": 3_880_263_168,
    "llama-3.2-1b": 1_235_814_400,
    "llama-3.2-3b": 3_212_749_824,
    "qwen2.5-0.5b": 494_032_768,
    "qwen2.5-1.5b": 1_543_714_304,
    "qwen2.5-3b": 3_085_938_688,
    "qwen2.5-7b": 7_615_616_512,
    "qwen3-0.6b": 596_049_920,
    "qwen3-1.7b": 1_720_574_976,
    "qwen3-30b-a3b": 30_532_122_624,
    "qwen3-4b": 4_022_468_096,
    "smollm2-1.7b": 1_711_376_384,
    "smollm2-135m": 134_515_008,
    "smollm2-360m": 361_821_120,
}


def known(name: str) -> ModelSpec:
    found = known_model(name)
    assert found is not None
    return found


def test_every_file_is_a_model_of_its_name() -> None:
    assert known_models() == tuple(PUBLISHED)
    assert all(known(name).name == name for name in known_models())


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_are_the_published_ones(name: str) -> None:
    assert parameters(known(name)) == PUBLISHED[name]


@pytest.mark.parametrize("name", PUBLISHED)
def test_shapes_hang_together(name: str) -> None:
    spec = known(name)
    assert spec.heads % spec.kv_heads == 0
    assert set(spec.sliding_layers) < set(range(spec.layers))
    assert bool(spec.sliding_layers) == bool(spec.sliding_window) == (spec.local_rope is not None)


@pytest.mark.parametrize(
    "name", ["llama-3.2-3b", "Llama-3.2-3B", "meta-llama/Llama-3.2-3B-Instruct", "LLAMA-3.2-3B-INSTRUCT"]
)
def test_names_as_people_write_them(name: str) -> None:
    assert find_model(name).name == "llama-3.2-3b"


def test_an_unknown_model_lists_the_known_ones() -> None:
    with pytest.raises(UnknownModel, match=r"unknown model 'llama-9'; known: gemma-3-1b, .*smollm2-360m \(or a folder"):
        find_model("llama-9")


def test_a_package_says_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "package.json").write_text('{"spec": {"name": "cut"}}')
    with pytest.raises(PackageError, match=r"package\.json is not a valid PackageSpec: "):
        find_model(str(tmp_path))
