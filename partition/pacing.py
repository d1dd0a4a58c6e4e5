"""What draft lengths cost on the mapping that was chosen, for a runtime that moves between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from paceline.costmodel import Round
from paceline.partition.candidates import Belief, Candidate, mapping_round
from paceline.partition.plan import NGRAM, Beside, Pacing
from paceline.partition.times import Times

# Of drafts that all fall, and that all stay: the two ends between which a round costs what is kept.
NEVER, SURE = Belief(alpha=0.0, source="none is kept"), Belief(alpha=1.0, source="all are kept")


def pacing_of(times: Times, widths: Sequence[int], choice: Candidate, belief: Belief, longest: int) -> Pacing:
    """What draft lengths up to ``longest`` cost on a choice that drafts, as far as passes are known for them.

    Each round drafts as much as it is asked for, whoever drafts: what a drafter finds is known once it has looked.
    """
    always = replace(belief, proposes_always=True)
    rounds = _rounds(times, choice, longest, NEVER if choice.overlap else always)
    chain = _chain(always, choice.draft_length, len(rounds) - 1)
    return Pacing(
        round_seconds=tuple(costs.seconds for costs in rounds),
        chain=chain,
        read_seconds=_read_seconds(times, widths, choice),
        beside=_beside(times, choice, always, len(chain)) if choice.overlap else None,
    )


def _rounds(times: Times, choice: Candidate, longest: int, belief: Belief) -> list[Round]:
    """Of 0 to ``longest`` drafts, as far as all passes are known."""
    rounds = list[Round]()
    for length in range(longest + 1):
        try:
            rounds.append(mapping_round(times, choice.mapping, length, choice.cores, belief, overlap=choice.overlap))
        except LookupError:
            break
    return rounds


def _beside(times: Times, choice: Candidate, belief: Belief, longest: int) -> Beside:
    unit = str(choice.mapping.drafter)
    one, plain_host = times.seconds("drafter", unit, 1, choice.cores[unit]) or 0.0, times.host_seconds("none", 0)
    more_host = (max(0.0, times.host_seconds("model", length) - plain_host) for length in range(1, longest + 1))
    kept = belief.probabilities(choice.draft_length)[-1]
    return Beside(
        hit_seconds=tuple(costs.seconds for costs in _rounds(times, choice, longest, SURE)),
        wait_seconds=(0.0, *(length * one + more for length, more in enumerate(more_host, 1))),
        guess=belief.hit(choice.draft_length) / kept if kept else 0.0,
    )


def _chain(belief: Belief, chosen: int, longest: int) -> tuple[float, ...]:
    """P(first k drafts accepted), as rounds of the chosen length have it, and beyond it as the longest go on."""
    near, far = belief.probabilities(min(chosen, longest)), belief.probabilities(longest)
    scale = near[-1] / far[len(near) - 1] if far[len(near) - 1] else 0.0
    return (*near, *(min(near[-1], scale * reached) for reached in far[len(near) :]))


def _read_seconds(times: Times, widths: Sequence[int], choice: Candidate) -> float:
    """Seconds for which the drafter reads a token of a long text; prompt lookup has nothing to read."""
    unit = choice.mapping.drafter
    if unit is None or unit == NGRAM:
        return 0.0
    passes = [(times.seconds("drafter", unit, width, choice.cores[unit]), width) for width in widths]
    return min((seconds / width for seconds, width in passes if seconds is not None), default=0.0)
