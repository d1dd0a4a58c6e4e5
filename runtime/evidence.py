"""What the target kept so far, as chances of what it will keep: fading counts, of a text and of all texts.

Each drafted round is evidence, and evidence fades: what a text has shown weighs most, and a new text begins with what
all texts have shown, which begins with what the plan assumed. A bad drafter is found out once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# Rounds that a text remembers. A share counted over 16 has a standard error near 0.1, and lengths chosen from shares
# that are 0.1 apart cost about the same; a text of 64 tokens has about so many, a longer one may change its kind.
MEMORY = 16
# Rounds that the plan's word is worth: enough that a good drafter outlasts an unlucky start, few enough that a bad one
# costs no more than about 8 passes of the target, once.
TRUST = 8
# Rounds that all texts together remember: tens of texts, so that one of another kind does not decide for the next.
LONG_MEMORY = 256


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


class Learnt:
    """Evidence of the text at hand, which begins with that of all texts, which begins with a ``prior`` p_1 ... p_n."""

    def __init__(self, prior: Sequence[float]) -> None:
        self._all = Evidence.of(prior, [TRUST] * len(prior), LONG_MEMORY)
        self.begin()

    def begin(self) -> None:
        """A text begins with what all texts have shown, for as much as it could itself remember of it."""
        weights = [min(judged, MEMORY) for judged in self._all.judged]
        self._text = Evidence.of(self._all.chances(), weights, MEMORY)

    def add(self, drafted: int, accepted: int) -> None:
        """Count a round of the text; see ``Evidence.add``."""
        self._text.add(drafted, accepted)
        self._all.add(drafted, accepted)

    def chances(self) -> list[float]:
        """What to expect of the text's next round; see ``Evidence.chances``."""
        return self._text.chances()


def conditional(chain: Sequence[float]) -> list[float]:
    """p_k of the P(first k drafts kept) in ``chain``; what is never reached does as the draft before it."""
    found: list[float] = []
    for k, reached in enumerate(chain):
        before = chain[k - 1] if k else 1.0
        found.append(reached / before if before > 0 else found[-1])
    return found
