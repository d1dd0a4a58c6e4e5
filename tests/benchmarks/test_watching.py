"""What counts as flat, and what is seen of memory."""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np
import pytest

from paceline.partition import Mapping
from paceline.runtime import load
from watching import PAGE, SLAB, Watch, find_slabs, fit, touched

MIB = 1 << 20


def test_a_line() -> None:
    seconds, noise = np.linspace(0, 1000, 200), np.random.default_rng(0).normal(0, 0.1 * MIB, 200)
    level = fit(seconds, 100 * MIB + noise, bound=MIB)
    assert level.flat and abs(level.rise) < level.error < 0.1 * MIB
    rising = fit(seconds, 100 * MIB + noise + seconds * MIB / 500, bound=MIB)
    assert not rising.flat and rising.rise == pytest.approx(2 * MIB, rel=0.05)
    # a line that is not known well enough is not called flat
    assert not fit(seconds[:3], np.array([0.0, 5.0, 0.0]) * MIB, bound=MIB).flat


def test_watching_takes_so_many_samples_and_no_more() -> None:
    watch = Watch(0.0)
    for _ in range(2100):
        watch.look()
    assert len(watch.series()) == 2000


def test_pages_of_a_slab_are_counted() -> None:
    libc = ctypes.CDLL(None)
    libc.calloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    before = find_slabs()
    block = libc.calloc(1, ctypes.c_size_t(SLAB))
    try:
        (slab,) = set(find_slabs()) - set(before)
        assert slab.start < block < slab.start + PAGE and touched(slab) == PAGE
        ctypes.memset(block + 9 * PAGE, 1, 5 * PAGE)
        assert touched(slab) == pytest.approx(6 * PAGE, abs=PAGE)
    finally:
        libc.free(block)
    assert find_slabs() == before


@pytest.mark.cpu
def test_the_device_takes_one_slab(tiny_bundle: Path) -> None:
    before = find_slabs()
    with load(tiny_bundle, mapping=Mapping(target="cpu")) as model:
        (slab,) = set(find_slabs()) - set(before)
        model.generate([1, 2, 3], max_new_tokens=8).finish()
        assert 0 < touched(slab) < SLAB
