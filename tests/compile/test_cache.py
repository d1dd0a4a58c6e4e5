"""What was made once is found again, and nothing else is."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from paceline.compile.cache import Cache, default_folder, key, place
from paceline.errors import UsageError


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def _writer(text: str, calls: list[str]) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        calls.append(text)
        path.write_text(text)

    return write


def test_an_entry_is_made_once(cache: Cache) -> None:
    calls: list[str] = []
    first = cache.make("k", "txt", _writer("one", calls))
    again = cache.make("k", "txt", _writer("two", calls))
    assert first == again
    assert again.path.read_text() == "one"
    assert again.entry.bytes == 3
    assert calls == ["one"]


def test_an_entry_that_was_changed_is_made_again(cache: Cache) -> None:
    entry = cache.make("k", "txt", _writer("one", []))
    entry.path.write_text("1ne")
    os.utime(entry.path, ns=(1, 1))
    assert cache.find("k", "txt") is None
    assert cache.make("k", "txt", _writer("two", [])).path.read_text() == "two"


def test_an_entry_that_was_cut_is_made_again(cache: Cache) -> None:
    entry = cache.make("k", "txt", _writer("one", []))
    state = entry.path.stat()
    entry.path.write_text("o")
    os.utime(entry.path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert cache.find("k", "txt") is None


def test_what_fails_half_way_leaves_nothing(cache: Cache) -> None:
    def fail(path: Path) -> None:
        path.write_text("half")
        raise ValueError("stopped")

    with pytest.raises(ValueError, match="stopped"):
        cache.make("k", "txt", fail)
    assert list(cache.folder.iterdir()) == []


def test_a_bundle_gets_the_same_bytes(cache: Cache, tmp_path: Path) -> None:
    entry = cache.make("k", "txt", _writer("one", []))
    place(entry, tmp_path / "placed")
    assert (tmp_path / "placed").read_text() == "one"


def test_what_nobody_wants_any_more_is_forgotten(cache: Cache, tmp_path: Path) -> None:
    for name in ("wanted", "unwanted", "shared"):
        cache.make(name, "reach.json", _writer(name, []))
    cache.make("new", "txt", _writer("new", []))
    place(found := cache.make("shared", "reach.json", _writer("", [])), tmp_path / "bundle")
    (cache.folder / ".killed-1").mkdir()
    (cache.folder / ".killed-1" / "half").write_text("half")
    (cache.folder / "bare.capture.json").write_text("{}")
    for path in cache.folder.iterdir():
        if not path.name.startswith("new"):
            state = path.stat()
            os.utime(path, ns=(0, state.st_mtime_ns if path.name.endswith("reach.json") else 0))
    assert cache.find("wanted", "reach.json")
    cache.forget()
    names = {path.name for path in cache.folder.iterdir()}
    assert names == {"wanted.reach.json", "wanted.reach.json.json", "new.txt", "new.txt.json"}
    assert (tmp_path / "bundle").read_text() == "shared" and not found.path.exists()
    cache.forget(unwanted_for=-1)
    assert not any(cache.folder.iterdir())


def test_a_cache_that_may_not_be_written_serves(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    made = cache.make("k", "txt", _writer("one", []))

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "utime", refuse)
    monkeypatch.setattr(Path, "unlink", refuse)
    assert cache.find("k", "txt") == made
    cache.forget(unwanted_for=-1)
    assert cache.find("k", "txt") == made


def test_keys_follow_their_inputs() -> None:
    assert key("a", 1) == key("a", 1)
    assert len({key("a", 1), key("a", 2), key("b", 1), key("a", 1, by=("cpu",))}) == 4


def test_the_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PACELINE_CACHE", str(tmp_path / "here"))
    assert default_folder() == tmp_path / "here" / "compile"
    monkeypatch.delenv("PACELINE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "paceline" / "compile"


def test_a_folder_whose_name_is_no_utf8_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is no name in UTF-8"):
        Cache(tmp_path / os.fsdecode(b"\xff"))
    assert list(tmp_path.iterdir()) == []
