"""A bundle becomes one file: the same bytes from the same bundle, and none at all when something is wrong."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, cast

import msgspec
import pytest
import zstandard

from paceline.checksums import describe_bytes
from paceline.errors import BundleError, OutputError
from paceline.partition.contents import list_contents
from paceline.runtime.pack import manifest_of, pack
from paceline.runtime.pack_format import PackManifest

MakeBundle = Callable[..., Path]


def packed(folder: Path, path: Path, *, threads: int = -1) -> bytes:
    pack(list_contents(folder), path, threads=threads, replace=True)
    return path.read_bytes()


def test_any_tar_with_zstd_can_read_it(null_bundle: MakeBundle, tmp_path: Path) -> None:
    folder = null_bundle()
    contents, data = list_contents(folder), packed(folder, tmp_path / "x.tar.zst")
    plain = zstandard.ZstdDecompressor().decompressobj().decompress(data)
    with tarfile.open(fileobj=io.BytesIO(plain)) as archive:
        members = archive.getmembers()
        found = {member.name: cast(IO[bytes], archive.extractfile(member)).read() for member in members}
    assert [member.name for member in members] == ["pack.json", *contents.files]
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode, m.isreg()) for m in members} == {
        (0, 0, 0, "", "", 0o644, True)
    }
    assert msgspec.json.decode(found.pop("pack.json"), type=PackManifest) == manifest_of(contents)
    assert found == {name: (folder / name).read_bytes() for name in contents.files}


def test_one_bundle_has_one_form(null_bundle: MakeBundle, tmp_path: Path) -> None:
    folder = null_bundle()
    other = tmp_path / "elsewhere" / "renamed"
    shutil.copytree(folder, other)
    for path in other.iterdir():
        os.utime(path, (1e9, 1e9))
        path.chmod(0o600)
    forms = [packed(place, tmp_path / f"{n}.tar.zst", threads=n) for place in (folder, other) for n in (1, 2, 5)]
    assert len(set(forms)) == 1


def test_large_files_have_one_form_too(null_bundle: MakeBundle, tmp_path: Path) -> None:
    """Several of zstd's jobs, so that threads share the work."""
    contents = list_contents(null_bundle())
    noise = b"".join(os.urandom(1 << 20) * 4 for _ in range(8))
    contents.texts["noise.bin"] = noise
    contents.files["noise.bin"] = describe_bytes(noise)
    for threads in (1, 3):
        pack(contents, tmp_path / f"{threads}.tar.zst", threads=threads)
    assert (tmp_path / "1.tar.zst").read_bytes() == (tmp_path / "3.tar.zst").read_bytes()


@pytest.mark.parametrize("damage", [b"WEIGHTS of other kind", b"target.f32.irpA", b""])
def test_changed_weights_are_found_on_the_way(null_bundle: MakeBundle, tmp_path: Path, damage: bytes) -> None:
    folder = null_bundle()
    contents = list_contents(folder)
    (folder / "target.f32.irpa").write_bytes(damage)
    with pytest.raises(BundleError, match=r"target\.f32\.irpa was changed"):
        pack(contents, tmp_path / "x.tar.zst")
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_a_file_that_vanishes_is_named(null_bundle: MakeBundle, tmp_path: Path) -> None:
    folder = null_bundle()
    contents = list_contents(folder)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(BundleError, match=r"cannot read .*tokenizer\.json"):
        pack(contents, tmp_path / "x.tar.zst")
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_an_interrupt_leaves_nothing(null_bundle: MakeBundle, tmp_path: Path) -> None:
    def interrupt(what: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    contents = list_contents(null_bundle())
    with pytest.raises(KeyboardInterrupt):
        pack(contents, tmp_path / "x.tar.zst", report=interrupt)
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_an_existing_file_stays_unless_it_is_to_go(null_bundle: MakeBundle, tmp_path: Path) -> None:
    contents, path = list_contents(null_bundle()), tmp_path / "x.tar.zst"
    path.write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        pack(contents, path)
    assert path.read_text() == "mine"
    pack(contents, path, replace=True)
    assert path.stat().st_size > 100


def test_a_pipe_is_written_to(null_bundle: MakeBundle, tmp_path: Path) -> None:
    folder, pipe, got = null_bundle(), tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    pack(list_contents(folder), pipe)
    reader.join()
    assert got == [packed(folder, tmp_path / "x.tar.zst")]


def test_progress_ends_at_all_bytes(null_bundle: MakeBundle, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    contents = list_contents(null_bundle())
    pack(contents, tmp_path / "x.tar.zst", report=lambda what, done, total: seen.append((done, total)))
    assert seen == sorted(seen) and seen[-1] == (contents.total, contents.total)


def test_names_that_no_pack_can_hold(null_bundle: MakeBundle) -> None:
    contents = list_contents(null_bundle())
    contents.files["with a space"] = contents.files["tokenizer.json"]
    with pytest.raises(BundleError, match="'with a space' is no name for a file of a bundle"):
        manifest_of(contents)
