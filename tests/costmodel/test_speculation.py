"""S(gamma) against Eq. 1 of arXiv 2602.08060, its closed form and a brute-force simulation."""

from __future__ import annotations

import itertools
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline.costmodel import (
    break_even_alpha,
    can_gain,
    expected_tokens,
    independent,
    paper_speedup,
    plain_round,
    speculative_round,
)

alphas, costs, gammas = st.floats(0, 1), st.floats(0, 2), st.integers(1, 8)
DRAFT = {1: 0.004, 2: 0.005}
VERIFY = {1: 0.016, 2: 0.0165, 3: 0.018, 4: 0.0185, 5: 0.0225}


@given(alphas, costs, gammas)
def test_eq1_is_the_special_case(alpha: float, c: float, gamma: int) -> None:
    costs = speculative_round(
        drafter=lambda width: c * 0.02, target=lambda width: 0.02, probabilities=independent(alpha, gamma)
    )
    assert costs.speedup == pytest.approx(paper_speedup(alpha, gamma, c))
    if alpha < 0.999:
        assert costs.speedup == pytest.approx((1 - alpha ** (gamma + 1)) / ((1 - alpha) * (gamma * c + 1)))


# A.5 of the paper's notes: what Eq. 1 gives for the paper's own figures.
@pytest.mark.parametrize(
    ("alpha", "c", "gamma", "speedup"),
    [
        (0.90, 0.41, 5, 1.536),
        (0.90, 0.41, 4, 1.551),
        (0.94, 0.41, 5, 1.695),
        (0.17, 0.41, 1, 0.83),
        (0.9, 0.8, 1, 1.056),
    ],
)
def test_published_points(alpha: float, c: float, gamma: int, speedup: float) -> None:
    assert paper_speedup(alpha, gamma, c) == pytest.approx(speedup, abs=0.001)


@given(alphas, costs)
def test_break_even_is_c_below_alpha(alpha: float, c: float) -> None:
    best = max(paper_speedup(alpha, gamma, c) for gamma in range(1, 40))
    if abs(alpha - c) > 1e-6:
        assert can_gain(alpha, c) == (best > 1) == (paper_speedup(alpha, 1, c) > 1)


@given(st.floats(0, 0.99), st.floats(0.001, 0.01), costs, gammas)
def test_more_acceptance_is_never_slower(alpha: float, more: float, c: float, gamma: int) -> None:
    assert paper_speedup(alpha + more, gamma, c) > paper_speedup(alpha, gamma, c)


@pytest.mark.parametrize(("alpha", "gamma"), [(0.0, 3), (0.6, 1), (0.8, 4), (1.0, 4)])
def test_a_simulated_loop_costs_what_the_formula_says(alpha: float, gamma: int) -> None:
    source, rounds, host = random.Random(1), 40_000, 0.0003
    seconds, tokens, behind = 0.0, 0, False
    for _ in range(rounds):
        kept = next((k for k in range(gamma) if source.random() >= alpha), gamma)
        seconds += DRAFT[2 if behind else 1] + (gamma - 1) * DRAFT[1] + VERIFY[gamma + 1] + host
        tokens += kept + 1
        behind = kept == gamma  # the drafter proposed its last token but never read it
    expected = speculative_round(
        drafter=DRAFT.__getitem__, target=VERIFY.__getitem__, probabilities=independent(alpha, gamma), host=host
    )
    assert tokens / rounds == pytest.approx(expected.tokens, rel=0.02)
    assert seconds / rounds == pytest.approx(expected.seconds, rel=0.005)
    assert expected.speedup == pytest.approx(VERIFY[1] * tokens / seconds, rel=0.02)


@given(alphas, gammas)
def test_omega_counts_every_chain_of_acceptances(alpha: float, gamma: int) -> None:
    """All 2^gamma chains of independent verdicts, each with its probability and the tokens that it brings."""
    total = 0.0
    for chain in itertools.product((True, False), repeat=gamma):
        kept = next((k for k, accepted in enumerate(chain) if not accepted), gamma)
        total += math.prod(alpha if accepted else 1 - alpha for accepted in chain) * (kept + 1)
    assert expected_tokens(alpha, gamma) == pytest.approx(total)


