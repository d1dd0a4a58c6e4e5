"""Headers that hold only what is needed, and what is said of those that hold anything else."""

from __future__ import annotations

import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline.checksums import FileEntry
from paceline.errors import BundleError
from paceline.runtime.pack_format import BLOCK, PackManifest, header, member_size, padding

ENTRY = FileEntry(bytes=1, sha256="")


@given(size=st.integers(0, 2**60))
def test_a_header_is_one_block_that_reads_back(size: int) -> None:
    block = header("target.int8.packed.irpa", size)
    assert len(block) == BLOCK
    assert member_size(block, "target.int8.packed.irpa") == size
    assert (size + padding(size)) % BLOCK == 0 and 0 <= padding(size) < BLOCK


def forged(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> bytes:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, link
    return member.tobuf(tarfile.USTAR_FORMAT)


@pytest.mark.parametrize(
    ("block", "found"),
    [
        (forged("../x"), r"holds '\.\./x', which is no plain file name and might lead out"),
        (forged("/etc/passwd"), "holds '/etc/passwd', which is no plain file name"),
        (forged("a/b"), "holds 'a/b', which is no plain file name"),
        (forged(".."), r"holds '\.\.', which is no plain file name"),
        (forged(".hidden"), "which is no plain file name"),
        (forged("a", tarfile.SYMTYPE, "/etc/passwd"), "holds 'a', which is a symbolic link"),
        (forged("a", tarfile.LNKTYPE, "/etc/passwd"), "holds 'a', which is a hard link"),
        (forged("a", tarfile.CHRTYPE), "holds 'a', which is a device"),
        (forged("a", tarfile.BLKTYPE), "holds 'a', which is a device"),
        (forged("a", tarfile.FIFOTYPE), "holds 'a', which is a named pipe"),
        (forged("a", tarfile.DIRTYPE), "holds 'a', which is a folder"),
        (forged("a", tarfile.XHDTYPE), "holds 'a', which is no regular file"),
        (forged("a", tarfile.GNUTYPE_LONGNAME), "holds 'a', which is no regular file"),
        (forged("a", tarfile.GNUTYPE_SPARSE), "holds 'a', which is no regular file"),
        (forged("b"), "holds 'b' where 'a' should be"),
        (bytes(BLOCK), "ends before a"),
        (b"\xff" * BLOCK, "is damaged before a: "),
    ],
)
def test_anything_but_the_expected_file_is_refused(block: bytes, found: str) -> None:
    with pytest.raises(BundleError, match=found):
        member_size(block, "a")


@given(block=st.binary(min_size=BLOCK, max_size=BLOCK))
def test_any_block_is_a_header_or_an_error_of_ours(block: bytes) -> None:
    with pytest.raises(BundleError):
        member_size(block, "a")


@given(at=st.integers(0, BLOCK - 1), value=st.integers(0, 255))
def test_a_changed_byte_is_seen_in_the_headers_own_sum(at: int, value: int) -> None:
    block = bytearray(header("a", 7))
    block[at] = value
    try:
        assert member_size(bytes(block), "a") == 7
    except BundleError:
        assert bytes(block) != header("a", 7)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/a", ".a", "a b", "a\n", "a\0", "ä", "x" * 100, "pack.json"])
def test_a_manifest_of_plain_names_only(name: str) -> None:
    with pytest.raises(ValueError, match="is no name for a file of a bundle"):
        PackManifest(name="", soc="", bundle="", files={"bundle.json": ENTRY, name: ENTRY})


@pytest.mark.parametrize("files", [{}, {"a": ENTRY}, {"a": ENTRY, "bundle.json": ENTRY}])
def test_a_manifest_begins_with_the_bundles(files: dict[str, FileEntry]) -> None:
    with pytest.raises(ValueError, match=r"expected 'bundle\.json'"):
        PackManifest(name="", soc="", bundle="", files=files)
