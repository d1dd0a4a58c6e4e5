"""A what-if at many points at once: alpha, figures of the SoC and the context move, and at each point the best wins.

Figures and alpha become arrays [points] that flow through the formulas of a single what-if. A context is a search of
its own: it changes what there is to compute and what fits.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import msgspec
import numpy as np
from numpy.typing import NDArray

from paceline.costmodel import check_alpha
from paceline.costmodel.arrays import in_place_of_number
from paceline.errors import UsageError
from paceline.partition.axis import MOST_POINTS, Axis
from paceline.partition.candidates import Search
from paceline.partition.figures import check_figure, figures_named, with_figures
from paceline.partition.points import Array, Choice, Points, best_at, independent_at, moved
from paceline.partition.synthetic import Question, check, check_context
from paceline.partition.whatif import what_if

ALPHA, CONTEXT = "alpha", "context"
MOST_CONTEXTS = 1000  # each is a search of its own
_CHUNK = 1 << 14  # points at once: what a search keeps of them stays small


class SweepPoint(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One point of a sweep; all but ``at`` is None where nothing runs there.

    ``drafted_speedup_over_best`` is that of the fastest configuration in which a model drafts, which may be a loss.
    """

    at: dict[str, float]
    choice: Choice | None
    seconds_per_token: float | None
    speedup: float | None
    speedup_over_best: float | None
    drafted_speedup_over_best: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """All points, the last axis moving fastest; arrays are [points].

    ``columns`` has the values of each axis at every point. ``which`` points to ``choices``; where nothing runs it is
    -1, seconds are infinite and speed-ups not a number, as ``drafted_speedup_over_best`` is where no model drafts.
    """

    axes: tuple[Axis, ...]
    columns: dict[str, Array]
    choices: tuple[Choice, ...]
    which: NDArray[np.int64]
    seconds_per_token: Array
    speedup: Array
    speedup_over_best: Array
    drafted_speedup_over_best: Array

    @property
    def shape(self) -> tuple[int, ...]:
        """Values of each axis: what the arrays can be reshaped to."""
        return tuple(len(axis.values) for axis in self.axes)

    def points(self) -> Iterator[SweepPoint]:
        """One after the other."""
        columns = zip(*(column.tolist() for column in self.columns.values()), strict=True)
        numbers = (self.seconds_per_token, self.speedup, self.speedup_over_best, self.drafted_speedup_over_best)
        rows = zip(*(array.tolist() for array in numbers), strict=True)
        for at, which, row in zip(columns, self.which.tolist(), rows, strict=True):
            seconds, speedup, over_best, drafted = (value if math.isfinite(value) else None for value in row)
            yield SweepPoint(
                at=dict(zip(self.columns, at, strict=True)),
                choice=self.choices[which] if which >= 0 else None,
                seconds_per_token=seconds,
                speedup=speedup,
                speedup_over_best=over_best,
                drafted_speedup_over_best=drafted,
            )


@dataclass(slots=True)
class _Filled:
    """A sweep while it is put together: ``numbers`` are the four arrays of ``Sweep``, in its order."""

    which: NDArray[np.int64]
    numbers: NDArray[np.float64]
    choices: dict[bytes, int] = field(default_factory=dict)

    def put(self, part: NDArray[np.int64], found: Points) -> None:
        """Take over what was found at the points ``part``."""
        numbers = np.full(len(found.choices) + 1, -1)
        for win in found.best.chosen():
            numbers[win] = self.choices.setdefault(msgspec.json.encode(found.choices[win]), len(self.choices))
        self.which[part] = numbers[found.best.which]
        rows = (found.best.seconds, found.best.speedup, found.over_plain(found.best), found.over_plain(found.drafted))
        self.numbers[:, part] = rows


def sweep(question: Question, axes: Sequence[Axis]) -> Sweep:
    """The best configuration at every point of the product of ``axes``.

    Raises:
        UsageError, PairError: the question or an axis makes no sense, or there are too many points.
        PlanError: the target runs nowhere at any of them.
    """
    check(question)
    check_axes(question, axes)
    grids = np.meshgrid(*(np.array(axis.values) for axis in axes), indexing="ij")
    columns = {axis.key: grid.ravel() for axis, grid in zip(axes, grids, strict=True)}
    points = math.prod(len(axis.values) for axis in axes)
    filled = _Filled(np.full(points, -1), np.full((4, points), np.nan))
    contexts = columns.get(CONTEXT, np.full(points, float(question.tokens)))
    for context in sorted(set(contexts.tolist())):
        searches = replace(question, context=int(context)).searches()
        index = np.flatnonzero(contexts == context)
        for part in np.array_split(index, -(-len(index) // _CHUNK)):
            here = {key: column[part] for key, column in columns.items()}
            filled.put(part, best_at(_at(question, searches, here), len(part)))
    if not filled.choices:
        what_if(replace(question, context=int(contexts[0])))  # which says why
    return Sweep(
        axes=tuple(axes),
        columns=columns,
        choices=tuple(msgspec.json.decode(text, type=Choice) for text in filled.choices),
        which=filled.which,
        seconds_per_token=filled.numbers[0],
        speedup=filled.numbers[1],
        speedup_over_best=filled.numbers[2],
        drafted_speedup_over_best=filled.numbers[3],
    )


def _at(question: Question, searches: Sequence[Search], columns: dict[str, Array]) -> list[Search]:
    """The searches with arrays where the columns say so."""
    figures = {key: in_place_of_number(column) for key, column in columns.items() if key not in (ALPHA, CONTEXT)}
    soc = with_figures(question.soc, figures) if figures else None
    model = independent_at(columns[ALPHA], question.max_draft_length) if ALPHA in columns else None
    return [moved(search, soc=soc, model=model) for search in searches]


def check_axes(question: Question, axes: Sequence[Axis]) -> None:
    """Refuse what cannot be swept.

    Raises:
        UsageError: a key that there is none of, or twice; values out of range; too many points.
    """
    shape = [len(axis.values) for axis in axes]
    if math.prod(shape) > MOST_POINTS:
        product = f"{' x '.join(map(str, shape))} = {math.prod(shape)}"
        raise UsageError(f"the sweep has {product} points, at most {MOST_POINTS} can be asked for; take larger steps")
    seen = set[object]()
    for axis in axes:
        keys = _check_axis(question, axis)
        if seen & keys:
            raise UsageError(f"{axis.key!r} is swept twice; give all its values at once")
        seen |= keys


def _check_axis(question: Question, axis: Axis) -> set[object]:
    """What the axis moves, once its values are checked."""
    if axis.key == ALPHA:
        if question.drafter is None:
            raise UsageError("alpha means nothing without a drafter; give --drafter")
        for alpha in (min(axis.values), max(axis.values)):
            check_alpha(alpha)
    elif axis.key == CONTEXT:
        _check_contexts(question, axis)
    else:
        figures = figures_named(question.soc, axis.key, also=(ALPHA, CONTEXT))
        if "memory" in dict(figures).values():
            raise UsageError("memory cannot be swept; give --memory or --override")
        for value in (min(axis.values), max(axis.values)):
            check_figure(axis.key, value)
        return set(figures)
    return {axis.key}


def _check_contexts(question: Question, axis: Axis) -> None:
    if len(set(axis.values)) > MOST_CONTEXTS:
        raise UsageError(
            f"{len(set(axis.values))} contexts are too many, each is a search of its own: at most {MOST_CONTEXTS}"
        )
    for value in axis.values:
        if not value.is_integer():
            raise UsageError(f"context {value:g} is no number of tokens")
        for _, spec in question.models:
            check_context(int(value), spec)
