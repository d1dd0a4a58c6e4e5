"""What a decision lost, by runs of its own: the chosen case against the best of the others, in turns.

The quickest of many measured cases is in part the luckiest, so the table of them all says too much of what another
choice would have brought, and so does the largest of a few ratios. Heats find who does best against the chosen case;
the final's turns, which alone count, have no part in finding it.
"""

from __future__ import annotations

from collections.abc import Sequence

from paceline.console import Report, quiet
from paceline.runtime.averages import interquartile_mean, standard_error
from paceline.runtime.case import Case
from paceline.runtime.validation import Compared, Rival

RIVALS = 3
HEATS = 5
SURE = 0.01  # standard error of a ratio that ends the turns
FEWEST, MOST = 5, 40


def run_off(
    cases: Sequence[Case], rows: Sequence[Compared], chosen: int, *, prompts: int, report: Report = quiet
) -> Rival | None:
    """Run ``cases[chosen]`` against one other; None where there is none.

    ``HEATS`` turns against the ``RIVALS`` whose ``rows`` were measured quickest say which. Turns against that one end
    when the ratio is known to ``SURE``, or after ``MOST``.
    """
    others = sorted((row for row in range(len(rows)) if row != chosen), key=lambda row: rows[row].measured)[:RIVALS]
    if not others:
        return None
    best = others[_best([cases[row] for row in (chosen, *others)], prompts, report)]
    ratios: list[float] = []
    while len(ratios) < MOST and not _sure(ratios):
        report("run-off", len(ratios), MOST)
        ratios += _ratios([cases[chosen], cases[best]], prompts, first=len(ratios))
    report("run-off", MOST, MOST)
    error = standard_error(ratios)
    assert error is not None  # there are several turns
    return Rival(row=best, speedup=interquartile_mean(ratios), standard_error=error, turns=len(ratios))


def _best(cases: Sequence[Case], prompts: int, report: Report) -> int:
    """Which of ``cases[1:]`` does best against the first, by ``HEATS`` turns."""
    heats: list[list[float]] = []
    while len(heats) < HEATS:
        report("heats", len(heats), HEATS)
        heats.append(_ratios(cases, prompts, first=len(heats)))
    report("heats", HEATS, HEATS)
    means = [interquartile_mean(ratios) for ratios in zip(*heats, strict=True)]
    return means.index(max(means))


def _sure(ratios: Sequence[float]) -> bool:
    error = standard_error(ratios)
    return len(ratios) >= FEWEST and error is not None and error <= SURE


def _ratios(cases: Sequence[Case], prompts: int, *, first: int) -> list[float]:
    """How many times as quick as ``cases[0]`` the others run every prompt once; another one begins each time."""
    seconds = [0.0] * len(cases)
    for number in range(prompts):
        for place in range(len(cases)):
            runner = (place + first + number) % len(cases)
            seconds[runner] += cases[runner].sample(number)
    own, *others = [taken / case.all_tokens for taken, case in zip(seconds, cases, strict=True)]
    return [own / other for other in others]
