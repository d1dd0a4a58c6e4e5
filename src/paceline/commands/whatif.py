"""``paceline whatif``: what models would do on a SoC, without compiling and without weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from paceline import console
from paceline.commands.options import (
    AsJson,
    DraftVocabulary,
    MaxDraftLength,
    MemoryGib,
    SocName,
    in_bytes,
    written_file,
)
from paceline.commands.plotting import Chart, ChartName, Plot, check_options, plot_sweep, plot_what_if

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paceline.partition.axis import Axis
    from paceline.partition.synthetic import Question
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
_PRECISIONS = ("int8", "target=int8,drafter=int4", "int4")

_Target = Annotated[str, typer.Option(metavar="MODEL", help=_MODEL)]
_Drafter = Annotated[str, typer.Option(metavar="MODEL", help="Another one; without it nothing drafts.")]
_Alpha = Annotated[
    float | None, typer.Option(help="Share of drafts that the target keeps; 0.58 where nothing says otherwise.")
]
_Acceptance = Annotated[Path | None, typer.Option(help="An acceptance.json that was measured.")]
_Precision = Annotated[
    list[str] | None,
    typer.Option(metavar="P", help="int8, or target=int8,drafter=int4; may be repeated. int8 and int4 unless said."),
]
_Cores = Annotated[str, typer.Option(metavar="N", help="Cores of the CPU to try: 1..6, or 1,2,4; all at once.")]
_Context = Annotated[int | None, typer.Option(metavar="N", help="Tokens that the caches hold; 512.")]
_Override = Annotated[
    list[str] | None,
    typer.Option(metavar="KEY=VALUE", help="Another figure, as cpu.bandwidth=12e9; may be repeated."),
]
_Calibration = Annotated[
    Path | None, typer.Option(metavar="FILE", help="What 'paceline calibrate' made of profiles of this SoC.")
]
_Sweep = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KEY=RANGE", help="alpha, context or a figure, as alpha=0.1:0.9:0.1 or =1,2; may be repeated."
    ),
]
_AllLengths = Annotated[bool, typer.Option("--all", help="List every draft length of every configuration.")]
_Csv = Annotated[Path | None, written_file("Also write every row, or every point.")]


def page(
    soc: SocName,
    target: _Target,
    drafter: _Drafter = "",
    draft_vocabulary: DraftVocabulary = None,
    alpha: _Alpha = None,
    acceptance: _Acceptance = None,
    precision: _Precision = None,
    cores: _Cores = "",
    context: _Context = None,
    override: _Override = None,
    memory: MemoryGib = None,
    calibration: _Calibration = None,
    max_draft_length: MaxDraftLength = 8,
    sweep: _Sweep = None,
    all_lengths: _AllLengths = False,
    as_json: AsJson = False,
    csv: _Csv = None,
    plot: Plot = None,
    chart: Chart = None,
) -> None:
    """Predict every mapping, core count, precision and draft length of two models on a SoC, best first.

    Nothing is compiled and no weights are needed. Times come from a roofline over the SoC file, or from a calibration
    of it. With --sweep, print what is best at every point instead.
    """
    from paceline.commands import whatif_options as read
    from paceline.costmodel import check_draft_vocabulary, read_acceptance, read_calibration, whole_head
    from paceline.files import check_place
    from paceline.models import model_named
    from paceline.partition.axis import read_axis
    from paceline.partition.figures import with_figures
    from paceline.partition.synthetic import Question

    axes = [read_axis(text) for text in sweep or ()]
    check_options(plot, chart, axes=axes, beside=csv)
    if csv is not None:
        check_place(csv)
    check_draft_vocabulary(draft_vocabulary, drafts=bool(drafter))
    board = _soc(soc)
    overrides = read.read_overrides(board, override or ())
    read.check_sweep_options(axes, board, alpha=alpha, context=context, overrides=overrides, all_lengths=all_lengths)
    question = Question(
        soc=with_figures(board, overrides),
        target=whole_head(model_named(target)),
        drafter=model_named(drafter) if drafter else None,
        draft_vocabulary=draft_vocabulary,
        precisions=read.read_pairs(precision or _PRECISIONS, drafts=bool(drafter)),
        cpu_cores=read.read_cores(cores),
        context=context,
        alpha=alpha,
        acceptance=read_acceptance(acceptance) if acceptance else None,
        max_draft_length=max_draft_length,
        memory_bytes=in_bytes(memory),
        calibration=read_calibration(calibration, soc=board.name) if calibration else None,
    )
    if axes:
        _answer_at_points(question, axes, csv, plot, as_json=as_json)
    else:
        _answer(question, csv, plot, chart, as_json=as_json, all_lengths=all_lengths)


def _answer_at_points(
    question: Question, axes: Sequence[Axis], csv: Path | None, plot: Path | None, *, as_json: bool
) -> None:
    from paceline.commands import whatif_report as report
    from paceline.partition.sweep import sweep

    found = sweep(question, axes)
    report.write_points(csv, found)
    if plot is not None:
        plot_sweep(plot, question, found)
    report.points_json(question, found) if as_json else report.show_points(question, found)


def _answer(
    question: Question,
    csv: Path | None,
    plot: Path | None,
    chart: ChartName | None,
    *,
    as_json: bool,
    all_lengths: bool,
) -> None:
    from paceline.commands import whatif_report as report
    from paceline.partition.break_even import break_even
    from paceline.partition.whatif import what_if

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
