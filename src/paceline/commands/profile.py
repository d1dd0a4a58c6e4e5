"""``paceline profile``: how long every forward pass of bundles takes here, and how many drafts are kept."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from paceline import console
from paceline.commands.drafts import drafts_table
from paceline.commands.generating import as_folder
from paceline.commands.options import AsJson, Tokens
from paceline.errors import OutputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from paceline.costmodel import Contention, HostTime, Measurement
    from paceline.partition import Bundle
    from paceline.runtime.profile import Measured

EPILOG = """\
Examples:
  $ paceline profile bundles/smollm2
  ...
  host time of a round: 0.310 ms plain, 0.748 ms drafting 7
  wrote profile.json and acceptance.json; next: paceline plan bundles/smollm2
  $ paceline profile bundles/smollm2 bundles/qwen-int8   # in turns, for 'paceline calibrate'
"""


def page(
    bundle: Annotated[
        list[Path],
        typer.Argument(metavar="BUNDLE...", help="Folders that 'paceline compile' made, or what 'pack' made of them."),
    ],
    repeats: Annotated[int, typer.Option(min=3, help="Most calls of each forward pass.")] = 50,
    budget: Annotated[
        float,
        typer.Option(min=0, metavar="SECONDS", help="Time for passes of each bundle, and as much in company."),
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
    """Measure bundles on this machine: seconds of each pass, kept drafts, host time of a round.

    Writes profile.json and acceptance.json into each bundle. All passes take turns, those of several bundles too, so
    that a busy moment of the machine hits all of them alike.
    """
    from paceline.runtime.local_task import usable_core_numbers
    from paceline.runtime.profile import measure, save
    from paceline.runtime.prompts import BUILT_IN, read_prompts
    from paceline.targets.pins import parse_pins

    bundles = _read(map(as_folder, bundle))
    soc = next(iter(bundles.values())).soc
    found: list[tuple[Path, Measured]] = []
    try:
        with console.progress() as report:
            for folder, measured in measure(
                bundles,
                repeats=repeats,
                budget=budget,
                units=units or (),
                cores=cores or (),
                pins=None if pin is None else parse_pins(pin, soc, usable_core_numbers()),
                prompts=read_prompts(prompts) if prompts else BUILT_IN,
                tokens=tokens,
                report=report,
            ):
                save(folder, measured)
                found.append((folder, measured))
    finally:  # what was measured is told, also where a later bundle fails
        _tell(found, as_json=as_json, several=len(bundles) > 1)


def _tell(found: Sequence[tuple[Path, Measured]], *, as_json: bool, several: bool) -> None:
    """Of several bundles a list, also where only some of them could be measured."""
    for folder, measured in found:
        _warn(measured, f"{folder}: " if several else "")
        if not as_json:
            _show(folder, measured)
    documents = [{"profile": measured.profile, "acceptance": measured.acceptance} for _, measured in found]
    if as_json and found:
        console.print_json(documents if several else documents[0])


def _read(folders: Iterable[Path]) -> dict[Path, Bundle]:
    """Bundles by their folders, each once under whatever names, refused before the bytes of large files are read."""
    from paceline.partition import read_bundle

    bundles = {folder: read_bundle(folder) for folder in {folder.resolve(): folder for folder in folders}.values()}
    _check_one_soc(bundles)
    for folder in bundles:
        if not os.access(folder, os.W_OK):
            raise OutputError(
                f"cannot write into {folder}, where the profile belongs; copy the bundle to a place of yours"
            )
    return {folder: read_bundle(folder, checksums=True) for folder in bundles}


def _check_one_soc(bundles: Mapping[Path, Bundle]) -> None:
    """Units and cores are asked for by the names of one SoC."""
    (first, compiled), *others = bundles.items()
    for folder, other in others:
        if other.soc != compiled.soc:
            raise UsageError(
                f"{first} is compiled for {compiled.soc.name}, {folder} for {other.soc.name}"
                f"{'' if other.soc.name != compiled.soc.name else ' with other figures'}; profile one SoC at a time"
            )


def _warn(measured: Measured, of: str) -> None:
    for unit, reason in measured.unavailable.items():
        console.note(f"{of}not measured: {unit}: {reason}")
    if measured.skipped_prompts:
        console.note(f"{of}{measured.skipped_prompts} prompts are longer than the context and were left out")


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
