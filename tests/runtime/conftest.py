"""A packed bundle, for all that read one."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from paceline.partition.contents import list_contents
from paceline.runtime.pack import pack
from tests.runtime.packs import Files, plain_of


@pytest.fixture
def bundle(null_bundle: Callable[..., Path]) -> Path:
    """A bundle of a few kilobytes."""
    return null_bundle(template="t")


@pytest.fixture
def sound(bundle: Path, tmp_path: Path) -> Path:
    """Its pack."""
    pack(list_contents(bundle), path := tmp_path / "sound.tar.zst")
    return path


@pytest.fixture
def files(sound: Path) -> Files:
    """Its members, pack.json first."""
    with tarfile.open(fileobj=io.BytesIO(plain_of(sound.read_bytes()))) as archive:
        return {m.name: archive.extractfile(m).read() for m in archive.getmembers()}  # type: ignore[union-attr]
