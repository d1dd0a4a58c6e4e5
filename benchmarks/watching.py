"""A process watched while it works: anonymous memory, threads and open files, from samples over time.

Of memory a line is fitted; it is flat where the line, plus twice its standard error, rises by less than a bound.

What IREE puts results and scratch of passes into is looked at by itself. Its task device takes one slab of 64 MiB when
it opens and fills it wherever there is room, so that pages of it are reached long after they were taken: that is no
growth, and can't be told from it by looking at all memory. A slab that ran full would be joined by another one, which
counts as growth.
"""

from __future__ import annotations

import mmap
import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from memory import resident

WARM_UP = 0.2
SAMPLES = 2000
# What the task device takes at once (local_task/task_device.c, IREE 3.13), and what the allocator may add.
SLAB = 64 << 20
HEADER = 1 << 16
PAGE = mmap.PAGESIZE
# Set in the size of a block that malloc mapped by itself.
_MAPPED = 2


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes over time after the warm-up: what the fitted line rises by, and twice the standard error of that."""

    samples: int
    median: float
    rise: float
    error: float
    bound: float

    @property
    def flat(self) -> bool:
        return self.rise + self.error <= self.bound


def find_slabs() -> tuple[range, ...]:
    """Addresses of IREE's slabs: where glibc's malloc, asked for so much, mapped a block of its own and says so."""
    found = []
    with Path("/proc/self/mem").open("rb", buffering=0) as memory:
        for first, last in _anonymous_mappings():
            address = first
            while address + SLAB < last:
                size = int.from_bytes(os.pread(memory.fileno(), 8, address + 8), "little")
                if size & _MAPPED and SLAB < size & ~7 < SLAB + HEADER:
                    found.append(range(address, address + (size & ~7)))
                    address = found[-1].stop
                else:
                    address += PAGE
    return tuple(found)


def touched(addresses: range) -> int:
    """Bytes of pages of this process that are resident or swapped."""
    with Path("/proc/self/pagemap").open("rb", buffering=0) as pages:
        entries = os.pread(pages.fileno(), 8 * len(addresses) // PAGE, 8 * addresses.start // PAGE)
    return PAGE * int(np.count_nonzero(np.frombuffer(entries, np.uint64) >> np.uint64(62)))


def _anonymous_mappings() -> Iterator[tuple[int, int]]:
    """First address and end of what this process can write and has no file for."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        if header := re.match(r"([0-9a-f]+)-([0-9a-f]+) rw-p \S+ 00:00 0\s*$", line):
            yield int(header[1], 16), int(header[2], 16)


def fit(seconds: NDArray[np.float64], values: NDArray[np.float64], *, bound: float) -> Line:
    """The least-squares line through ``values`` and what it rises by from the first to the last of ``seconds``."""
    span = float(seconds[-1] - seconds[0])
    x, y = seconds - seconds.mean(), values - values.mean()
    slope = float(x @ y / (x @ x))
    spread = float(np.sqrt(((y - slope * x) ** 2).sum() / max(1, len(x) - 2) / (x @ x)))
    median = float(np.median(values))
    return Line(samples=len(x), median=median, rise=slope * span, error=2 * spread * span, bound=bound)


class Watch:
    """Samples of the process, in memory that was taken beforehand: watching must not grow either."""

    def __init__(self, duration: float) -> None:
        self._duration = duration
        self._rows = np.full((SAMPLES, 3), -1.0)
        self._taken = 0
        self._slabs = find_slabs()
        self._start = time.monotonic()
        self.counts: dict[str, tuple[int, int]] = {}

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self._start

    def look(self) -> None:
        """Take a sample, at most ``SAMPLES`` of them over the whole."""
        elapsed = self.elapsed
        if self._taken == SAMPLES or elapsed < self._taken * self._duration / SAMPLES:
            return
        inside = sum(map(touched, self._slabs))
        self._rows[self._taken] = elapsed, resident().anonymous - inside, inside
        self._taken += 1
        if elapsed > WARM_UP * self._duration:
            for name in ("task", "fd"):
                found = len(list(Path(f"/proc/self/{name}").iterdir()))
                self.counts[name] = self.counts.get(name, (found, found))[0], found

    def series(self) -> NDArray[np.float64]:
        """Seconds, bytes outside the slabs, and bytes in them [samples, 3]."""
        return self._rows[: self._taken]

    def memory(self, bound: float) -> Line:
        """The line through what is outside the slabs, after the warm-up."""
        rows = self.series()
        rows = rows[rows[:, 0] > WARM_UP * self._duration]
        if len(rows) < 3:
            sys.exit(f"{len(rows)} samples after the warm-up say nothing of memory; watch for longer")
        return fit(rows[:, 0], rows[:, 1], bound=bound)
