"""Means that a machine's slow moments do not move, and how sure they are."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence


def interquartile_mean(values: Sequence[float]) -> float:
    """Mean of what is left without the lowest and the highest quarter (rounded down) of ``values``."""
    ordered, cut = sorted(values), len(values) // 4
    return sum(ordered[cut : len(ordered) - cut]) / (len(ordered) - 2 * cut)


def standard_error(values: Sequence[float]) -> float | None:
    """Of the interquartile mean of ``values``, which are independent; None for fewer than two.

    From the deviations that are left when the quarters that do not count are moved to their inner ends (winsorised):
    Tukey and McLaughlin, Sankhya A 25 (1963).
    """
    if (count := len(values)) < 2:
        return None
    ordered, cut = sorted(values), count // 4
    kept = ordered[cut : count - cut]
    moved = [kept[0]] * cut + kept + [kept[-1]] * cut
    return math.sqrt(statistics.variance(moved) * (count - 1) / (len(kept) * (len(kept) - 1)))


def error_of_sum(errors: Sequence[float | None]) -> float | None:
    """Standard error of a sum whose independent parts have ``errors``; None where one of them is not known."""
    known = [error for error in errors if error is not None]
    return math.hypot(*known) if known and len(known) == len(errors) else None
