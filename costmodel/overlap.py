"""What a round costs when the drafter goes on while the target verifies (``runtime/overlap.py``).

A round verifies gamma drafts in V = t_target(gamma + 1). Meanwhile the drafter makes its guess of the target's own
token and the next round's gamma drafts after it, in D = (gamma + 1) * t_draft(1). The next round finds its drafts made
if all gamma drafts are kept and the guess is right: a hit, of probability

    h = P(first gamma + 1 in a row)          the guess is a draft like the others, judged by the target's own token

On a hit the round lasts until both are done. On a miss the drafter first ends the pass that it is in when the target
has spoken (w, none where it was done), and then drafts gamma tokens while the target waits:

    round(gamma) = h * max(V, D) + (1 - h) * (V + w + gamma * t_draft(1)) + host
    Omega(gamma) = 1 + sum over k = 1..gamma of P(first k drafts accepted)

A round is in one of two states, its drafts ready or not, and what it verifies is the same in both: the next state
hangs on what is kept in this round only, so both rows of the chain are (h, 1 - h), and so is its stationary
distribution. What a round costs is booked where it is caused, before the next one, so the mean over rounds is the line
above, and seconds a token are round / Omega (rounds are renewals). Real acceptance comes in runs, which makes states
follow one another; the share of hits is h all the same, and the mean of a sum does not ask in which order.

Where rounds do not all draft gamma (the end of a text cuts them short), V is the mean over what they verify, and gamma
is what they draft in the mean: each drafts for the next one, and what the first one waits for stands for the last's.

No catch-up: whoever drafts beside the target reads its own last draft while it does.

Two processors share a memory. While both work, a pass of the target takes ``slowdown.target`` times as long and one of
the drafter ``slowdown.drafter`` times; when the first of them is done, the other one goes on at its own speed:

    both until  T = min(s_t * V, s_d * D)      then   V' = T + V - T / s_t      D' = T + D - T / s_d
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from paceline.costmodel.speculation import Round, Seconds


@dataclass(frozen=True, slots=True)
class Slowdown:
    """How many times as long a pass takes in company of the other model; 1: they do not touch each other."""

    target: float = 1.0
    drafter: float = 1.0


ALONE = Slowdown()


def beside(verify: float, draft: float, slowdown: Slowdown) -> tuple[float, float]:
    """When two works of so many seconds end that begin together (V', D')."""
    both = min(slowdown.target * verify, slowdown.drafter * draft)
    return both + verify - both / slowdown.target, both + draft - both / slowdown.drafter


def overlapped_round(
    *,
    drafter: Seconds,
    target: Seconds,
    probabilities: Sequence[float],
    lengths: Sequence[float] = (),
    slowdown: Slowdown = ALONE,
    host: float = 0.0,
    draft_host: float = 0.0,
    plain_host: float = 0.0,
) -> Round:
    """The round of gamma = len(probabilities) - 1 > 0; its ``draft`` is what the target waits for the drafter.

    Args:
        drafter, target: seconds of one forward pass by width, alone.
        probabilities: P(first k tokens of the drafter in a row are the target's), k = 1..gamma + 1, over all rounds.
        lengths: share of rounds that draft j = 0..gamma tokens; empty means that all draft gamma.
        slowdown: of passes while both devices work.
        host, plain_host: seconds outside forward passes of such a round, beside drafting, and of one of gamma = 0.
        draft_host: seconds of a draft outside its pass; they pass where the drafter is.
    """
    gamma, hit = len(probabilities) - 1, probabilities[-1]
    shares = {length: share for length, share in enumerate(lengths) if share} or {gamma: 1.0}
    drafted = sum(share * length for length, share in shares.items())
    one, alone = drafter(1) + draft_host, sum(share * target(length + 1) for length, share in shares.items())
    verify, ready = beside(alone, (drafted + 1) * one, slowdown)
    missed = _rest_of_a_pass(verify, ready, one * slowdown.drafter) / slowdown.drafter + drafted * one
    return Round(
        draft_length=gamma,
        tokens=1.0 + sum(probabilities[:-1]),
        draft=hit * max(0.0, ready - verify) + (1.0 - hit) * missed,
        catch_up=0.0,
        verify=verify,
        host=host,
        plain=target(1) + plain_host,
    )


def _rest_of_a_pass(verify: float, ready: float, one: float) -> float:
    """Seconds, at the speed beside the target, that the pass under way at the verdict has left."""
    return 0.0 if ready <= verify else (math.ceil(verify / one) - verify / one) * one
