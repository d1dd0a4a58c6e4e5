"""How far ahead each round drafts: always as far, or as far as pays by what the target kept so far.

    p_k    = P(draft k is kept, given that all before it were)
    Omega  = 1 + p_1 + p_1 p_2 + ... + p_1 ... p_gamma
    gamma  = argmin of round(gamma) / Omega(gamma), gamma = 0..n             round(gamma): seconds, from the plan

An ``AdaptivePace`` begins with the plan's p_k, evened out a little. Each drafted round is evidence, and evidence fades:
what a text has shown weighs most, and a new text begins with what all texts have shown. A bad drafter is found out
once.

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

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from paceline.partition.plan import Pacing

DraftLength = int | Literal["adaptive"]

# Rounds that a text remembers. A share counted over 16 has a standard error near 0.1, and lengths chosen from shares
# that are 0.1 apart cost about the same; a text of 64 tokens has about so many, a longer one may change its kind.
MEMORY = 16
# Rounds that the plan's word is worth: enough that a good drafter outlasts an unlucky start, few enough that a bad one
# costs no more than about 8 passes of the target, once.
TRUST = 8
# Rounds that all texts together remember: tens of texts, so that one of another kind does not decide for the next.
LONG_MEMORY = 256
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
        """Draft length of the coming round.

        ``unread`` tokens the drafter would have to read first; at most ``room`` tokens may still come.
        """
        ...

    def observe(self, drafted: int, accepted: int) -> None:
        """The round drafted so many tokens, of which so many were kept."""
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

    def observe(self, drafted: int, accepted: int) -> None:
        """Nothing to learn."""


@dataclass(slots=True)
class Evidence:
    """Fading counts of rounds: ``judged[k]`` that came to draft k + 1, ``kept[k]`` that kept it.

    A round weighs 1 - 1/``memory`` times as much with each one after it.
    """

    judged: list[float]
    kept: list[float]
    memory: float

    @classmethod
    def of(cls, chances: Sequence[float], weights: Sequence[float], memory: float) -> Evidence:
        """As if so many rounds (``weights``) had shown these ``chances``."""
        return cls(list(weights), [weight * chance for weight, chance in zip(weights, chances, strict=True)], memory)

    def add(self, drafted: int, accepted: int) -> None:
        """Count a round; drafts behind a rejected one were not judged."""
        fading, judged = 1 - 1 / self.memory, min(drafted, accepted + 1)
        for k in range(len(self.judged)):
            self.judged[k] = fading * self.judged[k] + (k < judged)
            self.kept[k] = fading * self.kept[k] + (k < accepted)

    def chances(self) -> list[float]:
        """p_1 ... p_n.

        A draft that is seldom reached is expected to do as the one before it: its own rounds count beside ``TRUST``
        rounds that did. So what the first drafts show moves the length beyond them.
        """
        found = [self.kept[0] / self.judged[0]]
        for kept, judged in zip(self.kept[1:], self.judged[1:], strict=True):
            found.append((TRUST * found[-1] + kept) / (TRUST + judged))
        return found


class AdaptivePace:
    """The length that the cost model finds best for what was kept so far; see the module.

    One pace serves all texts of a model. Texts that take turns may share it: each only weighs the others' rounds more.
    """

    def __init__(self, pacing: Pacing) -> None:
        self._rounds, self._read = pacing.round_seconds, pacing.read_seconds
        prior = _conditional(pacing.chain)
        self._all = Evidence.of(prior, [TRUST] * len(prior), LONG_MEMORY)
        self._credit = 0.0
        # The shortest draft that pays if all of it is kept: a probe that succeeds can be followed by another at once.
        plain = self._rounds[0]
        self._probe = next((g for g, cost in enumerate(self._rounds) if cost < (g + 1) * plain), 0)
        self.begin()

    def begin(self) -> None:
        """A text begins with what all texts have shown, for as much as it could itself remember of it."""
        weights = [min(judged, MEMORY) for judged in self._all.judged]
        self._text = Evidence.of(self._all.chances(), weights, MEMORY)
        self._drafting, self._unread = False, 0
        self._waited, self._wait = 0, 0

    def next(self, *, unread: int, room: int) -> int:
        """The best length, if the text can still be long enough to make up for ``unread``; else 0, or a probe."""
        length, seconds = self._best()
        self._unread = unread
        self._drafting = length > 0 and (self._rounds[0] - seconds) * room > self._read * unread
        if self._drafting:
            return length
        return self._probe if self._may_probe(unread) else 0

    def observe(self, drafted: int, accepted: int) -> None:
        """Learn from a round. One that drafted nothing, for want of room or of a match, says nothing of the drafter."""
        plain = self._rounds[0] * (accepted + 1)
        gain = plain - self._rounds[drafted]
        self._credit += BUDGET * plain + gain - (self._read * self._unread if drafted else 0.0)
        if self._drafting:
            self._credit = min(self._credit, BUDGET * HORIZON * self._rounds[0])
        self._waited += 1
        if drafted:
            self._text.add(drafted, accepted)
            self._all.add(drafted, accepted)
            self._waited = 0
            # Each probe that fails doubles the rounds until the next: soon after the drafter failed it has little to
            # read, but may well fail again.
            self._wait = 0 if gain > 0 else 1 if self._drafting else min(max(1, 2 * self._wait), MEMORY)

    def _best(self) -> tuple[int, float]:
        """The argmin, and its seconds a token; the shorter of equals."""
        best, reached, tokens = (0, self._rounds[0]), 1.0, 1.0
        for length, chance in enumerate(self._text.chances(), 1):
            reached *= chance
            tokens += reached
            if self._rounds[length] / tokens < best[1]:
                best = (length, self._rounds[length] / tokens)
        return best

    def _may_probe(self, unread: int) -> bool:
        if not self._probe or self._waited < self._wait:
            return False
        return self._credit >= self._rounds[self._probe] - self._rounds[0] + self._read * unread


def _conditional(chain: Sequence[float]) -> list[float]:
    """p_k of the P(first k drafts kept) in ``chain``; what is never reached does as the draft before it."""
    found: list[float] = []
    for k, reached in enumerate(chain):
        before = chain[k - 1] if k else 1.0
        found.append(reached / before if before > 0 else found[-1])
    return found
