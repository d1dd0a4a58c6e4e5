"""A sweep: lines over one axis, a map over two; the speed-up and the best draft length at every value."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import LinearSegmentedColormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from paceline.errors import UsageError
from paceline.plots import style
from paceline.plots.lengths import length_bar, length_colours

Floats = npt.NDArray[np.float64]
_MARKED = 40  # points of a line from which on they have no marks of their own
_LEAST = 1.25  # that the colours of speed-ups reach to, so that a gain of 1 % does not look like one
_TICKS = (1, 0.1, 0.01, 10, 100, 0.5, 2, 0.2, 5, 0.7, 1.5, 3, 0.3, 1.2, 0.8, 1.1, 0.9, 1.05, 0.95)  # the best first
_APART = 0.05  # of the key of colours, between two ticks
_MOST_TICKS, _CROWDED = 12, 48  # words on an axis, and characters from which on they stand aslant
_FIGURES = 9  # points of the figures in cells
_LOSS_TO_GAIN = LinearSegmentedColormap.from_list("loss to gain", [style.VERMILION, "#ffffff", style.BLUE])
_CANNOT = "#efefef"


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """What was swept: a name with its unit, and the values, numbers in ascending order or words."""

    name: str
    values: Sequence[float] | Sequence[str]

    @property
    def words(self) -> list[str]:
        """The values where they are words; empty where they are numbers."""
        return [str(value) for value in self.values] if any(isinstance(v, str) for v in self.values) else []

    @property
    def places(self) -> Floats:
        """Where the values stand: numbers at themselves, words 1 apart."""
        return (
            np.arange(len(self.values), dtype=np.float64) if self.words else np.asarray(self.values, dtype=np.float64)
        )

    @property
    def logarithmic(self) -> bool:
        """Whether its numbers are nearer to equal factors than to equal steps."""
        if self.words or len(self.values) < 3 or self.places.min() <= 0.0:
            return False
        return _unevenness(np.diff(np.log(self.places))) < _unevenness(np.diff(self.places))


def _unevenness(steps: Floats) -> float:
    return float(steps.max() / steps.min())


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Speed-up and best draft length [values of axis 1(, values of axis 2)]; NaN where nothing can run or is known."""

    label: str
    speedups: Floats
    lengths: Floats


def sweep_chart(
    axes: Sequence[Axis],
    outcomes: Sequence[Outcome],
    *,
    title: str = "Sweep",
    subtitle: str = "",
    baseline: str = "best plain decoding",
) -> Figure:
    """Draw one axis as lines, one for each outcome; two axes as a pair of maps of a single outcome.

    Raises:
        UsageError: as ``check_axes``.
    """
    check_axes(axes)
    figure = style.new_figure(title, subtitle)
    if len(axes) == 1:
        _lines(figure, axes[0], outcomes, baseline)
    else:
        _maps(figure, axes[0], axes[1], outcomes[0], baseline)
    return figure


def check_axes(axes: Sequence[Axis]) -> None:
    """Refuse what cannot be drawn.

    Raises:
        UsageError: no axis, more than two, or one with a single value.
    """
    if len(axes) not in (1, 2):
        names = ", ".join(axis.name for axis in axes) or "none"
        raise UsageError(f"a plot shows one or two sweeps; {len(axes)} were given ({names}); leave one or two of them")
    for axis in axes:
        if len(axis.values) < 2:
            raise UsageError(f"the sweep of {axis.name} has one value; a plot needs two or more")


def _lines(figure: Figure, axis: Axis, outcomes: Sequence[Outcome], baseline: str) -> None:
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(2.5, 1))
    style.dress(above, y="speed-up")
    style.dress(below, x=axis.name, y="best draft length")
    entries: list[tuple[Artist, str]] = []
    others: list[Artist] = []
    for index, outcome in enumerate(outcomes):
        known = index < style.STYLES
        options = _options(style.look(index) if known else style.Look(style.LIGHT, "", "-"), len(axis.values))
        (line,) = above.plot(axis.places, outcome.speedups, zorder=2.5 if known else 1.2, **options)
        below.plot(axis.places, outcome.lengths, zorder=2.5 if known else 1.2, drawstyle="steps-mid", **options)
        others += [] if known else [line]
        entries += [(line, outcome.label)] if known else []
    even = above.axhline(1.0, color=style.INK, linewidth=1.2, zorder=1.5)
    _set_scale(below, "x", axis)
    above.set_ylim(0.0, 1.08 * _most([outcome.speedups for outcome in outcomes]))
    above.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}x"))
    below.set_ylim(-0.4, _most([outcome.lengths for outcome in outcomes]) + 0.4)
    below.yaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
    more = [(others[0], f"{len(others)} more")] if others else []
    style.legend_below(figure, [*entries, *more, (even, f"1x: {baseline}")])


def _options(look: style.Look, points: int) -> dict[str, Any]:
    marker = look.marker if points < _MARKED else ""
    return {"color": look.colour, "linestyle": look.dash, "linewidth": 1.8, "marker": marker, "markersize": 5}


def _most(fields: Sequence[Floats]) -> float:
    """The largest number, at least 1."""
    return max(1.0, *(float(np.nanmax(field, initial=1.0)) for field in fields))


