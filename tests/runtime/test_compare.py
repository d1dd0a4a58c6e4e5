"""Comparisons: plain first, identical texts counted, differences named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from paceline.partition import Mapping, choose, read_bundle
from paceline.partition.plan import Pacing
from paceline.runtime import NullDevice, load
from paceline.runtime.compare import compare

PROMPTS = ("hello", "pace", "line")


def test_outcomes(null_bundle: Callable[..., Path]) -> None:
    seen: list[tuple[int, int]] = []
    with load(null_bundle(), drafter="model", device=NullDevice(agreement=0.9)) as model:
        outcomes = compare(
            model,
            PROMPTS,
            draft_lengths=(3, 1),
            max_new_tokens=20,
            report=lambda what, done, total: seen.append((done, total)),
        )
    assert [outcome.draft_length for outcome in outcomes] == [0, 1, 3]
    assert all((outcome.prompts, outcome.identical, outcome.different) == (3, 3, ()) for outcome in outcomes)
    assert (outcomes[0].speedup, outcomes[0].total_speedup) == (1.0, 1.0)
    assert outcomes[0].acceptance.alpha is None
    assert max(outcomes[2].acceptance.counts) == 3
    assert seen[-1] == (9, 9)


def test_an_adaptive_length_comes_last_and_begins_with_what_the_plan_says(null_bundle: Callable[..., Path]) -> None:
    folder = null_bundle()
    pacing = Pacing(round_seconds=(1.0, 1.2, 1.3), chain=(0.9, 0.8))
    mapping = Mapping(target="cpu", drafter="cpu")
    plan = choose(read_bundle(folder), profile=None, alpha=0.9)
    plan = msgspec.structs.replace(plan, mapping=mapping, draft_length=2, pacing=pacing)
    with load(folder, plan=plan, device=NullDevice(agreement=0.0)) as model:
        first, second = (compare(model, PROMPTS, draft_lengths=("adaptive", 1), max_new_tokens=40) for _ in range(2))
    assert [outcome.draft_length for outcome in first] == [0, 1, "adaptive"]
    assert first[2].identical == 3
    assert first[2].acceptance == second[2].acceptance
    assert 0 < first[2].acceptance.drafted < first[1].acceptance.drafted


@pytest.mark.usefixtures("wrong_when_wide")
def test_differences_are_found(null_bundle: Callable[..., Path]) -> None:
    with load(null_bundle(), drafter="model", device=NullDevice(agreement=0.9)) as model:
        outcomes = compare(model, PROMPTS, draft_lengths=(3,), max_new_tokens=20)
    assert outcomes[1].identical < 3
    assert len(outcomes[1].different) == 3 - outcomes[1].identical
