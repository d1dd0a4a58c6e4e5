"""Errors, decision and regret of rows whose figures are known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from paceline.costmodel import Round
from paceline.partition import Bundle, Mapping, read_bundle
from paceline.runtime.validation import Compared, compared, validation


def row(drafter: str | None, length: int, predicted: float, measured: float, *, tokens: float = 1.0) -> Compared:
    costs = Round(
        draft_length=length,
        tokens=tokens,
        draft=predicted * tokens / 4,
        catch_up=predicted * tokens / 4,
        verify=predicted * tokens / 4,
        host=predicted * tokens / 4,
        plain=1.0,
    )
    return compared(Mapping(target="cpu", drafter=drafter), costs, measured=measured, low=measured, high=measured)


@pytest.fixture
def bundle(null_bundle: Callable[..., Path]) -> Bundle:
    return read_bundle(null_bundle())


def test_a_row_has_the_parts_of_its_round() -> None:
    found = row("cpu", 3, 0.02, 0.025, tokens=2.0)
    assert [found.predicted, found.error] == pytest.approx([0.02, -0.2])
    assert [found.draft, found.verify, found.host] == pytest.approx([0.02, 0.01, 0.01])


def test_errors_decision_and_regret(bundle: Bundle) -> None:
    rows = [row(None, 0, 10.0, 10.0), row("cpu", 1, 9.0, 8.0), row("cpu", 2, 7.0, 10.0), row("ngram", 1, 20.0, 16.0)]
    found = validation(bundle, rows, (), prompts=1, tokens=2, repeats=1, margin=0.05)
    assert [entry.predicted for entry in found.rows] == [7.0, 9.0, 10.0, 20.0]
    assert (found.chosen, found.best) == (0, 1)
    assert found.regret == pytest.approx(10 / 8 - 1)
    assert found.median_error == pytest.approx((0.125 + 0.25) / 2)
    assert found.ninetieth_error == pytest.approx(0.3)


def test_a_gain_within_the_margin_is_not_taken(bundle: Bundle) -> None:
    rows = [row(None, 0, 10.0, 10.0), row("cpu", 1, 9.7, 9.0)]
    found = validation(bundle, rows, (), prompts=1, tokens=2, repeats=1, margin=0.05)
    assert found.rows[found.chosen].draft_length == 0 and found.regret == pytest.approx(10 / 9 - 1)
    assert validation(bundle, rows, (), prompts=1, tokens=2, repeats=1, margin=0.02).regret == 0.0


@pytest.mark.parametrize(("count", "outliers", "within"), [(10, 1, True), (10, 2, False), (20, 2, True), (5, 1, False)])
def test_at_most_a_tenth_exceed_the_90th_percentile(bundle: Bundle, count: int, outliers: int, within: bool) -> None:
    rows = [row(None, 0, 1.01, 1.0) for _ in range(count - outliers)] + [row(None, 0, 2.0, 1.0)] * outliers
    found = validation(bundle, rows, (), prompts=1, tokens=2, repeats=1, margin=0.05)
    assert (found.ninetieth_error < 0.02) is within
