"""Accepted lengths as a table, for the pages that measure them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from paceline.costmodel import Acceptance

Table = tuple[tuple[str, ...], list[tuple[str, ...]]]


def drafts_table(histograms: Sequence[Acceptance], *, every_length: bool = False) -> Table:
    """Columns and rows: each drafter over all tasks at every draft length, and each task at the longest, or at all.

    "tokens a round" were counted, with the 95 % confidence interval; the last rounds of texts are cut short in them.
    Omega is what a round brings in the middle of a text by the measured positions, and "i.i.d." what alpha
    alone would make of it, with the error of that. Prompt lookup drafts what it finds, so neither is said of it.
    """
    from paceline.costmodel import merge

    drafters = dict.fromkeys(histogram.drafter for histogram in histograms)
    lengths = sorted({histogram.asked for histogram in histograms})
    shown = [h for h in histograms if every_length or h.asked == lengths[-1]]
    if len({histogram.task for histogram in histograms}) > 1:
        parts = [(name, asked) for name in drafters for asked in lengths]
        shown = [merge([h for h in histograms if (h.drafter, h.asked) == part]) for part in parts] + shown
    columns = ("drafter", "task", "ahead", "alpha", "kept", "tokens a round", "Omega", "i.i.d.")
    return columns, [_row(histogram) for histogram in shown]


def _row(histogram: Acceptance) -> tuple[str, ...]:
    from paceline.costmodel import expected_tokens

    name = (histogram.drafter, histogram.task, str(histogram.asked))
    kept, found = f"{histogram.accepted} of {histogram.drafted}", histogram.tokens_per_round
    spread = "" if histogram.half_width is None else f" +- {histogram.half_width:.2f}"
    counted = "no round" if found is None else f"{found:.2f}{spread}"
    if histogram.alpha is None:
        return (*name, "no draft", kept, counted, "", "")
    if histogram.drafter == "ngram":
        return (*name, f"{histogram.alpha:.2f}", kept, counted, "", "")
    omega, assumed = histogram.expected_tokens(histogram.asked), expected_tokens(histogram.alpha, histogram.asked)
    chances = (f"{omega:.2f}", f"{assumed:.2f} ({assumed / omega - 1:+.1%})")
    return (*name, f"{histogram.alpha:.2f}", kept, counted, *chances)
