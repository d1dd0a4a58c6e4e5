"""The roofline: operations per second that a unit can reach at so many operations per byte, and the passes under it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from matplotlib.transforms import Bbox

from paceline.plots import style
from paceline.plots.labels import Beside, line_boxes, point_box, put_along, put_beside

_MARGIN = 6.0  # times the least and the most operations per byte: room for the names of the walls
_END = ((-5, 3), (-5, -3))  # above and below the end of a roof, in points
_SIZES = (9.0, 5.5)  # points of the first model's marks and of the others', which may lie on them
_ROOF: dict[str, Any] = {"color": style.INK, "linewidth": 1.6}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """A forward pass of ``width`` tokens: operations, bytes, seconds as predicted and, where there are, as measured."""

    width: int
    operations: float
    bytes: float
    seconds: float
    measured: float | None = None

    @property
    def intensity(self) -> float:
        """Operations per byte."""
        return self.operations / self.bytes

    @property
    def predicted_rate(self) -> float:
        """Operations per second."""
        return self.operations / self.seconds

    @property
    def measured_rate(self) -> float | None:
        """Operations per second."""
        return self.operations / self.measured if self.measured else None

    @property
    def rates(self) -> tuple[float, ...]:
        """Those that there are."""
        return tuple(rate for rate in (self.predicted_rate, self.measured_rate) if rate)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """A unit: bytes per second, operations per second of the dtypes in use, and the passes of models by their label."""

    label: str
    bandwidth: float
    peaks: Mapping[str, float]
    models: Mapping[str, Sequence[Pass]]

    @property
    def passes(self) -> list[Pass]:
        return [entry for passes in self.models.values() for entry in passes]


def roofline_chart(
    units: Sequence[Unit], *, title: str = "Roofline", subtitle: str = "", by: str = "the figures of the SoC file"
) -> Figure:
    """Draw a panel a unit, on equal scales: a roof for each dtype, and the passes of each width; ``by`` is its source.

    A predicted pass lies under the roof by what its launches take. A measured one lies lower by all that the roof
    leaves out, or above it where the unit can do more than its figures say.
    """
    figure = style.new_figure(title, subtitle)
    panels = list(figure.subplots(1, len(units), sharex=True, sharey=True, squeeze=False)[0])
    names = dict.fromkeys(label for unit in units for label in unit.models)
    looks = {label: style.look(index) for index, label in enumerate(names)}
    _scale(panels[0], units)
    for panel, unit in zip(panels, units, strict=True):
        style.dress(panel, x="operations / byte", y="operations / second" if panel is panels[0] else "")
        panel.set_title(style.plain(unit.label, 110 // len(units)), loc="left", fontsize=11, color=style.INK)
        for x, y in _roofs(panel, unit):
            panel.plot(x, y, zorder=1.5, **_ROOF)
        for label, passes in unit.models.items():
            _draw_passes(panel, passes, looks[label], first=looks[label] == style.look(0))
    style.legend_below(figure, _entries(units, looks, by))
    figure.draw_without_rendering()  # lays it out, so that texts know where lines and points are
    for panel, unit in zip(panels, units, strict=True):
        _write(panel, unit, looks)
    return figure


def _scale(axes: Axes, units: Sequence[Unit]) -> None:
    ridges = [peak / unit.bandwidth for unit in units for peak in unit.peaks.values()]
    intensities = [entry.intensity for unit in units for entry in unit.passes] + ridges
    left, right = min(intensities) / _MARGIN, max(intensities) * _MARGIN
    reached = [rate for unit in units for entry in unit.passes for rate in entry.rates]
    low = min([left * unit.bandwidth for unit in units] + reached)
    high = max([peak for unit in units for peak in unit.peaks.values()] + reached)
    axes.set(xscale="log", yscale="log", xlim=(left, right), ylim=(low / 1.5, high * 3))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(numticks=8))
        axis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: style.short(value)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: style.quantity(value, "op/s")))


def _roofs(axes: Axes, unit: Unit) -> Iterator[tuple[list[float], list[float]]]:
    """Operations per byte and per second at both ends and the ridge of each roof."""
    left, right = axes.get_xlim()
    for peak in unit.peaks.values():
        ridge = float(np.clip(peak / unit.bandwidth, left, right))
        x = [left, ridge, right]
        yield x, [min(peak, at * unit.bandwidth) for at in x]


def _draw_passes(axes: Axes, passes: Sequence[Pass], look: style.Look, *, first: bool) -> None:
    measured = [entry for entry in passes if entry.measured_rate]
    for entry in measured:
        axes.plot([entry.intensity] * 2, entry.rates, color=look.colour, linewidth=0.8, zorder=2)
    drawn = ((passes, False, 2.5), (measured, True, 2.6))
    for entries, hollow, order in drawn:
        x, y = [entry.intensity for entry in entries], [entry.rates[hollow] for entry in entries]
        axes.plot(x, y, zorder=order + (not first) / 2, **_mark(look, hollow=hollow, size=_SIZES[not first]))


def _mark(look: style.Look, *, hollow: bool = False, size: float = 8.0) -> dict[str, Any]:
    face = {"markerfacecolor": "white", "markeredgewidth": 1.5} if hollow else {}
    return {"linestyle": "", "marker": look.marker, "markersize": size, "color": look.colour, **face}


def _entries(units: Sequence[Unit], looks: Mapping[str, style.Look], by: str) -> list[tuple[Artist, str]]:
    grey = style.Look(style.GREY, "o", "-")
    entries: list[tuple[Artist, str]] = [(Line2D([], [], **_mark(look)), label) for label, look in looks.items()]
    entries.append((Line2D([], [], **_ROOF), f"roof: by {by}"))
    entries.append((Line2D([], [], **_mark(grey)), "predicted; number: tokens a pass"))
    if any(entry.measured for unit in units for entry in unit.passes):
        entries.append((Line2D([], [], **_mark(grey, hollow=True)), "measured"))
    return entries


def _write(axes: Axes, unit: Unit, looks: Mapping[str, style.Look]) -> None:
    """The names of the walls, then widths beside the passes where there is room."""
    left, right = axes.get_xlim()
    ends = ((left, left * unit.bandwidth), (right, right * unit.bandwidth))
    wall = put_along(axes, *ends, f"memory: {style.quantity(unit.bandwidth, 'B/s')}")
    taken = [wall.get_window_extent(), *_covered(axes, unit)]
    roofs = [
        Beside(
            axes=axes,
            x=right,
            y=peak,
            text=f"{dtype} arithmetic: {style.quantity(peak, 'op/s')}",
            colour=style.GREY,
            places=_END,
        )
        for dtype, peak in sorted(unit.peaks.items(), key=lambda entry: -entry[1])
    ]
    taken += [text.get_window_extent() for text in put_beside(roofs, taken=taken)]
    widths = [
        Beside(axes=axes, x=entry.intensity, y=entry.predicted_rate, text=str(entry.width), colour=looks[label].colour)
        for label, passes in unit.models.items()
        for entry in passes
    ]
    put_beside(widths, taken=taken)


def _covered(axes: Axes, unit: Unit) -> list[Bbox]:
    """What roofs, points and the lines between predicted and measured ones cover."""
    boxes = [box for x, y in _roofs(axes, unit) for box in line_boxes(axes, x, y)]
    for entry in unit.passes:
        boxes += [point_box(axes, entry.intensity, rate) for rate in entry.rates]
        boxes += line_boxes(axes, [entry.intensity] * len(entry.rates), entry.rates)
    return boxes
