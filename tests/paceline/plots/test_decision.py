"""The decision map is the formula that it stands for, and marks stand where drafters are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.costmodel import paper_speedup, speculative_round
from paceline.plots import style
from paceline.plots.decision import Costs, Mark, best_draft, decision_chart, paper_costs
from tests.paceline.plots.charts import CHARTS, legend, points, said


@settings(max_examples=50, deadline=None)
@given(alpha=st.floats(0, 1), c=st.floats(0, 2))
def test_the_map_of_eq_1_is_eq_1(alpha: float, c: float) -> None:
    length, best = best_draft(np.array([c]), np.array([alpha]), paper_costs(8))
    brute = [paper_speedup(alpha, gamma, c) for gamma in range(9)]
    assert best[0] == pytest.approx(max(brute[1:]))
    assert brute[length[0]] == pytest.approx(max(brute))
    assert bool(length[0]) == (best[0] > 1.0)


@settings(max_examples=50, deadline=None)
@given(alpha=st.floats(0, 1), c=st.floats(0, 2), verify=st.lists(st.floats(1, 5), min_size=4, max_size=4))
def test_the_map_is_the_round_of_the_cost_model(alpha: float, c: float, verify: list[float]) -> None:
    host, catch_up = 0.25, 0.5
    _, best = best_draft(
        np.array([c]), np.array([alpha]), Costs(verify=(1.0, *(v + host for v in verify)), catch_up=catch_up)
    )
    rounds = [
        speculative_round(
            drafter=lambda width: c * (1 + catch_up * (width - 1)),
            target=lambda width: 1.0 if width == 1 else verify[width - 2],
            probabilities=[alpha**k for k in range(1, gamma + 1)],
            host=host,
        )
        for gamma in range(1, 5)
    ]
    assert best[0] == pytest.approx(max(costs.speedup for costs in rounds))


def test_marks_stand_at_their_c_and_alpha_or_at_the_edge() -> None:
    marks = [Mark(label="near", c=0.4, alpha=0.6), Mark(label="far", c=12.0, alpha=0.7)]
    figure = decision_chart(Costs(verify=(1, 1.2), source="v as measured"), marks=marks, title="Board")
    axes = figure.axes[0]
    assert points(axes, style.look(0).colour) == {(0.4, 0.6)}
    assert points(axes, style.look(1).colour) == {(axes.get_xlim()[1], 0.7)}
    assert points(axes, style.INK) == {(0.0, 0.0), (1.0, 1.0)}
    assert legend(figure)[:2] == ["c 0.4, alpha 0.60: near", "c 12 (beyond the map), alpha 0.70: far"]
    assert "v as measured" in said(figure)


def test_lines_of_equal_speedup_are_named_where_they_leave_the_map() -> None:
    above = next(child for child in CHARTS["map of Eq. 1"]().axes[0].child_axes)
    named = {text.get_text(): place for text, place in zip(above.get_xticklabels(), above.get_xticks(), strict=True)}
    for name, c in named.items():
        assert max(paper_speedup(1.0, gamma, c) for gamma in range(1, 9)) == pytest.approx(float(name[:-1]), rel=1e-3)
    assert {"1x", "1.5x", "2x", "4x"} <= set(named)
