"""The choice: every mapping, core count and draft length, the best of them, and why not the others.

Ranking is by predicted seconds per token. Speculation is chosen only where it beats the best plain decoding that the
SoC can do by more than ``margin``. Ties go to the shorter draft, then to no drafter, prompt lookup, a model; then to
the unit that the SoC lists first, then to fewer cores.
"""

from __future__ import annotations

from collections.abc import Mapping as Table
from collections.abc import Sequence
from dataclasses import replace

from paceline.costmodel import Acceptance, Calibration, Profile, Round, check_alpha
from paceline.errors import PlanError, UsageError
from paceline.partition.bundle import Bundle
from paceline.partition.candidates import Belief, Candidate, Search
from paceline.partition.feasible import placements
from paceline.partition.pacing import pacing_of
from paceline.partition.plan import NGRAM, Alternative, Estimate, Pacing, Plan
from paceline.partition.times import MeasuredTimes, RooflineTimes, Source, Times

MAX_DRAFT_LENGTH = 8
# The paper (A.5) tells its readers to ignore a predicted 1.02x: a wrong "speculate" costs memory, and speed. A wrong
# "do not" costs up to the margin even where predictions are right, so a wider one loses more than it guards against.
DEFAULT_MARGIN = 0.02
# Median of the paper's unquantised pair on translation (A.4): what is assumed until acceptance is measured.
DEFAULT_ALPHA = 0.58


def choose(
    bundle: Bundle,
    *,
    profile: Profile | None,
    calibration: Calibration | None = None,
    acceptance: Sequence[Acceptance] = (),
    ngram: Sequence[Acceptance] = (),
    alpha: float | None = None,
    unavailable: Table[str, str] | None = None,
    max_draft_length: int = MAX_DRAFT_LENGTH,
    margin: float = DEFAULT_MARGIN,
    memory_bytes: int | None = None,
) -> Plan:
    """Choose mapping, cores and draft length by predicted seconds per token.

    Args:
        profile: measured times; None means a roofline over the bundle's SoC, taught by ``calibration`` if there is one.
        acceptance: histograms of the drafter model, one for each draft length that was asked for. ``alpha`` replaces
            them; without either DEFAULT_ALPHA is assumed.
        ngram: of prompt lookup, which is no candidate without it, or where it never found anything to draft.
        unavailable: why a unit cannot be used here, by its name.
        margin: speculation must be better than 1 + margin times the best plain decoding.
        memory_bytes: budget instead of the SoC's memory.

    Raises:
        PlanError: the target runs nowhere.
        UsageError: alpha, margin or max_draft_length cannot mean anything.
    """
    if max_draft_length < 0 or margin < 0:
        raise UsageError(f"the longest draft ({max_draft_length}) and the margin ({margin}) are 0 or more")
    search = Search(
        bundle=bundle,
        times=RooflineTimes(bundle, calibration=calibration) if profile is None else MeasuredTimes(bundle, profile),
        beliefs=beliefs_of(acceptance, ngram, alpha),
        unavailable=unavailable or {},
        max_draft_length=max_draft_length,
        memory_bytes=memory_bytes,
    )
    if ngram:  # measured, which the search hears of only where something was found
        search = replace(search, why_no_lookup="prompt lookup found nothing to draft in the texts that were measured")
    # Sorting is stable and candidates come in the order that breaks ties, once short drafts are first.
    ranked = sorted(search.candidates(), key=lambda candidate: (candidate.seconds, candidate.draft_length))
    return _plan(search, ranked, margin)


def beliefs_of(acceptance: Sequence[Acceptance], ngram: Sequence[Acceptance], alpha: float | None) -> dict[str, Belief]:
    """What to assume of each drafter; arguments as in ``choose``."""
    beliefs = {"model": Belief(alpha=DEFAULT_ALPHA, source="default: not measured")}
    if alpha is not None:
        beliefs["model"] = Belief(alpha=check_alpha(alpha), source="given")
    elif measured := _measured(acceptance):
        beliefs["model"] = measured
    if found := _measured(ngram):
        beliefs[NGRAM] = replace(found, proposes_always=False)
    return beliefs


