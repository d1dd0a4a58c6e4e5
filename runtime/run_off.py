"""What a decision lost, by runs of its own: the chosen case against those that came out quickest, in turns.

The quickest of many measured cases is in part the luckiest, so the table of them all says too much of what another
choice would have brought. These runs have no part in choosing who takes part, and each gives a ratio of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from paceline.console import Report, quiet
from paceline.runtime.averages import interquartile_mean, standard_error
from paceline.runtime.case import Case
from paceline.runtime.validation import Compared, Rival

RIVALS = 3
SURE = 0.01  # standard error of a ratio that ends the turns
FEWEST, MOST = 5, 20


@dataclass(slots=True)
class _Against:
    row: int
    case: Case
    ratios: list[float] = field(default_factory=list)

    @property
    def found(self) -> Rival:
        error = standard_error(self.ratios)
        assert error is not None  # there are several turns
        return Rival(
            row=self.row, speedup=interquartile_mean(self.ratios), standard_error=error, turns=len(self.ratios)
        )


def run_off(
    cases: Sequence[Case], rows: Sequence[Compared], chosen: int, *, prompts: int, report: Report = quiet
) -> tuple[Rival, ...]:
    """Run ``cases[chosen]`` against the ``RIVALS`` others whose ``rows`` were measured quickest.

    Turns end when the rival that does best is known to ``SURE``, or after ``MOST``.
    """
    others = sorted((row for row in range(len(rows)) if row != chosen), key=lambda row: rows[row].measured)
    rivals = [_Against(row, cases[row]) for row in others[:RIVALS]]
    for turn in range(MOST if rivals else 0):
        _turn(cases[chosen], rivals, prompts, first=turn)
        report("run-off", turn + 1, MOST)
        if turn + 1 >= FEWEST and _is_sure(rivals):
            break
    if rivals:
        report("run-off", MOST, MOST)
    return tuple(rival.found for rival in rivals)


def _is_sure(rivals: Sequence[_Against]) -> bool:
    return max((rival.found for rival in rivals), key=lambda rival: rival.speedup).standard_error <= SURE


def _turn(chosen: Case, rivals: Sequence[_Against], prompts: int, *, first: int) -> None:
    """Every case runs every prompt once; another one begins each time."""
    cases = [chosen, *(rival.case for rival in rivals)]
    seconds = [0.0] * len(cases)
    for number in range(prompts):
        for place in range(len(cases)):
            runner = (place + first + number) % len(cases)
            seconds[runner] += cases[runner].sample(number)
    for rival, taken in zip(rivals, seconds[1:], strict=True):
        rival.ratios.append((seconds[0] / chosen.all_tokens) / (taken / rival.case.all_tokens))
