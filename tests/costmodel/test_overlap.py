"""The overlapped round against two processors simulated pass by pass, and against every outcome by brute force."""

from __future__ import annotations

import itertools
import math
import random

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from paceline.costmodel import Slowdown, independent, overlapped_round, speculative_round
from paceline.costmodel.overlap import beside

alphas, costs, gammas = st.floats(0, 1), st.floats(0.02, 2), st.integers(1, 6)
slower = st.floats(1, 2.5)


def verify_seconds(width: int) -> float:
    return 1.0 + 0.07 * width


def simulated(chances: list[float], c: float, slowdown: Slowdown, *, rounds: int, seed: int) -> tuple[float, int, int]:
    """Seconds, tokens and hits of a loop of two processors, in steps from event to event.

    ``chances[k]``: draft k + 1 is kept if it is reached; the last one is that the guess is right.
    """
    source, clock, tokens, hits, ready = random.Random(seed), 0.0, 0, 0, False
    gamma = len(chances) - 1
    for _ in range(rounds):
        if not ready:
            clock += gamma * c
        kept = next((k for k, chance in enumerate(chances) if source.random() >= chance), gamma + 1)
        work, left, passes = verify_seconds(gamma + 1), c, 0
        while work > 1e-12 or left < c - 1e-12:  # the target works, or the drafter is in a pass
            target_on, drafter_on = work > 1e-12, passes <= gamma
            if not target_on and kept == gamma + 1:
                break
            speeds = (1 / slowdown.target, 1 / slowdown.drafter) if target_on and drafter_on else (1.0, 1.0)
            step = min(work / speeds[0] if target_on else math.inf, left / speeds[1] if drafter_on else math.inf)
            clock += step
            work = max(0.0, work - step * speeds[0]) if target_on else work
            if drafter_on:
                left -= step * speeds[1]
                if left <= 1e-12:
                    passes, left = passes + 1, c
        if ready := kept == gamma + 1:
            clock += max(0, gamma + 1 - passes) * c - (c - left if passes <= gamma else 0.0)
        tokens, hits = tokens + min(kept, gamma) + 1, hits + ready
    return clock, tokens, hits


@given(st.lists(st.floats(0.3, 1), min_size=2, max_size=5), costs, slower, slower, st.integers(0, 1000))
def test_a_simulated_loop_costs_what_the_formula_says(
    chances: list[float], c: float, target: float, drafter: float, seed: int
) -> None:
    """With the shares of outcomes that the simulation saw, its seconds are those of the formula, not only near them."""
    slowdown, gamma, rounds = Slowdown(target, drafter), len(chances) - 1, 300
    verify, _ = beside(verify_seconds(gamma + 1), (gamma + 1) * c, slowdown)
    assume(abs(verify / (c * drafter) - round(verify / (c * drafter))) > 1e-6)  # else which pass it is hangs on a bit
    clock, tokens, hits = simulated(chances, c, slowdown, rounds=rounds, seed=seed)
    # the chain's last entry is the share of hits; the first ones only add up to the tokens
    share = (tokens / rounds - 1) / gamma
    found = overlapped_round(
        drafter=lambda width: c,
        target=verify_seconds,
        probabilities=[*[share] * gamma, hits / rounds],
        slowdown=slowdown,
    )
    assert found.tokens == pytest.approx(tokens / rounds)
    # the first round of the simulation drafts without a miss before it, and the last one's miss costs nothing yet
    assert abs(clock - rounds * found.seconds) <= (gamma + 1) * c + 1e-6


@given(alphas, costs, gammas)
def test_every_outcome_weighed_by_its_probability(alpha: float, c: float, gamma: int) -> None:
    """All 2^(gamma+1) verdicts over drafts and guess: what each costs and brings, times how often it comes."""
    seconds = tokens = 0.0
    for verdicts in itertools.product((True, False), repeat=gamma + 1):
        chance = math.prod(alpha if kept else 1 - alpha for kept in verdicts)
        verify, draft = verify_seconds(gamma + 1), (gamma + 1) * c
        if all(verdicts):
            seconds += chance * max(verify, draft)
        else:
            running = next((k * c for k in range(1, gamma + 2) if k * c >= verify), verify)
            seconds += chance * (running + gamma * c)
        tokens += chance * (1 + next((k for k in range(gamma) if not verdicts[k]), gamma))
    assume(abs(verify_seconds(gamma + 1) / c - round(verify_seconds(gamma + 1) / c)) > 1e-9)
    found = overlapped_round(
        drafter=lambda width: c, target=verify_seconds, probabilities=independent(alpha, gamma + 1)
    )
    assert found.seconds == pytest.approx(seconds)
    assert found.tokens == pytest.approx(tokens)


