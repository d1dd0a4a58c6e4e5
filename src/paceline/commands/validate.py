"""``paceline validate``: what the cost model predicts, run and held against it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from paceline import console
from paceline.commands.generating import as_folder
from paceline.commands.options import AsJson, BundleFolder, Limit, Tokens, written_file
from paceline.commands.plotting import Plot, check_options, plot_validation
from paceline.errors import PacelineError, UsageError

if TYPE_CHECKING:
    from paceline.runtime.validation import Compared, Validation

EPILOG = """\
Example:
  $ paceline validate bundles/smollm2 --prompts prompts.jsonl --limit 4
"""
_COLUMNS = (
    "target",
    "drafter",
    "ahead",
    "overlap",
    "predicted ms",
    "measured ms",
    "error",
    "x plain",
    "tokens a round",
    "",
)

_Prompts = Annotated[
    Path | None, typer.Option(help="Prompts to run: JSON lines, or one a line (default: six built-in ones).")
]
_Repeats = Annotated[int, typer.Option(min=1, help="How often each case runs after each prompt.")]
_DraftLengths = Annotated[
    str, typer.Option(help="Draft lengths to run, separated by commas (default: all that a plan may choose).")
]
_Units = Annotated[list[str] | None, typer.Option("--unit", help="Unit to use; repeat it for several (default: all).")]
_Pin = Annotated[str | None, typer.Option(help="Run the models on these cores too, e.g. drafter=0,target=1; or auto.")]
_Margin = Annotated[float, typer.Option(min=0, help="As for 'paceline plan'.")]
_Output = Annotated[Path | None, written_file("Write the result to this file too.", "--output", "-o")]


def page(
    bundle: BundleFolder,
    prompts: _Prompts = None,
    limit: Limit = None,
    tokens: Tokens = 48,
    repeats: _Repeats = 3,
    draft_lengths: _DraftLengths = "",
    units: _Units = None,
    pin: _Pin = None,
    margin: _Margin = 0.02,
    output: _Output = None,
    plot: Plot = None,
    as_json: AsJson = False,
) -> None:
    """Run every mapping and draft length that can run here, and compare seconds a token with the prediction.

    Passes and host time are measured anew, in turns with the cases, and no case is looked at for its own prediction.
    The decision is what 'paceline plan' would make of these predictions. It then runs against the best of the
    three cases that were measured quickest besides; regret is what it lost to that one there.
    """
    from paceline.partition import read_bundle
    from paceline.partition.bundle import check_output
    from paceline.runtime.local_task import usable_core_numbers
    from paceline.runtime.prompts import BUILT_IN, read_prompts
    from paceline.runtime.validate import validate
    from paceline.targets.pins import parse_pins

    check_options(plot, beside=output)
    lengths = _lengths(draft_lengths)
    bundle = as_folder(bundle)
    compiled = read_bundle(bundle)
    if output is not None:
        check_output(output, bundle, compiled)
    chosen = (read_prompts(prompts) if prompts else BUILT_IN)[:limit]
    with console.progress(enabled=not as_json) as report:
        found = validate(
            bundle,
            compiled,
            prompts=chosen,
            tokens=tokens,
            repeats=repeats,
            draft_lengths=lengths,
            units=units or (),
            pins=None if pin is None else parse_pins(pin, compiled.soc, usable_core_numbers()),
            margin=margin,
            report=report,
        )
    try:
        _write(found, output, plot)
    finally:  # what took minutes is shown, even where it cannot be written
        console.print_json(found) if as_json else _show(found)
    _complain(found, len(chosen) - found.prompts)


def _write(found: Validation, output: Path | None, plot: Path | None) -> None:
    from paceline.documents import write_json

    if output is not None:
        write_json(output, found)
    if plot is not None:
        plot_validation(plot, found)


def _complain(found: Validation, skipped: int) -> None:
    if skipped:
        console.note(f"{skipped} prompts are longer than the context and were left out")
    if found.strange:
        raise PacelineError(f"{found.strange} speculative texts differ from the plain ones; please report this")


def _lengths(text: str) -> tuple[int, ...]:
    try:
        return tuple(sorted(set(map(int, text.split(","))))) if text else ()
    except ValueError:
        raise UsageError(f"cannot read the draft lengths {text!r}; expected for example 1,2,4") from None


def _show(found: Validation) -> None:
    plain = min(row.measured for row in found.rows if not row.draft_length)
    rows = [_row(row, plain, _mark(found, number)) for number, row in enumerate(found.rows)]
    console.print_table("Milliseconds a token, best predicted first", _COLUMNS, rows)
    for entry in found.rejected:
        print(f"not run: {entry.mapping}: {entry.reason}")
    print(
        f"{found.prompts} prompts x {found.tokens} tokens x {found.repeats}; error of the prediction:"
        f" median {found.median_error:.1%}, 90th percentile {found.ninetieth_error:.1%}"
    )
    if found.noise is not None:
        print(f"what was measured is sure to {found.noise:.1%} (median standard error)")
    print(_decision(found))


def _decision(found: Validation) -> str:
    said, rival = f"decision: {_named(found.rows[found.chosen])}", found.rival
    if rival is None:
        return f"{said}; nothing else can run"
    against = f"{_named(found.rows[rival.row])}: {rival.speedup:.3f} +- {rival.standard_error:.3f} times as quick"
    verdict = f"regret {found.regret:.1%} +- {rival.standard_error:.1%}" if found.regret else "the best"
    return f"{said}; {verdict}\nin {rival.turns} turns against it, {against}"


def _named(row: Compared) -> str:
    if not row.draft_length:
        return f"{row.mapping}, plain"
    return f"{row.mapping}, drafting {row.draft_length} ahead{' while the target verifies' if row.overlap else ''}"


def _mark(found: Validation, number: int) -> str:
    marks = {found.chosen: "chosen", found.best: "best"}
    return "chosen, best" if found.chosen == found.best == number else marks.get(number, "")


def _row(row: Compared, plain: float, mark: str) -> tuple[str, ...]:
    return (
        row.mapping.target,
        row.mapping.drafter or "none",
        str(row.draft_length),
        "yes" if row.overlap else "",
        f"{row.predicted * 1e3:.3f}",
        f"{row.measured * 1e3:.3f}",
        f"{row.error:+.1%}",
        f"{plain / row.measured:.2f}",
        f"{row.tokens_per_round:.2f}",
        mark,
    )
