"""Passes take turns, keep to the budget and come back as interquartile means."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from paceline.costmodel import Role
from paceline.runtime.loaded import Loaded
from paceline.runtime.measure import BURST_CALLS, FEW, MINIMUM, Passes, time_passes
from paceline.runtime.null_device import NullProgram
from paceline.runtime.program import Step


class Clock:
    """Time that only programs pass."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class SlowProgram(NullProgram):
    """Takes ``seconds(width, call)`` of the clock and notes where it was called."""

    def __init__(self, clock: Clock, cost: Callable[[int, int], float], log: list[tuple[str, int, int]]) -> None:
        super().__init__(widths=(1, 4), context=64)
        self.clock, self.cost, self.log, self.name = clock, cost, log, str(id(self))

    def step(self, tokens: NDArray[np.int32], position: int, *, first: int = 0, logits: bool = False) -> Step:
        self.log.append((self.name, len(tokens), position))
        calls = self.log.count((self.name, len(tokens), position))
        self.clock.now += self.cost(len(tokens), calls)
        return super().step(tokens, position, first=first, logits=logits)


def labelled(program: NullProgram, role: Role = "target", name: str = "cpu") -> Loaded:
    return Loaded(role=role, precision="f32", unit=name, cores=1, program=program)


def test_median_and_quartiles_without_the_warm_up() -> None:
    clock = Clock()
    # The first call sets up; then each turn warms up and takes the mean of four; of five turns one is an outlier.
    turns = [(9.0, 1.0, 1.0, 1.0, 1.0), (9.0, 1.0, 3.0, 2.0, 2.0), (9.0, 3.0, 3.0, 3.0, 3.0), (9.0, 4.0, 4.0, 4.0, 4.0)]
    costs = [90.0, *(cost for turn in turns for cost in turn), 9.0, 500.0, 500.0, 500.0, 500.0]
    program = SlowProgram(clock, lambda width, call: costs[call - 1] * width, [])
    [(one, last, four, _)] = time_passes([[labelled(program)]], repeats=5, budget=1e6, clock=clock)
    assert (one.position, last.position, four.position) == (FEW, 63, FEW)
    assert (one.role, one.unit, one.cores, one.precision) == ("target", "cpu", 1, "f32")
    assert (one.width, one.seconds, one.spread, one.repeats) == (1, 3.0, 2.0, 5)
    assert (four.width, four.seconds, four.spread, four.repeats) == (4, 12.0, 8.0, 5)


def test_a_burst_of_short_calls_lasts_long_enough() -> None:
    clock = Clock()
    log: list[tuple[str, int, int]] = []
    program = SlowProgram(clock, lambda width, call: 1 / 128 if width == 1 else 1 / 512, log)
    time_passes([[labelled(program)]], repeats=3, budget=1e6, clock=clock)
    # three tenths of a second that do not count, then two that do
    assert log.count((program.name, 1, FEW)) == 1 + 3 * (39 + 26)
    assert log.count((program.name, 4, FEW)) == 1 + 3 * (154 + 103)


def test_passes_take_turns_with_little_in_the_caches_and_with_full_ones() -> None:
    clock, log = Clock(), list[tuple[str, int, int]]()
    programs = [SlowProgram(clock, lambda width, call: 1.0, log) for _ in range(2)]
    time_passes([[labelled(program) for program in programs]], repeats=4, budget=1e6, clock=clock)
    once = [(program.name, width, at) for program in programs for width in (1, 4) for at in (FEW, 64 - width)]
    assert log == once + [entry for entry in once for _ in range(1 + BURST_CALLS)] * 4


def test_groups_take_turns_and_share_a_budget_of_as_many_seconds_each() -> None:
    clock, log = Clock(), list[tuple[str, int, int]]()
    programs = [SlowProgram(clock, lambda width, call: 1.0, log) for _ in range(2)]
    found = time_passes([[labelled(one)] for one in programs], repeats=99, budget=100.0, clock=clock)
    # 25 seconds for each of four passes of two programs: five turns of five calls
    assert [[entry.repeats for entry in group] for group in found] == [[5] * 4] * 2
    once = [(program.name, width, at) for program in programs for width in (1, 4) for at in (FEW, 64 - width)]
    assert log == once + [entry for entry in once for _ in range(1 + BURST_CALLS)] * 5


@pytest.mark.parametrize(("cost", "calls"), [(1.0, 4), (6.0, 4), (7.0, 3), (9.0, 2), (12.0, 1), (90.0, 1)])
def test_bursts_are_shorter_where_the_share_has_no_room(cost: float, calls: int) -> None:
    clock, log = Clock(), list[tuple[str, int, int]]()
    program = SlowProgram(clock, lambda width, call: cost, log)
    time_passes([[labelled(program)]], repeats=MINIMUM, budget=400.0, clock=clock)  # a hundred seconds for each
    assert log.count((program.name, 1, FEW)) == 1 + MINIMUM * (1 + calls)


@pytest.mark.parametrize(
    ("budget", "cost", "quick", "slow"),
    [(0.0, 1.0, 1, 1), (400.0, 90.0, 20, MINIMUM), (400.0, 110.0, 20, 1), (1e6, 100.0, 30, 30)],
)
def test_each_pass_may_use_an_equal_share_of_the_budget(budget: float, cost: float, quick: int, slow: int) -> None:
    clock = Clock()
    program = SlowProgram(clock, lambda width, call: 1.0 if width == 1 else cost, [])
    [found] = time_passes([[labelled(program)]], repeats=30, budget=budget, clock=clock)
    assert [entry.repeats for entry in found] == [quick, quick, slow, slow]
    assert [entry.seconds for entry in found] == [1.0, 1.0, cost, cost]


def test_progress_reaches_its_end() -> None:
    seen: list[tuple[str, int, int]] = []
    program = NullProgram(widths=(1,))
    time_passes([[labelled(program)]], repeats=5, budget=0.0, report=lambda *state: seen.append(state))
    assert seen[-1] == ("forward passes", 5, 5)


@pytest.mark.parametrize(
    ("widest", "expected"),
    [({"drafter": 2}, [1, 2, 4, 1, 2]), ({"target": 1, "drafter": 1}, [1, 1]), (None, [1, 2, 4] * 2)],
)
def test_each_role_has_its_own_widest_pass(widest: dict[Role, int] | None, expected: list[int]) -> None:
    roles: tuple[Role, ...] = ("target", "drafter")
    programs = [labelled(NullProgram(widths=(1, 2, 4), context=64), role) for role in roles]
    passes = Passes(programs, widest=widest)
    passes.turn()
    assert [entry.width for entry in passes.measurements()][::2] == expected  # at two positions each


def test_passes_are_of_other_tokens_each_time() -> None:
    """What a screened head reads depends on them."""
    asked: set[tuple[int, ...]] = set()

    class Noting(SlowProgram):
        def step(self, tokens: NDArray[np.int32], position: int, *, first: int = 0, logits: bool = False) -> Step:
            assert tokens.dtype == np.int32 and 0 <= tokens.min() <= tokens.max() < self.vocabulary
            asked.add(tuple(tokens))
            return super().step(tokens, position, first=first, logits=logits)

    clock = Clock()
    time_passes([[labelled(Noting(clock, lambda width, call: 0.01, []))]], repeats=3, budget=1e6, clock=clock)
    assert len({tokens for tokens in asked if len(tokens) == 1}) > 20
