"""The charts of a plan or a what-if: from its rows, best first, and the times behind them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Mapping as Table
from dataclasses import dataclass
from typing import cast

from matplotlib.figure import Figure

from paceline.costmodel import Role, Round
from paceline.costmodel.roofline import multiplied_as
from paceline.partition import Bundle, Estimate, Mapping
from paceline.partition.plan import NGRAM
from paceline.partition.search import MAX_DRAFT_LENGTH
from paceline.partition.times import MeasuredTimes, RooflineTimes, Times
from paceline.plots import style
from paceline.plots.decision import Costs, Mark, decision_chart
from paceline.plots.roofline import Pass, Unit, roofline_chart
from paceline.plots.speedup import Choice, Curve, speedup_chart
from paceline.plots.timeline import timeline_chart
from paceline.targets import Dtype, ProcessingUnit

_PREDICTED = "a predicted pass lies under the roof by its launches"
_TAUGHT = "a predicted pass lies under the roof by its launches, and by reading that arithmetic does not hide"
_MEASURED = "; a measured one above it says that a figure of the SoC file is too low"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One configuration and what it should cost; ``precision`` is by role, ``cores`` by unit."""

    mapping: Mapping
    precision: Table[str, str]
    cores: Table[str, int]
    draft_length: int
    overlap: bool = False
    estimate: Estimate

    @property
    def target(self) -> tuple[str, int, str]:
        """Unit, cores and precision of the target."""
        unit = self.mapping.target
        return unit, self.cores[unit], self.precision["target"]

    @property
    def drafts_with_a_model(self) -> bool:
        return self.mapping.drafter not in (None, NGRAM)

    def precision_fits(self, precision: Table[str, str]) -> bool:
        """Whether each model that it loads is at ``precision``."""
        return self.precision.items() <= precision.items()

    def on(self, unit: str) -> str:
        """A unit with its cores: ``cpu x2``."""
        return f"{unit} x{self.cores[unit]}"

    def label(self, *, precisions: bool) -> str:
        """Where the models run, and with ``precisions`` in what."""
        drafter, target = self.mapping.drafter, f"target on {self.on(self.mapping.target)}"
        drafting = drafter and ("prompt lookup" if drafter == NGRAM else f"drafter on {self.on(drafter)}")
        dtypes = f" ({'+'.join(self.precision.values())})" if precisions else ""
        return ", ".join(filter(None, (target, drafting))) + dtypes


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What the charts are of.

    Attributes:
        name: of the models and the SoC.
        rows: all configurations that can be at one precision of the target, best first.
        chosen: one of them.
        said: how it was chosen: ``chosen`` or ``best``.
        bundle, times: of the precisions that decision map, roofline and timeline show.
        alpha, alpha_source: what is believed of drafts of a model.
    """

    name: str
    rows: Sequence[Row]
    chosen: Row
    said: str
    bundle: Bundle
    times: Times
    alpha: float
    alpha_source: str

    @property
    def precision(self) -> dict[str, str]:
        """Of the models of ``bundle``, by role."""
        return {model.role: model.precision for model in self.bundle.models}

    @property
    def plain(self) -> Row:
        """The best plain decoding."""
        return next(row for row in self.rows if not row.draft_length)

    def over_plain(self, row: Row) -> float:
        """Speed-up of a row over ``plain``."""
        return self.plain.estimate.seconds_per_token / row.estimate.seconds_per_token

    @property
    def source(self) -> str:
        """Where times come from, and alpha if anything drafts."""
        alpha = f"alpha {self.alpha:.2f} ({self.alpha_source}); " if any(row.draft_length for row in self.rows) else ""
        return f"{alpha}times: {self.times.source}"


def draw_speedup(subject: Subject) -> Figure:
    """A curve for every mapping, core count and precision; at 0 it is plain decoding of its target."""
    chosen = subject.chosen
    ahead = f"drafting {chosen.draft_length} ahead" if chosen.draft_length else "no speculation"
    return speedup_chart(
        _curves(subject),
        chosen=Choice(label=f"{subject.said}: {ahead}", length=chosen.draft_length, speedup=subject.over_plain(chosen)),
        title=f"Speed-up against draft length: {subject.name}",
        subtitle=subject.source,
        baseline=f"best plain decoding ({subject.plain.on(subject.plain.mapping.target)}, {subject.plain.target[2]})",
    )


def _curves(subject: Subject) -> list[Curve]:
    """The chosen one first, then best first; plain decoding of a target that nothing drafts for is a point."""
    several = len({tuple(row.precision.values()) for row in subject.rows if row.drafts_with_a_model}) > 1
    plain = {row.target: row for row in subject.rows if not row.draft_length}
    drafting = [row for row in (subject.chosen, *subject.rows) if row.draft_length]
    alone = [row for target, row in plain.items() if target not in {row.target for row in drafting}]
    found: dict[str, dict[int, float]] = {}
    for row in (*drafting, *alone):
        curve = found.setdefault(row.label(precisions=several), {})
        for point in (row, plain.get(row.target, row)):
            curve[point.draft_length] = subject.over_plain(point)
    return [
        Curve(label=label, lengths=sorted(curve), speedups=[curve[length] for length in sorted(curve)])
        for label, curve in found.items()
    ]


def draw_decision(subject: Subject) -> Figure:
    """The map for the target where it was chosen to run, with every drafter that goes with it there."""
    times = subject.times
    unit, cores, precision = subject.chosen.target
    host = times.host_seconds("none", 0)
    plain = (times.seconds("target", unit, 1, cores) or 0.0) + host
    beside, verify = _drafters(subject), [1.0]
    longest = max(row.draft_length for row in subject.rows) or MAX_DRAFT_LENGTH
    for length in range(1, longest + 1):
        seconds = times.seconds("target", unit, length + 1, cores)
        if seconds is None:
            break
        slower = times.in_turns(unit, beside[0].unit, length).target if beside else 1.0
        verify.append((slower * seconds + times.host_seconds("model", length)) / plain)
    shares = ", ".join(f"{share:.2f}" for share in verify[1:]) or "no draft"
    return decision_chart(
        Costs(
            verify=verify,
            catch_up=beside[0].two / beside[0].one - 1.0 if beside else 0.0,
            source=f"v(1), v(2), ... of the target on {unit} x{cores} ({precision}): {shares}",
        ),
        marks=[Mark(label=drafter.label, c=drafter.one / plain, alpha=subject.alpha) for drafter in beside],
        title=f"How far ahead to draft: {subject.name}",
        subtitle=subject.source,
    )


@dataclass(frozen=True, slots=True)
class _Drafter:
    """A drafter on ``unit``, and seconds of its passes of width 1 and 2 in rounds."""

    label: str
    unit: str
    one: float
    two: float


def _drafters(subject: Subject) -> list[_Drafter]:
    """Where the drafter can run beside the target as it was chosen, best first."""
    found: dict[str, _Drafter] = {}
    for row in subject.rows:
        if row.drafts_with_a_model and row.target == subject.chosen.target and row.precision_fits(subject.precision):
            label, one, two = row.label(precisions=False), *(_draft(row, subject.times, width) for width in (1, 2))
            if one is not None:
                found.setdefault(label, _Drafter(label, str(row.mapping.drafter), one, two or one))
    return list(found.values())


def _draft(row: Row, times: Times, width: int) -> float | None:
    """Seconds of the drafter's passes of ``width`` in rounds; None where that is not known."""
    unit = str(row.mapping.drafter)
    seconds = times.seconds("drafter", unit, width, row.cores[unit])
    return None if seconds is None else times.in_turns(row.mapping.target, unit, row.draft_length).drafter * seconds


