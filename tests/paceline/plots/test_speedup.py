"""Speed-up against draft length: curves, measured points and the choice."""

from __future__ import annotations

import numpy as np

from paceline.plots import style
from paceline.plots.speedup import Choice, speedup_chart
from tests.paceline.plots.charts import CHARTS, LENGTHS, curve, legend, measured, points


def test_speedups_stand_where_they_were_predicted_and_measured() -> None:
    predicted = curve("drafter on gpu")
    found = measured(predicted)
    figure = speedup_chart(
        [predicted, curve("other", c=0.6)], [found], chosen=Choice(label="best", length=3, speedup=1.5)
    )
    (axes,) = figure.axes
    drawn = points(axes, style.look(0).colour)
    assert set(zip(LENGTHS, predicted.speedups, strict=True)) <= drawn
    assert set(zip(LENGTHS, found.speedups, strict=True)) <= drawn
    bars = [np.asarray(path.vertices).tolist() for group in axes.collections for path in group.get_paths()]
    assert [[length, low] for length, low in zip(LENGTHS, found.low, strict=True)] == [bar[0] for bar in bars]
    assert [[length, high] for length, high in zip(LENGTHS, found.high, strict=True)] == [bar[1] for bar in bars]
    assert (3.0, 1.5) in points(axes)
    assert legend(figure) == [
        "drafter on gpu",
        "other",
        "hollow: measured (bars: 25th to 75th percentile)",
        "1x: best plain decoding",
        "best: 1.50x",
    ]


def test_more_curves_than_colours_are_grey_and_counted() -> None:
    figure = speedup_chart([curve(f"mapping {i}", c=0.1 * i) for i in range(style.STYLES + 3)])
    assert [line.get_color() for line in figure.axes[0].lines].count(style.LIGHT) == 3
    assert legend(figure)[style.STYLES :] == ["3 more", "1x: best plain decoding"]


def test_measured_points_without_a_curve_have_an_entry() -> None:
    assert "alone" in legend(speedup_chart([curve("predicted")], [measured(curve("alone"))]))


def test_only_plain_decoding_has_whole_draft_lengths_on_its_axis() -> None:
    (axes,) = CHARTS["only plain decoding"]().axes
    assert [tick for tick in axes.get_xticks() if -0.4 <= tick <= 0.4] == [0.0]
