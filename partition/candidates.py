"""Every mapping, core count and draft length of a bundle, and what each would cost or why it cannot be."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from collections.abc import Mapping as Table
from dataclasses import dataclass, replace
from functools import partial

from paceline.costmodel import (
    Acceptance,
    Role,
    Round,
    independent,
    nearest,
    overlapped_round,
    plain_round,
    speculative_round,
)
from paceline.costmodel.speculation import Seconds
from paceline.partition.bundle import Bundle
from paceline.partition.feasible import placements, why_not_length, why_not_mapping
from paceline.partition.plan import NGRAM, Mapping
from paceline.partition.times import Times
from paceline.targets.places import are_apart


@dataclass(frozen=True, slots=True, kw_only=True)
class Belief:
    """What is assumed of one drafter: histograms where they were measured, independent drafts of ``alpha`` otherwise.

    ``measured`` holds one for each draft length that was asked for. A model ``proposes_always``; prompt lookup proposes
    what it finds.
    """

    alpha: float
    source: str
    measured: tuple[Acceptance, ...] = ()
    proposes_always: bool = True

    def lengths(self, draft_length: int) -> tuple[float, ...]:
        """Share of rounds that draft 0..draft_length tokens; empty where all draft as many as they are asked for."""
        if self.proposes_always or not self.measured:
            return ()
        return nearest(self.measured, draft_length).lengths(draft_length)

    def probabilities(self, draft_length: int) -> tuple[float, ...]:
        """P(first k drafts accepted), k = 1..draft_length, over all rounds."""
        if not self.measured:
            return independent(self.alpha, draft_length)
        histogram = nearest(self.measured, draft_length)
        return histogram.probabilities(draft_length) if self.proposes_always else histogram.shares(draft_length)

    def hit(self, draft_length: int) -> float:
        """P(all drafts are kept, and the drafter would have said the target's own token too).

        The last step is that of drafts one longer, because their rounds do not begin where those of this length do.
        """
        longer = self.probabilities(draft_length + 1)
        return self.probabilities(draft_length)[-1] * (longer[-1] / longer[-2] if longer[-2] else 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One point of the search; ``round`` is None where ``reason`` says why it cannot be."""

    mapping: Mapping
    draft_length: int
    cores: dict[str, int]
    overlap: bool = False
    round: Round | None = None
    reason: str = ""

    @property
    def seconds(self) -> float:
        return self.round.seconds_per_token if self.round else float("inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What the candidates are made of: facts, times, and what is believed of ``model`` and ``ngram`` drafts."""

    bundle: Bundle
    times: Times
    beliefs: dict[str, Belief]
    unavailable: Table[str, str]
    max_draft_length: int
    memory_bytes: int | None
    why_no_lookup: str = "nobody measured how much of prompt lookup is kept; run 'paceline profile'"

    def candidates(self) -> Iterator[Candidate]:
        """All of them; a mapping that is ruled out comes once, with its shortest draft."""
        for mapping in mappings(self.bundle, self.times.pinned):
            reason = self._why_not(mapping)
            if reason is not None:
                first = 1 if mapping.drafter else 0
                yield Candidate(mapping=mapping, draft_length=first, cores={}, reason=reason)
                continue
            lengths = range(1, self.max_draft_length + 1) if mapping.drafter else (0,)
            for length, cores in itertools.product(lengths, self._variants(mapping)):
                yield self.candidate(mapping, length, cores)
                if mapping.two_processors and self.times.slowdown(mapping.target, str(mapping.drafter), length + 1):
                    yield self.candidate(mapping, length, cores, overlap=True)

    def _why_not(self, mapping: Mapping) -> str | None:
        if mapping.drafter == NGRAM and NGRAM not in self.beliefs:
            return self.why_no_lookup
        return why_not_mapping(
            self.bundle, mapping, unavailable=self.unavailable, memory_bytes=self.memory_bytes
        ) or self._unmeasured(mapping)

    def _unmeasured(self, mapping: Mapping) -> str | None:
        for model, unit in placements(self.bundle, mapping):
            if all(self.times.seconds(model.role, unit, 1, cores) is None for cores in self.times.cores(unit)):
                if self.times.source == "calibration":
                    return f"the calibration knows no {model.precision} programs on {unit} such as the {model.role}'s"
                return f"the profile has no {model.role} on {unit}; run 'paceline profile' where that unit works"
        return None

    def _variants(self, mapping: Mapping) -> Iterator[dict[str, int]]:
        units = list(dict.fromkeys(unit for _, unit in placements(self.bundle, mapping)))
        for counts in itertools.product(*(self.times.cores(unit) for unit in units)):
            yield dict(zip(units, counts, strict=True))

    def candidate(self, mapping: Mapping, length: int, cores: dict[str, int], *, overlap: bool = False) -> Candidate:
        """One mapping that is not ruled out, at a draft length."""
        found = Candidate(mapping=mapping, draft_length=length, cores=cores, overlap=overlap)
        reason = why_not_length(self.bundle, length)
        if reason is None:
            try:
                costs = mapping_round(self.times, mapping, length, cores, self.belief(mapping), overlap=overlap)
                return replace(found, round=costs)
            except LookupError as gap:
                reason = str(gap.args[0])
        return replace(found, reason=reason)

    def belief(self, mapping: Mapping) -> Belief | None:
        """What is assumed of the one that drafts; None where nobody does."""
        return self.beliefs[NGRAM if mapping.drafter == NGRAM else "model"] if mapping.drafter else None


def mappings(bundle: Bundle, pinned: Table[Role, Sequence[str]] | None = None) -> Iterator[Mapping]:
    """All mappings of a bundle, feasible or not, in the order that breaks ties.

    Models on the ``pinned`` sets of cores come last: the target alone, and with the drafter on cores of its own.
    """
    units = [unit.name for unit in bundle.soc.units]
    drafters = [None, NGRAM, *(units if bundle.drafter else [])]
    yield from (Mapping(target=target, drafter=drafter) for drafter in drafters for target in units)
    sets = pinned or {}
    yield from (Mapping(target=target) for target in sets.get("target", ()))
    pairs = itertools.product(sets.get("drafter", ()), sets.get("target", ()))
    yield from (Mapping(target=target, drafter=drafter) for drafter, target in pairs if are_apart(target, drafter))


def mapping_round(
    times: Times,
    mapping: Mapping,
    draft_length: int,
    cores: dict[str, int],
    belief: Belief | None,
    *,
    overlap: bool = False,
) -> Round:
    """The round of a mapping at a draft length; only at 0 there need be no ``belief``.

    Raises:
        LookupError: a pass that the round needs was not measured, or not beside the other; says which.
    """

    def seconds(role: Role, unit: str | None, width: int) -> float:
        if unit is None or unit == NGRAM:
            return 0.0
        found = times.seconds(role, unit, width, cores[unit])
        if found is None:
            raise LookupError(f"the profile has no {role} of width {width} on {cores[unit]} cores of {unit}")
        return found

    target: Seconds = partial(seconds, "target", mapping.target)
    plain_host = times.host_seconds("none", 0)
    if belief is None or not draft_length:
        return plain_round(target, host=plain_host)
    drafter: Seconds = partial(seconds, "drafter", mapping.drafter)
    if overlap:
        slowdown = times.slowdown(mapping.target, str(mapping.drafter), draft_length + 1)
        if slowdown is None:
            raise LookupError(f"nobody measured the drafter on {mapping.drafter} beside the target on {mapping.target}")
        return overlapped_round(
            drafter=drafter,
            target=target,
            probabilities=(*belief.probabilities(draft_length), belief.hit(draft_length)),
            lengths=belief.lengths(draft_length),
            slowdown=slowdown,
            host=plain_host,
            draft_host=max(0.0, times.host_seconds("model", draft_length) - plain_host) / draft_length,
            plain_host=plain_host,
        )
    if mapping.drafter != NGRAM:
        drafter, target = _in_turns(times, mapping, draft_length, drafter, target)
    return speculative_round(
        drafter=drafter,
        target=target,
        probabilities=belief.probabilities(draft_length),
        lengths=belief.lengths(draft_length),
        host=times.host_seconds("ngram" if mapping.drafter == NGRAM else "model", draft_length),
        plain_host=plain_host,
    )


def _in_turns(
    times: Times, mapping: Mapping, draft_length: int, drafter: Seconds, target: Seconds
) -> tuple[Seconds, Seconds]:
    """Passes of rounds of up to ``draft_length``, each model's after the other's; a plain pass follows its like."""
    slower = partial(times.in_turns, mapping.target, str(mapping.drafter))
    return (
        lambda width: slower(draft_length).drafter * drafter(width),
        lambda width: slower(width - 1).target * target(width),
    )