def _measured(histograms: Sequence[Acceptance]) -> Belief | None:
    """Histograms as a belief, its alpha that of the longest drafts; None where no draft was judged."""
    judged = tuple(histogram for histogram in histograms if histogram.alpha is not None)
    if not judged:
        return None
    longest = max(judged, key=lambda histogram: histogram.asked)
    return Belief(alpha=longest.alpha or 0.0, source=_measured_on(longest), measured=judged)


def _measured_on(acceptance: Acceptance) -> str:
    return "measured on all tasks" if acceptance.task == "all" else f"measured on {acceptance.task}"


def _plan(search: Search, ranked: list[Candidate], margin: float) -> Plan:
    bundle = search.bundle
    plain = next((candidate for candidate in ranked if candidate.round and not candidate.draft_length), None)
    if plain is None:
        reasons = "; ".join(f"{c.mapping}: {c.reason}" for c in ranked if not c.draft_length)
        raise PlanError(f"the target of {bundle.name} runs nowhere here: {reasons}")
    # ranked is best first, and plain itself ends the search.
    chosen = next(c for c in ranked if c is plain or plain.seconds > (1.0 + margin) * c.seconds)
    losers = (candidate for candidate in ranked if candidate is not chosen)
    belief = _belief_of(search, chosen)
    return Plan(
        bundle=bundle.digest,
        soc=bundle.soc.name,
        mapping=chosen.mapping,
        draft_length=chosen.draft_length,
        overlap=chosen.overlap,
        precision={model.role: model.precision for model, _ in placements(bundle, chosen.mapping)},
        cores=chosen.cores,
        context=bundle.context,
        alpha=belief.alpha,
        alpha_source=belief.source,
        estimate=_estimate(chosen, plain, search.times),
        pacing=_pacing(search, chosen),
        rejected=tuple(_rejected(loser, chosen, plain, search.times, margin) for loser in losers),
    )


def _belief_of(search: Search, chosen: Candidate) -> Belief:
    """What was believed of the chosen drafter; where nothing drafts, of the one that might have."""
    lookup_only = search.bundle.drafter is None and NGRAM in search.beliefs
    return search.beliefs[NGRAM if chosen.mapping.drafter == NGRAM or lookup_only else "model"]


def _pacing(search: Search, chosen: Candidate) -> Pacing | None:
    belief = search.belief(chosen.mapping)
    if belief is None:
        return None
    return pacing_of(search.times, search.bundle.widths, chosen, belief, search.max_draft_length)


def _estimate(candidate: Candidate, plain: Candidate, times: Times) -> Estimate:
    assert candidate.round is not None
    return estimate_of(candidate.round, plain=plain.seconds, source=times.source)


def estimate_of(costs: Round, *, plain: float, source: Source) -> Estimate:
    """A round as an estimate; ``plain`` is seconds a token of the best plain decoding of the SoC."""
    return Estimate(
        seconds_per_token=costs.seconds_per_token,
        tokens_per_round=costs.tokens,
        round_seconds=costs.seconds,
        draft=costs.draft + costs.catch_up,
        verify=costs.verify,
        host=costs.host,
        speedup=costs.speedup,
        speedup_over_best=plain / costs.seconds_per_token,
        source=source,
    )


def _rejected(loser: Candidate, chosen: Candidate, plain: Candidate, times: Times, margin: float) -> Alternative:
    return Alternative(
        mapping=loser.mapping,
        draft_length=loser.draft_length,
        overlap=loser.overlap,
        cores=loser.cores,
        reason=loser.reason or _why_slower(loser, chosen, plain, margin),
        estimate=_estimate(loser, plain, times) if loser.round else None,
    )


def _why_slower(loser: Candidate, chosen: Candidate, plain: Candidate, margin: float) -> str:
    assert loser.round is not None
    gain = plain.seconds / loser.seconds
    if loser.draft_length and gain <= 1.0:
        costs = loser.round
        return (
            f"a loss: {costs.tokens:.2f} tokens in {costs.seconds * 1e3:.1f} ms, "
            f"plain on {plain.mapping.target} takes {plain.seconds * 1e3:.1f} ms a token"
        )
    if loser.seconds < chosen.seconds:
        return f"{gain:.3f}x plain decoding is within the margin of {1 + margin:.2f}x"
    if loser.seconds == chosen.seconds:
        return "as fast as the choice, which drafts less or comes first"
    return f"{loser.seconds / chosen.seconds - 1:.2%} slower a token than the choice"
