"""Sizes and checksums of files, as manifests list them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated

import msgspec

from paceline.errors import PacelineError

_BLOCK = 1 << 20


class FileEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Size in bytes and SHA-256 of one file."""

    bytes: Annotated[int, msgspec.Meta(ge=0)]
    sha256: str


def describe(path: Path) -> FileEntry:
    """Size and checksum of a file, read in blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return FileEntry(bytes=path.stat().st_size, sha256=digest.hexdigest())


def describe_bytes(data: bytes) -> FileEntry:
    """Size and checksum of what a file holds, or is to hold."""
    return FileEntry(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())


def check_files(
    manifest: Path,
    files: Mapping[str, FileEntry],
    *,
    every_byte: Callable[[str], bool],
    error: Callable[[str], PacelineError],
    remedy: str,
) -> None:
    """Check the files that a manifest lists beside itself: presence and size, and the checksum where ``every_byte``.

    ``error`` builds what is raised of the first file that does not fit; ``remedy`` says what to do about it.
    """
    for name, entry in files.items():
        if Path(name).name != name:
            raise error(f"{manifest} names {name!r}, which is not a plain file name; {remedy}")
        path = manifest.parent / name
        if not path.is_file():
            raise error(f"{path} is missing; {remedy}")
        if (found := path.stat().st_size) != entry.bytes:
            raise error(f"{path} has {found} bytes, expected {entry.bytes}: it was cut or changed; {remedy}")
        if every_byte(name) and describe(path) != entry:
            raise error(f"{path} was changed: its checksum is not the one in {manifest.name}; {remedy}")
