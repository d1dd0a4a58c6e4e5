"""Errors, decision and regret of rows whose figures are known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import pytest

from paceline.costmodel import Round
from paceline.partition import Bundle, Mapping, read_bundle
from paceline.runtime.validation import Compared, Rival, Validation, compared, rank, validation


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


def found(bundle: Bundle, rows: Sequence[Compared], rival: Rival | None = None, *, margin: float = 0.05) -> Validation:
    ordered = sorted(rows, key=rank)
    return validation(bundle, ordered, (), rival, prompts=1, tokens=2, repeats=1, margin=margin)


def rival(row: int, speedup: float) -> Rival:
    return Rival(row=row, speedup=speedup, standard_error=0.01, turns=3)


ROWS = (row(None, 0, 10.0, 10.0), row("cpu", 1, 9.0, 8.0), row("cpu", 2, 7.0, 10.0), row("ngram", 1, 20.0, 16.0))


def test_errors_and_decision(bundle: Bundle) -> None:
    result = found(bundle, ROWS)
    assert [entry.predicted for entry in result.rows] == [7.0, 9.0, 10.0, 20.0]
    assert result.chosen == 0
    assert result.median_error == pytest.approx((0.125 + 0.25) / 2)
    assert result.ninetieth_error == pytest.approx(0.3)
    assert result.noise is None


def test_regret_is_by_the_turns_against_the_rival(bundle: Bundle) -> None:
    result = found(bundle, ROWS, rival(2, 1.2))
    assert result.regret == pytest.approx(0.2) and result.best == 2
    calm = found(bundle, ROWS, rival(1, 0.99))
    assert calm.regret == 0.0 and calm.best == calm.chosen == 0
    assert calm.rival == rival(1, 0.99)
    alone = found(bundle, ROWS[:1])
    assert (alone.regret, alone.best, alone.rival) == (0.0, 0, None)


def test_noise_is_a_share_of_what_was_measured(bundle: Bundle) -> None:
    rows = [
        msgspec.structs.replace(one, standard_error=error) for one, error in zip(ROWS, (1, 0.08, 0.2, 0.8), strict=True)
    ]
    assert found(bundle, rows).noise == pytest.approx((0.02 + 0.05) / 2)


def test_a_gain_within_the_margin_is_not_taken(bundle: Bundle) -> None:
    rows = [row(None, 0, 10.0, 10.0), row("cpu", 1, 9.7, 9.0)]
    assert [found(bundle, rows, margin=margin).chosen for margin in (0.05, 0.02)] == [1, 0]


@pytest.mark.parametrize(("count", "outliers", "within"), [(10, 1, True), (10, 2, False), (20, 2, True), (5, 1, False)])
def test_at_most_a_tenth_exceed_the_90th_percentile(bundle: Bundle, count: int, outliers: int, within: bool) -> None:
    rows = [row(None, 0, 1.01, 1.0) for _ in range(count - outliers)] + [row(None, 0, 2.0, 1.0)] * outliers
    assert (found(bundle, rows).ninetieth_error < 0.02) is within
