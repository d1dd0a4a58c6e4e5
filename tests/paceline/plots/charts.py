"""Charts of every kind, easy and hard ones, and what is drawn in them."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from paceline.costmodel import Round, paper_speedup
from paceline.plots.decision import Costs, Mark, decision_chart, paper_costs
from paceline.plots.roofline import Pass, Unit, roofline_chart
from paceline.plots.speedup import Choice, Curve, Points, speedup_chart
from paceline.plots.sweep import Axis, Outcome, sweep_chart
from paceline.plots.timeline import timeline_chart

LONG = "target int8 on cpu x6, drafter int8 on gpu x1, of a model with a name that does not end "
LENGTHS = tuple(range(1, 9))


def curve(label: str, *, alpha: float = 0.8, c: float = 0.3) -> Curve:
    return Curve(label=label, lengths=LENGTHS, speedups=[paper_speedup(alpha, length, c) for length in LENGTHS])


def measured(of: Curve) -> Points:
    around = ([s * share for s in of.speedups] for share in (1.02, 0.95, 1.1))
    return Points(label=of.label, lengths=of.lengths, speedups=next(around), low=next(around), high=next(around))


def costs(length: int = 4, *, host: float = 0.75e-3, scale: float = 1.0) -> Round:
    return Round(
        draft_length=length,
        tokens=1.0 + 0.6 * length,
        draft=5.95e-3 * length * scale,
        catch_up=1.1e-3 * scale if length else 0.0,
        verify=18.3e-3 * scale,
        host=host * scale,
        plain=15.4e-3 * scale,
    )


def unit(label: str, *, intensities: int = 6, times: float | None = 1.5, dtypes: int = 2) -> Unit:
    """Passes of two models whose points lie close together, on a unit of 25.6 GB/s and up to 346 Gop/s."""
    peaks = {"int8": 346e9, "f32": 86.4e9}
    passes = []
    for share in (1.0, 0.97):
        widths = [1 << k for k in range(intensities)]
        seconds = [max(1e9 / 25.6e9, 2e9 * share * width / 346e9) + 1e-3 for width in widths]
        passes.append(
            [
                Pass(width=w, operations=2e9 * share * w, bytes=1e9, seconds=s, measured=s * times if times else None)
                for w, s in zip(widths, seconds, strict=True)
            ]
        )
    shown = dict(itertools.islice(peaks.items(), dtypes))
    return Unit(label=label, bandwidth=25.6e9, peaks=shown, models={"target (int8)": passes[0], "drafter": passes[1]})


def outcome(label: str, *shape: int, seed: int = 0) -> Outcome:
    random = np.random.default_rng(seed)
    return Outcome(
        label=label, speedups=random.uniform(0.7, 2.0, shape), lengths=random.integers(0, 9, shape).astype(np.float64)
    )


ALPHA = Axis(name="alpha", values=np.round(np.arange(0.1, 0.96, 0.05), 2).tolist())
BANDWIDTH = Axis(name="bandwidth (B/s)", values=np.geomspace(1e9, 1e12, 13).tolist())
WORDS = Axis(name="precision", values=[f"unit.key{i}=some" for i in range(15)])
NOTHING = Outcome(label="none", speedups=np.full((13, 18), np.nan), lengths=np.full((13, 18), np.nan))

CHARTS: dict[str, Callable[[], Figure]] = {
    "one curve": lambda: speedup_chart([curve("drafter on gpu")]),
    "many curves": lambda: speedup_chart(
        [curve(f"{LONG}{i}", c=0.1 + 0.03 * i) for i in range(24)],
        [measured(curve(f"{LONG}{i}")) for i in range(24)],
        chosen=Choice(label="chosen: " + LONG, length=4, speedup=1.7),
        title=LONG * 3,
        subtitle=LONG * 4,
    ),
    "only plain decoding": lambda: speedup_chart(
        [Curve(label="cpu", lengths=(0,), speedups=(1.0,)), Curve(label="gpu", lengths=(0,), speedups=(0.01,))],
        chosen=Choice(label="chosen: no speculation", length=0, speedup=1.0),
    ),
    "huge and tiny": lambda: speedup_chart(
        [
            Curve(label="$huge_{x}$ for $5", lengths=range(1, 65), speedups=[1e5 * g for g in range(1, 65)]),
            Curve(label="_tiny \u6771 \n\t", lengths=LENGTHS, speedups=[1e-7] * 8),
        ]
    ),
    "map of Eq. 1": lambda: decision_chart(paper_costs(8), marks=[Mark(label="gpu", c=0.41, alpha=0.58)]),
    "map, many marks": lambda: decision_chart(
        Costs(verify=(1, 1.3, 1.55, 1.6, 2.5, 2.5, 2.5, 2.5, 4.8), catch_up=0.3, source=LONG),
        marks=[Mark(label=f"{LONG}{i}", c=0.3 * i, alpha=0.1 * i) for i in range(11)],
    ),
    "map, never": lambda: decision_chart(Costs(verify=(1, 5, 9))),
    "map, long drafts": lambda: decision_chart(paper_costs(64), marks=[Mark(label="far", c=1e9, alpha=1.0)]),
    "map, no drafts": lambda: decision_chart(paper_costs(0)),
    "roofs of two units": lambda: roofline_chart([unit("cpu x6"), unit(LONG, times=None)], subtitle=LONG),
    "roofs, close dtypes": lambda: roofline_chart(
        [Unit(label="cpu", bandwidth=1e12, peaks={"f32": 1e9, "int8": 1.05e9}, models={}), unit("gpu", intensities=11)]
    ),
    "roof of one unit": lambda: roofline_chart([unit("cpu x6", dtypes=1)]),
    "round": lambda: timeline_chart(costs(), target="cpu x2", drafter="gpu x1", title=LONG, subtitle=LONG),
    "round on one unit": lambda: timeline_chart(costs(scale=500), target=LONG, drafter=LONG),
    "round, short": lambda: timeline_chart(costs(64, scale=1e-3), target="cpu x2", drafter="gpu x1"),
    "round of prompt lookup": lambda: timeline_chart(costs(5), target="cpu x2"),
    "wide letters": lambda: timeline_chart(costs(), target="WWW", title="MW" * 99, subtitle="MW" * 99),
    "plain round": lambda: timeline_chart(costs(0, host=0.0), target="cpu x2"),
    "sweep": lambda: sweep_chart([ALPHA], [outcome(f"{LONG}{i}", 18, seed=i) for i in range(9)], subtitle=LONG),
    "sweep of words": lambda: sweep_chart([WORDS], [outcome("best", 15)]),
    "sweep of two": lambda: sweep_chart([BANDWIDTH, ALPHA], [outcome("best", 13, 18)]),
    "sweep of two, words": lambda: sweep_chart([WORDS, ALPHA], [outcome("best", 15, 18)], title=LONG, subtitle=LONG),
    "sweep, nothing runs": lambda: sweep_chart([BANDWIDTH, ALPHA], [NOTHING]),
    "sweep of 10,000": lambda: sweep_chart(
        [Axis(name=name, values=np.linspace(0.01, 0.99, 100).tolist()) for name in "ca"], [outcome("best", 100, 100)]
    ),
}


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for box in figure.legends for text in box.get_texts()]


def said(figure: Figure) -> str:
    """Title and subtitle."""
    return " ".join(text.get_text() for text in figure.texts)


def corners_of(line: Line2D) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in np.asarray(line.get_xydata()).tolist()]


def points(axes: Axes, colour: str | None = None) -> set[tuple[float, float]]:
    """Where the lines of a colour, or all, have marks or corners."""
    return {point for line in axes.lines if colour in (None, line.get_color()) for point in corners_of(line)}
