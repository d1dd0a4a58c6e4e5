"""One look for every chart: size, colours, titles, legends, numbers with units.

Colours are those of Okabe and Ito, which people with any colour vision tell apart; lines differ in dash and marker too.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.legend import Legend

SIZE, DPI = (10.0, 20 / 3), 120  # 1200 x 800 pixels
INK, GREY, LIGHT = "#222222", "#6b6b6b", "#d9d9d9"
BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"
_COLOURS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, INK)
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)))
STYLES = len(_COLOURS)
"""How many series can be told apart."""
_TITLE_CHARACTERS, _LEGEND_CHARACTERS = 84, 58  # what fits the width, and half of it
_HANDLE_CHARACTERS = 6  # room that the handle of an entry takes
_ROOMY = 6  # entries that may take two lines each
_BRIGHT = 0.5  # luminance from which on black is read better than white
_SUBTITLE_CHARACTERS = 135
_PAD, _TITLE_LINE, _SUBTITLE_LINE = 0.12, 0.25, 0.18  # inches: around everything, and of a line
_FONT = "DejaVu Sans"  # comes with matplotlib
_PREFIXES = (
    (1e15, "P"),
    (1e12, "T"),
    (1e9, "G"),
    (1e6, "M"),
    (1e3, "k"),
    (1.0, ""),
    (1e-3, "m"),
    (1e-6, "µ"),
    (1e-9, "n"),
)


@dataclass(frozen=True, slots=True)
class Look:
    """How one series is drawn."""

    colour: str
    marker: str
    dash: Any


def look(index: int) -> Look:
    """The look of series ``index``, counted from 0; different for the first ``STYLES``."""
    return Look(_COLOURS[index % len(_COLOURS)], _MARKERS[index % len(_MARKERS)], _DASHES[index // 2 % len(_DASHES)])


def new_figure(title: str, subtitle: str = "") -> Figure:
    """An empty figure with a title on the left and a quieter line below it."""
    figure = Figure(figsize=SIZE, dpi=DPI, facecolor="white")
    bold = plain(title, _TITLE_CHARACTERS)
    quiet = plain(subtitle, _SUBTITLE_CHARACTERS) if subtitle else ""
    left, top = _PAD / SIZE[0], 1 - _PAD / 2 / SIZE[1]
    below = top - _TITLE_LINE * len(bold.splitlines()) / SIZE[1]
    rest = below - _SUBTITLE_LINE * len(quiet.splitlines()) / SIZE[1]
    headings = {
        14.0: figure.suptitle(bold, x=left, y=top, ha="left", fontsize=14, fontweight="bold", color=INK),
        10.0: figure.text(left, below, quiet, va="top", fontsize=10, color=GREY),
    }
    for size, text in headings.items():  # wide letters take more room than is counted on, and do not shrink evenly
        box = text.get_window_extent()
        if box.x1 > (room := figure.bbox.width - box.x0):
            text.set_fontsize(0.95 * size * room / box.x1)
    # the layout makes room for one title only: everything else keeps to the rest of the page
    figure.set_layout_engine(ConstrainedLayoutEngine(w_pad=_PAD, h_pad=_PAD / 2, rect=(0, 0, 1, rest)))
    return figure


def dress(axes: Axes, *, x: str = "", y: str = "") -> None:
    """Labels, a quiet grid, no box."""
    axes.set_xlabel(plain(x), fontsize=11, color=INK)
    axes.set_ylabel(plain(y), fontsize=11, color=INK)
    axes.tick_params(labelsize=10, colors=GREY, labelcolor=INK)
    axes.grid(color=LIGHT, linewidth=0.6)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(GREY)


def legend_below(figure: Figure, entries: Iterable[tuple[Artist | tuple[Artist, ...], str]]) -> Legend:
    """A legend under everything, in as many columns as its longest label leaves room for."""
    handles, texts = zip(*entries, strict=True)
    lines = 2 if len(texts) <= _ROOMY else 1
    labels = [plain(text, _LEGEND_CHARACTERS, lines=lines) for text in texts]
    longest = max(len(line) for label in labels for line in label.splitlines())
    room = 2 * (_LEGEND_CHARACTERS + _HANDLE_CHARACTERS)
    columns = min(len(labels), 4, room // (longest + _HANDLE_CHARACTERS))
    return figure.legend(
        handles, labels, loc="outside lower left", ncols=columns, frameon=False, fontsize=10, labelcolor=INK
    )


def colour_bar(figure: Figure, axes: Axes, image: ScalarMappable, text: str) -> Colorbar:
    """The key of an image's colours, right of ``axes``."""
    bar = figure.colorbar(image, ax=axes, pad=0.015, fraction=0.06, aspect=32)
    bar.set_label(text, fontsize=11, color=INK)
    bar.ax.minorticks_off()
    bar.ax.tick_params(labelsize=10, length=0)
    bar.ax.set_frame_on(False)
    return bar


def ink_on(colour: str | Sequence[float]) -> str:
    """Black or white, whichever is read on ``colour``, a name or red, green and blue from 0 to 1."""
    red, green, blue = to_rgb(colour) if isinstance(colour, str) else colour[:3]
    return INK if 0.299 * red + 0.587 * green + 0.114 * blue > _BRIGHT else "white"


def plain(text: str, characters: int = 200, *, lines: int = 2) -> str:
    """``text`` as it stands, wrapped at ``characters`` and cut after ``lines``: no dollar starts a formula."""
    printable = "".join(letter if _has_shape(letter) else "?" for letter in " ".join(text.split()))
    wrapped = textwrap.wrap(printable, characters) or [""]
    if len(wrapped) > lines:
        wrapped[lines - 1 :] = [wrapped[lines - 1][: characters - 2].rstrip() + " …"]
    return "\n".join(wrapped).replace("$", r"\$")


@lru_cache
def _has_shape(letter: str) -> bool:
    return letter.isprintable() and get_font(findfont(_FONT)).get_char_index(ord(letter)) != 0


def quantity(value: float, unit: str) -> str:
    """Three digits with a prefix: ``25.6 GB/s``."""
    if not value or not math.isfinite(value):
        return f"{value:g} {unit}"
    size, prefix = next((entry for entry in _PREFIXES if abs(value) >= entry[0] * 0.9995), _PREFIXES[-1])
    return f"{digits(value / size)} {prefix}{unit}"


def short(value: float) -> str:
    """A number on an axis: ``25.6 G``, but 0.05 and 1200 as they are."""
    return digits(value) if not value or 1e-3 <= abs(value) < 1e5 else quantity(value, "").strip()


def digits(value: float) -> str:
    """Three significant digits, without an exponent where four characters do."""
    return f"{value:.0f}" if 1000 <= abs(value) < 1e5 else f"{value:.3g}"


def times(value: float) -> str:
    """A speed-up: ``1.42x``."""
    return f"{value:.2f}x" if abs(value) < 100 else f"{digits(value)}x"
