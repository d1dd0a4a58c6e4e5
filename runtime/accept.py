"""Which drafted tokens stay. Arrays in, a value out: no device, no cache, no clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paceline.runtime.sampling import draw


@dataclass(frozen=True, slots=True)
class Accepted:
    """The first ``length`` drafts stay, then comes ``token``, the target's own."""

    length: int
    token: int


def accept_greedy(drafts: Sequence[int], ids: NDArray[np.int32]) -> Accepted:
    """Keep drafts [gamma] as long as they are the target's likeliest ids [gamma + 1]."""
    length = next((k for k, draft in enumerate(drafts) if draft != ids[k]), len(drafts))
    return Accepted(length, int(ids[length]))


def accept_sampled(
    drafts: Sequence[int],
    draft_probabilities: NDArray[np.float64],
    target_probabilities: NDArray[np.float64],
    random: np.random.Generator,
) -> Accepted:
    """Keep drafts [gamma] so that what is emitted has the target's distribution.

    ``draft_probabilities`` [gamma, vocabulary] are what each draft was drawn from, ``target_probabilities``
    [gamma + 1, vocabulary] what the target would draw from.
    """
    # draft x was drawn from q; r is uniform in [0, 1):   keep x if r < p(x) / q(x)
    # at the first x that falls, draw instead from        norm(max(0, p - q))
    # if none falls, draw one more token from             p_(gamma + 1)
    for k, x in enumerate(drafts):
        p, q, r = target_probabilities[k], draft_probabilities[k], random.random()
        if r * q[x] >= p[x]:
            return Accepted(k, draw(_residual(p, q), random.random()))
    return Accepted(len(drafts), draw(target_probabilities[len(drafts)], random.random()))


def _residual(p: NDArray[np.float64], q: NDArray[np.float64]) -> NDArray[np.float64]:
    rest = np.maximum(0.0, p - q)
    # p and q can be equal but for rounding; then nothing is left over, and p itself is right.
    return rest if rest.any() else p
