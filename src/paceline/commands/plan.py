"""``paceline plan``: which model runs where and how far ahead to draft, and why not otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from paceline import console
from paceline.commands.generating import as_folder
from paceline.commands.options import AsJson, BundleFolder, MaxDraftLength, MemoryGib, in_bytes
from paceline.commands.plotting import Chart, ChartName, Plot, check_options, plot_plan
from paceline.errors import UsageError

if TYPE_CHECKING:
    from paceline.costmodel import Acceptance, AcceptanceFile, Calibration, Profile
    from paceline.partition import Alternative, Bundle, Estimate, Mapping, Plan

EPILOG = """\
Example:
  $ paceline plan bundles/smollm2
  bundles/smollm2 on x86-swiftshader: target=cpu,drafter=cpu, drafting 3 ahead; cores: 2 of cpu
  predicted (profile): 79.5 tokens/s, 12.58 ms a token
  a round brings 3.41 tokens in 42.84 ms: draft 23.80, verify 18.30, host 0.75
  ...
"""
_COLUMNS = ("target", "drafter", "ahead", "overlap", "ms/token", "x plain", "reason")

_Alpha = Annotated[
    float | None, typer.Option(help="Share of drafts that the target keeps, instead of what was measured.")
]
_Acceptance = Annotated[
    Path | None, typer.Option(help="An acceptance.json of another workload (default: the bundle's).")
]
_Margin = Annotated[
    float, typer.Option(min=0, help="Speculate only where it is predicted to win by more than this share.")
]
_Roofline = Annotated[bool, typer.Option("--roofline", help="Predict from the SoC file: the board is not at hand.")]
_Calibration = Annotated[
    Path | None, typer.Option(metavar="FILE", help="With --roofline: what 'paceline calibrate' made of profiles.")
]
_AllLengths = Annotated[bool, typer.Option("--all", help="List every draft length of every mapping.")]


def page(
    bundle: BundleFolder,
    alpha: _Alpha = None,
    acceptance: _Acceptance = None,
    max_draft_length: MaxDraftLength = 8,
    margin: _Margin = 0.02,
    memory: MemoryGib = None,
    roofline: _Roofline = False,
    calibration: _Calibration = None,
    all_lengths: _AllLengths = False,
    plot: Plot = None,
    chart: Chart = None,
    as_json: AsJson = False,
) -> None:
    """Choose mapping, cores and draft length of a bundle, and say why every alternative lost.

    Times come from 'paceline profile' on this machine, or from a roofline, which 'paceline calibrate' can teach.
    Writes plan.json into the bundle, which 'paceline run' follows.
    """
    from paceline.documents import write_json
    from paceline.partition import choose
    from paceline.partition.plan import PLAN

    check_options(plot, chart)
    if calibration is not None and not roofline:
        raise UsageError("--calibration is for --roofline; without it times come from the bundle's own profile")
    bundle = as_folder(bundle)
    known = _known(bundle, acceptance, calibration, roofline=roofline, kept_needed=alpha is None)
    plan = choose(
        known.bundle,
        profile=known.profile,
        calibration=known.calibration,
        acceptance=known.model,
        ngram=known.ngram,
        alpha=alpha,
        unavailable=known.unavailable,
        max_draft_length=max_draft_length,
        margin=margin,
        memory_bytes=in_bytes(memory),
    )
    write_json(bundle / PLAN, plan)
    if plot is not None:
        _draw(plot, chart, plan, known, alpha)
    console.print_json(plan) if as_json else _show(bundle, plan, all_lengths)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """What a plan is made of: ``profile`` None means a roofline; ``model`` and ``ngram`` are kept drafts of each."""

    bundle: Bundle
    profile: Profile | None
    calibration: Calibration | None
    unavailable: dict[str, str]
    model: tuple[Acceptance, ...]
    ngram: tuple[Acceptance, ...]


def _known(
    folder: Path, acceptance: Path | None, calibration: Path | None, *, roofline: bool, kept_needed: bool
) -> _Known:
    from paceline.costmodel import read_calibration
    from paceline.partition import read_bundle

    bundle = read_bundle(folder)
    taught = read_calibration(calibration, soc=bundle.soc.name) if calibration else None
    profile, unavailable = (None, {}) if roofline else _measured(folder, bundle)
    kept = _kept(folder, acceptance, bundle, needed=kept_needed)
    return _Known(
        bundle=bundle,
        profile=profile,
        calibration=taught,
        unavailable=unavailable,
        model=kept.of(bundle.drafter.precision) if kept and bundle.drafter else (),
        ngram=kept.rounds_of("ngram") if kept else (),
    )


def _draw(plot: Path, chart: ChartName | None, plan: Plan, known: _Known, alpha: float | None) -> None:
    from paceline.partition.search import beliefs_of
    from paceline.partition.times import MeasuredTimes, RooflineTimes

    bundle, profile = known.bundle, known.profile
    times = MeasuredTimes(bundle, profile) if profile else RooflineTimes(bundle, calibration=known.calibration)
    belief = beliefs_of(known.model, known.ngram, alpha)["model"]
    plot_plan(plot, chart, plan, bundle=bundle, times=times, belief=belief)


def _measured(folder: Path, bundle: Bundle) -> tuple[Profile, dict[str, str]]:
    from paceline.costmodel import read_profile
    from paceline.partition.times import check_profile
    from paceline.runtime.loaded import usable_units
    from paceline.runtime.machine import this_machine

    devices, unavailable = usable_units(bundle)
    machine = this_machine({unit: device.description for unit, device in devices.items()})
    profile = read_profile(folder, bundle=bundle.digest, machine=machine)
    check_profile(bundle, profile)
    return profile, unavailable


def _kept(folder: Path, given: Path | None, bundle: Bundle, *, needed: bool) -> AcceptanceFile | None:
    """The acceptance to plan with: the file given, else the bundle's own, else none.

    A stale file of the bundle matters only where it is ``needed``; one that the user gives is taken as it is.
    """
    from paceline.costmodel import read_acceptance
    from paceline.costmodel.acceptance import ACCEPTANCE

    if given is not None:
        return read_acceptance(given)
    if not (folder / ACCEPTANCE).exists():
        return None
    file = read_acceptance(folder / ACCEPTANCE, bundle=bundle.digest if needed else None)
    return file if file.bundle == bundle.digest else None


def _show(folder: Path, plan: Plan, all_lengths: bool) -> None:
    ahead = f"drafting {plan.draft_length} ahead" if plan.draft_length else "no speculation"
    ahead += " while the target verifies" if plan.overlap else ""
    cores = ", ".join(f"{count} of {unit}" for unit, count in plan.cores.items())
    print(f"{folder} on {plan.soc}: {plan.mapping}, {ahead}; cores: {cores}")
    cost = plan.estimate
    per_token = cost.seconds_per_token
    print(f"predicted ({cost.source}): {1 / per_token:.1f} tokens/s, {per_token * 1e3:.2f} ms a token")
    if plan.draft_length:
        _show_round(cost, overlap=plan.overlap)
    print(f"alpha {plan.alpha:.2f} ({plan.alpha_source})")
    rows = [_row(entry) for entry in (plan.rejected if all_lengths else _best_of_each(plan.rejected))]
    console.print_table("Not chosen, best first", _COLUMNS, rows)
    if hidden := len(plan.rejected) - len(rows):
        print(f"{hidden} more draft lengths of these mappings with --all")
    print(f"wrote plan.json; next: paceline run {folder} 'your prompt'")


def _show_round(cost: Estimate, *, overlap: bool) -> None:
    draft = "waiting for drafts" if overlap else "draft"
    print(
        f"a round brings {cost.tokens_per_round:.2f} tokens in {cost.round_seconds * 1e3:.2f} ms: "
        f"{draft} {cost.draft * 1e3:.2f}, verify {cost.verify * 1e3:.2f}, host {cost.host * 1e3:.2f}"
    )
    print(
        f"{cost.speedup:.2f}x plain decoding on the same mapping, "
        f"{cost.speedup_over_best:.2f}x the best plain decoding of the SoC"
    )


def _best_of_each(rejected: tuple[Alternative, ...]) -> tuple[Alternative, ...]:
    best: dict[tuple[Mapping, bool], Alternative] = {}
    for entry in rejected:
        best.setdefault((entry.mapping, entry.overlap), entry)
    return tuple(best.values())


def _row(entry: Alternative) -> tuple[str, ...]:
    places = (entry.mapping.target, entry.mapping.drafter or "none")
    units = tuple(f"{unit} x{entry.cores[unit]}" if unit in entry.cores else unit for unit in places)
    overlap = "yes" if entry.overlap else ""
    if entry.estimate is None:
        return (*units, str(entry.draft_length) if entry.cores else "any", overlap, "", "", entry.reason)
    cost = entry.estimate
    speed = (f"{cost.seconds_per_token * 1e3:.2f}", f"{cost.speedup_over_best:.2f}")
    return (*units, str(entry.draft_length), overlap, *speed, entry.reason)
