"""The decision map: how far ahead to draft, if at all, for every cost ratio c and acceptance alpha.

    S(gamma) = Omega(gamma, alpha) / ((gamma + u * alpha^gamma) * c + v(gamma))        c = t_draft / t_target

v(gamma) is a verify pass and the host time of a round in units of one plain pass of the target; u is how much more the
catch-up pass of the drafter costs, as a share of a pass of one token. With v = 1 and u = 0 this is Eq. 1 of
arXiv 2602.08060, whose break-even is c = alpha.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from paceline.plots import style
from paceline.plots.lengths import length_bar, length_colours

Floats = npt.NDArray[np.float64]
_LEVELS = (1.0, 1.1, 1.25, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 32.0)
_STEPS = (1000, 500)  # of c and of alpha: about a pixel each
_REACH = (1.0, 2.0)  # the map shows c at least and at most so far; what lies beyond is marked at its edge
_APART = 0.04  # of the width, between the names of two lines


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """v(gamma) for gamma = 0, 1, ..., with ``verify[0]`` = 1; u; and in ``source`` where they come from."""

    verify: Sequence[float]
    catch_up: float = 0.0
    source: str = ""


def paper_costs(longest: int) -> Costs:
    """Those of Eq. 1: a verify pass of any width costs as much as a plain one."""
    return Costs(verify=(1.0,) * (longest + 1), source="v = 1: Eq. 1 of arXiv 2602.08060")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Where one mapping of the user stands."""

    label: str
    c: float
    alpha: float


def best_draft(c: Floats, alpha: Floats, costs: Costs) -> tuple[npt.NDArray[np.int64], Floats]:
    """The best draft length, 0 where none is above S = 1, and the best S of a length above 0; all [...]."""
    kept, omega = np.ones_like(alpha), np.ones_like(alpha)
    length, best = np.zeros(alpha.shape, dtype=np.int64), np.zeros_like(alpha)
    for gamma, verify in enumerate(costs.verify[1:], start=1):
        kept = kept * alpha
        omega = omega + kept
        speedup = omega / ((gamma + costs.catch_up * kept) * c + verify)
        length[speedup > np.maximum(best, 1.0)] = gamma
        best = np.maximum(best, speedup)
    return length, best


def decision_chart(
    costs: Costs, *, marks: Sequence[Mark] = (), title: str = "How far ahead to draft", subtitle: str = ""
) -> Figure:
    """Draw the map for draft lengths 0 (do not speculate) to ``len(costs.verify) - 1``, and ``marks`` on it.

    The first ``style.STYLES`` marks are named, the others are grey.
    """
    figure = style.new_figure(title, "; ".join(filter(None, (subtitle, costs.source))))
    axes = figure.add_subplot()
    style.dress(
        axes,
        x="c: seconds of a drafter pass / of a target pass (one token each)",
        y="alpha: share of drafts that are kept",
    )
    reach = max(_REACH[0], *(1.1 * mark.c for mark in marks if mark.c * 1.1 <= _REACH[1]), 0.0)
    _draw_map(figure, axes, costs, reach)
    (even,) = axes.plot([0, 1], [0, 1], color=style.INK, linestyle=(0, (4, 3)), linewidth=1.6)
    even.set_path_effects([withStroke(linewidth=4, foreground="white")])
    axes.set_xlim(0.0, reach)
    axes.set_ylim(0.0, 1.0)
    style.legend_below(figure, [*_draw_marks(axes, marks, reach), (even, "c = alpha: break-even of Eq. 1")])
    return figure


def _draw_map(figure: Figure, axes: Axes, costs: Costs, reach: float) -> None:
    c, alpha = np.meshgrid(np.linspace(0.0, reach, _STEPS[0]), np.linspace(0.0, 1.0, _STEPS[1]))
    length, best = best_draft(c, alpha, costs)
    longest = len(costs.verify) - 1
    image = axes.imshow(
        length,
        origin="lower",
        extent=(0.0, reach, 0.0, 1.0),
        aspect="auto",
        interpolation="nearest",
        **length_colours(longest),
    )
    axes.grid(False)
    length_bar(figure, axes, image, longest)
    _draw_lines(axes, c, alpha, best)


def _draw_lines(axes: Axes, c: Floats, alpha: Floats, best: Floats) -> None:
    """Lines of equal S of the best draft; each is named above the map, where it meets alpha = 1."""
    levels = [level for level in _LEVELS if best.min() < level < best.max()]
    if not levels:
        return
    axes.contour(c, alpha, best, levels=levels, colors=style.INK, linewidths=0.8)
    # S falls as c grows, so along the top of the map each level is met once
    top = best[-1]
    named: dict[float, float] = {}
    for level in levels:
        place = float(np.interp(-level, -top, c[0]))
        crowded = any(abs(place - other) < _APART * c[0, -1] for other in named.values())
        if top.min() <= level <= top.max() and not crowded:
            named[level] = place
    above = axes.secondary_xaxis("top")
    above.set_xticks(list(named.values()), labels=[f"{level:g}x" for level in named])
    above.tick_params(labelsize=10, color=style.GREY, labelcolor=style.INK)
    above.set_xlabel("lines of equal S, the speed-up over plain decoding on the target's unit", fontsize=10)
    above.spines["top"].set_visible(False)


def _draw_marks(axes: Axes, marks: Sequence[Mark], reach: float) -> list[tuple[Line2D, str]]:
    named, others = marks[: style.STYLES], marks[style.STYLES :]
    entries = [(_draw_mark(axes, mark, style.look(i), reach), _described(mark, reach)) for i, mark in enumerate(named)]
    drawn = [_draw_mark(axes, mark, style.Look(style.GREY, ".", "-"), reach) for mark in others]
    return [*entries, (drawn[0], f"{len(drawn)} more")] if drawn else entries


def _draw_mark(axes: Axes, mark: Mark, look: style.Look, reach: float) -> Line2D:
    beyond = mark.c > reach
    (drawn,) = axes.plot(
        [min(mark.c, reach)],
        [mark.alpha],
        linestyle="",
        marker=9 if beyond else look.marker,  # 9: a caret whose base is on the point
        markersize=11,
        color=look.colour,
        markeredgecolor="white",
        markeredgewidth=1.5,
        clip_on=False,
        zorder=4,
    )
    return drawn


def _described(mark: Mark, reach: float) -> str:
    beyond = " (beyond the map)" if mark.c > reach else ""
    return f"c {style.digits(mark.c)}{beyond}, alpha {mark.alpha:.2f}: {mark.label}"
