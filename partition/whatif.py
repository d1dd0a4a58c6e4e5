"""What models would do on a SoC, without compiling and without weights: every configuration, best first.

The search is the planner's, over a bundle of no files and the times of a roofline. Ranking is by seconds per token
alone: unlike a plan, a what-if has no margin, and where plain decoding is fastest it comes first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, cast

import msgspec

from paceline.costmodel import Role
from paceline.costmodel.roofline import multiplied_as
from paceline.costmodel.traced import program_on
from paceline.errors import PlanError
from paceline.partition.candidates import Candidate, Search
from paceline.partition.feasible import model_footprint, placements
from paceline.partition.figures import unsure_figures
from paceline.partition.plan import NGRAM, Estimate, Mapping
from paceline.partition.search import estimate_of
from paceline.partition.synthetic import Question, check
from paceline.partition.times import RooflineTimes, compiled_width
from paceline.targets import Dtype

Wall = Literal["bandwidth", "arithmetic", "launches", "host"]


class Row(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One configuration and what it should cost.

    ``draft_wall`` and ``verify_wall`` are what bounds a pass of the drafter and the target's verify pass, ``wall`` that
    of the longest part of a round. ``memory`` is bytes of all that is loaded. ``estimate.speedup_over_best`` is over
    the best plain decoding of the same target at the same precision.
    """

    mapping: Mapping
    precision: dict[str, str]
    cores: dict[str, int]
    draft_length: int
    alpha: float | None
    estimate: Estimate
    draft_wall: Wall | None
    verify_wall: Wall
    wall: Wall
    memory: int


class Rejection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A configuration that cannot be; it stands once, with the shortest draft that the reason holds for."""

    mapping: Mapping
    precision: dict[str, str]
    draft_length: int
    reason: str


class WhatIf(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The answer: ``rows`` best first, and the keys of figures that are ``estimated`` in the SoC file.

    ``draft_vocabulary`` is among how many ids the drafter was asked to choose; None is what ``compile`` gives it. No
    figure is estimated where a calibration says what passes get of them.
    """

    soc: str
    target: str
    drafter: str | None
    draft_vocabulary: int | None
    context: int
    alpha_source: str
    rows: tuple[Row, ...]
    rejected: tuple[Rejection, ...]
    estimated: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """A candidate and the search that it is of, which knows its precisions."""

    search: Search
    candidate: Candidate

    @property
    def precision(self) -> dict[str, str]:
        """By role, of the models that are loaded."""
        placed = placements(self.search.bundle, self.candidate.mapping)
        return {model.role: model.precision for model, _ in placed}


def what_if(question: Question) -> WhatIf:
    """Every mapping x cores x precision x draft length, and what each should cost or why it cannot be.

    Raises:
        UsageError, PairError: the question makes no sense.
        PlanError: the target runs nowhere.
    """
    check(question)
    found = list(candidates(question.searches()))
    possible = [one for one in found if one.candidate.round]
    rejected = tuple(_rejections(found))
    if not possible:
        places = ((f"{one.mapping} in {one.precision['target']}", one) for one in rejected)
        reasons = "; ".join(f"{place}: {one.reason}" for place, one in places if not one.draft_length)
        raise PlanError(f"{question.target.name} runs nowhere on {question.soc.name}: {reasons}")
    plain = _best_plain(possible)
    rows = [_row(one, plain[one.precision["target"]]) for one in possible]
    return WhatIf(
        soc=question.soc.name,
        target=question.target.name,
        drafter=question.drafter.name if question.drafter else None,
        draft_vocabulary=question.draft_vocabulary,
        context=question.tokens,
        alpha_source="; ".join(dict.fromkeys(one.search.beliefs["model"].source for one in found)),
        rows=tuple(sorted(rows, key=lambda row: (row.estimate.seconds_per_token, row.draft_length))),
        rejected=rejected,
        estimated=()
        if question.calibration
        else unsure_figures(question.soc, _multiplied(one.search for one in found)),
    )


def candidates(searches: Iterable[Search]) -> Iterator[Found]:
    """All of them; what drafts with no model depends on the target's precision only, and comes once for each."""
    targets = set[str]()
    for search in searches:
        target = search.bundle.target.precision
        for candidate in search.candidates():
            if target not in targets or candidate.mapping.drafter not in (None, NGRAM):
                yield Found(search, candidate)
        targets.add(target)


def _multiplied(searches: Iterable[Search]) -> set[tuple[str, Dtype]]:
    """Units, and the dtypes that programs of the searches multiply in there."""
    found = set[tuple[str, Dtype]]()
    for bundle in {id(search): search.bundle for search in searches}.values():
        for model in bundle.models:
            for unit in (unit for unit in bundle.soc.units if unit.name in model.programs):
                program = program_on(unit, kernels=unit.name in model.kernels)
                found.add((unit.name, multiplied_as(cast(Dtype, model.precision), unit, program)))
    return found


def _rejections(found: Iterable[Found]) -> Iterator[Rejection]:
    seen = set[tuple[str, str, str]]()
    for one in found:
        candidate, precision = one.candidate, one.precision
        key = (str(candidate.mapping), str(precision), candidate.reason)
        if candidate.round is None and key not in seen:
            seen.add(key)
            length = candidate.draft_length
            yield Rejection(
                mapping=candidate.mapping, precision=precision, draft_length=length, reason=candidate.reason
            )


def _best_plain(possible: Iterable[Found]) -> dict[str, float]:
    """Seconds a token of the best plain decoding, by the target's precision."""
    best: dict[str, float] = {}
    for one in possible:
        if not one.candidate.draft_length:
            target = one.precision["target"]
            best[target] = min(one.candidate.seconds, best.get(target, float("inf")))
    return best


def _row(one: Found, plain: float) -> Row:
    search, candidate = one.search, one.candidate
    assert candidate.round is not None
    belief, costs = search.belief(candidate.mapping), candidate.round
    draft = _wall(one, "drafter", candidate.mapping.drafter, 1)
    verify = _wall(one, "target", candidate.mapping.target, candidate.draft_length + 1)
    assert verify is not None
    parts: dict[Wall, float] = {"host": costs.host}
    for wall, seconds in ((verify, costs.verify), (draft, costs.draft + costs.catch_up)):
        if wall is not None:
            parts[wall] = max(seconds, parts.get(wall, 0.0))
    return Row(
        mapping=candidate.mapping,
        precision=one.precision,
        cores=candidate.cores,
        draft_length=candidate.draft_length,
        alpha=belief.alpha if belief else None,
        estimate=estimate_of(costs, plain=plain, source=search.times.source),
        draft_wall=draft,
        verify_wall=verify,
        wall=max(parts, key=parts.__getitem__),
        memory=sum(
            model_footprint(search.bundle, *placed).total for placed in placements(search.bundle, candidate.mapping)
        ),
    )


def _wall(one: Found, role: Role, unit: str | None, width: int) -> Wall | None:
    times, cores = one.search.times, one.candidate.cores
    padded = compiled_width(one.search.bundle, width)
    if unit is None or unit == NGRAM or padded is None or not isinstance(times, RooflineTimes):
        return None
    return times.estimate(role, unit, padded, cores[unit]).bound
