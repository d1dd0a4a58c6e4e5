"""Sweeps: lines over one axis, maps over two."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.collections import QuadMesh

from paceline.errors import UsageError
from paceline.plots import style
from paceline.plots.sweep import Axis, sweep_chart
from tests.paceline.plots.charts import ALPHA, corners_of, outcome


def test_a_sweep_of_one_is_lines() -> None:
    best = outcome("best", 18)
    above, below = sweep_chart([ALPHA], [best]).axes
    drawn = next(line for line in above.lines if line.get_color() == style.look(0).colour)
    assert corners_of(drawn) == list(zip(ALPHA.values, best.speedups.tolist(), strict=True))
    assert [corners_of(line) for line in below.lines] == [list(zip(ALPHA.values, best.lengths.tolist(), strict=True))]


def test_a_sweep_of_two_is_maps_whose_first_axis_runs_across() -> None:
    best = outcome("best", 3, 4)
    best.speedups[0, 1] = best.lengths[0, 1] = np.nan
    axes = [Axis(name="bandwidth", values=[1.0, 10.0, 100.0]), Axis(name="alpha", values=[0.1, 0.2, 0.3, 0.4])]
    left, right, *_ = sweep_chart(axes, [best]).axes
    for panel, field in ((left, best.speedups), (right, best.lengths)):
        (mesh,) = (found for found in panel.collections if isinstance(found, QuadMesh))
        values = mesh.get_array()
        assert values is not None
        np.testing.assert_array_equal(np.ma.filled(values, np.nan), field.T)
    assert (left.get_xscale(), left.get_yscale()) == ("log", "linear")
    written = {text.get_position(): text.get_text() for text in right.texts}
    assert written[10.0, 0.3] == f"{best.lengths[1, 2]:.0f}" and written[1.0, 0.2] == ""


@pytest.mark.parametrize("count", [0, 3])
def test_a_sweep_of_another_number_is_a_sentence(count: int) -> None:
    with pytest.raises(UsageError, match=f"one or two sweeps; {count} were given"):
        sweep_chart([ALPHA] * count, [outcome("best", 18)])
    with pytest.raises(UsageError, match="sweep of cores has one value"):
        sweep_chart([ALPHA, Axis(name="cores", values=[1])], [outcome("best", 18, 1)])
