"""A bundle's folder becomes one file: written once, front to back, every byte checked against its checksum."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Protocol

import msgspec
import zstandard

from paceline.checksums import FileEntry
from paceline.console import Report, quiet
from paceline.errors import BundleError
from paceline.files import new_file
from paceline.partition.contents import Contents
from paceline.runtime.pack_format import END, PACK, PackManifest, header, padding

LEVEL = 3  # higher ones save a few percent of f32 weights, nothing of rounded ones, and take several times as long
_CHUNK = 1 << 20


class _Sink(Protocol):
    def write(self, data: bytes, /) -> object: ...


def manifest_of(contents: Contents) -> PackManifest:
    """What a pack of ``contents`` begins with.

    Raises:
        BundleError: a file has a name that packs cannot hold.
    """
    bundle = contents.bundle
    try:
        return PackManifest(name=bundle.name, soc=bundle.soc.name, bundle=bundle.digest, files=contents.files)
    except ValueError as error:
        raise BundleError(f"{contents.folder} cannot be packed: {error}; compile it again") from error


def pack(
    contents: Contents, path: Path, *, replace: bool = False, threads: int = -1, report: Report = quiet
) -> PackManifest:
    """Write a pack to ``path``; equal contents give equal bytes, whatever the number of ``threads`` (-1: one a core).

    Raises:
        BundleError: a file is not what bundle.json says.
        OutputError: ``path`` exists and is not to be replaced, cannot be written, or the disk is full.
    """
    manifest = manifest_of(contents)
    # no fewer than one thread: zstd's own form without threads is another one
    compressor = zstandard.ZstdCompressor(level=LEVEL, threads=threads, write_checksum=True)
    with new_file(path, replace=replace) as file, compressor.stream_writer(file, closefd=False) as sink:
        head = msgspec.json.encode(manifest)
        _write_member(sink, PACK, len(head), [head])
        done = 0
        for name, entry in manifest.files.items():
            _write_member(sink, name, entry.bytes, _counted(_checked(contents, name, entry), done, manifest, report))
            done += entry.bytes
        sink.write(END)
    return manifest


def _write_member(sink: _Sink, name: str, size: int, chunks: Iterable[bytes]) -> None:
    sink.write(header(name, size))
    for chunk in chunks:
        sink.write(chunk)
    sink.write(bytes(padding(size)))


def _counted(chunks: Iterable[bytes], done: int, manifest: PackManifest, report: Report) -> Iterator[bytes]:
    for chunk in chunks:
        yield chunk
        report("packing", done := done + len(chunk), manifest.total)


def _checked(contents: Contents, name: str, entry: FileEntry) -> Iterator[bytes]:
    """Bytes of a file; refuses at the end, before the pack is whole, if they are not those of ``entry``."""
    path, digest, size = contents.folder / name, hashlib.sha256(), 0
    for chunk in [contents.texts[name]] if name in contents.texts else _chunks(path):
        size += len(chunk)
        if size > entry.bytes:
            break
        digest.update(chunk)
        yield chunk
    if (size, digest.hexdigest()) != (entry.bytes, entry.sha256):
        raise BundleError(f"{path} was changed: its checksum is not the one in bundle.json; compile it again")


def _chunks(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            yield from _blocks(file)
    except OSError as error:
        raise BundleError(f"cannot read {path}: {error.strerror}") from error


def _blocks(file: IO[bytes]) -> Iterator[bytes]:
    while block := file.read(_CHUNK):
        yield block
