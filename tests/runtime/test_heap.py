"""Large buffers leave nothing on the heap, in a process of its own: thresholds are the process's."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

# Buffers as prompts take them, each with something small behind it that stays. Prints the free bytes of the heap.
PROGRAM = """
import ctypes, sys
from paceline.runtime.heap import LARGE, keep_large_buffers_apart

libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]

class Heap(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in ("arena", "b", "c", "d", "e", "f", "g", "used", "free", "keep")]

libc.mallinfo2.restype = Heap
if sys.argv[1] == "apart":
    print(keep_large_buffers_apart(), end=" ")
for turn in range(40):
    large = libc.malloc(8 * LARGE + (40 - turn) * 4096)
    kept = libc.malloc(100_000)
    libc.free(large)
print(libc.mallinfo2().arena - libc.mallinfo2().used)
"""


def heap(*arguments: str, **environment: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], env={**os.environ, **environment}, capture_output=True, check=True
    )
    return done.stdout.decode().split()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs glibc")
def test_large_buffers_leave_no_free_pages_on_the_heap() -> None:
    (grown,) = heap("as it is")
    fixed, free = heap("apart")
    assert fixed == "True"
    assert int(free) < 1 << 20
    assert int(grown) > 7 << 20  # what glibc does by itself: the reason of it all


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs glibc")
def test_who_sets_the_thresholds_keeps_them() -> None:
    fixed, _ = heap("apart", MALLOC_MMAP_THRESHOLD_="65536")
    assert fixed == "False"
