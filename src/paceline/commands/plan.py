"""``paceline plan``: which model runs where and how far ahead to draft, and why not otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from paceline import console
from paceline.commands.generating import BundleFolder, as_folder
from paceline.commands.plotting import Chart, Plot, check_options, plot_plan
from paceline.errors import UsageError

if TYPE_CHECKING:
    from paceline.costmodel import AcceptanceFile, Profile
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


def page(
    bundle: BundleFolder,
    alpha: Annotated[
        float | None, typer.Option(help="Share of drafts that the target keeps, instead of what was measured.")
    ] = None,
    acceptance: Annotated[
        Path | None, typer.Option(help="An acceptance.json of another workload (default: the bundle's).")
    ] = None,
    max_draft_length: Annotated[int, typer.Option(min=0, max=64, help="Longest draft to consider.")] = 8,
    margin: Annotated[
        float, typer.Option(min=0, help="Speculate only where it is predicted to win by more than this share.")
    ] = 0.05,
    memory: Annotated[
        float | None,
        typer.Option(min=0, max=1 << 20, metavar="GIB", help="Memory to stay within (default: the SoC's)."),
    ] = None,
    roofline: Annotated[
        bool, typer.Option("--roofline", help="Predict from the SoC file: the board is not at hand.")
    ] = False,
    calibration: Annotated[
        Path | None, typer.Option(metavar="FILE", help="With --roofline: what 'paceline calibrate' made of profiles.")
    ] = None,
    all_lengths: Annotated[bool, typer.Option("--all", help="List every draft length of every mapping.")] = False,
    plot: Plot = None,
    chart: Chart = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Choose mapping, cores and draft length of a bundle, and say why every alternative lost.

    Times come from 'paceline profile' on this machine, or from a roofline, which 'paceline calibrate' can teach.
    Writes plan.json into the bundle, which 'paceline run' follows.
    """
    from paceline.costmodel import read_calibration
    from paceline.files import write_json
    from paceline.partition import choose, read_bundle
    from paceline.partition.plan import PLAN
    from paceline.partition.search import beliefs_of
    from paceline.partition.times import MeasuredTimes, RooflineTimes

    check_options(plot, chart)
    if calibration is not None and not roofline:
        raise UsageError("--calibration is for --roofline; without it times come from the bundle's own profile")
    bundle = as_folder(bundle)
    compiled = read_bundle(bundle)
    taught = read_calibration(calibration, soc=compiled.soc.name) if calibration else None
    profile, unavailable = (None, {}) if roofline else _measured(bundle, compiled)
    kept = _kept(bundle, acceptance, compiled, needed=alpha is None)
    model = kept.of(compiled.drafter.precision) if kept and compiled.drafter else ()
    ngram = kept.of("ngram") if kept else ()
    plan = choose(
        compiled,
        profile=profile,
        calibration=taught,
        acceptance=model,
        ngram=ngram,
        alpha=alpha,
        unavailable=unavailable,
        max_draft_length=max_draft_length,
        margin=margin,
        memory_bytes=None if memory is None else int(memory * (1 << 30)),
    )
    write_json(bundle / PLAN, plan)
    if plot is not None:
        times = MeasuredTimes(compiled, profile) if profile else RooflineTimes(compiled, calibration=taught)
        belief = beliefs_of(model, ngram, alpha)["model"]
        plot_plan(plot, chart, plan, bundle=compiled, times=times, belief=belief)
    if as_json:
        console.print_json(plan)
    else:
        _show(bundle, plan, all_lengths)


def _measured(folder: Path, bundle: Bundle) -> tuple[Profile, dict[str, str]]:
    from paceline.costmodel import read_profile
    from paceline.runtime.machine import this_machine
    from paceline.runtime.measure import usable_units

    devices, unavailable = usable_units(bundle)
    machine = this_machine({unit: device.description for unit, device in devices.items()})
    return read_profile(folder, bundle=bundle.digest, machine=machine), unavailable


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
