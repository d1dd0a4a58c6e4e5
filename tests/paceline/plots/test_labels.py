"""No text of any chart covers another or leaves the picture."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from matplotlib.axis import Axis as DrawnAxis
from matplotlib.figure import Figure
from matplotlib.text import Text

from paceline.plots import style
from paceline.plots.labels import Beside, put_beside
from tests.paceline.plots.charts import CHARTS


def texts(figure: Figure) -> list[Text]:
    """Every text that is drawn; ticks beyond the ends of an axis are not."""
    axes = [axis for axis in figure.findobj(DrawnAxis) if isinstance(axis, DrawnAxis)]
    hidden: set[int] = set()
    for axis in axes:
        low, high = sorted(axis.get_view_interval())
        for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
            if not low <= tick.get_loc() <= high:
                hidden |= {id(tick.label1), id(tick.label2)}
    found = [text for text in figure.findobj(Text) if isinstance(text, Text) and id(text) not in hidden]
    return [text for text in found if text.get_visible() and text.get_text().strip()]


def corners(text: Text) -> npt.NDArray[np.float64]:
    """The four corners in pixels of a text, which may stand aslant."""
    angle = text.get_rotation()
    box = text.get_window_extent()
    middle = np.array([(box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2])
    text.set_rotation(0.0)
    level = text.get_window_extent()
    text.set_rotation(angle)
    turn = np.exp(1j * np.radians(angle))
    points = [complex(x * level.width, y * level.height) / 2 * turn for x, y in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
    return np.array([(middle[0] + point.real, middle[1] + point.imag) for point in points])


def overlap(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> float:
    """Pixels by which two rectangles overlap along the side where they do so least; 0 or less where they do not."""
    least = math.inf
    for sides in (one, other):
        for side in (sides[1] - sides[0], sides[2] - sides[1]):
            along = side / np.linalg.norm(side)
            a, b = one @ along, other @ along
            least = min(least, float(min(a.max(), b.max()) - max(a.min(), b.min())))
    return least


@pytest.mark.parametrize("name", CHARTS)
def test_no_text_covers_another_or_leaves_the_picture(name: str) -> None:
    figure = CHARTS[name]()
    figure.draw_without_rendering()
    found = [(text.get_text(), corners(text)) for text in texts(figure)]
    assert len(found) > 6
    for text, box in found:
        assert (box >= -0.5).all() and (box <= np.array(figure.bbox.size) + 0.5).all(), text
    low, high = np.array([box.min(axis=0) for _, box in found]), np.array([box.max(axis=0) for _, box in found])
    near = (low[:, None] < high[None]).all(axis=2) & (low[None] < high[:, None]).all(axis=2)
    for i, j in zip(*np.nonzero(np.triu(near, k=1)), strict=True):
        assert overlap(found[i][1], found[j][1]) < 1.0, (found[i][0], found[j][0])


def test_a_text_without_room_is_left_out() -> None:
    figure = Figure(figsize=style.SIZE, dpi=style.DPI)
    axes = figure.add_subplot()
    axes.set(xlim=(0, 1), ylim=(0, 1))
    figure.draw_without_rendering()
    wanted = [Beside(axes=axes, x=0.5, y=0.5, text=str(number)) for number in range(40)]
    written = put_beside(wanted)
    assert 4 < len(written) < 40
    assert len(axes.texts) == len(written)
    assert not put_beside([Beside(axes=axes, x=0.99, y=0.99, text="a text that is much too long" * 9)])
