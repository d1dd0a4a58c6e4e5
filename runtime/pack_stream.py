"""Reading a pack front to back, once, member by member; nothing in it is believed before it was checked."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

import zstandard

from paceline.checksums import FileEntry
from paceline.documents import parse_json
from paceline.errors import BundleError
from paceline.partition.bundle import MANIFEST, parse_bundle
from paceline.partition.contents import DOCUMENTS
from paceline.runtime.pack_format import (
    BLOCK,
    END,
    MOST_BUNDLE,
    MOST_MANIFEST,
    MOST_WINDOW,
    PACK,
    SCHEMA,
    PackManifest,
    member_size,
    padding,
)

_MAGIC = b"\x28\xb5\x2f\xfd"
_CHUNK = 1 << 20
_REMEDY = "pack it again, or copy it anew"


class PackReader:
    """What a pack holds: the manifest, and the bundle.json after it, are read when this is made.

    Attributes:
        head: the bytes of pack.json; whatever differs in two packs of one schema differs here.
        manifest, bundle: both checked against each other.
        text: the bytes of bundle.json.
    """

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self._path, self._source = path, _Source(path, file)
        decompressor = zstandard.ZstdDecompressor(max_window_size=MOST_WINDOW)
        self._stream = decompressor.stream_reader(cast(IO[bytes], self._source), read_across_frames=False)
        self.head = self._small(PACK, MOST_MANIFEST)
        self.manifest = parse_json(
            self.head, PackManifest, where=f"{PACK} in {path}", error=BundleError, schema=SCHEMA, remedy=_REMEDY
        )
        self.text = self._small(MANIFEST, MOST_BUNDLE)
        self._check_sum(MANIFEST, FileEntry(bytes=len(self.text), sha256=hashlib.sha256(self.text).hexdigest()))
        self.bundle = parse_bundle(self.text, where=f"{MANIFEST} in {path}")
        self._check_agreement()

    def chunks(self, name: str) -> Iterator[bytes]:
        """Bytes of the next member, which must be ``name``, as the manifest has it; wrong ones raise at the end.

        Raises:
            BundleError: another member, another size, other bytes, or the archive ends.
        """
        entry, digest = self.manifest.files[name], hashlib.sha256()
        if (size := self._member(name)) != entry.bytes:
            raise BundleError(f"{name} in {self._path} has {size} bytes, its manifest says {entry.bytes}; {_REMEDY}")
        left = size
        while left:
            chunk = self._exactly(min(left, _CHUNK))
            left -= len(chunk)
            digest.update(chunk)
            yield chunk
        self._padding(size)
        self._check_sum(name, FileEntry(bytes=size, sha256=digest.hexdigest()))

    def finish(self) -> None:
        """Check that nothing follows the last member.

        Raises:
            BundleError: there is more, or the archive ends too early.
        """
        # asked for one byte more, so that zstd goes on to the end of its frame, and its checksum
        tail = self._read(len(END) + 1)
        if len(tail) < len(END):
            raise BundleError(f"{self._path} ends too early; {_REMEDY}")
        if tail != END:
            raise BundleError(f"{self._path} holds more than its manifest lists; {_REMEDY}")

    def _small(self, name: str, most: int) -> bytes:
        if (size := self._member(name)) > most:
            raise BundleError(f"{name} in {self._path} has {size} bytes, expected {most} at most; {_REMEDY}")
        data = self._exactly(size)
        self._padding(size)
        return data

    def _member(self, name: str) -> int:
        try:
            size = member_size(self._exactly(BLOCK), name)
        except BundleError as error:
            raise BundleError(f"{self._path} {error}; {_REMEDY}") from error
        if size < 0:
            raise BundleError(f"{name} in {self._path} has {size} bytes; {_REMEDY}")
        return size

    def _padding(self, size: int) -> None:
        if any(self._exactly(padding(size))):
            raise BundleError(f"{self._path} is damaged: there is something between its members; {_REMEDY}")

    def _check_sum(self, name: str, found: FileEntry) -> None:
        if found != self.manifest.files[name]:
            raise BundleError(f"{name} in {self._path} was changed: its checksum is not the manifest's; {_REMEDY}")

    def _check_agreement(self) -> None:
        """The manifest lists what bundle.json names, and plan and measurements at most."""
        listed, named = self.manifest.files, self.bundle.files
        if strange := set(listed) - set(named) - {MANIFEST, *DOCUMENTS}:
            raise BundleError(f"{self._path} holds {min(strange)!r}, which its bundle does not name; {_REMEDY}")
        for name, entry in named.items():
            if name in {MANIFEST, *DOCUMENTS} or listed.get(name) != entry:
                what = f"{PACK} and {MANIFEST} in {self._path} disagree about {name!r}"
                raise BundleError(f"{what}; {_REMEDY}")
        if self.manifest.bundle != self.bundle.digest or self.manifest.soc != self.bundle.soc.name:
            raise BundleError(f"{PACK} and {MANIFEST} in {self._path} are of different bundles; {_REMEDY}")

    def _exactly(self, size: int) -> bytes:
        parts = []
        while size:
            part = self._read(size)
            if not part:
                raise BundleError(f"{self._path} ends too early; {_REMEDY}")
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def _read(self, size: int) -> bytes:
        try:
            return bytes(self._stream.read(size))
        except zstandard.ZstdError as error:
            raise BundleError(f"{self._path} is damaged: {error}; {_REMEDY}") from error


class _Source:
    """The compressed file. The end of it is an error: zstd asks for no more once a frame is whole."""

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self._path, self._file = path, file
        self._start = self._some(len(_MAGIC))
        while 0 < len(self._start) < len(_MAGIC) and (more := self._some(len(_MAGIC) - len(self._start))):
            self._start += more
        if self._start != _MAGIC:
            raise BundleError(f"{path} is no pack: it does not begin as zstd does; make one with 'paceline pack'")

    def read(self, size: int) -> bytes:
        start, self._start = self._start, b""
        if not (data := start or self._some(size)):
            raise BundleError(f"{self._path} ends too early: it was cut; {_REMEDY}")
        return data

    def _some(self, size: int) -> bytes:
        try:
            return self._file.read(size)
        except OSError as error:
            raise BundleError(f"cannot read {self._path}: {error.strerror}") from error


@contextmanager
def open_pack(path: Path) -> Iterator[PackReader]:
    """Open a pack, which may be a pipe, and read what it says of itself.

    Raises:
        BundleError: no pack there, of another schema, or a damaged one.
    """
    if path.is_dir():
        raise BundleError(f"{path} is a folder, no pack; if it is a bundle, there is nothing to unpack")
    try:
        # A buffered file waits for all that was asked for without looking for signals in between.
        file = path.open("rb", buffering=0)
    except OSError as error:
        raise BundleError(f"cannot read {path}: {error.strerror}") from error
    with file:
        yield PackReader(path, file)
