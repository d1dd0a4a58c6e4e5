"""Compiled things by what they were made of: ``$PACELINE_CACHE/compile`` or ``~/.cache/paceline/compile``.

<key>.<suffix>         the thing
<key>.<suffix>.json    its size, checksum and time of change; an entry that no longer fits is made again

When a receipt was last changed says when its entry was last wanted.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache as once
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec

from paceline.checksums import FileEntry, describe
from paceline.documents import write_json
from paceline.encoding import utf8_name
from paceline.files import cache_folder, writing

TOOLS = ("paceline", "iree-base-compiler", "torch", "numpy")
KEPT_SECONDS = 30 * 24 * 3600.0


class _Receipt(msgspec.Struct, frozen=True, kw_only=True):
    entry: FileEntry
    changed: int


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A cached file and its checksum, known without reading it."""

    path: Path
    entry: FileEntry


class Cache:
    """A folder of finished files. Several processes may share it: a file appears whole or not at all."""

    def __init__(self, folder: Path) -> None:
        utf8_name(folder)
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder

    def find(self, key: str, suffix: str) -> Entry | None:
        """The entry, unless it is absent or was changed since it was made."""
        path = self.folder / f"{key}.{suffix}"
        try:
            receipt = msgspec.json.decode(_receipt_of(path).read_bytes(), type=_Receipt)
            state = path.stat()
        except (OSError, msgspec.DecodeError):
            return None
        unchanged = (state.st_size, state.st_mtime_ns) == (receipt.entry.bytes, receipt.changed)
        if not unchanged:
            return None
        with suppress(OSError):  # a cache that may only be read serves all the same
            os.utime(_receipt_of(path))
        return Entry(path=path, entry=receipt.entry)

    def make(self, key: str, suffix: str, write: Callable[[Path], None]) -> Entry:
        """The entry, made by ``write(path)`` if it is not there.

        Raises:
            OutputError: the cache cannot be written, or the disk is full.
        """
        return self.find(key, suffix) or self.remake(key, suffix, write)

    def remake(self, key: str, suffix: str, write: Callable[[Path], None]) -> Entry:
        """The entry, made anew."""
        path = self.folder / f"{key}.{suffix}"
        with writing(path):
            scratch = Path(tempfile.mkdtemp(prefix=f".{key[:12]}-", dir=self.folder))
            try:
                made = scratch / path.name
                write(made)
                made.chmod(0o644)
                entry = describe(made)
                receipt = _Receipt(entry=entry, changed=made.stat().st_mtime_ns)
                _receipt_of(path).unlink(missing_ok=True)
                made.replace(path)
                write_json(_receipt_of(path), receipt)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
        return Entry(path=path, entry=entry)

    def forget(self, *, unwanted_for: float = KEPT_SECONDS) -> None:
        """Remove what nobody wanted for so many seconds, with what a killed process left behind.

        Bundles keep what they share with it. What cannot be removed stays: another process may be faster.
        """
        before = time.time() - unwanted_for
        with suppress(OSError):
            for path in list(self.folder.iterdir()):
                with suppress(OSError):
                    self._forget(path, before)

    def _forget(self, path: Path, before: float) -> None:
        """``path`` with its receipt; a receipt goes with what it is of."""
        receipt = _receipt_of(path)
        if path.suffix == receipt.suffix and path.with_suffix("").exists():
            return
        if (receipt if receipt.exists() else path).stat().st_mtime >= before:
            return
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            receipt.unlink(missing_ok=True)
            path.unlink(missing_ok=True)


def default_folder() -> Path:
    """Where compiled things are kept."""
    return cache_folder("compile")


def key(*inputs: object, by: tuple[str, ...] = ()) -> str:
    """Identity of what is made from ``inputs`` (values that JSON can hold) by these versions of all tools.

    ``by`` names the modules that make it, as paths from this folder: a changed decoder never meets an old program.
    """
    sources = [hashlib.sha256((Path(__file__).parent / f"{name}.py").read_bytes()).hexdigest() for name in by]
    return hashlib.sha256(msgspec.json.encode([versions(), sources, inputs], order="sorted")).hexdigest()


def place(entry: Entry, path: Path) -> None:
    """Put a cached file at ``path``: a hard link where the file system has them, else a copy."""
    try:
        path.hardlink_to(entry.path)
    except OSError:
        shutil.copyfile(entry.path, path)


@once
def versions() -> dict[str, str]:
    """Versions of the tools that shape a program."""
    return {name: _version(name) for name in TOOLS}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"


def _receipt_of(path: Path) -> Path:
    return path.with_name(path.name + ".json")
