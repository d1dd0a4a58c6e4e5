"""The loop: propose, verify, accept, advance.

A round drafts gamma tokens, runs the target once over the last token and the drafts, keeps the drafts that agree and
adds one token of the target's own. The pace says gamma, round by round. Plain decoding is the same loop with gamma = 0,
and the prompt is read by the first round, which drafts nothing; so plain and speculative decoding differ in nothing
but gamma. With ``overlap`` the drafter goes on while the target verifies (``runtime/overlap.py``), which changes who
waits for whom, and no token.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from paceline.runtime.accept import Accepted, accept_greedy, accept_sampled
from paceline.runtime.drafters import Drafter, ModelDrafter, Proposal
from paceline.runtime.overlap import Ahead
from paceline.runtime.pace import FixedPace, Pace
from paceline.runtime.program import Step
from paceline.runtime.record import Record, StopReason
from paceline.runtime.sampling import GREEDY, Sampling, probabilities
from paceline.runtime.session import Session

Origin = Literal["drafted", "target"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to generate: up to ``max_tokens`` after ``prompt``, until one of ``ends``.

    gamma is what ``pace`` says each round; without one it is ``draft_length``. With ``overlap`` a drafter model works
    while the target does, which is of use where it has another processor.
    """

    prompt: tuple[int, ...]
    max_tokens: int
    draft_length: int = 0
    ends: frozenset[int] = frozenset()
    sampling: Sampling = GREEDY
    seed: int = 0
    pace: Pace | None = None
    overlap: bool = False


def propose(
    drafter: Drafter, sequence: list[int], length: int, *, sampling: Sampling, random: np.random.Generator
) -> Proposal:
    """Let the drafter run ahead of ``sequence`` by up to ``length`` tokens."""
    if length <= 0:
        return Proposal()
    return drafter.propose(sequence, length, sampling=sampling, random=random)


def verify(target: Session, sequence: list[int], proposal: Proposal, *, sampling: Sampling) -> Step:
    """Run the target over all it has not seen; returns what it says after the last token and after each draft."""
    rows = 1 + len(proposal.tokens)
    return target.follow([*sequence, *proposal.tokens], rows=rows, logits=not sampling.greedy)


def accept(proposal: Proposal, step: Step, *, sampling: Sampling, random: np.random.Generator) -> Accepted:
    """Choose the drafts that stay and the token after them."""
    if step.logits is None:
        return accept_greedy(proposal.tokens, step.ids)
    target = probabilities(step.logits, sampling)
    drafter = target[:0] if proposal.probabilities is None else proposal.probabilities
    return accept_sampled(proposal.tokens, drafter, target, random)


def advance(target: Session, sequence: list[int], proposal: Proposal, accepted: Accepted) -> list[tuple[int, Origin]]:
    """Append what was accepted to ``sequence``, forget the drafts that fell, and return the new tokens."""
    target.rewind(len(sequence) + accepted.length)
    fresh: list[tuple[int, Origin]] = [(token, "drafted") for token in proposal.tokens[: accepted.length]]
    fresh.append((accepted.token, "target"))
    sequence.extend(token for token, _ in fresh)
    return fresh


def speculate(
    target: Session, drafter: Drafter, request: Request, record: Record
) -> Generator[tuple[int, Origin], None, StopReason]:
    """Yield tokens with their origin; the generator's value is why it stopped. It may be dropped at any point.

    The token that ends the text is not yielded. Drafts are shortened so that neither ``max_tokens`` nor the context
    is overrun within a round.
    """
    sequence, produced, random = list(request.prompt), 0, np.random.default_rng(request.seed)
    options, pace = {"sampling": request.sampling}, request.pace or FixedPace(request.draft_length)
    pace.begin()
    with Ahead(drafter if request.overlap and isinstance(drafter, ModelDrafter) else None) as ahead:
        while room := _room(request.max_tokens - produced, target.context, sequence):
            wanted = pace.next(unread=drafter.unread(sequence), room=room) if produced else 0
            length = min(wanted, room - 1)
            if produced == 1 and length > 0:
                with record.phase("prefill"):
                    drafter.prepare(sequence)
            with record.phase("draft"):
                ready = ahead.take(sequence, length)
                proposal = ready or propose(drafter, sequence, length, random=random, **options)
                text = [*sequence, *proposal.tokens]
                ahead.start(text, min(wanted, room - len(proposal.tokens) - 2), random=random, **options)
            with record.phase("verify" if produced else "prefill"):
                step = verify(target, sequence, proposal, **options)
            with record.phase("accept"):
                accepted = accept(proposal, step, random=random, **options)
            with record.phase("draft"):
                hit = ahead.settle(accepted.token if accepted.length == len(proposal.tokens) else None)
            if produced:
                record.round(len(proposal.tokens), accepted.length, ready=ready is not None)
                pace.observe(len(proposal.tokens), accepted.length, hit=hit)
            for token, origin in advance(target, sequence, proposal, accepted):
                if token in request.ends:
                    return "eos"
                produced += 1
                yield token, origin
    return "length" if produced >= request.max_tokens else "context"


def _room(tokens_left: int, context: int, sequence: list[int]) -> int:
    """How many more tokens can be produced: each but the last must stand in the caches to be followed."""
    return max(0, min(tokens_left, context + 1 - len(sequence)))