@given(alphas, costs, gammas)
def test_a_dearer_drafter_is_slower_and_a_longer_draft_brings_more(alpha: float, c: float, gamma: int) -> None:
    assert paper_speedup(alpha, gamma, c + 0.01) < paper_speedup(alpha, gamma, c)
    assert expected_tokens(alpha, gamma + 1) - expected_tokens(alpha, gamma) == pytest.approx(alpha ** (gamma + 1))


@given(alphas, costs)
def test_the_best_length_is_where_one_more_stops_to_pay(alpha: float, c: float) -> None:
    """S of Eq. 1 rises to one top and falls: enumeration finds what a search that stops at the first loss does."""
    speedups = [paper_speedup(alpha, gamma, c) for gamma in range(40)]
    first = next((gamma for gamma in range(39) if speedups[gamma + 1] <= speedups[gamma]), 39)
    assert speedups[first] == pytest.approx(max(speedups))


@given(alphas, costs, gammas, st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_eq1_is_the_limit_from_above(
    alpha: float, c: float, gamma: int, wider: float, behind: float, host: float
) -> None:
    """v(gamma) >= 1, catching up and the host only cost; S nears Eq. 1 as they vanish."""

    def speedup(share: float) -> float:
        return speculative_round(
            drafter=lambda width: c + share * behind * (width - 1),
            target=lambda width: 1 + share * wider * (width - 1),
            probabilities=independent(alpha, gamma),
            host=share * host,
        ).speedup

    bound = paper_speedup(alpha, gamma, c)
    assert speedup(1.0) <= speedup(0.5) + 1e-12 <= bound + 2e-12
    assert speedup(1e-9) == pytest.approx(bound)


def test_terms_by_hand() -> None:
    costs = speculative_round(
        drafter=DRAFT.__getitem__,
        target=VERIFY.__getitem__,
        probabilities=(0.5, 0.25),
        lengths=(0.2, 0.3, 0.5),
        host=0.001,
    )
    assert costs.tokens == pytest.approx(1.75)
    assert costs.draft == pytest.approx((0.3 + 2 * 0.5) * 0.004)
    assert costs.catch_up == pytest.approx(0.25 * 0.001)
    assert costs.verify == pytest.approx(0.2 * 0.016 + 0.3 * 0.0165 + 0.5 * 0.018)
    assert costs.seconds == pytest.approx(costs.draft + costs.catch_up + costs.verify + 0.001)
    assert costs.seconds_per_token == pytest.approx(costs.plain / costs.speedup)


def test_plain_round_is_one_pass() -> None:
    costs = plain_round(VERIFY.__getitem__)
    assert (costs.tokens, costs.seconds, costs.speedup, costs.draft_length) == (1.0, 0.016, 1.0, 0)


@pytest.mark.parametrize("gamma", [1, 2, 4])
def test_break_even_alpha_is_where_s_is_one(gamma: int) -> None:
    alpha = break_even_alpha(gamma, drafter=DRAFT.__getitem__, target=VERIFY.__getitem__, host=0.0002)
    assert alpha is not None and 0 < alpha < 1
    costs = speculative_round(
        drafter=DRAFT.__getitem__, target=VERIFY.__getitem__, probabilities=independent(alpha, gamma), host=0.0002
    )
    assert costs.speedup == pytest.approx(1.0)


def test_break_even_alpha_of_eq1_at_one_draft_is_c() -> None:
    alpha = break_even_alpha(1, drafter=lambda width: 0.4, target=lambda width: 1.0)
    assert alpha == pytest.approx(0.4)


def test_a_drafter_as_slow_as_the_target_never_breaks_even() -> None:
    assert break_even_alpha(3, drafter=lambda width: 1.2, target=lambda width: 1.0) is None
    assert break_even_alpha(0, drafter=lambda width: 0.1, target=lambda width: 1.0) is None


def test_width_costs_lower_the_gain() -> None:
    flat = expected_tokens(0.8, 4) / (4 * 0.3 + 1)
    steep = speculative_round(
        drafter=lambda width: 0.3,
        target=lambda width: 1.0 if width == 1 else 1.86,
        probabilities=independent(0.8, 4),
    )
    # F.1 of the paper's notes: v = 1 predicts 1.53x, v = 1.86 predicts 1.10x.
    assert flat == pytest.approx(1.53, abs=0.005)
    assert steep.speedup == pytest.approx(1.10, abs=0.005)
