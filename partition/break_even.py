"""The inverse questions: which alpha, which bandwidth, how large a drafter before speculation is no loss.

Asked twice. Against the *same variant* mapping and cores stay, and drafting is held against not drafting there. Against
the *best plain decoding* of the SoC every mapping and core count counts. The draft length is free in both.
"""

from __future__ import annotations

from collections.abc import Mapping as Table
from dataclasses import dataclass
from typing import cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from paceline.costmodel import parameters, unread_parameters
from paceline.costmodel.arrays import in_place_of_number
from paceline.partition.bundle import BundledModel
from paceline.partition.candidates import Search
from paceline.partition.figures import with_figures
from paceline.partition.plan import NGRAM, Mapping
from paceline.partition.points import Array, best_at, independent_at, moved
from paceline.partition.synthetic import Question
from paceline.partition.whatif import Row
from paceline.targets import Dtype

_OCTAVES, _STEPS = 6, 16  # bandwidths are looked at from 1/64 to 64 times the SoC's, so many an octave
_GRID, _ZOOMS = 65, 3  # points at once, and how often the interval between two of them is looked into


class Span(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """From ``low`` to ``high`` times the SoC's bandwidth; None where it goes on beyond what was looked at."""

    low: float | None
    high: float | None


class Answers(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What it takes to be no loss against one baseline.

    Attributes:
        alpha: the smallest, with independent drafts, and its draft length; None where even 1 is a loss.
        bandwidth: where all units have so many times their bandwidth; empty where it is a loss at any.
        drafter_parameters: of the largest drafter at the acceptance that was assumed; its passes are taken to grow with
            the parameters that they read, and memory is left aside. None where even one that takes no time is a loss.
    """

    alpha: float | None
    alpha_draft_length: int | None
    bandwidth: tuple[Span, ...]
    drafter_parameters: float | None


class BreakEven(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Answers about the fastest configuration that drafts."""

    mapping: Mapping
    precision: dict[str, str]
    cores: dict[str, int]
    same_variant: Answers
    best_plain: Answers


def break_even(question: Question, rows: tuple[Row, ...]) -> BreakEven | None:
    """The inverse questions about the first of ``rows`` (best first) in which a model drafts; None where none does."""
    row = next((row for row in rows if row.mapping.drafter not in (None, NGRAM)), None)
    if row is None:
        return None
    pair = next(p for p in question.precisions if {"target": p.target, "drafter": p.drafter} == row.precision)
    search = question.search(pair)
    return BreakEven(
        mapping=row.mapping,
        precision=row.precision,
        cores=row.cores,
        same_variant=_answers(_Asked(question, search, row)),
        best_plain=_answers(_Asked(question, search, None)),
    )


@dataclass(frozen=True, slots=True)
class _Asked:
    """A search, and the row whose variant is the baseline; None where that is the best plain decoding."""

    question: Question
    search: Search
    row: Row | None

    def counts(self, mapping: Mapping, cores: Table[str, int]) -> bool:
        """Whether a configuration that drafts is asked about."""
        return self.row is None or (mapping, cores) == (self.row.mapping, self.row.cores)

    def gain(self, search: Search, points: int) -> tuple[Array, NDArray[np.int64]]:
        """Speed-up of the fastest that drafts over the baseline at each point, and its draft length."""
        found = best_at([search], points, drafts=self.counts)
        gain = found.over_plain(found.drafted) if self.row is None else found.drafted.speedup
        return gain, found.drafted.lengths


def _answers(asked: _Asked) -> Answers:
    alpha, length = _alpha(asked)
    return Answers(
        alpha=alpha, alpha_draft_length=length, bandwidth=_spans(asked), drafter_parameters=_largest_drafter(asked)
    )


def _alpha(asked: _Asked) -> tuple[float | None, int | None]:
    """Speed-up grows with alpha, so one interval of a grid holds the answer, and one of a finer grid within it."""
    low, high, length = 0.0, 1.0, None
    for _ in range(_ZOOMS):
        grid = np.linspace(low, high, _GRID)
        model = independent_at(grid, asked.question.max_draft_length)
        gain, lengths = asked.gain(moved(asked.search, model=model), _GRID)
        pays = gain >= 1.0
        if not pays[-1]:
            return None, None
        first = int(pays.argmax())
        low, high, length = float(grid[max(first - 1, 0)]), float(grid[first]), int(lengths[first])
    return high, length


def _spans(asked: _Asked) -> tuple[Span, ...]:
    """Where it pays, in times of the bandwidth; the ends of each span are looked for between two points of a grid."""
    grid = np.linspace(-_OCTAVES, _OCTAVES, 2 * _OCTAVES * _STEPS + 1)
    pays = _pays(asked, grid)
    edges = np.flatnonzero(pays[1:] != pays[:-1])
    ends: list[float | None] = [_edge(asked, float(grid[edge]), float(grid[edge + 1])) for edge in edges]
    ends = [*([None] if pays[0] else []), *ends, *([None] if pays[-1] else [])]
    return tuple(Span(low=low, high=high) for low, high in zip(ends[::2], ends[1::2], strict=True))


def _edge(asked: _Asked, low: float, high: float) -> float:
    grid = np.linspace(low, high, _GRID)
    pays = _pays(asked, grid)
    return float(2.0 ** grid[int((pays != pays[0]).argmax())])


def _pays(asked: _Asked, octaves: Array) -> NDArray[np.bool_]:
    soc = asked.question.soc
    factors = 2.0**octaves
    figures = {f"{unit.name}.bandwidth": in_place_of_number(unit.bandwidth.value * factors) for unit in soc.units}
    gain, _ = asked.gain(moved(asked.search, soc=with_figures(soc, figures)), len(octaves))
    return gain >= 1.0


def _largest_drafter(asked: _Asked) -> float | None:
    """A round that lasts scale * (draft + catch_up) + verify + host is no loss while it brings its tokens in time."""
    found = [candidate for candidate in asked.search.candidates() if candidate.round]
    plain = min(candidate.seconds for candidate in found if not candidate.draft_length)
    drafter, limits = asked.search.bundle.drafter, [0.0]
    assert drafter is not None
    for candidate in found:
        costs, mapping = candidate.round, candidate.mapping
        if costs and mapping.drafter not in (None, NGRAM) and asked.counts(mapping, candidate.cores):
            spare = costs.tokens * (costs.plain if asked.row else plain) - costs.verify - costs.host
            if spare > 0.0:
                limits.append(_at_scale(drafter, mapping.drafter, spare / (costs.draft + costs.catch_up)))
    return max(limits) or None


def _at_scale(drafter: BundledModel, unit: str | None, scale: float) -> float:
    """Parameters of a drafter whose passes take ``scale`` times as long; what it does not read stays as it is."""
    screened = unit in drafter.kernels
    unread = unread_parameters(drafter.spec, cast(Dtype, drafter.precision)) if screened else 0.0
    return scale * (parameters(drafter.spec) - unread) + unread
