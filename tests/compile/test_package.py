"""Packages on disk: whole, or an error that names what is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from paceline.compile import open_weights, read_package
from paceline.compile.family import expected_shapes
from paceline.errors import PackageError

FAMILIES = ["llama", "llama3", "mistral", "qwen2", "qwen3", "gemma3"]


@pytest.fixture
def package(tiny_package: Callable[..., Path], tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    folder = tmp_path / "package"
    folder.mkdir()
    for file in tiny_package("llama").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


@pytest.mark.parametrize("family", FAMILIES)
def test_every_tensor_has_the_shape_of_the_spec(tiny_package: Callable[..., Path], family: str) -> None:
    folder = tiny_package(family)
    described = read_package(folder, checksums=True)
    weights = open_weights(folder, described)
    shapes = dict(expected_shapes(described.spec))
    assert weights.names() == tuple(shapes)
    for name, shape in shapes.items():
        read = weights.read(name)
        assert (read.shape, read.dtype, weights.shape(name)) == (shape, np.dtype(np.float32), shape)
        assert read.flags.c_contiguous and np.isfinite(read).all()


def test_a_folder_without_manifest_is_no_package(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match=r"no package\.json"):
        read_package(tmp_path)


def test_another_schema_is_refused(package: Path) -> None:
    manifest = json.loads((package / "package.json").read_text())
    (package / "package.json").write_text(json.dumps({**manifest, "schema": 99}))
    with pytest.raises(PackageError, match="schema 99"):
        read_package(package)


def test_a_damaged_manifest_is_named(package: Path) -> None:
    (package / "package.json").write_text("{")
    with pytest.raises(PackageError, match=r"package\.json is not a valid Package"):
        read_package(package)


def test_a_missing_file_is_named(package: Path) -> None:
    (package / "tokenizer.json").unlink()
    with pytest.raises(PackageError, match=r"tokenizer\.json is missing"):
        read_package(package)


def test_a_cut_file_is_named(package: Path) -> None:
    weights = package / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(PackageError, match=r"model\.safetensors has \d+ bytes"):
        read_package(package)


def test_a_changed_byte_is_seen_by_its_checksum(package: Path) -> None:
    weights = package / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    read_package(package)
    with pytest.raises(PackageError, match=r"model\.safetensors was changed"):
        read_package(package, checksums=True)


def test_a_name_outside_the_folder_is_refused(package: Path) -> None:
    manifest = json.loads((package / "package.json").read_text())
    manifest["files"]["../stray"] = {"bytes": 0, "sha256": ""}
    (package / "package.json").write_text(json.dumps(manifest))
    with pytest.raises(PackageError, match="not a plain file name"):
        read_package(package)
