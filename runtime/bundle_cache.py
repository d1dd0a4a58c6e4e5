"""Bundles in the cache: packs that were used like folders, and what desks have sent here over ssh."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from paceline.files import cache_folder, writing

PACKS, SENT = "packs", "sent"
LOCK = ".lock"


def cached_bundles() -> dict[Path, int]:
    """Folder and bytes of each, what was left half-made included."""
    bases = [folder for name in (PACKS, SENT) if os.access(folder := cache_folder(name), os.R_OK | os.X_OK)]
    folders = (folder for base in bases for folder in sorted(base.iterdir()) if folder.is_dir())
    return {folder: _bytes(folder) for folder in folders}


def remove_cached_bundles() -> tuple[dict[Path, int], tuple[Path, ...]]:
    """Remove them; those that are gone, and those that somebody writes into at this moment, which stay.

    A process that runs one of them goes on.

    Raises:
        OutputError: one cannot be removed.
    """
    gone, busy = dict[Path, int](), list[Path]()
    for folder, size in cached_bundles().items():
        with writing(folder), _locked(_lock_of(folder)) as ours:
            if ours:  # under a name that nobody looks for, if it is interrupted
                shutil.rmtree(folder.rename(folder.with_name(f".{folder.name.strip('.')}-gone")))
                gone[folder] = size
            else:
                busy.append(folder)
    return gone, tuple(busy)


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def _lock_of(folder: Path) -> Path:
    """One for all packs, and one for each bundle that was sent."""
    return (folder.parent if folder.parent.name == PACKS else folder) / LOCK


@contextmanager
def _locked(path: Path) -> Iterator[bool]:
    """Whether nobody else holds the lock; it is held while the body runs."""
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