def draw_roofline(subject: Subject) -> Figure:
    """Every unit with all of its cores, and the passes of what was compiled for it."""
    units = [_unit(subject, unit) for unit in subject.bundle.soc.units]
    taught = subject.times.source == "calibration"
    return roofline_chart(
        [unit for unit in units if unit.models],
        title=f"Roofline: {subject.name}",
        subtitle=_TAUGHT if taught else _PREDICTED + (_MEASURED if isinstance(subject.times, MeasuredTimes) else ""),
        by="the calibration" if taught else "the figures of the SoC file",
    )


def _unit(subject: Subject, unit: ProcessingUnit) -> Unit:
    cores = max(subject.times.cores(unit.name), default=unit.cores)
    predicted = _predicted(subject)
    widest = max(subject.bundle.widths)  # whose products get the most of a GPU
    models, peaks, bandwidth = dict[str, list[Pass]](), dict[str, float](), unit.bandwidth.value
    for model in (model for model in subject.bundle.models if unit.name in model.programs):
        if (shares := predicted.shares(model.role, unit.name, cores, widest)) is None:
            continue
        label = f"{model.role} {model.spec.name} ({model.precision})"
        models[label] = _passes(subject, model.role, unit.name, cores)
        dtype = multiplied_as(cast(Dtype, model.precision), unit, predicted.program(model.role, unit.name))
        peaks[dtype] = unit.peak[dtype].value * shares.peak * cores / unit.cores
        bandwidth = unit.bandwidth.value * shares.bandwidth
    return Unit(label=f"{unit.name} x{cores}: {unit.description}", bandwidth=bandwidth, peaks=peaks, models=models)


