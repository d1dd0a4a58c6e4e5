"""What ``paceline run`` says at the end: measured against predicted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import msgspec

from paceline.console import note
from paceline.costmodel import read_profile
from paceline.costmodel.profile import PROFILE
from paceline.errors import ProfileError
from paceline.partition import Estimate
from paceline.partition.plan import Pacing
from paceline.runtime import Generation, Model, Stats

SCHEMA = 1


class Plain(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Plain decoding on the same units: tokens per second and where that was measured.

    ``identical`` says whether its tokens were the same; None where none were generated.
    """

    tokens_per_second: float
    source: Literal["this run", "profile"]
    identical: bool | None = None


class RunReport(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One generation: how it was run, what came out, and the speed-up as measured and as the plan predicted.

    ``predicted`` is of texts such as acceptance was measured on; ``expected`` what the plan's times make of the drafts
    that this text kept. Not in it is what the drafter reads after rounds without drafts. None where no plan says what
    such rounds take.
    """

    schema: int = SCHEMA
    bundle: str
    mapping: str
    devices: dict[str, str]
    text: str
    ids: tuple[int, ...]
    stats: Stats
    plain: Plain | None
    speedup: float | None
    predicted: Estimate | None
    expected: float | None


def measure_plain(model: Model, generation: Generation, options: dict[str, Any]) -> Plain:
    """Generate the same again without drafts."""
    model.forget()
    again = model.generate(generation.prompt, **options, draft_length=0).finish()
    same = again.ids == generation.ids if options["temperature"] == 0 else None
    return Plain(tokens_per_second=again.stats.tokens_per_second, source="this run", identical=same)


def profiled_plain(folder: Path, model: Model) -> Plain | None:
    """Plain decoding as the profile has it; None without one. A profile that is of no use is told of."""
    from paceline.runtime.machine import this_machine

    try:
        profile = read_profile(folder, bundle=model.bundle.digest, machine=this_machine())
    except ProfileError as error:
        if (folder / PROFILE).exists():
            note(f"plain speed not known: {error}")
        return None
    unit = model.setting.mapping.target
    seconds = profile.seconds("target", unit, 1, cores=model.setting.cores.get(unit))
    return Plain(tokens_per_second=1 / seconds, source="profile") if seconds else None


def report_of(model: Model, generation: Generation, plain: Plain | None) -> RunReport:
    """Put together what is known; there is no speed-up of a text that was begun on one device and ended on another."""
    stats = generation.stats
    if stats.fallback:
        plain = None
    measured = stats.tokens_per_second / plain.tokens_per_second if plain and plain.tokens_per_second else None
    return RunReport(
        bundle=model.bundle.name,
        mapping=str(model.setting.mapping),
        devices=model.devices,
        text=generation.text,
        ids=generation.ids,
        stats=stats,
        plain=plain,
        speedup=measured or None,
        predicted=model.setting.estimate,
        expected=_expected(model.setting.pacing, stats),
    )


def _expected(pacing: Pacing | None, stats: Stats) -> float | None:
    """Speed-up over rounds of one token each, of which the one that ends a text brings none."""
    seconds = pacing.seconds(stats.acceptance) if pacing and not stats.fallback else None
    if not seconds or pacing is None or not stats.acceptance.drafted:
        return None
    return (stats.tokens - 1 + (stats.stop_reason == "eos")) * pacing.round_seconds[0] / seconds


def summary(report: RunReport) -> Iterator[str]:
    """The closing lines for people."""
    stats, kept = report.stats, report.stats.acceptance
    devices = "; ".join(f"{unit}: {name}" for unit, name in report.devices.items())
    yield f"mapping      {report.mapping} ({devices})"
    for lost in stats.fallback:
        to = f"went on on {lost.unit}" if lost.unit else "was left out"
        yield f"fallback     the {lost.role} {to}: {lost.reason}"
    yield f"draft length {_length(stats)}{_acceptance(stats)}"
    if stats.overlapped:
        yield f"overlap      {stats.ready} of {stats.rounds} rounds found their drafts made while the target worked"
    yield (
        f"speed        {stats.tokens_per_second:.1f} tokens/s, {stats.tokens} tokens, first after"
        f" {stats.time_to_first_token:.2f} s, stopped by {stats.stop_reason}"
    )
    if kept.drafted or report.plain:
        yield f"speed-up     {_measured(report)}; {_predicted(report)}"


def _length(stats: Stats) -> str:
    if not stats.adaptive:
        return str(stats.draft_length)
    return f"adaptive, mean {stats.acceptance.drafted / max(1, stats.rounds):.1f}"


def _acceptance(stats: Stats) -> str:
    kept = stats.acceptance
    if not kept.drafted:
        return ""
    tokens = (kept.accepted + kept.rounds) / kept.rounds
    return f", {kept.accepted} of {kept.drafted} drafts accepted (alpha {kept.alpha:.2f}), {tokens:.2f} tokens a round"


def _measured(report: RunReport) -> str:
    plain = report.plain
    if plain is None or report.speedup is None:
        return "not measured (add --compare)"
    same = {True: ", same tokens", False: ", DIFFERENT tokens", None: ""}[plain.identical]
    return f"measured {report.speedup:.2f}x over plain ({plain.tokens_per_second:.1f} tokens/s, {plain.source}{same})"


def _predicted(report: RunReport) -> str:
    estimate = report.predicted
    found = f"predicted {estimate.speedup:.2f}x ({estimate.source})" if estimate else "no plan predicted this setting"
    if report.expected is not None:
        found += f"; {report.expected:.2f}x by its times with the drafts that this text kept"
    return found
