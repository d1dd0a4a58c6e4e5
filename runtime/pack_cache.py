"""A pack that is used like a folder: unpacked once into the cache, under the checksum of its manifest.

The manifest is the first member, so that a later start reads one block of the pack and finds its folder.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from paceline.console import Report, quiet
from paceline.errors import OutputError
from paceline.files import cache_folder
from paceline.runtime.bundle_cache import LOCK, PACKS
from paceline.runtime.pack_stream import open_pack
from paceline.runtime.unpack import check_machine, write_members


def bundle_folder(path: Path, *, report: Report = quiet) -> Path:
    """``path`` itself, or where it is one file, the folder that this pack was unpacked into, now or earlier.

    Raises:
        BundleError: a file that is no pack, of another schema, or a damaged one.
        DeviceUnavailable: it is for another SoC than this machine.
        OutputError: the cache cannot be written, or the disk is full.
    """
    if not path.exists() or path.is_dir():
        return path
    with open_pack(path) as pack:
        folder = cache_folder(PACKS) / hashlib.sha256(pack.head).hexdigest()
        if os.access(folder, os.F_OK):
            return folder
        check_machine(pack.bundle)
        with _alone(folder.parent):
            if not folder.is_dir():
                write_members(pack, folder, report=report)
                size = pack.manifest.total / 1e6
                logging.getLogger(__name__).warning("unpacked into %s, %.1f MB, for this and later runs", folder, size)
    return folder


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Wait for other processes that unpack into ``folder``: the second finds what the first has made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / LOCK).open("w")
    except OSError as error:
        reason = error.strerror or str(error)
        remedy = "set PACELINE_CACHE to a folder that may be written, or unpack it with 'paceline unpack'"
        raise OutputError(f"cannot write into the cache, {folder}: {reason}; {remedy}") from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for left in folder.glob(".*-*"):  # of a process that was killed: a live one would hold the lock
            shutil.rmtree(left, ignore_errors=True)
        yield