def _set_scale(axes: Axes, way: Literal["x", "y"], axis: Axis) -> None:
    drawn = axes.xaxis if way == "x" else axes.yaxis
    edges = _edges(axis)
    axes.set(**{f"{way}scale": "log" if axis.logarithmic else "linear", f"{way}lim": (edges[0], edges[-1])})
    if not (axis.words or axis.logarithmic):
        drawn.set_major_formatter(FuncFormatter(lambda value, _: style.short(value)))
        return
    shown = slice(None, None, -(-len(axis.values) // _MOST_TICKS))
    texts = [style.plain(text, 14, lines=1) for text in axis.words or map(style.short, axis.places.tolist())][shown]
    aslant: dict[str, Any] = {"rotation": 35, "ha": "right", "rotation_mode": "anchor"}
    crowded = way == "x" and sum(map(len, texts)) > _CROWDED
    drawn.set_ticks(axis.places[shown].tolist(), labels=texts, **(aslant if crowded else {}))
    drawn.set_ticks([], minor=True)


def _maps(figure: Figure, across: Axis, up: Axis, outcome: Outcome, baseline: str) -> None:
    left, right = figure.subplots(1, 2, sharex=True, sharey=True)
    style.dress(left, x=across.name, y=up.name)
    style.dress(right, x=across.name)
    longest = int(_most([outcome.lengths]))
    speedups = _draw_speedups(figure, left, across, up, outcome.speedups, baseline)
    lengths = _mesh(right, across, up, outcome.lengths, length_colours(longest))
    length_bar(figure, right, lengths, longest)
    for panel in (left, right):
        panel.grid(False)
        panel.set_facecolor(_CANNOT)
        _set_scale(panel, "x", across)
        _set_scale(panel, "y", up)
    if np.isnan(outcome.speedups).any():
        style.legend_below(figure, [(Patch(facecolor=_CANNOT, edgecolor=style.GREY), "nothing can run")])
    figure.draw_without_rendering()
    _write_cells(left, speedups, across, up, outcome.speedups, "{:.2f}")
    _write_cells(right, lengths, across, up, outcome.lengths, "{:.0f}")


def _mesh(axes: Axes, across: Axis, up: Axis, field: Floats, colours: Mapping[str, Any]) -> QuadMesh:
    """Cells around the values; ``field`` is [across, up]."""
    return axes.pcolormesh(_edges(across), _edges(up), np.ma.masked_invalid(field.T), rasterized=True, **colours)


def _edges(axis: Axis) -> Floats:
    """Borders half way between the values, on the scale that they are drawn on."""
    places = np.log(axis.places) if axis.logarithmic else axis.places
    middles = (places[1:] + places[:-1]) / 2
    edges = np.concatenate([[2 * places[0] - middles[0]], middles, [2 * places[-1] - middles[-1]]])
    return np.exp(edges) if axis.logarithmic else edges


def _draw_speedups(figure: Figure, axes: Axes, across: Axis, up: Axis, field: Floats, baseline: str) -> QuadMesh:
    """White at 1, as far to a gain as to a loss in factors; the key shows what occurs."""
    least, most = float(np.nanmin(field, initial=1.0)), float(np.nanmax(field, initial=1.0))
    reach = max(most, 1.0 / least, _LEAST)
    image = _mesh(axes, across, up, field, {"cmap": _LOSS_TO_GAIN, "norm": LogNorm(1.0 / reach, reach)})
    bar = style.colour_bar(figure, axes, image, f"speed-up (1x: {baseline})")
    shown = _ticks(least, most)
    bar.set_ticks(shown, labels=[f"{tick:g}x" for tick in shown])
    bar.minorticks_off()
    bar.ax.set_ylim(least, most if most > 1.0 or least < 1.0 else _LEAST)
    return image


def _ticks(least: float, most: float) -> list[float]:
    """Round speed-ups from ``least`` to ``most``, as many as stand apart on a scale of factors."""
    shown: list[float] = []
    for tick in _TICKS:
        apart = all(abs(math.log(tick / other)) > _APART * math.log(most / least) for other in shown)
        if least <= tick <= most and apart:
            shown.append(tick)
    return sorted(shown)


def _write_cells(axes: Axes, image: QuadMesh, across: Axis, up: Axis, field: Floats, form: str) -> None:
    """The figure of each cell in it, if there is room in every one."""
    figures = ["" if math.isnan(value) else form.format(value) for value in field.ravel().tolist()]
    corners = product(_edges(across), _edges(up))
    pixels = axes.transData.transform(list(corners)).reshape(len(across.values) + 1, len(up.values) + 1, 2)
    smallest = (np.diff(pixels[:, 0, 0]).min(), np.diff(pixels[0, :, 1]).min())
    sample = axes.text(0, 0, max(figures, key=len), fontsize=_FIGURES)
    needed = sample.get_window_extent().padded(2)
    sample.remove()
    if needed.width > smallest[0] or needed.height > smallest[1]:
        return
    colours = image.to_rgba(field.ravel()).tolist()
    for text, colour, (x, y) in zip(figures, colours, product(across.places, up.places), strict=True):
        ink = style.ink_on(colour)
        axes.text(x, y, text, ha="center", va="center", fontsize=_FIGURES, color=ink, in_layout=False)
