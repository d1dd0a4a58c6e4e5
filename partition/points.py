"""The best configuration at many points at once: figures of the SoC and alpha are arrays [points]."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import msgspec
import numpy as np
from numpy.typing import NDArray

from paceline.costmodel.arrays import array_of, in_place_of_number
from paceline.partition.candidates import Belief, Search
from paceline.partition.plan import NGRAM
from paceline.partition.plan import Mapping as Placement
from paceline.partition.times import RooflineTimes
from paceline.partition.whatif import candidates
from paceline.targets import Soc

Array = NDArray[np.float64]
Drafts = Callable[[Placement, Mapping[str, int]], bool]


class Choice(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One configuration, its costs aside."""

    mapping: Placement
    precision: dict[str, str]
    cores: dict[str, int]
    draft_length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Independent(Belief):
    """Independent drafts of an alpha [points], of which each power is computed once."""

    powers: tuple[float, ...]

    def probabilities(self, draft_length: int) -> tuple[float, ...]:
        return self.powers[:draft_length]


def independent_at(alpha: Array, longest: int) -> Belief:
    """What is believed of a drafter model at each point; drafts have up to ``longest`` tokens."""
    powers = tuple(in_place_of_number(alpha**k) for k in range(1, longest + 1))
    return _Independent(alpha=in_place_of_number(alpha), source="given", powers=powers)


def moved(search: Search, *, soc: Soc | None = None, model: Belief | None = None) -> Search:
    """The same search on a SoC with other figures, or with another belief in drafts of the model."""
    bundle = search.bundle if soc is None else msgspec.structs.replace(search.bundle, soc=soc)
    beliefs = search.beliefs if model is None else {**search.beliefs, "model": model}
    assert isinstance(search.times, RooflineTimes)
    times = search.times if soc is None else replace(search.times, bundle=bundle, known={})
    return replace(search, bundle=bundle, beliefs=beliefs, times=times)


@dataclass(frozen=True, slots=True)
class Best:
    """The fastest at each point of the configurations that were offered; ``which`` is -1 before any was."""

    seconds: Array
    speedup: Array
    lengths: NDArray[np.int64]
    which: NDArray[np.int64]

    @classmethod
    def of_nothing(cls, points: int) -> Best:
        """Before any was offered."""
        return cls(np.full(points, np.inf), np.full(points, np.nan), np.full(points, -1), np.full(points, -1))

    def chosen(self) -> tuple[int, ...]:
        """Every ``which`` that is the fastest somewhere, ascending."""
        return tuple(sorted(set(self.which.tolist()) - {-1}))

    def offer(self, seconds: Array, speedup: Array, length: int, which: int) -> None:
        """Keep a configuration where it is faster; ties go to the shorter draft, then to whoever came first."""
        better = (seconds < self.seconds) | ((seconds == self.seconds) & (length < self.lengths))
        np.copyto(self.seconds, seconds, where=better)
        np.copyto(self.speedup, speedup, where=better)
        self.lengths[better], self.which[better] = length, which


@dataclass(frozen=True, slots=True, kw_only=True)
class Points:
    """What is best at each point: of all, and of those where a model drafts; ``which`` of both points to ``choices``.

    ``plain`` is the best plain decoding by the target's precision, in seconds a token.
    """

    choices: tuple[Choice, ...]
    best: Best
    drafted: Best
    plain: dict[str, Array]

    def over_plain(self, best: Best) -> Array:
        """Speed-up over the best plain decoding of the same target at the same precision; not a number without one."""
        found = np.full(len(best.seconds), np.nan)
        for which in best.chosen():
            here = best.which == which
            found[here] = self.plain[self.choices[which].precision["target"]][here] / best.seconds[here]
        return found


def best_at(searches: Iterable[Search], points: int, *, drafts: Drafts = lambda mapping, cores: True) -> Points:
    """What is best at each point; of configurations that draft, those that ``drafts`` takes count."""
    choices, plain = list[Choice](), dict[str, Array]()
    best, drafted = Best.of_nothing(points), Best.of_nothing(points)
    for one in candidates(searches):
        candidate, costs = one.candidate, one.candidate.round
        length, mapping = candidate.draft_length, candidate.mapping
        if costs is None or (length and not drafts(mapping, candidate.cores)):
            continue
        seconds, speedup = array_of(candidate.seconds, points), array_of(costs.speedup, points)
        best.offer(seconds, speedup, length, len(choices))
        if not length:
            target = one.precision["target"]
            plain[target] = np.minimum(seconds, plain.get(target, seconds))
        elif mapping.drafter != NGRAM:
            drafted.offer(seconds, speedup, length, len(choices))
        choices.append(Choice(mapping=mapping, precision=one.precision, cores=candidate.cores, draft_length=length))
    return Points(choices=tuple(choices), best=best, drafted=drafted, plain=plain)
