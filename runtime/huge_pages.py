"""Weights in huge pages, where the kernel can keep a file so: a pass then waits less for page tables.

Reading weights is what a pass of few tokens does, gigabytes a second, and with pages of 4 KiB the processor looks one
up every 64 lines. The page cache of recent kernels (ext4 since Linux 6.16, XFS and others before) has huge pages for
what is first read through a mapping that was advised to, and every later mapping gets them too. What was read or
written otherwise before, as by a compiler, lies in small pages and stays there, so it is dropped and read once more.
The file stays mapped, shared and the kernel's to evict, as a copy in memory of the process would not.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import numpy as np

_SIZE_FILE = Path("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size")
_FREE_FILE = Path("/proc/buddyinfo")
_POPULATE_READ = 22  # MADV_POPULATE_READ, which Python has no name for
_ENOUGH = 0.9  # of a file, before it is read once more for the rest


def gather(path: Path) -> float:
    """Have the cached pages of a file be huge ones if the kernel can, and say which share of it is in such.

    Reads the file where it was not in memory. Whatever stands in the way leaves small pages, which do as well.
    """
    piece = _piece()
    if not piece:
        return 0.0
    try:
        with path.open("rb") as file:
            return _gather(file.fileno(), os.fstat(file.fileno()).st_size, piece)
    except (OSError, ValueError):
        return 0.0


def _gather(file: int, size: int, piece: int) -> float:
    if size < piece or not (_share(file, piece) or _share_anew(file, piece)):
        return 0.0
    share = _share(file, size)
    return share if share >= _ENOUGH or _room(piece) < size else _share_anew(file, size)


def _piece() -> int:
    """Bytes of a huge page; 0 where there are none."""
    try:
        return int(_SIZE_FILE.read_text()) if hasattr(mmap, "MADV_HUGEPAGE") else 0
    except (OSError, ValueError):
        return 0


def _room(piece: int) -> int:
    """Bytes of free memory in such pieces or larger ones, without which a file that is read again is in small pages."""
    order, total = (piece // mmap.PAGESIZE).bit_length() - 1, 0
    for line in _FREE_FILE.read_text().splitlines():
        counts = [int(count) for count in line.split()[4:]]
        total += sum(count << (at - order) for at, count in enumerate(counts) if at >= order)
    return total * piece


def _share_anew(file: int, length: int) -> float:
    os.fdatasync(file)  # what is not on the disk yet is not dropped
    os.posix_fadvise(file, 0, length, os.POSIX_FADV_DONTNEED)
    return _share(file, length)


def _share(file: int, length: int) -> float:
    """Of the first ``length`` bytes, read into memory: how many are mapped by huge pages."""
    with mmap.mmap(file, length, access=mmap.ACCESS_READ) as mapping:
        mapping.madvise(mmap.MADV_HUGEPAGE)
        mapping.madvise(_POPULATE_READ)
        return _huge_bytes(np.frombuffer(mapping, dtype=np.uint8).ctypes.data) / length


def _huge_bytes(address: int) -> int:
    """What the kernel says of the mapping of this process that begins at ``address``."""
    mappings = "\n" + Path("/proc/self/smaps").read_text()
    words = mappings.partition(f"\n{address:x}-")[2].partition("FilePmdMapped:")[2].split(maxsplit=1)
    return int(words[0]) << 10 if words else 0
