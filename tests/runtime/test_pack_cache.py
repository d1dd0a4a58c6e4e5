"""A pack that is used like a folder is unpacked once, and later found by its first block."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from paceline.checksums import describe
from paceline.documents import write_json
from paceline.errors import BundleError, DeviceUnavailable, OutputError
from paceline.partition import Bundle, read_bundle
from paceline.partition.contents import list_contents
from paceline.runtime import NullDevice, load, pack_cache
from paceline.runtime.pack import pack
from paceline.runtime.pack_cache import bundle_folder

MakeBundle = Callable[..., Path]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PACELINE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "packs"


@pytest.fixture
def packed(null_bundle: MakeBundle, tmp_path: Path) -> Path:
    pack(list_contents(null_bundle()), path := tmp_path / "x.tar.zst")
    return path


def kept(cache: Path) -> list[Path]:
    return [path for path in cache.glob("*") if path.name != ".lock"]


def test_folders_are_what_they_are(tmp_path: Path, cache: Path) -> None:
    for path in (tmp_path, tmp_path / "absent"):
        assert bundle_folder(path) == path
    assert not cache.exists()


def test_a_pack_is_unpacked_once_and_says_so_once(packed: Path, cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        folder = bundle_folder(packed)
    assert kept(cache) == [folder] and read_bundle(folder, checksums=True).name == "null"
    assert [record.getMessage() for record in caplog.records] == [
        f"unpacked into {folder}, 0.0 MB, for this and later runs"
    ]
    caplog.clear()
    write_json(folder / "profile.json", {"measured": "here"})
    assert bundle_folder(packed) == folder and not caplog.records
    assert (folder / "profile.json").exists()


def test_a_later_start_reads_the_beginning_only(null_bundle: MakeBundle, tmp_path: Path) -> None:
    """A pack whose weights do not fit into the first read of it, and are then cut off."""
    folder = null_bundle()
    (folder / "target.f32.irpa").write_bytes(os.urandom(1 << 20))
    bundle = msgspec.json.decode((folder / "bundle.json").read_bytes(), type=Bundle)
    entry = describe(folder / "target.f32.irpa")
    write_json(folder / "bundle.json", replace(bundle, files={**bundle.files, "target.f32.irpa": entry}))
    pack(list_contents(folder), path := tmp_path / "x.tar.zst")
    unpacked = bundle_folder(path)
    with path.open("r+b") as file:
        file.truncate(300_000)
    assert bundle_folder(path) == unpacked


def test_what_a_killed_process_left_is_swept_up(packed: Path, cache: Path) -> None:
    (cache / ".0123-abcd").mkdir(parents=True)
    folder = bundle_folder(packed)
    assert kept(cache) == [folder]


def test_packs_of_other_contents_have_other_folders(packed: Path, null_bundle: MakeBundle, tmp_path: Path) -> None:
    pack(list_contents(tmp_path / "bundle", units=("cpu",)), other := tmp_path / "y.tar.zst")
    assert bundle_folder(packed) != bundle_folder(other)
    moved = packed.rename(tmp_path / "renamed")
    assert bundle_folder(moved) != bundle_folder(other)


def test_a_cache_that_cannot_be_written(packed: Path, cache: Path) -> None:
    cache.parent.write_text("no folder")
    with pytest.raises(OutputError, match=r"cannot write into the cache, .*; set PACELINE_CACHE to a folder"):
        bundle_folder(packed)


def test_nothing_is_kept_of_a_damaged_pack(packed: Path, cache: Path) -> None:
    packed.write_bytes(packed.read_bytes()[:-40])
    with pytest.raises(BundleError, match="ends too early"):
        bundle_folder(packed)
    assert kept(cache) == []


def test_a_pack_for_another_soc(packed: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(bundle: object) -> None:
        raise DeviceUnavailable("for another")

    monkeypatch.setattr(pack_cache, "check_machine", refuse)
    with pytest.raises(DeviceUnavailable, match="for another"):
        bundle_folder(packed)
    assert not cache.exists()


def test_many_at_once_unpack_once(packed: Path, cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(bundle_folder(packed))) for _ in range(8)]
    with caplog.at_level(logging.WARNING):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(found) == 8 and set(found) == set(kept(cache))
    assert len(caplog.records) == 1


def test_python_loads_a_pack_as_it_is(packed: Path) -> None:
    with load(packed, device=NullDevice()) as model:
        assert len(model.generate("hello", max_new_tokens=3).finish().ids) == 3
