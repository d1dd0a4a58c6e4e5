"""Files are whole or absent."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from paceline.errors import OutputError, UsageError
from paceline.files import cache_folder, check_place, new_file, new_folder, write_bytes, writing


def test_a_folder_appears_only_when_its_body_ends(tmp_path: Path) -> None:
    with new_folder(tmp_path / "out") as scratch:
        (scratch / "a").write_text("1")
        assert not (tmp_path / "out").exists()
    assert (tmp_path / "out" / "a").read_text() == "1"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_interrupted_folder_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), new_folder(tmp_path / "out") as scratch:
        (scratch / "a").write_text("1")
        raise error
    assert list(tmp_path.iterdir()) == []


def test_replacing_keeps_the_old_folder_until_the_new_one_is_whole(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "old").write_text("1")
    with pytest.raises(KeyboardInterrupt), new_folder(out, replace=True):
        raise KeyboardInterrupt
    assert (out / "old").exists()
    with new_folder(out, replace=True) as scratch:
        (scratch / "new").write_text("2")
    assert [p.name for p in out.iterdir()] == ["new"]
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_an_interrupt_between_the_two_renames_brings_the_old_folder_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "old").write_text("1")
    rename = Path.rename

    def interrupted(self: Path, target: Path) -> Path:
        if target == out and not (self / "old").exists():
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt), new_folder(out, replace=True) as scratch:
        (scratch / "new").write_text("2")
    assert [p.name for p in out.iterdir()] == ["old"]
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_taken_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match="exists already"), new_folder(tmp_path):
        pass
    assert (tmp_path / "file").read_text() == "mine"


def test_an_unwritable_place_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"), new_folder(tmp_path / "file" / "out"):
        pass


def test_a_full_disk_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="the disk is full"), writing(tmp_path):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_what_appears_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    folder, file = tmp_path / "folder", tmp_path / "file"
    with pytest.raises(OutputError, match="folder exists already"), new_folder(folder):
        (folder / "of somebody else").mkdir(parents=True)
    with pytest.raises(OutputError, match="file exists already"), new_file(file) as new:
        new.write(b"ours")
        file.write_bytes(b"theirs")
    assert file.read_bytes() == b"theirs" and [entry.name for entry in folder.iterdir()] == ["of somebody else"]
    assert {entry.name for entry in tmp_path.iterdir()} == {"folder", "file"}


@pytest.mark.parametrize("name", ["a" * 255, "\u65e5" * 85])
def test_names_as_long_as_names_may_be(tmp_path: Path, name: str) -> None:
    write_bytes(tmp_path / name, b"value")
    with new_folder(tmp_path / "folders" / name) as scratch:
        (scratch / "x").touch()
    assert (tmp_path / name).read_bytes() == b"value" and (tmp_path / "folders" / name / "x").exists()
    with pytest.raises(OutputError, match="File name too long"):
        write_bytes(tmp_path / (name + "b"), b"value")


def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"cannot write .*: there is no folder .*absent$"):
        write_bytes(tmp_path / "absent" / "x", b"value")


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a", b"old")
    write_bytes(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_the_cache_needs_a_home_or_to_be_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("PACELINE_CACHE", raising=False)
    with pytest.raises(UsageError, match="no home folder; set PACELINE_CACHE"):
        cache_folder("x")
    monkeypatch.setenv("PACELINE_CACHE", str(tmp_path))
    assert cache_folder("x") == tmp_path / "x"


def test_what_is_no_file_is_written_to_and_stays(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_bytes(pipe, b"value")
    assert os.read(reader, 9) == b"value"
    os.close(reader)
    assert pipe.is_fifo()
    with pytest.raises(OutputError, match="Is a directory"):
        write_bytes(tmp_path, b"value")


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("file")
    write_bytes(tmp_path / "link", b"value")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_bytes() == b"value"


def test_a_place_is_checked_before_anything_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert check_place(tmp_path / "new.json") == tmp_path / "new.json"
    for place, reason in ((tmp_path / "absent" / "a", "there is no folder"), (tmp_path, "it is a folder")):
        with pytest.raises(OutputError, match=reason):
            check_place(place)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "lost").symlink_to("/nowhere/file")
    for name, reason in (("loop", "a link that leads back to itself"), ("lost", "there is no folder /nowhere")):
        with pytest.raises(OutputError, match=reason):
            check_place(tmp_path / name)
    os.mkfifo(tmp_path / "pipe")
    # a user who may write to what is there, and make nothing beside it
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name in ("pipe", "stdout", "file"))
    assert check_place(tmp_path / "pipe") and check_place(Path("/dev/stdout"))
    with pytest.raises(OutputError, match="its folder is read-only"):
        check_place(tmp_path / "file")
    with pytest.raises(OutputError, match="it takes nothing from you"):
        check_place(Path("/dev/null"))
