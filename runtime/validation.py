"""What a validation found: errors of the prediction, and what its decision lost."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import msgspec

from paceline.costmodel import Round
from paceline.partition import Bundle, Mapping

SCHEMA = 3


class Compared(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One mapping and draft length: seconds a token as predicted and as measured.

    With ``overlap`` the drafter works while the target does, and ``draft`` is what the target waits for it.
    ``standard_error`` is that of ``measured``, in seconds too, and not known after a single repeat; ``low`` and
    ``high`` are what the quickest and the slowest repeats give. ``draft`` (with catch-up), ``verify`` and ``host`` are
    the predicted seconds of a round that brings ``tokens_per_round``. ``strange`` counts texts that are not the plain
    ones: it is 0, or something is broken.
    """

    mapping: Mapping
    draft_length: int
    predicted: float
    measured: float
    low: float
    high: float
    tokens_per_round: float
    draft: float
    verify: float
    host: float
    standard_error: float | None = None
    overlap: bool = False
    strange: int = 0

    @property
    def error(self) -> float:
        """Signed, as a share of what was measured."""
        return self.predicted / self.measured - 1.0


class Rejected(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A mapping that cannot be run here, and why."""

    mapping: Mapping
    reason: str


class Rival(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The case that ran against the chosen one, in turns, after all were measured.

    ``row`` is its index in the rows; ``speedup`` how many times as quick as the chosen one it was (below 1: slower), by
    the interquartile mean of the ``turns``' ratios. Turns that found it among others are not of them.
    """

    row: int
    speedup: float
    standard_error: float
    turns: int


class Validation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All of it.

    Attributes:
        rows: best predicted first.
        median_error, ninetieth_error: of the absolute errors of ``rows``, the 90th percentile as the value that at
            most a tenth of them exceed.
        noise: median of the standard errors of what was measured, as shares of it; None after a single repeat.
        chosen: index of the row that the planner's rule takes from the predictions.
        rival: the row that did best against it, and how; None where nothing else can run.
        best: index of the row that was quickest in those turns.
        regret: how much longer than with the rival a token of the chosen one took there; 0 where that was no quicker.
    """

    schema: int = SCHEMA
    bundle: str
    prompts: int
    tokens: int
    repeats: int
    margin: float
    rows: tuple[Compared, ...]
    rejected: tuple[Rejected, ...]
    median_error: float
    ninetieth_error: float
    noise: float | None
    chosen: int
    rival: Rival | None
    best: int
    regret: float

    @property
    def strange(self) -> int:
        """Texts that are not the plain ones."""
        return sum(row.strange for row in self.rows)


def compared(
    mapping: Mapping,
    costs: Round,
    *,
    measured: float,
    low: float,
    high: float,
    standard_error: float | None = None,
    overlap: bool = False,
    strange: int = 0,
) -> Compared:
    """A row from what the cost model says and what was measured."""
    return Compared(
        mapping=mapping,
        draft_length=costs.draft_length,
        predicted=costs.seconds_per_token,
        measured=measured,
        standard_error=standard_error,
        low=low,
        high=high,
        tokens_per_round=costs.tokens,
        draft=costs.draft + costs.catch_up,
        verify=costs.verify,
        host=costs.host,
        overlap=overlap,
        strange=strange,
    )


def rank(row: Compared) -> tuple[float, int]:
    """Sorts rows: best predicted first, fewer drafts first among equals."""
    return row.predicted, row.draft_length


def choose(rows: Sequence[Compared], margin: float) -> int:
    """Index of the row that the planner's rule takes from predictions: plain, or what beats it by the ``margin``.

    ``rows`` are in order of ``rank``, and at least one is plain decoding.
    """
    plain = next(row for row in rows if not row.draft_length)
    return next(n for n, row in enumerate(rows) if row is plain or plain.predicted > (1 + margin) * row.predicted)


def validation(
    bundle: Bundle,
    rows: Sequence[Compared],
    rejected: Sequence[Rejected],
    rival: Rival | None = None,
    *,
    prompts: int,
    tokens: int,
    repeats: int,
    margin: float,
) -> Validation:
    """Errors and decision of ``rows``, in order of ``rank``; ``rival`` points to one."""
    errors = sorted(abs(row.error) for row in rows)
    chosen = choose(rows, margin)
    lost = rival if rival and rival.speedup > 1.0 else None
    noise = [row.standard_error / row.measured for row in rows if row.standard_error is not None]
    return Validation(
        bundle=bundle.name,
        prompts=prompts,
        tokens=tokens,
        repeats=repeats,
        margin=margin,
        rows=tuple(rows),
        rejected=tuple(rejected),
        median_error=statistics.median(errors),
        ninetieth_error=errors[max(0, len(errors) - 1 - len(errors) // 10)],
        noise=statistics.median(noise) if noise else None,
        chosen=chosen,
        rival=rival,
        best=lost.row if lost else chosen,
        regret=lost.speedup - 1.0 if lost else 0.0,
    )
