"""Whatever a pack is that no packer writes, one sentence says what is wrong, and nothing is left of it."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
import zstandard

from paceline.errors import BundleError
from paceline.runtime.pack_format import BLOCK, END, header
from paceline.runtime.unpack import unpack
from tests.runtime.packs import Files, archived, compressed, edited, honest, member, plain_of, refused


def test_what_is_no_pack(tmp_path: Path) -> None:
    for data in (b"", b"PK\3\4 zip", b"\x28\xb5", b"\x1f\x8b\x08" + bytes(99)):
        refused(tmp_path, data, "is no pack: it does not begin as zstd does; make one with 'paceline pack'")
    refused(tmp_path, compressed(b""), "ends too early")
    refused(tmp_path, compressed(b"text " * 500), "is damaged before pack.json")
    refused(tmp_path, compressed(bytes(9999)), "ends before pack.json")
    for path, found in ((tmp_path, "is a folder, no pack"), (tmp_path / "absent", "cannot read .*: No such file")):
        with pytest.raises(BundleError, match=found):
            unpack(path, tmp_path / "out")


def test_a_pack_that_is_cut_anywhere(sound: Path, tmp_path: Path) -> None:
    data = sound.read_bytes()
    for size in {*range(4, len(data), 41), *range(len(data) - 12, len(data))}:
        refused(tmp_path, data[:size], "ends too early: it was cut; pack it again, or copy it anew")


def test_an_archive_that_is_cut_between_members(files: Files, tmp_path: Path) -> None:
    refused(tmp_path, archived(files, end=b""), "ends too early")
    refused(tmp_path, archived(files, end=bytes(BLOCK)), "ends too early")
    refused(tmp_path, archived(dict(list(files.items())[:-1])), "ends before target.f32.irpa")


@pytest.mark.parametrize("name", ["tokenizer.json", "target.f32.cpu.vmfb", "target.f32.irpa", "bundle.json"])
def test_other_bytes_than_the_manifests(files: Files, tmp_path: Path, name: str) -> None:
    changed = files[name][:-1] + b"!"
    refused(tmp_path, archived({**files, name: changed}), f"{name} in .* was changed: its checksum")


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", "..", "sub/x"])
def test_a_way_out_of_the_folder(files: Files, tmp_path: Path, name: str) -> None:
    """In the archive, in its manifest, and in the bundle's own."""
    renamed = {(name if key == "tokenizer.json" else key): data for key, data in files.items()}
    refused(tmp_path, archived(renamed), "might lead out of the folder")
    entries = json.loads(files["pack.json"])["files"]
    lying = {(name if key == "tokenizer.json" else key): entry for key, entry in entries.items()}
    refused(tmp_path, archived(edited(renamed, "pack.json", files=lying)), "is no name for a file of a bundle")
    own = {
        (name if key == "tokenizer.json" else key): e for key, e in json.loads(files["bundle.json"])["files"].items()
    }
    refused(tmp_path, archived(honest(edited(files, "bundle.json", files=own))), "disagree about|does not name")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE])
def test_members_that_are_no_files(files: Files, tmp_path: Path, kind: bytes) -> None:
    link = tarfile.TarInfo("tokenizer.json")
    link.type, link.linkname = kind, "/etc/passwd"
    parts = [link.tobuf() if name == link.name else member(name, data) for name, data in files.items()]
    refused(tmp_path, compressed(b"".join(parts) + END), "holds 'tokenizer.json', which is .*; packs hold plain files")


def test_more_than_the_manifest_lists(files: Files, tmp_path: Path) -> None:
    for more in (member("extra", b"x"), member("tokenizer.json", b"x"), bytes(9 * BLOCK), b"\1" * BLOCK):
        refused(tmp_path, archived(files, more=more), "holds more than its manifest lists")
    extra = {**json.loads(files["pack.json"])["files"], "extra": {"bytes": 1, "sha256": ""}}
    listed = {**edited(files, "pack.json", files=extra), "extra": b"x"}
    refused(tmp_path, archived(listed), "holds 'extra', which its bundle does not name")


def test_members_larger_than_the_manifest_says(files: Files, tmp_path: Path) -> None:
    """Nothing of a member is read whose size is not the expected one: zeros of any number cost nothing."""
    for size in (0, 1, 1 << 40, 1 << 62):
        parts = [member(name, data, size=size if name == "target.f32.irpa" else None) for name, data in files.items()]
        refused(tmp_path, compressed(b"".join(parts) + END), f"irpa in .* has {size} bytes, its manifest says 15")


def test_manifests_that_are_too_large_to_read(files: Files, tmp_path: Path) -> None:
    refused(tmp_path, compressed(header("pack.json", 1 << 40)), "has 1099511627776 bytes, expected 1048576 at most")
    start = member("pack.json", files["pack.json"])
    refused(tmp_path, compressed(start + header("bundle.json", 1 << 40)), "expected 16777216 at most")


def test_a_window_larger_than_a_board_can_hold(files: Files, tmp_path: Path) -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=27)
    stream = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    refused(tmp_path, stream.compress(plain_of(archived(files))) + stream.flush(), "requires too much memory")


@pytest.mark.parametrize(
    ("name", "changes", "found"),
    [
        ("pack.json", {"schema": 2}, r"pack\.json in .* has schema 2, expected 1; pack it again"),
        ("pack.json", {"schema": "1"}, r"pack\.json in .* is not a valid PackManifest"),
        ("pack.json", {"surprise": 1}, r"pack\.json in .* is not a valid PackManifest"),
        ("pack.json", {"files": {}}, "the first file is None, expected 'bundle.json'"),
        ("pack.json", {"files": {"bundle.json": {"bytes": -1, "sha256": ""}}}, "is not a valid PackManifest"),
        ("pack.json", {"bundle": "0"}, "are of different bundles"),
        ("pack.json", {"soc": "another"}, "are of different bundles"),
        ("bundle.json", {"schema": 1}, r"bundle\.json in .* has schema 1, expected 2; compile it again"),
        ("bundle.json", {"surprise": 1}, r"bundle\.json in .* is not a valid Bundle"),
        ("bundle.json", {"models": []}, "names no target"),
    ],
)
def test_manifests_of_another_form(files: Files, tmp_path: Path, name: str, changes: Any, found: str) -> None:
    changed = edited(files, name, **changes)
    refused(tmp_path, archived(honest(changed) if name == "bundle.json" else changed), found)


def test_manifests_that_disagree(files: Files, tmp_path: Path) -> None:
    entries = json.loads(files["pack.json"])["files"]
    lying = {**entries, "tokenizer.json": {**entries["tokenizer.json"], "sha256": "0"}}
    refused(tmp_path, archived(edited(files, "pack.json", files=lying)), r"disagree about 'tokenizer\.json'")
    fewer = {name: entry for name, entry in entries.items() if name != "tokenizer.json"}
    refused(tmp_path, archived(edited(files, "pack.json", files=fewer)), r"disagree about 'tokenizer\.json'")
