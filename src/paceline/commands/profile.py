"""``paceline profile``: how long every forward pass takes here, and how many drafts are kept."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from paceline import console

if TYPE_CHECKING:
    from paceline.costmodel import Acceptance, Measurement
    from paceline.runtime.profile import Measured

EPILOG = """\
Example:
  $ paceline profile bundles/smollm2
"""


def page(
    bundle: Annotated[Path, typer.Argument(help="Folder that 'paceline compile' made.")],
    repeats: Annotated[int, typer.Option(min=3, help="Most calls of each forward pass.")] = 50,
    budget: Annotated[float, typer.Option(min=0, metavar="SECONDS", help="Time to spend on forward passes.")] = 30.0,
    cores: Annotated[
        list[int] | None, typer.Option(min=1, help="CPU cores to measure with; repeat it for several (default: all).")
    ] = None,
    prompts: Annotated[
        Path | None, typer.Option(help="Prompts to measure acceptance with: JSON lines, or one a line (default: six).")
    ] = None,
    tokens: Annotated[int, typer.Option(min=2, help="Tokens to generate after each prompt.")] = 48,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Measure a bundle on this machine: seconds of each pass, kept drafts, host time of a round.

    Writes profile.json and acceptance.json into the bundle. All passes take turns, so that a busy moment of the
    machine hits all of them alike.
    """
    from paceline.partition import read_bundle
    from paceline.runtime.profile import measure, save
    from paceline.runtime.prompts import BUILT_IN, read_prompts

    with console.progress() as report:
        measured = measure(
            bundle,
            read_bundle(bundle),
            repeats=repeats,
            budget=budget,
            cores=cores or (),
            prompts=read_prompts(prompts) if prompts else BUILT_IN,
            tokens=tokens,
            report=report,
        )
    save(bundle, measured)
    for unit, reason in measured.unavailable.items():
        console.note(f"not measured: {unit}: {reason}")
    if measured.skipped_prompts:
        console.note(f"{measured.skipped_prompts} prompts are longer than the context and were left out")
    if as_json:
        console.print_json({"profile": measured.profile, "acceptance": measured.acceptance})
    else:
        _show(bundle, measured)


def _show(bundle: Path, measured: Measured) -> None:
    machine = measured.profile.machine
    rows = [_pass(entry) for entry in measured.profile.measurements]
    console.print_table(
        f"Forward passes of {bundle} on {machine.cpu}, {machine.cores} cores",
        ("model", "unit", "cores", "width", "median ms", "spread ms", "ms a token", "calls"),
        rows,
    )
    if measured.acceptance.histograms:
        drafts = [_drafts(entry) for entry in measured.acceptance.histograms]
        console.print_table("Drafts kept by the target", ("drafter", "task", "alpha", "kept", "tokens a round"), drafts)
    print(f"host time of a round: {measured.profile.host_seconds * 1e3:.3f} ms")
    print(f"wrote profile.json and acceptance.json; next: paceline plan {bundle}")


def _pass(entry: Measurement) -> tuple[str, ...]:
    return (
        f"{entry.role} {entry.precision}",
        entry.unit,
        str(entry.cores),
        str(entry.width),
        f"{entry.seconds * 1e3:.2f}",
        f"{entry.spread * 1e3:.2f}",
        f"{entry.seconds * 1e3 / entry.width:.2f}",
        str(entry.repeats),
    )


def _drafts(entry: Acceptance) -> tuple[str, ...]:
    alpha = "no draft" if entry.alpha is None else f"{entry.alpha:.2f}"
    per_round = f"{1 + entry.accepted / entry.rounds:.2f}" if entry.rounds else "no round"
    return (entry.drafter, entry.task, alpha, f"{entry.accepted} of {entry.drafted}", per_round)
