"""Speed-up against draft length: what was predicted as curves, what was measured as points with bars."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MultipleLocator

from paceline.plots import style

_Entry = tuple[Artist | tuple[Artist, ...], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """Predicted speed-ups of one mapping: ``speedups[i]`` at draft length ``lengths[i]``, 0 being plain decoding."""

    label: str
    lengths: Sequence[int]
    speedups: Sequence[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Points:
    """Measured speed-ups of one mapping, with bars from ``low`` to ``high``; coloured as the curve of that label."""

    label: str
    lengths: Sequence[int]
    speedups: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The point that was chosen."""

    label: str
    length: int
    speedup: float


def speedup_chart(
    curves: Sequence[Curve],
    points: Sequence[Points] = (),
    *,
    chosen: Choice | None = None,
    title: str = "Speed-up against draft length",
    subtitle: str = "",
    baseline: str = "best plain decoding",
    bars: str = "25th to 75th percentile",
) -> Figure:
    """Draw curves and points; the first ``style.STYLES`` labels get a colour of their own, the others are grey.

    Args:
        curves: the most interesting one first.
        baseline: what a speed-up of 1 is.
        bars: what the bars of ``points`` span.
    """
    figure = style.new_figure(title, subtitle)
    axes = figure.add_subplot()
    style.dress(axes, x="draft length (tokens drafted a round; 0: plain decoding)", y="speed-up")
    labels = list(dict.fromkeys([curve.label for curve in curves] + [series.label for series in points]))
    looks = {label: style.look(index) for index, label in enumerate(labels[: style.STYLES])}
    entries = _draw_curves(axes, curves, looks) + _draw_points(axes, points, looks, bars)
    line = axes.axhline(1.0, color=style.INK, linewidth=1.2, zorder=1.5)
    entries.append((line, f"1x: {baseline}"))
    if chosen is not None:
        entries.append((_draw_choice(axes, chosen), f"{chosen.label}: {style.times(chosen.speedup)}"))
    _scale(axes, curves, points, chosen)
    style.legend_below(figure, entries)
    return figure


def _draw_curves(axes: Axes, curves: Sequence[Curve], looks: dict[str, style.Look]) -> list[_Entry]:
    entries: list[_Entry] = []
    others: list[Line2D] = []
    for curve in curves:
        known = looks.get(curve.label)
        drawn = known or style.Look(style.LIGHT, "", "-")
        (line,) = axes.plot(
            curve.lengths,
            curve.speedups,
            color=drawn.colour,
            linestyle=drawn.dash,
            marker=drawn.marker or ".",
            markersize=5,
            linewidth=1.8 if known else 1.0,
            zorder=2.5 if known else 1.2,
        )
        if known:
            entries.append((line, curve.label))
        else:
            others.append(line)
    return [*entries, (others[0], f"{len(others)} more")] if others else entries


def _draw_points(axes: Axes, points: Sequence[Points], looks: dict[str, style.Look], bars: str) -> list[_Entry]:
    entries: list[_Entry] = []
    drawn_before = {line.get_color() for line in axes.lines}
    for series in points:
        known = looks.get(series.label)
        container = _errorbar(axes, series, known or style.Look(style.GREY, "o", "-"))
        if known and known.colour not in drawn_before:
            entries.append((container, series.label))
    if points:
        sample = Line2D([], [], color=style.GREY, marker="o", markerfacecolor="white", markersize=8, linestyle="")
        entries.append((sample, f"hollow: measured (bars: {bars})"))
    return entries


def _errorbar(axes: Axes, series: Points, drawn: style.Look) -> ErrorbarContainer:
    below = [max(0.0, middle - low) for middle, low in zip(series.speedups, series.low, strict=True)]
    above = [max(0.0, high - middle) for middle, high in zip(series.speedups, series.high, strict=True)]
    return axes.errorbar(
        series.lengths,
        series.speedups,
        yerr=[below, above],
        linestyle="",
        color=drawn.colour,
        marker=drawn.marker,
        markersize=8,
        markerfacecolor="white",
        markeredgewidth=1.6,
        capsize=4,
        zorder=3,
    )


def _draw_choice(axes: Axes, chosen: Choice) -> Line2D:
    (star,) = axes.plot(
        [chosen.length],
        [chosen.speedup],
        linestyle="",
        marker="*",
        markersize=20,
        markerfacecolor="#F0E442",
        markeredgecolor=style.INK,
        zorder=2.8,  # over the curves, under the points
    )
    return star


def _scale(axes: Axes, curves: Sequence[Curve], points: Sequence[Points], chosen: Choice | None) -> None:
    """Every draft length a tick; speed-ups from 0, so that a loss looks like one."""
    lengths = [
        0,
        *chain.from_iterable(curve.lengths for curve in curves),
        *chain.from_iterable(p.lengths for p in points),
    ]
    tops = [1.0, *chain.from_iterable(curve.speedups for curve in curves), *chain.from_iterable(p.high for p in points)]
    lengths += [chosen.length] if chosen else []
    tops += [chosen.speedup] if chosen else []
    axes.set_xlim(min(lengths) - 0.4, max(lengths) + 0.4)
    axes.set_ylim(0.0, 1.08 * max(tops))
    axes.xaxis.set_major_locator(MultipleLocator(max(1, math.ceil((max(lengths) - min(lengths)) / 16))))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}x"))
