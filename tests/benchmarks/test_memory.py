"""Resident memory: what is anonymous, and what a bundle needs at least."""

from __future__ import annotations

import mmap
from collections.abc import Callable
from pathlib import Path

import pytest

import memory
from paceline.costmodel import cache_bytes
from paceline.partition import read_bundle
from paceline.runtime import NullDevice, load_model

pytestmark = pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs Linux")


def test_anonymous_memory_is_what_was_written_to() -> None:
    before = memory.resident()
    # fresh pages: a heap would hand out what earlier tests gave back
    with mmap.mmap(-1, size := 64 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as block:
        block.write(bytes(size))
        after = memory.resident()
    assert after.anonymous - before.anonymous >= size * 0.9
    assert after.peak >= after.anonymous


@pytest.mark.parametrize(("mapping", "roles"), [("target=cpu", 1), ("target=cpu,drafter=cpu", 2)])
def test_models_that_are_not_loaded_do_not_count(
    null_bundle: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, mapping: str, roles: int
) -> None:
    monkeypatch.setattr(load_model, "open_device", lambda unit, cores=None: NullDevice(unit=unit))
    folder = null_bundle()
    bundle = read_bundle(folder)
    found = memory.measure(folder, mapping=mapping, draft_length=None, prompt="hello", tokens=4)
    assert found.weights == sum((folder / model.weights["cpu"]).stat().st_size for model in bundle.models[:roles])
    assert found.caches == roles * cache_bytes(bundle.target.spec, bundle.context, "f32")
    assert found.anonymous_ratio == found.anonymous / (found.weights + found.caches)
