"""Sampling against brute force."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from paceline.errors import UsageError
from paceline.runtime.sampling import Sampling, draw, probabilities

logits = st.lists(st.integers(-40, 40).map(lambda n: n / 8), min_size=1, max_size=200).map(
    lambda row: np.array(row, np.float32)
)


def by_hand(row: NDArray[np.float32], temperature: float, top_k: int, top_p: float) -> list[float]:
    """Softmax, then walk down the ranking (ties by id) until both limits are reached."""
    scaled = [float(value) / temperature for value in row]
    weights = [float(np.exp(value - max(scaled))) for value in scaled]
    ranking = sorted(range(len(weights)), key=lambda token: (-weights[token], token))[: top_k or None]
    total, held, kept = sum(weights[token] for token in ranking), 0.0, []
    for token in ranking:
        kept.append(token)
        held += weights[token]
        if held >= top_p * total - 1e-12 * total:
            break
    mass = sum(weights[token] for token in kept)
    return [weights[token] / mass if token in kept else 0.0 for token in range(len(weights))]


@given(
    row=logits,
    temperature=st.sampled_from([0.3, 1.0, 2.0]),
    top_k=st.integers(0, 12),
    top_p=st.sampled_from([0.1, 0.37, 0.613, 0.9, 0.97, 1.0]),
)
def test_matches_brute_force(row: NDArray[np.float32], temperature: float, top_k: int, top_p: float) -> None:
    found = probabilities(row, Sampling(temperature=temperature, top_k=top_k, top_p=top_p))
    expected = by_hand(row, temperature, top_k, top_p)
    # At a boundary that rounding decides, one more or one less token of the nucleus is as good.
    if np.count_nonzero(found) == np.count_nonzero(expected):
        np.testing.assert_allclose(found, expected, atol=1e-12)
    else:
        assert abs(np.count_nonzero(found) - np.count_nonzero(expected)) == 1
        assert min(value for value in (*found, *expected) if value > 0) < 0.6
    assert found.dtype == np.float64
    assert found.sum() == pytest.approx(1.0)


def test_large_vocabulary_nucleus_needs_no_full_sort() -> None:
    row = np.random.default_rng(0).standard_normal(5000).astype(np.float32)
    found = probabilities(row, Sampling(temperature=1.0, top_p=0.99))
    np.testing.assert_allclose(found, by_hand(row, 1.0, 0, 0.99), atol=1e-12)


def test_rows_are_independent() -> None:
    rows = np.random.default_rng(1).standard_normal((3, 7)).astype(np.float32)
    sampling = Sampling(temperature=0.7, top_k=4)
    np.testing.assert_array_equal(
        probabilities(rows, sampling), np.stack([probabilities(row, sampling) for row in rows])
    )


@given(
    weights=st.lists(st.integers(0, 5), min_size=1, max_size=9).filter(any),
    uniform=st.floats(0, 1, exclude_max=True),
)
def test_draw_inverts_the_cumulated_distribution(weights: list[int], uniform: float) -> None:
    token = draw(np.array(weights, np.float64), uniform)
    assert weights[token] > 0
    total = sum(weights)
    assert sum(weights[:token]) <= uniform * total * (1 + 1e-12)
    assert uniform * total <= sum(weights[: token + 1]) * (1 + 1e-12)


@pytest.mark.parametrize(
    "options", [{"temperature": -1.0}, {"temperature": float("nan")}, {"top_k": -1}, {"top_p": 0.0}, {"top_p": 1.5}]
)
def test_values_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(options))):
        Sampling(**options)


def test_a_temperature_of_next_to_nothing_takes_the_likeliest() -> None:
    found = probabilities(np.array([[1.0, 3.0, 2.0]], np.float32), Sampling(temperature=1e-320))
    assert found.tolist() == [[0.0, 1.0, 0.0]]
