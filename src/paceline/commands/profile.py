"""``paceline profile``: how long every forward pass takes here, and how many drafts are kept."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from paceline import console
from paceline.commands.drafts import drafts_table
from paceline.commands.generating import as_folder
from paceline.commands.options import AsJson, BundleFolder, Tokens
from paceline.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paceline.costmodel import Contention, HostTime, Measurement
    from paceline.runtime.profile import Measured

EPILOG = """\
Example:
  $ paceline profile bundles/smollm2
  ...
  host time of a round: 0.310 ms plain, 0.748 ms drafting 7
  wrote profile.json and acceptance.json; next: paceline plan bundles/smollm2
"""


def page(
    bundle: BundleFolder,
    repeats: Annotated[int, typer.Option(min=3, help="Most calls of each forward pass.")] = 50,
    budget: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="Time for forward passes, and for as long in company.")
    ] = 30.0,
    units: Annotated[
        list[str] | None,
        typer.Option("--unit", help="Unit to measure; repeat it for several (default: all)."),
    ] = None,
    cores: Annotated[
        list[int] | None, typer.Option(min=1, help="CPU cores to measure with; repeat it for several (default: all).")
    ] = None,
    pin: Annotated[
        str | None, typer.Option(help="Measure the models on these cores too, e.g. drafter=0,target=1; or auto.")
    ] = None,
    prompts: Annotated[
        Path | None, typer.Option(help="Prompts to measure acceptance with: JSON lines, or one a line (default: six).")
    ] = None,
    tokens: Tokens = 48,
    as_json: AsJson = False,
) -> None:
    """Measure a bundle on this machine: seconds of each pass, kept drafts, host time of a round.

    Writes profile.json and acceptance.json into the bundle. All passes take turns, so that a busy moment of the
    machine hits all of them alike.
    """
    from paceline.partition import read_bundle
    from paceline.runtime.local_task import usable_core_numbers
    from paceline.runtime.profile import measure, save
    from paceline.runtime.prompts import BUILT_IN, read_prompts
    from paceline.targets.pins import parse_pins

    bundle = as_folder(bundle)
    compiled = read_bundle(bundle, checksums=True)
    if not os.access(bundle, os.W_OK):
        raise OutputError(f"cannot write into {bundle}, where the profile belongs; copy the bundle to a place of yours")
    with console.progress() as report:
        measured = measure(
            bundle,
            compiled,
            repeats=repeats,
            budget=budget,
            units=units or (),
            cores=cores or (),
            pins=None if pin is None else parse_pins(pin, compiled.soc, usable_core_numbers()),
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
    machine, host = measured.profile.machine, measured.profile.host
    print(f"{bundle} on {machine.cpu}, {machine.cores} cores; ms of a forward pass: mean +- half the quartiles' gap")
    console.print_table("Forward passes, caches with little in them and full", *_passes(measured.profile.measurements))
    if contention := measured.profile.contention:
        rows = [_in_company(entry) for entry in contention]
        columns = ("target", "drafter", "together", "width", "target x", "drafter x")
        console.print_table("In company of the other model: passes take so many times as long", columns, rows)
    if measured.acceptance.histograms:
        console.print_table("Drafts kept by the target", *drafts_table(measured.acceptance.histograms))
    hosts = (f"{entry.seconds * 1e3:.3f} ms {_rounds(entry)}" for entry in host)
    print(f"host time of a round: {', '.join(hosts)}")
    print(f"wrote profile.json and acceptance.json; next: paceline plan {bundle}")


def _in_company(entry: Contention) -> tuple[str, ...]:
    slower = (f"{entry.slows_target:.2f}", f"{entry.slows_drafter:.2f}")
    return (entry.target, entry.drafter, entry.together, str(entry.width), *slower)


def _rounds(entry: HostTime) -> str:
    if entry.drafter == "none":
        return "plain"
    return f"drafting {entry.draft_length}{' from n-grams' if entry.drafter == 'ngram' else ''}"


def _passes(measurements: Sequence[Measurement]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Columns and rows: a column for each program and core count, a row for each width."""
    cells: dict[tuple[str, int], list[Measurement]] = {}
    for entry in sorted(measurements, key=lambda entry: entry.position):
        cells.setdefault((_column(entry), entry.width), []).append(entry)
    columns = tuple(dict.fromkeys(_column(entry) for entry in measurements))
    widths = sorted({width for _, width in cells})
    rows = [(str(width), *(_cell(cells.get((column, width), [])) for column in columns)) for width in widths]
    return ("width", *columns), rows


def _column(entry: Measurement) -> str:
    return f"{entry.role} {entry.precision} on {entry.unit} x{entry.cores}"


def _cell(entries: Sequence[Measurement]) -> str:
    return " / ".join(f"{entry.seconds * 1e3:.2f} +- {entry.spread * 1e3 / 2:.2f}" for entry in entries)
