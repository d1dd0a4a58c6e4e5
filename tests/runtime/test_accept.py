"""Acceptance: greedy by hand, sampling exactly (by enumeration) and statistically (chi-square)."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from paceline.runtime.accept import Accepted, accept_greedy, accept_sampled

Rows = NDArray[np.float64]


@given(drafts=st.lists(st.integers(0, 2), max_size=8), data=st.data())
def test_greedy_keeps_the_common_beginning(drafts: list[int], data: st.DataObject) -> None:
    ids = data.draw(st.lists(st.integers(0, 2), min_size=len(drafts) + 1, max_size=len(drafts) + 1))
    accepted = accept_greedy(drafts, np.array(ids, np.int32))
    assert [*drafts[: accepted.length], accepted.token] == ids[: accepted.length + 1]
    assert accepted.length == len(drafts) or drafts[accepted.length] != ids[accepted.length]


class Uniforms(np.random.Generator):
    """Stands in for a generator: hands out given numbers."""

    def __init__(self, *numbers: float) -> None:
        super().__init__(np.random.PCG64(0))
        self._numbers = iter(numbers)

    def random(self, *arguments: Any, **options: Any) -> Any:
        return next(self._numbers)


def distribution(source: np.random.Generator, shape: tuple[int, ...], zeros: float) -> Rows:
    weights = source.random(shape) * (source.random(shape) >= zeros)
    weights[..., 0] += 0.01
    return np.asarray(weights / weights.sum(-1, keepdims=True))


def exact_output(p: Rows, q: Rows, steps: int = 4000) -> Rows:
    """Distribution of the first emitted token at gamma = 1, with the uniforms replaced by midpoints of a fine grid."""
    emitted = np.zeros(p.shape[1])
    for draft in np.flatnonzero(q[0]):
        kept = min(1.0, p[0, draft] / q[0, draft])
        emitted[draft] += q[0, draft] * kept
        if kept < 1:
            for second in (np.arange(steps) + 0.5) / steps:
                fallen = accept_sampled([int(draft)], q, p, Uniforms(1 - 1e-12, second))
                assert fallen.length == 0
                emitted[fallen.token] += q[0, draft] * (1 - kept) / steps
    return emitted


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("zeros", [0.0, 0.5])
def test_total_variation_to_the_target_is_nil(seed: int, zeros: float) -> None:
    source = np.random.default_rng(seed)
    p, q = distribution(source, (2, 5), zeros), distribution(source, (1, 5), zeros)
    # The grid stands for an integral: each of the 5 tokens can be off by one of its cells.
    assert 0.5 * np.abs(exact_output(p, q) - p[0]).sum() < 5 / 4000


@given(seed=st.integers(0, 10_000), share=st.floats(1e-6, 1 - 1e-6))
def test_keeps_exactly_below_the_ratio(seed: int, share: float) -> None:
    source = np.random.default_rng(seed)
    p, q = distribution(source, (2, 4), 0.0), distribution(source, (1, 4), 0.0)
    for x in range(4):
        ratio = min(1.0, p[0, x] / q[0, x])
        assert accept_sampled([x], q, p, Uniforms(ratio * share, 0.5)).length == 1
        if ratio < 1:
            above = ratio + (1 - ratio) * share
            assert accept_sampled([x], q, p, Uniforms(above, 0.5)).length == 0


@pytest.mark.parametrize("gamma", [0, 1, 3])
@pytest.mark.parametrize("kind", ["model", "point mass", "same as target"])
def test_chi_square_over_whole_rounds(gamma: int, kind: str) -> None:
    """The first tokens of a round follow the target's joint distribution (rows independent of the drafts here)."""
    source, vocabulary, rounds = np.random.default_rng(7), 3, 20_000
    p = distribution(source, (gamma + 1, vocabulary), 0.0)
    q = p[:gamma].copy() if kind == "same as target" else distribution(source, (gamma, vocabulary), 0.0)
    if kind == "point mass":
        q = np.eye(vocabulary)[source.integers(0, vocabulary, gamma)].reshape(gamma, vocabulary)
    counts: dict[tuple[int, ...], int] = dict.fromkeys(itertools.product(range(vocabulary), repeat=gamma + 1), 0)
    for _ in range(rounds):
        drafts = [int(source.choice(vocabulary, p=row)) for row in q]
        accepted = accept_sampled(drafts, q, p, source)
        tokens = [*drafts[: accepted.length], accepted.token]
        # What a rejected round has not decided is decided by later rounds, from the target itself.
        rest = [int(source.choice(vocabulary, p=p[row])) for row in range(len(tokens), gamma + 1)]
        counts[*tokens, *rest] += 1
    expected = {tokens: rounds * np.prod([p[row, token] for row, token in enumerate(tokens)]) for tokens in counts}
    chi_square = sum((counts[tokens] - expected[tokens]) ** 2 / expected[tokens] for tokens in counts)
    freedom = len(counts) - 1
    # Wilson-Hilferty: the cube root of chi-square / freedom is nearly normal; 4.5 standard deviations.
    deviation = ((chi_square / freedom) ** (1 / 3) - (1 - 2 / (9 * freedom))) / np.sqrt(2 / (9 * freedom))
    assert deviation < 4.5


def test_drafter_equal_to_the_target_is_always_kept() -> None:
    source = np.random.default_rng(3)
    p = distribution(source, (4, 6), 0.3)
    for _ in range(200):
        drafts = [int(source.choice(6, p=row)) for row in p[:3]]
        assert accept_sampled(drafts, p[:3], p, source).length == 3


def test_a_draft_that_the_target_cannot_draw_falls() -> None:
    p, q = np.array([[0.0, 1.0], [0.5, 0.5]]), np.array([[1.0, 0.0]])
    assert accept_sampled([0], q, p, np.random.default_rng(0)) == Accepted(0, 1)


def test_rounding_that_leaves_no_residual_falls_back_on_the_target() -> None:
    p, q = np.array([[0.9, 0.1], [0.5, 0.5]]), np.array([[0.95, 0.1]])
    assert accept_sampled([0], q, p, Uniforms(0.999, 0.0)) == Accepted(0, 0)
