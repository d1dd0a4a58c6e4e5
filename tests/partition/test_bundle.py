"""A bundle that is damaged in any way is refused with a sentence that names the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from paceline.checksums import describe
from paceline.errors import BundleError
from paceline.partition import Bundle, read_bundle

CONTENT = {"target.f32.irpa": b"weights", "target.f32.cpu.vmfb": b"program", "tokenizer.json": b"{}"}
FIGURE = {"value": 1e9, "source": "test"}
SPEC = {
    "name": "tiny",
    "family": "llama",
    "layers": 1,
    "hidden": 8,
    "heads": 1,
    "kv_heads": 1,
    "head_size": 8,
    "ffn": 8,
    "vocabulary": 32,
    "context": 64,
    "norm_epsilon": 1e-5,
    "rope": {"theta": 1e4},
}
UNIT = {
    "name": "cpu",
    "kind": "cpu",
    "description": "",
    "cores": 1,
    "peak": {"f32": FIGURE},
    "bandwidth": FIGURE,
    "memory": FIGURE,
    "launch": FIGURE,
}
TARGET = {
    "role": "target",
    "spec": SPEC,
    "precision": "f32",
    "weights": {"cpu": "target.f32.irpa"},
    "programs": {"cpu": "target.f32.cpu.vmfb"},
}


def manifest(folder: Path, **changes: Any) -> None:
    entries = {name: describe(folder / name) for name in CONTENT}
    value = {
        "schema": 2,
        "name": "tiny",
        "soc": {"name": "soc", "description": "", "memory": FIGURE, "units": [UNIT]},
        "context": 64,
        "widths": [1, 2],
        "models": [TARGET],
        "tokens": {},
        "versions": {},
        "files": {name: {"bytes": entry.bytes, "sha256": entry.sha256} for name, entry in entries.items()},
    }
    (folder / "bundle.json").write_text(json.dumps({**value, **changes}))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, content in CONTENT.items():
        (tmp_path / name).write_bytes(content)
    manifest(tmp_path)
    return tmp_path


def refused(folder: Path, found: str, **options: Any) -> None:
    with pytest.raises(BundleError, match=found):
        read_bundle(folder, **options)


def test_a_whole_bundle(folder: Path) -> None:
    bundle = read_bundle(folder, checksums=True)
    assert (bundle.name, bundle.widths, bundle.drafter) == ("tiny", (1, 2), None)
    assert bundle.target.programs == {"cpu": "target.f32.cpu.vmfb"}
    assert read_bundle(folder).digest == bundle.digest


def test_measurements_do_not_change_its_identity(folder: Path) -> None:
    before = read_bundle(folder).digest
    for name in ("profile.json", "acceptance.json", "plan.json"):
        (folder / name).write_text("anything")
    assert read_bundle(folder, checksums=True).digest == before
    (folder / "target.f32.irpa").write_bytes(b"WEIGHTS")
    manifest(folder)
    assert read_bundle(folder).digest != before


def test_no_bundle_there(tmp_path: Path) -> None:
    refused(tmp_path, r"is not a bundle: it has no bundle\.json; make one with 'paceline compile'")
    refused(tmp_path / "absent", "is not a bundle")


@pytest.mark.parametrize("name", sorted(CONTENT))
def test_a_missing_file(folder: Path, name: str) -> None:
    (folder / name).unlink()
    refused(folder, f"{name} is missing; compile the bundle again")


@pytest.mark.parametrize("name", sorted(CONTENT))
def test_a_cut_file(folder: Path, name: str) -> None:
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[:-1])
    refused(folder, f"{name} has {len(whole) - 1} bytes, expected {len(whole)}")


@pytest.mark.parametrize("name", sorted(CONTENT))
def test_a_changed_file_shows_in_its_checksum(folder: Path, name: str) -> None:
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
    refused(folder, f"{name} was changed: its checksum is not the one", checksums=True)
    if name.endswith(".irpa"):
        # Too many bytes to read at every start.
        assert isinstance(read_bundle(folder), Bundle)
    else:
        refused(folder, f"{name} was changed: its checksum is not the one")


@pytest.mark.parametrize("name", ["../outside", "sub/file", "/etc/hostname"])
def test_a_name_that_leaves_the_folder(folder: Path, name: str) -> None:
    manifest(
        folder, files={name: {"bytes": 1, "sha256": ""}}, models=[{**TARGET, "weights": {"cpu": name}, "programs": {}}]
    )
    refused(folder, f"names '{name}', which is not a plain file name")


@pytest.mark.parametrize("changes", [{"weights": {"cpu": "../outside"}}, {"programs": {"cpu": "/etc/hostname"}}])
def test_a_model_may_only_use_files_with_a_checksum(folder: Path, changes: dict[str, Any]) -> None:
    manifest(folder, models=[{**TARGET, **changes}])
    refused(folder, "without a checksum for it")


@pytest.mark.parametrize(
    "models", [[], [TARGET, TARGET], [{**TARGET, "role": "drafter"}], [TARGET, {**TARGET, "role": "drafter"}, TARGET]]
)
def test_one_target_and_at_most_one_drafter(folder: Path, models: list[dict[str, Any]]) -> None:
    manifest(folder, models=models)
    refused(folder, "names no target or too many models")


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"schema": 1}, "has schema 1, expected 2; compile it again"),
        ({"schema": 3, "dialect": "new"}, "has schema 3, expected 2; compile it again"),
        ({"context": "long"}, r"bundle\.json is not a valid Bundle: .*context"),
        ({"surprise": 1}, r"bundle\.json is not a valid Bundle: .*surprise"),
    ],
)
def test_another_schema(folder: Path, changes: dict[str, Any], found: str) -> None:
    manifest(folder, **changes)
    refused(folder, found)


@pytest.mark.parametrize("widths", [[2, 4], [1, 4, 2], [1, 2, 2], [2**31, 2]])
def test_widths_ascend_from_one(folder: Path, widths: list[int]) -> None:
    manifest(folder, widths=widths)
    refused(folder, "has the widths .*, expected ascending ones from 1 on; compile it again")


@pytest.mark.parametrize("keep", [0, 1, 40])
def test_a_cut_manifest(folder: Path, keep: int) -> None:
    path = folder / "bundle.json"
    path.write_bytes(path.read_bytes()[:keep])
    refused(folder, r"bundle\.json is not a valid Bundle")


@pytest.mark.parametrize(
    "changes",
    [
        {"context": 0},
        {"widths": []},
        {"widths": [0, 1]},
        {"tokens": {"eos": [-1]}},
        {"tokens": {"bos": 2**40}},
        {"models": [{**TARGET, "spec": {**SPEC, "kv_heads": 0}}]},
        {"models": [{**TARGET, "spec": {**SPEC, "layers": -3}}]},
    ],
)
def test_numbers_that_mean_nothing(folder: Path, changes: dict[str, Any]) -> None:
    manifest(folder, **changes)
    refused(folder, "bundle.json is not a valid Bundle")