def _predicted(subject: Subject) -> RooflineTimes:
    return subject.times if isinstance(subject.times, RooflineTimes) else RooflineTimes(subject.bundle)


def _passes(subject: Subject, role: Role, unit: str, cores: int) -> list[Pass]:
    times, predicted, passes = subject.times, _predicted(subject), list[Pass]()
    for width in subject.bundle.widths:
        work = predicted.work(role, unit, width)
        measured = times.seconds(role, unit, width, cores) if isinstance(times, MeasuredTimes) else None
        seconds = predicted.estimate(role, unit, width, cores).seconds
        passes.append(
            Pass(width=width, operations=work.operations, bytes=work.bytes, seconds=seconds, measured=measured)
        )
    return passes


def draw_timeline(subject: Subject) -> Figure:
    """A round of what was chosen; where that is plain decoding, of the best that drafts, for comparison."""
    drafting = [row for row in subject.rows if row.draft_length and row.precision_fits(subject.precision)]
    row = subject.chosen if subject.chosen.draft_length or not drafting else drafting[0]
    drafter = row.mapping.drafter
    notes = [row.label(precisions=False)]
    if row.draft_length:
        notes += [f"drafting {row.draft_length} ahead", f"{style.times(row.estimate.speedup)} plain decoding there"]
    if row is not subject.chosen:
        notes.append(f"no speculation is {subject.said}")
    return timeline_chart(
        _round(row, subject.times),
        target=row.on(row.mapping.target),
        drafter=row.on(drafter) if drafter and drafter != NGRAM else None,
        title=subject.name,
        subtitle="; ".join((*notes, subject.source if row.drafts_with_a_model else f"times: {subject.times.source}")),
    )


def _round(row: Row, times: Times) -> Round:
    """The round behind an estimate, whose draft and catch-up passes are one figure; beside a target there are none."""
    cost, draft = row.estimate, row.estimate.draft
    if row.drafts_with_a_model and not row.overlap:
        draft = row.draft_length * (_draft(row, times, 1) or 0.0)
    return Round(
        draft_length=row.draft_length,
        tokens=cost.tokens_per_round,
        draft=draft,
        catch_up=cost.draft - draft,
        verify=cost.verify,
        host=cost.host,
        plain=cost.speedup * cost.seconds_per_token,
    )


CHARTS: dict[str, Callable[[Subject], Figure]] = {
    "speedup": draw_speedup,
    "decision": draw_decision,
    "roofline": draw_roofline,
    "timeline": draw_timeline,
}
