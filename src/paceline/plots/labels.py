"""Texts inside a chart that cover neither one another nor a point: where there is no room, no text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from matplotlib.axes import Axes
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from paceline.plots import style

Offset = tuple[float, float]
AROUND: tuple[Offset, ...] = (
    *((0, 6), (0, -6), (7, 0), (-7, 0), (5, 5), (-5, 5), (5, -5), (-5, -5)),
    *((0, 16), (0, -16), (14, 0), (-14, 0), (12, 8), (-12, 8), (12, -8), (-12, -8)),
)
"""Offsets from a point to its text, in points, the best first."""
_GAP = 5  # pixels between two texts side by side
_ALONG = 18  # points between the start of a line and that of its text
_POINTS_PER_INCH = 72
_POINT, _THICK = 10, 4  # pixels of a drawn point and of a line, which stay free


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """A text for the point (x, y) of ``axes``, at one of ``places``."""

    axes: Axes
    x: float
    y: float
    text: str
    colour: str = style.INK
    places: Sequence[Offset] = AROUND


def put_beside(wanted: Sequence[Beside], *, taken: Sequence[Bbox] = ()) -> list[Text]:
    """Write each text at the first of its places that is free and inside its axes; those without one are left out.

    The figure must have been laid out: ``figure.draw_without_rendering()``.

    Args:
        taken: boxes in pixels that stay free: of other texts, points and lines.
    """
    boxes = [*taken, *(point_box(entry.axes, entry.x, entry.y) for entry in wanted)]
    return [text for entry in wanted if (text := _put(entry, boxes))]


def _put(entry: Beside, boxes: list[Bbox]) -> Text | None:
    """Write a text, and add its box; None where it has no place."""
    text = entry.axes.annotate(
        style.plain(entry.text),
        (entry.x, entry.y),
        xytext=(0, 0),
        textcoords="offset points",
        ha="center",
        va="center",
        fontsize=9,
        color=entry.colour,
        in_layout=False,
    )
    box = text.get_window_extent()
    scale = style.DPI / _POINTS_PER_INCH
    for right, up in entry.places:
        # an offset is to the nearest side of the text
        across = right * scale + _sign(right) * box.width / 2
        along = up * scale + _sign(up) * box.height / 2
        moved = box.translated(across, along)
        if fits(moved, entry.axes.bbox) and not moved.padded(_GAP, 0).count_overlaps(boxes):
            text.set_position((across / scale, along / scale))
            boxes.append(moved)
            return text
    text.remove()
    return None


def _sign(number: float) -> int:
    return (number > 0) - (number < 0)


def point_box(axes: Axes, x: float, y: float) -> Bbox:
    """The pixels that a point covers."""
    across, up = axes.transData.transform((x, y))
    return _box((across, up), _POINT)


def line_boxes(axes: Axes, x: Sequence[float], y: Sequence[float]) -> list[Bbox]:
    """Boxes that together cover a line through the points (x, y): one for each level or upright part."""
    corners = axes.transData.transform(list(zip(x, y, strict=True)))
    boxes: list[Bbox] = []
    for (x0, y0), (x1, y1) in pairwise(corners):
        steps = int(min(abs(x1 - x0), abs(y1 - y0)) / _THICK) + 1
        width, height = (x1 - x0) / steps, (y1 - y0) / steps
        parts = [Bbox.from_bounds(x0 + i * width, y0 + i * height, width, height) for i in range(steps)]
        boxes += [Bbox.from_extents(part.xmin, part.ymin, part.xmax, part.ymax).padded(_THICK / 2) for part in parts]
    return boxes


def _box(centre: tuple[float, float], size: float) -> Bbox:
    return Bbox.from_bounds(centre[0] - size / 2, centre[1] - size / 2, size, size)


def fits(inner: Bbox, outer: Bbox) -> bool:
    """Whether all of ``inner`` is in ``outer``."""
    across = outer.x0 <= inner.x0 and inner.x1 <= outer.x1
    return bool(across and outer.y0 <= inner.y0 and inner.y1 <= outer.y1)


def put_along(axes: Axes, start: tuple[float, float], end: tuple[float, float], text: str) -> Text:
    """Write ``text`` just above the line from ``start`` to ``end``, at its angle on paper, from ``start`` on.

    The figure must have been laid out.
    """
    (x0, y0), (x1, y1) = axes.transData.transform([start, end])
    angle = math.atan2(y1 - y0, x1 - x0)
    return axes.annotate(
        style.plain(text),
        start,
        xytext=(_ALONG * math.cos(angle) - 3 * math.sin(angle), _ALONG * math.sin(angle) + 3 * math.cos(angle)),
        textcoords="offset points",
        rotation=math.degrees(angle),
        rotation_mode="anchor",
        ha="left",
        va="bottom",
        fontsize=9,
        color=style.GREY,
        in_layout=False,
    )
