"""Comparisons: plain first, identical texts counted, differences named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from paceline.runtime import NullDevice, load
from paceline.runtime.compare import compare
from paceline.runtime.null_device import NullProgram
from paceline.runtime.program import Step

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


def test_differences_are_found(null_bundle: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    honest = NullProgram.step

    def wide_is_wrong(
        self: NullProgram, tokens: NDArray[np.int32], position: int, *, first: int = 0, logits: bool = False
    ) -> Step:
        step = honest(self, tokens, position, first=first, logits=logits)
        if len(tokens) == 4 and self._agreement == 1.0:
            step.ids[:] = 5
        return step

    monkeypatch.setattr(NullProgram, "step", wide_is_wrong)
    with load(null_bundle(), drafter="model", device=NullDevice(agreement=0.9)) as model:
        outcomes = compare(model, PROMPTS, draft_lengths=(3,), max_new_tokens=20)
    assert outcomes[1].identical < 3
    assert len(outcomes[1].different) == 3 - outcomes[1].identical
