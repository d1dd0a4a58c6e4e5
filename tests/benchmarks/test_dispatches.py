"""Dispatches of a capture: passes, kernels, shares."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dispatches import Event, event_of, inputs_for, kernels, pass_seconds, passes_of
from paceline.partition import read_bundle


def event(kernel: str, start: int, length: int, busy: int = 0) -> Event:
    return Event(kernel=kernel, start=start, end=start + length, busy=busy or length)


EVENTS = [
    *(event("matmul", 0, 6000, busy=12000), event("norm", 7000, 1000), event("norm", 9000, 1000)),
    *(event("matmul", 100000, 8000, busy=16000), event("norm", 108000, 1000), event("norm", 109000, 1000)),
]


def test_kernels_of_a_pass() -> None:
    passes = passes_of(EVENTS, 2)
    assert pass_seconds(passes) == pytest.approx(10e-6)
    matmul, norm = kernels(passes)
    assert (matmul.name, matmul.count, matmul.least, matmul.median) == ("matmul", 1, 6.0, 7.0)
    assert (matmul.share, matmul.workers) == pytest.approx((0.7, 2.0))
    assert (norm.count, norm.share, norm.workers) == pytest.approx((2, 0.2, 1.0))


def test_passes_must_be_equal() -> None:
    with pytest.raises(SystemExit, match="6 dispatches are no whole number for each of 4 passes"):
        passes_of(EVENTS, 4)


def test_row_of_the_profile() -> None:
    row = {"key": "norm", "start_host_time_ns": 5, "end_host_time_ns": 9, "tile_duration_sum_ns": 7, "valid": True}
    assert event_of(row) == Event(kernel="norm", start=5, end=9, busy=7)


def test_inputs_of_a_step(null_bundle: Callable[..., Path]) -> None:
    spec = read_bundle(null_bundle()).target.spec
    cache = f"{spec.layers}x{spec.kv_heads}x32x{spec.head_size}xf32"
    assert inputs_for(spec, 20, "f32", 4, 16) == ["4xi32=1", "2xi32=16 3", cache, cache]
    assert all(given.endswith("xi8") for given in inputs_for(spec, 20, "int8", 4, 16)[2:])
