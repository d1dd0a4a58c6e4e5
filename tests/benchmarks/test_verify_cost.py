"""Ratios of passes are taken turn by turn."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paceline.runtime.loaded import Loaded
from verify_cost import lines, take_turns

SLOW = 0.03


class Passes:
    """A program that notes what it is asked for, and is slow when that is not what it was asked for last."""

    vocabulary = 32

    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []

    def step(self, tokens: NDArray[np.int32], position: int, *, first: int) -> None:
        assert first == 0  # all rows of a target
        self.asked.append((len(tokens), position))
        if self.asked[-2:-1] != self.asked[-1:]:
            time.sleep(SLOW)


def test_every_case_has_a_pass_of_its_own_before_it_in_every_turn() -> None:
    cases, program = [(1, 32), (4, 32), (1, 500), (4, 500)], Passes()
    stand_in: Any = program
    target = Loaded(role="target", precision="int8", unit="cpu", cores=1, program=stand_in)
    times, busy = take_turns(target, cases, 1e-9)
    assert len(busy) == 2 and sorted(program.asked) == sorted(4 * cases)
    assert program.asked[::2] == program.asked[1::2]
    assert all(len(mine) == 2 and np.median(mine) < SLOW for mine in times.values())


def test_a_ratio_is_that_of_one_turn() -> None:
    """A machine that is twice as slow now and then has the same ratios throughout."""
    times = {(1, 32): [0.02, 0.01, 0.02, 0.01], (8, 32): [0.026, 0.013, 0.026, 0.013]}
    assert lines(times) == [["32", "1", "15.0", "1.00 [1.00, 1.00]"], ["32", "8", "19.5", "1.30 [1.30, 1.30]"]]
