"""Who runs against the chosen case, how often, and what comes out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import chain, cycle
from typing import cast

import pytest

from paceline.partition import Mapping
from paceline.runtime.case import Case
from paceline.runtime.run_off import FEWEST, HEATS, MOST, run_off
from paceline.runtime.validation import Compared


class Scripted:
    """A case whose samples are known; ``log`` tells who ran which prompt."""

    def __init__(self, name: int, seconds: Iterator[float], log: list[tuple[int, int]], tokens: int = 10) -> None:
        self.all_tokens = tokens
        self._name, self._seconds, self._log = name, seconds, log

    def sample(self, number: int) -> float:
        self._log.append((self._name, number))
        return next(self._seconds)


def rows(*measured: float) -> list[Compared]:
    return [
        Compared(
            mapping=Mapping(target="cpu", drafter=None),
            draft_length=0,
            predicted=1.0,
            measured=seconds,
            low=seconds,
            high=seconds,
            tokens_per_round=1.0,
            draft=0.0,
            verify=1.0,
            host=0.0,
        )
        for seconds in measured
    ]


def cases(log: list[tuple[int, int]], *seconds: Iterator[float]) -> list[Case]:
    return cast(list[Case], [Scripted(name, one, log) for name, one in enumerate(seconds)])


def test_the_best_of_the_quickest_others_runs_every_prompt_in_turns() -> None:
    log: list[tuple[int, int]] = []
    running = cases(log, *(cycle([seconds]) for seconds in (1.0, 2.0, 0.5, 0.1, 3.0)))
    found = run_off(running, rows(2.0, 1.0, 3.0, 9.0, 4.0), 1, prompts=2)
    assert found is not None and (found.row, found.turns) == (2, FEWEST)  # there is no noise
    assert found.speedup == pytest.approx(4.0)
    heats, final = log[: HEATS * 8], log[HEATS * 8 :]
    assert Counter(heats) == {(name, number): HEATS for name in (0, 1, 2, 4) for number in (0, 1)}
    assert Counter(final) == {(name, number): FEWEST for name in (1, 2) for number in (0, 1)}
    for part, each in ((heats, 4), (final, 2)):
        assert len({part[at][0] for at in range(0, len(part), each)}) > 1  # who begins


def test_turns_that_found_the_rival_do_not_count() -> None:
    lucky = chain([0.5] * HEATS, cycle([1.25]))
    found = run_off(cases([], cycle([1.0]), lucky, cycle([1.1])), rows(1.0, 1.0, 1.0), 0, prompts=1)
    assert found is not None and found.row == 1 and found.speedup == pytest.approx(0.8)


def test_what_is_not_sure_takes_more_turns() -> None:
    noisy = run_off(cases([], cycle([1.0]), cycle([0.5, 1.5])), rows(1.0, 1.0), 0, prompts=1)
    assert noisy is not None and noisy.turns == MOST and noisy.standard_error > 0.01


def test_tokens_count() -> None:
    running = cast(list[Case], [Scripted(0, cycle([1.0]), [], tokens=10), Scripted(1, cycle([1.0]), [], tokens=20)])
    found = run_off(running, rows(1.0, 1.0), 0, prompts=1)
    assert found is not None and found.speedup == pytest.approx(2.0)


def test_alone_there_is_nothing_to_run() -> None:
    log: list[tuple[int, int]] = []
    assert run_off(cases(log, cycle([1.0])), rows(1.0), 0, prompts=1) is None and not log
