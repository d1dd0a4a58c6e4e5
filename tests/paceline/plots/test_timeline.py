"""The timeline of a round: its bars in order, and what is written on them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from matplotlib.patches import Rectangle

from paceline.plots.timeline import bars_of, plain_bars, timeline_chart
from tests.paceline.plots.charts import costs, legend, said


def test_a_round_is_told_in_order_and_to_its_end() -> None:
    bars = bars_of(costs(3), target="cpu x2", drafter="gpu x1")
    assert [(bar.lane, bar.phase) for bar in bars] == [
        ("gpu x1", "catch-up"),
        *[("gpu x1", "draft")] * 3,
        ("cpu x2", "verify"),
        ("host", "host"),
    ]
    assert bars[-1].start + bars[-1].seconds == pytest.approx(costs(3).seconds)
    assert all(b.start == pytest.approx(a.start + a.seconds) for a, b in itertools.pairwise(bars))
    plain = plain_bars(costs(3))
    assert sum(bar.seconds for bar in plain) == pytest.approx(costs(3).tokens * costs(3).plain)


def test_a_timeline_draws_those_bars_in_milliseconds() -> None:
    figure = timeline_chart(costs(3), target="cpu x2", drafter="gpu x1", title="of a plan")
    (axes,) = figure.axes
    bars = bars_of(costs(3), target="cpu x2", drafter="gpu x1") + plain_bars(costs(3))
    drawn = [(patch.get_x(), patch.get_width()) for patch in axes.patches if isinstance(patch, Rectangle)]
    np.testing.assert_allclose(drawn, [(bar.start * 1e3, bar.seconds * 1e3) for bar in bars], atol=1e-12)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["cpu x2", "gpu x1", "host", "plain decoding"]
    assert said(figure).startswith("2.80 tokens in 38 ms: of a plan")
    assert "draft: 3 x 5.95 ms = 17.9 ms" in legend(figure)
    assert axes.get_xlabel().endswith("(ms)")


def test_a_plain_round_has_no_drafter_and_no_comparison() -> None:
    figure = timeline_chart(costs(0, host=0.0), target="cpu x2")
    assert [text.get_text() for text in figure.axes[0].texts] == ["1 token"]
    assert legend(figure) == ["decode: 18.3 ms", "end of the round"]
