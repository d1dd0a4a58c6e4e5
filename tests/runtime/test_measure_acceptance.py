"""The cost model predicts what the real loop does: passes are counted, not timed."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from numpy.typing import NDArray

from paceline.costmodel import Acceptance, speculative_round
from paceline.runtime.drafters import Drafter, ModelDrafter, NgramDrafter
from paceline.runtime.measure_acceptance import longest_draft
from paceline.runtime.null_device import NullProgram
from paceline.runtime.program import Step
from paceline.runtime.record import Record
from paceline.runtime.session import Session
from paceline.runtime.speculate import Request, speculate

WIDTHS = (1, 2, 4, 8, 16)
COSTS = {"target": dict(zip(WIDTHS, (16.0, 17.0, 18.5, 23.0, 34.0), strict=True))}
COSTS["drafter"] = dict(zip(WIDTHS, (5.0, 6.5, 7.0, 9.0, 14.0), strict=True))
TOKENS, PROMPT = 1500, tuple(range(1, 9))


class CountingProgram(NullProgram):
    """Notes the width of every pass."""

    def __init__(self, agreement: float, order: int) -> None:
        super().__init__(widths=WIDTHS, context=2048, vocabulary=64, agreement=agreement, order=order)
        self.passes: Counter[int] = Counter()

    def step(self, tokens: NDArray[np.int32], position: int, *, first: int = 0, logits: bool = False) -> Step:
        self.passes[len(tokens)] += 1
        return super().step(tokens, position, first=first, logits=logits)

    def seconds(self, role: str) -> float:
        return sum(COSTS[role][width] * times for width, times in self.passes.items())


def seconds(role: str, width: int) -> float:
    return COSTS[role][next(compiled for compiled in WIDTHS if compiled >= width)]


def generate(drafter: Drafter, target: CountingProgram, gamma: int) -> tuple[Acceptance, int]:
    """Histogram and number of tokens of one long generation."""
    record = Record()
    request = Request(prompt=PROMPT, max_tokens=TOKENS, draft_length=gamma)
    tokens = len(list(speculate(Session(target), drafter, request, record)))
    return record.stats(prompt_tokens=0, draft_length=gamma, stop_reason="length").acceptance, tokens


def drafted(gamma: int, agreement: float) -> tuple[Acceptance, float]:
    """Histogram and seconds a token of the loop with a drafter model."""
    target, drafter = CountingProgram(1.0, order=3), CountingProgram(agreement, order=3)
    acceptance, tokens = generate(ModelDrafter(Session(drafter)), target, gamma)
    return acceptance, (target.seconds("target") + drafter.seconds("drafter")) / tokens


@pytest.mark.parametrize("agreement", [0.5, 0.8, 1.0])
@pytest.mark.parametrize("gamma", [1, 2, 4, 7, 8])
def test_a_round_costs_what_the_loop_spends(gamma: int, agreement: float) -> None:
    acceptance, spent = drafted(gamma, agreement)
    predicted = speculative_round(
        drafter=lambda width: seconds("drafter", width),
        target=lambda width: seconds("target", width),
        probabilities=acceptance.probabilities(gamma),
    )
    # What remains are the prompt's pass and the shorter drafts at the end of 1500 tokens.
    assert predicted.seconds_per_token == pytest.approx(spent, rel=0.02)


@pytest.mark.parametrize(("widths", "length"), [((1, 2, 4, 8, 16, 64), 8), ((1, 2, 4), 3), ((1, 9), 8), ((1,), 0)])
def test_the_longest_draft_can_be_verified(widths: tuple[int, ...], length: int) -> None:
    assert longest_draft(widths) == length


@pytest.mark.parametrize("gamma", [1, 2, 4])
def test_one_histogram_predicts_other_draft_lengths(gamma: int) -> None:
    measured, _ = drafted(7, 0.8)
    _, spent = drafted(gamma, 0.8)
    predicted = speculative_round(
        drafter=lambda width: seconds("drafter", width),
        target=lambda width: seconds("target", width),
        probabilities=measured.probabilities(gamma),
    )
    assert predicted.seconds_per_token == pytest.approx(spent, rel=0.06)


@pytest.mark.parametrize(("gamma", "order"), [(3, 1), (7, 1), (7, 2)])
def test_prompt_lookup_costs_what_the_loop_spends(gamma: int, order: int) -> None:
    target = CountingProgram(1.0, order=order)  # short memories repeat themselves
    acceptance, tokens = generate(NgramDrafter(vocabulary=64), target, gamma)
    predicted = speculative_round(
        drafter=lambda width: 0.0,
        target=lambda width: seconds("target", width),
        probabilities=acceptance.shares(gamma),
        lengths=acceptance.lengths(gamma),
    )
    assert predicted.seconds_per_token == pytest.approx(target.seconds("target") / tokens, rel=0.03)
