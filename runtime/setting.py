"""Where each model of a bundle goes and how far ahead to draft: what was asked for, then the plan, then a default."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from paceline.costmodel import Role
from paceline.errors import BundleError, UsageError
from paceline.partition import Bundle, Estimate, Mapping, Plan, read_plan
from paceline.partition.plan import NGRAM, PLAN, Pacing
from paceline.targets.pins import Pins
from paceline.targets.places import pinned, unit_of

DrafterKind = Literal["model", "ngram", "none"]
DEFAULT_DRAFT_LENGTH = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """How a bundle is to be run: where each model goes, how far ahead to draft, on how many cores of each unit.

    ``estimate`` is the plan's, where this is what it chose, and ``pacing``, where the mapping is. ``adaptive`` lengths
    need that, and ``draft_length`` is then where they are expected. A drafter model stops after a draft that it holds
    for less likely than ``min_confidence``, and with ``overlap`` goes on while the target verifies.
    """

    mapping: Mapping
    draft_length: int
    cores: dict[str, int] = field(default_factory=dict)
    estimate: Estimate | None = None
    pacing: Pacing | None = None
    adaptive: bool = False
    min_confidence: float = 0.0
    overlap: bool = False

    @property
    def places(self) -> dict[Role, str]:
        """Unit of each model that is to be loaded."""
        drafter = self.mapping.drafter
        places: dict[Role, str] = {"target": self.mapping.target}
        return places if drafter is None or drafter == NGRAM else {**places, "drafter": drafter}


def stored_plan(folder: Path, bundle: Bundle) -> Plan | None:
    """The plan in the bundle's folder; None where there is none, or, with a warning, where it is for other programs.

    Raises:
        PlanError: it is damaged or of another schema.
    """
    path = folder / PLAN
    if not path.exists():
        return None
    plan = read_plan(folder)
    if plan.bundle == bundle.digest:
        return plan
    logging.getLogger(__name__).warning("%s is for other programs and not used; run 'paceline plan' again", path)
    return None


def choose_setting(
    bundle: Bundle,
    plan: Plan | None,
    *,
    mapping: Mapping | None = None,
    draft_length: int | None = None,
    drafter: DrafterKind | None = None,
    adapt: bool = True,
    min_confidence: float = 0.0,
    overlap: bool | None = None,
    pins: Pins | None = None,
) -> Setting:
    """Fill in what was not asked for: from the plan, else the target on its first unit without a drafter.

    A length that was not asked for adapts, unless ``adapt`` is false or no plan says what other lengths cost. Drafts
    overlap with verifying where the plan says so, if nobody asks. ``pins`` put models on cores of a CPU.

    Raises:
        UsageError: a draft length below 0, one without a drafter, a drafter that the bundle does not have, a confidence
            that is none or that nobody can have, cores for a model that is on no CPU, or overlap on one processor.
    """
    if draft_length is not None and draft_length < 0:
        raise UsageError(f"draft length is {draft_length}, expected 0 (do not draft) or a positive number")
    planned = plan.mapping if plan else Mapping(target=_first_unit(bundle))
    chosen = _with_drafter(bundle, mapping or planned, draft_length, drafter, fixed=mapping is not None)
    chosen = _pinned(bundle, chosen, pins or {})
    if draft_length and chosen.drafter is None:
        raise UsageError(f"draft length is {draft_length}, but {chosen} names nothing that drafts")
    _check_confidence(min_confidence, chosen)
    if overlap is None:
        overlap = plan is not None and plan.overlap and chosen == planned
    _check_overlap(overlap, chosen)
    like_planned = plan if plan and chosen == planned and overlap == plan.overlap else None
    fitting = like_planned if like_planned and draft_length in (None, like_planned.draft_length) else None
    pacing = like_planned.pacing if like_planned else None
    adaptive = adapt and draft_length is None and pacing is not None
    if draft_length is None:
        draft_length = fitting.draft_length if fitting else DEFAULT_DRAFT_LENGTH if chosen.drafter else 0
    return Setting(
        mapping=chosen,
        draft_length=draft_length,
        cores=plan.cores if plan else {},
        estimate=fitting.estimate if fitting else None,
        pacing=pacing,
        adaptive=adaptive,
        min_confidence=min_confidence,
        overlap=overlap,
    )


def _pinned(bundle: Bundle, mapping: Mapping, pins: Pins) -> Mapping:
    places: dict[str, str | None] = {"target": mapping.target, "drafter": mapping.drafter}
    for role, cores in pins.items():
        place = places[role]
        unit = None if place in (None, NGRAM) else bundle.soc.unit(unit_of(str(place)))
        if unit is None or unit.kind != "cpu":
            raise UsageError(f"cores are given to the {role}, but {mapping} puts none on a CPU; leave out its --pin")
        places[role] = pinned(unit.name, cores)
    return Mapping(target=str(places["target"]), drafter=places["drafter"])


def _check_overlap(overlap: bool, mapping: Mapping) -> None:
    if overlap and not mapping.two_processors:
        raise UsageError(
            f"{mapping} is no drafter model beside a target on another processor; only those can overlap"
            " (--map drafter=gpu,target=cpu, or cores for each: --pin drafter=0,target=1)"
        )


def _check_confidence(least: float, mapping: Mapping) -> None:
    if not 0 <= least <= 1:
        raise UsageError(f"the least confidence is {least}; it is a probability, 0 (never doubt) to 1")
    if least and mapping.drafter in (None, NGRAM):
        raise UsageError(f"the least confidence is {least}, but {mapping} has no drafter model to be confident")


def _with_drafter(
    bundle: Bundle, mapping: Mapping, draft_length: int | None, drafter: DrafterKind | None, *, fixed: bool
) -> Mapping:
    if drafter is None and draft_length == 0:
        drafter = "none"
    if drafter is None and draft_length and mapping.drafter is None and not fixed:
        drafter = "model" if bundle.drafter else "ngram"
    if drafter is None:
        return mapping
    return Mapping(target=mapping.target, drafter=_drafting_unit(bundle, mapping, drafter))


def _first_unit(bundle: Bundle) -> str:
    units = [unit.name for unit in bundle.soc.units if unit.name in bundle.target.programs]
    if not units:
        raise BundleError(f"bundle {bundle.name!r} has no program of the target; compile it again")
    return units[0]


def _drafting_unit(bundle: Bundle, mapping: Mapping, drafter: DrafterKind) -> str | None:
    if drafter == "none":
        return None
    if drafter == NGRAM:
        return NGRAM
    if bundle.drafter is None:
        raise UsageError(
            "the bundle has no drafter model; choose --drafter ngram or none, or compile it with --drafter"
        )
    if mapping.drafter and mapping.drafter != NGRAM:
        return mapping.drafter
    units = bundle.drafter.programs
    return mapping.target if mapping.target in units else next(iter(sorted(units)), mapping.target)