@given(costs, gammas)
def test_all_kept_is_the_slower_of_the_two(c: float, gamma: int) -> None:
    found = overlapped_round(drafter=lambda width: c, target=verify_seconds, probabilities=[1.0] * (gamma + 1))
    assert found.seconds == pytest.approx(max(verify_seconds(gamma + 1), (gamma + 1) * c))


@given(st.floats(0, 0.98), costs, gammas, slower, slower)
def test_more_kept_is_never_slower_and_sharing_memory_never_faster(
    alpha: float, c: float, gamma: int, target: float, drafter: float
) -> None:
    def per_token(alpha: float, slowdown: Slowdown) -> float:
        return overlapped_round(
            drafter=lambda width: c,
            target=verify_seconds,
            probabilities=independent(alpha, gamma + 1),
            slowdown=slowdown,
        ).seconds_per_token

    # a hit saves gamma serial drafts and costs at most the gamma + 1 beside the pass, of which some are done
    alone, shared = Slowdown(), Slowdown(target, drafter)
    assert per_token(alpha + 0.01, alone) <= per_token(alpha, alone) + 1e-9
    # the pass under way at the verdict may be nearly done or just begun: at most one pass either way
    assert per_token(alpha, shared) >= per_token(alpha, alone) - (1 - alpha ** (gamma + 1)) * c


@given(alphas, st.floats(0.02, 0.4), gammas)
def test_a_drafter_that_keeps_up_never_loses_to_the_serial_round(alpha: float, c: float, gamma: int) -> None:
    """Where all is drafted before the verdict, no round is longer than the serial one and hits are shorter."""
    assume((gamma + 1) * c <= verify_seconds(gamma + 1))
    serial = speculative_round(drafter=lambda width: c, target=verify_seconds, probabilities=independent(alpha, gamma))
    found = overlapped_round(
        drafter=lambda width: c, target=verify_seconds, probabilities=independent(alpha, gamma + 1)
    )
    assert found.tokens == pytest.approx(serial.tokens)
    assert serial.seconds - found.seconds == pytest.approx(alpha ** (gamma + 1) * gamma * c)


@given(st.integers(2, 8), st.integers(1, 12), st.floats(1.7, 40))
def test_a_text_whose_end_cuts_the_last_round_short(gamma: int, rounds: int, c: float) -> None:
    """All drafts stay, and a drafter that is slower than the target is always what is waited for."""
    last = gamma // 2
    made = [*[gamma] * rounds, last]
    exact = sum(made) * c + rounds * c + verify_seconds(last + 1)
    found = overlapped_round(
        drafter=lambda width: c,
        target=verify_seconds,
        probabilities=[*[sum(made) / len(made) / gamma] * gamma, rounds / len(made)],
        lengths=[made.count(length) / len(made) for length in range(gamma + 1)],
    )
    # the last round's miss is booked as the first round's drafts, but for the end of a pass that nobody waits for
    assert abs(len(made) * found.seconds - exact) <= c + verify_seconds(gamma + 1)
    assert len(made) * found.tokens == pytest.approx(sum(made) + len(made))


def test_terms_by_hand() -> None:
    found = overlapped_round(
        drafter=lambda width: 0.9,
        target=lambda width: 2.0 if width > 1 else 1.6,
        probabilities=(0.8, 0.5),
        slowdown=Slowdown(target=1.25, drafter=1.2),
        host=0.01,
        draft_host=0.1,
        plain_host=0.02,
    )
    # two drafts of 1.0 take 2.4 beside the target, which would be done at 2.5 if they went on so long
    verify = 2.4 + 2.0 - 2.4 / 1.25
    assert found.verify == pytest.approx(verify)
    assert found.draft == pytest.approx(0.5 * 1.0)
    assert found.seconds == pytest.approx(verify + 0.5 + 0.01)
    assert found.tokens == pytest.approx(1.8)
    assert (found.draft_length, found.catch_up) == (1, 0.0)
    assert found.speedup == pytest.approx(1.8 * 1.62 / found.seconds)
    slower = overlapped_round(drafter=lambda width: 1.5, target=lambda width: 2.0, probabilities=(0.8, 0.5))
    # at the verdict the second pass has one of its 1.5 seconds left; a hit waits for it, a miss too and drafts again
    assert slower.draft == pytest.approx(0.5 * 1.0 + 0.5 * (1.0 + 1.5))
