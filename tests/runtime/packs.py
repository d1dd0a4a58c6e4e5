"""Packs made by hand: honest ones, and those that no packer would write."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zstandard

from paceline.checksums import describe_bytes
from paceline.errors import BundleError, PacelineError
from paceline.partition import Bundle
from paceline.runtime.pack_format import END, header, padding
from paceline.runtime.unpack import unpack

Files = dict[str, bytes]


def plain_of(data: bytes) -> bytes:
    return zstandard.ZstdDecompressor().decompressobj().decompress(data)


def compressed(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(data)


def member(name: str, data: bytes, *, size: int | None = None) -> bytes:
    return header(name, len(data) if size is None else size) + data + bytes(padding(len(data)))


def archived(files: Files, *, more: bytes = b"", end: bytes = END) -> bytes:
    return compressed(b"".join(member(name, data) for name, data in files.items()) + more + end)


def honest(files: Files) -> Files:
    """``files`` with a pack.json, and a bundle.json, that state what the files are."""
    head, described = json.loads(files["pack.json"]), json.loads(files["bundle.json"])
    described["files"] = {
        name: msgspec.to_builtins(describe_bytes(data)) for name, data in files.items() if name in described["files"]
    }
    changed = {**files, "bundle.json": json.dumps(described).encode()}
    entries = {name: describe_bytes(data) for name, data in changed.items() if name != "pack.json"}
    with suppress(msgspec.ValidationError):
        head["bundle"] = msgspec.convert(described, Bundle).digest
    return {**changed, "pack.json": msgspec.json.encode({**head, "files": entries})}


def edited(files: Files, name: str, /, **changes: Any) -> Files:
    return {**files, name: json.dumps({**json.loads(files[name]), **changes}).encode()}


@contextmanager
def nothing_left(folder: Path) -> Iterator[None]:
    before = {path: path.stat().st_size for path in folder.rglob("*")}
    yield
    assert {path: path.stat().st_size for path in folder.rglob("*")} == before


def refused(tmp_path: Path, data: bytes, found: str, error: type[PacelineError] = BundleError) -> None:
    (path := tmp_path / "x.tar.zst").write_bytes(data)
    with nothing_left(tmp_path), pytest.raises(error, match=found):
        unpack(path, tmp_path / "new" / "out")
