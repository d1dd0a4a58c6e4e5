"""Importing whatever a user names: a whole package, or one sentence and nothing on disk."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paceline.compile import gguf_file, hub, import_model, open_weights, read_package, safetensors_file
from paceline.errors import CheckpointError, OutputError


@pytest.fixture
def gguf(tiny_gguf: Callable[..., Path], tmp_path: Path) -> Path:
    """A GGUF that a test may damage."""
    return Path(shutil.copy(tiny_gguf("llama"), tmp_path / "model.gguf"))


def test_a_gguf_becomes_a_package_with_its_own_bytes(gguf: Path, tmp_path: Path) -> None:
    package = import_model(str(gguf), tmp_path / "package")
    assert read_package(tmp_path / "package", checksums=True) == package
    assert sorted(package.files) == ["chat_template.jinja", "model.gguf", "tokenizer.json"]
    assert (tmp_path / "package" / "model.gguf").read_bytes() == gguf.read_bytes()
    assert (package.format, package.source, package.spec.vocabulary) == ("gguf", str(gguf), 320)
    assert len(open_weights(tmp_path / "package", package).names()) == 21


def test_a_folder_with_one_gguf_will_do(gguf: Path, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    gguf.rename(tmp_path / "folder" / "model.gguf")
    assert import_model(str(tmp_path / "folder"), tmp_path / "package").format == "gguf"


def test_a_gguf_is_known_by_its_first_bytes(gguf: Path, tmp_path: Path) -> None:
    assert import_model(str(gguf.rename(tmp_path / "model.bin")), tmp_path / "package").spec.layers == 2


@pytest.mark.parametrize("family", ["llama", "qwen3"])
def test_no_weight_is_read_at_import(
    tiny_checkpoint: Callable[..., Path],
    tiny_gguf: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    family: str,
) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError("a tensor was decoded")

    monkeypatch.setattr(gguf_file.GgufFile, "read", refuse)
    monkeypatch.setattr(safetensors_file.SafeTensor, "read", refuse)
    import_model(str(tiny_gguf(family)), tmp_path / "from-gguf")
    import_model(str(tiny_checkpoint(family)), tmp_path / "from-hf")


def test_a_vocabulary_padded_beyond_the_tokenizer_is_kept(tiny_checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    package = import_model(str(tiny_checkpoint("llama", vocab_size=352)), tmp_path / "package")
    weights = open_weights(tmp_path / "package", package)
    assert package.spec.vocabulary == 352
    assert weights.read("head.weight").shape == (352, 64)


def test_progress_is_told(gguf: Path, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    import_model(str(gguf), tmp_path / "package", progress=lambda *step: seen.append(step))
    assert ("checksum of model.gguf", 1, 3) in seen and seen[-1] == ("checksum", 3, 3)


def left_behind(folder: Path) -> list[str]:
    """What a failed import left in the folder of its output."""
    return [path.name for path in folder.iterdir() if "package" in path.name]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[:2], "not a GGUF file: it has 2 bytes"),
        (lambda data: b"GGML" + data[4:], "it starts with b'GGML'"),
        (lambda data: data[:4] + b"\x00\x00\x00\x03" + data[8:], "is GGUF version 50331648"),
        (lambda data: data[:-40000], r"is cut: tensor .* download it again"),
        (lambda data: data[:500], "is cut or damaged: its header wants"),
        (lambda data: data[:24], "is cut or damaged: its header wants"),
    ],
)
def test_a_damaged_gguf_is_one_sentence_and_no_package(
    gguf: Path, tmp_path: Path, damage: Callable[[bytes], bytes], message: str
) -> None:
    gguf.write_bytes(damage(gguf.read_bytes()))
    with pytest.raises(CheckpointError, match=message):
        import_model(str(gguf), tmp_path / "package")
    assert not left_behind(tmp_path)


def test_what_is_no_checkpoint_is_named(tmp_path: Path, tiny_package: Callable[..., Path]) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    for source, message in {
        tmp_path / "notes.txt": "neither a .gguf nor an .onnx file",
        tmp_path / "nowhere" / "at" / "all": "neither a file or folder nor a hub id",
        tmp_path: r"holds no model\.safetensors",
        tiny_package("llama"): "is a model package already",
    }.items():
        with pytest.raises(CheckpointError, match=message):
            import_model(str(source), tmp_path / "package")
    assert not left_behind(tmp_path)


def test_an_output_that_is_taken_is_left_alone(gguf: Path, tmp_path: Path) -> None:
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "mine").write_text("keep")
    with pytest.raises(OutputError, match="exists already"):
        import_model(str(gguf), tmp_path / "package")
    assert (tmp_path / "package" / "mine").read_text() == "keep"


def test_an_output_that_cannot_be_written_is_named(gguf: Path) -> None:
    with pytest.raises(OutputError, match="cannot write"):
        import_model(str(gguf), gguf / "package")


def test_a_full_disk_leaves_nothing(gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "link", full)
    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(OutputError, match="the disk is full"):
        import_model(str(gguf), tmp_path / "package")
    assert not left_behind(tmp_path)


def test_without_hard_links_files_are_copied(gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(os, "link", refuse)
    import_model(str(gguf), tmp_path / "package")
    assert (tmp_path / "package" / "model.gguf").stat().st_ino != gguf.stat().st_ino
    read_package(tmp_path / "package", checksums=True)


def test_an_interrupted_import_leaves_nothing(gguf: Path, tmp_path: Path) -> None:
    def interrupt(what: str, done: int, total: int) -> None:
        if what.startswith("checksum"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_model(str(gguf), tmp_path / "package", progress=interrupt)
    assert not left_behind(tmp_path)


def test_a_hub_id_is_downloaded_and_imported(
    tiny_checkpoint: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}

    def snapshot(identifier: str, **options: Any) -> str:
        asked.update(options, identifier=identifier)
        return str(tiny_checkpoint("qwen2"))

    monkeypatch.setattr(hub, "snapshot_download", snapshot)
    package = import_model("owner/tiny-model", tmp_path / "package", revision="v1")
    assert (package.spec.name, package.source) == ("tiny-model", "owner/tiny-model")
    assert (asked["identifier"], asked["revision"]) == ("owner/tiny-model", "v1")
    assert "*.safetensors" in asked["allow_patterns"] and "consolidated*" in asked["ignore_patterns"]


def test_a_place_that_is_taken_is_refused_before_a_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def snapshot(*arguments: object, **options: object) -> None:
        raise AssertionError("downloaded")

    monkeypatch.setattr(hub, "snapshot_download", snapshot)
    (tmp_path / "package").write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        import_model("owner/tiny-model", tmp_path / "package")


def hub_errors() -> list[tuple[Exception, type[Exception], str]]:
    """What the hub's client raises, and what it becomes."""
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled

    return [
        (LocalEntryNotFoundError("x"), CheckpointError, "cannot reach the hub for owner/name"),
        (OfflineModeIsEnabled("x"), CheckpointError, "go online, or give the path"),
        (HFValidationError("bad name"), CheckpointError, "cannot download owner/name: bad name"),
        (ConnectionError("reset"), CheckpointError, "cannot download owner/name: reset"),
        (OSError(errno.ENOSPC, "full"), OutputError, "the disk is full"),
    ]


@pytest.mark.parametrize("case", range(5))
def test_hub_errors_are_one_sentence(case: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raised, expected, message = hub_errors()[case]

    def fail(*arguments: object, **options: object) -> None:
        raise raised

    monkeypatch.setattr(hub, "snapshot_download", fail)
    with pytest.raises(expected, match=message):
        import_model("owner/name", tmp_path / "package")
    assert not left_behind(tmp_path)
