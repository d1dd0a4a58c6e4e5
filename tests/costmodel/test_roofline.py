"""The roofline names the wall, and a better machine is never slower."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline.costmodel import Work, roofline
from paceline.costmodel.roofline import Shares, found_in_cache, multiplied_as
from paceline.targets import Figure, ProcessingUnit

amounts = st.integers(0, 10**12)
works = st.builds(Work, amounts, amounts, amounts, st.integers(0, 10**5))


def figure(value: float) -> Figure:
    return Figure(value=value, source="test")


UNIT = ProcessingUnit(
    name="cpu",
    kind="cpu",
    description="test",
    cores=4,
    peak={"f32": figure(1e9), "int8": figure(4e9)},
    bandwidth=figure(1e9),
    memory=figure(1e9),
    launch=figure(1e-3),
)


def better(**fields: Any) -> ProcessingUnit:
    return msgspec.structs.replace(UNIT, **fields)


@pytest.mark.parametrize(
    ("work", "bound", "seconds"),
    [
        (Work(1, 3 * 10**9, 10**9, 1), "bandwidth", 4.001),
        (Work(5 * 10**9, 10**9, 0, 1), "arithmetic", 5.001),
        (Work(1000, 1000, 1000, 10), "launches", 0.010002),
    ],
)
def test_the_wall_by_hand(work: Work, bound: str, seconds: float) -> None:
    estimate = roofline(work, UNIT, "f32")
    assert estimate.bound == bound
    assert estimate.seconds == pytest.approx(seconds)


@given(works)
def test_a_better_unit_is_never_slower(work: Work) -> None:
    now = roofline(work, UNIT, "f32").seconds
    for unit in (
        better(bandwidth=figure(2e9)),
        better(peak={"f32": figure(2e9)}),
        better(launch=figure(5e-4)),
    ):
        assert roofline(work, unit, "f32").seconds <= now


@given(works)
def test_fewer_cores_slow_arithmetic_only(work: Work) -> None:
    whole, half = roofline(work, UNIT, "f32"), roofline(work, UNIT, "f32", cores=2)
    assert half.arithmetic == pytest.approx(2 * whole.arithmetic)
    assert (half.bandwidth, half.launches) == (whole.bandwidth, whole.launches)


def test_precisions_run_in_what_the_unit_has() -> None:
    gpu = better(peak={"f32": figure(1e9), "f16": figure(2e9)})
    assert multiplied_as("int8", UNIT) == "int8"
    assert multiplied_as("int8", gpu) == "f32"
    assert multiplied_as("int4", UNIT) == "int8"
    assert multiplied_as("int4", gpu) == "f32"
    assert multiplied_as("int4", better(peak={**UNIT.peak, "int4": figure(8e9)})) == "int4"
    assert multiplied_as("f16", gpu) == "f32"  # a storage format
    assert multiplied_as("int4", UNIT, "cpu") == "f32"  # widened by traced programs
    assert multiplied_as("int4", UNIT, "kernels") == multiplied_as("int8", UNIT, "gpu") == "int8"
    assert multiplied_as("int8", UNIT, "words") == "f32"


def test_attention_is_f32_at_every_precision() -> None:
    estimate = roofline(Work(5 * 10**9, attended=10**9), UNIT, "int8")
    assert estimate.arithmetic == pytest.approx(4 / 4 + 1 / 1)


def test_shares_by_hand() -> None:
    work = Work(5 * 10**9, 10**9, 10**9, 10, attended=10**9, logits=10**6)
    shares = Shares(bandwidth=0.5, peak=0.5, attention=0.25, logits=0.1, launch=2.0, call=3.0, exponent=2.0)
    estimate = roofline(work, UNIT, "int8", shares=shares)
    assert (estimate.bandwidth, estimate.arithmetic) == pytest.approx((4.0, 4 / 2 + 4))
    assert (estimate.logits, estimate.launches) == pytest.approx((0.04, (10 * 2 + 3) * 1e-3))
    assert estimate.seconds == pytest.approx((4**2 + 6**2) ** 0.5 + 0.04 + 0.023)
    assert roofline(work, UNIT, "int8").logits == 0.0


def test_attention_over_bytes_by_hand() -> None:
    work = Work(6 * 10**9, attended=10**9, attended_in_bytes=10**9)
    assert roofline(work, UNIT, "int8").arithmetic == pytest.approx(5 / 4 + 1)  # as products do, unless measured
    shares = Shares(attention=0.5, attention_in_bytes=0.25, peak=0.5)
    assert roofline(work, UNIT, "int8", shares=shares).arithmetic == pytest.approx(4 / 2 + 1 / 0.5 + 1 / 0.25)


def test_activations_by_hand() -> None:
    work = Work(4 * 10**9, activations=10**9)
    assert roofline(work, UNIT, "int8").arithmetic == pytest.approx(4 / 4)  # what has to be computed is products
    assert roofline(work, UNIT, "int8", shares=Shares(activations=0.5)).arithmetic == pytest.approx(4 / 4 + 4 / 0.5)


def test_attention_at_the_rate_of_products() -> None:
    work = Work(5 * 10**9, attended=10**9)
    assert roofline(work, UNIT, "int8", shares=Shares(attention=None, peak=0.5)).arithmetic == pytest.approx(5 / 2)


@pytest.mark.parametrize(("moved", "found"), [(0, 0), (70, 70), (100, 100), (130, 70), (200, 0), (1000, 0)])
def test_what_a_pass_finds_in_a_cache_of_100(moved: int, found: int) -> None:
    assert found_in_cache(moved, 100) == found
    assert found_in_cache(moved, 0) == 0


def test_a_cache_by_hand() -> None:
    shares = Shares(bandwidth=0.5, cached=2.0, cache=10**9)
    seconds = [roofline(Work(bytes_read=n * 10**9 // 2), UNIT, "f32", shares=shares).bandwidth for n in (1, 2, 3, 4)]
    assert seconds == pytest.approx([0.25, 0.5, 1 / 0.5 + 0.5 / 2, 2 / 0.5])


sizes = st.integers(0, 10**12)
faster = st.floats(1.0, 100.0)


def reading(moved: int, cache: int, times: float, bandwidth: float = 1e9) -> float:
    shares = Shares(bandwidth=0.5, cached=0.5 * times, cache=cache)
    return roofline(Work(bytes_read=moved), better(bandwidth=figure(bandwidth)), "f32", shares=shares).seconds


@given(sizes, sizes, sizes, faster)
def test_more_bytes_are_never_faster_with_a_cache(moved: int, more: int, cache: int, times: float) -> None:
    assert reading(moved, cache, times) <= reading(moved + more, cache, times) * (1 + 1e-12)


@given(sizes, sizes, faster)
def test_a_better_cache_is_never_slower(moved: int, cache: int, times: float) -> None:
    now = reading(moved, cache, times) * (1 + 1e-12)
    assert reading(moved, 2 * cache, times) <= now
    assert reading(moved, cache, 2 * times) <= now
    assert reading(moved, cache, times, bandwidth=2e9) <= now


def test_a_cache_changes_nothing_of_what_is_twice_as_large() -> None:
    work, shares = Work(10**9, 2 * 10**9, 10**9, 5), Shares(bandwidth=0.7)
    cached = replace(shares, cache=15 * 10**8, cached=7.0)
    assert roofline(work, UNIT, "f32", shares=cached) == roofline(work, UNIT, "f32", shares=shares)
