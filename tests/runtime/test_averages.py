"""Means and their errors, against the definition and against many samples."""

from __future__ import annotations

import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline.runtime.averages import error_of_sum, interquartile_mean, standard_error


@given(st.lists(st.floats(0.0, 1e3), min_size=1, max_size=30))
def test_the_interquartile_mean_lies_within_the_quartiles(values: list[float]) -> None:
    found = interquartile_mean(values)
    assert min(values) - 1e-9 <= found <= max(values) + 1e-9
    if len(values) >= 4:
        assert interquartile_mean([*values[:-1], 1e9]) <= max(values) + 1e-9  # sums are rounded
    if len(set(values)) == 1:
        assert found == pytest.approx(values[0])


def test_few_values_have_the_error_of_a_mean() -> None:
    assert standard_error([3.0]) is None
    assert standard_error([1.0, 2.0, 6.0]) == pytest.approx(statistics.stdev([1.0, 2.0, 6.0]) / 3**0.5)


def test_an_outlier_does_not_count() -> None:
    assert standard_error([1.0, 2.0, 3.0, 4.0]) == standard_error([1.0, 2.0, 3.0, 1e6])


@pytest.mark.parametrize("count", [2, 3, 4, 7, 8, 21])
def test_the_error_is_what_means_of_many_samples_have(count: int) -> None:
    samples = np.random.default_rng(count).normal(10.0, 2.0, (4000, count)).tolist()
    seen = statistics.stdev(interquartile_mean(sample) for sample in samples)
    said = statistics.mean((standard_error(sample) or 0.0) ** 2 for sample in samples) ** 0.5
    assert said == pytest.approx(seen, rel=0.1)


def test_errors_of_sums_add_in_squares() -> None:
    assert error_of_sum([3.0, 4.0]) == pytest.approx(5.0)
    assert error_of_sum([3.0, None]) is None and error_of_sum([]) is None
