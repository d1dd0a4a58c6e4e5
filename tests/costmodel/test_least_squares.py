"""The solver against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline.costmodel.least_squares import Array, least_squares


@given(st.integers(0, 2**32 - 1))
def test_a_linear_problem_is_the_one_of_numpy(seed: int) -> None:
    random = np.random.default_rng(seed)
    matrix, wanted = random.normal(size=(12, 3)), random.normal(size=12)
    found = least_squares(lambda at: matrix @ at - wanted, np.zeros(3))
    assert found == pytest.approx(np.linalg.lstsq(matrix, wanted, rcond=None)[0], abs=1e-5)


def test_a_curved_valley() -> None:
    """Rosenbrock's: the way down is long and bent, the end is (1, 1)."""

    def residuals(at: Array) -> Array:
        return np.array([10 * (at[1] - at[0] ** 2), 1 - at[0]])

    assert least_squares(residuals, np.array([-1.2, 1.0])) == pytest.approx([1.0, 1.0], abs=1e-4)


def test_a_parameter_that_does_nothing_stays() -> None:
    found = least_squares(lambda at: np.array([at[0] - 3.0]), np.array([0.0, 7.0]))
    assert found == pytest.approx([3.0, 7.0])
