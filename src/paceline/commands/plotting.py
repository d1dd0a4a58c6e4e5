"""What pages share for ``--plot``: its options, and the charts of a plan, a what-if, a sweep and a validation.

Nothing here imports matplotlib before a chart is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from paceline.commands.options import written_file
from paceline.errors import UsageError

if TYPE_CHECKING:
    from paceline.partition import Alternative, Bundle, Plan
    from paceline.partition.axis import Axis as Swept
    from paceline.partition.candidates import Belief
    from paceline.partition.sweep import Sweep
    from paceline.partition.synthetic import Pair, Question
    from paceline.partition.times import Times
    from paceline.partition.whatif import WhatIf
    from paceline.plots.subject import Row, Subject
    from paceline.plots.sweep import Axis
    from paceline.runtime.validation import Compared, Validation

ChartName = Literal["speedup", "decision", "roofline", "timeline"]
Plot = Annotated[Path | None, written_file("Also draw a chart: a .png or .svg file.", "--plot")]
Chart = Annotated[ChartName | None, typer.Option("--chart", help="What --plot draws; speedup unless said.")]
_UNITS = {"alpha": "share of drafts that are kept", "context": "tokens", "bandwidth": "B/s", "launch": "s"}


def check_options(
    plot: Path | None,
    chart: ChartName | None = None,
    *,
    axes: Sequence[Swept] = (),
    beside: Path | None = None,
) -> None:
    """Refuse before any work what could not be drawn after it.

    Args:
        axes: what is swept; the plot shows that.
        beside: the other file that the page writes.

    Raises:
        UsageError: another suffix, a ``chart`` that nothing would draw, axes that no plot shows, or one file for two.
        OutputError: a folder that does not exist.
        ModuleNotFoundError: matplotlib is not installed.
    """
    if plot is None:
        if chart is not None:
            raise UsageError(f"--chart {chart} says what to draw, and nothing says where; add --plot FILE.png")
        return
    if axes and chart is not None:
        raise UsageError(f"with --sweep the plot shows the sweep; leave --chart {chart} or --sweep")
    from paceline.files import real_place

    if beside is not None and real_place(beside) == real_place(plot):
        raise UsageError(f"{plot} would be written twice, as the plot and as something else; choose another name")
    from paceline.plots.save import check_plot

    check_plot(plot)
    if axes:
        from paceline.plots.sweep import check_axes

        check_axes([_drawn(axis) for axis in axes])


def _drawn(axis: Swept) -> Axis:
    """An axis as a plot has it: values may come in any order, and twice."""
    from paceline.plots.sweep import Axis

    return Axis(name=_axis_name(axis.key), values=sorted(set(axis.values)))


def plot_plan(path: Path, chart: ChartName | None, plan: Plan, *, bundle: Bundle, times: Times, belief: Belief) -> None:
    """Draw a plan and what it turned down; ``belief`` is in drafts of the drafter model."""
    from paceline.plots.subject import Row, Subject

    precision: dict[str, str] = {model.role: model.precision for model in bundle.models}

    def row(entry: Plan | Alternative) -> Row:
        assert entry.estimate is not None
        roles = ("target", "drafter") if entry.mapping.drafter in entry.cores else ("target",)
        return Row(
            mapping=entry.mapping,
            precision={role: precision[role] for role in roles},
            cores=entry.cores,
            draft_length=entry.draft_length,
            overlap=entry.overlap,
            estimate=entry.estimate,
        )

    chosen, losers = row(plan), [row(entry) for entry in plan.rejected if entry.estimate is not None]
    subject = Subject(
        name=f"{bundle.name} on {plan.soc}",
        rows=sorted([chosen, *losers], key=lambda entry: entry.estimate.seconds_per_token),
        chosen=chosen,
        said="chosen",
        bundle=bundle,
        times=times,
        alpha=belief.alpha,
        alpha_source=belief.source,
    )
    _save(path, chart, subject)


def plot_what_if(path: Path, chart: ChartName | None, question: Question, answer: WhatIf) -> None:
    """Draw the rows at the best row's target precision: another one writes another text.

    Charts of a single pair of precisions show that of the best of these rows that drafts.
    """
    from paceline.plots.subject import Row, Subject

    rows = [
        Row(
            mapping=row.mapping,
            precision=row.precision,
            cores=row.cores,
            draft_length=row.draft_length,
            estimate=row.estimate,
        )
        for row in answer.rows
        if row.precision["target"] == answer.rows[0].precision["target"]
    ]
    search = question.search(_pair(question, rows))
    belief = search.beliefs["model"]
    subject = Subject(
        name=f"{_models(question, rows[0].precision['target'])} on {answer.soc}",
        rows=rows,
        chosen=rows[0],
        said="best",
        bundle=search.bundle,
        times=search.times,
        alpha=belief.alpha,
        alpha_source=belief.source,
    )
    _save(path, chart, subject)


def _pair(question: Question, rows: Sequence[Row]) -> Pair:
    """The precisions of the best row that drafts, all rows having the target's in common."""
    target = rows[0].precision["target"]
    drafter = next((row for row in rows if row.drafts_with_a_model), rows[0]).precision.get("drafter")
    fitting = [pair for pair in question.precisions if pair.target == target]
    return next((pair for pair in fitting if pair.drafter == drafter), fitting[0])


