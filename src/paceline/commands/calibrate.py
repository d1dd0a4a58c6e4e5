"""``paceline calibrate``: what passes get of a SoC's figures, from the profiles of bundles."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from paceline import console
from paceline.commands.generating import as_folder
from paceline.commands.options import AsJson, written_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from paceline.costmodel import Calibration
    from paceline.costmodel.calibration import Factors, Kind, Residual
    from paceline.targets import Soc

EPILOG = """\
Examples:
  $ paceline calibrate bundles/smollm2 bundles/qwen-int8 bundles/qwen-int4 -o calibration.json
  $ paceline plan bundles/another --roofline --calibration calibration.json
  $ paceline whatif --soc rpi5 --target qwen2.5-3b --calibration calibration.json
"""
_KINDS: dict[Kind, str] = {
    "fitted": "the measurements themselves",
    "widths": "widths that were left out of the fit",
    "models": "models that were left out of the fit",
}


def page(
    bundles: Annotated[list[Path], typer.Argument(metavar="BUNDLE...", help="Bundles with a profile.json.")],
    output: Annotated[Path, written_file("Where to write the calibration.", "--output", "-o")] = Path(
        "calibration.json"
    ),
    as_json: AsJson = False,
) -> None:
    """Fit a roofline to measured passes of one machine, and say how well it predicts passes that it did not see.

    The more models and precisions, the better: bandwidth, launches and attention are told apart by models of different
    size, arithmetic by widths.
    """
    from paceline.documents import write_json
    from paceline.partition import read_bundle
    from paceline.partition.bundle import check_output
    from paceline.partition.samples import calibrate_bundles

    folders = [as_folder(bundle) for bundle in bundles]
    compiled = {folder: read_bundle(folder) for folder in folders}
    for folder, bundle in compiled.items():
        check_output(output, folder, bundle)
    with console.progress(enabled=not as_json) as report:
        calibration = calibrate_bundles(folders, report=report)
    write_json(output, calibration)
    if as_json:
        console.print_json(calibration)
    else:
        _show(calibration, compiled[folders[0]].soc, output)


def _show(calibration: Calibration, soc: Soc, output: Path) -> None:
    from paceline.costmodel.traced import on_gpu

    machine = calibration.machine
    print(f"{calibration.soc} on {machine.cpu}, {machine.cores} cores: {len(calibration.residuals)} measured passes")
    rows = [row for factors in calibration.factors for row in _factors(factors, soc, machine.cache_bytes)]
    console.print_table("What passes get", ("programs", "figure", "fitted", "SoC file", "share"), rows)
    if not machine.cache_bytes and not all(on_gpu(factors.program) for factors in calibration.factors):
        print("the profiles do not say how large the CPU's last cache is: all bytes count as read from memory")
    print("predicted over measured, less 1, in %: with little in the caches / with full ones")
    for model in dict.fromkeys(residual.model for residual in calibration.residuals):
        console.print_table(model, *_errors([r for r in calibration.residuals if r.model == model]))
    console.print_table("Absolute errors", ("predicting", "passes", "median", "90 % below"), _summary(calibration))
    if "models" not in calibration.errors:
        print("one model at each precision: nothing is known about the error on other models")
    print(f"wrote {output}; next: paceline plan BUNDLE --roofline --calibration {output}")


def _summary(calibration: Calibration) -> list[tuple[str, ...]]:
    from paceline.costmodel.fitting import errors_of

    found = [(_KINDS[kind], errors) for kind, errors in calibration.errors.items()]
    for model in dict.fromkeys(residual.model for residual in calibration.residuals):
        alone = errors_of([residual for residual in calibration.residuals if residual.model == model], "models")
        found += [(f"  {model}", alone)] if alone else []
    return [
        (what, str(errors.passes), f"{100 * errors.median:.1f} %", f"{100 * errors.percentile_90:.1f} %")
        for what, errors in found
    ]


def _factors(factors: Factors, soc: Soc, cache: int) -> Iterator[tuple[str, ...]]:
    from paceline.costmodel.roofline import multiplied_as

    unit = soc.unit(factors.unit)
    assert unit is not None
    traced = "kernels" if factors.program == "kernels" else "traced"
    label, part = f"{factors.unit} x{factors.cores}, {traced}", factors.cores / unit.cores
    yield _figure(label, "bandwidth", unit.bandwidth.value, factors.bandwidth, 1e9, "GB/s")
    if factors.cached and factors.there:
        faster = f"{unit.bandwidth.value * factors.bandwidth * factors.cached / 1e9:.3g} GB/s"
        name = f"out of {cache * factors.there / 2**20:.3g} MiB of cache"
        yield label, name, faster if factors.cached > 1.0 else "nothing found", "", ""
    if factors.attention:
        yield _figure(label, "attention in f32", unit.peak["f32"].value * part, factors.attention, 1e9, "Gop/s")
    if factors.attention_in_bytes:
        peak = unit.peak["f32"].value * part
        yield _figure(label, "attention over bytes", peak, factors.attention_in_bytes, 1e9, "Gop/s")
    if factors.logits:
        yield _figure(label, "logits", unit.bandwidth.value, factors.logits, 1e9, "GB/s")
    if factors.activations:
        yield _figure(label, "activations", unit.bandwidth.value, factors.activations, 1e9, "GB/s")
    yield _figure(label, "launch", unit.launch.value, factors.launch, 1e-6, "us")
    if factors.call:
        yield label, "call of a pass", f"{unit.launch.value * factors.call / 1e-6:.3g} us", "", ""
    if factors.wide:
        yield label, "products of wide passes", f"{factors.wide:.2f} times as fast", "", ""
    for precision, multiplying in factors.precisions.items():
        peak = unit.peak[multiplied_as(precision, unit, factors.program)].value * part
        yield _figure(label, f"products in {precision}", peak, multiplying.peak, 1e9, "Gop/s")
        yield label, f"overlap p in {precision}", f"{multiplying.exponent:.1f}", "", ""


def _figure(label: str, name: str, value: float, share: float, scale: float, symbol: str) -> tuple[str, ...]:
    return label, name, f"{value * share / scale:.3g} {symbol}", f"{value / scale:.3g} {symbol}", f"{share:.2f}"


def _errors(residuals: Sequence[Residual]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Columns and rows of one model: a row for each program, a column for each width."""
    widths = sorted({residual.width for residual in residuals})
    cells: dict[str, dict[int, list[Residual]]] = {}
    for residual in residuals:
        cells.setdefault(_program(residual), {}).setdefault(residual.width, []).append(residual)
    rows = [(program, *(_cell(found.get(width, [])) for width in widths)) for program, found in cells.items()]
    return ("width", *map(str, widths)), rows


def _program(residual: Residual) -> str:
    traced = "" if residual.program == "kernels" else " traced"
    return f"{residual.precision} {residual.unit} x{residual.cores}{traced}"


def _cell(residuals: Sequence[Residual]) -> str:
    at: dict[int, list[float]] = {}
    for residual in residuals:
        at.setdefault(residual.position, []).append(residual.error("fitted") or 0.0)
    ends = sorted(at)[:: max(1, len(at) - 1)]
    return "/".join(f"{100 * sum(at[position]) / len(at[position]):+.0f}" for position in ends)
