"""Prediction held against measurement: every mapping and draft length that can run here, run, beside what was expected.

Passes are timed alone and in company of the other model, host time at the shortest and the longest drafts; what drafts
bring is replayed from texts that were written without any. The cost model makes of that what each case should take.
The cases themselves are never looked at for it: they take turns with the passes, one by one, because a machine that
drifts, or that is slower for a while after heavy work, should be so for both.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from paceline.console import Report, quiet
from paceline.costmodel import Drafting, Profile, Role, Round, merge
from paceline.errors import PlanError, PromptError, UsageError
from paceline.partition import Bundle
from paceline.partition import Mapping as Placement
from paceline.partition.candidates import Belief, mapping_round, mappings
from paceline.partition.feasible import why_not_length, why_not_mapping
from paceline.partition.plan import NGRAM
from paceline.partition.search import DEFAULT_MARGIN
from paceline.partition.times import MeasuredTimes, compiled_width
from paceline.runtime.case import Case, Way
from paceline.runtime.device import open_device
from paceline.runtime.loaded import Loaded, Open, Ready, ready
from paceline.runtime.machine import this_machine
from paceline.runtime.measure import BURST_SECONDS, Passes
from paceline.runtime.measure_acceptance import (
    Encoded,
    encode_for,
    fastest,
    longest_draft,
    record_texts,
    timed_model,
    timed_models,
)
from paceline.runtime.measure_contention import Contentions, pinned_places
from paceline.runtime.measure_host import HostTimes, TimedModel
from paceline.runtime.prompts import Prompt
from paceline.runtime.replay import Recording, histograms
from paceline.runtime.run_off import run_off
from paceline.runtime.validation import Compared, Rejected, Validation, choose, compared, rank, validation
from paceline.targets.pins import Pins

# Of each pass while every case runs once, or more: many predictions rest on one pass, and no case on another.
TURNS_OF_A_PASS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    """What predictions are made of, as it is measured."""

    passes: Passes
    contentions: Contentions
    hosts: HostTimes

    @classmethod
    def of(cls, folder: Path, bundle: Bundle, programs: Sequence[Loaded], lengths: Sequence[int]) -> _Parts:
        """Passes are timed once for it, to find the models whose host time is measured: the fastest."""
        passes = Passes(programs, widest=_widest(bundle, lengths))
        passes.turn()
        models = _fastest_models(folder, bundle, programs, passes)
        hosts = HostTimes(models, longest_draft(bundle.widths), least_seconds=BURST_SECONDS)
        return cls(passes=passes, contentions=Contentions(programs, lengths), hosts=hosts)

    def profile(self, bundle: Bundle) -> Profile:
        return Profile(
            bundle=bundle.digest,
            machine=this_machine(),
            context=bundle.context,
            measurements=self.passes.measurements(),
            host=self.hosts.medians(),
            contention=self.contentions.found(),
        )


def validate(
    folder: Path,
    bundle: Bundle,
    *,
    prompts: Sequence[Prompt],
    tokens: int,
    repeats: int,
    draft_lengths: Sequence[int] = (),
    units: Sequence[str] = (),
    pins: Pins | None = None,
    margin: float = DEFAULT_MARGIN,
    opened: Open = open_device,
    report: Report = quiet,
) -> Validation:
    """Run every feasible mapping at each of ``draft_lengths`` (default: all that a plan may choose), ``repeats`` times.

    Models with ``pins`` run on these cores of the CPU too. A drafter model on another processor than its target runs
    before it and beside it.

    Raises:
        BundleError: a program or its weights cannot be read.
        DeviceUnavailable: the target runs on no device of this machine.
        PlanError: the target is larger than the SoC's memory.
        PromptError: no prompt fits the context, or each is answered by a single token.
        UsageError: a unit that the SoC does not have, or a draft length that no program can verify.
    """
    lengths = tuple(draft_lengths) or tuple(range(1, longest_draft(bundle.widths) + 1))
    _check_lengths(bundle, lengths)
    with ready(folder, bundle, units=units, pins=pins, opened=opened) as found:
        programs, unavailable = found.programs, _unavailable(bundle, found, units)
        parts = _Parts.of(folder, bundle, programs, lengths)
        encoded = encode_for(folder, bundle, programs, prompts)
        ways, rejected = _ways(folder, bundle, programs, unavailable, encoded, tokens, report)
        _check_ways(bundle, ways, rejected)
        cases = [Case(way, length) for way in ways for length in way.lengths(lengths)]
        _take_turns(cases, parts, encoded, repeats=repeats, tokens=tokens, report=report)
        profile = parts.profile(bundle)
        judged = sorted(((_row(bundle, profile, case), case) for case in cases), key=lambda pair: rank(pair[0]))
        rows, cases = [row for row, _ in judged], [case for _, case in judged]
        rival = run_off(cases, rows, choose(rows, margin), prompts=len(encoded), report=report)
    # texts that differ in the run-off alone count too
    rows = [msgspec.structs.replace(row, strange=case.strange) for row, case in zip(rows, cases, strict=True)]
    return validation(
        bundle, rows, rejected, rival, prompts=len(encoded), tokens=tokens, repeats=repeats, margin=margin
    )


def _check_lengths(bundle: Bundle, lengths: Sequence[int]) -> None:
    for length in lengths:
        if length < 0 or (reason := why_not_length(bundle, length)):
            raise UsageError(f"draft length {length} cannot be run: {reason if length >= 0 else 'it is negative'}")


def _check_ways(bundle: Bundle, ways: Sequence[Way], rejected: Sequence[Rejected]) -> None:
    if not any(way.drafting == "none" for way in ways):
        reasons = "; ".join(f"{entry.mapping}: {entry.reason}" for entry in rejected)
        raise PlanError(f"the target of {bundle.name} runs nowhere here: {reasons}")
    if all(len(text.answer) < 2 for way in ways for text in way.recordings):
        raise PromptError("every text ends with its first token, which leaves no rounds to time; give other prompts")


def _unavailable(bundle: Bundle, found: Ready, units: Sequence[str]) -> dict[str, str]:
    """Why units of the SoC do not take part: what nobody asked for neither."""
    left_out = {unit.name: "not asked for" for unit in bundle.soc.units if units and unit.name not in units}
    return {**found.unavailable, **left_out}


def _fastest_models(folder: Path, bundle: Bundle, programs: Sequence[Loaded], passes: Passes) -> tuple[TimedModel, ...]:
    measured = passes.measurements()
    target, drafter = (fastest(role, programs, measured) for role in ("target", "drafter"))
    assert target is not None
    return timed_models(folder, bundle, target, drafter)


def _ways(
    folder: Path,
    bundle: Bundle,
    programs: Sequence[Loaded],
    unavailable: Mapping[str, str],
    encoded: Sequence[Encoded],
    tokens: int,
    report: Report,
) -> tuple[list[Way], list[Rejected]]:
    ways: list[Way] = []
    rejected: list[Rejected] = []
    loaded = {(entry.role, entry.unit): entry for entry in programs}
    for mapping in mappings(bundle, pinned_places(programs)):
        reason = why_not_mapping(bundle, mapping, unavailable=unavailable, memory_bytes=None)
        if reason is not None:
            rejected.append(Rejected(mapping=mapping, reason=reason))
            continue
        target = loaded["target", mapping.target]
        drafter = None if mapping.drafter in (None, NGRAM) else loaded["drafter", str(mapping.drafter)]
        drafting: Drafting = "none" if mapping.drafter is None else "model" if drafter else "ngram"
        recordings = record_texts(bundle, target, drafter, encoded, tokens=tokens, report=report)
        for overlap in (False, True) if mapping.two_processors else (False,):
            timed = timed_model(folder, bundle, target, drafting, drafter, overlap=overlap)
            ways.append(Way(mapping=mapping, timed=timed, recordings=recordings))
    return ways, rejected


def _widest(bundle: Bundle, lengths: Sequence[int]) -> dict[Role, int]:
    """What predictions are made of: the target verifies, and the drafter reads at most two tokens at once."""
    wanted: dict[Role, int] = {"target": max(lengths) + 1, "drafter": 2}
    return {role: compiled_width(bundle, width) or width for role, width in wanted.items()}


def _take_turns(
    cases: Sequence[Case],
    parts: _Parts,
    encoded: Sequence[Encoded],
    *,
    repeats: int,
    tokens: int,
    report: Report,
) -> None:
    share, order = -(-TURNS_OF_A_PASS * len(parts.passes) // len(cases)), random.Random(0)
    for repeat in range(repeats):
        for number, prompt in enumerate(encoded):
            parts.contentions.turn()
            # A machine that is slow for ten seconds would else be so for cases that share what they are predicted from.
            for case in order.sample(cases, len(cases)):
                case.run(number)
                parts.passes.some(share)
            parts.hosts.measure(prompt.ids, tokens=tokens)
            report("validation", repeat * len(encoded) + number + 1, repeats * len(encoded))


def _row(bundle: Bundle, profile: Profile, case: Case) -> Compared:
    way = case.way
    found = predicted(
        bundle, profile, way.mapping, way.drafting, case.draft_length, way.recordings, overlap=way.overlap
    )
    low, high = case.spread
    return compared(
        way.mapping,
        found,
        overlap=way.overlap,
        measured=case.seconds_per_token,
        standard_error=case.standard_error,
        low=low,
        high=high,
        strange=case.strange,
    )


def predicted(
    bundle: Bundle,
    profile: Profile,
    mapping: Placement,
    drafting: Drafting,
    draft_length: int,
    recordings: Sequence[Recording],
    *,
    overlap: bool = False,
) -> Round:
    """What the cost model expects of these texts: times of the profile at their middle, drafts as they are replayed."""
    middle = statistics.mean(recording.middle for recording in recordings)
    cores = {unit: profile.cores(unit)[-1] for unit in (mapping.target, mapping.drafter) if unit and unit != NGRAM}
    # A hit is a draft more than the length; see Belief.hit.
    belief = _belief(recordings, drafting, range(draft_length, draft_length + 1 + overlap)) if draft_length else None
    times = MeasuredTimes(bundle, profile, middle)
    return mapping_round(times, mapping, draft_length, cores, belief, overlap=overlap)


def _belief(recordings: Sequence[Recording], drafting: Drafting, lengths: Iterable[int]) -> Belief:
    found = (merge(histograms(recordings, drafting, [one], drafter=drafting, target="target")) for one in lengths)
    # Rounds that the ends of texts cut short are part of what is measured, so a model's are counted as they were too.
    return Belief(alpha=0.0, source="replayed", measured=tuple(found), proposes_always=False)
