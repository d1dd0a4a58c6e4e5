"""From logits to the distribution that a token is drawn from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paceline.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How to choose a token: temperature 0 takes the likeliest; top_k 0 and top_p 1 keep all.

    Raises:
        UsageError: a value out of its range.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise UsageError(f"temperature is {self.temperature}, expected 0 (greedy) or a positive number")
        if self.top_k < 0:
            raise UsageError(f"top_k is {self.top_k}, expected 0 (all) or a positive number")
        if not 0 < self.top_p <= 1:
            raise UsageError(f"top_p is {self.top_p}, expected a number above 0 and at most 1")

    @property
    def greedy(self) -> bool:
        return self.temperature == 0


GREEDY = Sampling()


def probabilities(logits: NDArray[np.float32], sampling: Sampling) -> NDArray[np.float64]:
    """Distribution [..., vocabulary] of the next token; needs temperature > 0.

    Temperature first, then the top_k likeliest, then the fewest of those that hold top_p of their mass. Among equals
    the lower ids stay.
    """
    rows = np.atleast_2d(np.asarray(logits, np.float64))
    return np.stack([_row(row, sampling) for row in rows]).reshape(np.shape(logits))


def draw(distribution: NDArray[np.float64], uniform: float) -> int:
    """The token at ``uniform`` in [0, 1) of the cumulated distribution [vocabulary]."""
    cumulated = np.cumsum(distribution)
    index = int(np.searchsorted(cumulated, uniform * cumulated[-1], side="right"))
    # Rounding can put the product on the total itself; the last token with any mass is meant then.
    return min(index, int(np.flatnonzero(distribution)[-1]))


def _row(logits: NDArray[np.float64], sampling: Sampling) -> NDArray[np.float64]:
    with np.errstate(over="ignore"):  # near 0 all but the likeliest are infinitely far from it
        weights = np.exp((logits - logits.max()) / sampling.temperature)
    if 0 < sampling.top_k < len(weights):
        weights = _only(weights, _likeliest(weights, sampling.top_k))
    if sampling.top_p < 1:
        weights = _only(weights, _nucleus(weights, sampling.top_p))
    return np.asarray(weights / weights.sum(), np.float64)


def _likeliest(weights: NDArray[np.float64], count: int) -> NDArray[np.intp]:
    # A full sort of a vocabulary costs milliseconds; only what reaches the count-th value is worth sorting.
    floor = np.partition(weights, len(weights) - count)[len(weights) - count]
    candidates = np.flatnonzero(weights >= floor)
    return candidates[np.argsort(-weights[candidates], kind="stable")[:count]]


def _nucleus(weights: NDArray[np.float64], mass: float) -> NDArray[np.intp]:
    needed, possible = mass * weights.sum(), int(np.count_nonzero(weights))
    count = min(64, possible)
    while (held := np.cumsum(weights[likeliest := _likeliest(weights, count)]))[-1] < needed and count < possible:
        count = min(8 * count, possible)
    return likeliest[: int(np.searchsorted(held, needed)) + 1]


def _only(weights: NDArray[np.float64], kept: NDArray[np.intp]) -> NDArray[np.float64]:
    filtered = np.zeros_like(weights)
    filtered[kept] = weights[kept]
    return filtered
