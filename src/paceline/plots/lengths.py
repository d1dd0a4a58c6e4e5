"""Colours of best draft lengths: grey where it is best not to speculate, then the darker the longer."""

from __future__ import annotations

from typing import TypedDict

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure

from paceline.plots import style

_DO_NOT = "#cfcfcf"
_LIGHTEST, _DARKEST = 0.12, 0.78  # of the palette: black lines are to be seen on all
_MOST_TICKS = 16


class LengthColours(TypedDict):
    """What matplotlib takes to colour an image."""

    cmap: ListedColormap
    norm: BoundaryNorm


def length_colours(longest: int) -> LengthColours:
    """Colours of draft lengths 0..``longest``."""
    shades = matplotlib.colormaps["YlGnBu"](np.linspace(_LIGHTEST, _DARKEST, longest))
    colours = ListedColormap([_DO_NOT, *shades])
    return {"cmap": colours, "norm": BoundaryNorm(np.arange(-0.5, longest + 1.5), longest + 1)}


def length_bar(figure: Figure, axes: Axes, image: ScalarMappable, longest: int) -> None:
    """The key of those colours, right of ``axes``."""
    ticks = range(0, longest + 1, -(-(longest + 1) // _MOST_TICKS))
    style.colour_bar(figure, axes, image, "best draft length (0: do not speculate)").set_ticks(list(ticks))
