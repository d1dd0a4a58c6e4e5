"""How far ahead each round drafts: always as far, or as far as pays by what the target kept so far.

    p_k    = P(draft k is kept, given that all before it were)
    Omega  = 1 + p_1 + p_1 p_2 + ... + p_1 ... p_gamma
    gamma  = argmin of round(gamma) / Omega(gamma), gamma = 0..n             round(gamma): seconds, from the plan

Where the drafter works beside the target (``costmodel/overlap.py``), the plan says what a round takes where the guess
came true and where it did not, and what is kept says how often it does:

    round(gamma) = h * hit(gamma) + (1 - h) * miss(gamma),  h = p_1 ... p_gamma * P(guess is right, given that)

An ``AdaptivePace`` begins with the plan's chances, evened out a little, and learns (``runtime/evidence.py``).

At gamma = 0 nothing would ever be learnt, so now and then a round is a probe. What may be spent on probes is counted
in seconds of the cost model, the drafter's reading of what it has missed included:

    credit += (1 + BUDGET) * round(0) * tokens - seconds                     of every round

A probe needs credit for the case that nothing is kept, so that all rounds together take at most 1 + BUDGET times as
long as plain decoding, but for what was lost until a bad drafter was found out, which is paid back first.

Lossless: a length may depend on earlier rounds only, not on what this round draws. Whatever the lengths, a round then
adds tokens of the target's own distribution after the text so far, so all rounds together do. No clock is read, so
that the same texts meet the same lengths.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from paceline.partition.plan import Beside, Pacing
from paceline.runtime.evidence import MEMORY, Learnt, conditional

DraftLength = int | Literal["adaptive"]

# Share of plain decoding that probes may cost: half of the 3 % that adaptation is allowed in all, the other half being
# for finding out that the plan is wrong.
BUDGET = 0.015
# Tokens whose share of the budget may be saved up while drafting pays: a good drafter buys probes where it fails, but
# not without end.
HORIZON = 2000


class Pace(Protocol):
    """Says how far ahead to draft, and is told what came of it."""

    def begin(self) -> None:
        """A text begins."""
        ...

    def next(self, *, unread: int, room: int) -> int:
        """Draft length of the coming round, and of what is drafted beside it.

        ``unread`` tokens the drafter would have to read first; at most ``room`` tokens may still come.
        """
        ...

    def observe(self, drafted: int, accepted: int, *, hit: bool | None = None) -> None:
        """The round drafted so many tokens, of which so many were kept.

        ``hit``: what was drafted beside it is of use, so that the next drafts are ready; None where nothing was.
        """
        ...


@dataclass(frozen=True, slots=True)
class FixedPace:
    """The same length in every round."""

    draft_length: int

    def begin(self) -> None:
        """Nothing to prepare."""

    def next(self, *, unread: int, room: int) -> int:
        """The length."""
        return self.draft_length

    def observe(self, drafted: int, accepted: int, *, hit: bool | None = None) -> None:
        """Nothing to learn."""


class AdaptivePace:
    """The length that the cost model finds best for what was kept so far; see the module.

    One pace serves all texts of a model. Texts that take turns may share it: each only weighs the others' rounds more.
    """

    def __init__(self, pacing: Pacing) -> None:
        self._miss, self._read = pacing.round_seconds, pacing.read_seconds
        # In turns nothing is ever ready, and no round waits for what another one would have made.
        beside = pacing.beside or Beside(hit_seconds=self._miss, wait_seconds=(0.0,) * len(self._miss), guess=0.0)
        self._hit, self._wait = beside.hit_seconds, beside.wait_seconds
        self._drafts, self._guesses = Learnt(conditional(pacing.chain)), Learnt([beside.guess])
        self._credit = 0.0
        # The shortest draft that pays if all of it is kept: a probe that succeeds can be followed by another at once.
        self._probe = next((g for g, cost in enumerate(self._hit) if cost < (g + 1) * self._miss[0]), 0)
        self.begin()

    def begin(self) -> None:
        """A text begins with what all texts have shown, for as much as it could itself remember of it."""
        self._drafts.begin()
        self._guesses.begin()
        self._drafting, self._unread, self._ready = False, 0, False
        self._rested, self._rest = 0, 0

    def next(self, *, unread: int, room: int) -> int:
        """The best length, if the text can still be long enough to make up for ``unread``; else 0, or a probe."""
        length, seconds = self._best()
        self._unread = unread
        self._drafting = length > 0 and (self._miss[0] - seconds) * room > self._read * unread
        if self._drafting:
            return length
        return self._probe if self._may_probe(unread) else 0

    def observe(self, drafted: int, accepted: int, *, hit: bool | None = None) -> None:
        """Learn from a round. One that drafted nothing, for want of room or of a match, says nothing of the drafter."""
        plain = self._miss[0] * (accepted + 1)
        reading = self._read * self._unread if drafted else 0.0
        self._credit += (1.0 + BUDGET) * plain - self._seconds(drafted, hit=bool(hit)) - reading
        if self._drafting:
            self._credit = min(self._credit, BUDGET * HORIZON * self._miss[0])
        self._rested += 1
        if drafted:
            self._drafts.add(drafted, accepted)
            pays = plain > (self._hit if hit else self._miss)[drafted]
            # Each probe that fails doubles the rounds until the next: soon after the drafter failed it has little to
            # read, but may well fail again.
            self._rest = 0 if pays else 1 if self._drafting else min(max(1, 2 * self._rest), MEMORY)
            self._rested = 0
        if hit is not None and accepted == drafted:
            self._guesses.add(1, int(hit))
        self._ready = bool(hit)

    def _best(self) -> tuple[int, float]:
        """The argmin, and its seconds a token; the shorter of equals."""
        best, reached, tokens, guess = (0, self._miss[0]), 1.0, 1.0, self._guesses.chances()[0]
        for length, chance in enumerate(self._drafts.chances(), 1):
            reached *= chance
            tokens += reached
            hits = reached * guess
            seconds = (hits * self._hit[length] + (1.0 - hits) * self._miss[length]) / tokens
            if seconds < best[1]:
                best = (length, seconds)
        return best

    def _seconds(self, length: int, *, hit: bool) -> float:
        """A round of ``length``, from where the last one left the drafter: what was ready then need not be waited for.

        What a round leaves ready is saved in the next one; on a hit, only what both took at once counts in this one.
        """
        wait = self._wait[length]
        return (self._hit[length] if hit else self._miss[length] - wait) + (0.0 if self._ready else wait)

    def _may_probe(self, unread: int) -> bool:
        if not self._probe or self._rested < self._rest:
            return False
        return self._credit >= self._seconds(self._probe, hit=False) - self._miss[0] + self._read * unread
