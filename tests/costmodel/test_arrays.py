"""Arrays stand where numbers do: the roofline and the round of every point are those of its numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from paceline.costmodel import Work, roofline, speculative_round
from paceline.costmodel.arrays import array_of, in_place_of_number, larger, overlapped
from paceline.targets import Figure, ProcessingUnit

figures = st.lists(st.floats(1e-6, 1e12), min_size=2, max_size=5)


def unit(bandwidth: float, peak: float, launch: float) -> ProcessingUnit:
    bandwidth_, peak_, launch_ = (Figure(value=value, source="test") for value in (bandwidth, peak, launch))
    return ProcessingUnit(
        name="cpu",
        kind="cpu",
        description="test",
        cores=4,
        peak={"f32": peak_},
        bandwidth=bandwidth_,
        memory=Figure(value=1e9, source="test"),
        launch=launch_,
    )


@given(figures, st.floats(1e-6, 1e12), st.floats(1e-9, 1.0), st.integers(1, 4))
def test_a_roofline_of_arrays(bandwidths: list[float], peak: float, launch: float, cores: int) -> None:
    work = Work(10**9, 10**8, 10**7, 100)
    values = np.array(bandwidths)
    all_at_once = roofline(work, unit(in_place_of_number(values), peak, launch), "f32", cores=cores).seconds
    assert array_of(all_at_once, len(values)).tolist() == [
        roofline(work, unit(bandwidth, peak, launch), "f32", cores=cores).seconds for bandwidth in bandwidths
    ]


@given(st.lists(st.floats(0, 1), min_size=2, max_size=5), st.integers(1, 6), st.floats(1e-4, 1.0))
def test_a_round_of_arrays(alphas: list[float], gamma: int, draft: float) -> None:
    def speedup(chain: list[float]) -> float:
        return speculative_round(
            drafter=lambda width: draft * width, target=lambda width: 1.0 + 0.1 * width, probabilities=chain, host=0.01
        ).speedup

    values: NDArray[np.float64] = np.array(alphas)
    found = array_of(speedup([in_place_of_number(values**k) for k in range(1, gamma + 1)]), len(alphas))
    assert found.tolist() == pytest.approx([speedup([alpha**k for k in range(1, gamma + 1)]) for alpha in alphas])


def test_numbers_stay_numbers() -> None:
    assert larger(1.0, 2.0) == 2.0 and type(larger(1.0, 2.0)) is float
    assert array_of(3.0, 2).tolist() == [3.0, 3.0]


times = st.floats(0, 1e3)


@given(times, times, st.floats(1, 50))
def test_overlapping_times_are_between_the_larger_and_their_sum(one: float, other: float, exponent: float) -> None:
    together = overlapped(one, other, exponent)
    assert max(one, other) <= together * (1 + 1e-12) <= (one + other) * (1 + 1e-9) + 1e-300
    assert together == pytest.approx(overlapped(other, one, exponent))
    assert overlapped(one, other, exponent + 1) <= together * (1 + 1e-12)


def test_overlapping_by_hand() -> None:
    assert overlapped(3.0, 4.0, 1.0) == pytest.approx(7.0)
    assert overlapped(3.0, 4.0, 2.0) == pytest.approx(5.0)
    assert overlapped(3.0, 4.0, float("inf")) == 4.0
    assert overlapped(0.0, 0.0, 2.0) == 0.0
    arrays = (in_place_of_number(np.array(values)) for values in ([3.0, 0.0], [4.0, 0.0], [2.0, 1.0]))
    assert np.asarray(overlapped(*arrays)).tolist() == pytest.approx([5.0, 0.0])
