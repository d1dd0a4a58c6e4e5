"""What a validation found: errors of the prediction, and what its decision lost."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import msgspec

from paceline.costmodel import Round
from paceline.partition import Bundle, Mapping

SCHEMA = 1


class Compared(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One mapping and draft length: seconds a token as predicted and as measured.

    With ``overlap`` the drafter works while the target does, and ``draft`` is what the target waits for it.
    ``low`` and ``high`` are what the quickest and the slowest repeats give. ``draft`` (with catch-up), ``verify`` and
    ``host`` are the predicted seconds of a round that brings ``tokens_per_round``. ``strange`` counts texts that are
    not the plain ones: it is 0, or something is broken.
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


class Validation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All of it.

    Attributes:
        rows: best predicted first.
        median_error, ninetieth_error: of the absolute errors of ``rows``, the 90th percentile as the value that at
            most a tenth of them exceed.
        chosen: index of the row that the planner's rule takes from the predictions; ``best`` that of the quickest one.
        regret: how much longer than the best a token of the chosen one took.
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
    chosen: int
    best: int
    regret: float

    @property
    def strange(self) -> int:
        """Texts that are not the plain ones."""
        return sum(row.strange for row in self.rows)


def compared(
    mapping: Mapping, costs: Round, *, measured: float, low: float, high: float, overlap: bool = False, strange: int = 0
) -> Compared:
    """A row from what the cost model says and what was measured."""
    return Compared(
        mapping=mapping,
        draft_length=costs.draft_length,
        predicted=costs.seconds_per_token,
        measured=measured,
        low=low,
        high=high,
        tokens_per_round=costs.tokens,
        draft=costs.draft + costs.catch_up,
        verify=costs.verify,
        host=costs.host,
        overlap=overlap,
        strange=strange,
    )


def validation(
    bundle: Bundle,
    rows: Sequence[Compared],
    rejected: Sequence[Rejected],
    *,
    prompts: int,
    tokens: int,
    repeats: int,
    margin: float,
) -> Validation:
    """Errors and decision of ``rows``, of which at least one is plain decoding."""
    ordered = tuple(sorted(rows, key=lambda row: (row.predicted, row.draft_length)))
    plain = min((row for row in ordered if not row.draft_length), key=lambda row: row.predicted)
    chosen = next(n for n, row in enumerate(ordered) if row is plain or plain.predicted > (1 + margin) * row.predicted)
    best = min(range(len(ordered)), key=lambda n: ordered[n].measured)
    errors = sorted(abs(row.error) for row in ordered)
    return Validation(
        bundle=bundle.name,
        prompts=prompts,
        tokens=tokens,
        repeats=repeats,
        margin=margin,
        rows=ordered,
        rejected=tuple(rejected),
        median_error=statistics.median(errors),
        ninetieth_error=errors[max(0, len(errors) - 1 - len(errors) // 10)],
        chosen=chosen,
        best=best,
        regret=ordered[chosen].measured / ordered[best].measured - 1.0,
    )
