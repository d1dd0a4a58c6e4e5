"""How many drafted tokens the target keeps: the histogram, and everything derived from it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import msgspec

from paceline.documents import read_json
from paceline.errors import ProfileError, UsageError

SCHEMA = 2  # a histogram for each draft length that was asked for since 2
ACCEPTANCE = "acceptance.json"
_NORMAL_95 = 1.96  # standard errors on either side of a mean that hold it 95 times in 100
Count = Annotated[int, msgspec.Meta(ge=0)]


class Moments(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Sums over texts of squares of rounds r and tokens t: what the spread of tokens a round is derived from."""

    texts: Count = 0
    rounds_squared: Count = 0
    rounds_tokens: Count = 0
    tokens_squared: Count = 0

    def __add__(self, other: Moments) -> Moments:
        return Moments(
            texts=self.texts + other.texts,
            rounds_squared=self.rounds_squared + other.rounds_squared,
            rounds_tokens=self.rounds_tokens + other.rounds_tokens,
            tokens_squared=self.tokens_squared + other.tokens_squared,
        )


class Acceptance(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Histogram of accepted lengths.

    ``counts[g][k]`` is how many rounds that drafted ``g`` tokens kept exactly ``k`` of them
    (``counts[g]`` has ``g + 1`` entries; ``g`` is 0 where the drafter had nothing to propose, as prompt lookup without
    a match). ``asked`` is the draft length that all these rounds asked for, 0 where they did not all ask for the same:
    where a round begins depends on it, and so does what it keeps. alpha and Omega are derived here and nowhere else.
    """

    schema: int = SCHEMA
    task: str = "all"
    drafter: str = ""
    target: str = ""
    asked: Count = 0
    moments: Moments = Moments()
    counts: dict[int, tuple[int, ...]] = {}

    def __post_init__(self) -> None:
        for drafted, row in self.counts.items():
            if drafted < 0 or len(row) != drafted + 1 or min(row) < 0:
                raise ValueError(f"counts[{drafted}] must have {drafted + 1} entries of 0 or more, found {row}")

    @property
    def rounds(self) -> int:
        """Rounds seen, those without a draft included."""
        return sum(map(sum, self.counts.values()))

    @property
    def drafted(self) -> int:
        """Tokens proposed."""
        return sum(drafted * sum(row) for drafted, row in self.counts.items())

    @property
    def accepted(self) -> int:
        """Drafted tokens that the target kept."""
        return sum(kept * rounds for row in self.counts.values() for kept, rounds in enumerate(row))

    @property
    def kept(self) -> Counter[int]:
        """How many rounds kept exactly 0, 1, ... drafts, however many they had."""
        return sum((Counter(dict(enumerate(row))) for row in self.counts.values()), Counter[int]())

    @property
    def rejections(self) -> int:
        """Rounds that ended at a rejected draft; at most one a round is ever seen, what follows it is not judged."""
        return sum(sum(row[:-1]) for row in self.counts.values())

    @property
    def tokens_per_round(self) -> float | None:
        """Tokens of a round as they were counted, the ends of texts included; None before any round."""
        return (self.rounds + self.accepted) / self.rounds if self.rounds else None

    @property
    def half_width(self) -> float | None:
        """Half of the 95 % confidence interval of ``tokens_per_round``; None with fewer than two texts.

        The standard error of a ratio of sums over texts (Cochran, Sampling Techniques, 6.4): rounds of one text
        resemble each other, so texts are what is counted, not rounds.
        """
        ratio, many = self.tokens_per_round, self.moments
        if ratio is None or many.texts < 2:
            return None
        squares = many.tokens_squared - 2 * ratio * many.rounds_tokens + ratio**2 * many.rounds_squared
        return _NORMAL_95 * math.sqrt(max(0.0, squares) * many.texts / (many.texts - 1)) / self.rounds

    @property
    def alpha(self) -> float | None:
        """Chance that one draft is kept, None before any was judged.

        The maximum of the likelihood if drafts are independent: accepted / (accepted + rejections seen). The plain
        ratio accepted / drafted would count drafts behind a rejection, which nobody judged, as rejected.
        """
        judged = self.accepted + self.rejections
        return self.accepted / judged if judged else None

    def probabilities(self, draft_length: int) -> tuple[float, ...]:
        """P(first k drafts accepted) for k = 1..draft_length, of a drafter that always proposes.

        A product of P(draft k is kept, given that k - 1 were), each a share of the rounds that came so far; where no
        round did, alpha stands in.

        Raises:
            ProfileError: no draft was ever judged.
        """
        if (alpha := self.alpha) is None:
            raise ProfileError(
                f"the acceptance of task {self.task!r} holds no draft; measure it anew with 'paceline acceptance'"
            )
        chain: list[float] = []
        for k in range(1, draft_length + 1):
            kept = sum(sum(row[k:]) for row in self.counts.values())
            judged = sum(sum(row[k - 1 :]) for drafted, row in self.counts.items() if drafted >= k)
            chain.append((chain[-1] if chain else 1.0) * (kept / judged if judged else alpha))
        return tuple(chain)

    def shares(self, draft_length: int) -> tuple[float, ...]:
        """Share of all rounds that kept at least k drafts, k = 1..draft_length.

        For a drafter that proposes what it finds (prompt lookup): a draft that was short or missing is one that was
        not kept, where ``probabilities`` would take it for one that was cut off by the end of the text.
        """
        kept = [sum(sum(row[k:]) for row in self.counts.values()) for k in range(1, draft_length + 1)]
        return tuple(count / self.rounds if self.rounds else 0.0 for count in kept)

    def lengths(self, draft_length: int) -> tuple[float, ...]:
        """Share of all rounds that would draft exactly j = 0..draft_length tokens if asked for ``draft_length``."""
        sizes = [
            sum(sum(row) for g, row in self.counts.items() if min(g, draft_length) == j) for j in range(draft_length)
        ]
        shorter = tuple(size / self.rounds if self.rounds else 0.0 for size in sizes)
        return (*shorter, 1.0 - sum(shorter))

    def expected_tokens(self, draft_length: int) -> float:
        """Omega(gamma) = 1 + sum of P(first k drafts accepted): tokens of a round that drafts ``draft_length``."""
        return 1.0 + sum(self.probabilities(draft_length))


def check_alpha(alpha: float) -> float:
    """Return ``alpha``.

    Raises:
        UsageError: it is not between 0 and 1.
    """
    if not 0.0 <= alpha <= 1.0:
        raise UsageError(f"alpha is {alpha}; it is the share of drafts that the target keeps, between 0 and 1")
    return alpha


def check_draft_length(draft_length: int) -> int:
    """Return ``draft_length``.

    Raises:
        UsageError: it is negative.
    """
    if draft_length < 0:
        raise UsageError(f"the draft length is {draft_length}; it is a number of tokens, 0 (no speculation) or more")
    return draft_length


def independent(alpha: float, draft_length: int) -> tuple[float, ...]:
    """P(first k drafts accepted) = alpha^k for k = 1..draft_length.

    Raises:
        UsageError: alpha is not between 0 and 1, or the length is negative.
    """
    check_alpha(alpha)
    return tuple(alpha**k for k in range(1, check_draft_length(draft_length) + 1))


def expected_tokens(alpha: float, draft_length: int) -> float:
    """Omega(gamma, alpha) = (1 - alpha^(gamma+1)) / (1 - alpha), and gamma + 1 at alpha = 1.

    Summed, not divided: the quotient loses its digits as alpha nears 1.

    Raises:
        UsageError: alpha is not between 0 and 1, or the length is negative.
    """
    return 1.0 + sum(independent(alpha, draft_length))


def count_rounds(rounds: Iterable[tuple[int, int]]) -> dict[int, tuple[int, ...]]:
    """Histogram of (drafted, accepted) pairs, or of a Counter of them, as ``Acceptance.counts`` holds it."""
    pairs = Counter(rounds)
    lengths = sorted({drafted for drafted, _ in pairs})
    return {drafted: tuple(pairs[drafted, kept] for kept in range(drafted + 1)) for drafted in lengths}


def merge(parts: Sequence[Acceptance], *, task: str = "all") -> Acceptance:
    """Add histograms of one drafter and one target; ``asked`` stays where all parts asked for the same length.

    Raises:
        ProfileError: none given, or they speak of different pairs.
    """
    pairs = {(part.drafter, part.target) for part in parts}
    if len(pairs) != 1:
        raise ProfileError(f"cannot add acceptances of {len(pairs)} pairs of models; measure one pair at a time")
    ((drafter, target),) = pairs
    lengths = sorted({drafted for part in parts for drafted in part.counts})
    rows = {drafted: [part.counts[drafted] for part in parts if drafted in part.counts] for drafted in lengths}
    counts = {drafted: tuple(map(sum, zip(*group, strict=True))) for drafted, group in rows.items()}
    asked = {part.asked for part in parts}
    return Acceptance(
        task=task,
        drafter=drafter,
        target=target,
        asked=asked.pop() if len(asked) == 1 else 0,
        moments=sum((part.moments for part in parts), Moments()),
        counts=counts,
    )


def nearest(histograms: Sequence[Acceptance], draft_length: int) -> Acceptance:
    """The histogram that tells most of rounds that ask for ``draft_length``; needs at least one.

    Theirs, else that of the next longer draft, else of the longest.
    """
    longer = [histogram for histogram in histograms if histogram.asked >= draft_length]
    return min(longer, key=lambda h: h.asked) if longer else max(histograms, key=lambda h: h.asked)


class AcceptanceFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``acceptance.json``: a histogram for each task and drafter, measured with the artifacts of digest ``bundle``."""

    schema: int = SCHEMA
    bundle: str
    histograms: tuple[Acceptance, ...] = ()

    @property
    def drafters(self) -> tuple[str, ...]:
        """Those of which a draft was judged, sorted."""
        return tuple(name for name in sorted({part.drafter for part in self.histograms}) if self.of(name))

    def of(self, drafter: str, *, task: str = "all") -> tuple[Acceptance, ...]:
        """Histograms of one drafter (a precision, or ``ngram``) by asked length, tasks added up unless one is named.

        Empty where it judged no draft.
        """
        totals = self.rounds_of(drafter, task=task)
        return totals if any(total.alpha is not None for total in totals) else ()

    def rounds_of(self, drafter: str, *, task: str = "all") -> tuple[Acceptance, ...]:
        """As ``of``, also where it judged no draft, because there was none."""
        parts = [part for part in self.histograms if part.drafter == drafter and task in ("all", part.task)]
        lengths = sorted({part.asked for part in parts})
        return tuple(merge([part for part in parts if part.asked == asked], task=task) for asked in lengths)


def read_acceptance(path: Path, *, bundle: str | None = None) -> AcceptanceFile:
    """Read an acceptance file; with ``bundle``, one that was measured with the artifacts of that digest.

    Raises:
        ProfileError: missing, damaged, of another schema or another bundle.
    """
    remedy = "measure it with 'paceline acceptance', or give --alpha"
    file = read_json(path, AcceptanceFile, error=ProfileError, schema=SCHEMA, remedy=remedy)
    if bundle is not None and file.bundle != bundle:
        raise ProfileError(f"{path} was measured with other programs or weights than the bundle holds now; {remedy}")
    return file
