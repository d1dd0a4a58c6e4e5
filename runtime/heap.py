"""How glibc's heap is kept small.

Reading a prompt takes buffers of megabytes for moments (logits of all its rows). glibc maps the first of them by
themselves, but once one is freed it takes such sizes for usual and puts the next ones on the heap, up to 32 MiB each;
whatever small thing is made behind one of them holds its pages for ever. With fixed thresholds large buffers stay
apart and go back to the system, at no cost that a pass would show.
"""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache
from typing import Any

LARGE = 1 << 20  # bytes; passes take as long as with 8 MiB
_KEPT = 32 << 20  # bytes of free heap that are not given back at once: passes take and free as much, again and again
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_SET_BY_USERS = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_")


@cache
def keep_large_buffers_apart() -> bool:
    """Fix the thresholds of this process, once; False where there is no glibc, or where the environment sets them."""
    libc = _glibc()
    if libc is None or any(name in os.environ for name in _SET_BY_USERS):
        return False
    return bool(libc.mallopt(_M_MMAP_THRESHOLD, LARGE) and libc.mallopt(_M_TRIM_THRESHOLD, _KEPT))


def give_back() -> None:
    """Return the heap's free pages to the system, as after loading, which parses much and keeps little."""
    libc = _glibc()
    if libc is not None:
        libc.malloc_trim(0)


def _glibc() -> Any:
    """The C library, if it is glibc."""
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "gnu_get_libc_version") and hasattr(libc, "mallopt") else None
