"""``paceline whatif``: what models would do on a SoC, without compiling and without weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from paceline import console
from paceline.commands.plotting import Chart, Plot, check_options, plot_sweep, plot_what_if

if TYPE_CHECKING:
    from paceline.costmodel import AcceptanceFile
    from paceline.targets import Soc

EPILOG = """\
Examples:
  $ paceline whatif --soc imx95 --target llama-3.2-3b --drafter llama-3.2-1b --alpha 0.9
  $ paceline whatif --soc rpi5 --target qwen2.5-3b --drafter qwen2.5-0.5b --precision int4 --cores 1..4
  $ paceline whatif --soc rk3588 --target qwen3-4b --override cpu.bandwidth=12e9 --override gpu.launch=20e-6
  $ paceline whatif --soc imx95 --target llama-3.2-3b --drafter llama-3.2-1b \\
      --sweep alpha=0.1:0.95:0.05 --sweep bandwidth=5e9:30e9:1e9 --csv sweep.csv
"""
_MODEL = "A known model, a hub id of one, a model package, a config.json or a .gguf file."


def page(
    soc: Annotated[str, typer.Option(metavar="NAME", help="A SoC ('paceline targets' lists them), or a TOML file.")],
    target: Annotated[str, typer.Option(metavar="MODEL", help=_MODEL)],
    drafter: Annotated[str, typer.Option(metavar="MODEL", help="Another one; without it nothing drafts.")] = "",
    alpha: Annotated[
        float | None, typer.Option(help="Share of drafts that the target keeps; 0.58 where nothing says otherwise.")
    ] = None,
    acceptance: Annotated[Path | None, typer.Option(help="An acceptance.json that was measured.")] = None,
    precision: Annotated[
        list[str] | None,
        typer.Option(
            metavar="P", help="int8, or target=int8,drafter=int4; may be repeated. int8 and int4 unless said."
        ),
    ] = None,
    cores: Annotated[str, typer.Option(metavar="N", help="Cores of the CPU to try: 1..6, or 1,2,4; all at once.")] = "",
    context: Annotated[int | None, typer.Option(metavar="N", help="Tokens that the caches hold; 512.")] = None,
    override: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Another figure, as cpu.bandwidth=12e9; may be repeated."),
    ] = None,
    memory: Annotated[
        float | None,
        typer.Option(min=0, max=1 << 20, metavar="GIB", help="Memory to stay within (default: the SoC's)."),
    ] = None,
    calibration: Annotated[
        Path | None, typer.Option(metavar="FILE", help="What 'paceline calibrate' made of profiles of this SoC.")
    ] = None,
    max_draft_length: Annotated[int, typer.Option(min=0, max=64, help="Longest draft to consider.")] = 8,
    sweep: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=RANGE", help="alpha, context or a figure, as alpha=0.1:0.9:0.1 or =1,2; may be repeated."
        ),
    ] = None,
    all_lengths: Annotated[bool, typer.Option("--all", help="List every draft length of every configuration.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    csv: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write every row, or every point.")] = None,
    plot: Plot = None,
    chart: Chart = None,
) -> None:
    """Predict every mapping, core count, precision and draft length of two models on a SoC, best first.

    Nothing is compiled and no weights are needed. Times come from a roofline over the SoC file, or from a calibration
    of it. With --sweep, print what is best at every point instead.
    """
    from paceline.commands import whatif_options as read
    from paceline.commands import whatif_report as report
    from paceline.costmodel import read_calibration
    from paceline.files import check_place
    from paceline.models import model_named
    from paceline.partition.axis import read_axis
    from paceline.partition.break_even import break_even
    from paceline.partition.figures import with_figures
    from paceline.partition.sweep import sweep as swept
    from paceline.partition.synthetic import Question
    from paceline.partition.whatif import what_if

    axes = [read_axis(text) for text in sweep or ()]
    check_options(plot, chart, axes=axes, beside=csv)
    if csv is not None:
        check_place(csv)
    target_spec, drafter_spec = model_named(target), model_named(drafter) if drafter else None
    board = _soc(soc)
    overrides = read.read_overrides(board, override or ())
    read.check_sweep_options(axes, board, alpha=alpha, context=context, overrides=overrides, all_lengths=all_lengths)
    question = Question(
        soc=with_figures(board, overrides),
        target=target_spec,
        drafter=drafter_spec,
        precisions=read.read_pairs(
            precision or ["int8", "target=int8,drafter=int4", "int4"], drafts=drafter_spec is not None
        ),
        cpu_cores=read.read_cores(cores),
        context=context,
        alpha=alpha,
        acceptance=_read(acceptance),
        max_draft_length=max_draft_length,
        memory_bytes=None if memory is None else int(memory * (1 << 30)),
        calibration=read_calibration(calibration, soc=board.name) if calibration else None,
    )
    if axes:
        found = swept(question, axes)
        report.write_points(csv, found)
        if plot is not None:
            plot_sweep(plot, question, found)
        report.points_json(question, found) if as_json else report.show_points(question, found)
        return
    answer = what_if(question)
    inverse = break_even(question, answer.rows)
    report.write_rows(csv, answer)
    if plot is not None:
        plot_what_if(plot, chart, question, answer)
    if as_json:
        console.print_json({"what_if": answer, "break_even": inverse})
    else:
        report.show(question, answer, inverse, all_lengths=all_lengths)


def _soc(name: str) -> Soc:
    from paceline.targets import load_soc
    from paceline.targets.host import HOST

    gpu = ""
    if name == HOST:
        from paceline.runtime.vulkan_driver import select_driver

        driver = select_driver()
        gpu = driver.name if driver else ""
    return load_soc(name, gpu=gpu)


def _read(path: Path | None) -> AcceptanceFile | None:
    from paceline.costmodel import read_acceptance

    return None if path is None else read_acceptance(path)
