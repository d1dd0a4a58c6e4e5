"""What manifests say of files."""

from __future__ import annotations

from pathlib import Path

import pytest

from paceline.checksums import FileEntry, check_files, describe, describe_bytes
from paceline.errors import BundleError


def test_a_checksum_is_sha256(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert describe(tmp_path / "a") == FileEntry(bytes=3, sha256=expected)
    assert describe_bytes(b"abc") == describe(tmp_path / "a")


def test_files_are_those_that_a_manifest_lists(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    entry = describe(tmp_path / "a")

    def check(name: str = "a", *, every_byte: bool = True) -> None:
        manifest = tmp_path / "bundle.json"
        check_files(manifest, {name: entry}, every_byte=lambda _: every_byte, error=BundleError, remedy="make it anew")

    check()
    (tmp_path / "a").write_bytes(b"abd")
    check(every_byte=False)
    with pytest.raises(BundleError, match=r"was changed: its checksum is not the one in bundle\.json; make it anew"):
        check()
    (tmp_path / "a").write_bytes(b"ab")
    with pytest.raises(BundleError, match="has 2 bytes, expected 3"):
        check(every_byte=False)
    for name, reason in (("b", "is missing"), ("../a", "not a plain file name")):
        with pytest.raises(BundleError, match=reason):
            check(name)