def _save(path: Path, chart: ChartName | None, subject: Subject) -> None:
    from paceline.plots.save import save_plot
    from paceline.plots.subject import CHARTS

    save_plot(CHARTS[chart or "speedup"](subject), path)


def _models(question: Question, precision: str = "") -> str:
    target = question.target.name + (f" ({precision})" if precision else "")
    return f"{target} with {question.drafter.name}" if question.drafter else target


def plot_sweep(path: Path, question: Question, found: Sweep) -> None:
    """Draw a sweep of one axis as lines, of two as maps.

    Raises:
        UsageError: it has another number of axes.
    """
    import numpy as np

    from paceline.plots.save import save_plot
    from paceline.plots.sweep import Outcome, sweep_chart

    times = "calibration" if question.calibration else "roofline"
    places = np.ix_(*(np.unique(axis.values, return_index=True)[1] for axis in found.axes))
    lengths = np.array([choice.draft_length for choice in found.choices] + [np.nan])[found.which]
    best = Outcome(
        label="best of all",
        speedups=found.speedup_over_best.reshape(found.shape)[places],
        lengths=lengths.reshape(found.shape)[places],
    )
    drafted = Outcome(
        label="best in which a model drafts",
        speedups=found.drafted_speedup_over_best.reshape(found.shape)[places],
        lengths=np.full_like(best.lengths, np.nan),
    )
    figure = sweep_chart(
        [_drawn(axis) for axis in found.axes],
        [best, drafted] if question.drafter else [best],
        title=f"Sweep: {_models(question)} on {question.soc.name}",
        subtitle=f"the best configuration at each point; times: {times}",
        baseline="best plain decoding of the same target and precision",
    )
    save_plot(figure, path)


def _axis_name(key: str) -> str:
    """A key of a sweep with its unit."""
    unit = "op/s" if "peak" in key else _UNITS.get(key.rpartition(".")[2], "")
    return f"{key} ({unit})" if unit else key


def plot_validation(path: Path, found: Validation) -> None:
    """Draw predicted speed-ups as curves and measured ones as points, each over its own best plain decoding."""
    from paceline.plots.save import save_plot
    from paceline.plots.speedup import Choice, Curve, Points, speedup_chart

    plain = [row for row in found.rows if not row.draft_length]
    predicted, measured = min(row.predicted for row in plain), min(row.measured for row in plain)
    curves, points = [], []
    for label, rows in _ways(found.rows, plain).items():
        lengths = [row.draft_length for row in rows]
        curves.append(Curve(label=label, lengths=lengths, speedups=[predicted / row.predicted for row in rows]))
        points.append(
            Points(
                label=label,
                lengths=lengths,
                speedups=[measured / row.measured for row in rows],
                low=[measured / row.high for row in rows],
                high=[measured / row.low for row in rows],
            )
        )
    chosen = found.rows[found.chosen]
    figure = speedup_chart(
        curves,
        points,
        chosen=Choice(
            label="chosen by the prediction, as measured",
            length=chosen.draft_length,
            speedup=measured / chosen.measured,
        ),
        title=f"Prediction against measurement: {found.bundle}",
        subtitle=f"error of seconds a token: median {found.median_error:.1%}, 90th percentile "
        f"{found.ninetieth_error:.1%}; regret of the decision {found.regret:.1%}",
        baseline="best plain decoding, predicted or measured",
        bars="quickest to slowest repeat",
    )
    save_plot(figure, path)


def _ways(rows: Sequence[Compared], plain: Sequence[Compared]) -> dict[str, list[Compared]]:
    """Rows by where the models run, in order of draft length; plain decoding of its target starts each."""
    found: dict[str, list[Compared]] = {}
    drafting = [row for row in rows if row.draft_length]
    alone = [row for row in plain if row.mapping.target not in {other.mapping.target for other in drafting}]
    for row in (*drafting, *alone):
        drafter = row.mapping.drafter
        who = {None: "plain", "ngram": "prompt lookup"}.get(drafter, f"drafter on {drafter}")
        start = [entry for entry in plain if entry.mapping.target == row.mapping.target and entry is not row]
        found.setdefault(f"target on {row.mapping.target}, {who}", start).append(row)
    return {label: sorted(entries, key=lambda row: row.draft_length) for label, entries in found.items()}
