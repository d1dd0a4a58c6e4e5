"""The form of a pack: one zstd frame of one tar archive, which begins with a manifest of all that follows.

pack.json      this manifest: what it is for, and size and SHA-256 of every other member, in order
bundle.json    then plan and measurements, texts, programs, weights

Members are regular files with plain names, in the manifest's order, and nothing follows them, so everything can be
judged before a byte is written. Headers hold no owner, no time and one mode: a bundle has one form.
"""

from __future__ import annotations

import re
import tarfile

import msgspec

from paceline.checksums import FileEntry
from paceline.errors import BundleError
from paceline.partition.bundle import MANIFEST

SCHEMA = 1
PACK = "pack.json"
SUFFIX = ".tar.zst"
BLOCK = tarfile.BLOCKSIZE
END = bytes(2 * BLOCK)
MOST_MANIFEST = 1 << 20  # bytes of pack.json that are read
MOST_BUNDLE = 16 << 20  # the same of bundle.json; both are read before anything is known to be sound
MOST_WINDOW = 8 << 20  # bytes that unpacking has to remember; what compression levels up to 19 ask for
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]{0,98}")
_KINDS = {
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.LNKTYPE: "a hard link",
    tarfile.DIRTYPE: "a folder",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a named pipe",
}


class PackManifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """pack.json: ``bundle`` is the digest of the bundle, ``soc`` the name of what it was compiled for."""

    schema: int = SCHEMA
    name: str
    soc: str
    bundle: str
    files: dict[str, FileEntry]

    def __post_init__(self) -> None:
        for name in self.files:
            if not _NAME.fullmatch(name) or name == PACK:
                raise ValueError(f"{name!r} is no name for a file of a bundle")
        if next(iter(self.files), None) != MANIFEST:
            raise ValueError(f"the first file is {next(iter(self.files), None)!r}, expected {MANIFEST!r}")

    @property
    def total(self) -> int:
        """Bytes of all files."""
        return sum(entry.bytes for entry in self.files.values())


def header(name: str, size: int) -> bytes:
    """The block before a member of ``size`` bytes."""
    member = tarfile.TarInfo(name)
    member.size = size
    return member.tobuf(tarfile.GNU_FORMAT)


def padding(size: int) -> int:
    """Zero bytes after a member of ``size`` bytes."""
    return -size % BLOCK


def member_size(block: bytes, name: str) -> int:
    """Size of the member whose header is ``block``, if it is the regular file ``name``.

    Raises:
        BundleError: a sentence without a subject: another name, a link, a device, or no header at all.
    """
    if not any(block):
        raise BundleError(f"ends before {name}")
    try:
        member = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.TarError as error:
        raise BundleError(f"is damaged before {name}: {error}") from error
    if member.type != tarfile.REGTYPE:
        kind = _KINDS.get(member.type, "no regular file")
        raise BundleError(f"holds {member.name!r}, which is {kind}; packs hold plain files only")
    if not _NAME.fullmatch(member.name):
        raise BundleError(f"holds {member.name!r}, which is no plain file name and might lead out of the folder")
    if member.name != name:
        raise BundleError(f"holds {member.name!r} where {name!r} should be")
    return member.size
