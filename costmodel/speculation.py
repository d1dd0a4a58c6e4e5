"""What one speculative round costs and what it brings.

    Omega(gamma) = sum over k = 0..gamma of P(first k drafts accepted)
    round(gamma) = gamma * t_draft(1) + catch_up + t_target(gamma + 1) + host(gamma)
    S(gamma)     = Omega(gamma) * round(0) / round(gamma)          round(0) = t_target(1) + host(0)

Passes take what they take in a round, after those of another model. With t_target(gamma+1) = t_target(1), no catch-up,
no host time and independent drafts, S is Eq. 1 of arXiv 2602.08060:

    S(alpha, gamma, c) = (1 - alpha^(gamma+1)) / ((1 - alpha) * (gamma*c + 1))        c = t_draft / t_target

catch_up: when all gamma drafts were kept the drafter has not seen its own last token, which it proposed but never
read. Its next first pass then has width 2, so it costs t_draft(2) - t_draft(1) more, with P(first gamma accepted).
lengths: a drafter that proposes what it finds (prompt lookup) drafts less than gamma in some rounds and nothing in
others; each round is verified at the width of its own draft, and the probabilities are those over all rounds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from paceline.costmodel.acceptance import check_alpha, expected_tokens

Seconds = Callable[[int], float]
_HALVINGS = 50  # of the interval [0, 1]: below the resolution of a float near 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """Expected tokens of a round, and its seconds by phase; ``plain`` is round(0) on the same mapping."""

    draft_length: int
    tokens: float
    draft: float
    catch_up: float
    verify: float
    host: float
    plain: float

    @property
    def seconds(self) -> float:
        return self.draft + self.catch_up + self.verify + self.host

    @property
    def seconds_per_token(self) -> float:
        return self.seconds / self.tokens

    @property
    def speedup(self) -> float:
        """S(gamma), over plain decoding on the same mapping."""
        return self.tokens * self.plain / self.seconds


def plain_round(target: Seconds, *, host: float = 0.0) -> Round:
    """The round of gamma = 0: one pass, one token, and what the host does between passes."""
    one = target(1)
    return Round(draft_length=0, tokens=1.0, draft=0.0, catch_up=0.0, verify=one, host=host, plain=one + host)


def speculative_round(
    *,
    drafter: Seconds,
    target: Seconds,
    probabilities: Sequence[float],
    lengths: Sequence[float] = (),
    host: float = 0.0,
    plain_host: float = 0.0,
) -> Round:
    """The round of gamma = len(probabilities) > 0.

    Args:
        drafter, target: seconds of one forward pass by width, after those that come before it in a round.
        probabilities: P(first k drafts accepted), k = 1..gamma, over all rounds.
        lengths: share of rounds that draft j = 0..gamma tokens; empty means that all draft gamma.
        host, plain_host: seconds of such a round, and of one of gamma = 0, outside forward passes.
    """
    gamma = len(probabilities)
    shares = {length: share for length, share in enumerate(lengths) if share} or {gamma: 1.0}
    return Round(
        draft_length=gamma,
        tokens=1.0 + sum(probabilities),
        draft=sum(share * length for length, share in shares.items()) * drafter(1),
        catch_up=probabilities[-1] * (drafter(2) - drafter(1)),
        verify=sum(share * target(length + 1) for length, share in shares.items()),
        host=host,
        plain=target(1) + plain_host,
    )


def paper_speedup(alpha: float, gamma: int, c: float) -> float:
    """S(alpha, gamma, c), Eq. 1 of arXiv 2602.08060; the loop counts on ``speculative_round`` instead."""
    return expected_tokens(alpha, gamma) / (gamma * c + 1.0)


def can_gain(alpha: float, c: float) -> bool:
    """Break-even of Eq. 1: some gamma has S > 1 if and only if c < alpha, and then gamma = 1 has already."""
    return c < check_alpha(alpha)


def break_even_alpha(
    draft_length: int, *, drafter: Seconds, target: Seconds, host: float = 0.0, plain_host: float = 0.0
) -> float | None:
    """Smallest alpha at which gamma = ``draft_length`` is no loss (S = 1); None where even alpha = 1 is one.

    Found by bisection between alpha = 0, where a round costs more than a plain pass and brings one token, and 1.
    """

    def gain(alpha: float) -> float:
        chain = [alpha**k for k in range(1, draft_length + 1)]
        costs = speculative_round(drafter=drafter, target=target, probabilities=chain, host=host, plain_host=plain_host)
        return costs.speedup - 1.0

    if draft_length < 1 or gain(1.0) < 0.0:
        return None
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if gain(middle) >= 0.0 else (middle, high)
    return high
