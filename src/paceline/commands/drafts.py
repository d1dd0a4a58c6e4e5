"""Accepted lengths as a table, for the pages that measure them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from paceline.costmodel import Acceptance

Table = tuple[tuple[str, ...], list[tuple[str, ...]]]


def drafts_table(histograms: Sequence[Acceptance], *, every_length: bool = False) -> Table:
    """Columns and rows, one for each drafter and task, and for each draft length or the longest only.

    "tokens a round" were counted, with the 95 % confidence interval; the last rounds of texts are cut short in them.
    Omega is what a round brings in the middle of a text by the measured positions, and "if independent" what alpha
    alone would make of it, with the error of that.
    """
    longest = {(h.drafter, h.task): max(o.asked for o in histograms if o.drafter == h.drafter) for h in histograms}
    shown = [h for h in histograms if every_length or h.asked == longest[h.drafter, h.task]]
    columns = ("drafter", "task", "ahead", "alpha", "kept", "tokens a round", "Omega", "if independent")
    return columns, [_row(histogram) for histogram in shown]


def _row(histogram: Acceptance) -> tuple[str, ...]:
    from paceline.costmodel import expected_tokens

    name = (histogram.drafter, histogram.task, str(histogram.asked))
    kept, found = f"{histogram.accepted} of {histogram.drafted}", histogram.tokens_per_round
    if found is None or histogram.alpha is None:
        return (*name, "no draft", kept, "" if found is None else f"{found:.2f}", "", "")
    omega = histogram.expected_tokens(histogram.asked)
    spread = "" if histogram.half_width is None else f" +- {histogram.half_width:.2f}"
    assumed = expected_tokens(histogram.alpha, histogram.asked)
    ahead = (f"{found:.2f}{spread}", f"{omega:.2f}", f"{assumed:.2f} ({assumed / omega - 1:+.1%})")
    return (*name, f"{histogram.alpha:.2f}", kept, *ahead)
